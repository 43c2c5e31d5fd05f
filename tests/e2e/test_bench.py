"""`sconce bench`: real servers are measured, and what goes wrong is said."""
import csv
import json
import os
import re
import resource
import signal
import socket
import ssl
import subprocess
import threading
import time
import xml.etree.ElementTree as xml

import pytest
from harness import MARK, alive, free_ports, title, wait_for
from test_tls import Secure, certificate

COLUMNS = ("Benchmark,TS failed requests,TS throughput,TS latency P50,TS latency P90,TS latency P99,TS latency mean,"
           "TS error rate,Batch size,Batch delay,Workers,Model,Concurrency,Input,Requests,Model_p50,Model_p90,Model_p99,"
           "Queue time p50,Queue time p90,Queue time p99,predict_mean,handler_time_mean,waiting_time_mean,"
           "worker_thread_mean,cpu_percentage_mean,memory_percentage_mean,gpu_percentage_mean,"
           "gpu_memory_percentage_mean,gpu_memory_used_mean").split(",")


class Bench:
    def __init__(self, build, folder):
        self.program, self.folder = build / "sconce", folder
        self.env = {**os.environ, MARK: folder.name, "TMPDIR": str(folder), "SCONCE_NVML": str(build / "libfake_nvml.so")}

    def start(self, *args, **more):
        return subprocess.Popen([self.program, "bench", *map(str, args)], cwd=self.folder, env=self.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def run(self, *args, expect=0, **more):
        process = self.start(*args, **more)
        out, err = process.communicate(timeout=120)
        assert process.returncode == expect, f"{process.returncode}\n{out[-2000:]}\n{err[-2000:]}"
        return out, err

    def json(self, *args, expect=0):
        return json.loads(self.run("--json", *args, expect=expect)[0])

    def servers(self):
        """Processes that work below our folder: none may be left."""
        return [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if alive(p) and
                (link := cwd(p)) and link.startswith(str(self.folder) + "/")]


def cwd(pid):
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


@pytest.fixture
def bench(build, tmp_path):
    return Bench(build, tmp_path)


class Toy:
    """A server of HTTP/1.1 with a manner: `answer(n)` gives (status, body) of the n-th request, or None to close."""

    def __init__(self, answer, tls=None):
        self.answer, self.n, self.lock, self.tls = answer, 0, threading.Lock(), tls
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/x"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls:
            try:
                peer = self.tls.wrap_socket(peer, server_side=True)
            except OSError:
                return
        buffer = b""
        with peer:
            while True:
                while b"\r\n\r\n" not in buffer:
                    try:
                        data = peer.recv(65536)
                    except OSError:
                        return
                    if not data:
                        return
                    buffer += data
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                length = int((re.search(rb"content-length: (\d+)", head) or [0, 0])[1])
                while len(buffer) < length:
                    buffer += peer.recv(65536)
                buffer = buffer[length:]
                with self.lock:
                    self.n += 1
                    n = self.n
                answer = self.answer(n)
                if answer is None:
                    return
                status, body = answer
                try:
                    peer.sendall(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n%s" % (status, len(body), body))
                except OSError:
                    return

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


# ---- a server that runs ----


def test_each_protocol_and_loop_counts_what_it_sent(echo, bench):
    url = echo.url("/predictions/echo")
    for args in ([url], ["--http2", url], [f"grpc://127.0.0.1:{echo.ports['grpc_inference']}/echo"]):
        j = bench.json("-c", 8, "-t", 2, "-r", 300, "--warmup", 0, "-b", "hello", "--expect", "hello", *args)
        assert (j["good"], j["failed"], j["partial"]) == (300, 0, False)
        assert sum(n for _, n in j["runs"][0]["latency_histogram"]) == 300
        assert j["rate"] > 0 and j["latency_us"]["p50"] > 0 and j["machine"]["cores"] == str(os.cpu_count())
    j = bench.json("--rate", 200, "--constant", "-d", 1, "--warmup", 0, "-b", "x", "--echo", url)
    assert j["loop"] == "open-constant" and 195 <= j["good"] <= 201 and "service_us" in j


def test_tls_with_each_protocol_and_what_is_no_tls(build, echo, bench, tmp_path):
    pair = certificate(tmp_path, "one")
    server = Secure(build=build, folder=tmp_path / "server", pair=pair, models={"echo": "identity"},
                    config={"enable_grpc_ssl": "true"})
    try:
        server.start()
        port = server.ports["inference"]
        for args in ([f"https://127.0.0.1:{port}/predictions/echo"], ["--http2", f"https://localhost:{port}/predictions/echo"],
                     [f"grpcs://127.0.0.1:{server.ports['grpc_inference']}/echo"]):
            j = bench.json("-c", 8, "-t", 2, "-r", 200, "--warmup", 0, "--random", "1:60000", "--echo", *args)
            assert (j["good"], j["failed"], j["partial"]) == (200, 0, False), j["first_wrong"]
            assert j["protocol"].endswith(" over TLS")
        assert "status 403" in bench.json("-r", 5, "--warmup", 0, f"http://127.0.0.1:{port}/ping", expect=1)["first_wrong"]
    finally:
        server.stop()
    j = bench.json("-d", 0.5, "--warmup", 0, f"https://127.0.0.1:{echo.ports['inference']}/ping", expect=1)
    assert j["good"] == 0 and j["errors"]["connect"] and "no connection: TLS" in j["first_wrong"]
    with Toy(lambda n: (200, b"")) as s:  # waits for the end of a request's head
        j = bench.json("-r", 5, "-c", 2, "--timeout", 0.2, "--warmup", 0, s.url.replace("http", "https", 1), expect=1)
        assert (j["good"], j["errors"]["connect"]) == (0, 5) and "took too long" in j["first_wrong"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    with Toy(lambda n: (200, b""), context) as s:  # HTTP/1.1 alone
        assert bench.json("-r", 5, "--warmup", 0, s.url.replace("http", "https", 1))["good"] == 5
        j = bench.json("-r", 5, "--warmup", 0, "--http2", s.url.replace("http", "https", 1), expect=1)
        assert "ALPN" in j["first_wrong"]


@pytest.mark.parametrize("what", [["--random", "1:3000", "--echo"], ["--texts", "lognormal:20:0.5", "--echo"],
                                  ["--texts", "3:5", "--around", '{"inputs": "{text}"}', "--echo"],
                                  ["--lines", "lines.jsonl", "--same"], ["-i", "folder", "--same"]])
def test_bodies_of_every_kind_come_back(echo, bench, what):
    (bench.folder / "lines.jsonl").write_text('{"a": 1}\n\n{"a": 2}\n')
    (bench.folder / "folder").mkdir()
    for i in range(3):
        (bench.folder / "folder" / f"{i}.txt").write_text(f"text {i}" * (i + 1))
    for more in ([], ["--http2"]):
        j = bench.json(*what, *more, "-c", 4, "-r", 100, "--warmup", 0, echo.url("/predictions/echo"))
        assert (j["good"], j["failed"]) == (100, 0), j["first_wrong"]


def test_wrong_answers_are_failures_and_no_throughput(echo, bench):
    url = echo.url("/predictions/echo")
    for check in (["--expect", "other"], ["--regex", "^[0-9]+$"], ["--status", 404]):
        for more in ([url], ["--http2", url]):
            j = bench.json("-r", 50, "--warmup", 0, "-b", "hello", *check, *more, expect=1)
            assert (j["good"], j["failed"], j["rate"]) == (0, 50, 0), j
    assert "status 404" in bench.json("-r", 5, "--warmup", 0, "-b", "x", echo.url("/predictions/none"), expect=1)["first_wrong"]
    j = bench.json("-r", 5, "--warmup", 0, "-b", "x", f"grpc://127.0.0.1:{echo.ports['grpc_inference']}/none", expect=1)
    assert "grpc-status 13" in j["first_wrong"] and j["bad_status"] == 1013
    with Toy(lambda n: (200, b"a" if n != 20 else b"b")) as s:
        j = bench.json("-r", 50, "-c", 2, "--warmup", 0, "--same", s.url, expect=1)
        assert j["errors"]["bad_body"] == 1 and j["good"] == 49


def test_the_report_can_be_read_and_its_pictures_have_data(echo, bench):
    bench.run("--repeat", 3, "-d", 0.5, "--warmup", 0.1, "-b", "x<&\"", "--metrics", echo.url("/metrics", "metrics"), "-o", "deep/out",
              "--rate", 300, echo.url("/predictions/echo"))
    out = bench.folder / "deep" / "out"
    j = json.loads((out / "report.json").read_text())
    assert len(j["runs"]) == 3 and j["rate_low"] <= j["rate"] <= j["rate_high"]
    assert [g["name"] for g in j["samples"]["gpus"]] and j["samples"]["driver"] == "580.0-fake" and j["samples"]["points"]
    moved = {m["name"]: m["last"] - m["first"] for m in j["server_metrics"]["series"]}
    assert any("ts_inference_requests_total" in n and v >= j["good"] for n, v in moved.items()), sorted(moved)
    assert len(list(csv.DictReader(open(out / "runs.csv")))) == 3
    rows = list(csv.reader(open(out / "ab_report.csv")))
    assert rows[0] == COLUMNS and len(rows[1]) == 30 and float(rows[1][2]) > 0
    for name in ("latency", "rate_over_time", "latency_over_time", "machine", "gpu"):
        picture = xml.parse(out / f"{name}.svg").getroot()
        lines = [e for e in picture.iter() if e.tag.endswith(("polyline", "circle"))]
        points = re.findall(r"-?[\d.]+", " ".join(e.get("points", "") for e in lines))
        assert lines and all(0 <= float(p) <= 720 for p in points), name
    html = (out / "report.html").read_text()
    assert html.count("<svg") == 5 and "<script" not in html and "prefers-color-scheme:dark" in html
    assert not re.search(r"(?:src|href)=|@import|url\(", html.replace("http://www.w3.org/2000/svg", ""))
    page = re.search(r"<body>.*</body>", html, re.S)[0]
    assert "x&lt;&amp;&quot;" in page
    xml.fromstring(page)  # every tag is closed


def test_what_a_stall_costs_is_what_arithmetic_says(bench):
    """Every hundredth request stalls a connection for 100 ms; 100 a second, evenly, plenty of connections: 1 in 100 takes the
    stall, nobody else waits for it. Then one connection: who comes in the stall waits for what is left of it."""
    def answer(n):
        if n % 100 == 50:
            time.sleep(0.4)
        return 200, b"ok"
    with Toy(answer) as s:
        j = bench.json("--rate", 100, "--constant", "-d", 4, "--warmup", 0, "-c", 16, s.url)
        slow = sum(n for top, n in j["runs"][0]["latency_histogram"] if top > 390_000)
        assert j["good"] == 400 and 4 <= slow <= 40 and j["latency_us"]["max"] >= 400_000
    with Toy(answer) as s:
        j = bench.json("--rate", 100, "--constant", "-d", 4, "--warmup", 0, "-c", 1, s.url)
        slow = sum(n for top, n in j["runs"][0]["latency_histogram"] if top > 200_000)
        sent = sum(n for top, n in j["runs"][0]["service_histogram"] if top > 200_000)
        # 0.4 s of each second stand still; half of those who come then wait longer than half of it.
        assert j["good"] == 400 and slow >= 76 and sent < slow / 2


# ---- what goes wrong ----


def test_nobody_there_and_nothing_to_do_are_said(bench):
    port = free_ports(1)[0]
    for args, said in ((["http://127.0.0.1:%d/" % port], "nobody listens at"), ([], "what is to be measured"),
                       (["-r", 0, "http://127.0.0.1:1/"], "0 requests"), (["-c", 0, "http://127.0.0.1:1/"], "concurrency from 1"),
                       (["--regex", "(", "http://127.0.0.1:1/"], "no expression"), (["ftp://127.0.0.1:1/"], "http[s]://HOST"),
                       (["--frobnicate", "http://127.0.0.1:1/"], "no option"), (["-i", "none", "http://127.0.0.1:1/"], "No such file"),
                       (["none.json"], "none.json"), (["--texts", "many", "http://127.0.0.1:1/"], "no lengths"),
                       (["-u", "none.mar", "-b", "x"], "none.mar")):
        out, err = bench.run(*args, expect=2)
        assert said in err and not out, (args, err)


def test_an_unwritable_report_is_refused_before_the_load(bench):
    (bench.folder / "file").write_text("")
    with Toy(lambda n: (200, b"")) as s:
        assert "file" in bench.run("-o", "file/out", s.url, expect=2)[1]
        assert s.n == 0


def test_a_limit_of_files_is_raised_or_explained(bench):
    def limit(hard):
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    with Toy(lambda n: (200, b"")) as s:
        bench.run("-c", 60, "-r", 60, "--warmup", 0, s.url, preexec_fn=limit(400))
        assert "open files" in bench.run("-c", 60, "-r", 60, s.url, expect=2, preexec_fn=limit(60))[1]


def test_503_to_all_and_too_slow_are_told(bench):
    with Toy(lambda n: (503, b"busy")) as s:
        j = bench.json("-r", 20, "--warmup", 0, s.url, expect=1)
        assert (j["good"], j["errors"]["bad_status"], j["bad_status"]) == (0, 20, 503) and "busy" in j["first_wrong"]
    with Toy(lambda n: (time.sleep(1), (200, b""))[1]) as s:
        j = bench.json("-r", 2, "-c", 2, "--warmup", 0, "--timeout", 0.2, s.url, expect=1)
        assert (j["good"], j["errors"]["timeout"]) == (0, 2)


def test_a_server_that_dies_leaves_a_partial_report(bench):
    toy = Toy(lambda n: None if n > 50 else (200, b"ok"))

    def answer(n):
        if n == 50:
            toy.listener.shutdown(socket.SHUT_RDWR)
            toy.listener.close()
        return None if n > 50 else (200, b"ok")
    toy.answer = answer
    j = bench.json("-r", 5000, "-c", 2, "--warmup", 0, "-o", "out", toy.url, expect=1)
    assert j["partial"] and j["ended"] == "the server is gone" and 48 <= j["good"] <= 50
    assert "the server is gone" in (bench.folder / "out" / "report.html").read_text()


def test_an_interrupt_leaves_a_valid_partial_report(bench):
    with Toy(lambda n: (200, b"ok")) as s:
        process = bench.start("-d", 600, "--warmup", 0, "-o", "out", s.url)
        wait_for(lambda: s.n > 100, 30, "requests")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "PARTIAL: interrupted" in out, err
    j = json.loads((bench.folder / "out" / "report.json").read_text())
    assert j["ended"] == "interrupted" and j["good"] > 0 and 0 < j["seconds"] < 600


# ---- a server of its own, as benchmark-ab.py ----


@pytest.fixture
def config(bench):
    """The folder of a model, and benchmark-ab.py's file for it, with its habits: numbers as strings, words as booleans."""
    from python_models import folder
    store = bench.folder / "models"
    folder(store, "noop", """
        def handle(data, context):
            return None if data is None else ["ok"] * len(data)
    """, config={"minWorkers": 1, "maxWorkers": 1})
    (bench.folder / "input.txt").write_text("hello")
    settings = {"url": "models/noop", "requests": "60", "concurrency": 5, "workers": "1", "batch_size": "2", "gpus": "",
                "exec_env": "local", "input": "input.txt", "content_type": "application/text", "backend_profiling": "False",
                "docker_runtime": "", "report_location": "reports", "gen_mar": "x"}

    def write(**more):
        path = bench.folder / "config.json"
        path.write_text(json.dumps({**settings, **more}))
        return path
    return write


def test_a_file_of_benchmark_ab_is_measured_as_it_is(bench, config):
    out, err = bench.run(config(), "--expect", "ok")
    assert 'the key "gen_mar" is not known' in out and "60 good" in out
    report = bench.folder / "reports" / "benchmark"
    names, values = csv.reader(open(report / "ab_report.csv"))
    row = dict(zip(names, values))
    assert names == COLUMNS and row["Requests"] == "60" and row["Workers"] == "1" and row["Batch size"] == "2"
    assert row["Model"] == "[.mar](models/noop)" and row["TS failed requests"] == "0"
    assert "WorkerThreadTime" in (report / "model_metrics.log").read_text()
    assert bench.servers() == [] and not list(bench.folder.glob("sconce-bench-*"))


def test_an_option_wins_over_the_file_and_bad_values_are_named(bench, config):
    for more, said in (({"requests": "ten"}, 'requests: "ten" is no whole number'), ({"workers": [1]}, "workers wants one value"),
                       ({"input": "none.txt"}, "none.txt"), ({"url": "none.mar"}, "none.mar")):
        assert said in bench.run(config(**more), expect=2)[1]
    (bench.folder / "config.json").write_text("{")
    assert "config.json:1" in bench.run("config.json", expect=2)[1]
    assert bench.servers() == []
    out, _ = bench.run(config(requests="ten", handler_profiling=True), "-r", 40, expect=2)
    out, _ = bench.run(config(requests="30", handler_profiling=True), "soak", "-r", 40)
    assert "40 good" in out
    assert len(next(csv.reader(open(bench.folder / "reports/benchmark/ab_report.csv")))) == 33


def test_interrupted_or_killed_it_leaves_no_server(bench, config):
    for sig in (signal.SIGTERM, signal.SIGKILL):
        process = bench.start(config(requests=10 ** 9))
        wait_for(lambda: any(title(p).startswith("sconce: frontend") for p in bench.servers()), 60, "the server")
        process.send_signal(sig)
        process.communicate(timeout=90)
        wait_for(lambda: not bench.servers(), 60, "the server to end")


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(bench, config):
    process = bench.start(config(requests=10 ** 9))
    found = wait_for(lambda: [p for p in bench.servers() if title(p).startswith("sconce: supervisor")] and
                     list(bench.folder.glob("reports/benchmark")), 60, "the server")
    wait_for(lambda: any(b"ACCESS_LOG" in f.read_bytes() and f.stat().st_size > 20000
                         for f in bench.folder.glob("sconce-bench-*/model_metrics.log")), 60, "requests")
    for p in bench.servers():
        if title(p).startswith("sconce: supervisor"):
            os.kill(p, signal.SIGKILL)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1 and found and "the server ended while it was measured" in out and "PARTIAL" in out
    wait_for(lambda: not bench.servers(), 60, "the rest to end")

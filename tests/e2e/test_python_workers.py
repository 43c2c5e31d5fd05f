"""Python handlers as processes: rows, answers, errors, deaths (docs/internals/python.md, docs/design.md §3.2)."""
import json
import os
import re
import signal
import threading
import time

import pytest
from python_models import PYTHON, folder, mar
from clients import Load
from harness import send, wait_for

ECHO = """
    import os
    def handle(data, context):
        if data is None:
            return None
        return [row.get("body") for row in data]
"""

TELL = """
    import json
    def kind(v):
        return [type(v).__name__, v.decode("latin-1") if isinstance(v, (bytes, bytearray)) else v]
    def handle(data, context):
        if data is None:
            return None
        return [json.dumps({"row": {k: kind(v) for k, v in row.items()}, "headers": context.get_all_request_header(i),
                            "id": context.get_request_id(i)}) for i, row in enumerate(data)]
"""

# What the body says happens.
ORDERS = """
    import os, signal, sys, time, threading
    def handle(data, context):
        if data is None:
            return None
        out = []
        for row in data:
            order = bytes(row.get("body") or b"").decode()
            word, _, rest = order.partition(" ")
            if word == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if word == "segv":
                os.kill(os.getpid(), signal.SIGSEGV)
            if word == "exit":
                os._exit(3)
            if word == "sysexit":
                sys.exit(4)
            if word == "sysexit2":
                sys.exit(2)
            if word == "sleep":
                time.sleep(float(rest))
            if word == "raise":
                raise eval(rest)
            if word == "predict":
                from ts.utils.util import PredictionException
                raise PredictionException("not today", int(rest))
            if word == "big":
                out.append(b"x" * int(rest))
                continue
            if word == "none":
                return None
            if word == "tuple":
                return tuple(["a"] * len(data))
            if word == "short":
                return []
            if word == "set":
                out.append({1, 2})
                continue
            if word == "json":
                out.append({"a": [1, 2.5, None, "ü"]})
                continue
            if word == "close":
                os.closerange(3, 256)
            if word == "fork":
                if os.fork() == 0:
                    os._exit(0)
            if word == "stdout":
                sys.stdout = open(os.devnull, "w")
            if word == "signals":
                for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                    signal.signal(s, signal.SIG_IGN)
            if word == "thread":
                threading.Thread(target=time.sleep, args=(3600,), daemon=False).start()
            if word == "status":
                code, _, phrase = rest.partition(" ")
                context.set_response_status(int(code), phrase, len(out))
                context.set_response_header(len(out), "X-Handler", "yes")
                context.set_response_content_type(len(out), "text/x-test")
            if word == "pid":
                out.append(str(os.getpid()))
                continue
            out.append(order)
        return out
"""


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


def workers(server, model):
    return server.get(f"/models/{model}", api="management").json()[0]["workers"]


def ready(server, model, n=1, seconds=30):
    def enough():
        pids = [w["pid"] for w in workers(server, model) if w["status"] == "READY"]
        return pids if len(pids) >= n else None
    return wait_for(enough, seconds, f"{n} workers of {model}")


def start(serve, store, models, **config):
    return serve(models={m: m for m in models}, store=store, config={**PYTHON, "default_workers_per_model": 1, **config})


def model_log(server):
    return (server.folder / "logs" / "model_log.log").read_text(errors="replace")


# ---- rows and answers ----


def test_an_archive_answers(serve, store):
    mar(store, "echo", ECHO)
    server = serve(models={"echo": "echo.mar"}, store=store, config=PYTHON)
    ready(server, "echo")
    body = os.urandom(1000)
    r = server.post("/predictions/echo", data=body)
    assert r.status_code == 200 and r.content == body
    assert "content-type" not in r.headers
    [d] = server.get("/models/echo", api="management").json()
    assert (d["modelVersion"], d["runtime"], d["batchSize"], d["maxBatchDelay"]) == ("1.0", "python", 1, 100)


@pytest.mark.parametrize("size", [0, 1, 4096, 300_000, 5_000_000])
def test_bodies_of_every_size_come_back(serve, store, size):
    folder(store, "echo", ECHO)
    server = start(serve, store, ["echo"])
    ready(server, "echo")
    body = os.urandom(size)
    for _ in range(3):
        assert server.post("/predictions/echo", data=body).content == body
    chunks = (body[i:i + 10000] for i in range(0, max(size, 1), 10000))
    assert server.post("/predictions/echo", data=chunks).content == body


def test_rows_are_what_the_contract_says(serve, store):
    folder(store, "tell", TELL)
    server = start(serve, store, ["tell"])
    ready(server, "tell")

    def tell(**more):
        return server.post("/predictions/tell", **more)

    r = tell(data=b"abc")
    told = r.json()
    assert told["row"] == {"body": ["bytearray", "abc"]}
    assert told["id"] == r.headers["x-request-id"]
    assert told["headers"]["explain"] == "False" and told["headers"]["url_path"] == ""
    assert told["headers"]["Content-Length"] == "3"
    assert tell(json={"a": 1}).json()["row"] == {"body": ["dict", {"a": 1}]}
    assert tell(data="[1, 2", headers={"Content-Type": "application/json"}).json()["row"] == {"body": ["bytearray", "[1, 2"]}
    assert tell(data="ü".encode(), headers={"Content-Type": "text/plain; charset=utf-8"}).json()["row"] == {"body": ["str", "ü"]}
    told = tell(files={"data": ("f.json", b'{"x": 2}', "application/json"), "raw": ("f", b"\x00\x01")}, data={"plain": "p"}).json()
    assert told["row"] == {"data": ["dict", {"x": 2}], "raw": ["bytearray", "\x00\x01"], "plain": ["bytearray", "p"]}
    assert told["headers"]["data"] == {"content-type": "application/json"}
    assert tell(data={"a": "b c", "d": "é&"}).json()["row"] == {"a": ["bytearray", "b c"], "d": ["bytearray", "Ã©&"]}
    assert server.post("/predictions/tell/1.0/v1/chat", data=b"").json()["headers"]["url_path"] == "v1/chat"
    assert server.post("/explanations/tell", data=b"x").json()["headers"]["explain"] == "True"
    r = tell(data="%zz=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (r.status_code, r.json()["type"], r.json()["message"]) == (500, "ErrorDataDecoderException", "Bad string: '%zz'")


def test_answers_and_errors_are_what_the_contract_says(serve, store):
    folder(store, "o", ORDERS)
    server = start(serve, store, ["o"])
    pids = ready(server, "o")
    ask = lambda order, **more: server.post("/predictions/o", data=order.encode(), **more)

    def error(order, code, message):
        r = ask(order)
        assert (r.status_code, r.json()) == (code, {"code": code, "type": "InternalServerException", "message": message}), order
        assert r.headers["content-type"] == "application/json"

    r = ask("json")
    assert r.content == json.dumps({"a": [1, 2.5, None, "ü"]}, indent=2).encode()
    r = ask("status 299 Fine then")
    assert (r.status_code, r.reason, r.headers["x-handler"], r.headers["content-type"]) == (299, "Fine then", "yes", "text/x-test")
    for order, length in ("status 204 Gone well", None), ("status 304 As before", "20"):
        r = ask(order)
        assert (f"status {r.status_code} {r.reason}", r.content, r.headers.get("content-length")) == (order, b"", length)
    error("raise ValueError('x')", 503, "Prediction failed")
    error("raise MemoryError()", 507, "Out of resources")
    error("raise RuntimeError('CUDA out of memory')", 507, "Out of resources")
    r = ask("predict 599")
    assert (r.status_code, r.json()["message"]) == (599, "not today")
    assert ask("predict 413").status_code == 507
    error("none", 503, "Invalid model predict output")
    error("tuple", 503, "Invalid model predict output")
    error("short", 503, "number of batch response mismatched")
    error("set", 503, "Unsupported model output data type.")
    assert ready(server, "o") == pids
    assert "Traceback" in model_log(server) and "ValueError: x" in model_log(server)


def test_a_huge_answer_is_refused_and_the_worker_lives(serve, store):
    folder(store, "o", ORDERS)
    server = start(serve, store, ["o"], max_response_size=100000)
    pids = ready(server, "o")
    assert len(server.post("/predictions/o", data=b"big 100000").content) == 100000
    r = server.post("/predictions/o", data=b"big 100001")
    assert r.status_code == 500 and "max_response_size" in r.json()["message"]
    assert server.post("/predictions/o", data=b"fine").content == b"fine"
    assert ready(server, "o") == pids


@pytest.mark.parametrize("order", ["close", "fork", "stdout", "signals", "thread"])
def test_what_a_handler_does_to_its_process_costs_nobody_else(serve, store, order):
    folder(store, "o", ORDERS)
    folder(store, "echo", ECHO)
    server = start(serve, store, ["o", "echo"])
    ready(server, "o"), ready(server, "echo")
    assert server.post("/predictions/o", data=order.encode(), timeout=60).status_code in (200, 500)
    for _ in range(3):
        assert server.post("/predictions/o", data=b"after", timeout=60).content == b"after"
        assert server.post("/predictions/echo", data=b"me").content == b"me"
    assert server.delete("/models/o", timeout=60).status_code == 200


# ---- batches ----


def test_batches_are_formed_and_answered_in_order(serve, store):
    folder(store, "b", """
        import os, time
        def handle(data, context):
            if data is None:
                return None
            while not os.path.exists("%s"):
                time.sleep(0.005)
            return [f"{len(data)} {bytes(r['body']).decode()}" for r in data]
    """ % (store / "go"), config={"batchSize": 8, "maxBatchDelay": 20})
    server = start(serve, store, ["b"])
    ready(server, "b")
    answers = {}

    def ask(i):
        answers[i] = server.post("/predictions/b", data=str(i).encode()).text.split()
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    server.wait_accepted(40)
    (store / "go").touch()
    for t in threads:
        t.join()
    assert all(answers[i][1] == str(i) for i in range(40))
    sizes = {int(a[0]) for a in answers.values()}
    assert max(sizes) == 8, sizes


def test_a_lone_request_does_not_wait_for_its_batch(serve, store):
    folder(store, "echo", ECHO, config={"batchSize": 32, "maxBatchDelay": 30000})
    server = start(serve, store, ["echo"])
    ready(server, "echo")
    server.post("/predictions/echo", data=b"warm")
    began = time.monotonic()
    assert server.post("/predictions/echo", data=b"x").content == b"x"
    assert time.monotonic() - began < 15


def test_the_queue_is_bounded(serve, store):
    folder(store, "o", ORDERS, config={"jobQueueSize": 3})
    server = start(serve, store, ["o"])
    ready(server, "o")
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(server.post("/predictions/o", data=b"sleep 3", timeout=60).status_code))
               for _ in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(codes) == [200] * 4 + [503] * 6


# ---- deaths ----


def test_killed_workers_are_not_noticed(serve, store):
    folder(store, "echo", ECHO)
    server = start(serve, store, ["echo"], default_workers_per_model=2, job_queue_size=200, access_log="false")
    ready(server, "echo", 2)
    with Load(server, "/predictions/echo", connections=64) as load:
        for i in range(11):  # one of the two ten times in a row, then both at once
            pids = ready(server, "echo", 2)
            for pid in pids[:1 if i < 10 else 2]:
                send(pid, signal.SIGKILL)
            load.wait_for_answers(100)
            wait_for(lambda: set(pids).isdisjoint(ready(server, "echo", 1)) or i < 10, 30)
    assert load.failures == []


@pytest.mark.parametrize("order", ["kill", "segv", "exit", "sysexit", "sysexit2"])
def test_the_culprit_alone_gets_the_error(serve, store, order):
    folder(store, "o", ORDERS, config={"batchSize": 4, "minWorkers": 2, "maxWorkers": 2})
    server = start(serve, store, ["o"])
    ready(server, "o", 2)
    answers = {}
    orders = {i: (order if i == 5 else f"fine{i}") for i in range(12)}

    def ask(i):
        r = server.post("/predictions/o", data=orders[i].encode(), timeout=90)
        answers[i] = (r.status_code, r.text)
    threads = [threading.Thread(target=ask, args=(i,)) for i in orders]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {i for i, a in answers.items() if a[0] != 200} == {5}, answers
    assert answers[5][0] == 500 and json.loads(answers[5][1])["message"] == "Worker died."
    assert all(answers[i][1] == orders[i] for i in orders if i != 5)
    assert server.post("/predictions/o", data=b"again", timeout=60).content == b"again"


def test_a_time_out_is_answered_at_once(serve, store):
    folder(store, "o", ORDERS, config={"responseTimeout": 2, "startupTimeout": 60})
    server = start(serve, store, ["o"])
    [pid] = ready(server, "o")
    began = time.monotonic()
    r = server.post("/predictions/o", data=b"sleep 30", timeout=20)
    assert r.status_code == 500 and r.json()["message"] == "Worker died."
    assert 1.5 < time.monotonic() - began < 20
    wait_for(lambda: ready(server, "o") != [pid], 30)
    assert server.post("/predictions/o", data=b"fine", timeout=30).content == b"fine"
    # What operators look for, in this order (workers-and-handlers.md §14.8).
    end = "Auto recovery succeeded, reset recoveryStartTS"
    wait_for(lambda: end in server.logs()["ts_log.log"], what=end)
    said = server.logs()["ts_log.log"]
    order = [re.search(line, said) for line in (
        "Backend worker did not respond in given time", r"9000 Worker disconnected\. \w+", r"Auto recovery start timestamp: \d+",
        r"Retry worker: 9000 in \d+ seconds\.", end)]
    assert all(order) and [m.start() for m in order] == sorted(m.start() for m in order), said


def test_every_failed_start_leaves_its_traceback(serve, store):
    """TorchServe's own check asks for four."""
    folder(store, "bad", "def handle(d, c):\n    raise ValueError('no weights')\n", config={"minWorkers": 1, "maxWorkers": 1})
    server = start(serve, store, ["bad"])
    wait_for(lambda: model_log(server).count("ValueError: no weights") >= 4, 60, "four attempts")
    assert model_log(server).count("Traceback (most recent call last)") >= 4
    wait_for(lambda: "Auto recovery failed again" in server.logs()["ts_log.log"], what="the line about it")
    assert workers(server, "bad")[0]["status"] == "UNLOADING"


def test_the_end_of_a_worker_is_told(serve, store):
    folder(store, "o", """
        import os, sys
        def handle(data, context):
            if data is None:
                return None
            sys.stderr.write("the disk is on fire\\n")
            sys.stderr.flush()
            os._exit(7)
    """)
    server = start(serve, store, ["o"])
    ready(server, "o")
    assert server.post("/predictions/o", data=b"x", timeout=60).status_code == 500
    last = wait_for(lambda: [w["lastEnd"] for w in workers(server, "o") if "lastEnd" in w], 20)[0]
    assert "status 7" in last and "the disk is on fire" in last
    assert "the disk is on fire" in (server.folder / "logs" / "ts_log.log").read_text()


def test_workers_survive_the_frontend_and_their_prints_do_too(serve, store):
    folder(store, "o", """
        def handle(data, context):
            if data is None:
                return None
            print("printed", bytes(data[0]["body"]).decode())
            return ["ok"]
    """)
    server = start(serve, store, ["o"])
    pids = ready(server, "o")
    assert server.post("/predictions/o", data=b"before").text == "ok"
    wait_for(lambda: "printed before" in model_log(server), 10)  # what it has read and not written goes with it
    server.kill_role("frontend")
    wait_for(lambda: "frontend" in server.tree() and server.pids("frontend"), 10)
    server.wait_healthy()
    assert ready(server, "o") == pids
    assert server.post("/predictions/o", data=b"after").text == "ok"
    wait_for(lambda: "printed after" in model_log(server), 10)


# ---- loading ----


@pytest.mark.parametrize("source,said", [
    ("import no_such_module\ndef handle(d, c): return d\n", "No module named 'no_such_module'"),
    ("def handle(d, c:\n", "SyntaxError"),
    ("class A:\n    def handle(self, d, c): pass\nclass B:\n    def handle(self, d, c): pass\n", "Expected only one class"),
    ("def handle(d, c):\n    raise ValueError('no weights')\n", "no weights"),
    ("import os\nos._exit(9)\n", ""),
])
def test_a_handler_that_cannot_load_is_refused(serve, store, source, said):
    folder(store, "bad", source)
    server = serve(store=store, config=PYTHON)
    r = server.post("/models?url=bad&initial_workers=1", api="management", timeout=60)
    assert r.status_code == 500, r.text
    assert r.json()["message"].startswith("Failed to start workers for model bad version: 1.0")
    assert server.get("/models/bad", api="management").status_code == 404
    if said:
        wait_for(lambda: said in model_log(server), 10)
    assert server.post("/models?url=bad&initial_workers=0", api="management").status_code == 200


def test_memory_that_lacks_at_load_is_507(serve, store):
    folder(store, "bad", "def handle(d, c):\n    raise MemoryError()\n")
    server = serve(store=store, config=PYTHON)
    assert server.post("/models?url=bad&initial_workers=1", api="management", timeout=60).status_code == 507


def test_a_load_that_hangs_is_given_up(serve, store):
    folder(store, "slow", "import time\ndef handle(d, c):\n    time.sleep(3600)\n", config={"startupTimeout": 2})
    server = serve(store=store, config=PYTHON)
    began = time.monotonic()
    r = server.post("/models?url=slow&initial_workers=1", api="management", timeout=60)
    assert r.status_code == 500 and time.monotonic() - began < 20
    line = "Backend worker did not respond in given time: model slow: the model did not load"
    wait_for(lambda: line in server.logs()["ts_log.log"], what=line)


def test_a_handler_that_prints_100_mb_harms_nobody(serve, store):
    folder(store, "loud", """
        import sys
        def handle(data, context):
            if data is None:
                line = "x" * 99 + "\\n"
                for _ in range(100):
                    sys.stdout.write(line * 10000)
                return None
            return ["ok"] * len(data)
    """)
    folder(store, "echo", ECHO)
    server = start(serve, store, ["echo"])
    ready(server, "echo")
    rss = server.rss("frontend")
    r = {}
    t = threading.Thread(target=lambda: r.update(code=server.post("/models?url=loud&initial_workers=1", api="management", timeout=120).status_code))
    t.start()
    while t.is_alive():
        assert server.post("/predictions/echo", data=b"me", timeout=5).content == b"me"
        time.sleep(0.05)
    assert r["code"] == 200
    assert server.rss("frontend") - rss < 64 << 20
    assert server.post("/predictions/loud", data=b"x").text == "ok"


# ---- scaling ----


def test_scaling_counts_processes(serve, store):
    folder(store, "o", ORDERS)
    server = start(serve, store, ["o"])
    ready(server, "o")
    assert server.put("/models/o?min_worker=3&max_worker=3&synchronous=true", timeout=60).status_code == 200
    pids = ready(server, "o", 3)
    assert len(set(pids)) == 3
    assert [int(w["id"]) for w in workers(server, "o")] == sorted(int(w["id"]) for w in workers(server, "o"))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post("/predictions/o", data=b"sleep 1", timeout=60).status_code))
               for _ in range(6)]
    for t in threads:
        t.start()
    server.wait_accepted(6)
    assert server.put("/models/o?min_worker=1&max_worker=1&synchronous=true", timeout=60).status_code == 200
    for t in threads:
        t.join()
    assert answers == [200] * 6
    wait_for(lambda: len(workers(server, "o")) == 1, 20)
    assert ready(server, "o") == pids[:1], "the newest end first"


def test_unregistering_finishes_what_runs(serve, store):
    mar(store, "o", ORDERS)
    server = serve(store=store, config=PYTHON)
    assert server.post("/models?url=o.mar&initial_workers=1", api="management", timeout=60).status_code == 200
    answers = []
    t = threading.Thread(target=lambda: answers.append(server.post("/predictions/o", data=b"sleep 1", timeout=60).status_code))
    t.start()
    server.wait_busy()
    assert server.delete("/models/o", timeout=60).status_code == 200
    t.join()
    assert answers == [200]

"""What people and programs do wrong: each gets an error that names the thing and the remedy, and nobody else notices."""
import os
import signal
import socket
import time

import harness
import pytest
from harness import wait_for, wire
from test_death import faulty, wait_ready

LIMIT = 6553500


@pytest.fixture
def bystander(echo):
    """After the test the neighbour still echoes, from the same processes."""
    before = [echo.pid("frontend"), echo.pid("executor echo")]
    yield echo
    with wire(echo) as w:
        assert w.ask("POST", "/predictions/echo", b"still here").content == b"still here"
    assert [echo.pid("frontend"), echo.pid("executor echo")] == before
    idle = lambda: echo.get("/models/echo", api="management").json()[0]["jobQueueStatus"]["pendingRequests"] == 0
    wait_for(idle, 10, "an empty queue")


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"]
    assert body["code"] == r.status_code
    return r.status_code, body["type"], body["message"]


# ---- over HTTP ----


@pytest.mark.parametrize("path,code,kind,named", [
    ("/predictions/nope", 404, "ModelNotFoundException", "nope"),
    ("/predictions/echo/7", 404, "ModelVersionNotFoundException", "7"),
    ("/predictions/a%2Fb", 404, "ModelNotFoundException", "Model not found: a"),
    ("/predictions/a%00b", 404, "ModelNotFoundException", "Model not found: a\0b"),
    ("/predictions/echo%00", 404, "ModelNotFoundException", "Model not found: echo\0"),
    ("/predictions/%ff%fe", 404, "ModelNotFoundException", "Model not found: "),
    ("/predictions/%E6%97%A5", 404, "ModelNotFoundException", "Model not found: 日"),
    ("/predictions/..", 404, "ModelNotFoundException", "Model not found: .."),
    ("/predictions/" + "x" * 3000, 404, "ModelNotFoundException", "x" * 3000),
    ("/predictions/echo%", 403, "IllegalArgumentException", "/predictions/echo%"),
    ("/predictions/%zz", 403, "IllegalArgumentException", "zz"),
    ("/predictions/%", 403, "IllegalArgumentException", "%"),
])
def test_names_that_nobody_has(bystander, path, code, kind, named):
    with wire(bystander) as w:
        r = w.ask("POST", path, b"x")
    assert error(r)[:2] == (code, kind)
    assert named in error(r)[2]


@pytest.mark.parametrize("path", ["/models/a%00b", "/models/nope", "/models/echo/%00", "/models/" + "x" * 3000])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_names_that_nobody_has_in_management(bystander, path, method):
    with wire(bystander, "management") as w:
        assert error(w.ask(method, path))[0] == 404


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\0b", "a\nb", "x" * 256])
def test_a_name_that_is_none_cannot_be_registered(bystander, name):
    query = "".join("%%%02X" % b for b in name.encode())
    with wire(bystander, "management") as w:
        r = w.ask("POST", f"/models?url=identity&model_name={query}")
        assert error(r)[:2] == (400, "BadRequestException")
        assert "is no name for a model: use 1 to 255 bytes of UTF-8" in error(r)[2]
    assert len(bystander.get("/models", api="management").json()["models"]) == 1


def test_settings_that_would_break_the_journal(bystander):
    for query in ("a%0Adir=/etc", "a%3Db=c", "a=%00"):
        with wire(bystander, "management") as w:
            assert error(w.ask("POST", f"/models?url=identity&model_name=j&{query}"))[0] == 400, query


def test_no_body_is_an_empty_body(bystander):
    with wire(bystander) as w:
        r = w.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\n\r\n").reply()
        assert (r.status_code, r.content) == (200, b"")


def test_a_body_over_the_limit_is_refused_before_it_is_sent(bystander):
    with wire(bystander) as w:
        w.send(f"POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LIMIT + 1}\r\nExpect: 100-continue\r\n\r\n")
        r = w.reply()
        assert (r.status_code, r.reason, r.headers["content-length"]) == (413, "Request Entity Too Large", "0")
        assert "x-request-id" not in r.headers


def test_a_body_over_the_limit_is_skipped_and_the_connection_goes_on(bystander):
    with wire(bystander, timeout=30) as w:
        r = w.ask("POST", "/predictions/echo", b"x" * (LIMIT + 1))
        assert (r.status_code, r.content) == (413, b"")
        assert w.ask("POST", "/predictions/echo", b"next").content == b"next"


def test_a_chunked_body_that_grows_past_the_limit(bystander):
    with wire(bystander, timeout=30) as w:
        w.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(LIMIT // 65536 + 2):
                w.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
        except OSError:
            pass  # it may close while we still send
        r = w.reply()
        assert (r.status_code, r.headers["connection"]) == (413, "close")
        assert w.closed()


def test_lengths_that_no_memory_could_hold(bystander):
    for length in ("18446744073709551615", "9223372036854775807", "99999999999999999999", "-2", "0x10", "1,1", " "):
        with wire(bystander) as w:
            r = w.send(f"POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n").reply()
            assert r.status_code in (400, 413), length


@pytest.mark.parametrize("request_", [
    "POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf",
    "POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nhalf",
    "POST /predictions/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nhalf",
    "POST /predictions/echo HTTP/1.1\r\nHos",
    "POST /predictions/ec",
])
def test_truncated_requests_leave_nothing(bystander, request_):
    fds = bystander.fds("frontend")
    for _ in range(20):
        with wire(bystander) as w:
            w.send(request_)
    for _ in range(20):
        with wire(bystander) as w:
            w.send(request_).finish()
            w.more()
    wait_for(lambda: bystander.fds("frontend") <= fds, 10, "the descriptors to be closed")


@pytest.mark.parametrize("noise", [b"\0" * 100 + b"\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
                                   b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 2000 + b"\r\n", b"GET /" + b"x" * 5000 + b" HTTP/1.1\r\n\r\n",
                                   b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n", b"GET /ping\r\n\r\n", b"\r\n\r\n\r\nhello\r\n\r\n"])
def test_noise(bystander, noise):
    with wire(bystander) as w:
        try:
            w.send(noise).finish()
        except OSError:
            pass
        reply = w.reply()
        assert reply.status_code >= 400
        assert error(reply)[1]


def test_bad_management_bodies(bystander):
    for body in (b"{", b"[1,2]", b'"x"', b"[" * 100000, b'{"url": ' + b"[" * 100000, b'{"url": "' + b"x" * 1000000, b"\xff\xfe",
                 b'{"url":"identity","url":', b'{"a":1}{"b":2}'):
        with wire(bystander, "management") as w:
            r = w.ask("POST", "/models", body, {"Content-Type": "application/json"})
            assert error(r)[:2] == (500, "JsonSyntaxException"), body[:40]
    long = b'{"url": "' + b"x" * 1000000 + b'"}'
    with wire(bystander, "management") as w:
        assert error(w.ask("POST", "/models", long, {"Content-Type": "application/json"}))[:2] == (404, "ModelNotFoundException")


def test_clients_gone_in_mid_batch_harm_no_neighbour(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, batchSize=8)
    server = serve(models={"f": "f"}, store=store)
    [worker] = wait_ready(server, "f")
    frontend = server.pid("frontend")
    fds = server.fds("frontend")
    blocker = wire(server).send("POST /predictions/f HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nsleep 800")
    time.sleep(0.2)
    held = [wire(server).send(b"POST /predictions/f HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n%04d" % i) for i in range(24)]
    time.sleep(0.2)
    for w in held[::2]:
        w.close()
    blocker.close()
    for i, w in enumerate(held):
        if i % 2:
            assert w.reply().text == "%04d" % i
            w.close()
    assert (wait_ready(server, "f"), server.pid("frontend")) == ([worker], frontend)
    wait_for(lambda: server.fds("frontend") <= fds, 10, "the descriptors to be closed")
    metrics = server.get("/metrics", api="metrics").text
    assert 'sconce_in_flight{model_name="f"' in metrics


def test_clients_that_do_not_read_stop_nobody(bystander):
    held = [wire(bystander) for _ in range(10)]
    body = b"x" * 4000000
    for w in held:
        w.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        w.send(b"POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n" + body)
    for _ in range(20):
        assert bystander.post("/predictions/echo", data=b"quick", timeout=5).content == b"quick"
    for w in held:
        assert w.reply().content == body
        w.close()


# ---- models ----


@pytest.mark.parametrize("files,named", [
    ({}, "has no config.json"),
    ({"model-config.yaml": "minWorkers: many\n"}, 'minWorkers is "many"'),
    ({"model-config.yaml": "minWorkers: 65\n"}, "from 0 to 64"),
    ({"model-config.yaml": "batchPolicy: lazy\n"}, "batchPolicy"),
    ({"model-config.yaml": "replay: sometimes\n"}, "replay"),
    ({"model-config.yaml": "a: [1, 2\n"}, "model-config.yaml"),
    ({"model-config.yaml": "a: &x 1\nb: *x\n"}, "model-config.yaml"),
    ({"model-config.yaml": "\xff\xfe\n"}, "model-config.yaml"),
    ({"model-config.yaml": "backend: ../../evil\n"}, "backend"),
    ({"model-config.yaml": "x: " + "y" * 4000 + "\n"}, "the setting x exceeds 3072 bytes"),
    ({"model-config.yaml": "".join(f"k{i}: 1\n" for i in range(70))}, "64 settings"),
    ({"model-config.yaml": "backend: nosuchbackend\n"}, "nosuchbackend"),
])
def test_a_folder_that_is_no_model(bystander, tmp_path, files, named):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    r = bystander.post("/models", api="management", params={"url": str(folder), "initial_workers": 1})
    assert r.status_code >= 400
    assert named in error(r)[2], error(r)
    assert bystander.get("/models/model", api="management").status_code == 404


def test_an_archive_outside_the_store_is_not_found(bystander, tmp_path):
    file = tmp_path / "model.mar"
    file.write_bytes(b"PK")
    r = bystander.post("/models", api="management", params={"url": str(file)})
    assert error(r) == (404, "ModelNotFoundException", f"Model not found at: {file}")


def test_a_folder_named_so_that_no_model_can_have_its_name(bystander, tmp_path):
    folder = tmp_path / "a\tb"
    folder.mkdir()
    (folder / "model-config.yaml").write_text("backend: faulty\n")
    r = bystander.post("/models", api="management", params={"url": str(folder)})
    assert error(r)[0] == 400
    r = bystander.post("/models", api="management", params={"url": str(folder), "model_name": "tab"})
    assert r.status_code == 200
    assert bystander.delete("/models/tab").status_code == 200


# ---- the command line and the settings ----


@pytest.fixture
def refuse(build, tmp_path):
    made = []

    def start(**settings):
        server = harness.Server(build=build, folder=tmp_path / f"refused{len(made)}", **settings)
        made.append(server)
        status, output = server.refused(30)
        assert status == 2, f"ended with {status}:\n{output}"
        server.assert_nothing_left()
        assert len(output.splitlines()) <= 2, f"one sentence is enough:\n{output}"
        return output

    yield start
    for server in made:
        server.kill()


@pytest.mark.parametrize("args,named", [
    (["--nope"], ["--nope", "sconce serve --help"]),
    (["stray"], ["stray", "sconce serve --help"]),
    (["--set"], ["--set", "sconce serve --help"]),
    (["--set", "job_queue_size"], ["KEY=VALUE", "job_queue_size"]),
    (["--set", "job_queue_sise=5"], ["job_queue_sise", "no setting of that name"]),
    (["--set", "job_queue_size=0"], ["job_queue_size", '"0"', "from 1 to"]),
    (["--set", "max_request_size=9999999999999"], ["max_request_size", "from 1 to"]),
    (["--set", "initial_worker_port=65536"], ["initial_worker_port", "65535"]),
    (["--set", "inference_address="], ["inference_address", "is empty"]),
    (["--model-store", "/no/such/store"], ["/no/such/store", "--model-store"]),
    (["--config", "/no/such/file"], ["/no/such/file", "No such file"]),
    (["--config", "/proc"], ["/proc", "no regular file"]),
    (["--management-address", "http://0.0.0.0:8081"], ["http://0.0.0.0:8081", "--insecure"]),
    (["--management-address", "http://127.0.0.1.example.com:8081"], ["example.com", "--insecure"]),
    (["--inference-address", "unix:/no/such/folder/s"], ["/no/such/folder/s", "folder does not exist"]),
    (["--set", "log_location=/proc/nowhere"], ["/proc/nowhere", "LOG_LOCATION"]),
])
def test_a_command_line_that_is_wrong(refuse, args, named):
    output = refuse(args=args)
    for word in named:
        assert word in output


@pytest.mark.parametrize("key,value", [("max_request_size", "many"), ("number_of_netty_threads", "-1"), ("job_queue_size", "1e3"),
                                       ("default_response_timeout", "99999999999999999999")])
def test_a_setting_that_is_wrong_is_named_with_file_and_line(refuse, key, value):
    output = refuse(config={key: value})
    assert f"config.properties:7: {key} is \"{value}\"" in output


def test_a_config_file_that_is_too_large(build, tmp_path):
    server = harness.Server(build=build, folder=tmp_path)
    server.config_file.write_text("# x\n" * 4_200_000)
    status, output = server.refused(30)
    assert status == 2 and str(server.config_file) in output and str(16 << 20) in output


def test_management_for_everybody_when_told_so(serve):
    port = harness.free_ports(1)[0]
    server = serve(args=["--insecure", "--management-address", f"http://0.0.0.0:{port}"])
    server.ports["management"] = port
    assert server.get("/models", api="management").status_code == 200


def test_a_port_in_use_is_named_with_the_remedy(refuse):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        address = f"http://127.0.0.1:{s.getsockname()[1]}"
        output = refuse(config={"metrics_address": address})
    assert address in output and "in use" in output


def test_a_store_that_cannot_be_read(refuse, tmp_path):
    store = tmp_path / "closed"
    store.mkdir()
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    store.chmod(0)
    assert str(store) in refuse(store=store)


def test_a_second_server_on_the_same_ports_leaves_the_first_alone(serve, build, tmp_path):
    first = serve(models={"echo": "identity"})
    second = harness.Server(build=build, folder=tmp_path / "second", models={"echo": "identity"})
    second.config_file.write_text(first.config_file.read_text())
    status, output = second.refused(30)
    assert status == 2 and str(first.ports["inference"]) in output
    second.assert_nothing_left()
    assert first.post("/predictions/echo", data=b"mine").content == b"mine"


def test_two_servers_share_a_machine(serve):
    a, b = serve(models={"echo": "identity"}), serve(models={"echo": "identity"})
    a.kill_role("executor echo")
    assert b.post("/predictions/echo", data=b"b").content == b"b"
    assert a.stop(signal.SIGTERM) == 0
    assert b.post("/predictions/echo", data=b"b").content == b"b"

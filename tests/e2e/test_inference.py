"""Predictions and /ping over HTTP: methods, paths, bodies, headers, errors (docs/contract.md §2, §4)."""
import threading

import harness
import pytest
from harness import wait_for, wire
from test_death import faulty, wait_ready


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"]
    assert body["code"] == r.status_code
    assert r.headers["content-type"] == "application/json"
    return r.status_code, body["type"], body["message"]


@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "DELETE", "PATCH", "FOO"])
def test_any_method_predicts(echo, method):
    with wire(echo) as w:
        r = w.ask(method, "/predictions/echo", "body of " + method)
        assert (r.status_code, r.text) == (200, "body of " + method)


def test_head_has_the_length_of_the_answer_that_it_does_not_send(echo):
    with wire(echo) as w:
        r = w.ask("HEAD", "/predictions/echo", b"12345")
        assert (r.status_code, r.headers["content-length"], r.content) == (200, "5", b"")
        assert w.ask("GET", "/ping").status_code == 200


@pytest.mark.parametrize("path", ["/predictions/echo/", "/predictions/echo/1.0/", "/predictions/echo/1.0/any/rest",
                                  "/predictions/%65cho", "/predictions%2Fecho", "/predictions/echo?x=1", "//predictions/echo"])
def test_paths_that_reach_the_model(echo, path):
    with wire(echo) as w:
        code = w.ask("POST", path, b"x").status_code
        assert code == (200 if not path.startswith("//") else 404)


@pytest.mark.parametrize("path,kind", [
    ("/predictions", "ResourceNotFoundException"), ("/predictions/", "ResourceNotFoundException"),
    ("/predictions/Echo", "ModelNotFoundException"), ("/predictions/ech", "ModelNotFoundException"),
    ("/predictions/echoo", "ModelNotFoundException"), ("/predictions/echo/1", "ModelVersionNotFoundException"),
    ("/predictions/echo/1.00", "ModelVersionNotFoundException"), ("/models/echo", "ResourceNotFoundException"),
    ("/pings", "ResourceNotFoundException"),
])
def test_paths_that_do_not(echo, path, kind):
    with wire(echo) as w:
        assert error(w.ask("POST", path, b"x"))[:2] == (404, kind)
        assert w.closed()


def test_ping_takes_any_method_and_any_path_below(echo):
    for method, path in (("GET", "/ping"), ("POST", "/ping"), ("DELETE", "/ping/anything/else"), ("FOO", "/ping/"), ("GET", "/ping?x")):
        with wire(echo) as w:
            r = w.ask(method, path, b"a body is not looked at" if method == "POST" else b"")
            assert (r.status_code, r.json()) == (200, {"status": "Healthy"}), (method, path)


def test_ping_is_unhealthy_while_a_default_version_has_too_few_workers(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, loadError="never", maxRetryTimeoutInSec=1)
    server = serve(models={"echo": "identity"}, store=store)
    assert server.post("/models?url=f&synchronous=false", api="management").status_code == 202
    wait_for(lambda: server.get("/ping").status_code == 500, 20, "unhealthy")
    with wire(server) as w:
        r = w.ask("GET", "/ping")
        assert (r.status_code, r.content) == (500, b'{\n  "status": "Unhealthy"\n}\n')
        assert r.headers["connection"] == "close"
    assert server.post("/predictions/echo", data=b"x").content == b"x", "the others are served"
    r = server.post("/predictions/f", data=b"x")
    assert error(r)[:2] == (503, "ServiceUnavailableException"), "nobody will come for it: no waiting"
    assert server.delete("/models/f").status_code == 200
    assert server.get("/ping").status_code == 200


def test_who_waits_for_a_worker_that_is_given_up_is_answered(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, loadError="never", maxRetryTimeoutInSec=2)
    server = serve(store=store)
    assert server.post("/models?url=f&synchronous=false", api="management").status_code == 202
    r = server.post("/predictions/f", data=b"x")
    assert error(r) == (503, "ServiceUnavailableException", 'Model "f" has no worker to serve inference request. Please use '
                                                            'scale workers API to add workers.')


def test_bodies_of_all_sizes(echo):
    limit = 6553500
    with wire(echo, timeout=30) as w:
        for n in (0, 1, 255, 256, 4095, 4096, 4097, 65536, 262143, 262144, 262145, 1 << 20, limit):
            body = (b"0123456789abcdef" * (n // 16 + 1))[:n]
            r = w.ask("POST", "/predictions/echo", body)
            assert r.status_code == 200
            assert r.content == body, n


@pytest.mark.parametrize("n", [0, 1, 5000, 300000, 2 << 20])
def test_chunked_bodies_of_all_sizes(echo, n):
    body = bytes(range(256)) * (n // 256 + 1)
    body = body[:n]
    with wire(echo, timeout=30) as w:
        w.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, n, 70000):
            piece = body[at:at + 70000]
            w.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        w.send("0\r\n\r\n")
        assert w.reply().content == body


def test_pipelined_requests_are_answered_in_order(echo):
    with wire(echo) as w:
        w.send(b"".join(b"POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n%03d"
                        b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(50)))
        for i in range(50):
            assert w.reply().text == "%03d" % i
            assert w.reply().json() == {"status": "Healthy"}


def test_expect_100_continue(echo):
    with wire(echo) as w:
        w.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert w.reply().status_code == 100
        w.send("ok")
        assert w.reply().text == "ok"


def test_a_request_id_is_fresh_and_the_clients_changes_nothing(echo):
    with wire(echo) as w:
        ids = [w.ask("POST", "/predictions/echo", b"x", {"x-request-id": "mine"}).headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == 5 and "mine" not in ids


def test_cors_headers_come_with_every_answer_of_every_listener(serve):
    server = serve(models={"echo": "identity"}, config={"cors_allowed_origin": "*", "cors_allowed_methods": "GET, POST",
                                                        "cors_allowed_headers": "X-A, X-B"})
    answers = [server.get("/ping"), server.post("/predictions/echo", data=b"x"), server.get("/nowhere"),
               server.get("/models", api="management"), server.get("/metrics", api="metrics")]
    for r in answers:
        assert r.headers["access-control-allow-origin"] == "*"
        assert r.headers["access-control-allow-methods"] == "GET, POST"
        assert r.headers["access-control-allow-headers"] == "X-A, X-B"


def test_one_port_for_all(serve, monkeypatch):
    [port] = harness.free_ports(1)
    monkeypatch.setattr(harness, "free_ports", lambda n: [port] * n)
    server = serve(models={"echo": "identity"}, config={"number_of_netty_threads": 3, **harness.NO_GRPC})
    assert server.get("/ping").status_code == 200
    assert server.get("/models").json()["models"][0]["modelName"] == "echo"
    assert server.post("/predictions/echo", data=b"x").content == b"x"
    assert server.put("/models/echo/1.0/set-default").status_code == 200
    assert "Requests2XX" in server.get("/metrics").text


def test_a_request_of_a_default_version_moves_with_the_default(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(store=store)
    for url, version in (("identity", "1"), ("f", "2")):
        r = server.post("/models", api="management", params={"url": url, "model_name": "m", "model_version": version, "initial_workers": 1})
        assert r.status_code == 200, r.text
    assert server.post("/predictions/m", data=b"exit").content == b"exit", "identity echoes it"
    assert server.put("/models/m/2/set-default").status_code == 200
    assert server.post("/predictions/m/1", data=b"exit").content == b"exit"
    assert error(server.post("/predictions/m", data=b"exit"))[2] == "Worker died."


def test_errors_of_a_backend(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store)
    wait_ready(server, "f")
    r = server.post("/predictions/f", data=b"refuse this text")
    assert r.status_code in (400, 500)
    assert "this text" in error(r)[2]
    assert server.post("/predictions/f", data=b"fine").content == b"fine"


def test_a_slow_model_delays_nobody_else(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f", "echo": "identity"}, store=store)
    wait_ready(server, "f")
    wait_ready(server, "echo")
    slow = threading.Thread(target=lambda: server.post("/predictions/f", data=b"sleep 1500"))
    slow.start()
    rounds = 0
    while slow.is_alive():
        assert server.post("/predictions/echo", data=b"x").content == b"x"
        assert server.get("/ping").status_code == 200
        rounds += 1
    assert rounds > 2, "the first would have waited for the slow one"

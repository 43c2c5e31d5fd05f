"""The shortest walk through a server: is it up, does it echo, does it tell what it serves, does it go away clean."""
import json
import os
import re
import signal
import time

import pytest
from harness import alive, wait_for, wire
from test_death import faulty, wait_ready

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def test_ping_is_healthy_to_the_byte(echo):
    with wire(echo) as w:
        r = w.ask("GET", "/ping")
    assert (r.version, r.status_code, r.reason) == ("HTTP/1.1", 200, "OK")
    assert r.content == b'{\n  "status": "Healthy"\n}\n'
    assert [name for name, _ in r.fields] == ["content-type", "x-request-id", "Pragma", "Cache-Control", "Expires",
                                              "content-length", "connection"]
    assert r.headers["content-type"] == "application/json"
    assert UUID.fullmatch(r.headers["x-request-id"])
    assert r.headers["Cache-Control"] == "no-cache; no-store, must-revalidate, private"
    assert r.headers["Expires"] == "Thu, 01 Jan 1970 00:00:00 UTC"
    assert r.headers["content-length"] == "26"
    assert r.headers["connection"] == "keep-alive"


def test_a_server_without_models_is_healthy(serve):
    server = serve()
    assert server.get("/ping").json() == {"status": "Healthy"}
    assert server.get("/models", api="management").content == b'{\n  "models": []\n}\n'


@pytest.mark.parametrize("body", [b"", b"x", b"hello", bytes(range(256)) * 4096])
def test_identity_gives_back_what_it_got(echo, body):
    r = echo.post("/predictions/echo", data=body)
    assert r.status_code == 200
    assert r.content == body


def test_identity_serves_its_version_and_one_connection_serves_many(echo):
    with wire(echo) as w:
        for i in range(20):
            r = w.ask("POST", "/predictions/echo/1.0", f"number {i}")
            assert (r.status_code, r.text) == (200, f"number {i}")


def test_unknown_model_version_and_path(echo):
    r = echo.get("/predictions/nope")
    assert r.status_code == 404
    assert r.headers["connection"] == "close"
    assert r.text == '{\n  "code": 404,\n  "type": "ModelNotFoundException",\n  "message": "Model not found: nope"\n}\n'

    r = echo.get("/predictions/echo/9.9")
    assert (r.status_code, r.json()["type"]) == (404, "ModelVersionNotFoundException")
    assert r.json()["message"] == "Model version: 9.9 does not exist for model: echo"

    r = echo.get("/no/such/place")
    assert (r.status_code, r.json()["type"]) == (404, "ResourceNotFoundException")
    assert r.json()["message"] == "Requested resource is not found, please refer to API document."


def test_list_names_the_model_and_where_it_came_from(echo):
    r = echo.get("/models", api="management")
    assert r.status_code == 200
    assert json.loads(r.text) == {"models": [{"modelName": "echo", "modelUrl": "identity"}]}
    assert r.text == json.dumps(r.json(), indent=2) + "\n"


def test_describe_has_the_fields_that_clients_read(echo):
    def ready():
        models = echo.get("/models/echo", api="management").json()
        return models if models[0]["workers"] and models[0]["workers"][0]["status"] == "READY" else None

    [model] = wait_for(ready, 10, "the worker to be READY")
    assert model["modelName"] == "echo"
    assert model["modelVersion"] == "1.0"
    assert model["modelUrl"] == "identity"
    assert model["loadedAtStartup"] is True
    assert model["minWorkers"] == model["maxWorkers"] == len(model["workers"])
    assert model["jobQueueStatus"]["pendingRequests"] == 0
    for worker in model["workers"]:
        assert alive(worker["pid"])
        assert (worker["gpu"], worker["gpuUsage"]) == (False, "N/A")

    missing = echo.get("/models/nope", api="management")
    assert (missing.status_code, missing.json()["message"]) == (404, "Model not found: nope")


def test_process_titles_tell_who_is_who(echo):
    assert echo.pid("supervisor") == echo.process.pid
    assert alive(echo.pid("frontend"))
    assert alive(echo.pid("executor echo"))


def test_a_stopped_server_leaves_nothing_behind(serve):
    server = serve(models={"echo": "identity"})
    assert server.stop(signal.SIGTERM) == 0  # looks for processes, shared memory and sanitizer reports


def test_a_second_interrupt_quits_at_once(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store)
    wait_ready(server, "f")
    with wire(server) as w:
        w.send(b"POST /predictions/f HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\nsleep 25000")
        server.wait_accepted(1)
        os.kill(server.process.pid, signal.SIGINT)
        wait_for(lambda: "SIGINT: draining" in server.logs()[server.output.name], 10, "the first one's word")
        time.sleep(0.5)
        assert server.process.poll() is None  # it waits for the request
        assert server.stop(signal.SIGINT, seconds=2) in (0, 130)


def test_a_killed_supervisor_takes_everything_with_it(serve):
    server = serve(models={"echo": "identity"})
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(5)
    server.assert_nothing_left(seconds=1.0)


def test_unix_sockets_serve_the_same(serve):
    server = serve(models={"echo": "identity"}, unix=True)
    assert server.get("/ping").json() == {"status": "Healthy"}
    assert server.post("/predictions/echo", data=b"by socket").content == b"by socket"

"""docs/design.md §3.2: what clients see when something dies. Nothing, mostly."""
import os
import signal
import threading
import time

import pytest
import requests
from clients import Load
from harness import alive, wait_for


def faulty(server_store, name="f", **settings):
    """A model folder that the misbehaving backend serves."""
    folder = server_store / name
    folder.mkdir(parents=True)
    lines = {"backend": "faulty", "minWorkers": 1, "maxWorkers": 1, **settings}
    (folder / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in lines.items()))
    return folder


def ready_workers(server, model):
    r = server.get(f"/models/{model}", api="management").json()[0]
    return [w["pid"] for w in r["workers"] if w["status"] == "READY"]


def wait_ready(server, model, seconds=20):
    return wait_for(lambda: ready_workers(server, model), seconds, f"a worker of {model}")


def test_killed_workers_are_not_noticed_by_200_clients(serve):
    server = serve(models={"echo": "identity"}, config={"access_log": "false"})
    wait_ready(server, "echo")
    with Load(server, "/predictions/echo", connections=200) as load:
        killed = []
        for _ in range(10):
            killed.append(server.kill_role("executor echo"))
            load.wait_for_answers(200)
    assert len(set(killed)) == 10
    assert load.failures == []


def test_a_killed_frontend_is_back_at_once_and_remembers(serve):
    server = serve(models={"echo": "identity"})
    worker = wait_ready(server, "echo")
    assert server.post("/models?url=identity&model_name=api&initial_workers=1", api="management").status_code == 200
    assert server.put("/models/api?min_worker=2&synchronous=true").status_code == 200
    assert server.delete("/models/api").status_code == 200
    assert server.post("/models?url=identity&model_name=api&initial_workers=1", api="management").status_code == 200
    for _ in range(3):
        old = server.kill_role("frontend")
        began = time.monotonic()
        wait_for(lambda: not alive(old))
        while True:
            try:
                assert server.post("/predictions/api", data=b"again", timeout=5).content == b"again"
                break
            except requests.ConnectionError:
                assert time.monotonic() - began < 20  # bench/footprint measures it
                time.sleep(0.005)
        assert server.post("/predictions/echo", data=b"x").content == b"x"
        names = [m["modelName"] for m in server.get("/models", api="management").json()["models"]]
        assert names == ["api", "echo"]
    assert wait_ready(server, "echo") == worker, "the worker was to survive the frontend"


def test_frontend_killed_under_load_loses_only_connections(serve):
    server = serve(models={"echo": "identity"}, config={"access_log": "false"})
    wait_ready(server, "echo")
    with Load(server, "/predictions/echo", connections=50, retry=True) as load:
        for _ in range(5):
            server.kill_role("frontend")
            load.wait_for_answers(100)
    assert load.failures == []


def test_supervisor_killed_leaves_nothing_within_a_second(serve):
    server = serve(models={"echo": "identity"})
    wait_ready(server, "echo")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait(5)
    server.assert_nothing_left(seconds=1.0)


@pytest.mark.parametrize("fault", ["crash", "exit"])
def test_only_the_culprit_gets_an_error(serve, tmp_path, fault):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store, config={"access_log": "false"})
    wait_ready(server, "f")
    with Load(server, "/predictions/f", connections=20) as load:
        answer = server.post("/predictions/f", data=fault.encode(), timeout=60)
        load.wait_for_answers(100)
    assert load.failures == []
    assert answer.status_code == 500
    assert answer.json() == {"code": 500, "type": "InternalServerException", "message": "Worker died."}
    assert server.post("/predictions/f", data=b"fine").content == b"fine"


def test_replay_never_answers_instead_of_running_again(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, replay="never")
    server = serve(models={"f": "f"}, store=store)
    wait_ready(server, "f")
    r = server.post("/predictions/f", data=b"crash")
    assert (r.status_code, r.json()["message"]) == (500, "Worker died.")
    assert server.pids("quarantine") == []


def test_a_hung_worker_is_replaced_and_its_batch_answered(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, responseTimeout=1)
    server = serve(models={"f": "f"}, store=store)
    [old] = wait_ready(server, "f")
    began = time.monotonic()
    r = server.post("/predictions/f", data=b"hang")
    assert (r.status_code, r.json()["message"]) == (500, "Worker died.")
    assert 0.9 < time.monotonic() - began < 20
    assert server.post("/predictions/f", data=b"fine").content == b"fine"
    wait_for(lambda: not alive(old))
    assert server.metric("sconce_worker_hangs_total", "f") == 1


def test_a_slow_request_is_no_hang(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, responseTimeout=3)
    server = serve(models={"f": "f"}, store=store)
    [old] = wait_ready(server, "f")
    assert server.post("/predictions/f", data=b"sleep 1500").status_code == 200
    assert alive(old)


@pytest.mark.parametrize("what", ["rings", "board", "answers"])
def test_a_worker_that_scribbles_is_replaced_and_the_frontend_lives(serve, tmp_path, what):
    store = tmp_path / "store"
    faulty(store, responseTimeout=3)
    server = serve(models={"f": "f", "echo": "identity"}, store=store)
    wait_ready(server, "f")
    wait_ready(server, "echo")
    frontend = server.pid("frontend")
    r = server.post("/predictions/f", data=f"scribble {what}".encode(), timeout=60)
    assert r.status_code in (200, 500)
    for i in range(20):
        assert server.post("/predictions/echo", data=b"%d" % i).content == b"%d" % i
    assert wait_for(lambda: server.post("/predictions/f", data=b"fine", timeout=60).content == b"fine", 30)
    assert server.pid("frontend") == frontend


def test_a_silent_backend_and_a_refusal_are_errors_for_that_request_alone(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store)
    [pid] = wait_ready(server, "f")
    r = server.post("/predictions/f", data=b"silent")
    assert (r.status_code, r.json()["message"]) == (500, "the backend did not answer this request")
    r = server.post("/predictions/f", data=b"refuse the text is too blue")
    assert (r.status_code, r.json()["type"], r.json()["message"]) == (400, "BadRequestException", "the text is too blue")
    assert ready_workers(server, "f") == [pid]


@pytest.mark.parametrize("size", [100, 200_000, 3_000_000, 6_553_500])
def test_answers_of_every_size(serve, tmp_path, size):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store)
    wait_ready(server, "f")
    for _ in range(3):
        assert server.post("/predictions/f", data=b"big %d" % size).content == bytes(size)
    if size == 6_553_500:
        assert server.post("/predictions/f", data=b"big %d" % (size + 1)).status_code >= 400
        assert server.post("/predictions/f", data=b"fine").content == b"fine"


def test_a_model_that_cannot_load_says_why_and_is_gone(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, loadError="the weights are made of cheese")
    server = serve(store=store)
    r = server.post("/models?url=f&initial_workers=1", api="management")
    assert (r.status_code, r.json()["type"]) == (500, "InternalServerException")
    assert r.json()["message"] == "Failed to start workers for model f version: 1.0: the weights are made of cheese"
    assert server.get("/models/f", api="management").status_code == 404
    assert server.get("/ping").status_code == 200


def test_a_model_that_loads_too_slowly_is_stopped(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, loadDelayMs=60000, startupTimeout=1)
    server = serve(store=store)
    r = server.post("/models?url=f&initial_workers=1", api="management")
    assert r.status_code == 500
    assert "startupTimeout" in r.json()["message"]


def test_scaling_under_load_loses_nothing(serve):
    server = serve(models={"echo": "identity"}, config={"access_log": "false"})
    wait_ready(server, "echo")
    with Load(server, "/predictions/echo", connections=50) as load:
        for n in (3, 1, 4, 2):
            r = server.put(f"/models/echo?min_worker={n}&max_worker={n}&synchronous=true")
            assert (r.status_code, r.json()["status"]) == (200, f"Workers scaled to {n} for model: echo")
            wait_for(lambda: len(ready_workers(server, "echo")) == n, 10, f"{n} workers")
    assert load.failures == []


def test_unregister_finishes_what_it_accepted(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store)
    wait_ready(server, "f")
    answers = []
    slow = threading.Thread(target=lambda: answers.append(server.post("/predictions/f", data=b"sleep 1000")))
    slow.start()
    server.wait_busy()
    assert server.delete("/models/f").json() == {"status": 'Model "f" unregistered'}
    slow.join()
    assert (answers[0].status_code, answers[0].content) == (200, b"sleep 1000")
    assert server.get("/predictions/f").status_code == 404
    assert server.pids("executor f") == []

"""executorGroup: native models of one group and device live in one process (docs/gpu-sharing.md)."""
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import Load
from encoder_models import variant
from harness import alive, send, wait_for
from test_death import faulty

ROLE = "executor group one"
TEXT = {"body": b"the cat sat on the mat", "right": lambda sent, reply: len(reply.content) > 0}


def described(server, model):
    try:
        return server.get(f"/models/{model}", api="management").json()[0]
    except OSError:
        return {"workers": []}


def pid(server, model):
    """Of its lanes, once all serve."""
    pids = {w["pid"] if w["status"] == "READY" else None for w in described(server, model)["workers"]}
    return pids.pop() if len(pids) == 1 else None


def together(server, *models, but=None):
    """The one process that they have; another than `but`."""
    def same():
        pids = {pid(server, m) for m in models}
        return len(pids) == 1 and pids.isdisjoint({None, but}) and pids.pop()
    return wait_for(same, 40, f"one process for {models}")


def register(server, model):
    r = server.post(f"/models?url={model}&initial_workers=1&synchronous=true", api="management")
    assert r.status_code == 200, r.text


@pytest.fixture
def store(tmp_path):
    """Different backends in one process: tiny, f, and g, which is not loaded at first."""
    variant(tmp_path / "store" / "tiny", minWorkers=2, maxWorkers=4, executorGroup="one", tokenizerThreads=1)
    for name in ("f", "g"):
        faulty(tmp_path / "store", name, executorGroup="one", batchSize=4, loadAborts=tmp_path / "abort")
    return tmp_path / "store"


@pytest.fixture
def server(serve, store):
    return serve(models={"tiny": "tiny", "f": "f"}, store=store)


def test_one_process_and_right_answers_from_each(server, store):
    alone = variant(store / "alone", minWorkers=1, maxWorkers=1)
    both = together(server, "tiny", "f")
    assert server.pids("executor") == server.pids(ROLE) == [both]
    assert {described(server, m)["executorGroup"] for m in ("tiny", "f")} == {"one"}
    register(server, alone.name)
    assert server.post("/predictions/tiny", data=TEXT["body"]).content == \
        server.post("/predictions/alone", data=TEXT["body"]).content
    assert server.post("/predictions/f", data=b"echo").content == b"echo"
    assert pid(server, "alone") != both and "executorGroup" not in described(server, "alone")


def test_kill_9_under_load_is_not_noticed(server):
    was = together(server, "tiny", "f")
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as tiny, Load(server, "/predictions/f", connections=8) as f:
        for _ in range(2):
            send(was, signal.SIGKILL)
            was = together(server, "tiny", "f", but=was)
            tiny.wait_for_answers(16)
            f.wait_for_answers(16)
    assert tiny.failures == [] and f.failures == []
    assert server.pids(ROLE) == [was]


def test_members_come_and_go_and_are_scaled_while_the_others_serve(server):
    both = together(server, "tiny", "f")
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        register(server, "g")
        assert together(server, "tiny", "f", "g") == both
        assert server.post("/predictions/g", data=b"echo").content == b"echo"
        for model in ("g", "f"):
            assert server.delete(f"/models/{model}").status_code == 200
        register(server, "f")
        assert together(server, "tiny", "f") == both
        for lanes in (4, 1):
            assert server.put(f"/models/tiny?min_worker={lanes}&max_worker={lanes}&synchronous=true").status_code == 200
            assert len(described(server, "tiny")["workers"]) == lanes and pid(server, "tiny") == both
        load.wait_for_answers(16)
    assert load.failures == []
    server.delete("/models/tiny")
    server.delete("/models/f")
    wait_for(lambda: not alive(both), 20, "the process to end with its last model")
    register(server, "tiny")
    assert together(server, "tiny") != both


def test_a_member_that_cannot_load_leaves_the_others_alone(server, store):
    both = together(server, "tiny", "f")
    faulty(store, "bad", executorGroup="one", loadError="the weights are made of cheese")
    with Load(server, "/predictions/f", connections=4) as load:
        r = server.post("/models?url=bad&initial_workers=1&synchronous=true", api="management")
        assert r.status_code >= 400 and "cheese" in r.json()["message"]
        load.wait_for_answers(8)
    assert load.failures == [] and together(server, "tiny", "f") == both


def test_requests_that_end_the_process_cost_their_model_alone(server):
    """Only they fail; three of them, and their model leaves the group when the process ends for the next time."""
    was = together(server, "tiny", "f")
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load, ThreadPoolExecutor(3) as pool:
        def post(order):
            r = server.post("/predictions/f", data=order, timeout=60)
            assert (r.status_code, "Worker died." in r.text) == (500, True)
        list(pool.map(post, (b"crash", b"exit", b"crash")))
        was = together(server, "tiny", "f", but=was)
        assert "executorGroupLeft" not in described(server, "f")
        post(b"crash")
        now = together(server, "tiny", but=was)
        assert wait_for(lambda: pid(server, "f") not in (None, was) and pid(server, "f"), 40, "an executor of f's own") != now
        assert described(server, "f")["executorGroupLeft"]
        post(b"exit")
        load.wait_for_answers(16)
    assert load.failures == [] and together(server, "tiny") == now


def test_who_ends_the_process_by_its_load_leaves_the_group(server, store):
    was = together(server, "tiny", "f")
    (store.parent / "abort").touch()
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        send(was, signal.SIGKILL)
        wait_for(lambda: described(server, "f").get("executorGroupLeft"), 60, "it to leave")
        load.wait_for_answers(16)
        now = together(server, "tiny", but=was)
        (store.parent / "abort").unlink()
        wait_for(lambda: pid(server, "f") not in (None, now), 60, "it to serve from an executor of its own")
        assert server.post("/predictions/f", data=b"echo").content == b"echo"
    assert load.failures == [] and pid(server, "tiny") == now
    assert "leaves the executor group one" in server.logs()["output.txt"]
    assert server.delete("/models/f").status_code == 200
    register(server, "f")
    assert together(server, "tiny", "f") == now


def test_a_hang_ends_the_process_and_its_own_request_alone(serve, store):
    faulty(store, "h", executorGroup="one", responseTimeout=1)
    server = serve(models={"tiny": "tiny", "h": "h"}, store=store)
    was = together(server, "tiny", "h")
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        assert server.post("/predictions/h", data=b"hang", timeout=60).status_code == 500
        together(server, "tiny", "h", but=was)
        load.wait_for_answers(16)
    assert load.failures == []


def test_a_new_frontend_finds_them_together(server):
    both = together(server, "tiny", "f")
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the frontend's end")
    assert together(server, "tiny", "f") == both
    assert server.post("/predictions/f", data=b"echo").content == b"echo"
    send(both, signal.SIGKILL)
    together(server, "tiny", "f", but=both)


def test_members_load_one_after_the_other_and_are_not_stopped_half_way(server, store):
    both = together(server, "tiny", "f")
    faulty(store, "slow", executorGroup="one", loadDelayMs=2000)
    for model, begun in (("slow", True), ("g", False)):
        server.post(f"/models?url={model}&initial_workers=1&synchronous=false", api="management")
        wait_for(lambda: (w := described(server, model)["workers"]) and (w[0]["pid"] == both) == begun, 20, f"{model} to be there")
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the frontend's end")
    wait_for(lambda: described(server, "g")["workers"], 20, "the new frontend")
    assert server.delete("/models/slow").status_code == 200
    assert together(server, "tiny", "f", "g") == both


@pytest.mark.parametrize("lines, why", [
    ("workerKind: process", "executorGroup and workerKind: process"),
    ("standby: true", "executorGroup and standby"),
    ("mpsActiveThreadPercentage: 50", "executorGroup and mpsActiveThreadPercentage"),
    ("backend: python", "which is for native models"),
    ("executorGroup: a/b", "letters, digits"),
    (f"executorGroup: {'x' * 65}", "64 of them at most"),
    ('executorGroup: ""', "letters, digits")])
def test_what_contradicts_is_refused(serve, tmp_path, lines, why):
    folder = tmp_path / "store" / "m"
    folder.mkdir(parents=True)
    said = dict(line.split(": ", 1) for line in ("backend: identity", "executorGroup: one", lines))
    (folder / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in said.items()))
    (folder / "handler.py").write_text("")
    r = serve(store=tmp_path / "store").post("/models?url=m&handler=handler.py", api="management")
    assert r.status_code >= 400 and why in r.json()["message"]

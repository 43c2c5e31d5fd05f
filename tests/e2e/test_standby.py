"""standby: true: a second executor is ready, and serves from the moment the first one dies (docs/gpu-sharing.md)."""
import signal

import pytest
from clients import Load
from encoder_models import variant
from harness import alive, send, wait_for

TEXT = {"body": b"the cat sat on the mat", "right": lambda sent, reply: len(reply.content) > 0}


def describe(server, model="tiny"):
    try:
        return server.get(f"/models/{model}", api="management").json()[0]
    except OSError:
        return {"workers": []}


def serving(server):
    """Process and ids, once it serves."""
    w = describe(server)["workers"]
    return (w[0]["pid"], [x["id"] for x in w]) if w and all(x["status"] == "READY" for x in w) else None


def standing_by(server):
    s = describe(server).get("standby")
    return s["pid"] if s and s["status"] == "READY" else None


def ready(server):
    wait_for(lambda: serving(server), 30, "an executor")
    pid = wait_for(lambda: standing_by(server), 30, "a standby")
    return serving(server), pid


@pytest.fixture
def server(serve, tmp_path):
    variant(tmp_path / "store" / "tiny", minWorkers=2, maxWorkers=4, standby="true", tokenizerThreads=0)
    return serve(models={"tiny": "tiny"}, store=tmp_path / "store")


def test_it_takes_over_and_the_dead_one_stands_by(server):
    """Again and again, under load: nobody notices, ids and number of workers stay."""
    with Load(server, "/predictions/tiny", connections=16, **TEXT) as load:
        for _ in range(4):
            (victim, ids), second = ready(server)
            send(victim, signal.SIGKILL)
            wait_for(lambda: (s := serving(server)) and s == (second, ids), 30, "the other to serve with the same ids")
            load.wait_for_answers(16)
            assert wait_for(lambda: standing_by(server), 30, "another standby") not in (victim, second)
    assert load.failures == []
    assert len(server.pids("executor")) == 2
    assert server.get("/ping").status_code == 200


def test_the_next_request_is_answered_by_the_one_that_stood_by(server):
    (victim, _), second = ready(server)
    send(victim, signal.SIGKILL)
    assert server.post("/predictions/tiny", data=b"the cat").status_code == 200
    assert serving(server)[0] == second


def test_a_dead_standby_comes_back_and_nobody_else_notices(server):
    (first, ids), second = ready(server)
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        send(second, signal.SIGKILL)
        wait_for(lambda: standing_by(server) not in (None, second), 30, "another standby")
    assert load.failures == [] and serving(server) == (first, ids)


def test_both_die(server):
    (first, ids), second = ready(server)
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        send(first, signal.SIGKILL)
        send(second, signal.SIGKILL)
        wait_for(lambda: (s := serving(server)) and s[0] not in (first, second) and s[1] == ids, 40, "an executor")
        wait_for(lambda: standing_by(server), 40, "a standby")
        load.wait_for_answers(8)
    assert load.failures == []


def test_a_new_frontend_knows_who_stands_by(server):
    (first, ids), second = ready(server)
    send(first, signal.SIGKILL)
    third = wait_for(lambda: (s := standing_by(server)) != second and s, 30, "another standby")
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the frontend's end")
    assert wait_for(lambda: serving(server), 30, "the new frontend") == (second, ids)
    assert wait_for(lambda: standing_by(server), 30, "the standby") == third
    send(second, signal.SIGKILL)
    wait_for(lambda: serving(server) == (third, ids), 30, "the standby to serve")


def test_it_comes_and_goes_with_the_workers(server):
    (_, ids), second = ready(server)
    assert len(ids) == 2
    assert server.put("/models/tiny?min_worker=4&synchronous=true").status_code == 200
    (first, ids), same = ready(server)
    assert len(ids) == 4 and same == second
    send(first, signal.SIGKILL)
    wait_for(lambda: (s := serving(server)) and s == (second, ids), 30, "four lanes in the other")
    assert server.put("/models/tiny?min_worker=0&max_worker=0&synchronous=true").status_code == 200
    wait_for(lambda: not server.pids("executor"), 30, "both to end")
    assert "standby" not in describe(server)
    assert server.put("/models/tiny?min_worker=1&max_worker=1&synchronous=true").status_code == 200
    ready(server)
    server.delete("/models/tiny")
    wait_for(lambda: not server.pids("executor"), 30, "both to end")


@pytest.mark.parametrize("lines, why", [
    ("standby: maybe", "true or false"),
    ("standby: true\nworkerKind: process", "take one of them out")])
def test_what_contradicts_is_refused(serve, tmp_path, lines, why):
    folder = tmp_path / "store" / "m"
    folder.mkdir(parents=True)
    (folder / "model-config.yaml").write_text(f"backend: identity\n{lines}\n")
    server = serve(store=tmp_path / "store")
    r = server.post("/models?url=m", api="management")
    assert r.status_code >= 400 and why in r.json()["message"]

"""The number of a native model's lanes changes in the executor that runs (docs/internals/executor.md): no new process, no
request lost, memory back afterwards."""
import os
import signal
import threading

import pytest
from clients import Load
from encoder_models import variant
from harness import alive, read_proc, sanitized, send, wait_for

TEXT = {"body": b"the cat sat on the mat", "right": lambda sent, reply: len(reply.content) > 0}


def workers(server, model):
    return server.get(f"/models/{model}", api="management").json()[0]["workers"]


def scale(server, model, n, least=None):
    """Waits for the answer, which comes when the lanes are there."""
    return server.put(f"/models/{model}?min_worker={n if least is None else least}&max_worker={n}&synchronous=true")


def lanes(server, model, n):
    r = scale(server, model, n)
    assert (r.status_code, r.json()["status"]) == (200, f"Workers scaled to {n} for model: {model}")
    found = workers(server, model)
    assert len(found) == n
    assert len({w["id"] for w in found}) == n
    return found


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def encoder(tmp_path, **settings):
    return variant(tmp_path / "store" / "tiny", minWorkers=1, maxWorkers=1, tokenizerThreads=0, **settings)


@pytest.mark.parametrize("model", ["tiny", "echo"])
def test_one_to_eight_to_one_under_load_in_the_same_process(serve, tmp_path, model):
    encoder(tmp_path)
    server = serve(models={"tiny": "tiny", "echo": "identity"}, store=tmp_path / "store")
    wait_for(lambda: ready(server, model), 30, "a worker")
    pid = lanes(server, model, 1)[0]["pid"]
    server.post(f"/predictions/{model}", data=b"the cat")
    alone = threads(pid)
    with Load(server, f"/predictions/{model}", connections=16, **TEXT) as load:
        for n in (8, 1, 5, 2, 8, 1):
            found = lanes(server, model, n)
            assert {w["pid"] for w in found} == {pid}
            load.wait_for_answers(20)
            assert threads(pid) == alone + n - 1
    assert load.failures == []
    assert server.metric("ts_worker_restarts_total", model) == 0 and server.metric("sconce_replays_total", model) == 0


def test_what_was_scaled_is_scaled_in_the_next_life_and_for_the_next_frontend(serve, tmp_path):
    encoder(tmp_path)
    server = serve(models={"tiny": "tiny"}, store=tmp_path / "store")
    lanes(server, "tiny", 3)
    lanes(server, "tiny", 2)
    before = lanes(server, "tiny", 4)
    ids = [w["id"] for w in before]
    assert ids != sorted(ids)[:1] * 4 and int(ids[0]) == min(map(int, ids))

    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the frontend's end")
    wait_for(lambda: ready(server, "tiny") == 4, 30, "the new frontend")
    after = workers(server, "tiny")
    assert [(w["id"], w["pid"]) for w in after] == [(w["id"], w["pid"]) for w in before]

    send(before[0]["pid"], signal.SIGKILL)
    wait_for(lambda: ready(server, "tiny") == 4 and workers(server, "tiny")[0]["pid"] != before[0]["pid"], 30, "four again")
    lanes(server, "tiny", 1)


def ready(server, model):
    try:
        return sum(w["status"] == "READY" for w in workers(server, model))
    except OSError:
        return 0


def test_orders_that_overtake_each_other(serve, tmp_path):
    """Many at once, the last of which counts; and one while the executor loads."""
    encoder(tmp_path)
    server = serve(models={"tiny": "tiny"}, store=tmp_path / "store")
    with Load(server, "/predictions/tiny", connections=8, **TEXT) as load:
        load.wait_for_answers(1)
        for n in (2, 7, 3, 8, 1, 6):
            assert server.put(f"/models/tiny?min_worker={n}&max_worker={n}").status_code == 202
        wait_for(lambda: ready(server, "tiny") == 6, 30, "six lanes")
        pid = workers(server, "tiny")[0]["pid"]
        send(pid, signal.SIGKILL)
        assert server.put("/models/tiny?min_worker=3&max_worker=3").status_code == 202
        wait_for(lambda: ready(server, "tiny") == 3 and workers(server, "tiny")[0]["pid"] != pid, 30, "three lanes")
    assert load.failures == []


def test_a_lane_that_cannot_be_made_leaves_the_others(serve, tmp_path):
    folder = tmp_path / "store" / "f"
    folder.mkdir(parents=True)
    (folder / "model-config.yaml").write_text("backend: faulty\nminWorkers: 1\nmaxWorkers: 1\nlanesMost: 3\n")
    server = serve(models={"f": "f"}, store=tmp_path / "store")
    wait_for(lambda: ready(server, "f") == 1, 30, "a worker")
    pid = workers(server, "f")[0]["pid"]
    r = scale(server, "f", 5)
    assert r.status_code >= 400 and "no room for more than 3 lanes" in r.text
    assert [w["pid"] for w in workers(server, "f")] == [pid] * 3
    assert server.post("/predictions/f", data=b"x").content == b"x"
    send(pid, signal.SIGKILL)  # it does not begin with what it could not have
    wait_for(lambda: ready(server, "f") == 3 and workers(server, "f")[0]["pid"] != pid, 30, "three lanes")
    lanes(server, "f", 2)


@pytest.mark.skipif(sanitized(), reason="memory under AddressSanitizer grows by itself; it looks for leaks at the end")
def test_memory_and_descriptors_are_back_after_many_cycles(serve, tmp_path):
    encoder(tmp_path, maxBatchTokens=4096)
    server = serve(models={"tiny": "tiny"}, store=tmp_path / "store")
    pid = lanes(server, "tiny", 1)[0]["pid"]
    body = b"[" + b",".join(b'"the cat sat on the mat"' for _ in range(500)) + b"]"

    def burst():
        """A long list and others: every lane has computed."""
        asked = [threading.Thread(target=server.post, args=("/predictions/tiny",),
                                  kwargs={"data": body, "headers": {"Content-Type": "application/json"}}) for _ in range(4)]
        for t in asked:
            t.start()
        for t in asked:
            t.join()

    def cycles(n):
        for _ in range(n):
            lanes(server, "tiny", 8)
            burst()
            lanes(server, "tiny", 1)
        rss = int(next(line for line in read_proc(pid, "status").splitlines() if line.startswith(b"RssAnon")).split()[1])
        return rss, server.fds("executor"), threads(pid)

    first, second = cycles(8), cycles(12)
    assert second[1:] == first[1:]
    assert second[0] - first[0] < 20 * 1024, f"{first[0]} KiB, then {second[0]}"

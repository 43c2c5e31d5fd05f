"""Whatever dies, clients see what docs/design.md §3.2 promises, and the rest goes on."""
import os
import signal
import time

import pytest
from harness import alive, wait_for
from clients import Load

SANITIZED = "asan" in os.environ.get("SCONCE_BUILD", "")


def ready(server, model="echo"):
    """The model's workers, once all of them are READY."""
    def workers():
        [m] = server.get(f"/models/{model}", api="management").json()
        return m["workers"] if m["workers"] and all(w["status"] == "READY" for w in m["workers"]) else None
    return wait_for(workers, 30, f"{model} to be READY")


def test_no_request_fails_when_the_executor_is_killed_ten_times(serve):
    server = serve(models={"echo": "identity"})
    ready(server)
    with Load(server, "/predictions/echo", connections=50 if SANITIZED else 200) as load:
        for _ in range(10):
            pid = server.kill_role("executor echo")
            wait_for(lambda: not alive(pid), 5, "the executor to be gone")
            load.wait_for_answers(500)
    assert load.failures == []
    assert load.done >= 5000


def test_a_new_executor_takes_the_place_of_a_dead_one(serve):
    server = serve(models={"echo": "identity"})
    before = {w["pid"] for w in ready(server)}
    server.kill_role("executor echo")
    wait_for(lambda: before.isdisjoint(w["pid"] for w in ready(server)), 30, "a new pid in describe")
    assert server.post("/predictions/echo", data=b"again").content == b"again"


def test_a_stopped_executor_keeps_requests_waiting_and_loses_none(serve):
    server = serve(models={"echo": "identity"})
    ready(server)
    with Load(server, "/predictions/echo", connections=10) as load:
        pid = server.kill_role("executor echo", signal.SIGSTOP)
        time.sleep(0.5)
        os.kill(pid, signal.SIGCONT)
        load.wait_for_answers(100)
    assert load.failures == []


def test_the_frontend_is_back_at_once_and_knows_what_was_registered(serve):
    server = serve(models={"echo": "identity"})
    added = server.post("/models?url=identity&model_name=added&initial_workers=1", api="management")
    assert (added.status_code, added.json()["status"]) == (
        200, 'Model "added" Version: 1.0 registered with 1 initial workers')
    executors = {w["pid"] for m in ("echo", "added") for w in ready(server, m)}

    with Load(server, "/predictions/added", connections=10, retry=True) as load:
        for _ in range(3):
            server.kill_role("frontend")
            load.wait_for_answers(200)
    assert load.failures == []
    assert load.broken >= 10
    gap = max(end - start for start, end in load.gaps)
    assert gap < (2.0 if SANITIZED else 0.2), f"out of service for {gap:.3f} s"

    names = {m["modelName"] for m in server.get("/models", api="management").json()["models"]}
    assert names == {"echo", "added"}
    assert {w["pid"] for m in ("echo", "added") for w in ready(server, m)} == executors, "models were loaded again"


def test_nothing_outlives_a_supervisor_killed_under_load(serve):
    server = serve(models={"echo": "identity"})
    ready(server)
    with Load(server, "/predictions/echo", connections=20, retry=True) as load:
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(5)
        load._stop.set()
        server.assert_nothing_left(seconds=1.0)


@pytest.mark.parametrize("role", ["frontend", "executor echo"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGABRT])
def test_any_signal_to_any_child_is_survived(serve, role, sig):
    server = serve(models={"echo": "identity"})
    ready(server)
    pid = server.kill_role(role, sig)
    wait_for(lambda: pid not in server.pids(role), 20, f"{role} {pid} to end or be replaced")

    def answers():
        try:
            return server.post("/predictions/echo", data=b"still here", timeout=5).content == b"still here"
        except OSError:
            return False
    wait_for(answers, 30, "an answer")
    # A sanitizer reports the signal that we sent; that is not a fault of the program.
    for report in server.folder.glob("sanitizer.*"):
        if sig in (signal.SIGSEGV, signal.SIGABRT):
            report.unlink()


def test_term_lets_running_requests_finish(serve):
    server = serve(models={"echo": "identity"})
    ready(server)
    with Load(server, "/predictions/echo", connections=20, retry=True) as load:
        load.wait_for_answers(200)
        server.process.send_signal(signal.SIGTERM)
        load._stop.set()
        assert server.process.wait(20) == 0
    assert [f for f in load.failures if not f.startswith("connect")] == []
    server.assert_nothing_left()


def test_hup_reopens_the_logs(serve):
    server = serve(models={"echo": "identity"})
    server.get("/ping")
    log = server.folder / "logs" / "access_log.log"
    wait_for(lambda: log.exists() and "GET /ping" in log.read_text(), 10, "an access log line")
    log.rename(log.with_suffix(".old"))
    server.process.send_signal(signal.SIGHUP)
    wait_for(log.exists, 10, "a new access log")
    server.get("/ping?after=hup")
    wait_for(lambda: "/ping?after=hup" in log.read_text(), 10, "the line in the new file")


def test_memory_and_descriptors_do_not_grow(serve):
    server = serve(models={"echo": "identity"})
    ready(server)

    def spell():
        with Load(server, "/predictions/echo", connections=20) as load:
            load.wait_for_answers(3000)
        time.sleep(0.3)
        return {role: (server.rss(role), server.fds(role)) for role in ("supervisor", "frontend", "executor echo")}

    spell()
    before = spell()
    for _ in range(2):
        after = spell()
    for role, (rss, fds) in before.items():
        assert after[role][1] <= fds + 2, f"{role}: {fds} descriptors became {after[role][1]}"
        if not SANITIZED:  # a sanitizer keeps freed memory on purpose
            assert after[role][0] <= rss + (2 << 20), f"{role}: {rss} bytes became {after[role][0]}"

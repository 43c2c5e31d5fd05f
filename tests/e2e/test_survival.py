"""Signals and spells of load that a server outlives unchanged. test_death.py has the rest of docs/design.md §3.2."""
import os
import signal
import time

import pytest
from harness import wait_for
from clients import Load

SANITIZED = "asan" in os.environ.get("SCONCE_BUILD", "")


def ready(server, model="echo"):
    """The model's workers, once all of them are READY."""
    def workers():
        [m] = server.get(f"/models/{model}", api="management").json()
        return m["workers"] if m["workers"] and all(w["status"] == "READY" for w in m["workers"]) else None
    return wait_for(workers, 30, f"{model} to be READY")


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

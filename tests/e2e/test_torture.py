"""Everything at once on several loops: models come, go and change their size under load while processes are killed. Nothing
is lost and nothing grows. SCONCE_TORTURE_SECONDS makes it longer; under ThreadSanitizer it looks for races."""
import os
import random
import signal
import threading
import time

import harness
import pytest
import requests
from clients import Load
from harness import read_proc, send, wait_for
from test_death import faulty, ready_workers, wait_ready

SECONDS = float(os.environ.get("SCONCE_TORTURE_SECONDS", "6"))
SANITIZED = any(s in os.environ.get("SCONCE_BUILD", "") for s in ("asan", "tsan"))
LOOPS = {"number_of_netty_threads": 3, "access_log": "false"}


class Crew:
    """Threads that each do one thing again and again; the first exception of any is the test's."""

    def __init__(self):
        self.stop, self.failures, self.threads, self.rounds = threading.Event(), [], [], {}

    def add(self, work, pause=0.0):
        def run():
            rng = random.Random(work.__name__)
            try:
                while not self.stop.is_set():
                    work(rng)
                    self.rounds[work.__name__] = self.rounds.get(work.__name__, 0) + 1
                    self.stop.wait(pause)
            except BaseException as e:
                self.failures.append(e)
                self.stop.set()
        self.threads.append(threading.Thread(target=run))

    def work(self, seconds):
        for t in self.threads:
            t.start()
        self.stop.wait(seconds)
        self.stop.set()
        for t in self.threads:
            t.join(60)
        assert not any(t.is_alive() for t in self.threads), "a call has had no answer for 60 s"
        if self.failures:
            raise self.failures[0]


def expect(r, *codes):
    assert r.status_code in codes, f"{r.request.method} {r.url}: {r.status_code} {r.text}"
    return r


def descriptors(server, role):
    """Descriptor -> what it is, numbers left out, to say what has grown."""
    kinds = {}
    for pid in server.pids(role):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                kind = os.readlink(f"/proc/{pid}/fd/{fd}").split(":[")[0]
            except OSError:
                continue
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def settled(server, role, before, seconds=15):
    """Waits until no kind of descriptor is more than before."""
    def same():
        now = descriptors(server, role)
        grown.clear()
        grown.update({k: (before.get(k, 0), n) for k, n in now.items() if n > before.get(k, 0)})
        return not grown
    grown = {}
    try:
        wait_for(same, seconds)
    except AssertionError:
        raise AssertionError(f"{role} has more descriptors than before: {grown}") from None


def crew_of(server, kill, load):
    crew = Crew()
    killed = [500] if kill else []  # to who waits for the worker that was killed while it loaded
    manage = lambda method, path, *codes: expect(server.request(method, path, api="management", timeout=60), *codes)

    def come_and_go(rng):
        name = f"t{rng.randrange(3)}"
        manage("POST", f"/models?url=identity&model_name={name}&initial_workers={rng.randrange(3)}", 200)
        server.post(f"/predictions/{name}", data=b"x")
        manage("PUT", f"/models/{name}?min_worker={rng.randrange(4)}&max_worker=4", 202)
        manage("DELETE", f"/models/{name}", 200)

    def come_and_go_at_once(rng):
        manage("POST", "/models?url=identity&model_name=a&initial_workers=1&synchronous=false", 202)
        manage("PUT", "/models/a?min_worker=2", 202)
        manage("DELETE", "/models/a", 200)

    def versions(rng):
        for v in ("1", "2"):
            manage("POST", f"/models?url=identity&model_name=v&model_version={v}&initial_workers=1", 200)
        manage("PUT", "/models/v/2/set-default", 200)
        expect(server.post("/predictions/v", data=b"x"), 200)
        manage("DELETE", "/models/v/1", 200)
        manage("DELETE", "/models/v", 200)

    def resize(rng):
        n = rng.randrange(1, 5)
        manage("PUT", f"/models/echo?min_worker={n}&max_worker={n}" + rng.choice(["", "&synchronous=true"]), 200, 202, *killed)

    def look(rng):
        manage("GET", "/models", 200)
        manage("GET", "/models/echo/all", 200)
        manage("GET", "/models/t0", 200, 404)
        assert b"ts_inference_requests_total" in expect(server.get("/metrics", api="metrics"), 200).content
        server.get("/ping")

    def murder(rng):
        # Most have answered something since the one before died: else a slow machine would never see one that is loaded.
        answered, patient = load.done, rng.random() < 0.9
        while patient and load.done == answered and not crew.stop.is_set():
            crew.stop.wait(0.02)
        for pid in server.pids("executor echo")[-1:]:
            send(pid, rng.choice([signal.SIGKILL, signal.SIGTERM] if SANITIZED else [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT]))

    def suspects(rng):
        r = server.post("/predictions/f", data=rng.choice([b"crash", b"exit", b"fine", b"fine"]), timeout=60)
        assert r.status_code in (200, 500, 503), r.text

    crew.add(come_and_go)
    crew.add(come_and_go_at_once, 0.02)
    crew.add(versions)
    crew.add(resize, 0.05)
    crew.add(look, 0.02)
    if kill:
        crew.add(murder, 0.15)
        crew.add(suspects, 0.02)
    return crew


@pytest.mark.parametrize("kill,one_port", [(False, False), (True, False), (False, True)], ids=["calm", "deadly", "one_port"])
def test_churn_under_load(serve, tmp_path, monkeypatch, kill, one_port):
    if one_port:  # calls of the management API then come from every loop
        [port] = harness.free_ports(1)
        monkeypatch.setattr(harness, "free_ports", lambda n: [port] * n)
    store = tmp_path / "store"
    faulty(store, maxRetryTimeoutInSec=20)
    server = serve(models={"echo": "identity", "f": "f"}, store=store,
                   config={**LOOPS, **(harness.NO_GRPC if one_port else {})})
    wait_ready(server, "echo")
    wait_ready(server, "f")
    frontend, supervisor = server.pid("frontend"), server.pid("supervisor")
    before = {role: descriptors(server, role) for role in ("frontend", "supervisor")}

    with Load(server, "/predictions/echo", connections=30) as load:
        began, answered = time.monotonic(), load.done
        load.wait_for_answers(300)
        alone = (load.done - answered) / (time.monotonic() - began)
        began, answered = time.monotonic(), load.done
        crew_of(server, kill, load).work(SECONDS)
        rate = (load.done - answered) / (time.monotonic() - began)
        load.wait_for_answers(30)
    assert load.failures == []
    assert rate > (0 if kill else alone / 100), f"{rate:.0f} answers/s, {alone:.0f} without the others"
    assert (server.pid("frontend"), server.pid("supervisor")) == (frontend, supervisor)
    assert [m["modelName"] for m in server.get("/models", api="management").json()["models"]] == ["echo", "f"]
    if not kill:
        assert server.put("/models/echo?min_worker=1&max_worker=1&synchronous=true").status_code == 200
        wait_for(lambda: len(server.pids("executor echo")) == 1, 20, "one executor")
        for role, kinds in before.items():
            settled(server, role, kinds)
    forget_expected_reports(server, kill)


def forget_expected_reports(server, kill):
    """A sanitizer reports the crash of the faulty backend, which is wanted."""
    if kill:
        for report in server.folder.glob("sanitizer.*"):
            text = report.read_text(errors="replace")
            if "backend_faulty.c" in text:
                report.unlink()


def test_the_frontend_dies_while_models_come_and_go(serve):
    server = serve(models={"echo": "identity"}, config=LOOPS)
    wait_ready(server, "echo")
    known = set()  # registered and answered: must survive

    def call(method, path):
        for _ in range(200):
            try:
                return server.request(method, path, api="management", timeout=30)
            except requests.ConnectionError:
                time.sleep(0.05)
        raise AssertionError("no frontend for 10 s")

    with Load(server, "/predictions/echo", connections=20, retry=True) as load:
        crew = Crew()

        def register(rng):
            name = f"k{len(known)}" if len(known) < 6 else f"g{rng.randrange(3)}"
            r = call("POST", f"/models?url=identity&model_name={name}&initial_workers=1")
            assert r.status_code in (200, 409), r.text  # 409: the answer to the first try was lost
            if name[0] == "k":
                known.add(name)
            else:
                assert call("DELETE", f"/models/{name}").status_code in (200, 404)

        def murder(rng):
            server.kill_role("frontend")
            time.sleep(0.3)

        crew.add(register)
        crew.add(murder, 0.3)
        crew.work(SECONDS)
    assert load.failures == []
    assert load.done > 100
    names = {m["modelName"] for m in call("GET", "/models").json()["models"]}
    assert known | {"echo"} <= names
    for name in known:
        assert server.post(f"/predictions/{name}", data=b"x", timeout=60).content == b"x"
    wait_for(lambda: all(len(server.pids(f"executor {n}")) == 1 for n in known | {"echo"}), 20, "one executor each: " + server.tree())
    strangers = [read_proc(p, "cmdline") for p in server.pids("executor") if not any(f" {n} ".encode() in read_proc(p, "cmdline") for n in names)]
    assert not strangers, strangers


def test_unregister_while_a_worker_dies(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(store=store, config=LOOPS)
    for i in range(6):
        assert server.post("/models?url=f&initial_workers=2", api="management").status_code == 200
        answers = []
        bodies = [b"crash", b"exit", b"sleep 300", b"crash", b"x", b"y"]
        threads = [threading.Thread(target=lambda b=b: answers.append(server.post("/predictions/f", data=b, timeout=60).status_code)) for b in bodies]
        for t in threads:
            t.start()
        time.sleep(0.05 * i)
        if i % 2:
            for pid in ready_workers(server, "f")[:1]:
                send(pid, signal.SIGKILL)
        r = server.delete("/models/f", timeout=60)
        assert r.status_code == 200, r.text
        for t in threads:
            t.join(60)
        assert len(answers) == len(bodies) and set(answers) <= {200, 404, 500, 503}, answers
        assert server.pids("executor f") == server.pids("quarantine f") == []
    forget_expected_reports(server, True)


def test_scaled_while_it_starts_and_killed_while_it_drains(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store, loadDelayMs=200, batchSize=1)
    server = serve(store=store, config=LOOPS)
    assert server.post("/models?url=f&initial_workers=1&synchronous=false", api="management").status_code == 202
    for n in (2, 1, 3, 2, 4, 1, 5, 6, 2):
        assert server.put(f"/models/f?min_worker={n}&max_worker={n}").status_code == 202
        time.sleep(0.03)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post("/predictions/f", data=b"sleep 200", timeout=60).status_code)) for _ in range(20)]
    for t in threads:
        t.start()
    wait_ready(server, "f")
    assert server.put("/models/f?min_worker=1&max_worker=1").status_code == 202
    time.sleep(0.1)
    for pid in server.pids("executor f"):
        send(pid, signal.SIGKILL)
    for t in threads:
        t.join(60)
    assert answers == [200] * 20
    wait_for(lambda: len(server.pids("executor f")) == 1, 20, "one executor")
    [d] = server.get("/models/f", api="management").json()
    assert len(d["workers"]) == 1


def test_logs_are_reopened_and_the_server_stopped_under_load(serve):
    server = serve(models={"echo": "identity"}, config={"number_of_netty_threads": 3})
    wait_ready(server, "echo")
    log = server.folder / "logs" / "access_log.log"

    with Load(server, "/predictions/echo", connections=20) as load:
        for i in range(10):
            log.rename(log.with_name(f"old.{i}"))
            server.process.send_signal(signal.SIGHUP)
            wait_for(log.exists, 10, "a new log")
        load.wait_for_answers(50)
    assert load.failures == []
    time.sleep(0.5)
    lines = sum(len(p.read_text().splitlines()) for p in log.parent.glob("old.*")) + len(log.read_text().splitlines())
    assert lines >= load.done, "no line is lost with a file"
    assert server.stop(signal.SIGTERM) == 0


def test_term_with_requests_in_flight_completes_them(serve, tmp_path):
    store = tmp_path / "store"
    faulty(store)
    server = serve(models={"f": "f"}, store=store, config=LOOPS)
    wait_ready(server, "f")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(server.post("/predictions/f", data=b"sleep 700", timeout=60).content)) for _ in range(6)]
    for t in threads:
        t.start()
    wait_for(lambda: server.metric("sconce_in_flight") + server.metric("sconce_queue_depth") + len(answers) == 6, 20, "all requests")
    assert server.stop(signal.SIGTERM) == 0
    for t in threads:
        t.join(10)
    assert answers == [b"sleep 700"] * 6

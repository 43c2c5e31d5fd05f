"""MPS on a machine without a GPU: the daemon of tests/fault/fake_mps_control.c and the NVML of fake_nvml.c stand in, and
workers become clients as CUDA would make them. What the real ones do: docs/gpu-sharing.md."""
import json
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import pytest
from harness import alive, send, wait_for
from python_models import PYTHON, folder

PROGRAM = "nvidia-cuda-mps-control"

# Uses the GPU when it is loaded: a client of the daemon that its environment names, if one answers there.
HANDLER = """
    import json, os, socket, threading, time
    names = ("CUDA_MPS_PIPE_DIRECTORY", "CUDA_VISIBLE_DEVICES", "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE",
             "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "CUDA_MPS_CLIENT_PRIORITY")
    given = {n: os.environ.get(n) for n in names}

    def lost(s):
        if not s.recv(1):
            time.sleep(float(os.environ.get("TEST_DIES_AFTER", "0.1")))
            os._exit(1)  # its context is gone: nothing works any more

    class Handler:
        def initialize(self, context):
            self.gpu = context.system_properties.get("gpu_id")
            time.sleep(float(os.environ.get("TEST_INITS_AFTER", "0")))  # what comes before a context
            try:
                if os.environ.get("TEST_OUTSIDE"):
                    raise OSError
                self.s = socket.socket(socket.AF_UNIX)
                self.s.connect(given["CUDA_MPS_PIPE_DIRECTORY"] + "/control")
                self.s.sendall(b"client %d\\n" % os.getpid())
                threading.Thread(target=lost, args=(self.s,), daemon=True).start()
                self.client = True
            except OSError:
                self.client = False
        def handle(self, data, context):
            time.sleep(0.02)
            return [json.dumps({**given, "pid": os.getpid(), "client": self.client, "gpu": self.gpu})] * len(data)
"""


@pytest.fixture
def mps(build, tmp_path):
    """A function that starts a server on a machine with such GPUs and the fake daemon in its PATH."""
    started = []

    def start(gpus="gpus=1", config=None, env=None, fake="", path=True, launch=True):
        env = {"SCONCE_GPU_INTERVAL_MS": "100", "SCONCE_NVML": str(build / "libfake_nvml.so"), "FAKE_NVML": gpus, "CUDA_VISIBLE_DEVICES": "",
               "FAKE_MPS": fake, "FAKE_MPS_LOG": str(tmp_path / "orders"), "TEMP": "/tmp",
               "CUDA_MPS_PIPE_DIRECTORY": str(outside(tmp_path)),
               "PATH": f"{build / 'fake_mps'}:{os.environ['PATH']}" if path else os.environ["PATH"], **(env or {})}
        server = harness.Server(build=build, folder=tmp_path / f"server{len(started)}", config={**PYTHON, **(config or {})}, env=env)
        started.append(server)
        return server.start() if launch else server
    yield start
    harness.stop_all(started)


def outside(tmp_path):
    """Where another's daemon would be: a short path, as sockets need."""
    return Path(f"/tmp/sc-mps-{os.getpid()}-{abs(hash(str(tmp_path))) % 10**8}")


@pytest.fixture
def external(build, tmp_path):
    """Starts a daemon as TorchServe's page says."""
    pipe = outside(tmp_path)
    env = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(pipe), "FAKE_MPS_LOG": str(tmp_path / "others")}
    program = build / "fake_mps" / PROGRAM

    def start(devices="", user=None):
        at = program
        if user is not None:  # who may not look into the folder of the build
            at = Path(f"{pipe}-program") / PROGRAM
            at.parent.mkdir()
            shutil.copy(program, at)
        pipe.mkdir(mode=0o777, exist_ok=True)
        pipe.chmod(0o777)
        assert subprocess.run([at, "-d"], env={**env, "CUDA_VISIBLE_DEVICES": devices, "ASAN_OPTIONS": "detect_leaks=0"}, timeout=30,
                              user=user, stdout=subprocess.DEVNULL).returncode == 0
        if at != program:
            shutil.rmtree(at.parent)
        return int((pipe / f"{PROGRAM}.pid").read_text())
    yield start
    if (pipe / f"{PROGRAM}.pid").exists():
        subprocess.run([program], input="quit\n", text=True, env=env, timeout=30)
    subprocess.run(["rm", "-rf", pipe])


def orders(tmp_path):
    file = tmp_path / "orders"
    return file.read_text().split("\n")[:-1] if file.exists() else []


def register(server, name="m", workers=2, status=200, **config):
    folder(server.store, name, HANDLER, config=config or None)
    r = server.post("/models", api="management", params={"url": name, "initial_workers": workers})
    assert r.status_code == status, r.text
    return described(server, name) if status == 200 else r.json()["message"]


def described(server, name="m"):
    return server.get(f"/models/{name}", api="management").json()[0]


def scale(server, workers, name="m"):
    r = server.put(f"/models/{name}", api="management",
                       params={"min_worker": workers, "max_worker": workers, "synchronous": "true"})
    assert r.status_code == 200, r.text


def workers(server, name="m"):
    return described(server, name)["workers"]


def settled(server, count, sharing="mps", name="m"):
    """The workers, once there are so many, ready, of that way of sharing, and (MPS) seen as clients."""
    def look():
        ws = workers(server, name)
        good = [w for w in ws if w["status"] == "READY" and w["gpuSharing"] == sharing and w.get("mpsClient", True)]
        return ws if len(ws) == count == len(good) else None
    return wait_for(look, 40, f"{count} workers by {sharing}")


def ask(server, name="m"):
    r = server.post(f"/predictions/{name}", data=b"x")
    assert r.status_code == 200, r.text
    return r.json()


def said(server):
    return "\n".join(server.logs().values())


def keeper(server):
    return server.pids("mps")


# ---- auto ----


def test_two_processes_of_one_model_share_by_mps_and_the_daemon_ends_with_the_last(mps, tmp_path):
    server = mps()
    register(server, workers=2)
    settled(server, 2)
    got = ask(server)
    uuid = "GPU-00000000-0000-0000-0000-000000000000"
    assert got["client"] and got["CUDA_VISIBLE_DEVICES"] == uuid and got["gpu"] == 0
    assert orders(tmp_path)[0] == f"start {got['CUDA_MPS_PIPE_DIRECTORY']} {uuid}"
    assert len(keeper(server)) == 1
    assert server.delete("/models/m").status_code == 200
    wait_for(lambda: not keeper(server), 20, "the daemon's end")
    assert orders(tmp_path)[-1] == "quit"
    assert not Path(got["CUDA_MPS_PIPE_DIRECTORY"]).exists()


def test_one_worker_runs_without_and_the_second_brings_mps_for_both(mps):
    server = mps()
    m = register(server, workers=1)
    assert m["workers"][0]["gpuSharing"] == "timeslice"
    assert not ask(server)["client"] and not keeper(server)
    scale(server, 2)
    settled(server, 2)
    scale(server, 1)
    settled(server, 1)  # a scale-down decides nothing


def test_two_models_take_turns(mps):
    server = mps()
    register(server, "a", workers=1)
    register(server, "b", workers=2)
    settled(server, 2, "timeslice", "b")
    assert not keeper(server)


def test_an_exclusive_gpu_gets_mps_for_one_worker(mps):
    server = mps("gpus=1 mode=3")
    register(server, workers=1)
    settled(server, 1)


def test_without_the_program_nothing_changes(mps):
    server = mps(path=False)
    register(server, workers=2)
    settled(server, 2, "timeslice")


def test_an_external_daemon_is_used_and_never_stopped(mps, external, tmp_path):
    pid = external()
    server = mps("gpus=2")
    register(server, workers=2)
    settled(server, 2)
    got = ask(server)
    assert got["client"] and got["CUDA_MPS_PIPE_DIRECTORY"] == str(outside(tmp_path)) and not got["CUDA_VISIBLE_DEVICES"]
    server.stop()
    assert alive(pid) and orders(tmp_path) == []
    others = (tmp_path / "others").read_text()
    assert "quit" not in others and others.count(" alive") == 2


def test_an_external_daemon_that_disappears_is_told_and_the_workers_go_on(mps, external):
    pid = external()
    server = mps()
    register(server, workers=2)
    settled(server, 2)
    send(pid, signal.SIGKILL)
    wait_for(lambda: "has disappeared" in said(server), 20, "the words about it")
    settled(server, 2, "timeslice")
    assert ask(server)["client"] is False


# ---- settings ----


def test_off_is_off(mps):
    server = mps("gpus=1 mode=3 processes=/dev/null", config={"mps": "off"})
    register(server, workers=2)
    settled(server, 2, "timeslice")
    assert ask(server)["CUDA_MPS_PIPE_DIRECTORY"].startswith("/nonexistent/") and not keeper(server)


@pytest.mark.parametrize("key", ["mps.0", "mps.GPU-00000000-0000-0000-0000-000000000000"])
def test_one_gpu_by_its_index_or_uuid(mps, key):
    server = mps("gpus=2", config={"mps": "off", key: "managed"})
    register(server, workers=2)
    wait_for(lambda: sorted((w["gpuSharing"], w.get("mpsClient")) for w in workers(server)) == [("mps", True), ("timeslice", None)],
             30, "one worker of each kind")


@pytest.mark.parametrize("config, words", [
    ({"mps": "yes"}, 'mps is "yes": it must be auto, off, managed or external'),
    ({"mps.x": "off"}, "behind \"mps.\" stands a GPU's index or its UUID"),
    ({"mps.0": "on"}, 'mps.0 is "on"'),
    ({"mps": "managed"}, "nvidia-cuda-mps-control is not in PATH"),
])
def test_wrong_settings_are_refused_at_the_start(mps, config, words):
    code, out = mps(config=config, path=False, launch=False).refused()
    assert code == 2 and words in out


def test_wrong_words_of_a_model_are_refused(mps):
    server = mps()
    for n, (key, value, words) in enumerate((
            ("mpsActiveThreadPercentage", 0, "a number from 1 to 100"),
            ("mpsActiveThreadPercentage", 101, "a number from 1 to 100"),
            ("mpsActiveThreadPercentage", "abc", "a number from 1 to 100"),
            ("mpsPinnedMemoryLimit", "1000", "a whole number and G or M"),
            ("mpsPinnedMemoryLimit", "100M", "context alone takes"),
            ("mpsPriority", "high", "normal or low"),
            ("workerKind", "thread", "lane or process"),
            ("workerKind", "process", "its backend is python"),
            ("standby", "true", "which is for native models"),
            ("standby", "soon", "true or false"),
            ("executorGroup", "one", "which is for native models"))):
        assert words in register(server, f"m{n}", status=400, **{key: value})


def test_limits_of_a_model_reach_its_workers(mps):
    server = mps(config={"mps": "managed"})
    register(server, workers=1, mpsActiveThreadPercentage=33.3, mpsPinnedMemoryLimit="2G", mpsPriority="low")
    settled(server, 1)
    got = ask(server)
    assert (got["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"], got["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"], got["CUDA_MPS_CLIENT_PRIORITY"]) == \
        ("33.3", "0=2G", "1")


def test_limits_contradict_mps_off(mps):
    text = register(mps(config={"mps": "off"}), status=400, mpsPinnedMemoryLimit="2G")
    assert "model m says mpsPinnedMemoryLimit, and the server says mps=off" in text


# ---- what goes wrong ----


@pytest.mark.parametrize("what, words", [
    ("none", "no MPS daemon lives in"), ("stale", "has the files of an MPS daemon that is dead"),
    ("deep", "is too long: the path of a socket in it"), ("program", "with which it is asked, is not in PATH"),
    ("user", "is user 65534's, and serves that user alone"), ("gpu", "the MPS daemon that lives does not serve this GPU")])
def test_an_external_daemon_that_cannot_be_used_is_told(mps, external, tmp_path, what, words):
    if what == "user" and os.geteuid() != 0:
        pytest.skip("nobody else can be played")
    if what in ("program", "gpu", "user", "stale"):
        pid = external(devices="7" if what == "gpu" else "", user=65534 if what == "user" else None)
        if what == "stale":
            send(pid, signal.SIGKILL)
            wait_for(lambda: not alive(pid), 10, "its death")
    env = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / ("x" * 120))} if what == "deep" else None
    server = mps(config={"mps": "external"}, path=what != "program", env=env)
    register(server, workers=1)
    settled(server, 1, "timeslice")
    assert not ask(server)["client"] and not keeper(server)
    line = next(l for l in said(server).split("\n") if words in l)
    assert "ERROR" in line and "GPU 0: no MPS" in line, line


def test_auto_does_without_another_users_daemon_and_says_so(mps, external):
    if os.geteuid() != 0:
        pytest.skip("nobody else can be played")
    external(user=65534)
    server = mps()
    register(server, workers=2)
    settled(server, 2)
    assert ask(server)["CUDA_MPS_PIPE_DIRECTORY"].startswith("/tmp/sconce-mps-")
    assert "a daemon that was not used" in said(server) and "is user 65534's" in said(server)


def test_a_daemon_of_some_gpus_numbers_them_anew(mps, external):
    """Its clients see what it was given; by UUID they find it."""
    external(devices="1,GPU-00000000-0000-0000-0000-000000000002")
    server = mps("gpus=4", config={"mps": "external"})
    register(server, workers=4)
    wait_for(lambda: sorted(w["gpuSharing"] for w in workers(server) if w["status"] == "READY") == ["mps"] * 2 + ["timeslice"] * 2,
             40, "two of each")
    seen = {}
    def all_asked():
        with ThreadPoolExecutor(8) as pool:
            for a in pool.map(lambda _: ask(server), range(16)):
                seen[a["pid"]] = (a["client"], a["gpu"], a["CUDA_VISIBLE_DEVICES"])
        return len(seen) == 4
    wait_for(all_asked, 30, "four answers")
    assert sorted(seen.values(), key=str) == [
        (False, 0, ""), (False, 3, ""), (True, 0, "GPU-00000000-0000-0000-0000-000000000001"),
        (True, 0, "GPU-00000000-0000-0000-0000-000000000002")]


@pytest.mark.parametrize("value", ["2,0", "GPU-00000000-0000-0000-0000-000000000002,0"])
def test_managed_daemons_serve_the_operators_gpus(mps, value):
    server = mps("gpus=3", config={"mps": "managed"}, env={"CUDA_VISIBLE_DEVICES": value})
    register(server, workers=1)  # in its turn on the second of them
    settled(server, 1)
    got = ask(server)
    assert (got["gpu"], got["CUDA_VISIBLE_DEVICES"]) == (0, "GPU-00000000-0000-0000-0000-000000000000")


@pytest.mark.parametrize("gpus, fake, env, words", [
    ("gpus=1", "fail=start", {}, "ended as it started"),
    ("gpus=1 mig=1", "", {}, "divided by MIG"),
    ("gpus=1", "", {"TEMP": "LONG"}, "is too long"),
])
def test_a_daemon_that_cannot_be_had_is_told_and_workers_take_turns(mps, tmp_path, gpus, fake, env, words):
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    server = mps(gpus, config={"mps": "managed"}, fake=fake, env={k: str(deep) for k in env})
    register(server, workers=2)
    settled(server, 2, "timeslice")
    assert words in said(server)
    assert ask(server)["client"] is False


def test_a_worker_outside_mps_is_replaced_and_after_some_left_alone(mps, tmp_path):
    listed = tmp_path / "processes"
    listed.touch()
    server = mps(f"gpus=1 processes={listed}", config={"mps": "managed"}, env={"TEST_OUTSIDE": "1"})
    register(server, workers=1)

    def left_alone():
        listed.write_text("".join(f"0 {w['pid']}\n" for w in workers(server)))
        return "is left as it is" in said(server)
    wait_for(left_alone, 60, "the last word")
    assert server.logs()["output.txt"].count("uses the GPU outside MPS: it is replaced") == 3


def test_the_49th_client_is_refused(mps):
    server = mps(config={"mps": "managed"})
    text = register(server, workers=49, status=500)
    assert "48 MPS clients, which is the most" in text


def test_who_is_not_ours_counts_among_the_clients(mps, external, tmp_path):
    listed = tmp_path / "processes"
    listed.write_text("".join(f"0 {2 ** 22 + i} 500 mps\n" for i in range(46)))
    external()
    server = mps(f"gpus=1 processes={listed}", config={"mps": "external"})
    assert "48 MPS clients, which is the most" in register(server, workers=3, status=500)


def test_a_worker_that_comes_as_the_last_leaves_gets_a_daemon(mps):
    """Its daemon's predecessor is still ending."""
    server = mps(config={"mps": "managed"})
    for _ in range(4):
        register(server, workers=1)
        settled(server, 1)
        assert server.delete("/models/m").status_code == 200
    assert "MPS cannot be had" not in said(server)


def test_those_who_stay_are_looked_at_when_a_model_leaves(mps):
    server = mps()
    register(server, "a", workers=2)
    before = {w["pid"] for w in settled(server, 2, name="a")}
    register(server, "b", workers=1)  # joins, as managed stays
    settled(server, 1, name="b")
    assert server.delete("/models/a").status_code == 200
    settled(server, 1, name="b")
    register(server, "c", workers=2)
    assert server.delete("/models/b").status_code == 200
    assert not before & {w["pid"] for w in settled(server, 2, name="c")}
    assert server.delete("/models/c").status_code == 200
    wait_for(lambda: not keeper(server), 20, "the daemon's end")
    register(server, "a", workers=1)
    register(server, "b", workers=2)
    settled(server, 2, "timeslice", "b")  # two models: none
    was = {w["pid"] for w in workers(server, "b")}
    assert server.delete("/models/a").status_code == 200
    assert not was & {w["pid"] for w in settled(server, 2, name="b")}


# ---- endings ----


def test_clients_are_taken_off_before_they_are_signalled(mps, tmp_path):
    server = mps(env={"TEST_DIES_AFTER": "30"})
    register(server, workers=3)
    settled(server, 3)
    pids = {w["pid"] for w in workers(server)}
    scale(server, 2)
    settled(server, 2)
    server.stop()
    done = {int(line.split()[1]): line.split()[2] for line in orders(tmp_path) if line.startswith("terminate_client")}
    assert done == {pid: "alive" for pid in pids}
    assert orders(tmp_path)[-1] == "quit"


def test_a_daemon_that_does_not_end_a_client_is_not_waited_for(mps):
    server = mps(fake="hang=terminate_client", env={"TEST_DIES_AFTER": "30"})
    register(server, workers=2)
    settled(server, 2)
    scale(server, 1)
    settled(server, 1)
    wait_for(lambda: "it is signalled" in said(server) or "does not answer" in said(server), 20, "the word about it")


def test_a_daemon_that_dies_is_started_again_and_the_workers_come_back(mps, tmp_path):
    server = mps(env={"TEST_DIES_AFTER": "30"})
    register(server, workers=2)
    before = {w["pid"] for w in settled(server, 2)}
    pipe = Path(ask(server)["CUDA_MPS_PIPE_DIRECTORY"])
    daemon = int((pipe / f"{PROGRAM}.pid").read_text())
    send(daemon, signal.SIGKILL)
    wait_for(lambda: "was started again" in said(server), 20, "the second daemon")
    after = {w["pid"] for w in settled(server, 2)}
    assert not before & after and ask(server)["client"]
    wait_for(lambda: "all 2 workers are back" in said(server), 20, "the end of the outage")
    metrics = server.get("/metrics", api="metrics").text
    assert "sconce_mps_faults_total" in metrics and "sconce_mps_recoveries_total" in metrics


def test_a_fault_replaces_every_client_of_the_gpu(mps, build):
    server = mps(env={"TEST_DIES_AFTER": "30"})
    register(server, workers=3)
    before = {w["pid"] for w in settled(server, 3)}
    pipe = ask(server)["CUDA_MPS_PIPE_DIRECTORY"]
    subprocess.run([build / "fake_mps" / PROGRAM], input="fault\n", text=True, timeout=30,
                   env={**os.environ, "CUDA_MPS_PIPE_DIRECTORY": pipe})
    wait_for(lambda: "a fatal GPU error in one client has ended all of them; 3 workers are replaced" in said(server), 20, "the word")
    wait_for(lambda: not before & {w["pid"] for w in workers(server)}, 30, "other workers")
    settled(server, 3)
    assert ask(server)["client"]


def recovered(server, count, words, outages=1):
    """The written timeline of an outage, and its metrics."""
    wait_for(lambda: words in said(server), 30, words)
    wait_for(lambda: said(server).count(f"all {count} workers are back, ") >= outages, 40, "the end of the outage")
    settled(server, count)
    assert (server.metric("sconce_mps_faults_total"), server.metric("sconce_mps_recoveries_total")) == (outages, outages)


def test_a_client_that_is_killed_takes_all_with_it(mps):
    server = mps(fake="busy=1", env={"TEST_DIES_AFTER": "30"})
    register(server, workers=3)
    before = [w["pid"] for w in settled(server, 3)]
    send(before[0], signal.SIGKILL)
    recovered(server, 3, "a fatal GPU error in one client has ended all of them")
    assert not set(before) & {w["pid"] for w in workers(server)} and server.metric("sconce_worker_restarts_total") == 3


def test_an_mps_server_that_dies_takes_all_with_it(mps):
    server = mps(env={"TEST_DIES_AFTER": "30"})
    register(server, workers=2)
    before = {w["pid"] for w in settled(server, 2)}
    pipe = Path(ask(server)["CUDA_MPS_PIPE_DIRECTORY"])
    daemon = (pipe / f"{PROGRAM}.pid").read_text()
    send(int(Path(f"/proc/{daemon}/task/{daemon}/children").read_text()), signal.SIGKILL)
    recovered(server, 2, "its MPS server has ended; 2 workers are replaced")
    assert not before & {w["pid"] for w in workers(server)} and (pipe / f"{PROGRAM}.pid").read_text() == daemon


def test_a_keeper_that_dies_takes_its_daemon_along_and_both_come_back(mps):
    # Workers and keeper start at the same moment; who finds no daemon is no client, which only a real driver's list tells.
    server = mps(env={"TEST_DIES_AFTER": "30", "TEST_INITS_AFTER": "1"})
    register(server, workers=2)
    settled(server, 2)
    daemon = int((Path(ask(server)["CUDA_MPS_PIPE_DIRECTORY"]) / f"{PROGRAM}.pid").read_text())
    server.kill_role("mps")
    recovered(server, 2, "its keeper has ended, and the daemon with it; 2 workers are replaced")
    assert not alive(daemon) and ask(server)["client"]


def test_a_daemon_that_cannot_be_started_again_is_given_up(mps, build, tmp_path):
    """Its program is gone: its clients then take turns."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / PROGRAM).symlink_to(build / "fake_mps" / PROGRAM)
    server = mps(path=False, config={"mps": "managed"}, env={"PATH": f"{programs}:{os.environ['PATH']}"})
    register(server, workers=2)
    settled(server, 2)
    daemon = int((Path(ask(server)["CUDA_MPS_PIPE_DIRECTORY"]) / f"{PROGRAM}.pid").read_text())
    (programs / PROGRAM).unlink()
    send(daemon, signal.SIGKILL)
    settled(server, 2, "timeslice")
    assert ask(server)["client"] is False and "its daemon could not be had" in said(server) or "not in PATH" in said(server)
    wait_for(lambda: not keeper(server), 20, "the keeper's end")


def test_the_frontend_dies_and_daemon_and_clients_stay(mps):
    server = mps()
    register(server, workers=2)
    before = {w["pid"] for w in settled(server, 2)}
    kept = keeper(server)
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the death")
    server.wait_healthy()
    assert {w["pid"] for w in settled(server, 2)} == before and keeper(server) == kept
    scale(server, 4)
    after = settled(server, 4)  # those that the new frontend starts find GPU and daemon, too
    assert before < {w["pid"] for w in after}

    def all_asked():
        with ThreadPoolExecutor(8) as pool:
            seen = {a["pid"]: a for a in pool.map(lambda _: ask(server), range(16))}
        return seen if len(seen) == 4 else None
    seen = wait_for(all_asked, 30, "four answers")
    assert {(a["client"], a["gpu"], a["CUDA_VISIBLE_DEVICES"]) for a in seen.values()} == {
        (True, 0, "GPU-00000000-0000-0000-0000-000000000000")}


def test_nothing_is_left_when_the_supervisor_is_killed(mps):
    server = mps()
    register(server, workers=2)
    settled(server, 2)
    pipe = Path(ask(server)["CUDA_MPS_PIPE_DIRECTORY"])
    daemon, kept = int((pipe / f"{PROGRAM}.pid").read_text()), keeper(server)
    send(server.process.pid, signal.SIGKILL)
    began = time.monotonic()
    wait_for(lambda: not alive(daemon) and not any(map(alive, kept)) and not pipe.exists(), 20, "their ends")
    print(f"gone after {time.monotonic() - began:.2f} s")
    server.process.wait()
    server.assert_nothing_left(20)  # no worker either, whose memory on the GPU would stay with it


def test_two_servers_have_a_daemon_each(mps, build):
    a, b = mps(), mps()
    for s in (a, b):
        register(s, workers=2)
    for s in (a, b):
        settled(s, 2)
    assert ask(a)["CUDA_MPS_PIPE_DIRECTORY"] != ask(b)["CUDA_MPS_PIPE_DIRECTORY"]
    assert f"in {ask(a)['CUDA_MPS_PIPE_DIRECTORY']}. Its clients and ours take turns on the GPU" in said(b)
    for s in (a, b):  # each has its own
        j = json.loads(subprocess.run([build / "sconce", "gpu", "--json", "--pid", str(s.process.pid)], env=s.env, timeout=60,
                                      capture_output=True, text=True).stdout)["gpus"][0]
        assert j["mps"]["pipe"] == ask(s)["CUDA_MPS_PIPE_DIRECTORY"] and "take turns" in " ".join(j["notes"])


def test_sconce_gpu_tells_a_managed_daemon_and_an_external_one(mps, build, external, tmp_path):
    server = mps(config={"mps": "managed"})
    register(server, workers=1)
    settled(server, 1)
    mine = keeper(server)[0]
    env = {**server.env, "CUDA_MPS_PIPE_DIRECTORY": str(outside(tmp_path))}

    def look():
        out = subprocess.run([build / "sconce", "gpu", "--json", "--pid", str(server.process.pid)], env=env, capture_output=True,
                             text=True, timeout=60).stdout
        return json.loads(out)["gpus"][0]["mps"]
    assert look()["state"] == "managed" and mine
    server.stop()
    pid = external()
    m = look()
    assert (m["state"], m["pid"], m["pipe"]) == ("external", pid, str(outside(tmp_path)))

"""Which GPU a worker gets, and whether it gets one, on a machine without any: the NVML of tests/fault/fake_nvml.c says what
the test writes into two files, who is on the GPUs and how these are."""
import json
import os
import re
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import harness
import pytest
from clients import Load
from harness import send, wait_for
from python_models import PYTHON, folder

GIB = 1024  # MiB

HANDLER = """
    import json, os, time
    def handle(data, context):
        if data is None:
            return None
        time.sleep(0.01)
        gpu = context.system_properties.get("gpu_id")
        return [json.dumps({"gpu": gpu, "pid": os.getpid(), "visible": os.environ.get("CUDA_VISIBLE_DEVICES")})] * len(data)
"""

SAYS_ERROR = """
    def handle(data, context):
        if data is None:
            raise RuntimeError(%r)
        return data
"""


class Gpus:
    """The GPUs of the fake driver, changed while a server runs."""

    def __init__(self, folder, n):
        self.listed, self.state = folder / "processes", folder / "state"
        self.lines, self.on = [], {}
        for gpu in range(n):
            self.say(gpu, "total", 80 * GIB)
            self.say(gpu, "free", 79 * GIB)
        self.put({})
        self.words = f"gpus={n} processes={self.listed} state={self.state}"

    def say(self, gpu, what, *number):
        """The fake reads the file while we write: it must never see half of it."""
        self.lines.append(" ".join(map(str, (gpu, what, *number))) + "\n")
        beside = self.state.with_suffix(".new")
        beside.write_text("".join(self.lines))
        beside.rename(self.state)

    def put(self, processes):
        """{pid: (gpu, MiB)}"""
        beside = self.listed.with_suffix(".new")
        beside.write_text("".join(f"{gpu} {pid} {mib}\n" for pid, (gpu, mib) in processes.items()))
        beside.rename(self.listed)


@pytest.fixture
def start(build, tmp_path):
    """A function that starts a server on so many GPUs of 80 GiB: its result is (server, gpus)."""
    started = []

    def run(n=2, config=None, env=None, mps=False, words="", launch=True, **more):
        gpus = Gpus(tmp_path, n)
        path = f"{build / 'fake_mps'}:{os.environ['PATH']}" if mps else os.environ["PATH"]
        server = harness.Server(build=build, folder=tmp_path / f"server{len(started)}", config={**PYTHON, **(config or {})}, env={
            "SCONCE_GPU_INTERVAL_MS": "100", "SCONCE_NVML": str(build / "libfake_nvml.so"), "FAKE_NVML": f"{gpus.words} {words}", "CUDA_VISIBLE_DEVICES": "",
            "TEMP": "/tmp", "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"), "PATH": path, **(env or {})}, **more)
        started.append(server)
        return (server.start() if launch else server), gpus
    yield run
    harness.stop_all(started)


def register(server, name, workers=1, handler=HANDLER, status=200, **config):
    folder(server.store, name, handler, config=config or None)
    r = server.post("/models", api="management", params={"url": name, "initial_workers": workers})
    assert r.status_code == status, r.text
    return described(server, name) if status == 200 else r.json()["message"]


def described(server, name):
    return server.get(f"/models/{name}", api="management").json()[0]


def scale(server, name, workers, status=200):
    r = server.put(f"/models/{name}", params={"min_worker": workers, "max_worker": workers, "synchronous": "true"})
    assert r.status_code == status, r.text
    return r.json().get("message", "")


def where(server, name):
    """The GPU of each ready worker, by pid."""
    found = {}
    for w in described(server, name)["workers"]:
        text = w["gpuUsage"]
        if w["status"] == "READY" and text.startswith("gpuId::"):
            found[w["pid"]] = int(text[len("gpuId::"):].split()[0])
    return found


def settled(server, name, gpus):
    """Its workers, once they are on these GPUs."""
    def look():
        found = where(server, name)
        return found if sorted(found.values()) == sorted(gpus) else None
    return wait_for(look, 40, f"workers of {name} on GPUs {gpus}")


def said(server):
    return "\n".join(server.logs().values())


def measured(server, gpus, name, mib, others=None):
    """Lets the driver tell what the model's workers take, until the server has learned it."""
    gpus.put({**{pid: (gpu, mib) for pid, gpu in where(server, name).items()}, **(others or {})})
    wait_for(lambda: all(w.get("gpuMemory") == mib << 20 for w in described(server, name)["workers"]), 20, "the figure")


# ---- room ----


def test_workers_take_turns_as_long_as_there_is_room(start):
    server, _ = start(3)
    register(server, "m", 4)
    settled(server, "m", [0, 1, 1, 2])


def test_who_has_no_room_in_its_turn_gets_the_next_gpu(start):
    server, gpus = start(2)
    register(server, "m", 1)
    settled(server, "m", [1])
    gpus.say(1, "free", 2 * GIB)
    measured(server, gpus, "m", 3 * GIB)
    gpus.say(0, "free", 4 * GIB)
    wait_for(lambda: "memory.used [MiB]::%d MiB" % (80 * GIB - 300 - 2 * GIB) in json.dumps(described(server, "m")), 20, "a report")
    scale(server, "m", 2)  # GPU 0 is next in turn
    settled(server, "m", [0, 1])
    gpus.say(0, "free", GIB)
    wait_for(lambda: "memory.used [MiB]::%d MiB" % (80 * GIB - 300 - GIB) in json.dumps(described(server, "m")), 20, "a report")
    text = scale(server, "m", 3, status=507)
    assert "GPU 1: a worker takes 3072 MiB, and of 81920 MiB 2048 are free" in text and "GPU 0: a worker takes" in text, text
    assert len(where(server, "m")) == 2 and server.post("/predictions/m", data=b"x").status_code == 200


def test_a_model_that_fits_nowhere_is_refused_before_it_starts(start):
    server, gpus = start(1)
    register(server, "m", 1)
    settled(server, "m", [0])
    measured(server, gpus, "m", 30 * GIB)
    assert server.delete("/models/m").status_code == 200
    gpus.put({})
    gpus.say(0, "free", 20 * GIB)
    text = wait_for(lambda: refused(server, 507), 20, "the refusal")
    assert "GPU 0: a worker takes 30720 MiB, and of 81920 MiB 20480 are free" in text
    assert server.get("/models/m", api="management").status_code == 404


def refused(server, status):
    """The words with which the model is refused; None: it was not, as the latest report was older."""
    folder(server.store, "m", HANDLER)
    r = server.post("/models", api="management", params={"url": "m", "initial_workers": 1})
    if r.status_code == 200:
        assert server.delete("/models/m").status_code == 200
        return None
    assert r.status_code == status, r.text
    return r.json()["message"]


def test_a_gpu_that_is_full_is_refused_to_anybody(start):
    server, gpus = start(1)
    gpus.say(0, "free", 100)
    assert "a worker takes at least 128 MiB" in wait_for(lambda: refused(server, 507), 20, "the refusal")


def test_by_memory_the_emptiest_gpu_is_taken(start):
    server, gpus = start(3, config={"gpu_placement": "memory"})
    gpus.say(0, "free", 10 * GIB)
    gpus.say(1, "free", 20 * GIB)
    wait_for(lambda: where_new(server) == 2, 20, "the emptiest")
    gpus.say(2, "free", 5 * GIB)
    wait_for(lambda: where_new(server) == 1, 20, "the emptiest then")


def where_new(server):
    register(server, "probe", 1)
    gpu = wait_for(lambda: where(server, "probe"), 20, "a worker")
    assert server.delete("/models/probe").status_code == 200
    return list(gpu.values())[0]


def test_by_memory_workers_spread(start):
    server, _ = start(4, config={"gpu_placement": "memory"})
    register(server, "m", 8)
    settled(server, "m", [0, 0, 1, 1, 2, 2, 3, 3])


def test_device_ids_bind_both_ways_of_placing(start):
    server, gpus = start(4, config={"gpu_placement": "memory"})
    gpus.say(3, "free", 20 * GIB)
    register(server, "m", minWorkers=2, maxWorkers=2, deviceIds="[3, 2]")
    assert set(wait_for(lambda: len(w := where(server, "m")) == 2 and w, 40, "both workers").values()) <= {2, 3}


def test_device_ids_that_do_not_exist_are_told_and_count_as_none(start):
    server, _ = start(2)
    m = register(server, "m", minWorkers=2, maxWorkers=2, deviceIds="[0, 7]")
    assert "deviceIds" not in m and "Invalid deviceId:7, ignore deviceIds list" in said(server)
    settled(server, "m", [0, 1])


def test_another_word_for_the_placement_is_refused(start):
    server, _ = start(config={"gpu_placement": "best"}, launch=False)
    code, out = server.refused()
    assert code == 2 and 'gpu_placement is "best": it must be turns or memory' in out


# What PyTorch would say of its tensors.
HAS_TENSORS = """
    import os, sys, types
    cuda = types.SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2, memory_allocated=lambda i: (300, 100)[i] << 20,
                                 synchronize=lambda: None, is_available=lambda: True)
    def handle(data, context):
        if data is None:
            sys.modules["torch"] = types.SimpleNamespace(cuda=cuda)
            return None
        if data[0].get("body") == b"full":
            raise RuntimeError("CUDA out of memory. Tried to allocate 20 MiB")
        return [str(os.getpid())] * len(data)
"""


def test_what_a_worker_takes_is_told_by_its_parts(start, build):
    server, gpus = start(1, words="gpm=41")
    register(server, "m", 2, HAS_TENSORS)
    settled(server, "m", [0, 0])
    measured(server, gpus, "m", 1000)
    for w in described(server, "m")["workers"]:
        assert (w["gpuWeights"], w["gpuContext"]) == (400 << 20, 600 << 20) and "gpuActivations" not in w
    assert server.metric("sconce_gpu_memory_bytes") == 2000 << 20
    text = server.get("/metrics", "metrics").text
    of = {part: int(float(v)) >> 20 for part, v in re.findall(r'sconce_gpu_memory_bytes{model_name="m".*of="(\w+)".*} (\S+)', text)}
    assert of == {"weights": 800, "activations": 0, "context": 1200}
    wait_for(lambda: server.metric("sconce_gpu_sm_utilization") == 41, 20, "how busy it is")
    assert server.metric("sconce_gpu_bandwidth_utilization") == 2
    out = subprocess.run([build / "sconce", "gpu", "--pid", str(server.process.pid)], env=server.env, capture_output=True, text=True,
                         timeout=60).stdout
    assert out.count("1000 MiB (weights 400, context 600)  m 1.0, worker ") == 2, out
    assert "of its multiprocessors 41 %, of its memory's bandwidth 2 %" in out
    before = where(server, "m")
    assert server.post("/predictions/m", data=b"full").status_code == 507
    assert server.metric("sconce_out_of_memory_total", "m") == 1 and where(server, "m") == before
    assert server.metric("sconce_worker_restarts_total", "m") == 0
    gpus.put({})
    scale(server, "m", 0)
    wait_for(lambda: "sconce_gpu_memory_bytes{" not in server.get("/metrics", "metrics").text, 20, "nothing to be told")


# ---- GPUs that are not to be used ----


@pytest.mark.parametrize("what, words", [(("xid", 79), "XID 79"), (("ecc", 2), "2 uncorrected errors of its memory"),
                                         (("lost",), "it is lost"), (("remap",), "a row of its memory is broken")])
def test_a_gpu_in_trouble_is_left_and_told(start, build, what, words):
    server, gpus = start(2)
    register(server, "m", 2)
    before = settled(server, "m", [0, 1])
    wait_for(lambda: server.metric("sconce_gpu_healthy") == 2, 20, "both to be well")
    gpus.say(1, *what)
    after = settled(server, "m", [0, 0])
    assert len(set(before) & set(after)) == 1, "the worker on the other GPU stays"
    assert f"is not used any more, until the server is started again: {words}" in said(server)
    assert server.metric("sconce_gpu_healthy") == 1
    register(server, "n", 2)
    settled(server, "n", [0, 0])


def test_requests_are_not_lost_when_a_gpu_is_left(start):
    server, gpus = start(2)
    register(server, "m", 4)
    settled(server, "m", [0, 0, 1, 1])
    with Load(server, "/predictions/m", connections=8, right=lambda sent, reply: b"pid" in reply.content) as load:
        gpus.say(0, "xid", 48)
        settled(server, "m", [1, 1, 1, 1])
        load.wait_for_answers(20)
    assert load.failures == []


def test_what_a_program_did_is_not_held_against_its_gpu(start):
    server, gpus = start(2)
    register(server, "m", 2)
    before = settled(server, "m", [0, 1])
    for xid in (13, 31, 43, 45):
        gpus.say(1, "xid", xid)
    gpus.say(0, "free", 33 * GIB)
    wait_for(lambda: "MiB]::%d MiB" % (80 * GIB - 300 - 33 * GIB) in json.dumps(described(server, "m")), 20, "a later report")
    assert where(server, "m") == before and "is not used" not in said(server)


def test_without_another_gpu_workers_stay_and_new_ones_are_refused(start):
    server, gpus = start(1)
    register(server, "m", 1)
    before = settled(server, "m", [0])
    gpus.say(0, "xid", 74)
    wait_for(lambda: "its workers stay, as no other GPU can take them: GPU 0 is not used: XID 74" in said(server), 20, "the words")
    assert where(server, "m") == before
    assert "GPU 0 is not used: XID 74" in scale(server, "m", 2, status=500)


def test_a_worker_that_dies_on_a_gpu_in_trouble_comes_back_elsewhere(start):
    """Also while it fails to load there."""
    server, gpus = start(2)
    register(server, "m", 1)
    pid, = settled(server, "m", [1])
    gpus.say(1, "xid", 79)
    send(pid, signal.SIGKILL)
    settled(server, "m", [0])


def test_the_trouble_is_known_to_the_next_frontend(start):
    server, gpus = start(2)
    register(server, "m", 2)
    gpus.say(1, "xid", 79)
    settled(server, "m", [0, 0])
    old = server.kill_role("frontend")
    wait_for(lambda: not harness.alive(old), 10, "the death")
    server.wait_healthy()
    wait_for(lambda: server.metric("sconce_gpu_healthy") == 1, 20, "its word")
    register(server, "n", 2)
    settled(server, "n", [0, 0])


# ---- modes ----


def test_a_prohibited_gpu_is_refused_with_what_to_type(start):
    server, _ = start(2, words="mode=2")
    text = wait_for(lambda: refused(server, 500), 20, "the refusal")
    assert "GPU 1: compute mode PROHIBITED: no process can use it; nvidia-smi -i 1 -c 0 permits it" in text, text


def test_an_exclusive_gpu_without_mps_takes_one_process(start):
    server, gpus = start(1, config={"mps": "off"}, words="mode=3")
    register(server, "m", 1)
    measured(server, gpus, "m", GIB)
    text = scale(server, "m", 2, status=500)
    assert "compute mode EXCLUSIVE_PROCESS and no MPS: one process at a time" in text and "nvidia-smi -i 0 -c 0" in text


def test_error_46_is_explained(start):
    """What CUDA says in a process that an exclusive GPU does not let in."""
    server, _ = start(1, config={"mps": "off"}, words="mode=3")
    register(server, "first", 1)
    text = register(server, "m", 1, SAYS_ERROR % "CUDA error: CUDA-capable device(s) is/are busy or unavailable", status=507,
                    maxRetryTimeoutInSec=0)
    assert "busy or unavailable (GPU 0 is in compute mode EXCLUSIVE_PROCESS; nvidia-smi -i 0 -c 0 permits several" in text


def test_a_memory_limit_below_the_model_is_named(start):
    server, _ = start(1, config={"mps": "managed"}, mps=True)
    text = register(server, "m", 1, SAYS_ERROR % "CUDA out of memory. Tried to allocate 20 MiB", status=507,
                    mpsPinnedMemoryLimit="1G")
    assert "(mpsPinnedMemoryLimit is 1G, and of 81920 MiB" in text


# ---- the operator's CUDA_VISIBLE_DEVICES ----


UUID = "GPU-00000000-0000-0000-0000-%012d"


@pytest.mark.parametrize("value", ["2,0", f"{UUID % 2},{UUID % 0}", "GPU-00000000-0000-0000-0000-000000000002,0"])
def test_the_operators_gpus_by_index_or_uuid(start, value):
    server, gpus = start(3, env={"CUDA_VISIBLE_DEVICES": value})
    gpus.say(2, "free", 7 * GIB)
    register(server, "m", 2)
    used = "MiB]::%d MiB" % (80 * GIB - 300 - 7 * GIB)
    found = wait_for(lambda: w if len(w := {w["gpuUsage"][:8]: w["gpuUsage"] for w in described(server, "m")["workers"]}) == 2
                     and used in str(w) else None, 20, "both in the report")
    assert used in found["gpuId::0"] and used not in found["gpuId::1"]


def test_blocks_of_the_operators_gpus(start):
    server, _ = start(4, env={"CUDA_VISIBLE_DEVICES": "3,2,1,0"})
    register(server, "m", minWorkers=2, maxWorkers=2, parallelType="custom", parallelLevel=2)
    def visible():
        with ThreadPoolExecutor(8) as pool:
            seen = set(pool.map(lambda _: server.post("/predictions/m", data=b"x").json()["visible"], range(8)))
        return seen == {"3,2", "1,0"}
    wait_for(visible, 30, "both blocks")


# ---- what was measured ----


@pytest.mark.parametrize("best, sharing", [("timeslice", "timeslice"), ("mps", "mps")])
def test_auto_obeys_what_was_measured(start, tmp_path, best, sharing):
    """By rule two processes of one model get MPS."""
    file = tmp_path / "tune.json"
    server, _ = start(1, config={"tune_record": file}, mps=True)
    folder(server.store, "m", HANDLER)
    file.write_text(json.dumps({"version": 1, "measured": [{"gpu": 'Fake "GPU" 0', "driver": "580.0-fake", "workers": 2,
                                                            "content": content_of(server.store / "m"), "gpuSharing": best}]}))
    register(server, "m", 2)
    wait_for(lambda: [w["gpuSharing"] for w in described(server, "m")["workers"] if w["status"] == "READY"] == [sharing] * 2, 40,
             "both by " + sharing)
    assert best == "timeslice" or "measured as faster for what is placed there" in said(server)


def content_of(folder):
    """As src/gpu/tune_record.h has it."""
    h = 0xcbf29ce484222325
    def mix(data):
        nonlocal h
        for byte in data:
            h = (h ^ byte) * 0x100000001b3 % (1 << 64)
    def walk(at, prefix):
        for entry in sorted(at.iterdir(), key=lambda p: p.name.encode()):
            if entry.name.startswith(".") or entry.name in ("model-config.yaml", "MAR-INF", "__pycache__", "venv"):
                continue
            if entry.is_dir():
                walk(entry, f"{prefix}/{entry.name}")
            else:
                data = entry.read_bytes()
                mix(f"{prefix}/{entry.name}".encode() + b"\0" + len(data).to_bytes(8, "little") + data[:65536])
                if len(data) > 65536:
                    mix(data[-65536:])
    walk(folder, "")
    return f"{h:016x}"


@pytest.mark.parametrize("text, words", [("{", "it is no JSON"), ('{"version": 7}', '"version" must be 1')])
def test_a_bad_record_is_told_and_counts_as_none(start, tmp_path, text, words):
    file = tmp_path / "tune.json"
    file.write_text(text)
    server, _ = start(1, config={"tune_record": file}, mps=True)
    register(server, "m", 2)
    wait_for(lambda: [w["gpuSharing"] for w in described(server, "m")["workers"] if w["status"] == "READY"] == ["mps"] * 2, 40, "the rule")
    assert "tune_record: nothing of it is believed" in said(server) and words in said(server)


# ---- native models as processes ----


def test_a_native_models_workers_can_be_processes(start):
    server, _ = start(1)
    at = server.store / "echo"
    at.mkdir()
    (at / "model-config.yaml").write_text("backend: identity\nworkerKind: process\nminWorkers: 2\nmaxWorkers: 2\n")
    r = server.post("/models", api="management", params={"url": "echo", "synchronous": "true"})
    assert r.status_code == 200, r.text
    pids = {w["pid"] for w in described(server, "echo")["workers"]}
    assert len(pids) == 2
    scale(server, "echo", 3)
    workers = described(server, "echo")["workers"]
    assert pids < {w["pid"] for w in workers} and len(workers) == 3, "those that run stay"
    victim = pids.pop()
    send(victim, signal.SIGKILL)
    wait_for(lambda: len(w := {w["pid"] for w in described(server, "echo")["workers"] if w["status"] == "READY"}) == 3
             and victim not in w, 30, "another process")
    assert pids < {w["pid"] for w in described(server, "echo")["workers"]}, "and the others stay"
    scale(server, "echo", 1)
    assert server.post("/predictions/echo", data=b"hi").content == b"hi"

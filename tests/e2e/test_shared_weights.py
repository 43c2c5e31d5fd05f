"""sharedWeights: true, in main memory, with a handler that knows nothing of it (docs/gpu-sharing.md). On a GPU:
tests/device/shared_weights.py."""
import os
import signal
import subprocess
from pathlib import Path

import pytest

import harness
from harness import read_proc, wait_for
from python_models import PYTHON, folder, need_python_with

HANDLER = """
import os
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(512, 512)
        self.tied = torch.nn.Linear(512, 512)
        self.tied.weight = self.first.weight
        self.cells = torch.nn.LSTM(512, 256)
        self.register_buffer("odd", torch.arange(100003, dtype=torch.uint8)[1:])
        self.register_buffer("count", torch.zeros(4))

    def forward(self, x):
        return self.cells(self.tied(self.first(x)))[0].sum() + self.odd.sum() + self.first.weight.t().sum()


def make():
    torch.manual_seed(3)
    return Net().eval()


kept_somewhere = []


def handle(data, context):
    if data is None:
        torch.set_num_threads(1)
        kept_somewhere.append({"in": (lambda net=make(): net)})
        return None
    net = kept_somewhere[0]["in"]()
    out = []
    for row in data:
        order = bytes(row["body"]).decode()
        shared = "sconce-weights" in open("/proc/self/maps").read()
        if order == "write":
            with torch.no_grad():
                net.first.weight.add_(1)
        if order == "fault" and shared:
            os._exit(87)  # what the worker does when a GPU's context has ended that way
        with torch.no_grad():
            value = net(torch.ones(3, 512)).item()
        out.append({"value": value, "alias": net.tied.weight is net.first.weight, "shared": shared, "pid": os.getpid(),
                    "grad": net.first.weight.requires_grad})
    return out
"""
SHARED_BYTES = 4 * (512 * 512 + 2 * 512 + 1024 * 512 + 1024 * 256 + 2 * 1024 + 4) + 100003


def described(server, name):
    return server.get(f"/models/{name}", "management").json()[0]["workers"]


def register(server, name, workers=1, status=200):
    reply = server.post(f"/models?url={name}&initial_workers={workers}&synchronous=true", "management", timeout=100)
    assert reply.status_code == status, reply.text + server.log_tail()
    return reply.text


def ask(server, name, order="again"):
    reply = server.post(f"/predictions/{name}", data=order.encode(), headers={"Content-Type": "application/octet-stream"},
                        timeout=60)
    assert reply.status_code == 200, reply.text + server.log_tail()
    return reply.json()


def blocks(pid):
    """Inodes of the blocks that a process maps."""
    lines = [line.split() for line in read_proc(pid, "maps").decode().splitlines()]
    return {f[4] for f in lines if len(f) > 5 and "sconce-weights" in f[5]}


def kept(server):
    """Of those that the supervisor keeps."""
    at = f"/proc/{server.pid('supervisor')}/fd"
    return {str(os.stat(f"{at}/{fd}").st_ino) for fd in os.listdir(at)
            if "sconce-weights" in os.readlink(f"{at}/{fd}")}


def put(server, name):
    folder(server.store, name, HANDLER, config={"sharedWeights": "true", "maxBatchDelay": 1})


@pytest.fixture
def start(build, tmp_path):
    started = []

    def one(**env):
        started.append(harness.Server(
            build=build, folder=tmp_path / "server", env={"OMP_NUM_THREADS": "1", **env},
            config={"python": need_python_with("torch"), "system_metrics_cmd": "", "default_workers_per_model": 1}))
        return started[-1].start()

    yield one
    harness.stop_all(started)


def ready(server, name, old, n):
    """The model's n workers, once none of them is one of the old."""

    def found():
        now = described(server, name)
        return len(now) == n and all(w["status"] == "READY" and w["pid"] not in old for w in now) and now

    return wait_for(found, 100, f"new workers of {name}")


@pytest.mark.timeout(300)
def test_workers_and_models_map_the_same_memory_until_one_writes(start):
    server = start()
    put(server, "m")
    put(server, "twin")
    register(server, "m", 2)
    first = described(server, "m")
    assert [w["sharedWeights"] for w in first] == [{"state": "shared", "bytes": SHARED_BYTES}] * 2
    mapped = blocks(first[0]["pid"])
    assert mapped and mapped == blocks(first[1]["pid"]) == kept(server)
    answer = ask(server, "m")
    assert answer["alias"] and answer["grad"]

    # A replacement maps it, too, and so does another model with the same tensors.
    os.kill(first[0]["pid"], signal.SIGKILL)
    register(server, "twin")
    wait_for(lambda: {w["pid"] for w in described(server, "m") if w["status"] == "READY"} - {w["pid"] for w in first}, 100, "it")
    second = ready(server, "m", {first[0]["pid"]}, 2)
    for worker in second + described(server, "twin"):
        assert blocks(worker["pid"]) == mapped == kept(server)

    # Who writes in main memory has pages of its own.
    changed = ask(server, "twin", "write")["value"]
    assert changed != answer["value"] and ask(server, "twin")["value"] == changed
    assert ask(server, "m")["value"] == answer["value"]

    # What a write on a GPU comes to: no request is lost, and all workers get weights of their own.
    again = ask(server, "m", "fault")
    assert again["value"] == answer["value"] and not again["shared"]
    third = ready(server, "m", {w["pid"] for w in second}, 2)
    assert [w["sharedWeights"] for w in third] == [{"state": "private", "bytes": 0, "why": "the handler wrote to shared weights"}] * 2
    assert ask(server, "m")["value"] == answer["value"]
    assert "model m: its handler wrote to weights that are shared" in server.logs()["ts_log.log"]

    # The last user's end is the memory's.
    assert kept(server) == mapped
    assert server.delete("/models/twin", "management").status_code == 200
    wait_for(lambda: not kept(server), 30, "the memory's end")


@pytest.mark.timeout(200)
def test_the_plain_data_path_shares_too(start):
    server = start(SCONCE_PURE_PYTHON="1")
    put(server, "m")
    register(server, "m")
    (worker,) = described(server, "m")
    assert worker["sharedWeights"] == {"state": "shared", "bytes": SHARED_BYTES}
    assert blocks(worker["pid"]) == kept(server) and kept(server)
    assert ask(server, "m")["shared"]


@pytest.mark.timeout(100)
def test_every_kind_of_module_stays_what_it_is(build):
    script = Path(__file__).with_name("weights_kinds.py")
    subprocess.run([need_python_with("torch"), str(script), str(build / "python")], check=True, timeout=90)


def test_without_pytorch_it_serves_and_says_so_once(serve):
    server = serve(config=PYTHON)
    folder(server.store, "p", "def handle(data, context):\n    return [b'fine'] * len(data or [])\n",
           config={"sharedWeights": "true"})
    register(server, "p")
    assert server.post("/predictions/p", data=b"x").content == b"fine"
    assert described(server, "p")[0]["sharedWeights"] == {"state": "private", "bytes": 0, "why": "PyTorch is not used"}
    wait_for(lambda: server.logs()["model_log.log"].count("The weights stay private to this worker: PyTorch is not used") == 1, 10, "the line")


@pytest.mark.parametrize("config, says", [
    ({"sharedWeights": "perhaps"}, "true or false"),
    ({"sharedWeights": "true", "parallelType": "tp", "parallelLevel": 1}, "sharedWeights and parallelType: tp"),
    ({"sharedWeights": "true", "backend": "identity"}, "its backend is identity"),
])
def test_what_cannot_be_is_refused_with_both_sides(serve, config, says):
    server = serve(config=PYTHON)
    folder(server.store, "x", "def handle(data, context):\n    return [b''] * len(data or [])\n", config=config)
    assert says in register(server, "x", status=400)

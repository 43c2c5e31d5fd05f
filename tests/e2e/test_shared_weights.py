"""sharedWeights: true, in main memory, with a handler that knows nothing of it (docs/gpu-sharing.md). On a GPU:
tests/device/shared_weights.py."""
import os
import signal

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
    torch.manual_seed({seed})
    return Net().eval()


kept_somewhere = []


def handle(data, context):
    if data is None:
        torch.set_num_threads(1)
        kept_somewhere.append({{"in": (lambda net=make(): net)}})
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
        out.append({{"value": value, "alias": net.tied.weight is net.first.weight, "shared": shared, "pid": os.getpid(),
                    "grad": net.first.weight.requires_grad}})
    return out
"""
SHARED_BYTES = 4 * (512 * 512 + 1024 * 512 + 1024 * 256) + 100003  # what is below 16 KiB stays private


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


def put(server, name, seed="3", **config):
    folder(server.store, name, HANDLER.format(seed=seed), config={"sharedWeights": "true", "maxBatchDelay": 1, **config})


@pytest.fixture(params=["extension", "plain"], scope="module")
def server(request, build, tmp_path_factory):
    python = need_python_with("torch")
    env = {"OMP_NUM_THREADS": "1", **({"SCONCE_PURE_PYTHON": "1"} if request.param == "plain" else {})}
    server = harness.Server(build=build, folder=tmp_path_factory.mktemp("weights"), env=env,
                            config={"python": python, "system_metrics_cmd": "", "default_workers_per_model": 1})
    try:
        yield server.start()
    finally:
        harness.stop_all([server])


@pytest.mark.timeout(120)
def test_workers_and_models_map_the_same_memory(server):
    put(server, "m")
    register(server, "m", 2)
    first = described(server, "m")
    assert [w["sharedWeights"] for w in first] == [{"state": "shared", "bytes": first[0]["sharedWeights"]["bytes"]}] * 2
    assert first[0]["sharedWeights"]["bytes"] == SHARED_BYTES
    mapped = blocks(first[0]["pid"])
    assert mapped and mapped == blocks(first[1]["pid"]) == kept(server)
    answer = ask(server, "m")
    assert answer["alias"] and answer["grad"]
    # A replacement maps it, too.
    os.kill(first[0]["pid"], signal.SIGKILL)
    pids = {w["pid"] for w in first}
    again = wait_for(lambda: [w for w in described(server, "m") if w["status"] == "READY" and w["pid"] not in pids], 60, "a worker")
    assert blocks(again[0]["pid"]) == mapped == kept(server)
    # A model with the same tensors; one that writes has pages of its own; the last user's end is the memory's.
    put(server, "twin")
    register(server, "twin")
    assert kept(server) == mapped
    changed, same = ask(server, "twin", "write")["value"], ask(server, "m")["value"]
    assert changed != same == answer["value"] and ask(server, "twin")["value"] == changed
    assert server.delete("/models/m", "management").status_code == 200
    wait_for(lambda: not described_or_none(server, "m"), 20, "the end of m")
    assert kept(server) == mapped
    assert server.delete("/models/twin", "management").status_code == 200
    wait_for(lambda: not kept(server), 20, "the memory's end")


def described_or_none(server, name):
    return server.get(f"/models/{name}", "management").status_code == 200


@pytest.mark.timeout(120)
def test_a_handler_that_writes_loses_it_and_no_request(server):
    put(server, "w")
    register(server, "w", 2)
    old = {w["pid"] for w in described(server, "w")}
    assert ask(server, "w")["shared"]
    answer = ask(server, "w", "fault")
    assert not answer["shared"]

    def replaced():
        now = described(server, "w")
        return len(now) == 2 and all(w["status"] == "READY" and w["pid"] not in old for w in now) and now

    now = wait_for(replaced, 60, "the other worker's replacement")
    assert [w["sharedWeights"] for w in now] == [{"state": "private", "bytes": 0, "why": "the handler wrote to shared weights"}] * 2
    assert ask(server, "w")["value"] == answer["value"]
    wait_for(lambda: not kept(server), 30, "the memory's end")
    assert "model w: its handler wrote to weights that are shared" in server.logs()["ts_log.log"]
    assert server.delete("/models/w", "management").status_code == 200


@pytest.mark.timeout(120)
def test_what_an_ended_life_alone_had_is_given_up(server):
    put(server, "r", seed="int.from_bytes(os.urandom(4), 'big')")
    register(server, "r")
    (worker,) = described(server, "r")
    before = kept(server)
    assert before == blocks(worker["pid"])
    os.kill(worker["pid"], signal.SIGKILL)
    (worker,) = wait_for(lambda: [w for w in described(server, "r") if w["status"] == "READY" and w["pid"] != worker["pid"]], 60,
                         "a worker")
    assert kept(server) == blocks(worker["pid"]) and len(kept(server)) == len(before)
    assert kept(server) != before
    assert server.delete("/models/r", "management").status_code == 200


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

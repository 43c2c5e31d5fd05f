"""What a TorchServe operator has, unmodified: the scripts and settings of examples/operator, archives packed by their own
scripts; started, asked, restarted and stopped from the command line."""
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import requests

import harness
from harness import wait_for

sys.path.append(str(harness.ROOT / "tests" / "peer"))

import archives  # noqa: E402
from servers import Peer  # noqa: E402

EXAMPLES = harness.ROOT / "examples"
OPERATOR = EXAMPLES / "operator"


class Operator:
    """A folder with store/ and logs/, and the scripts that are run on it."""

    def __init__(self, build):
        self.peer = Peer(build / "torchserve")  # for its folders, ports, environment and clean-up
        self.folder = self.peer.folder
        text = (OPERATOR / "config.properties").read_text()
        for name, port in (("inference", 8080), ("management", 8081), ("metrics", 8082)):
            text = text.replace(f":{port}", f":{self.peer.ports[name]}")
        for name in ("inference", "management"):
            text += f"grpc_{name}_port={self.peer.ports['grpc_' + name]}\n"
        self.peer.config.write_text(text + f"python={sys.executable}\n")
        self.env = {**self.peer.env, "PATH": f"{build}:{os.environ['PATH']}", "CONFIG": str(self.peer.config),
                    "ARCHIVER": f"{build}/sconce archive"}

    def sh(self, script, *args, timeout=90):
        done = subprocess.run(["sh", str(script), *map(str, args)], env=self.env, cwd=self.folder, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=timeout)
        logs = "".join(f"\n--- {p.name}\n{p.read_text(errors='replace')[-2000:]}" for p in self.folder.glob("logs/*"))
        assert done.returncode == 0, f"{script}: {done.returncode}\n{done.stdout}{logs}"
        return done.stdout

    def url(self, path, api="inference"):
        return f"http://127.0.0.1:{self.peer.ports[api]}{path}"

    def describe(self, model):
        return requests.get(self.url(f"/models/{model}", "management"), timeout=30).json()[0]

    def wait_ready(self, model):
        wait_for(lambda: (w := self.describe(model)["workers"]) and all(x["status"] == "READY" for x in w), 60, model)

    def pid(self):
        return int((self.folder / "tmp" / ".model_server.pid").read_text())


@pytest.fixture
def operator(build):
    it = Operator(build)
    yield it
    it.peer.kill()
    shutil.rmtree(it.folder, ignore_errors=True)


def send(operator, body=b"hello"):
    reply = requests.post(operator.url("/predictions/noop"), data=body, headers={"Content-Type": "text/plain"}, timeout=30)
    return reply.status_code, reply.text


@pytest.mark.timeout(300)
def test_a_server_lives_by_the_operators_scripts(operator):
    operator.sh(EXAMPLES / "noop" / "pack.sh", operator.folder / "store")
    for name in ("digits", "scripted"):  # stand-ins without torch: what counts here is the `models` JSON
        archives.source(archives.GOOD)(operator.folder / "store", f"{name}.mar")

    assert operator.sh(OPERATOR / "start.sh", operator.folder).endswith("started\n")
    for name in ("noop", "digits", "scripted"):
        operator.wait_ready(name)
    assert send(operator) == (200, "5 bytes")
    digits = operator.describe("digits")
    assert [digits[k] for k in ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")] == [1, 2, 8, 50]
    noop = operator.describe("noop")  # its model-config.yaml is stronger than the JSON
    assert [noop[k] for k in ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")] == [1, 2, 8, 10]

    first = operator.pid()
    assert operator.sh(OPERATOR / "restart.sh", operator.folder).endswith("started\n")
    assert operator.pid() != first
    operator.wait_ready("noop")
    assert send(operator) == (200, "5 bytes")

    last = operator.pid()
    operator.sh(OPERATOR / "stop.sh", operator.folder)
    wait_for(lambda: not harness.alive(last), 15, "the server's end")
    assert not (operator.folder / "tmp" / ".model_server.pid").exists()
    mark = f"TMPDIR={operator.peer.tmp}".encode()
    time.sleep(0.2)
    assert not [p for p in harness.all_stats() if harness.alive(p) and mark in harness.read_proc(p, "environ").split(b"\0")]


def test_an_archive_of_sconce_is_laid_out_as_the_original_archivers(operator):
    """The names and the manifest that torch-model-archiver writes; ./dev test-peer has TorchServe load it."""
    import zipfile
    operator.sh(EXAMPLES / "noop" / "pack.sh", operator.folder / "store")
    with zipfile.ZipFile(operator.folder / "store" / "noop.mar") as z:
        *files, last = z.namelist()
        assert (sorted(files), last) == (["handler.py", "model-config.yaml"], "MAR-INF/MANIFEST.json")
        manifest = json.loads(z.read("MAR-INF/MANIFEST.json"))
    assert manifest.pop("createdOn")
    assert manifest.pop("archiverVersion").startswith("0.12.0")
    assert manifest == {"runtime": "python",
                        "model": {"modelName": "noop", "handler": "handler.py", "modelVersion": "1.0",
                                  "configFile": "model-config.yaml"}}

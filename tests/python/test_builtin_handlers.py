"""The built-in handlers of images, text and tensors do what TorchServe 0.12's were recorded to do with the same models.

Needs torch, torchvision, Pillow and captum, here or in build/venv-torch. `SCONCE_PEER_PYTHON` may name an interpreter with torchserve==0.12.0 and the same
packages: then it is asked again, live.
"""
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import builtin_scenarios

HERE = Path(__file__).parent
RECORDED = {result["name"]: result for result in json.loads((HERE / "data" / "builtin_handlers.json").read_text())}
NEEDED = [name for name in ("torch", "torchvision", "PIL", "captum") if importlib.util.find_spec(name) is None]
WITH_TORCH = HERE.parent.parent / "build" / "venv-torch" / "bin" / "python"
PYTHON = sys.executable if not NEEDED else str(WITH_TORCH) if WITH_TORCH.exists() else None
# Where we differ on purpose, and what we do.
MENDED = {
    "classifier-no-model": "RuntimeError: No model weights could be loaded",
}


def run(python, package, names):
    """What the scenarios come to with an interpreter and a `ts` package (None: the interpreter's own)."""
    path = ([str(package)] if package else []) + [str(HERE / "torchvision_cpu")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path), PYTHONWARNINGS="ignore", OMP_NUM_THREADS="1")
    done = subprocess.run([python, str(HERE / "record_builtin.py"), *names], env=environment, capture_output=True, text=True,
                          timeout=600)
    assert done.returncode == 0, done.stderr
    return {result["name"]: result for result in json.loads(done.stdout)}


def near(value):
    """The value with room for another processor's rounding."""
    if isinstance(value, dict):
        return {key: near(item) for key, item in value.items()}
    if isinstance(value, list):
        return [near(item) for item in value]
    return pytest.approx(value, rel=1e-3, abs=1e-5) if isinstance(value, float) else value


@pytest.fixture(scope="module")
def ours():
    if PYTHON is None:
        pytest.skip("not installed: %s" % ", ".join(NEEDED))
    package = os.environ.get("SCONCE_PYTHON_HOME") or HERE.parent.parent / "backends" / "python"
    return run(PYTHON, package, [])


@pytest.mark.timeout(700)
@pytest.mark.parametrize("name", [scenario["name"] for scenario in builtin_scenarios.everything()])
def test_the_same_as_torchserve(ours, name):
    mine, theirs = ours[name], RECORDED[name]
    if name in MENDED:
        assert mine["load"] == MENDED[name] and theirs["load"] != mine["load"]
        return
    assert mine["load"] == theirs["load"]
    assert mine["replies"] == near(theirs["replies"])
    assert mine["metrics"] == theirs["metrics"]


@pytest.mark.timeout(700)
@pytest.mark.skipif("SCONCE_PEER_PYTHON" not in os.environ, reason="SCONCE_PEER_PYTHON names no TorchServe")
def test_the_recording_is_what_torchserve_does():
    now = run(os.environ["SCONCE_PEER_PYTHON"], None, [])
    assert now == near(RECORDED)

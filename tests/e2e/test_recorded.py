"""What TorchServe 0.12 answered to hundreds of requests, registrations and commands, and what Sconce answers to the same.

The record is made and checked live by ./dev test-peer; tests/peer says how."""
import os
import sys
from pathlib import Path

import pytest

import harness

sys.path.append(str(harness.ROOT / "tests" / "peer"))

import play  # noqa: E402
from cases import SUITES  # noqa: E402
from differences import KNOWN  # noqa: E402
from servers import can_import, show  # noqa: E402

WITH_TORCH = [harness.ROOT / "build" / venv / "bin" / "python" for venv in ("venv-torch", "venv-peer")]
RECORDS = {name: play.read_record(name) for name in SUITES}
played = {}


def interpreter(suite):
    """The workers' interpreter: the tests' own, for models of PyTorch one that has it."""
    if not suite.get("imports"):
        return sys.executable
    if os.environ.get("SCONCE_TORCH_PYTHON") == "":
        pytest.skip("SCONCE_TORCH_PYTHON is empty: the models of PyTorch are left to another run")
    for python in (os.environ.get("SCONCE_TORCH_PYTHON"), sys.executable, *WITH_TORCH):
        if python and Path(python).exists() and can_import(str(python), suite["imports"]):
            return str(python)
    pytest.skip(f"no interpreter has {suite['imports']}: ./dev deps installs one, SCONCE_TORCH_PYTHON names one")


def answers(build, name):
    """What Sconce answers to a suite, played once."""
    if name not in played:
        python = interpreter(SUITES[name])
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{path}:{build}"  # for archivers, where the interpreter brings none
        try:
            played[name] = play.play_suite(build / "torchserve", SUITES[name], python)
        except Exception as e:  # each case of the suite fails with it
            played[name] = e
        finally:
            os.environ["PATH"] = path
    if isinstance(played[name], Exception):
        raise played[name]
    return played[name]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name, case", [(name, case) for name, cases in RECORDS.items() for case in cases],
                         ids=lambda text: text.replace("/", "|"))
def test_says_what_torchserve_said(build, name, case):
    ours = answers(build, name).get(case)
    theirs = RECORDS[name][case]
    found = play.differences(KNOWN, name, case, theirs, ours)
    assert not found, f"{show(found)}\nTorchServe: {show(theirs)}\nSconce: {show(ours)}"


def test_every_case_is_recorded():
    """A case that nobody recorded would be compared with nothing."""
    for name, suite in SUITES.items():
        steps = [s["case"] for s in suite.get("steps", suite.get("starts", ())) if "case" in s]
        assert steps == list(RECORDS[name]), name


def test_every_known_difference_is_one():
    """An entry of the table that matches no recorded case would hide something else one day."""
    for entry in KNOWN:
        hits = [(name, case) for name, cases in RECORDS.items() for case, note in cases.items()
                if play.covers(entry, name, case, note)]
        assert hits, f"no recorded case is covered by {entry}"



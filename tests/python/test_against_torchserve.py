"""Every scenario comes to what TorchServe 0.12 made of it: replies, bytes, errors and log lines.

Its answers were recorded (`runner.py` in an environment with torchserve==0.12.0, torch, numpy and PyYAML, into
data/torchserve.json). Scenarios that need a package which is not installed here are skipped.
"""
import importlib.util
import json
from pathlib import Path

import pytest

import runner
import scenarios

RECORDED = {result["name"]: result for result in json.loads((Path(__file__).parent / "data" / "torchserve.json").read_text())}

# Where we differ on purpose, and why; the value is what we do.
MENDED = {
    "error-cuda": "the log does not call every CUDA error a lack of memory",
    "set-header-index": "tuple in place of list in the text of the IndexError",
    "set-mutates": "a handler may empty the list that it was given",
    "load-raises-import": "the first ImportError is the one that is reported",
    "envelope-json-none": "no instances: the length is said to be wrong, not an IndexError",
    "envelope-kserve-wrong": "a body without instances is an error, not a result of the wrong type",
    "torch-nothing": "an archive without any model: the error of the contract, not an AttributeError",
    "torch-pt2-str": "the text that says the form is deprecated",
    "torch-pt2-dict": "the text that says the form is deprecated",
    "torch-pt2-refused": "the text of a refused compilation has a traceback",
}
# Of these the replies are still the same.
ONLY_LOG = {"error-cuda", "set-header-index", "torch-pt2-str", "torch-pt2-dict", "torch-pt2-refused"}


def missing(scenario):
    """A package that the scenario needs and that is not here."""
    text = json.dumps(scenario)
    needs = [("yaml", '"c.yaml"' in text), ("numpy", "kservev2" in text or "numpy" in text),
             ("torch", scenario["name"].startswith("torch-"))]
    return [name for name, needed in needs if needed and importlib.util.find_spec(name) is None]


@pytest.mark.parametrize("scenario", scenarios.everything() + scenarios.with_torch(), ids=lambda scenario: scenario["name"])
def test_the_same_as_torchserve(scenario):
    absent = missing(scenario)
    if absent:
        pytest.skip("not installed: %s" % ", ".join(absent))
    name = scenario["name"]
    theirs = RECORDED[name]
    ours = json.loads(json.dumps(runner.apart(scenario)))
    assert "process died" not in ours["load"]
    if name in MENDED:
        assert ours != theirs, "no longer different: take it out of the list"
        if name in ONLY_LOG:
            assert (ours["load"], ours["replies"]) == (theirs["load"], theirs["replies"])
        return
    assert ours["load"] == theirs["load"]
    assert ours["replies"] == theirs["replies"]
    assert ours["log"] == theirs["log"]

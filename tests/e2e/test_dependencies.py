"""What a model needs beside its handler: packages from a folder of wheels, an environment of its own; and what breaks there."""
import importlib.util
import sys
from pathlib import Path

import pytest
from harness import ROOT, send, wait_for
from python_models import PYTHON, mar

sys.path.append(str(ROOT / "tests" / "peer"))
from wheels import says  # noqa: E402

pytestmark = pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs an interpreter with pip")

USES = """
    import os, sys
    import lodged

    def handle(data, context):
        return [f"{lodged.SAYS}, {sys.prefix}"] * len(data or ())
"""
PLAIN = """
    def handle(data, context):
        return [b"well"] * len(data or ())
"""


@pytest.fixture
def server(serve, tmp_path):
    """A server whose pip knows a folder with lodged 1.0 and nothing else."""
    wheels, store = tmp_path / "wheels", tmp_path / "store"
    wheels.mkdir()
    store.mkdir()
    file, data = says("lodged", "1.0")
    (wheels / file).write_bytes(data)
    mar(store, "plain", PLAIN)
    env = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return serve(models={"plain": "plain.mar"}, store=store, env=env,
                 config={**PYTHON, "install_py_dep_per_model": "true", "default_workers_per_model": 1})


def register(server, name, requirements, **config):
    mar(server.store, name, USES, config=config or None, files={"needs.txt": requirements.encode()}, requirementsFile="needs.txt")
    return server.post(f"/models?url={name}.mar&initial_workers=1&synchronous=true", api="management", timeout=100)


def worker(server, name):
    (found,) = server.get(f"/models/{name}", api="management").json()[0]["workers"]
    return found


def predict(server, name):
    return server.post(f"/predictions/{name}", data=b"x", timeout=60)


def test_packages_come_from_a_folder_of_wheels(server):
    assert register(server, "m", "lodged==1.0\n").status_code == 200
    assert predict(server, "m").text == f"lodged 1.0, {sys.prefix}"


@pytest.mark.parametrize("requirements, why", [
    ("lodged==9.9\n", "No matching distribution found for lodged==9.9"),
    ("lodged\nno-such-package-at-all\n", "No matching distribution found for no-such-package-at-all"),
    ("-r absent.txt\n", "absent.txt"),
    ("lodged = = 1\n", "lodged = = 1"),
])
def test_requirements_that_do_not_resolve_are_named(server, requirements, why):
    reply = register(server, "m", requirements)
    assert (reply.status_code, reply.json()["type"]) == (400, "ModelException")
    assert reply.json()["message"] == "Custom pip package installation failed for model m"
    wait_for(lambda: why in server.logs()["ts_log.log"], what="pip's own words in the log")
    assert server.get("/models/m", api="management").status_code == 404
    assert predict(server, "plain").text == "well"


def test_an_environment_that_breaks_after_registration(server):
    """Its worker cannot start, or cannot load: that is named, others are served, and it is back once it is mended."""
    assert register(server, "m", "lodged\n", useVenv="true", maxRetryTimeoutInSec=600).status_code == 200
    said, _, prefix = predict(server, "m").text.partition(", ")
    assert said == "lodged 1.0" and prefix.endswith("/venv")
    python = Path(prefix) / "bin" / "python"
    (package,) = Path(prefix).glob("lib/python*/site-packages/lodged")
    for broken, why in (python, f"cannot run {python}"), (package, "No module named 'lodged'"):
        pid = worker(server, "m")["pid"]
        broken.rename(broken.with_name("away"))
        send(pid, 9)
        wait_for(lambda: why in worker(server, "m").get("lastEnd", ""), 30, "the reason in describe")
        wait_for(lambda: any(why in text for text in server.logs().values()), what="the reason in a log")
        assert predict(server, "plain").text == "well"
        broken.with_name("away").rename(broken)
        wait_for(lambda: worker(server, "m")["status"] == "READY", 60, "the worker to be back")
        assert predict(server, "m").text == f"lodged 1.0, {prefix}"

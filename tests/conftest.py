"""Fixtures for every test that talks to a real server. The server itself is harness.Server."""
import os
import re
from pathlib import Path

import pytest

import harness


def pytest_report_header():
    return f"sconce: {harness.build_dir()}"


def pytest_terminal_summary(terminalreporter):
    """Leaves the names of the tests that failed in the file SCONCE_FAILED, for ./dev to look at them once more. Not if
    a sanitizer spoke: what it finds is no matter of time."""
    path = os.environ.get("SCONCE_FAILED")
    bad = terminalreporter.stats.get("failed", []) + terminalreporter.stats.get("error", [])
    if path and not any(re.search("Sanitizer|runtime error:", report.longreprtext) for report in bad):
        Path(path).write_text("".join(f"{name}\n" for name in dict.fromkeys(report.nodeid for report in bad)))


# Files whose tests start what they need and share nothing: with pytest-xdist they are dealt out one by one. Those of another
# file share a server and stay together; so do those of test_ranks, each of which starts PyTorch three times and more: several of
# them at once would take minutes to start.
APART = ("test_batching", "test_customized", "test_data_path", "test_death", "test_gpu", "test_handler_modes",
         "test_python_workers", "test_sequences", "test_snapshots", "test_start", "test_streaming", "test_streams", "test_survival",
         "test_torchserve_cli", "test_torture")


def work_unit(nodeid):
    """What one process of pytest-xdist is to run as a whole."""
    path, _, name = nodeid.partition("::")
    if Path(path).stem in APART:
        return nodeid
    if Path(path).stem in ("test_mps", "test_gpu_command"):  # who looks for daemons sees those of the other
        return "mps"
    if Path(path).stem == "test_recorded":  # a suite is played once and looked at by each of its cases
        return path + "::" + name.partition("-")[0]
    return path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return work_unit(nodeid)

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def build():
    """The folder with the program under test (SCONCE_BUILD, default build/release)."""
    folder = harness.build_dir()
    if not os.access(folder / "sconce", os.X_OK):
        pytest.fail(f"there is no program {folder / 'sconce'}: run ./dev build first, or set SCONCE_BUILD", pytrace=False)
    return folder


@pytest.fixture
def serve(build, tmp_path):
    """A function that starts a server: serve(models={"echo": "identity"}, config={...}). All are stopped, and what
    they leave behind is looked for, when the test ends."""
    started = []

    def start(**settings):
        server = harness.Server(build=build, folder=tmp_path / f"server{len(started)}", **settings)
        started.append(server)
        return server.start()

    yield start
    harness.stop_all(started)


@pytest.fixture(scope="module")
def echo(build, tmp_path_factory):
    """A running server with the model `echo` (identity), shared by the tests of one file: leave it as you found it."""
    server = harness.Server(build=build, folder=Path(tmp_path_factory.mktemp("echo")), models={"echo": "identity"})
    server.start()
    yield server
    harness.stop_all([server])

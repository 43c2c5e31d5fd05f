"""What `./dev install` puts somewhere works there, and wherever it is moved to."""
import os
import shutil
import subprocess
from pathlib import Path

import harness
import pytest
from harness import ROOT, wait_for

DEPLOY = ROOT / "deploy"


def install(build, prefix, **env):
    cmake = shutil.which("cmake")
    if not cmake or not (build / "cmake_install.cmake").exists():
        pytest.skip("this build folder came without CMake")
    done = subprocess.run([cmake, "--install", build, "--prefix", prefix], env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return prefix


@pytest.fixture(scope="module")
def installed(build, tmp_path_factory):
    """An installation that was moved after it was made, into a folder with a blank in its name."""
    folder = tmp_path_factory.mktemp("install")
    install(build, folder / "first")
    return (folder / "first").rename(folder / "moved here")


def run(*command, **more):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, **more)


def test_the_commands_are_one_program(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert run(installed / "bin/sconce", "version").stdout.startswith("sconce ")
    assert run(installed / "bin/torchserve", "--version").stdout == "TorchServe Version is 0.12.0\n"
    for name in ("torchserve", "torch-model-archiver", "torch-workflow-archiver"):
        assert os.readlink(installed / "bin" / name) == "sconce"  # relative: it can be moved


def test_what_shells_and_man_look_for_is_there(installed, build):
    if not (build / "pages").is_dir():
        pytest.skip("this build made no pages")
    share = installed / "share"
    assert {f.name for f in (share / "man/man1").iterdir()} == {f"{name}.1" for name in (
        "sconce", "torchserve", "torch-model-archiver", "torch-workflow-archiver")}
    assert (share / "zsh/site-functions/_sconce").is_file()
    for name in ("torchserve", "torch-model-archiver", "torch-workflow-archiver"):
        assert os.readlink(share / "bash-completion/completions" / name) == "sconce"
    assert not (share / "stamp").exists()


def test_a_link_to_the_command_is_the_command(installed, tmp_path):
    (tmp_path / "torchserve").symlink_to(installed / "bin/torchserve")
    done = run("torchserve", "-v", env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)})
    assert done.stdout == "TorchServe Version is 0.12.0\n"


def test_the_demo_model_is_served_from_there(installed, tmp_path):
    model = installed / "share/sconce/models/demo-langid"
    server = harness.Server(build=installed / "bin", folder=tmp_path, models={"langid": model})
    try:
        server.start()
        answer = server.post("/predictions/langid", data="Wo ist der Bahnhof?", headers={"Content-Type": "text/plain"})
        assert answer.json()[0]["label"] == "de"
    finally:
        harness.stop_all([server])


def test_a_python_handler_is_served_from_there(installed, tmp_path):
    """The `ts` package comes from the installation, not from where it was built."""
    server = harness.Server(build=installed / "bin", folder=tmp_path, config={"default_workers_per_model": 1})
    model = server.store / "where"
    (model / "MAR-INF").mkdir(parents=True)
    (model / "MAR-INF/MANIFEST.json").write_text('{"model": {"modelName": "where", "modelVersion": "1.0", "handler": "h.py"}}')
    (model / "h.py").write_text("import ts\n\ndef handle(data, context):\n    return data and [ts.__file__ for _ in data]\n")
    server.command += ["--models", "where"]
    try:
        server.start()
        answer = wait_for(lambda: (r := server.post("/predictions/where", data=b"?")).status_code == 200 and r, 60, "the handler")
        assert Path(answer.text).is_relative_to(installed / "lib/sconce/python")
    finally:
        harness.stop_all([server])


def test_the_service_names_the_place_it_was_installed_to(build, tmp_path):
    unit = "lib/systemd/system/sconce.service"
    here = (install(build, tmp_path / "a") / unit).read_text()
    assert f"\nExecStart={tmp_path}/a/bin/sconce serve " in here
    there = (install(build, tmp_path / "b", SC_SERVICE_PREFIX="/opt/sconce") / unit).read_text()
    assert "\nExecStart=/opt/sconce/bin/sconce serve " in there
    assert "@" not in there


# ---- the image's entry point ----


@pytest.mark.parametrize("args, runs", [
    ([], ""),
    (["serve"], "torchserve --start --ts-config /home/model-server/config.properties --foreground"),
    (["serve", "--dt"], "torchserve --start --ts-config /home/model-server/config.properties --dt --foreground"),
    (["torchserve", "--start", "--models", "a.mar", "b.mar"], "torchserve --start --models a.mar b.mar --foreground"),
    (["torchserve", "--foreground"], "torchserve --foreground"),
    (["torchserve", "--stop"], "torchserve --stop"),
    (["echo", "torchserve"], "torchserve"),
])
def test_the_entry_point_stays_with_the_server(tmp_path, args, runs):
    fake = tmp_path / "torchserve"
    fake.write_text('#!/bin/sh\necho torchserve "$@"\n')
    fake.chmod(0o755)
    done = run(DEPLOY / "docker-entrypoint.sh", *args, env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (done.returncode, done.stdout.strip()) == (0, runs)


def test_the_images_settings_are_settings(build, tmp_path):
    """What check-config or a server would say to them: nothing is unknown or wrong."""
    for name in ("config.properties", "docker.properties"):
        text = (DEPLOY / name).read_text().replace("/home/model-server/model-store", str(tmp_path))
        (tmp_path / name).write_text(text)
        done = run(build / "sconce", "check-config", tmp_path / name)
        assert done.returncode == 0, done.stdout + done.stderr

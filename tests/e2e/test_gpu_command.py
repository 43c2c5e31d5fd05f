"""`sconce gpu` on a machine without GPUs: the NVML of tests/fault/fake_nvml.c stands in."""
import json
import os
import subprocess
import time

import harness
import pytest

GPU0 = "GPU-00000000-0000-0000-0000-000000000000"


@pytest.fixture
def gpu(build, tmp_path):
    """Runs the command; a server that runs on the machine for another test is not asked for."""
    def run(behaviour="", *args, **env):
        env = {**os.environ, "SCONCE_NVML": str(build / "libfake_nvml.so"), "FAKE_NVML": behaviour,
               "CUDA_MPS_PIPE_DIRECTORY": str(tmp_path / "pipe"), **env}
        return subprocess.run([build / "sconce", "gpu", *args], env=env, capture_output=True, text=True, timeout=60)
    return run


def seen(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_gpu_is_told_by_uuid(gpu):
    j = seen(gpu("gpus=2", "--json"))
    assert j["driver"] == "580.0-fake"
    assert [g["uuid"] for g in j["gpus"]] == [GPU0, GPU0[:-1] + "1"]
    g = j["gpus"][1]
    assert (g["memoryUsed"], g["memoryTotal"], g["utilization"]) == (201 << 20, 2000 << 20, 10)
    assert (g["powerMilliwatts"], g["powerLimitMilliwatts"], g["computeMode"], g["mig"]) == (70501, 700000, "DEFAULT", False)
    assert g["mps"] == {"state": "none"} and g["notes"] == []
    text = gpu("gpus=2").stdout
    assert "GPU 1" in text and "memory 201 of 2000 MiB, busy 10 %" in text and "compute mode DEFAULT" in text


def test_how_busy_its_parts_are(gpu):
    g = seen(gpu("gpus=2 gpm=73.2", "--json"))["gpus"][1]
    assert (g["smUtilization"], g["bandwidthUtilization"]) == (73, 2)
    g = seen(gpu("gpus=1", "--json"))["gpus"][0]
    assert g["smUtilization"] is None and "multiprocessors" not in gpu("gpus=1").stdout


@pytest.mark.parametrize("behaviour, said", [
    ("gpus=1 mode=2", "nvidia-smi -i 0 -c 0 permits it"),
    ("gpus=1 mode=3", "a server with mps=auto or mps=managed runs MPS"),
    ("gpus=1 mig=2", "nvidia-smi -i 0 -mig 0"),
])
def test_what_stands_in_the_way_is_told_with_what_to_type(gpu, behaviour, said):
    assert said in " ".join(seen(gpu(behaviour, "--json"))["gpus"][0]["notes"]).replace("A server", "a server")
    assert said in gpu(behaviour).stdout.replace("A server", "a server")


def test_instances_of_mig_are_listed(gpu):
    g = seen(gpu("gpus=2 mig=3", "--json"))["gpus"]
    assert [i["uuid"] for i in g[0]["instances"]] == [f"MIG-00000000-0000-0000-000{i}-000000000000" for i in (1, 2, 3)]
    assert g[1]["instances"] == [] and not g[1]["mig"]


def test_stale_files_of_a_daemon_are_told(gpu, tmp_path):
    pipe = tmp_path / "pipe"
    pipe.mkdir()
    (pipe / "control").touch()
    (pipe / "nvidia-cuda-mps-control.pid").write_text(str(os.getpid()))  # a number that was used again
    g = seen(gpu("gpus=1", "--json"))["gpus"][0]
    assert g["mps"] == {"state": "stale", "pipe": str(pipe)}
    assert f"rm -r {pipe}" in g["notes"][0]


def test_processes_are_told_and_workers_by_their_model(build, gpu, tmp_path):
    listed = tmp_path / "processes"
    env = {"SCONCE_NVML": str(build / "libfake_nvml.so"), "FAKE_NVML": "gpus=1", "CUDA_VISIBLE_DEVICES": ""}
    server = harness.Server(build=build, folder=tmp_path / "server", models={"echo": "identity"}, env=env).start()
    try:
        worker = server.pid("executor")
        listed.write_text(f"0 {worker}\n0 {os.getpid()} mps\n")
        g = seen(gpu(f"gpus=1 processes={listed}", "--json", "--pid", str(server.process.pid)))["gpus"][0]
        ours, other = g["processes"]
        assert (ours["pid"], ours["model"], ours["version"], ours["mps"]) == (worker, "echo", "1.0", False)
        assert len(ours["workers"]) == len(server.get("/models/echo", api="management").json()[0]["workers"])
        assert (other["pid"], other["mps"], other["memoryUsed"]) == (os.getpid(), True, 500 << 20)
        assert "model" not in other and "python" in other["command"]
    finally:
        harness.stop_all([server])


@pytest.mark.parametrize("behaviour, env, code, said", [
    ("gpus=0", {}, 3, "The NVIDIA driver has no GPU"),
    ("", {"SCONCE_NVML": "/nowhere/libnvidia-ml.so.1"}, 3, "No GPU can be seen: /nowhere/libnvidia-ml.so.1: cannot open"),
    ("fail=init", {}, 3, "Driver/library version mismatch"),
    ("fail=count", {}, 3, "Driver/library version mismatch"),
])
def test_where_there_is_none_the_words_are_clear(gpu, behaviour, env, code, said):
    for args in ((), ("--json",)):
        done = gpu(behaviour, *args, **env)
        assert done.returncode == code and said in done.stdout, (done.stdout, done.stderr)


def test_a_driver_that_hangs_is_given_up(gpu):
    began = time.monotonic()
    done = gpu("hang=memory", "--timeout", "1")
    assert done.returncode == 4 and "it hangs" in done.stdout
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("args", [("--timeout", "0"), ("--watch=x",), ("extra",), ("--nonsense",)])
def test_a_wrong_command_line_is_refused(gpu, args):
    done = gpu("", *args)
    assert done.returncode == 2 and done.stderr and not done.stdout

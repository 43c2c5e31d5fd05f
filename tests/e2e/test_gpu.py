"""GPUs as handlers see them, on a machine that has none: the NVML of tests/fault/fake_nvml.c stands in (docs/contract.md §11)."""
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import pytest
from python_models import PYTHON, folder
from harness import alive, send, wait_for

# Each worker answers with what it was given.
WHERE = """
    import json, os, time
    def handle(data, context):
        if data is None:
            return None
        time.sleep(0.05)  # long enough for the others to get some
        p = context.system_properties
        answer = {"gpu_id": p.get("gpu_id"), "visible": os.environ.get("CUDA_VISIBLE_DEVICES"), "pid": os.getpid()}
        return [json.dumps(answer)] * len(data)
"""
DEMO = Path(__file__).resolve().parents[2] / "models" / "demo-langid"
NO_ANSWER = {"SCONCE_NVML": "/nowhere/libnvidia-ml.so.1"}


def fake(build, behaviour, **more):
    return {"SCONCE_GPU_INTERVAL_MS": "100", "SCONCE_NVML": str(build / "libfake_nvml.so"), "FAKE_NVML": behaviour, "CUDA_VISIBLE_DEVICES": "", **more}


@pytest.fixture
def gpus(build, tmp_path):
    """A function that starts a server on a machine with such GPUs: gpus("gpus=3")."""
    started = []

    def start(behaviour="gpus=2", config=None, env=None, **more):
        server = harness.Server(build=build, folder=tmp_path / f"server{len(started)}",
                                config={**PYTHON, "metric_time_interval": "1", **(config or {})},
                                env=fake(build, behaviour, **(env or {})), **more)
        started.append(server)
        return server.start()
    yield start
    harness.stop_all(started)


def register(server, name, workers=1, **config):
    folder(server.store, name, WHERE, config=config or None)
    r = server.post("/models", api="management", params={"url": name, "initial_workers": workers})
    assert r.status_code == 200, r.text
    return described(server, name)


def described(server, name):
    return server.get(f"/models/{name}", api="management").json()[0]


def seen(server, name, workers):
    """What the model's workers were given, by pid, once all of them have answered."""
    found = {}

    def ask(_):
        answer = server.post(f"/predictions/{name}", data=b"x").json()
        found[answer["pid"]] = (answer["gpu_id"], answer["visible"] or None)

    def all_answered():
        with ThreadPoolExecutor(2 * workers) as pool:
            list(pool.map(ask, range(2 * workers)))
        return len(found) == workers
    wait_for(all_answered, 30, f"answers of {workers} workers")
    return [found[w["pid"]] for w in described(server, name)["workers"]]


# ---- who gets which ----


def test_models_take_gpus_in_turn_from_the_second_on(gpus):
    server = gpus("gpus=2")
    register(server, "a", workers=2)
    assert sorted(seen(server, "a", 2)) == [(0, None), (1, None)]
    m = register(server, "b")
    assert seen(server, "b", 1) == [(1, None)], "the count goes on where the first model left it"
    assert m["deviceType"] == "gpu" and m["workers"][0]["gpu"] is True


def test_device_ids_are_the_models_own_count(gpus):
    server = gpus("gpus=4")
    register(server, "m", minWorkers=3, maxWorkers=3, deviceIds="[3, 1]")
    assert sorted(g for g, _ in seen(server, "m", 3)) == [1, 3, 3]


def test_parallel_workers_get_blocks_and_no_more_workers_than_blocks(gpus):
    server = gpus("gpus=5")
    register(server, "m", parallelType="custom", parallelLevel=2, minWorkers=4, maxWorkers=4)
    assert sorted(seen(server, "m", 2)) == [(0, "0,1"), (2, "2,3")]
    assert len(described(server, "m")["workers"]) == 2


def test_a_restarted_worker_keeps_its_gpu(gpus):
    server = gpus("gpus=4")
    m = register(server, "m")
    send(m["workers"][0]["pid"], signal.SIGKILL)
    wait_for(lambda: (w := described(server, "m")["workers"][0])["status"] == "READY" and w["pid"] != m["workers"][0]["pid"], 30,
             "another process")
    assert seen(server, "m", 1) == [(1, None)]


def test_device_type_cpu_gets_none(gpus):
    server = gpus("gpus=2")
    m = register(server, "m", deviceType="cpu")
    assert m["deviceType"] == "cpu"
    assert (m["workers"][0]["gpu"], m["workers"][0]["gpuUsage"]) == (False, "N/A")
    assert seen(server, "m", 1) == [(None, None)]


def test_without_gpus_there_is_no_agent_and_everything_runs_on_the_cpu(gpus):
    server = gpus(env=NO_ANSWER)
    m = register(server, "m")
    assert m["deviceType"] == "cpu" and m["workers"][0]["gpuUsage"] == "N/A"
    assert seen(server, "m", 1) == [(None, None)]
    assert server.pids("gpu agent") == []


@pytest.mark.parametrize("config, env, count", [
    ({"number_of_gpu": "1"}, {}, 1),
    ({"number_of_gpu": "8"}, {}, 4),
    ({"number_of_gpu": "0"}, {}, 0),
    ({}, {"CUDA_VISIBLE_DEVICES": "0,1,2"}, 3),
    ({"number_of_gpu": "2"}, {"CUDA_VISIBLE_DEVICES": "0,1,2", **NO_ANSWER}, 2),
])
def test_how_many_there_are(gpus, config, env, count):
    server = gpus("gpus=4", config=config, env=env)
    folder(server.store, "m", WHERE)
    r = server.post("/models", api="management", params={"url": "m", "initial_workers": count + 1})
    assert r.status_code == 200, r.text
    ids = [g for g, _ in seen(server, "m", count + 1)]
    assert {i for i in ids if i is not None} == set(range(count))


# ---- what is told of them ----


def test_describe_tells_the_use_of_a_workers_gpu(gpus):
    server = gpus("gpus=2")
    register(server, "m")

    def usage():
        text = described(server, "m")["workers"][0]["gpuUsage"]
        return text if text != "failed to obtained gpu usage" else None
    assert wait_for(usage, 10, "a report") == ("gpuId::1 utilization.gpu [%]::10 % utilization.memory [%]::1 % "
                                               "memory.used [MiB]::201 MiB")


def test_the_gpu_behind_an_id_is_the_one_that_the_variable_names(gpus):
    server = gpus("gpus=4", env={"CUDA_VISIBLE_DEVICES": "3"})
    register(server, "m")
    text = wait_for(lambda: t if "::" in (t := described(server, "m")["workers"][0]["gpuUsage"]) else None, 10, "a report")
    assert re.search(r"gpuId::0 utilization.gpu \[%\]::30 %.*::401 MiB", text)


# ---- the agent's life ----


def test_the_agent_is_replaced_and_outlives_the_frontend(gpus):
    server = gpus("gpus=2")
    register(server, "m")
    first = server.kill_role("gpu agent")
    wait_for(lambda: (p := server.pids("gpu agent")) and p != [first], 20, "another agent")
    assert server.metric("sconce_gpu_agent_restarts_total") == 1
    assert any("the gpu agent has ended and is started again" in text for text in server.logs().values())
    second = server.pid("gpu agent")
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the death")
    server.wait_healthy()
    assert wait_for(lambda: "::" in described(server, "m")["workers"][0]["gpuUsage"], 20, "a report to the new frontend")
    assert server.pid("gpu agent") == second


def test_a_stopped_agent_holds_nothing_up(gpus):
    server = gpus("gpus=2")
    register(server, "m")
    pid = server.pid("gpu agent")
    send(pid, signal.SIGSTOP)
    assert seen(server, "m", 1) == [(1, None)]
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 15


def test_a_driver_that_hangs_later_holds_nothing_up(gpus):
    server = gpus("gpus=2 hang=utilization after=3")
    register(server, "m")
    time.sleep(1.5)
    assert seen(server, "m", 1) == [(1, None)]
    assert described(server, "m")["workers"][0]["status"] == "READY"


SLOW = """
    import time
    def handle(data, context):
        if data is None:
            return None
        time.sleep(4)
        return ["done"] * len(data)
"""


LATE = """
    import time
    def handle(data, context):
        if data is None:
            time.sleep(4)
            return None
        return ["done"] * len(data)
"""


def test_a_worker_is_not_replaced_for_what_the_driver_kept_it_waiting(gpus):
    """A driver that resets a GPU answers nobody until it has done so: time limits wait. Those of a model on the CPU do not."""
    server = gpus("gpus=1")
    for name, config in (("slow", {}), ("cpu", {"deviceType": "cpu"})):
        folder(server.store, name, SLOW, config={"responseTimeout": 2, "minWorkers": 1, "maxWorkers": 1, **config})
        assert server.post("/models", api="management", params={"url": name, "initial_workers": 1, "synchronous": "true"}).status_code == 200
    wait_for(lambda: "::" in described(server, "slow")["workers"][0]["gpuUsage"], 10, "a report")
    before = described(server, "slow")["workers"][0]["pid"]
    agent = server.pid("gpu agent")
    send(agent, signal.SIGSTOP)
    wait_for(lambda: any("driver has not answered for" in text for text in server.logs().values()), 10, "the line that says so")
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(server.post, f"/predictions/{name}", data=b"x") for name in ("slow", "cpu")]
        assert [a.result().status_code for a in answers] == [200, 500]
    assert described(server, "slow")["workers"][0]["pid"] == before
    for name, config in (("late", {}), ("late_cpu", {"deviceType": "cpu"})):
        folder(server.store, name, LATE, config={"startupTimeout": 2, "minWorkers": 1, "maxWorkers": 1, **config})
        assert server.post("/models", api="management", params={"url": name, "initial_workers": 1, "synchronous": "false"}).ok
    wait_for(lambda: described(server, "late")["workers"][0]["status"] == "READY", 20, "a worker that had 2 s to load")
    assert not any("model late: the model did not load within 2 s" in text for text in server.logs().values())
    assert any("model late_cpu: the model did not load within 2 s" in text for text in server.logs().values())
    send(agent, signal.SIGCONT)
    wait_for(lambda: any("driver answers again" in text for text in server.logs().values()), 10, "the line that says so")
    assert server.metric("sconce_gpu_stalls_total") == 1
    assert server.post("/predictions/slow", data=b"x").status_code == 500


# ---- refusals ----


@pytest.mark.parametrize("value", ["abc", "0,abc", "GPU-xyz", "MIG-", "0, 1"])
def test_another_form_of_the_variable_is_refused(build, tmp_path, value):
    server = harness.Server(build=build, folder=tmp_path / "server", env=fake(build, "", CUDA_VISIBLE_DEVICES=value))
    try:
        code, said = server.refused()
        assert code == 2
        bad = next(v for v in value.split(",") if not re.fullmatch(r"-?\d+", v))
        assert f'For input string: "{bad}"' in said
    finally:
        harness.stop_all([server])


def test_too_few_gpus_for_a_parallel_level_are_named(gpus):
    server = gpus("gpus=1")
    folder(server.store, "m", WHERE, config={"parallelType": "custom", "parallelLevel": 2, "minWorkers": 1, "maxWorkers": 1})
    r = server.post("/models", api="management", params={"url": "m"})
    assert r.status_code >= 400
    assert "No enough gpu devices for model:m parallelLevel:2" in r.json()["message"]


# ---- our own backends ----


def test_the_encoder_is_given_a_gpu_and_uses_the_cpu_when_it_cannot_compute_there(gpus):
    """`device: auto`: the driver behind this NVML is none, and the log says so."""
    server = gpus("gpus=2", models={"lang": DEMO, "echo": "identity"})
    assert [m["workers"][0]["gpu"] for m in (described(server, "lang"), described(server, "echo"))] == [True, False]
    assert server.post("/predictions/lang", data="Guten Morgen".encode()).status_code == 200
    wait_for(lambda: any("no GPU engine, the CPU is used" in text for text in server.logs().values()), 10, "the line that says why")

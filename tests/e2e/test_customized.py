"""`GET /models/{name}?customized=true`: a worker is asked what its handler says of the model (docs/contract.md §6.4).

What TorchServe answers to handlers of all kinds is compared in test_recorded.py (suite `descriptions`)."""
import json
import threading

import pytest
import requests
from harness import Server, stop_all, wait_for, wire
from python_models import PYTHON, folder

# What it says of itself stands in the query's place for it: the header x-say, a Python expression.
SPEAKER = """
    import os, time

    def handle(data, context):
        if data is None:
            return None
        if context.get_request_header(0, "describe") != "True":
            seconds = float(bytes(data[0]["body"] or b"0"))
            time.sleep(seconds)
            return ["%d" % len(data)] * len(data)
        here = context.system_properties["model_dir"]
        return [eval(context.get_request_header(0, "x-say") or "{'rows': len(data)}")]

    def once(path, act):
        if not os.path.exists(path):
            open(path, "w").close()
            act()
        return {"again": True}
"""

TURNS = """
    import time
    from ts.handler_utils.utils import send_intermediate_predict_response

    LEFT = {}

    def handle(data, context):
        if data is None:
            return None
        if context.get_request_header(0, "describe") == "True":
            return [{"open": len(LEFT), "rows": len(data)}]
        time.sleep(0.02)
        for gone in set(LEFT) - set(context.request_ids.values()):
            print("GONE", flush=True)
            del LEFT[gone]
        ids = [context.request_ids[i] for i in range(len(data))]
        for rid, row in zip(ids, data):
            LEFT[rid] = LEFT[rid] - 1 if rid in LEFT else int(bytes(row["body"])) - 1
        context.stopping_criteria = [lambda result, rid=rid: LEFT[rid] <= 0 for rid in ids]
        return ["%d " % LEFT[rid] for rid in ids]
"""

COROUTINES = """
    import asyncio

    async def handle(data, context):
        if context.get_request_header(0, "describe") == "True":
            return [{"rows": len(data)}]
        await asyncio.sleep(float(bytes(data[0]["body"])))
        return ["slept"] * len(data)
"""


BOTH = pytest.mark.parametrize("data_path", ["extension", "plain"])


@pytest.fixture
def data_path():
    return "extension"


@pytest.fixture
def server(serve, tmp_path, data_path):
    """server(handler, config): a server with one model, m."""
    def start(handler, config=None):
        store = tmp_path / "store"
        store.mkdir()
        folder(store, "m", handler, config={"responseTimeout": 30, **(config or {})})
        env = {"SCONCE_PURE_PYTHON": "1"} if data_path == "plain" else {}
        one = serve(models={"m": "m"}, store=store, env=env, config={**PYTHON, "default_workers_per_model": 1})
        wait_for(lambda: pids(one), 60, "the worker")
        return one

    return start


def pids(one):
    found = one.get("/models/m", api="management").json()[0]["workers"]
    return [w["pid"] for w in found if w["status"] == "READY"]


def describe(one, say=None, timeout=60, path="/models/m"):
    return one.get(path + "?customized=true", api="management", timeout=timeout, headers={"x-say": say} if say else {})


def said(one, say=None):
    reply = describe(one, say)
    assert reply.status_code == 200, reply.text
    return reply.json()[0].get("customizedMetadata")


def later(box, function, *args):
    thread = threading.Thread(target=lambda: box.append(function(*args)))
    thread.start()
    return thread


def predict(one, body, **more):
    return one.post("/predictions/m", data=body, headers={"Content-Type": "application/octet-stream"}, timeout=60, **more)


@BOTH
def test_what_a_handler_says(server):
    one = server(SPEAKER)
    plain = one.get("/models/m", api="management").json()[0]
    shown = describe(one).json()[0]
    assert list(shown) == [*plain, "customizedMetadata"] and shown["customizedMetadata"] == {"rows": 1}
    assert "customizedMetadata" not in plain
    assert said(one, "{'n': [1, 2.5, None], 'gone': None, 'deep': {'a': {}}}") == {"n": [1, 2.5, None], "deep": {"a": {}}}
    assert said(one, "b'{\"bytes\": 1}'") == {"bytes": 1}
    assert said(one, "''") is None
    assert said(one, "'x' * 100000") == {}
    assert said(one, "{'x': 'y' * 3000000}") == {"x": "y" * 3000000}
    assert said(one, "b'\\xff\\x00'") == {}
    assert said(one, "'{\"a\":' * 1000 + '1' + '}' * 1000") == {}


def test_the_head_is_the_handlers(server):
    one = server(SPEAKER)
    reply = describe(one, "(context.set_response_status(203, 'Told', 0), context.set_response_content_type(0, 'text/x'), "
                          "context.set_response_header(0, 'x-who', 'me'), {'a': 1})[-1]")
    assert (reply.status_code, reply.reason, reply.headers["content-type"], reply.headers["x-who"]) == (203, "Told", "text/x", "me")
    assert reply.json()[0]["customizedMetadata"] == {"a": 1}
    with wire(one, "management") as w:
        reply = w.ask("GET", "/models/m?customized=true")
        assert (reply.status_code, reply.reason, reply.headers["content-type"]) == (200, "", "application/json")
        assert w.ask("HEAD", "/models/m?customized=true").status_code == 200
        assert w.ask("GET", "/models/m?customized=true&limit=%zz").status_code == 403


def test_a_body_is_no_row(server):
    one = server(SPEAKER)
    with wire(one, "management") as w:
        for fields in ({}, {"Content-Type": "application/json"}, {"Content-Type": "application/x-www-form-urlencoded"}):
            reply = w.ask("GET", "/models/m?customized=true", b"x" * 5_000_000, {"x-say": "data", **fields})
            assert reply.json()[0]["customizedMetadata"] == {}, reply.text
            reply = w.ask("GET", "/models/m?customized=true", b"a=1", {"x-say": "data[0] or {'empty': 1}", **fields})
            assert reply.json()[0]["customizedMetadata"] == {"empty": 1}


def test_failures_are_answered_as_those_of_predictions(server):
    one = server(SPEAKER, {"responseTimeout": 3})
    for say, status, message in [
            ("1 / 0", 503, "Prediction failed"), ("{1, 2}", 503, "Unsupported model output data type."),
            ("(_ for _ in ()).throw(MemoryError())", 507, "Out of resources"),
            ("exec('from ts.utils.util import PredictionException; raise PredictionException(\"mine\", 413)')", 507, "mine"),
            ("'x' * 7000000", 500, None)]:
        reply = describe(one, say)
        assert reply.status_code == status, (say, reply.text)
        assert reply.json()["type"] == "InternalServerException"
        assert message is None or reply.json()["message"] == message
    before = pids(one)
    reply = describe(one, "time.sleep(60)")
    assert (reply.status_code, reply.json()["message"]) == (500, "Worker died.")
    wait_for(lambda: pids(one) and pids(one) != before, 60, "another worker")
    assert said(one) == {"rows": 1}


def test_a_worker_that_dies_over_it(server):
    one = server(SPEAKER)
    assert said(one, "once(here + '/died', lambda: os._exit(3))") == {"again": True}
    reply = describe(one, "os._exit(3)")
    assert (reply.status_code, reply.json()["message"]) == (500, "Worker died.")
    wait_for(lambda: pids(one), 60, "another worker")
    assert said(one) == {"rows": 1}


@BOTH
def test_it_is_a_batch_of_its_own(server):
    one = server(SPEAKER, {"batchSize": 8, "maxBatchDelay": 50, "batchPolicy": "fill"})
    answers, told = [], []
    threads = [later(answers, predict, one, b"0.2")]
    for i in range(12):
        threads.append(later(answers, predict, one, b"0"))
        if i % 3 == 0:
            threads.append(later(told, said, one))
    for thread in threads:
        thread.join()
    assert told == [{"rows": 1}] * 4
    assert len(answers) == 13 and all(a.status_code == 200 and 1 <= int(a.text) <= 8 for a in answers)


@BOTH
def test_it_waits_for_the_open_requests_of_a_continuous_batch(server):
    one = server(TURNS, {"continuousBatching": "true", "batchSize": 4})
    assert said(one) == {"open": 0, "rows": 1}
    answers, told = [], []
    threads = [later(answers, predict, one, str(n).encode()) for n in (30, 20, 10)]
    threads.append(later(told, said, one))
    threads += [later(answers, predict, one, b"5") for _ in range(3)]
    for thread in threads:
        thread.join()
    # None was told that its client had left, and the criteria of an earlier turn were not asked about the description.
    assert sorted(a.text for a in answers) == sorted("".join(f"{i} " for i in reversed(range(n))) for n in (30, 20, 10, 5, 5, 5))
    assert told[0]["rows"] == 1


def test_it_waits_for_no_coroutine(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    with wire(one) as w:
        w.send("POST /predictions/m HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n3600")
        wait_for(lambda: "Backend received inference" in one.logs()["model_log.log"], 20, "the long call to begin")
        assert said(one) == {"rows": 1}
    assert predict(one, b"0").text == "slept"


@BOTH
def test_a_batch_of_coroutines(server):
    one = server(COROUTINES, {"asyncCommunication": "true", "batchSize": 4})
    answers, told = [], []
    threads = [later(answers, predict, one, b"0.05") for _ in range(12)] + [later(told, said, one) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert told == [{"rows": 1}] * 4
    assert [a.text for a in answers] == ["slept"] * 12


def test_a_model_with_sequences(server):
    one = server(SPEAKER, {"sequenceBatching": "true", "sequenceMaxIdleMSec": 60000, "maxNumSequence": 1, "batchSize": 2})
    assert predict(one, b"0").status_code == 200
    assert said(one) == {"rows": 1}  # and opens none: there is room for one
    assert said(one) == {"rows": 1}


def test_a_client_that_does_not_wait(server):
    one = server(SPEAKER)
    with pytest.raises(requests.exceptions.ReadTimeout):
        describe(one, "time.sleep(2) or {}", timeout=0.5)
    assert said(one) == {"rows": 1}
    assert len(pids(one)) == 1


def test_on_every_loop_of_a_shared_address(build, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    folder(store, "m", SPEAKER, config={"minWorkers": 1, "maxWorkers": 1})
    one = Server(build=build, folder=tmp_path / "server", models={"m": "m"}, store=store,
                 config={**PYTHON, "number_of_netty_threads": 4})
    text = one.config_file.read_text().replace(f":{one.ports['management']}\n", f":{one.ports['inference']}\n")
    one.config_file.write_text(text)
    one.ports["management"] = one.ports["inference"]
    try:
        one.start()
        told = []
        threads = [later(told, said, one, json.dumps({"i": i})) for i in range(20)]
        for thread in threads:
            thread.join()
        assert sorted(t["i"] for t in told) == list(range(20))
        with wire(one) as w:  # one connection, both kinds of requests
            for _ in range(3):
                assert w.ask("GET", "/models/m?customized=true").json()[0]["customizedMetadata"] == {"rows": 1}
                assert w.ask("POST", "/predictions/m", b"0").content == b"1"
    finally:
        stop_all([one])


def test_a_native_model_has_nothing_to_add(serve):
    one = serve(models={"echo": "identity"})
    reply = describe(one, path="/models/echo")
    assert reply.status_code == 200 and "customizedMetadata" not in reply.json()[0]

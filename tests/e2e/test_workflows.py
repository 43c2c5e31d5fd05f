"""Workflows (docs/internals/workflows.md). What TorchServe answers to the same stands in the suites `workflows` and
`workflows_bad` of tests/peer."""
import hashlib
import os
import subprocess
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness
import pytest
from clients import Load
from harness import alive, wait_for
from python_models import PYTHON, folder

FUNCTIONS = """
    import hashlib, json, os, time
    from ts.handler_utils.utils import send_intermediate_predict_response

    def text(row):
        body = row.get("body") or b""
        return body if isinstance(body, str) else bytes(body).decode()

    def each(fn):
        return lambda data, context: data and [fn(row) for row in data]

    pre = each(lambda row: f"pre({text(row)})")
    left = each(lambda row: f"left({text(row)})")
    right = each(lambda row: f"right({text(row)})")
    join = each(lambda row: " ".join(f"{k}={bytes(row[k]).decode()}" for k in sorted(row)))
    twice = each(lambda row: bytes(row["body"]) * 2)
    same = each(lambda row: bytes(row["body"]))
    digest = each(lambda row: {k: hashlib.sha256(bytes(row[k])).hexdigest() for k in sorted(row)})

    seen = set()

    def once(data, context):
        "Fails for a body the first time that it sees it."
        if data and (key := hashlib.sha256(bytes(data[0]["body"])).hexdigest()) not in seen:
            seen.add(key)
            raise ValueError("once")
        return data and [bytes(row["body"]) for row in data]

    def waits(data, context):
        "Waits for the file that the body names, after it has made another."
        if data:
            open(text(data[0]) + ".begun", "w").close()
        while data and not os.path.exists(text(data[0])):
            time.sleep(0.01)
        return data and ["waited"]

    def hangs_once(data, context):
        if data and not os.path.exists(text(data[0])):
            open(text(data[0]), "w").close()
            while not os.path.exists(text(data[0]) + ".end"):
                time.sleep(0.01)
        return data and ["second"]

    def streams(data, context):
        for part in ("a", "b") if data else ():
            send_intermediate_predict_response([part], context.request_ids, "", 200, context)
        return data and ["c"]

    def loads_late(data, context):
        while data is None and not os.path.exists(os.environ["LOADS_LATE"]):
            time.sleep(0.01)
        return data
"""
ECHO = """
    def handle(data, context):
        return data and [b"m(" + bytes(row["body"]) + b")" for row in data]
"""


def war(build, store, name, spec):
    """name.war, as torch-workflow-archiver makes it."""
    store.mkdir(exist_ok=True)
    source = store / f"source_{name}"
    source.mkdir()
    (source / "functions.py").write_text(textwrap.dedent(FUNCTIONS))
    (source / "spec.yaml").write_text(textwrap.dedent(spec))
    subprocess.run([build / "torch-workflow-archiver", "--workflow-name", name, "--spec-file", source / "spec.yaml", "--handler",
                    source / "functions.py", "--export-path", store], check=True)


LIMITS = "min-workers: 1, retry-attempts: {retry}, timeout-ms: {timeout}"


def spec(dag, models="", retry=0, timeout=60000):
    return f"models: {{{LIMITS.format(retry=retry, timeout=timeout)}{', ' + models if models else ''}}}\ndag: {{{dag}}}\n"


@pytest.fixture(scope="module")
def shared(build, tmp_path_factory):
    """A server with archives in its store, for tests that leave no workflow behind."""
    place = Path(tmp_path_factory.mktemp("flows"))
    folder(place / "store", "echo", ECHO)
    server = harness.Server(build=build, folder=place / "server", config={**PYTHON, "workflow_store": str(place / "store")},
                            store=place / "store")
    server.made = lambda name, text: war(build, place / "store", name, text)
    server.start()
    yield server
    harness.stop_all([server])


def register(server, name, text=None):
    if text:
        server.made(name, text)
    reply = server.post(f"/workflows?url={name}.war", api="management", timeout=60)
    assert reply.status_code == 200, reply.text
    return name


def remove(server, name):
    reply = server.delete(f"/workflows/{name}", timeout=60)
    assert reply.status_code == 200, reply.text


@pytest.fixture
def flow(shared):
    """flow(name, spec): a workflow that is registered until the test ends."""
    names = []

    def make(name, text):
        names.append(register(shared, name, text))
        return f"/wfpredict/{name}"

    yield make
    for name in names:
        remove(shared, name)


def workers(server, model):
    reply = server.get(f"/models/{model}", api="management")
    return [w["pid"] for w in reply.json()[0]["workers"]] if reply.status_code == 200 else []


def test_models_and_functions_in_a_diamond(shared, flow):
    path = flow("diamond", spec("pre: [m, left], m: [join], left: [join], join: []",
                                "m: {url: echo, batch-size: 4, max-batch-delay: 7, max-workers: 2}"))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: shared.post(path, data=f"{i}").text, range(100)))
    assert answers == [f"left=left(pre({i})) m=m(pre({i}))" for i in range(100)]
    told = shared.get("/models/diamond__m", api="management").json()[0]
    assert (told["batchSize"], told["maxBatchDelay"], told["minWorkers"], told["maxWorkers"]) == (4, 7, 2, 2)


def test_large_bodies_go_through_joins_and_second_tries(shared, flow):
    """Bodies beyond an arena's block travel in files of their own."""
    path = flow("large", spec("once: [twice, same], twice: [digest], same: [digest]", retry=1))
    for size in (0, 1, 100_000, 3_000_000):
        body = os.urandom(size)
        assert shared.post(path, data=body).json() == {
            "same": hashlib.sha256(body).hexdigest(), "twice": hashlib.sha256(body * 2).hexdigest()}


def test_a_try_that_takes_too_long_is_given_up(shared, flow, tmp_path):
    """The second try runs although the first one's worker still sleeps."""
    path = flow("late", spec("m: []", "m: {url: sleeper, max-workers: 2, retry-attempts: 1, timeout-ms: 1500}"))
    reply = shared.post(path, data=str(tmp_path / "mark"))
    (tmp_path / "mark.end").touch()
    assert (reply.status_code, reply.text) == (200, "second")


@pytest.fixture(scope="module", autouse=True)
def sleeper(shared):
    folder(shared.store, "sleeper", textwrap.dedent(FUNCTIONS) + "\nhandle = hangs_once\n")


def test_parts_of_a_nodes_answer_are_one_input(shared, flow):
    path = flow("parts", spec("streams: [pre]"))
    assert shared.post(path, data=b"x").text == "pre(abc)"
    path = flow("leaf_parts", spec("pre: [streams]"))
    assert shared.post(path, data=b"x").text == "abc"


def test_a_native_model_is_a_node(shared, flow):
    path = flow("native", spec("pre: [m], m: [left]", "m: {url: identity}"))
    assert shared.post(path, data=b"x").text == "left(pre(x))"


def test_a_native_model_joins_nothing(shared):
    shared.made("native_join", spec("pre: [left, right], left: [m], right: [m]", "m: {url: identity}"))
    reply = shared.post("/workflows?url=native_join.war", api="management", timeout=60)
    assert reply.status_code == 500 and "has one input" in reply.json()["message"]
    for node in ("pre", "left", "right", "m"):
        assert shared.get(f"/models/native_join__{node}", api="management").status_code == 404


def test_a_name_that_is_taken_rolls_the_registration_back(shared):
    assert shared.post("/models?url=identity&model_name=taken__left", api="management").status_code == 200
    shared.made("taken", spec("pre: [left]"))
    reply = shared.post("/workflows?url=taken.war", api="management", timeout=60)
    assert reply.status_code == 500
    assert "[Workflow Node taken__left failed to register. Details: Model version 1.0 is already registered" in reply.json()["message"]
    assert shared.get("/models/taken__pre", api="management").status_code == 404
    assert shared.get("/models/taken__left", api="management").status_code == 200, "it was somebody's before"
    assert shared.delete("/models/taken__left").status_code == 200
    remove(shared, register(shared, "taken"))


def test_two_registrations_at_once_of_one_name(shared):
    shared.made("twins", spec("pre: [left]"))
    with ThreadPoolExecutor(4) as pool:
        codes = sorted(pool.map(lambda _: shared.post("/workflows?url=twins.war", api="management", timeout=60).status_code,
                                range(4)))
    assert codes == [200, 409, 409, 409]
    assert shared.post("/wfpredict/twins", data=b"x").text == "left(pre(x))"
    remove(shared, "twins")


def test_unregistering_waits_for_what_runs(shared, tmp_path):
    register(shared, "leaving", spec("waits: [pre]"))
    mark = tmp_path / "go"
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(shared.post, "/wfpredict/leaving", data=str(mark), timeout=60)
        wait_for(Path(f"{mark}.begun").exists, 20, "the run")
        removed = pool.submit(remove, shared, "leaving")
        wait_for(lambda: shared.get("/workflows/leaving", api="management").status_code == 404, 20, "its leaving")
        assert not removed.done()
        mark.touch()
        assert answer.result().text == "pre(waited)"
        removed.result()
    assert shared.get("/models/leaving__waits", api="management").status_code == 404


def test_clients_that_leave_disturb_nothing(shared, flow, tmp_path):
    path = flow("left_alone", spec("m: [left, right], left: [join], right: [join]", "m: {url: echo, max-workers: 2}"))
    for size in (1, 5_000_000):
        for _ in range(20):
            with harness.wire(shared) as w:
                w.send(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * min(size, 100_000))
    wait_for(lambda: shared.post(path, data=b"x").text == "left=left(m(x)) right=right(m(x))", 20, "an answer")


def test_killed_workers_are_not_noticed(shared, flow):
    path = flow("killed", spec("pre: [left, right], left: [join], right: [join]"))
    right = lambda sent, reply: reply.content == b"left=left(pre(%b)) right=right(pre(%b))" % (sent, sent)  # noqa: E731
    with Load(shared, path, connections=8, right=right) as load:
        for node in ("pre", "join", "left"):
            pid = wait_for(lambda node=node: workers(shared, f"killed__{node}"), 20, "a worker")[0]
            os.kill(pid, 9)
            load.wait_for_answers(50)
    assert load.failures == []


def test_a_frontend_that_comes_back_knows_workflows(serve, build, tmp_path):
    store = tmp_path / "store"
    war(build, store, "kept", spec("pre: [left]"))
    war(build, store, "other", spec("right: []"))
    server = serve(config={**PYTHON, "workflow_store": str(store)}, store=store)
    register(server, "kept")
    register(server, "other")
    before = workers(server, "kept__pre")
    for _ in range(2):
        old = server.kill_role("frontend")
        wait_for(lambda old=old: not alive(old), 10)
        server.wait_healthy()
        assert server.post("/wfpredict/kept", data=b"x").text == "left(pre(x))"
        names = [w["workflowName"] for w in server.get("/workflows", api="management").json()["workflows"]]
        assert names == ["kept", "other"]
        assert server.get("/workflows/kept", api="management").json()[0]["workflowDag"] == "{pre=[left]}"
    assert workers(server, "kept__pre") == before, "the workers were to survive the frontend"
    remove(server, "kept")
    server.kill_role("frontend")
    wait_for(lambda: can(server, "/workflows"), 20)
    assert server.get("/workflows/kept", api="management").status_code == 404
    assert server.get("/models/kept__pre", api="management").status_code == 404
    assert server.post("/wfpredict/other", data=b"x").text == "right(x)"


def can(server, path):
    try:
        return server.get(path, api="management").status_code == 200
    except OSError:
        return False


def test_a_frontend_that_dies_while_it_registers_leaves_nothing(serve, build, tmp_path):
    store, mark = tmp_path / "store", tmp_path / "mark"
    war(build, store, "half", spec("pre: [loads_late]"))
    server = serve(config={**PYTHON, "workflow_store": str(store)}, store=store, env={"LOADS_LATE": str(mark)})
    asking = threading.Thread(target=lambda: pytest.raises(OSError, server.post, "/workflows?url=half.war", api="management",
                                                           timeout=60))
    asking.start()
    wait_for(lambda: workers(server, "half__pre") not in ([], [-1]), 20, "one of its models")
    wait_for(lambda: workers(server, "half__loads_late") not in ([], [-1]), 20, "the other")
    assert server.get("/workflows", api="management").json() == {"workflows": []}, "it is not there yet"
    started = workers(server, "half__pre") + workers(server, "half__loads_late")
    server.kill_role("frontend")
    asking.join()
    wait_for(lambda: can(server, "/workflows"), 20)
    wait_for(lambda: not any(alive(pid) for pid in started), 30, "the end of its workers")
    for node in ("pre", "loads_late"):
        assert server.get(f"/models/half__{node}", api="management").status_code == 404
    mark.touch()
    register(server, "half")
    remove(server, "half")


def test_snapshots_leave_workflows_out(serve, build, tmp_path):
    store = tmp_path / "store"
    war(build, store, "unseen", spec("pre: [left]"))
    server = serve(models={"echo": "identity"}, store=store, config={**PYTHON, "workflow_store": str(store)})
    register(server, "unseen")
    assert server.post("/models?url=identity&model_name=seen", api="management").status_code == 200
    wait_for(lambda: any('"seen"' in text for text in map(Path.read_text, (server.folder / "logs/config").glob("*-snapshot.cfg"))),
             20, "the snapshot")
    assert not any("unseen" in text for text in map(Path.read_text, (server.folder / "logs/config").glob("*.cfg")))

"""The management API as clients of TorchServe know it: texts, order of fields, paging, versions, what waits and what does not."""
import json
import threading
from urllib.parse import quote

import harness
import pytest
from harness import alive, wait_for, wire

FIELDS = ["modelName", "modelVersion", "modelUrl", "runtime", "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay",
          "responseTimeout", "startupTimeout", "maxRetryTimeoutInSec", "clientTimeoutInMills", "parallelType",
          "parallelLevel", "deviceType", "continuousBatching", "useJobTicket", "useVenv", "stateful",
          "sequenceMaxIdleMSec", "sequenceTimeoutMSec", "maxNumSequence", "maxSequenceJobQueueSize", "loadedAtStartup",
          "workers", "jobQueueStatus"]


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = harness.Server(build=build, folder=tmp_path_factory.mktemp("management"), config={"access_log": "false"}).start()
    yield s
    harness.stop_all([s])


@pytest.fixture
def manage(server):
    """A function that calls the management API; every model is unregistered when the test ends."""
    def call(method, path, **more):
        return server.request(method, path, api="management", **more)
    yield call
    for m in call("GET", "/models").json()["models"]:
        versions = [v["modelVersion"] for v in call("GET", f"/models/{m['modelName']}/all").json()]
        default = call("GET", f"/models/{m['modelName']}").json()[0]["modelVersion"]
        for v in [v for v in versions if v != default] + [default]:
            assert call("DELETE", f"/models/{m['modelName']}/{v}").status_code == 200


def register(manage, name="m", version=None, workers=0, **more):
    query = {"url": "identity", "model_name": name, "initial_workers": workers, **more}
    if version:
        query["model_version"] = version
    return manage("POST", "/models", params=query)


def status(r):
    assert list(r.json()) == ["status"], r.text
    return r.status_code, r.json()["status"]


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"]
    assert body["code"] == r.status_code
    assert r.headers["connection"] == "close"
    assert r.text == json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    return r.status_code, body["type"], body["message"]


# ---- list ----


def test_list_pages_by_plain_offsets(manage):
    for i in (3, 0, 2, 1):
        register(manage, f"m{i}")

    def page(query):
        body = manage("GET", "/models" + query).json()
        return body.get("nextPageToken"), [m["modelName"][1:] for m in body["models"]]

    assert page("") == (None, ["0", "1", "2", "3"])
    assert page("?limit=3") == ("3", ["0", "1", "2"])
    assert page("?limit=2&next_page_token=2") == ("4", ["2", "3"]), "also when the page ends exactly at the end"
    assert page("?limit=2&next_page_token=3") == (None, ["3"])
    assert page("?next_page_token=4&limit=1") == (None, [])
    assert page("?next_page_token=99") == (None, [])
    assert page("?limit=0&next_page_token=1") == ("1", [])
    assert page("?limit=-1") == page("?limit=101") == page("?limit=x") == page("")
    assert page("?next_page_token=-5&limit=1") == ("1", ["0"])
    assert page("?next_page_token=2147483647") == (None, [])
    assert page("?limit=1;next_page_token=1") == ("2", ["1"])
    assert page("?limit=1&limit=3")[0] == "1", "the first of a repeated parameter counts"
    assert list(manage("GET", "/models?limit=1").json()) == ["nextPageToken", "models"]


def test_an_empty_page_of_no_models(manage):
    assert manage("GET", "/models?limit=0").json() == {"nextPageToken": "0", "models": []}


# ---- register ----


def test_register_without_workers(manage, server):
    r = register(manage, "m")
    assert status(r) == (200, 'Model "m" Version: 1.0 registered with 0 initial workers. Use scale workers API to add '
                              'workers for the model.')
    r = server.post("/predictions/m", data=b"x")
    assert error(r) == (503, "ServiceUnavailableException",
                        'Model "m" has no worker to serve inference request. Please use scale workers API to add '
                        'workers. If this is a sequence inference, please check if it is closed, or expired; or exceeds '
                        'maxSequenceJobQueueSize')
    r = server.post("/predictions/m/1.0", data=b"x")
    assert error(r)[2].startswith('Model "m" Version 1.0" has no worker to serve inference request. Please use')
    assert server.get("/ping").status_code == 200


def test_register_waits_for_the_workers(manage, server):
    r = register(manage, "m", workers=2)
    assert status(r) == (200, 'Model "m" Version: 1.0 registered with 2 initial workers')
    assert server.post("/predictions/m", data=b"x").content == b"x"


def test_register_asynchronously(manage, server):
    r = register(manage, "m", workers=1, synchronous="false")
    assert status(r) == (202, "Processing worker updates...")
    assert server.post("/predictions/m", data=b"waits for its worker").content == b"waits for its worker"


def test_register_by_json(manage):
    body = {"url": "identity", "model_name": "jay", "initial_workers": 1, "batch_size": 7, "max_batch_delay": 55,
            "response_timeout": 33, "startup_timeout": 44, "unknown": {"nested": [1]}}
    r = manage("POST", "/models?model_name=ignored", json=body)
    assert status(r) == (200, 'Model "jay" Version: 1.0 registered with 1 initial workers')
    [d] = manage("GET", "/models/jay").json()
    assert (d["batchSize"], d["maxBatchDelay"], d["responseTimeout"], d["startupTimeout"]) == (7, 55, 33, 44)
    assert d["minWorkers"] == d["maxWorkers"] == 1


@pytest.mark.parametrize("body,type_", [(b"", "NullPointerException"), (b"{", "JsonSyntaxException"),
                                        (b"[]", "JsonSyntaxException"), (b'{"url": "identity"} x', "JsonSyntaxException"),
                                        (b'{"url": "\xff"}', "JsonSyntaxException")])
def test_register_by_bad_json(manage, body, type_):
    r = manage("POST", "/models", data=body, headers={"Content-Type": "application/json; charset=utf-8"})
    assert error(r)[:2] == (500, type_)
    assert manage("GET", "/models").json() == {"models": []}


def test_a_form_body_is_not_read(manage):
    r = manage("POST", "/models", data={"url": "identity"})
    assert error(r) == (400, "BadRequestException", "Parameter url is required.")


@pytest.mark.parametrize("query,answer", [
    ("", (400, "BadRequestException", "Parameter url is required.")),
    ("?url=&runtime=java", (400, "BadRequestException", "Invalid RuntimeType value: java")),
    ("?url=identity&runtime=PYTHON", (400, "BadRequestException", "Invalid RuntimeType value: PYTHON")),
    ("?url=", (404, "ModelNotFoundException", "empty url")),
    ("?url=../x", (404, "ModelNotFoundException", "Relative path is not allowed in url: ../x")),
    ("?url=nowhere.mar", (404, "ModelNotFoundException", "Model not found at: nowhere.mar")),
    ("?url=/no/such/folder", (404, "ModelNotFoundException", "Model not found at: /no/such/folder")),
])
def test_what_register_refuses_in_its_order(manage, query, answer):
    assert error(manage("POST", "/models" + query)) == answer


@pytest.mark.parametrize("path", ["/models?url=%zz", "/models?limit=%", "/models/%g0"])
def test_a_broken_escape(server, path):
    with wire(server, "management") as w:
        assert error(w.ask("POST" if "url" in path else "GET", path))[:2] == (403, "IllegalArgumentException")


def test_the_same_version_twice(manage):
    register(manage, "m")
    assert error(register(manage, "m")) == (409, "ConflictStatusException",
                                            "Model version 1.0 is already registered for model m")


def test_limits_are_told(manage):
    assert error(register(manage, workers=65))[2] == "initial_workers is 65: a model has at most 64 workers"
    assert error(register(manage, batch_size=1025))[2] == "batch_size is 1025: a batch has at most 1024 requests"
    assert "64 settings" in error(register(manage, **{f"s{i}": 1 for i in range(65)}))[2]
    big = manage("POST", "/models", json={"url": "identity", "model_name": "m", "initial_workers": 1, "s": "x" * 20000})
    assert error(big) == (400, "BadRequestException", "the setting s exceeds 3072 bytes")
    many = {f"s{i}": "x" * 3000 for i in range(6)}
    many = manage("POST", "/models", json={"url": "identity", "model_name": "m", "initial_workers": 1, **many})
    assert error(many)[2].startswith("the model's settings exceed 8192 bytes")


def folder(tmp_path, name="f", **settings):
    f = tmp_path / name
    f.mkdir()
    lines = {"backend": "faulty", **settings}
    (f / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in lines.items()))
    return f


def test_a_failed_registration_leaves_nothing_and_can_be_tried_again_at_once(manage, server, tmp_path):
    f = folder(tmp_path, loadError="no such luck")
    for _ in range(3):
        code, type_, message = error(register(manage, url=f, workers=1))
        assert (code, type_) == (500, "InternalServerException")
        assert message.startswith("Failed to start workers for model m version: 1.0")
        assert "no such luck" in message
        assert manage("GET", "/models/m").status_code == 404
        assert manage("DELETE", "/models/m").status_code == 404
        assert server.get("/ping").status_code == 200
    (f / "model-config.yaml").write_text("backend: faulty\n")
    assert register(manage, url=f, workers=1).status_code == 200


def test_an_asynchronous_failure_leaves_the_model(manage, tmp_path):
    f = folder(tmp_path, loadError="not yet")
    assert register(manage, url=f, workers=1, synchronous="false").status_code == 202
    [d] = wait_for(lambda: manage("GET", "/models/m").json())
    assert [w["status"] for w in d["workers"]] == ["UNLOADING"]


def test_a_model_that_does_not_load_in_time(manage, tmp_path):
    f = folder(tmp_path, loadDelayMs=30000)
    r = register(manage, url=f, workers=1, startup_timeout=1)
    assert error(r)[:2] == (500, "InternalServerException")
    assert "startupTimeout" in error(r)[2]


def test_who_waits_for_a_model_that_is_unregistered_is_told(manage, tmp_path):
    f = folder(tmp_path, loadDelayMs=20000)
    answers = []
    t = threading.Thread(target=lambda: answers.append(register(manage, url=f, workers=1)))
    t.start()
    wait_for(lambda: manage("GET", "/models/m").status_code == 200)
    assert status(manage("DELETE", "/models/m")) == (200, 'Model "m" unregistered')
    t.join(10)
    assert error(answers[0])[2] == "Failed to start workers for model m version: 1.0: the model was unregistered meanwhile"


# ---- versions ----


def test_versions_and_their_default(manage, server):
    for v in ("1.0", "2.0", "3.0"):
        assert status(register(manage, "m", v, workers=1))[1] == f'Model "m" Version: {v} registered with 1 initial workers'
    assert [m["modelName"] for m in manage("GET", "/models").json()["models"]] == ["m"]

    def versions(path):
        return [d["modelVersion"] for d in manage("GET", path).json()]

    assert versions("/models/m") == ["1.0"], "the first stays the default"
    assert versions("/models/m/2.0") == ["2.0"]
    assert sorted(versions("/models/m/all")) == ["1.0", "2.0", "3.0"]
    assert error(manage("GET", "/models/m/9"))[1:] == ("ModelVersionNotFoundException",
                                                       "Model version: 9 does not exist for model: m")
    assert server.post("/predictions/m/3.0", data=b"three").content == b"three"

    assert status(manage("PUT", "/models/m/2.0/set-default")) == (
        200, 'Default version successfully updated for model "m" to "2.0"')
    assert versions("/models/m") == versions("/models/m/3.0/set-default") == ["2.0"]
    assert error(manage("PUT", "/models/m/9/set-default")) == (
        404, "ModelVersionNotFoundException", "Model version 9 does not exist for model m")
    assert error(manage("PUT", "/models/no/1.0/set-default")) == (404, "ModelNotFoundException", "Model not found: no")

    assert error(manage("DELETE", "/models/m")) == (
        403, "InvalidModelVersionException", "Cannot remove default version for model m")
    assert error(manage("DELETE", "/models/m/2.0"))[0] == 403
    assert status(manage("DELETE", "/models/m/1.0")) == (200, 'Model "m" unregistered')
    assert status(manage("DELETE", "/models/m/3.0"))[0] == 200
    assert status(manage("DELETE", "/models/m"))[0] == 200
    assert manage("GET", "/models").json() == {"models": []}


def test_a_version_has_its_own_workers_and_settings(manage, server):
    register(manage, "m", "a", workers=1, batch_size=3)
    register(manage, "m", "b", workers=2)
    pids = {d["modelVersion"]: {w["pid"] for w in d["workers"]} for d in manage("GET", "/models/m/all").json()}
    assert pids["a"].isdisjoint(pids["b"])
    assert manage("GET", "/models/m/a").json()[0]["batchSize"] == 3
    assert status(manage("PUT", "/models/m?model_version=b&min_worker=1&max_worker=1&synchronous=true")) == (
        200, "Workers scaled to 1 for model: m, version: b")
    assert manage("GET", "/models/m/b").json()[0]["minWorkers"] == 1


@pytest.mark.parametrize("version", ["", "a/b", "x" * 64, "a\nb", "."])
def test_a_version_that_is_none(manage, version):
    r = manage("POST", "/models", params={"url": "identity", "model_version": version})
    assert error(r)[:2] == (400, "BadRequestException")
    assert "is no version of a model" in error(r)[2]


# ---- describe ----


def test_describe_has_every_field_in_its_order(manage):
    register(manage, "m", workers=2)
    r = manage("GET", "/models/m")
    [d] = r.json()
    assert list(d) == FIELDS
    assert r.text == json.dumps(r.json(), indent=2) + "\n"
    assert list(d["workers"][0]) == ["id", "startTime", "status", "memoryUsage", "pid", "gpu", "gpuUsage"]
    assert list(d["jobQueueStatus"]) == ["remainingCapacity", "pendingRequests"]
    assert d["loadedAtStartup"] is False
    ids = [int(w["id"]) for w in d["workers"]]
    assert ids[1] == ids[0] + 1 and ids[0] >= 9000
    register(manage, "n", workers=1)
    assert int(manage("GET", "/models/n").json()[0]["workers"][0]["id"]) > ids[1], "an id is never used again"


def test_describe_without_workers(manage):
    register(manage, "m")
    [d] = manage("GET", "/models/m").json()
    assert (d["workers"], d["minWorkers"], d["maxWorkers"]) == ([], 0, 0)


def test_models_without_workers_cost_no_descriptors_and_outlive_the_frontend(serve):
    server = serve(models={"echo": "identity"})
    fds = server.fds("frontend")
    for i in range(300):
        assert server.post(f"/models?url=identity&model_name=m{i}", api="management").status_code == 200
    assert server.fds("frontend") <= fds + 20  # connections of ours
    assert server.delete("/models/m7").status_code == 200
    assert server.put("/models/m8?min_worker=1&synchronous=true").status_code == 200
    assert server.post("/models?url=identity&model_name=m8&model_version=2", api="management").status_code == 200
    assert server.put("/models/m8/2/set-default").status_code == 200
    assert server.post("/models?url=identity&model_name=m300", api="management").status_code == 200
    old = server.kill_role("frontend")
    wait_for(lambda: server.pids("frontend") not in ([], [old]), 30, "the next frontend")
    server.wait_healthy()
    names, token = set(), 0
    while token is not None:
        page = server.get(f"/models?next_page_token={token}", api="management").json()
        names |= {m["modelName"] for m in page["models"]}
        token = page.get("nextPageToken")
    assert names == {"echo", *(f"m{i}" for i in range(301) if i != 7)}
    assert server.get("/models/m8", api="management").json()[0]["modelVersion"] == "2"
    assert server.post("/predictions/m8/1.0", data=b"x").content == b"x"


# ---- scale ----


def test_scale(manage, server):
    register(manage, "m", workers=1)
    assert status(manage("PUT", "/models/m?min_worker=3")) == (202, "Processing worker updates...")
    wait_for(lambda: len(manage("GET", "/models/m").json()[0]["workers"]) == 3, 10)
    assert status(manage("PUT", "/models/m?min_worker=2&max_worker=2&synchronous=true")) == (
        200, "Workers scaled to 2 for model: m")
    assert status(manage("PUT", "/models/m/1.0?min_worker=2&synchronous=TRUE")) == (
        200, "Workers scaled to 2 for model: m, version: 1.0")
    assert status(manage("PUT", "/models/m?synchronous=true&number_gpu=1&timeout=5")) == (
        200, "Workers scaled to 1 for model: m"), "without a number it scales to exactly 1"
    [d] = manage("GET", "/models/m").json()
    assert (d["minWorkers"], d["maxWorkers"]) == (1, 1)
    assert error(manage("PUT", "/models/m?min_worker=3&max_worker=2")) == (
        400, "BadRequestException", "max_worker cannot be less than min_worker.")
    assert error(manage("PUT", "/models/m?min_worker=-1"))[:2] == (500, "IndexOutOfBoundsException")
    assert error(manage("PUT", "/models/m?min_worker=1&max_worker=65"))[0] == 400
    assert manage("GET", "/models/m").json()[0]["minWorkers"] == 1, "refused calls change nothing"
    assert error(manage("PUT", "/models/no")) == (404, "ModelNotFoundException", "Model not found: no")
    assert error(manage("PUT", "/models/m/9"))[2] == "Model version: 9 does not exist for model: m"
    assert error(manage("PUT", "/models/m?model_version=9"))[0] == 404
    assert server.post("/predictions/m", data=b"x").content == b"x"


def test_scaled_to_zero_and_back(manage, server):
    register(manage, "m", workers=2)
    [pid] = {w["pid"] for w in manage("GET", "/models/m").json()[0]["workers"]}
    assert status(manage("PUT", "/models/m?min_worker=0&synchronous=true")) == (200, "Workers scaled to 0 for model: m")
    wait_for(lambda: not alive(pid))
    assert error(server.post("/predictions/m", data=b"x"))[0] == 503
    assert server.get("/ping").status_code == 200
    assert status(manage("PUT", "/models/m?min_worker=1&synchronous=true"))[0] == 200
    assert server.post("/predictions/m", data=b"x").content == b"x"


def test_up_and_down_again_leaves_one_executor(manage, server, tmp_path):
    f = folder(tmp_path, loadDelayMs=300)
    register(manage, url=f, workers=1)
    manage("PUT", "/models/m?min_worker=3&max_worker=3")
    manage("PUT", "/models/m?min_worker=1&max_worker=1&synchronous=true")
    wait_for(lambda: len(server.pids("executor m")) == 1, 10, "one executor")
    # Their ends are told one after the other.
    wait_for(lambda: len(manage("GET", "/models/m").json()[0]["workers"]) == 1, 10, "one worker")
    assert server.post("/predictions/m", data=b"x").content == b"x"


def test_requests_that_wait_when_the_model_is_scaled_to_zero_are_answered(manage, server, tmp_path):
    f = folder(tmp_path, batchSize=1)
    register(manage, url=f, workers=1)
    held = [wire(server) for _ in range(3)]
    for w in held:
        w.send("POST /predictions/m HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nsleep 1000")
    wait_for(lambda: manage("GET", "/models/m").json()[0]["jobQueueStatus"])
    manage("PUT", "/models/m?min_worker=0")
    codes = [w.reply().status_code for w in held]
    assert set(codes) <= {200, 503}
    assert server.get("/ping").status_code == 200


def test_more_starts_than_the_supervisor_has_slots(manage, server):
    """Numbers of slots are used again: 1024 of them must last for ever."""
    frontend = server.pid("frontend")
    register(manage, "m")
    with wire(server, "management") as w:
        for i in range(1100):
            assert w.ask("PUT", f"/models/m?min_worker={i % 2}&max_worker={i % 2}").status_code == 202
    assert status(manage("PUT", "/models/m?min_worker=1&synchronous=true"))[0] == 200
    assert server.post("/predictions/m", data=b"x").content == b"x"
    assert server.pid("frontend") == frontend


# ---- unregister ----


def test_unregister(manage, server):
    register(manage, "m", workers=1)
    [pid] = [w["pid"] for w in manage("GET", "/models/m").json()[0]["workers"]]
    assert error(manage("DELETE", "/models/no")) == (404, "ModelNotFoundException", "Model not found: no")
    assert error(manage("DELETE", "/models/m/9"))[1:] == ("ModelVersionNotFoundException",
                                                          "Model version: 9 does not exist for model: m")
    assert status(manage("DELETE", "/models/m?synchronous=false")) == (200, 'Model "m" unregistered')
    assert not alive(pid), "it is always synchronous"
    assert error(server.get("/predictions/m")) == (404, "ModelNotFoundException", "Model not found: m")
    assert register(manage, "m", workers=1).status_code == 200


def test_unregister_twice_at_once(manage, tmp_path):
    f = folder(tmp_path)
    register(manage, url=f, workers=1)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(manage("DELETE", "/models/m"))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(a.status_code for a in answers) == [200, 404, 404, 404]
    assert {a.json().get("message") for a in answers} == {None, "Model not found: m"}


# ---- methods and paths ----


@pytest.mark.parametrize("method,path", [("DELETE", "/models"), ("PUT", "/models"), ("OPTIONS", "/models"),
                                         ("POST", "/models/m"), ("PATCH", "/models/m"), ("POST", "/models/m/1.0")])
def test_other_methods(manage, method, path):
    register(manage, "m")
    assert error(manage(method, path)) == (405, "MethodNotAllowedException",
                                           "Requested method is not allowed, please refer to API document.")


def test_paths(manage):
    register(manage, "m")
    assert manage("GET", "/models/").json() == manage("GET", "/models").json()
    assert manage("GET", "/models/m/").status_code == 200
    assert manage("GET", "/models%2Fm").status_code == 200, "an escaped slash separates"
    assert error(manage("GET", "/models/m/1.0/other"))[0] == 404
    assert error(manage("GET", "/predictions/m"))[1] == "ResourceNotFoundException"


def test_names_with_spaces_and_letters_of_the_world(manage, server):
    name = "modèle à 日本 %+&"
    assert register(manage, name, workers=1).status_code == 200
    [d] = manage("GET", "/models/" + quote(name, safe="")).json()
    assert d["modelName"] == name
    assert server.post("/predictions/" + quote(name, safe=""), data=b"x").content == b"x"

"""KServe's REST routes as TorchServe has them (docs/contract.md §5). What its envelopes make of the bodies is compared in
test_recorded.py (suites envelope_kserve, envelope_kservev2)."""
import pytest
from harness import Server, stop_all, wait_for
from python_models import PYTHON, folder

TELL = """
    import json

    def handle(data, context):
        if data is None:
            return None
        p = context.get_all_request_header(0)
        return [json.dumps({"explain": p.get("explain"), "url_path": p.get("url_path"), "body": bytes(data[0]["body"]).decode()})]
"""


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    root = tmp_path_factory.mktemp("kserve")
    folder(root / "server" / "store", "tell", TELL, config={"minWorkers": 1, "maxWorkers": 1})
    s = Server(build=build, folder=root / "server", config={**PYTHON, "ts_open_inference_protocol": "false"},
               models={"tell": "tell", "echo": "identity"})
    s.start()
    wait_for(lambda: all(s.get(f"/models/{m}", api="management").json()[0]["workers"][0]["status"] == "READY"
                         for m in ("tell", "echo")), 60)
    yield s
    stop_all([s])


@pytest.mark.parametrize("path,explain", [
    ("/v1/models/tell:predict", "False"), ("/v1/models/tell:explain", "True"), ("/v1/models/tell:predictX", "False"),
    ("/v2/models/tell/infer", "False"), ("/v2/models/tell/explain", "True")])
def test_predictions_have_no_url_path(server, path, explain):
    for method in ("POST", "PUT"):
        r = server.request(method, path, "inference", data=b"b")
        assert (r.status_code, r.json()) == (200, {"explain": explain, "url_path": None, "body": "b"})


def test_native_models_answer_too(server):
    assert server.post("/v1/models/echo:predict", data=b"some").content == b"some"
    assert server.post("/v2/models/echo/infer", data=b"some").content == b"some"
    assert server.post("/v1/models/echo:explain", data=b"some").status_code == 501


@pytest.mark.parametrize("path,message", [
    ("/v1/models/no:predict", "Model not found: no"), ("/v2/models/no/infer", "Model not found: no"),
    ("/v1/models/tell", "Requested resource is not found, please refer to API document."),
    ("/v1/models", "Requested resource is not found, please refer to API document."),
    ("/v1/models/tell:predict/more", "Requested resource is not found, please refer to API document."),
    ("/v2/models/tell", "Requested resource is not found, please refer to API document."),
    ("/v2/models/tell/ready", "Requested resource is not found, please refer to API document."),
    ("/v2/models/tell/infer/more", "Requested resource is not found, please refer to API document.")])
def test_what_is_no_route_or_no_model(server, path, message):
    r = server.post(path, data=b"x")
    assert (r.status_code, r.json()["message"]) == (404, message)


def test_readiness(server):
    r = server.get("/v1/models/tell", api="management")
    assert (r.status_code, r.text) == (200, '{\n  "name": "tell",\n  "ready": true\n}\n')
    r = server.get("/v1/models/no", api="management")
    assert (r.status_code, r.json()["message"]) == (404, "Model not found: no")
    assert server.request("POST", "/v1/models/tell", "management").status_code == 405
    assert server.put("/models/echo", params={"min_worker": 0, "synchronous": True}).status_code == 200
    assert server.get("/v1/models/echo", api="management").json() == {"name": "echo", "ready": False}
    r = server.post("/v1/models/echo:predict", data=b"x")
    assert r.status_code == 503 and r.json()["message"].startswith('Model "echo" has no worker')

"""The OpenAPI descriptions: valid, TorchServe's paths and operations under `torchserve`, and true: Schemathesis calls what they
tell of. tests/data/torchserve_api.json: what TorchServe 0.12 itself tells."""
import json
import sys

import pytest
from encoder_models import TINY

import harness

sys.path.append(str(harness.ROOT / "tests" / "peer"))
from servers import Peer  # noqa: E402

validator = pytest.importorskip("openapi_spec_validator")
# Its duplicates cannot be: operationId is unique.
RENAMED = {"/v1/models/{model_name}:predict": "v1_predictions", "/v2/models/{model_name}/infer": "v2_predictions"}
THEIRS = json.loads((harness.ROOT / "tests" / "data" / "torchserve_api.json").read_text())
LISTENERS = ("inference", "management", "metrics")


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = harness.Server(build=build, folder=tmp_path_factory.mktemp("description"), models={"echo": "identity", "classes": TINY},
                       config={"cors_allowed_origin": "https://one.example", "cors_allowed_methods": "GET, POST",
                               "cors_allowed_headers": "x-a"}).start()
    yield s
    harness.stop_all([s])


@pytest.fixture(scope="module")
def drop_in(build):
    with Peer(build / "torchserve") as s:
        yield s


def operations(document):
    """Path -> method -> (operationId, parameters)."""
    return {path: {m: [op["operationId"], sorted([p["in"], p["name"], p["required"]] for p in op["parameters"])]
                   for m, op in methods.items()} for path, methods in document["paths"].items()}


@pytest.mark.parametrize("api", LISTENERS)
def test_it_is_valid_and_needs_no_method(server, api):
    documents = [server.request(*call, api).json() for call in (("OPTIONS", "/"), ("GET", "/api-description"), ("PUT", "/api-description/"))]
    assert documents[0] == documents[1] == documents[2]
    validator.validate(documents[0])
    assert "See the documentation." not in str(documents[0]), "a parameter of a route that description.c does not know"
    for method, path in (("GET", "/"), ("POST", "/"), ("OPTIONS", "//")):
        r = harness.wire(server, api).ask(method, path)
        assert (r.status_code, r.json()["type"]) == (405, "MethodNotAllowedException")


@pytest.mark.parametrize("path,api,title", [
    ("/predictions/echo", "inference", "RESTful API for: echo"), ("/predictions/echo/1.0", "inference", "RESTful API for: echo"),
    ("/v1/models/echo:predict", "inference", "RESTful API for: echo"), ("/v2/models/echo/infer", "inference", "RESTful API for: echo"),
    ("/invocations?model_name=echo", "inference", "RESTful API for: echo"), ("/echo/predict", "inference", "RESTful API for: echo"),
    ("/models/echo", "management", "RESTful Management API for: echo"), ("/models/echo/1.0", "management", "RESTful Management API for: echo")])
def test_a_models_own_calls(server, path, api, title):
    document = server.request("OPTIONS", path, api).json()
    validator.validate(document)
    assert document["info"]["title"] == title
    assert list(document["paths"]) == (THEIRS["of a model"] if api == "management" else
                                       ["/predictions/echo", "/v1/models/echo:predict", "/v2/models/echo/infer"])


def test_unknown_models_have_none(server):
    for path, api, message in (("/predictions/no", "inference", "Model not found: no"), ("/models/no", "management", "Model not found: no"),
                               ("/models/echo/9", "management", "Model version: 9 does not exist for model: echo")):
        r = server.request("OPTIONS", path, api)
        assert (r.status_code, r.json()["message"]) == (404, message)


@pytest.mark.parametrize("api", LISTENERS)
def test_torchserve_tells_the_same(drop_in, api):
    document = drop_in.ask("OPTIONS", "/", api=api).json()
    validator.validate(document)
    ours, theirs = operations(document), THEIRS[api]
    for path, name in RENAMED.items():
        if path in theirs:
            theirs[path]["post"][0] = name
    if api != "metrics":  # where it is 404
        del theirs["/metrics"]
    if api == "management":  # which describe takes and does not tell of
        for path in ("/models/{model_name}", "/models/{model_name}/{model_version}"):
            ours[path]["get"][1].remove(["query", "customized", False])
    assert list(ours) == list(theirs) and ours == theirs
    assert document["info"]["version"] == "0.12.0"


# ---- CORS ----


def test_every_answer_has_the_cors_headers(server):
    for method, path, api in (("OPTIONS", "/predictions/echo", "inference"), ("OPTIONS", "/nope", "inference"), ("OPTIONS", "/", "metrics"),
                              ("GET", "/metrics", "metrics"), ("DELETE", "/models/no", "management"), ("PATCH", "/models", "management"),
                              ("GET", "/v2", "inference"), ("POST", "/v2/models/no/infer", "inference"), ("POST", "/embed", "inference"),
                              ("GET", "/predictions/%zz", "inference")):
        r = server.request(method, path, api, headers={"Origin": "https://two.example", "Access-Control-Request-Method": "POST"})
        assert {k: v for k, v in r.headers.items() if k.lower().startswith("access-control")} == {
            "access-control-allow-origin": "https://one.example", "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "x-a"}, (path, r.status_code)


# ---- is it true? ----


def test_calls_made_from_it(server):
    """Every operation, three times, with what its schema allows and what it does not."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    once = settings(max_examples=3, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck))
    def no_accident(ctx, response, case):
        # Those that are meant: a negative number of workers and unreadable JSON, as TorchServe has it.
        assert response.status_code != 500 or response.json()["type"] in ("IndexOutOfBoundsException", "JsonSyntaxException"), response.text

    checks = [no_accident, schemathesis.checks.status_code_conformance, schemathesis.checks.content_type_conformance,
              schemathesis.checks.response_schema_conformance]
    for api in LISTENERS:
        schema = schemathesis.openapi.from_dict(server.request("OPTIONS", "/", api).json())
        schema.config.update(base_url=server.url("", api))
        called = 0
        for result in schema.get_all_operations():
            operation = result.ok()

            @once
            @given(case=operation.as_strategy())
            def call(case):
                case.path_parameters.update({k: {"model_name": "echo", "model_version": "1.0"}.get(k, "none") for k in case.path_parameters})
                if case.media_type and "json" not in case.media_type:
                    case.media_type = "application/octet-stream"  # of all that */* may be; the model sends it back
                case.call_and_validate(checks=checks, timeout=60)

            if (operation.method.upper(), operation.path) in {("DELETE", "/models/{model_name}"),
                                                              ("DELETE", "/models/{model_name}/{model_version}")}:
                continue  # what the next calls need
            call()
            called += 1
        assert called
    assert server.get("/ping").json() == {"status": "Healthy"}

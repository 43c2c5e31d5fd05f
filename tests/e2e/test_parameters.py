"""Every parameter of every route with a wrong type, negative, beyond its range, empty, given twice; every route with methods and
heads that it does not know. The rules are TorchServe's (docs/contract.md §3): what is no 32-bit integer counts as absent, what is
not `true` is false, and of a repeated parameter the first counts."""
import json
import re

import harness
import pytest
from harness import wire

NO_INTEGER = ["", "x", "1.5", "0x10", "1e3", "%201", "1%20", "2147483648", "-2147483649", "99999999999999999999", "%00", "1%00", "--1", "true"]
NO_TRUTH = ["", "x", "1", "yes", "%20true", "true%00", "tru", "-1", "99999999999999999999"]


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = harness.Server(build=build, folder=tmp_path_factory.mktemp("parameters"), models={"a": "identity", "b": "identity"},
                       config={"ts_open_inference_protocol": "true", "default_workers_per_model": 1})
    s.start()
    yield s
    harness.stop_all([s])


@pytest.fixture
def call(server):
    """Calls on one connection per listener, opened anew where an answer closes it. Afterwards all is as it was."""
    state = lambda: [{k: m[k] for k in ("modelName", "minWorkers", "maxWorkers", "batchSize")}  # noqa: E731
                     for n in "ab" for m in server.get(f"/models/{n}/all", "management").json()]
    before, open_wires = (state(), server.pid("frontend")), {}

    def one(method, path, api="management", body=b"", headers=None):
        w = open_wires.get(api) or wire(server, api, timeout=60)
        r = w.ask(method, path, body, headers)
        open_wires[api] = w if r.headers.get("connection") == "keep-alive" else w.close()
        return r

    yield one
    for w in filter(None, open_wires.values()):
        w.close()
    assert (state(), server.pid("frontend")) == before
    assert [m["modelName"] for m in server.get("/models", "management").json()["models"]] == ["a", "b"]
    assert server.post("/predictions/a", data=b"well").content == b"well"


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"] and body["code"] == r.status_code, body
    return r.status_code, body["type"]


def same(r):
    """What of an answer does not change from call to call."""
    return r.status_code, r.content


# ---- integers ----


@pytest.mark.parametrize("route,name", [(r, n) for r in ("/models", "/workflows") for n in ("limit", "next_page_token")])
def test_pages(call, route, name):
    plain, one = same(call("GET", route)), same(call("GET", f"{route}?{name}=1"))
    for value in NO_INTEGER:
        assert same(call("GET", f"{route}?{name}={value}")) == plain, value
    assert same(call("GET", f"{route}?{name}=%2B1")) == one, "as Java reads it"
    assert same(call("GET", f"{route}?{name}=1&{name}=0")) == same(call("GET", f"{route}?{name}=1;{name}=x")) == one
    assert same(call("GET", f"{route}?{name}=-5")) == same(call("GET", f"{route}?{name}=-2147483648")) == plain
    assert call("GET", f"{route}?{name}=2147483647").status_code == 200
    assert error(call("GET", f"{route}?{name}=%zz")) == (403, "IllegalArgumentException")


@pytest.mark.parametrize("name,field,given,low", [
    ("batch_size", "batchSize", 7, None), ("max_batch_delay", "maxBatchDelay", 77, None), ("response_timeout", "responseTimeout", 7, None),
    ("startup_timeout", "startupTimeout", 7, None), ("initial_workers", "minWorkers", 2, 0)])
@pytest.mark.parametrize("form", ["query", "json"])
def test_numbers_of_a_registration(call, name, field, given, low, form):
    def registered(*values):
        if form == "query":
            r = call("POST", "/models?url=identity&model_name=m&synchronous=false" + "".join(f"&{name}={v}" for v in values))
        else:
            body = '{"url": "identity", "model_name": "m", "synchronous": false' + "".join(f', "{name}": {v}' for v in values) + "}"
            r = call("POST", "/models", body=body, headers={"Content-Type": "application/json"})
        if r.status_code == 500:
            assert error(r) == (500, "JsonSyntaxException") and error(call("GET", "/models/m")) == (404, "ModelNotFoundException")
            return None
        assert r.status_code in (200, 202), (values, r.text)
        [d] = json.loads(call("GET", "/models/m").content)
        assert call("DELETE", "/models/m").status_code == 200
        return d[field]

    nothing = registered()
    if form == "query":
        for text in NO_INTEGER:
            assert registered(text) == nothing, text
    else:
        for value in ("", "x", "2147483648", 1.5, 2147483648, -99999999999, True, [1], {"a": 1}):
            assert registered(json.dumps(value)) is None, value
        assert registered("null") == nothing
        assert registered(f'"{given}"') == registered(f"{given}.0") == given
    assert registered(given) == given != nothing
    assert registered(given, given + 1) == (given if form == "query" else given + 1), "of members the last one counts"
    if low is not None:
        assert registered(-1) == registered(-2147483647) == low
    else:
        assert registered(-1) in (-1, nothing)


@pytest.mark.parametrize("path", ["/models/a", "/models/a/1.0"])
def test_numbers_of_scaling(call, path):
    scaled = lambda query: call("PUT", f"{path}?synchronous=true&{query}")  # noqa: E731
    to_one = same(scaled(""))
    assert to_one[0] == 200
    for value in NO_INTEGER:
        assert same(scaled(f"min_worker={value}")) == to_one, value
        assert same(scaled(f"max_worker={value}")) == to_one, value
    for ignored in ("number_gpu", "timeout"):
        for value in [*NO_INTEGER, "-1", "0", "2147483647"]:
            assert same(scaled(f"{ignored}={value}")) == to_one, value
    assert same(scaled("min_worker=1&min_worker=2")) == to_one
    assert same(scaled("max_worker=1&max_worker=x")) == to_one
    for value in (-1, -2147483648):
        assert error(scaled(f"min_worker={value}")) == (500, "IndexOutOfBoundsException")
        assert error(scaled(f"max_worker={value}")) == (400, "BadRequestException")
    for value in (65, 2147483647):
        assert error(scaled(f"max_worker={value}")) == error(scaled(f"min_worker={value}")) == (400, "BadRequestException")
    assert error(scaled("min_worker=2&max_worker=1")) == (400, "BadRequestException")


# ---- truths ----


def test_truths(call):
    for value in NO_TRUTH:
        assert call("PUT", f"/models/a?synchronous={value}").status_code == 202, value
        assert "customizedMetadata" not in call("GET", f"/models/a?customized={value}").text
        r = call("POST", f"/models?url=identity&model_name=m&initial_workers=1&synchronous={value}")
        assert (r.status_code, r.json()["status"]) == (202, "Processing worker updates..."), value
        assert call("DELETE", f"/models/m?synchronous={value}&timeout={value}").status_code == 200
    for value in ("TRUE", "True", "true&synchronous=false"):
        assert call("PUT", f"/models/a?synchronous={value}").status_code == 200, value


# ---- texts ----


@pytest.mark.parametrize("query,answer", [
    ("url=", (404, "ModelNotFoundException")), ("url=&url=identity", (404, "ModelNotFoundException")),
    ("url=identity%00", (404, "ModelNotFoundException")), ("url=%ff", (404, "ModelNotFoundException")),
    ("url=" + "x" * 3000, (404, "ModelNotFoundException")), ("url=-1", (404, "ModelNotFoundException")),
    ("url=http://127.0.0.1:1/x.mar", (400, "DownloadArchiveException")), ("url=file:///nowhere/x.mar", (400, "DownloadArchiveException")),
    ("url=identity&model_name=%2F", (400, "BadRequestException")), ("url=identity&model_name=..", (400, "BadRequestException")),
    ("url=identity&runtime=", (400, "BadRequestException")), ("url=identity&runtime=3", (400, "BadRequestException")),
    ("url=identity&runtime=java&runtime=python", (400, "BadRequestException")),
    ("url=identity&backend=no/such", (400, "BadRequestException")), ("url=identity&model_version=", (400, "BadRequestException")),
    ("url=identity&model_name=a", (409, "ConflictStatusException")), ("", (400, "BadRequestException")),
    ("URL=identity", (400, "BadRequestException")), ("url", (404, "ModelNotFoundException")),
    ("url=identity&x=%", (403, "IllegalArgumentException")),
])
def test_texts_of_a_registration(call, query, answer):
    assert error(call("POST", f"/models?{query}")) == answer


def test_an_empty_name_of_a_model_is_none(call):
    for query in ("model_name=", "model_name=&model_name=m"):
        assert "identity" in call("POST", f"/models?url=identity&{query}").json()["status"]
        assert call("DELETE", "/models/identity").status_code == 200


@pytest.mark.parametrize("query,answer", [
    ("", (400, "BadRequestException")), ("url=", (404, "WorkflowNotFoundException")), ("url=../x", (404, "WorkflowNotFoundException")),
    ("url=nowhere.war", (404, "WorkflowNotFoundException")), ("url=%00", (404, "WorkflowNotFoundException")),
    ("url=%zz", (403, "IllegalArgumentException")), ("url=http://127.0.0.1:1/x.war&s3_sse_kms=x", (400, "DownloadArchiveException")),
    ("url=nowhere.war&workflow_name=", (404, "WorkflowNotFoundException")), ("url=nowhere.war&workflow_name=..", (400, "BadRequestException")),
    ("url=nowhere.war&response_timeout=x&startup_timeout=-1", (404, "WorkflowNotFoundException")),
])
def test_texts_of_a_workflow(call, query, answer):
    assert error(call("POST", f"/workflows?{query}")) == answer


@pytest.mark.parametrize("query,answer", [
    ("?model_name=a", None), ("?model_name=a&model_name=nobody", None), ("?model_name=nobody&model_name=a", (404, "ModelNotFoundException")),
    ("?model_name=nobody", (404, "ModelNotFoundException")), ("?model_name=a%00", (404, "ModelNotFoundException")),
    ("?model_name=%zz", (403, "IllegalArgumentException")), ("?model_name=", (404, "ModelNotFoundException")),
    ("", (400, "BadRequestException")),
])
def test_the_model_of_an_invocation(call, query, answer):
    r = call("POST", f"/invocations{query}", "inference", b"x", {"Content-Type": "text/plain"})
    assert r.status_code == 200 if answer is None else error(r) == answer


def test_names_of_metrics(call):
    whole = call("GET", "/metrics", "metrics")
    assert whole.status_code == 200 and b"Requests2XX" in whole.content
    for query in ("name[]=nobody", "name[]=", "name[]=%00", "name%5B%5D=Requests2XX%00", "name[]=" + "x" * 3000):
        assert (call("GET", f"/metrics?{query}", "metrics").status_code, call("GET", f"/metrics?{query}", "metrics").content) == (200, b"")
    both = call("GET", "/metrics?name[]=nobody&name[]=Requests2XX&name%5B%5D=Requests2XX", "metrics").text
    assert {line.split("{")[0] for line in both.splitlines() if line[0] != "#"} == {"Requests2XX"}
    assert call("GET", "/metrics?name=Requests2XX", "metrics").content.count(b"# TYPE") == whole.content.count(b"# TYPE")
    assert error(call("GET", "/metrics?name[]=%zz", "metrics")) == (403, "IllegalArgumentException")
    many = "&".join("name[]=Requests2XX" for _ in range(200))
    assert call("GET", f"/metrics?{many}", "metrics").content.count(b"# TYPE") == 1


# ---- routes and methods, from the server's own description ----


def operations(server, api):
    paths = server.request("OPTIONS", "/", api).json()["paths"]
    return {path: {m.upper() for m in methods} for path, methods in paths.items()}


def filled(path, name="nobody"):
    return re.sub(r"\{\w+\}", name, path)


@pytest.mark.parametrize("api", ["inference", "management", "metrics"])
def test_methods_that_a_route_does_not_have(server, call, api):
    for path, methods in operations(server, api).items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "OPTIONS", "FOO", "get", "X" * 100} - methods:
            r = call(method, filled(path), api)
            if method == "HEAD":
                assert r.content == b""
            elif r.status_code >= 400 and path not in ("/health",):
                # 405, or nobody of that name: most routes take any method, as TorchServe's.
                assert r.status_code in (400, 404, 405, 501), (method, path, r.text)
                assert r.json(), (method, path)


@pytest.mark.parametrize("api", ["inference", "management", "metrics"])
def test_routes_that_are_none(server, call, api):
    known = operations(server, api)
    for path in ("/nope", "/models/a/b/c/d/e", "/Models", "/pings", "/%2e%2e/models", "/v3/models", "/v2x", "/api-descriptions", "//ping//x",
                 "/metric", "/predictions", "/explanations", "/workflows/a/b/c", "/" + "/".join("x" * 300), "/%00", "/%ff", "/%20"):
        for method in ("GET", "POST", "DELETE", "FOO"):
            r = call(method, path, api)
            assert path not in known and r.status_code in (404, 405), (method, path, r.status_code, r.text)
            assert error(r)[1] in ("ResourceNotFoundException", "MethodNotAllowedException", "WorkflowNotFoundException", "ModelNotFoundException")


@pytest.mark.parametrize("api", ["inference", "management", "metrics"])
def test_every_operation_with_hostile_names(server, call, api):
    """Names that are no model's, in every place of every path; bodies of the wrong type for every route."""
    for path, methods in operations(server, api).items():
        for method in methods:
            for name in ("%00", "%ff%fe", "-1", "99999999999999999999", "%2e%2e", "%2F", "x" * 1000, "a%0d%0aX:%20y", "{}", "%F0%9F%94%A5"):
                if "{" in path:
                    r = call(method, filled(path, name), api, b"\xff{]", {"Content-Type": "application/json"})
                    assert r.status_code in (200, 400, 404, 405, 501), (method, path, name, r.status_code, r.text)
                    assert "x" not in r.headers, "no header is made of a name"
            if (method, path) == ("POST", "/models"):
                continue
            for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data", "multipart/form-data; boundary=",
                         "multipart/form-data; boundary=x", "text/\xff", ";", "application/json; charset=utf-16", "x" * 1000):
                r = call(method, filled(path), api, b"--x\r\n%zz=\xff&&{\"a\":[", {"Content-Type": kind})
                assert r.status_code < 500 or r.json()["type"] in ("ErrorDataDecoderException", "JsonSyntaxException",
                                                                   "NullPointerException"), (method, path, kind, r.text)

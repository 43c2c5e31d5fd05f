"""Token authorization and the model API's switch as clients of TorchServe know them (docs/contract.md §10). The statuses
and texts were recorded from TorchServe 0.12 itself."""
import json
import re
import stat
import time
from datetime import datetime, timezone

import harness
import pytest
from harness import alive, wait_for, wire

REFUSED = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
TOKEN_REFUSED = "Token Authentication failed. Token either incorrect, expired, or not provided correctly"


class Guarded(harness.Server):
    """A server with tokens. Requests bring the listener's key unless `key` says another, or None for no header at all."""

    def keys(self):
        return {kind: entry["key"] for kind, entry in json.loads(self.key_file.read_text()).items()}

    @property
    def key_file(self):
        return self.folder / "key_file.json"

    def request(self, method, path, api="inference", key="", **more):
        headers = dict(more.pop("headers", {}))
        if key == "" and api != "metrics" and self.key_file.is_file():
            key = self.keys()[api]
        if key:
            headers.setdefault("Authorization", f"Bearer {key}")
        return super().request(method, path, api, headers=headers, **more)

    def renew(self, kind, key=None, method="GET"):
        return self.request(method, f"/token?type={kind}", "management", key=key or self.keys()["API"])


def start(build, folder, config=None, **more):
    config = {"disable_token_authorization": "false", "enable_model_api": "false", **(config or {})}
    return Guarded(build=build, folder=folder, config=config, **more)


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = start(build, tmp_path_factory.mktemp("auth"), models={"echo": "identity"}).start()
    yield s
    harness.stop_all([s])


@pytest.fixture
def guarded(build, tmp_path):
    """A function that starts a server with tokens of its own."""
    started = []

    def one(config=None, **more):
        started.append(start(build, tmp_path / f"server{len(started)}", config, **more))
        return started[-1].start()
    yield one
    harness.stop_all(started)


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"]
    assert body["code"] == r.status_code
    assert r.headers["connection"] == "close"
    assert r.headers["content-type"] == "application/json"
    return r.status_code, body["type"], body["message"]


REFUSAL = (400, "InvalidKeyException", REFUSED)
TOKEN_REFUSAL = (400, "InvalidKeyException", TOKEN_REFUSED)
NO_RESOURCE = (404, "ResourceNotFoundException", "Requested resource is not found, please refer to API document.")
BAD_METHOD = (405, "MethodNotAllowedException", "Requested method is not allowed, please refer to API document.")


# ---- the key file ----


def test_key_file_is_torchserves_and_its_owners_alone(server):
    text = server.key_file.read_text()
    content = json.loads(text)
    assert list(content) == ["management", "inference", "API"]
    assert list(content["management"]) == list(content["inference"]) == ["key", "expiration time"]
    assert list(content["API"]) == ["key"]
    assert text == json.dumps(content, indent=2), "pretty-printed, no line feed at the end"
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{8}", e["key"]) for e in content.values())
    assert stat.S_IMODE(server.key_file.stat().st_mode) == 0o600
    wait_for(lambda: str(server.key_file) in server.output.read_text(), 10, "the file's place in the log")
    assert not any(e["key"] in log for e in content.values() for log in server.logs().values()), "and not what they are"


def test_a_key_is_good_for_its_time(guarded):
    server = guarded({"token_expiration_min": "0.05"})
    stamp = json.loads(server.key_file.read_text())["inference"]["expiration time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z", stamp)
    left = datetime.fromisoformat(re.sub(r"(\.\d{6})\d*|Z$", r"\1", stamp)).replace(tzinfo=timezone.utc).timestamp() - time.time()
    assert left <= 3
    time.sleep(max(left, 0) + 0.1)
    assert error(server.get("/ping")) == REFUSAL
    assert error(server.get("/models", api="management")) == REFUSAL
    assert server.renew("inference").status_code == 200, "the API key never expires"
    assert server.get("/ping").status_code == 200


# ---- which calls need which key ----


def test_every_call_of_a_listener_needs_its_key(server):
    keys = server.keys()
    for api, path in [("inference", "/ping"), ("inference", "/ping/"), ("inference", "/predictions/echo"),
                      ("inference", "/nope"), ("inference", "/token?type=inference"), ("inference", "/api-description/x"),
                      ("management", "/models"), ("management", "/models/echo"), ("management", "/models/tokenizer"),
                      ("management", "/nope"), ("management", "/models/echo/1.0/set-default")]:
        for name, key in [("nothing", None), *keys.items(), ("wrong", "x" * 8)]:
            r = server.request("GET", path, api, key=key)
            if name == api:
                assert r.status_code in (200, 404), (path, name, r.text)
            else:
                assert error(r) == REFUSAL, (path, name)


def test_metrics_and_descriptions_need_none(server):
    assert server.get("/metrics", api="metrics").status_code == 200
    assert error(server.get("/nope", api="metrics")) == NO_RESOURCE
    assert error(server.get("/token?type=inference", api="metrics")) == NO_RESOURCE
    for api in ("inference", "management"):
        assert error(server.get("/", api=api, key=None)) == BAD_METHOD
        assert server.get("/api-description", api=api, key=None).status_code in (200, 404)


@pytest.mark.parametrize("header, good", [
    ("Bearer {}", True), ("Bearer  {}", True), ("Bearer\t{}", True), ("   Bearer {}", True), ("Bearer {}   ", True),
    ("bearer {}", False), ("BEARER {}", False), ("Bearer{}", False), ("Bearer {} x", False), ("{}", False), ("Bearer ", False),
    ("Basic {}", False), ("Bearer {}x", False), ("Bearer {}, Bearer {}", False),
])
def test_forms_of_the_header(server, header, good):
    with wire(server) as w:
        r = w.ask("GET", "/ping", headers={"authorization": header.replace("{}", server.keys()["inference"])})
        assert (r.status_code == 200) is good, r.text


def test_the_first_of_two_headers_counts(server):
    key = server.keys()["inference"]
    for first, second, code in [(key, "x", 200), ("x", key, 400)]:
        with wire(server) as w:
            w.send(f"GET /ping HTTP/1.1\r\nHost: l\r\nAuthorization: Bearer {first}\r\nAuthorization: Bearer {second}\r\n\r\n")
            assert w.reply().status_code == code


def test_a_malformed_path_is_refused_before_the_key_is_looked_at(server):
    with wire(server) as w:
        code, kind, text = error(w.ask("GET", "/ping/%zz"))
    assert (code, kind) == (403, "IllegalArgumentException")
    assert text == "invalid hex byte 'zz' at index 7 of '/ping/%zz'"


def test_a_refused_body_is_not_waited_for(server):
    with wire(server) as w:
        w.send("POST /predictions/echo HTTP/1.1\r\nHost: l\r\nContent-Length: 100000\r\n\r\n")
        assert w.reply().status_code == 400


def test_one_listener_for_all_takes_each_routes_key(build, tmp_path):
    port = harness.free_ports(1)[0]
    address = f"http://127.0.0.1:{port}"
    server = start(build, tmp_path / "all", {"inference_address": address, "management_address": address},
                   models={"echo": "identity"})
    server.ports.update(inference=port, management=port)
    server.start()
    try:
        keys = server.keys()
        for path, key in [("/ping", "inference"), ("/predictions/echo", "inference"), ("/nope", "inference"),
                          ("/models", "management"), ("/models/echo", "management"), ("/models/echo/1.0", "management")]:
            for name in ("inference", "management"):
                r = server.get(path, key=keys[name])
                assert (r.status_code != 400) is (name == key), (path, name, r.text)
        assert server.renew("inference").status_code == 200
        assert server.keys()["inference"] != keys["inference"]
    finally:
        harness.stop_all([server])


# ---- the token API ----


def test_renewing_makes_one_new_key(server):
    for kind, other in [("inference", "management"), ("management", "inference")]:
        before = json.loads(server.key_file.read_text())
        r = server.renew(kind)
        assert (r.status_code, r.content) == (200, b"\n")
        assert r.headers["content-type"] == "application/json"
        after = json.loads(server.key_file.read_text())
        assert after["API"] == before["API"] and after[other] == before[other]
        assert after[kind]["key"] != before[kind]["key"]
        assert after[kind]["expiration time"] > before[kind]["expiration time"]
        path = "/ping" if kind == "inference" else "/models"
        assert error(server.get(path, api=kind, key=before[kind]["key"])) == REFUSAL
        assert server.get(path, api=kind).status_code == 200


def test_any_method_renews(server):
    for method in ("POST", "PUT", "FOO"):
        before = server.keys()
        r = server.request(method, "/token?type=inference", "management", key=before["API"], data=b"ignored")
        assert (r.status_code, r.content) == (200, b"\n")
        assert server.keys()["inference"] != before["inference"]


@pytest.mark.parametrize("query", ["", "?", "?type=", "?type=Inference", "?type=API", "?type=x&type=inference", "?kind=inference", "?type=%zz"])
def test_a_renewal_that_names_no_kind_is_refused(server, query):
    before = server.key_file.read_text()
    assert error(server.get("/token" + query, api="management", key=server.keys()["API"])) == TOKEN_REFUSAL
    assert server.key_file.read_text() == before


def test_only_the_api_key_renews(server):
    before = server.key_file.read_text()
    keys = server.keys()
    for key in (None, keys["management"], keys["inference"], "x" * 8):
        assert error(server.request("GET", "/token?type=inference", "management", key=key)) == TOKEN_REFUSAL
    assert server.key_file.read_text() == before


def test_only_the_path_makes_a_token_call(server):
    assert error(server.get("/models/tokenizer", api="management")) == (404, "ModelNotFoundException", "Model not found: tokenizer")
    r = server.get("/models", api="management", headers={"Referer": "http://x/token"})
    assert r.status_code == 200


def test_renewals_side_by_side_leave_a_whole_file(server):
    from concurrent.futures import ThreadPoolExecutor
    api = server.keys()["API"]
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda i: server.renew(("inference", "management")[i % 2], api).status_code, range(40)))
    assert codes == [200] * 40
    assert server.get("/ping").status_code == server.get("/models", api="management").status_code == 200
    assert sorted(p.name for p in server.folder.iterdir() if "key_file" in p.name) == ["key_file.json"]


# ---- the file between times ----


def test_a_deleted_file_takes_nothing_away_and_comes_back_with_a_renewal(guarded):
    server = guarded()
    keys = server.keys()
    server.key_file.unlink()
    assert server.get("/ping", key=keys["inference"]).status_code == 200
    assert server.renew("management", keys["API"]).status_code == 200
    assert server.keys()["inference"] == keys["inference"]
    assert stat.S_IMODE(server.key_file.stat().st_mode) == 0o600


def test_a_file_that_cannot_be_written_leaves_the_old_keys_good(guarded):
    server = guarded()
    keys = server.keys()
    server.key_file.unlink()
    server.key_file.mkdir()
    assert error(server.renew("inference", keys["API"])) == TOKEN_REFUSAL
    assert server.get("/ping", key=keys["inference"]).status_code == 200
    wait_for(lambda: "Failed to update key file" in server.output.read_text(), 10, "the reason in the log")
    server.key_file.rmdir()
    assert server.renew("inference", keys["API"]).status_code == 200
    assert error(server.get("/ping", key=keys["inference"])) == REFUSAL


def test_a_start_that_cannot_write_the_file_is_refused(build, tmp_path):
    server = start(build, tmp_path / "server")
    server.key_file.mkdir()
    try:
        code, said = server.refused()
        assert code == 2
        assert "Token Authorization setup unsuccessful" in said and "key_file.json cannot be written: Is a directory" in said
    finally:
        harness.stop_all([server])


def test_each_start_makes_new_keys(guarded):
    server = guarded()
    before = server.keys()
    server.stop()
    assert server.key_file.exists(), "`torchserve --stop` removes it, not the server"
    server.start()
    assert set(server.keys().values()).isdisjoint(before.values())


# ---- the frontend's death ----


def test_keys_outlive_the_frontend(guarded):
    server = guarded()
    server.renew("inference")
    server.renew("management")
    keys, text = server.keys(), server.key_file.read_text()
    old = server.kill_role("frontend")
    wait_for(lambda: not alive(old), 10, "the death")
    server.wait_healthy()
    assert server.key_file.read_text() == text
    assert server.get("/models", api="management", key=keys["management"]).status_code == 200
    assert error(server.get("/ping", key=None)) == REFUSAL
    assert server.renew("inference", keys["API"]).status_code == 200
    assert error(server.get("/ping", key=keys["inference"])) == REFUSAL


def test_a_deleted_file_stays_deleted_when_the_frontend_dies(guarded):
    server = guarded()
    keys = server.keys()
    server.key_file.unlink()
    old = server.kill_role("frontend")

    def answers():
        try:
            return server.get("/ping", key=keys["inference"], timeout=5).status_code == 200
        except OSError:
            return False
    wait_for(lambda: not alive(old) and answers(), 20, "the next frontend")
    assert not server.key_file.exists()


# ---- tokens off; the model API ----


def test_without_tokens_there_is_no_file_and_no_token_call(serve):
    server = serve(config={"disable_token_authorization": "true"})
    assert server.get("/ping").status_code == 200
    assert error(server.get("/token?type=inference", api="management")) == NO_RESOURCE
    assert not (server.folder / "key_file.json").exists()


def test_our_own_face_has_neither_unless_told(serve):
    server = serve()
    assert not (server.folder / "key_file.json").exists()
    assert server.post("/models", api="management", params={"url": "identity", "model_name": "m"}).status_code == 200
    assert server.delete("/models/m").status_code == 200


def test_without_the_model_api_models_cannot_come_or_go(server):
    for method, path in [("POST", "/models?url=identity"), ("POST", "/models"), ("POST", "/models/echo"), ("DELETE", "/models"),
                         ("DELETE", "/models/echo"), ("DELETE", "/models/echo/1.0"), ("DELETE", "/models/nope")]:
        assert error(server.request(method, path, "management")) == BAD_METHOD, (method, path)
        assert error(server.request(method, path, "management", key=None)) == REFUSAL, "the key is looked at first"
    assert [m["modelName"] for m in server.get("/models", api="management").json()["models"]] == ["echo"]


def test_without_the_model_api_models_can_be_scaled_and_described(server):
    assert server.put("/models/echo?min_worker=2&synchronous=true").status_code == 200
    assert server.put("/models/echo/1.0/set-default").status_code == 200
    assert len(server.get("/models/echo", api="management").json()[0]["workers"]) == 2


def test_with_the_model_api_and_tokens_the_key_is_needed(guarded):
    server = guarded({"enable_model_api": "true"})
    assert error(server.post("/models?url=identity&model_name=m", api="management", key=None)) == REFUSAL
    assert server.post("/models?url=identity&model_name=m", api="management").status_code == 200
    assert server.delete("/models/m").status_code == 200


def test_cors_headers_are_sent_with_refusals(guarded):
    server = guarded({"cors_allowed_origin": "*"})
    r = server.get("/ping", key=None)
    assert error(r) == REFUSAL and r.headers["access-control-allow-origin"] == "*"
    assert error(server.request("OPTIONS", "/ping", key=None)) == REFUSAL


def test_kserves_and_older_routes_need_the_inference_key(server):
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "INT32", "data": [1]}]}
    for method, path in (("GET", "/v2"), ("GET", "/v2/health/live"), ("GET", "/v2/models/echo"), ("POST", "/v2/models/echo/infer"),
                         ("GET", "/v2/models/echo/ready"), ("POST", "/v2/repository/index"), ("GET", "/v1/models"),
                         ("POST", "/invocations"), ("POST", "/echo/predict"), ("OPTIONS", "/predictions/echo")):
        for name, key in server.keys().items():
            r = server.request(method, path, key=key, json=body)
            assert r.status_code == (200 if name == "inference" else 400), (path, name, r.text)
            assert name == "inference" or r.json()["message"] == REFUSED
    for api in ("inference", "management"):
        assert server.request("OPTIONS", "/", api, key=None).json()["openapi"] == "3.0.1"

"""What people send to a text classifier, and what they take for a model folder. The neighbours answer all the while."""
import json
import shutil
import struct

import pytest
from harness import ROOT, Server, stop_all, wait_for

DEMO = ROOT / "models" / "demo-langid"
pytestmark = pytest.mark.skipif(not (DEMO / "model.safetensors").exists(), reason="the demo model is not here")


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    if not (build / "libsconce_encoder.so").exists():
        pytest.skip("there is no encoder backend in this build")
    s = Server(build=build, folder=tmp_path_factory.mktemp("encoder"), models={"langid": DEMO, "echo": "identity"},
               config={"max_request_size": 64 << 20, "access_log": "false", "default_workers_per_model": 1})
    s.start(120)
    wait_for(lambda: s.get("/models/langid", api="management").json()[0]["workers"][0]["status"] == "READY", 60)
    yield s
    stop_all([s])


@pytest.fixture
def bystander(server):
    pids = [server.pid("frontend"), server.pid("executor langid"), server.pid("executor echo")]
    yield server
    server.delete("/models/bad")  # if it was taken, which the test has told
    assert ask(server, "Guten Morgen, wie geht es Ihnen heute?").json()[0]["label"] == "de"
    assert server.post("/predictions/echo", data=b"x").content == b"x"
    assert [server.pid("frontend"), server.pid("executor langid"), server.pid("executor echo")] == pids


def ask(server, body, kind="text/plain", timeout=120):
    body = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return server.post("/predictions/langid", data=body, headers={"Content-Type": kind} if kind else {}, timeout=timeout)


def error(r):
    body = r.json()
    assert list(body) == ["code", "type", "message"], r.text[:300]
    assert body["code"] == r.status_code
    assert body["message"]
    return r.status_code, body["message"]


@pytest.mark.parametrize("body", [b"{", b'{"text"', b'{"text": }', b'{"text": "a"', b"[", b'["a",]', b'["a" "b"]', b"nul", b'"open',
                                  b'{"text": "a"} trailing', b'["\\ud800"]x', b"[" * 100000, b'{"text": ' * 50000, b"\x00", b"",
                                  b'{"text": "\xff"}', b'["\xc3\x28"]', b"\xef\xbb\xbf["])
def test_malformed_json(bystander, body):
    code, message = error(ask(bystander, body, "application/json"))
    assert code == 400, message


@pytest.mark.parametrize("body", [{}, {"texts": "a"}, {"text": 5}, {"text": None}, {"text": {"a": 1}}, {"inputs": [1, 2]}, {"inputs": ["a", None]},
                                  [["a", "b", "c"]], [1], 5, None, True])
def test_json_that_is_no_text(bystander, body):
    code, message = error(ask(bystander, body, "application/json"))
    assert code == 400, message


@pytest.mark.parametrize("body", [b"\xff\xfe\xfd", b"abc\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"ok \xc0\xaf"])
def test_text_that_is_no_utf8(bystander, body):
    code, message = error(ask(bystander, body))
    assert code == 400
    assert "UTF-8" in message


@pytest.mark.parametrize("body,kind", [("", "text/plain"), (" \n\t ", "text/plain"), ({"text": ""}, "application/json"),
                                       ([""], "application/json"), ([], "application/json"), ("\0", "text/plain"), ("\u200b", "text/plain")])
def test_no_text_at_all_is_answered_one_way_or_the_other(bystander, body, kind):
    r = ask(bystander, body, kind)
    if r.status_code != 200:
        assert error(r)[0] == 400
    else:
        assert isinstance(r.json(), list)


def test_a_text_of_ten_megabytes(bystander):
    r = ask(bystander, "Dies ist ein sehr langer Text. " * (10_000_000 // 31))
    assert (r.status_code, r.json()[0]["label"]) == (200, "de"), r.text[:300]
    r = ask(bystander, "x" * 10_000_000)
    assert r.status_code in (200, 400)
    r = ask(bystander, {"text": "日" * 3_300_000}, "application/json")
    assert r.status_code == 200


def test_a_hundred_thousand_texts(bystander):
    r = ask(bystander, ["kurz"] * 100_000, "application/json")
    code, message = error(r)
    assert code in (400, 413)
    assert "maxTexts" in message or "1024" in message, message


def test_as_many_texts_as_are_allowed(bystander):
    r = ask(bystander, ["Das Wetter ist heute schön"] * 1024, "application/json")
    assert r.status_code == 200
    assert len(r.json()) == 1024


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/json; charset=utf-8", "TEXT/PLAIN", "nonsense", "a/b;;;", None])
def test_media_types(bystander, kind):
    r = ask(bystander, json.dumps({"text": "Guten Tag zusammen"}), kind)
    assert r.status_code in (200, 400, 415)
    if r.status_code != 200:
        error(r)


# ---- folders ----


def header(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + n]), data[8 + n:]


def with_header(path, tensors, rest, length=None):
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + rest)


def missing(name):
    return lambda f: (f / name).unlink()


def truncated(name, keep):
    def change(f):
        data = (f / name).read_bytes()
        (f / name).write_bytes(data[:int(len(data) * keep)])
    return change


def config(**changes):
    def change(f):
        c = json.loads((f / "config.json").read_text())
        c.update(changes)
        (f / "config.json").write_text(json.dumps(c))
    return change


def lying_length(f):
    tensors, rest = header(f / "model.safetensors")
    with_header(f / "model.safetensors", tensors, rest, length=1 << 62)


def lying_offsets(f):
    tensors, rest = header(f / "model.safetensors")
    name = next(n for n in tensors if n != "__metadata__")
    tensors[name]["data_offsets"] = [0, 1 << 60]
    with_header(f / "model.safetensors", tensors, rest)


def lying_shape(f):
    tensors, rest = header(f / "model.safetensors")
    name = next(n for n in tensors if n != "__metadata__")
    tensors[name]["shape"] = [1 << 31, 1 << 31, 1 << 31]
    with_header(f / "model.safetensors", tensors, rest)


def a_tensor_less(f):
    tensors, rest = header(f / "model.safetensors")
    del tensors[[n for n in tensors if n != "__metadata__"][-1]]
    with_header(f / "model.safetensors", tensors, rest)


def no_vocabulary(f):
    for name in ("vocab.txt", "tokenizer.json"):
        (f / name).unlink(missing_ok=True)


def a_folder_in_its_place(f):
    (f / "model.safetensors").unlink()
    (f / "model.safetensors").mkdir()


@pytest.mark.parametrize("change,named", [
    (missing("config.json"), "config.json"),
    (missing("model.safetensors"), "model.safetensors"),
    (no_vocabulary, "vocab.txt"),
    (truncated("config.json", 0.5), "config.json"),
    (truncated("config.json", 0), "config.json"),
    (truncated("model.safetensors", 0.5), "model.safetensors"),
    (truncated("model.safetensors", 0), "model.safetensors"),
    (truncated("model.safetensors", 0.00001), "model.safetensors"),
    (truncated("tokenizer.json", 0.5), "tokenizer.json"),
    (config(hidden_size=1 << 30), "hidden_size"),
    (config(hidden_size=-1), "hidden_size"),
    (config(hidden_size="big"), "hidden_size"),
    (config(num_attention_heads=7), "heads"),
    (config(num_hidden_layers=200), "layer"),
    (config(vocab_size=5), ""),
    (config(model_type="gpt2"), "gpt2"),
    (config(hidden_act="nonsense"), "hidden_act"),
    (lying_length, "model.safetensors"),
    (lying_offsets, "model.safetensors"),
    (lying_shape, "model.safetensors"),
    (a_tensor_less, ""),
    (a_folder_in_its_place, "model.safetensors"),
])
def test_a_folder_with_something_wrong_in_it(bystander, tmp_path, change, named):
    folder = tmp_path / "bad"
    shutil.copytree(DEMO, folder)
    change(folder)
    r = bystander.post("/models", api="management", timeout=60, params={"url": str(folder), "initial_workers": 1, "startup_timeout": 30})
    code, message = error(r)
    assert code in (400, 500)
    assert named in message, message
    assert bystander.get("/models/bad", api="management").status_code == 404
    assert bystander.get("/ping").status_code == 200

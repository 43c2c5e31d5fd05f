"""KServe's second protocol over REST: tritonclient against native models and a handler in an envelope, bad requests by hand,
the routes as TorchServe has them, tokens."""
import json
import struct

import pytest

import harness
from encoder_models import TINY, variant
from python_models import PYTHON, folder

np = pytest.importorskip("numpy")
triton = pytest.importorskip("tritonclient.http")
from tritonclient.utils import InferenceServerException  # noqa: E402

DOUBLE = """
    import numpy as np

    def handle(data, context):
        if data is None:
            return None
        return [np.array(t["data"]) * 2 for t in data]
"""
TEXTS = ["good", "näh, bad", ""]


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    root = tmp_path_factory.mktemp("oip")
    folder(root / "server" / "store", "double", DOUBLE,
           config={"minWorkers": 1, "maxWorkers": 1, "handler": "{service_envelope: kservev2}"})
    models = {"echo": "identity", "classes": TINY, "double": "double",
              "vectors": variant(root / "vectors", task="embeddings", pooling="mean"),
              "answers": variant(root / "tokens", task="token-classification")}
    s = harness.Server(build=build, folder=root / "server", config={**PYTHON, "service_envelope": "kservev2"}, models=models).start()
    harness.wait_for(lambda: all(e["state"] == "READY" for e in s.post("/v2/repository/index").json()), 60)
    yield s
    harness.stop_all([s])


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['inference']}", network_timeout=60, connection_timeout=60) as c:
        yield c


def texts(values=TEXTS, name="text", binary=True):
    t = triton.InferInput(name, [len(values)], "BYTES")
    t.set_data_from_numpy(np.array([v.encode() for v in values], dtype=object), binary_data=binary)
    return t


# ---- the server and its models ----


def test_what_the_server_is(client, server):
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata()["name"] == "sconce"
    assert server.get("/v2/health/ready").json() == {"ready": True}


def test_what_the_models_are(client):
    assert client.is_model_ready("classes") and client.is_model_ready("classes", "1.0")
    assert not client.is_model_ready("nobody") and not client.is_model_ready("classes", "9")
    index = {e["name"]: (e["version"], e["state"]) for e in client.get_model_repository_index()}
    assert index == {m: ("1.0", "READY") for m in ("answers", "classes", "double", "echo", "vectors")}
    told = client.get_model_metadata("classes")
    labels = len(json.loads((TINY / "config.json").read_text())["id2label"])
    assert told == {"name": "classes", "versions": ["1.0"], "platform": "encoder",
                    "inputs": [{"name": n, "datatype": "BYTES", "shape": [-1]} for n in ("text", "text_pair")],
                    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, labels]},
                                {"name": "label", "datatype": "BYTES", "shape": [-1]}]}
    assert client.get_model_metadata("double", "1.0")["inputs"] == []
    with pytest.raises(InferenceServerException, match="Model not found: nobody"):
        client.get_model_metadata("nobody")


def test_a_model_without_workers_is_not_ready(client, server):
    server.put("/models/vectors", params={"min_worker": 0, "synchronous": True})
    assert not client.is_model_ready("vectors")
    assert [e["state"] for e in client.get_model_repository_index() if e["name"] == "vectors"] == ["UNAVAILABLE"]
    assert {e["name"] for e in server.post("/v2/repository/index", json={"ready": True}).json()} == {"answers", "classes", "double", "echo"}
    assert client.get_model_metadata("vectors")["name"] == "vectors"
    r = server.post("/v2/models/vectors/infer", json={"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]}]})
    assert r.status_code == 503 and "no worker" in r.json()["error"]
    server.put("/models/vectors", params={"min_worker": 1, "synchronous": True})
    assert client.is_model_ready("vectors")


# ---- inference ----


ARRAYS = {
    "BOOL": np.array([[True], [False]]), "UINT8": np.array([0, 255], np.uint8), "UINT16": np.array([65535], np.uint16),
    "UINT32": np.array([2**32 - 1], np.uint32), "UINT64": np.array([2**64 - 1, 0], np.uint64), "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-2**15], np.int16), "INT32": np.array([[-2**31, 2**31 - 1]], np.int32), "INT64": np.array([-2**63], np.int64),
    "FP16": np.array([0.5, -2], np.float16), "FP32": np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 7,
    "FP64": np.array([1e300, -0.1]), "BYTES": np.array([[b"", "grüße".encode()], [b"a\0b", b"\\\""]], dtype=object)}


@pytest.mark.parametrize("datatype", ARRAYS)
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("wanted", [None, True, False])
def test_every_datatype_comes_back(client, datatype, sent, wanted):
    array = ARRAYS[datatype]
    if datatype == "FP16" and (sent is False or wanted is False):
        pytest.skip("JSON has no FP16")
    tensor = triton.InferInput("x", array.shape, datatype)
    tensor.set_data_from_numpy(array, binary_data=sent)
    outputs = None if wanted is None else [triton.InferRequestedOutput("x", binary_data=wanted)]
    reply = client.infer("echo", [tensor], outputs=outputs, request_id="mine")
    got = reply.as_numpy("x")
    if datatype == "BYTES":
        got = np.array([v if isinstance(v, bytes) else v.encode() for v in got.flat], dtype=object).reshape(got.shape)
    assert got.shape == array.shape and (got == array).all()
    assert reply.get_response()["id"] == "mine" and reply.get_response()["model_name"] == "echo"


def test_several_tensors_in_any_order_and_empty_ones(client):
    a, b, none = np.array([1, 2]), np.array([[b"x"]], dtype=object), np.zeros((0, 3), np.float32)
    inputs = [triton.InferInput(n, v.shape, t) for n, v, t in (("a", a, "INT64"), ("b", b, "BYTES"), ("none", none, "FP32"))]
    for tensor, v, binary in zip(inputs, (a, b, none), (False, True, True)):
        tensor.set_data_from_numpy(v, binary_data=binary)
    reply = client.infer("echo", inputs, outputs=[triton.InferRequestedOutput(n, binary_data=n != "b") for n in ("none", "b", "a")])
    assert [o["name"] for o in reply.get_response()["outputs"]] == ["none", "b", "a"]
    assert reply.as_numpy("a").tolist() == [1, 2] and reply.as_numpy("b").tolist() == [["x"]]
    assert reply.as_numpy("none").shape == (0, 3)


@pytest.mark.parametrize("binary", [True, False])
def test_texts_become_scores_and_labels(client, server, binary):
    reply = client.infer("classes", [texts(binary=binary)], model_version="1.0")
    scores, labels = reply.as_numpy("scores"), [v.decode() for v in reply.as_numpy("label")]
    known = json.loads((TINY / "config.json").read_text())["id2label"]
    for text, row, label in zip(TEXTS, scores, labels):
        told = server.post("/predictions/classes", json={"inputs": [text], "parameters": {"top_k": None}}).json()[0]
        assert {known[str(i)]: pytest.approx(float(v), abs=1e-6) for i, v in enumerate(row)} == {t["label"]: t["score"] for t in told}
        assert label == told[0]["label"]
    pairs = client.infer("classes", [texts(["a", "b"]), texts(["c", "d"], name="text_pair")]).as_numpy("scores")
    assert pairs.shape == (2, scores.shape[1])


def test_texts_become_vectors(client, server):
    got = client.infer("vectors", [texts(name="whatever")]).as_numpy("embedding")
    told = np.array(server.post("/embed", params={"model": "vectors"}, json={"inputs": TEXTS}).json(), np.float32)
    assert got.dtype == np.float32 and np.allclose(got, told, atol=1e-6)


def test_other_tasks_say_json(client, server):
    got = client.infer("answers", [texts()]).as_numpy("result")
    assert [json.loads(v) for v in got] == [server.post("/predictions/answers", json={"inputs": TEXTS}).json()]


def test_a_handler_in_its_envelope_gets_bytes_as_json(client, server):
    tensor = triton.InferInput("x", [2, 2], "INT64")
    tensor.set_data_from_numpy(np.array([[1, 2], [3, 4]]))
    reply = client.infer("double", [tensor], request_id="7")
    assert reply.as_numpy("x").tolist() == [2, 4, 6, 8] and reply.get_response()["id"] == "7"
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.5]}]}
    assert server.post("/v2/models/double/infer", json=body).json()["outputs"][0]["data"] == [3.0]
    assert server.post("/v2/models/double/versions/1.0/infer", json=body).json()["outputs"][0]["data"] == [3.0]


# ---- bad requests ----


def body(**changed):
    """Of one good input, with members changed or, by None, left out."""
    tensor = {"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2], **changed}
    return {"inputs": [{k: v for k, v in tensor.items() if v is not None}]}


BAD = {
    "no json": (b"{", "an end before the value is complete"), "a list": (b"[]", "must be an object"), "empty": (b"", ""),
    "no inputs": ({"inputs": []}, "no inputs"), "inputs is no list": ({"inputs": {}}, "must be a list"),
    "two documents": (json.dumps(body()).encode() + b"{}", ""),
    "no name": (body(name=None), "needs name, shape and datatype"), "name is a number": (body(name=3), "must be a string"),
    "no shape": (body(shape=None), "needs name, shape"), "shape is text": (body(shape="2"), "list of integers"),
    "size is no integer": (body(shape=[1.5]), "list of integers"), "negative size": (body(shape=[-2]), "negative size -2"),
    "sizes overflow": (body(shape=[2**62, 2**62]), "more than"), "a shape of hundreds": (body(shape=[1] * 300), "too many sizes"),
    "size beyond 64 bits": (body(shape=[2**70]), "list of integers"), "no datatype": (body(datatype=None), "needs name"),
    "unknown datatype": (body(datatype="INT33"), "no such datatype"), "too few": (body(shape=[3]), "2 elements, but its shape has 3"),
    "too many": (body(shape=[1]), "2 elements, but its shape has 1"), "too many by far": (body(shape=[2**39]), "2 elements"),
    "out of range": (body(data=[1, 2**31]), "element 1 of its data is no INT32"),
    "negative unsigned": (body(datatype="UINT64", data=[0, -1]), "element 1"), "text for a number": (body(data=["1", 2]), "element 0"),
    "a fraction": (body(data=[1, 2.5]), "element 1"), "object in data": (body(data=[{}, 1]), "element 0"),
    "float overflow": (body(datatype="FP32", data=[1, 1e39]), "element 1"), "data is text": (body(data="ab"), "must be a list"),
    "number for BYTES": (body(datatype="BYTES", data=[1, 2]), "element 0"), "FP16 as JSON": (body(datatype="FP16"), "cannot be sent as JSON"),
    "no data": (body(data=None), "neither data nor binary_data_size"),
    "data and bytes": (body(parameters={"binary_data_size": 8}), "data and binary_data_size"),
    "parameters is a list": (body(parameters=[]), "must be an object"),
    "negative bytes": (body(data=None, parameters={"binary_data_size": -1}), "number of bytes"),
    "more bytes than there are": (body(data=None, parameters={"binary_data_size": 8}), "0 bytes are left"),
    "shared memory": (body(parameters={"shared_memory_region": "r"}), "not supported"),
    "id is a number": ({**body(), "id": 5}, "id must be a string"), "unknown output": ({**body(), "outputs": [{"name": "y"}]}, "unexpected inference output 'y'"),
    "nameless output": ({**body(), "outputs": [{}]}, "needs a name"),
    "classification": ({**body(), "outputs": [{"name": "x", "parameters": {"classification": 2}}]}, "not supported"),
    "hundreds of inputs": ({"inputs": body()["inputs"] * 300}, "too many inputs"),
    "hundreds of outputs": ({**body(), "outputs": [{"name": "x"}] * 300}, "too many outputs"),
    "nested too deeply": (b'{"inputs": [{"data": ' + b"[" * 100, ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_bodies_get_400_and_say_why(server, case):
    sent, message = BAD[case]
    r = server.post("/v2/models/echo/infer", data=sent if isinstance(sent, bytes) else json.dumps(sent))
    assert r.status_code == 400 and list(r.json()) == ["error"], r.text
    assert message in r.json()["error"], r.text


def with_bytes(head, rest, length=None):
    head = json.dumps(head).encode()
    return {"data": head + rest, "headers": {"Inference-Header-Content-Length": str(len(head) if length is None else length)}}


SIZED = {"binary_data_size": 8}


@pytest.mark.parametrize("request_, message", [
    (with_bytes(body(data=None, parameters=SIZED), b"1234567"), "7 bytes are left"),
    (with_bytes(body(data=None, parameters=SIZED), b"123456789"), "1 bytes of binary data belong to no input"),
    (with_bytes(body(data=None, parameters=SIZED, shape=[3]), b"12345678"), "8 bytes of data, but its shape and datatype INT32 take 12"),
    (with_bytes(body(data=None, parameters=SIZED), b"12345678", 10**6), "Inference-Header-Content-Length"),
    (with_bytes(body(data=None, parameters=SIZED), b"12345678", -1), "Inference-Header-Content-Length"),
    (with_bytes(body(data=None, parameters=SIZED), b"12345678", "x"), "Inference-Header-Content-Length"),
    (with_bytes(body(data=None, parameters=SIZED), b"12345678", 5), ""),
    (with_bytes(body(data=None, parameters=SIZED, datatype="BYTES", shape=[1]), struct.pack("<I", 100) + b"abcd"), "cut off"),
    (with_bytes(body(data=None, parameters=SIZED, datatype="BYTES", shape=[3]), bytes(8)), "2 elements, but its shape has 3"),
], ids=range(9))
def test_bad_bytes_get_400(server, request_, message):
    r = server.post("/v2/models/echo/infer", **request_)
    assert r.status_code == 400 and message in r.json()["error"], r.text


def test_what_a_model_does_not_take(client):
    with pytest.raises(InferenceServerException, match="texts are BYTES"):
        tensor = triton.InferInput("text", [1], "INT32")
        tensor.set_data_from_numpy(np.array([1], np.int32))
        client.infer("classes", [tensor])
    with pytest.raises(InferenceServerException, match="unexpected inference input 'more'"):
        client.infer("vectors", [texts(), texts(name="more")])
    with pytest.raises(InferenceServerException, match="differ in length"):
        client.infer("classes", [texts(["a"]), texts(["b", "c"], name="text_pair")])
    with pytest.raises(InferenceServerException, match="no text"):
        client.infer("classes", [texts([])])
    with pytest.raises(InferenceServerException, match="does not exist for model"):
        client.infer("classes", [texts()], model_version="7")


def test_unknown_calls(server):
    assert server.get("/v2/models/echo/stats").json() == {"error": "There is no such call"}
    assert server.get("/v2/models/echo/versions/1/what").status_code == 501
    for call in (("POST", "/v2/models/echo"), ("DELETE", "/v2/models/echo/ready"), ("GET", "/v2/repository/index"), ("PUT", "/v1/models")):
        r = server.request(*call)
        assert (r.status_code, r.json()) == (405, {"error": "Method not allowed"}), call
    assert server.post("/v2/repository/index", data=b"[").status_code == 400


def test_the_first_protocol_lists_its_models(server):
    assert server.get("/v1/models").json()["models"] == ["answers", "classes", "double", "echo", "vectors"]
    assert server.get("/v1/models/echo").json() == {"name": "echo", "ready": True}
    assert server.get("/v1/models/nobody").status_code == 404

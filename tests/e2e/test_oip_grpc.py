"""KServe's second protocol over gRPC: tritonclient in the standard package, stubs of ours in TorchServe's, bad requests, limits,
tokens, the two faces, TLS."""
import grpc
import pytest

import harness
import rpc
import test_auth
from encoder_models import TINY
from python_models import PYTHON, folder

np = pytest.importorskip("numpy")
triton = pytest.importorskip("tritonclient.grpc")
from tritonclient.grpc import service_pb2 as pb, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

from test_oip import ARRAYS  # noqa: E402

OURS = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"
STANDARD = "inference.GRPCInferenceService"
TEXTS = ["good", "näh, bad", ""]
DOUBLE = """
    import numpy as np
    from ts.torch_handler.request_envelope.kservev2 import KServev2Envelope

    def double(tensors, context):
        return [np.array(t["data"]) * 2 for t in tensors]

    def handle(data, context):
        return None if data is None else KServev2Envelope(double).handle(data, context)
"""
SAYS = """
    import time

    def handle(data, context):
        if data and data[0]["body"].get("id") == "sleep":
            time.sleep(1)
        return None if data is None else [row["body"].get("id", "") for row in data]
"""


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    root = tmp_path_factory.mktemp("oip_grpc")
    store = root / "server" / "store"
    folder(store, "double", DOUBLE, config={"minWorkers": 1, "maxWorkers": 1})
    folder(store, "says", SAYS, config={"minWorkers": 1, "maxWorkers": 1})
    s = harness.Server(build=build, folder=root / "server", config={**PYTHON, "max_request_size": 8_000_000, "max_response_size": 8_000_000},
                       models={"echo": "identity", "classes": TINY, "double": "double", "says": "says"}).start()
    harness.wait_for(lambda: all(e["state"] == "READY" for e in s.post("/v2/repository/index").json()), 60, "the workers")
    yield s
    harness.stop_all([s])


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['grpc_inference']}") as c:
        yield c


@pytest.fixture(scope="module")
def stub(server):
    with rpc.channel(server.ports["grpc_inference"]) as c:
        yield service_pb2_grpc.GRPCInferenceServiceStub(c)


@pytest.fixture(scope="module")
def torchserve(server):
    """TorchServe's package."""
    with rpc.channel(server.ports["grpc_inference"]) as c:
        yield rpc.stub("oip", c)


def failure(call):
    with pytest.raises(grpc.RpcError) as e:
        call()
    return e.value.code().name, e.value.details()


def tensor(array, datatype="INT32", name="x"):
    t = triton.InferInput(name, array.shape, datatype)
    t.set_data_from_numpy(array)
    return t


def texts(values=TEXTS, name="text"):
    return tensor(np.array([v.encode() for v in values], dtype=object), "BYTES", name)


# ---- the server and its models ----


def test_what_the_server_is(client):
    assert client.is_server_live() and client.is_server_ready()
    told = client.get_server_metadata()
    assert told.name == "sconce" and told.version and list(told.extensions) == ["binary_tensor_data", "model_repository"]


def test_what_the_models_are(client, server):
    assert client.is_model_ready("classes") and client.is_model_ready("classes", "1.0")
    index = {(e.name, e.version, e.state, e.reason) for e in client.get_model_repository_index().models}
    assert index == {(m, "1.0", "READY", "") for m in ("classes", "double", "echo", "says")}
    for model in ("classes", "double"):  # as REST tells it
        assert client.get_model_metadata(model, as_json=True).get("inputs", []) == [
            {**t, "shape": [str(n) for n in t["shape"]]} for t in server.get(f"/v2/models/{model}").json()["inputs"]]
    told = client.get_model_metadata("classes", "1.0")
    assert (told.name, list(told.versions), told.platform) == ("classes", ["1.0"], "encoder")
    assert [(t.name, t.datatype, list(t.shape)) for t in told.outputs] == [
        (t["name"], t["datatype"], t["shape"]) for t in server.get("/v2/models/classes").json()["outputs"]]


def test_what_is_not_there(stub):
    for call, message in ((stub.ModelReady, pb.ModelReadyRequest), (stub.ModelMetadata, pb.ModelMetadataRequest)):
        assert failure(lambda: call(message(name="nobody"))) == ("NOT_FOUND", "Model not found: nobody")
        assert failure(lambda: call(message(name="echo", version="9"))) == ("NOT_FOUND", "Model version: 9 does not exist for model: echo")
        assert failure(lambda: call(message())) == ("INVALID_ARGUMENT", "Parameter name is required.")
    assert failure(lambda: stub.ModelInfer(pb.ModelInferRequest(model_name="nobody"))) == ("NOT_FOUND", "Model not found: nobody")
    assert failure(lambda: stub.ModelInfer(pb.ModelInferRequest())) == ("INVALID_ARGUMENT", "Parameter model_name is required.")
    assert failure(lambda: stub.ModelConfig(pb.ModelConfigRequest(name="echo"))) == (
        "UNIMPLEMENTED", f"Method not found: {STANDARD}/ModelConfig")


def test_a_model_without_workers(client, stub, server):
    server.put("/models/says", params={"min_worker": 0, "synchronous": True})
    assert not client.is_model_ready("says")
    assert [(e.state, e.reason) for e in client.get_model_repository_index().models if e.name == "says"] == [("UNAVAILABLE", "no worker is ready")]
    assert "says" not in [e.name for e in stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models]
    code, why = failure(lambda: stub.ModelInfer(pb.ModelInferRequest(model_name="says", **good())))
    assert code == "UNAVAILABLE" and "has no worker" in why
    server.put("/models/says", params={"min_worker": 1, "synchronous": True})
    assert client.is_model_ready("says")


# ---- inference ----


@pytest.mark.parametrize("datatype", [*ARRAYS, "BF16"])
def test_every_datatype_comes_back_raw(client, datatype):
    array = np.array([[0.5], [-2]], pytest.importorskip("ml_dtypes").bfloat16) if datatype == "BF16" else ARRAYS[datatype]
    reply = client.infer("echo", [tensor(array, datatype)], request_id="mine", model_version="1.0")
    got = reply.as_numpy("x")
    assert got.shape == array.shape and (got == array).all()
    told = reply.get_response()
    assert (told.id, told.model_name, told.model_version) == ("mine", "echo", "1.0")
    assert len(told.raw_output_contents) == 1 and not told.outputs[0].HasField("contents")


PLACES = {"BOOL": "bool", "UINT8": "uint", "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64", "INT8": "int", "INT16": "int",
          "INT32": "int", "INT64": "int64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}


@pytest.mark.parametrize("package", ["standard", "torchserve"])
@pytest.mark.parametrize("datatype", PLACES)
def test_every_datatype_comes_back_in_its_field(stub, torchserve, package, datatype):
    array, place = ARRAYS[datatype], f"{PLACES[datatype]}_contents"
    message, call = ((pb.ModelInferRequest, stub.ModelInfer) if package == "standard" else
                     (rpc.module("oip").ModelInferRequest, torchserve.ModelInfer))
    sent = [v if datatype == "BYTES" else v.item() for v in array.flat]
    reply = call(message(model_name="echo", inputs=[
        {"name": "x", "datatype": datatype, "shape": array.shape, "contents": {place: sent}}]))
    got = reply.outputs[0]
    assert (got.name, got.datatype, list(got.shape)) == ("x", datatype, list(array.shape)) and not reply.raw_output_contents
    assert list(getattr(got.contents, place)) == sent


def test_several_tensors_in_any_order_and_empty_ones(client, stub):
    a, b, none = np.array([1, 2]), np.array([[b"x"]], dtype=object), np.zeros((0, 3), np.float32)
    reply = client.infer("echo", [tensor(a, "INT64", "a"), tensor(b, "BYTES", "b"), tensor(none, "FP32", "none")],
                         outputs=[triton.InferRequestedOutput(n) for n in ("none", "b", "a")])
    assert [o.name for o in reply.get_response().outputs] == ["none", "b", "a"]
    assert reply.as_numpy("a").tolist() == [1, 2] and reply.as_numpy("b").tolist() == [[b"x"]]
    assert reply.as_numpy("none").shape == (0, 3)
    scalar = stub.ModelInfer(pb.ModelInferRequest(model_name="echo", inputs=[
        {"name": "s", "datatype": "FP32", "contents": {"fp32_contents": [1.5]}, "parameters": {"what": {"bool_param": True}}}]))
    assert list(scalar.outputs[0].shape) == [] and list(scalar.outputs[0].contents.fp32_contents) == [1.5]


def test_texts_become_scores_as_over_rest(client, server):
    reply = client.infer("classes", [texts()])
    rest = server.post("/v2/models/classes/infer", json={"inputs": [{"name": "text", "shape": [3], "datatype": "BYTES", "data": TEXTS}]}).json()
    scores, labels = (next(o for o in rest["outputs"] if o["name"] == n) for n in ("scores", "label"))
    assert np.allclose(reply.as_numpy("scores").ravel(), scores["data"], atol=1e-6)
    assert [v.decode() for v in reply.as_numpy("label")] == labels["data"]
    with pytest.raises(InferenceServerException, match="INVALID_ARGUMENT.*texts are BYTES"):
        client.infer("classes", [tensor(np.array([1], np.int32), name="text")])


def test_a_handler_in_its_envelope_gets_json_and_answers_tensors(client, stub):
    reply = client.infer("double", [tensor(np.array([[1, 2], [3, 4]]), "INT64")], request_id="7")
    assert reply.as_numpy("x").tolist() == [2, 4, 6, 8] and reply.get_response().id == "7"
    typed = stub.ModelInfer(pb.ModelInferRequest(model_name="double", inputs=[
        {"name": "y", "datatype": "FP32", "shape": [1], "contents": {"fp32_contents": [1.5]}}]))
    assert (typed.model_name, typed.model_version, typed.id) == ("double", "1.0", "")
    assert (typed.outputs[0].name, typed.outputs[0].datatype, list(typed.outputs[0].contents.fp64_contents)) == ("y", "FP64", [3.0])
    with pytest.raises(InferenceServerException, match="unexpected inference output 'z' for model 'double'"):
        client.infer("double", [tensor(np.array([1]), "INT64")], outputs=[triton.InferRequestedOutput("z")])


ANSWERS = {
    "": "", "no json": "", "[]": "must be an object", "{}": "no outputs", '{"outputs": 3}': "list of tensors",
    '{"outputs": [{"name": "a"}]}': "needs name, shape and datatype",
    '{"outputs": [{"name": "a", "shape": [2], "datatype": "INT32", "data": [1]}]}': "1 elements, but its shape has 2",
    '{"outputs": [{"name": "a", "shape": [1], "datatype": "INT33", "data": [1]}]}': "no such datatype",
    '{"outputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": [1]}]}': "element 0 of its data is no BYTES",
}


@pytest.mark.parametrize("said", ANSWERS)
def test_answers_of_handlers_that_are_none(stub, said):
    code, why = failure(lambda: stub.ModelInfer(pb.ModelInferRequest(model_name="says", id=said, **good())))
    assert code == "INTERNAL" and ANSWERS[said] in why


def test_torchserve_s_package_for_models_that_it_has_not(torchserve):
    oip = rpc.module("oip")
    told = torchserve.ModelMetadata(oip.ModelMetadataRequest(name="classes"))
    assert told.platform == "encoder" and [t.name for t in told.inputs] == ["text", "text_pair"]
    reply = torchserve.ModelInfer(oip.ModelInferRequest(model_name="classes", inputs=[{"name": "text", "datatype": "BYTES", "shape": [1]}],
                                                        raw_input_contents=[b"\x04\0\0\0good"], outputs=[{"name": "label"}]))
    assert [o.name for o in reply.outputs] == ["label"] and len(reply.raw_output_contents) == 1
    code, why = failure(lambda: torchserve.ModelInfer(oip.ModelInferRequest(model_name="classes")))
    assert (code, why) == ("INVALID_ARGUMENT", "the request has no inputs\norg.pytorch.serve.http.BadRequestException")
    assert failure(lambda: torchserve.ServerMetadata(oip.ServerMetadataRequest())) == ("UNIMPLEMENTED", f"Method {OURS}/ServerMetadata is unimplemented")


# ---- bad requests ----


def good(**changed):
    return {"inputs": [{"name": "x", "datatype": "INT32", "shape": [2], "contents": {"int_contents": [1, 2]}, **changed}]}


def raw(*contents, **changed):
    return {"inputs": [{"name": "x", "datatype": "INT32", "shape": [2], **changed}], "raw_input_contents": contents}


SHARED = {"parameters": {"shared_memory_region": {"string_param": "r"}}}
BAD = {
    "no inputs": ({}, "no inputs"), "no name": (good(name=""), "needs a name"), "name of megabytes": (good(name="x" * 70000), "too long"),
    "no datatype": (good(datatype=""), "there is no datatype ''"), "unknown datatype": (good(datatype="INT33"), "no datatype 'INT33'"),
    "negative size": (good(shape=[-2]), "negative size -2"), "sizes overflow": (good(shape=[2**62, 2**62]), "more than"),
    "a shape of hundreds": (good(shape=[1] * 300), "too many sizes"), "too few": (good(shape=[3]), "2 elements of INT32, but its shape has 3"),
    "too many": (good(shape=[1]), "2 elements of INT32, but its shape has 1"), "too many by far": (good(shape=[2**39]), "2 elements"),
    "in another field": (good(datatype="FP32"), "0 elements of FP32"), "no contents": (good(contents=None), "0 elements"),
    "does not fit INT8": (good(datatype="INT8", contents={"int_contents": [1, 128]}), "element 1 of its contents is no INT8"),
    "does not fit INT16": (good(datatype="INT16", contents={"int_contents": [-32769, 1]}), "element 0"),
    "does not fit UINT8": (good(datatype="UINT8", contents={"uint_contents": [255, 256]}), "element 1"),
    "FP16 in a field": (good(datatype="FP16", contents={"fp32_contents": [1, 2]}), "no place but raw_input_contents"),
    "shared memory": (good(**SHARED), "not supported"), "unknown output": ({**good(), "outputs": [{"name": "y"}]}, "unexpected inference output 'y'"),
    "nameless output": ({**good(), "outputs": [{}]}, "needs a name"), "output in shared memory": ({**good(), "outputs": [{"name": "x", **SHARED}]}, "not supported"),
    "classification": ({**good(), "outputs": [{"name": "x", "parameters": {"classification": {"int64_param": 2}}}]}, "not supported"),
    "hundreds of inputs": ({"inputs": good()["inputs"] * 300}, "too many inputs"),
    "hundreds of outputs": ({**good(), "outputs": [{"name": "x"}] * 300}, "too many outputs"),
    "raw and in a field": ({**good(), "raw_input_contents": [b"12345678"]}, "has contents"),
    "raw too short": (raw(b"1234567"), "7 bytes of data, but its shape and datatype INT32 take 8"), "raw and empty": (raw(b""), "0 bytes of data"),
    "raw too long": (raw(b"123456789"), "9 bytes of data"), "raw too many": (raw(b"12345678", b""), "1 inputs, but 2 raw_input_contents"),
    "raw too few": ({"inputs": raw()["inputs"] * 2, "raw_input_contents": [b"12345678"]}, "2 inputs, but 1 raw_input_contents"),
    "raw text that is cut": (raw(b"\x64\0\0\0abcd", datatype="BYTES", shape=[1]), "cut off"),
    "raw texts too few": (raw(bytes(8), datatype="BYTES", shape=[3]), "2 elements, but its shape has 3"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_told_what_is_wrong(stub, case):
    fields, message = BAD[case]
    code, why = failure(lambda: stub.ModelInfer(pb.ModelInferRequest(model_name="echo", **fields)))
    assert code == "INVALID_ARGUMENT" and message in why


def test_messages_that_are_none(server):
    one = pb.ModelInferRequest(model_name="echo", **good()).SerializeToString()
    with rpc.channel(server.ports["grpc_inference"]) as c:
        for service in (STANDARD, OURS):
            call = c.unary_unary(f"/{service}/ModelInfer", request_serializer=bytes, response_deserializer=bytes)
            for junk in (one[:-1], b"\xff" * 50, b"\x0a\x02\xff\xfe", one + b"\x1a\x01\xc0", b"\x0a\x04echo\x2a\x04\x0a\x02\xed\xa0"):
                assert failure(lambda: call(junk)) == ("UNKNOWN", "")
            assert call(one)


def test_messages_of_many_megabytes_and_one_that_is_too_large(stub, client):
    array = np.arange(1_500_000, dtype=np.float32)
    assert (client.infer("echo", [tensor(array, "FP32")]).as_numpy("x") == array).all()
    with pytest.raises(InferenceServerException, match="CANCELLED"):
        client.infer("echo", [tensor(np.zeros(2_000_001, np.float32), "FP32")])
    many = pb.ModelInferRequest(model_name="echo", **good(datatype="BOOL", shape=[7_000_000], contents={"bool_contents": [True] * 7_000_000}))
    assert len(stub.ModelInfer(many).outputs[0].contents.bool_contents) == 7_000_000
    assert client.is_server_live()


def test_deadlines_and_compression(stub, client):
    request = pb.ModelInferRequest(model_name="echo", **good())
    slow = pb.ModelInferRequest(model_name="says", id="sleep", **good())
    assert failure(lambda: stub.ModelInfer(slow, timeout=0.3))[0] == "DEADLINE_EXCEEDED"
    assert stub.ModelInfer(request, compression=grpc.Compression.Gzip).outputs[0].name == "x"
    call = stub.ModelInfer.future(slow)
    call.cancel()
    assert client.infer("echo", [tensor(np.zeros(1000, np.int32))], compression_algorithm="gzip").as_numpy("x").size == 1000


# ---- who is served ----


def names(server):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
    from google.protobuf.descriptor_pool import DescriptorPool
    with rpc.channel(server.ports["grpc_inference"]) as c:
        database = ProtoReflectionDescriptorDatabase(c)
        pool, services = DescriptorPool(database), set(database.get_services())
        return {s: [m.name for m in pool.FindServiceByName(s).methods] for s in services & {OURS, STANDARD}}


def live(server):
    with rpc.channel(server.ports["grpc_inference"]) as c:
        call = service_pb2_grpc.GRPCInferenceServiceStub(c).ServerLive
        try:
            return call(pb.ServerLiveRequest(), timeout=30).live
        except grpc.RpcError as e:
            return e.code().name, e.details()


def test_both_packages_unless_switched_off(server, serve):
    both = names(server)
    assert set(both) == {OURS, STANDARD} and set(both[STANDARD]) - set(both[OURS]) == {"RepositoryIndex"}
    assert live(server) is True
    off = serve(models={"echo": "identity"}, config={"ts_open_inference_protocol": "false"})
    assert names(off) == {} and live(off) == ("UNIMPLEMENTED", f"Method not found: {STANDARD}/ServerLive")


def test_tokens(build, tmp_path, request):
    server = test_auth.start(build, tmp_path / "server", models={"echo": "identity"})
    request.addfinalizer(lambda: harness.stop_all([server]))
    key = server.start().keys()["inference"]
    refused = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"
    assert live(server) == ("PERMISSION_DENIED", refused)
    with triton.InferenceServerClient(f"127.0.0.1:{server.ports['grpc_inference']}") as c:
        headers = {"authorization": f"Bearer {key}"}
        assert c.is_server_live(headers=headers)
        assert c.infer("echo", [tensor(np.array([3], np.int32))], headers=headers).as_numpy("x").tolist() == [3]
        with pytest.raises(InferenceServerException, match="PERMISSION_DENIED"):
            c.infer("echo", [tensor(np.array([3], np.int32))], headers={"authorization": "Bearer x"})

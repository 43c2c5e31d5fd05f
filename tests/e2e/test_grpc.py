"""gRPC as clients use it: grpcio with stubs made of proto/, health checking, reflection, deadlines, bad input."""
import threading
import time
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from google.protobuf.descriptor_pool import DescriptorPool

import harness
import rpc
from harness import wait_for
from python_models import PYTHON, folder

STEPS = """
    import time

    def handle(data, context):
        if data is None:
            return None
        out = []
        for row in data:
            if "sleep" in row:
                time.sleep(float(bytes(row["sleep"])))
            if "note" in row:
                with open(bytes(row["note"]).decode(), "a") as f:
                    f.write("x")
            out.append(bytes(row.get("data", b"none")))
        return out
"""
SETTINGS = {**PYTHON, "default_workers_per_model": 1, "max_request_size": 8_000_000, "max_response_size": 8_000_000}


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    where = tmp_path_factory.mktemp("grpc")
    folder(where / "store", "steps", STEPS)
    server = harness.Server(build=build, folder=where / "server", store=where / "store", config=SETTINGS,
                            models={"echo": "identity", "steps": "steps"})
    server.start()
    wait_for(lambda: server.get("/models/steps", api="management").json()[0]["workers"][0]["status"] == "READY", 30, "the worker")
    yield server
    harness.stop_all([server])


@pytest.fixture
def channel(server):
    with rpc.channel(server.ports["grpc_inference"]) as c:
        yield c


@pytest.fixture
def inference(channel):
    return rpc.stub("inference", channel)


def request(model="echo", **row):
    return rpc.module("inference").PredictionsRequest(model_name=model, input=row)


def failure(call):
    with pytest.raises(grpc.RpcError) as e:
        call()
    return e.value.code(), e.value.details()


def test_native_models_take_one_input(inference):
    assert inference.Predictions(request(data=b"\x00hello")).prediction == b"\x00hello"
    assert inference.Predictions(request(other=b"only")).prediction == b"only"
    assert inference.Predictions(request()).prediction == b""
    assert [r.prediction for r in inference.StreamPredictions(request(body=b"x"))] == [b"x"]


def test_messages_of_many_megabytes(inference):
    big = bytes(range(256)) * 20000  # 5 MB: more than grpcio's own limit
    assert inference.Predictions(request(data=big)).prediction == big
    assert inference.Predictions(request("steps", data=big)).prediction == big


def test_a_message_that_is_too_large_is_cancelled_and_nothing_else(inference):
    code, _ = failure(lambda: inference.Predictions(request(data=b"x" * 8_000_001)))
    assert code == grpc.StatusCode.CANCELLED
    assert inference.Predictions(request(data=b"next")).prediction == b"next"


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests(inference, compression):
    assert inference.Predictions(request(data=b"z" * 100000), compression=compression).prediction == b"z" * 100000


def test_a_compressed_message_that_grows_too_large(inference):
    code, _ = failure(lambda: inference.Predictions(request(data=b"\0" * 9_000_000), compression=grpc.Compression.Gzip))
    assert code == grpc.StatusCode.CANCELLED
    assert inference.Predictions(request(data=b"next")).prediction == b"next"


def test_many_calls_at_once_on_one_connection(inference):
    with futures.ThreadPoolExecutor(16) as pool:
        wanted = [b"%d" % i for i in range(400)]
        assert list(pool.map(lambda b: inference.Predictions(request(data=b)).prediction, wanted)) == wanted


def test_a_request_whose_deadline_passes_in_the_queue_is_not_computed(server, inference, tmp_path):
    note = tmp_path / "note"
    slow = [inference.Predictions.future(request("steps", sleep=b"2")) for _ in range(2)]  # computed, and taken ahead
    time.sleep(0.2)
    late = [inference.Predictions.future(request("steps", note=str(note).encode()), timeout=0.5) for _ in range(3)]
    assert [f.code() for f in late] == [grpc.StatusCode.DEADLINE_EXCEEDED] * 3
    assert [f.result(30).prediction for f in slow] == [b"none"] * 2
    assert inference.Predictions(request("steps", data=b"after")).prediction == b"after"
    assert not note.exists()


def test_a_call_that_is_cancelled_is_not_computed(server, inference, tmp_path):
    note = tmp_path / "note"
    slow = [inference.Predictions.future(request("steps", sleep=b"1")) for _ in range(2)]  # computed, and taken ahead
    time.sleep(0.2)
    waiting = inference.Predictions.future(request("steps", note=str(note).encode()))
    time.sleep(0.2)
    waiting.cancel()
    assert [f.result(30).prediction for f in slow] == [b"none"] * 2
    assert inference.Predictions(request("steps", data=b"after")).prediction == b"after"
    assert not note.exists()


def test_bad_frames(server, channel):
    path = f"/{rpc.SERVICES['inference']}/Predictions"
    many = channel.stream_unary(path, request_serializer=bytes, response_deserializer=bytes)
    assert failure(lambda: many(iter([]))) == (grpc.StatusCode.INTERNAL, "Half-closed without a request")
    one = request(data=b"a").SerializeToString()
    assert failure(lambda: many(iter([one, one]))) == (grpc.StatusCode.INTERNAL, "Too many requests")
    unary = channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    for junk in (b"\xff" * 100, b"\x1a\xff\xff\xff\xff\x0f", b"\x0a\x7f", b"\x08\x01\x08"):
        assert failure(lambda: unary(junk))[0] in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
    assert unary(one)


def test_a_message_of_many_tiny_inputs_is_refused(channel):
    unary = channel.unary_unary(f"/{rpc.SERVICES['inference']}/Predictions", request_serializer=bytes, response_deserializer=bytes)
    assert failure(lambda: unary(b"\x0a\x04echo" + b"\x1a\x00" * 2_000_000))[0] == grpc.StatusCode.UNKNOWN
    many = b"\x0a\x05steps" + b"\x1a\x00" * 2000
    assert failure(lambda: unary(many)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "2000 inputs: at most 1024 are allowed\norg.pytorch.serve.http.BadRequestException")


def test_health(server, channel):
    stub = health_pb2_grpc.HealthStub(channel)
    check = lambda name: stub.Check(health_pb2.HealthCheckRequest(service=name)).status  # noqa: E731
    serving = health_pb2.HealthCheckResponse.SERVING
    assert [check(n) for n in ("", "echo", "steps", rpc.SERVICES["inference"])] == [serving] * 4
    assert failure(lambda: check("absent"))[0] == grpc.StatusCode.NOT_FOUND


def test_watching_the_health_of_a_model(server, channel):
    seen, stub = [], health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="watched"))

    def collect():
        try:
            for r in watch:
                seen.append(r.status)
        except grpc.RpcError as e:
            seen.append(e.code())

    thread = threading.Thread(target=collect)
    thread.start()
    unknown, serving = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN, health_pb2.HealthCheckResponse.SERVING
    wait_for(lambda: seen == [unknown], 20, "the first status")
    assert server.post("/models?url=identity&model_name=watched&initial_workers=1&synchronous=true", api="management").ok
    wait_for(lambda: seen[-1:] == [serving], 20, "it to be served")
    assert server.delete("/models/watched").ok
    wait_for(lambda: seen[-1:] == [unknown], 20, "it to be gone")
    watch.cancel()
    thread.join(20)
    assert seen[-1] == grpc.StatusCode.CANCELLED


def test_reflection_tells_all_that_is_served(server):
    for name, own in (("grpc_inference", "inference"), ("grpc_management", "management")):
        with rpc.channel(server.ports[name]) as c:
            database = ProtoReflectionDescriptorDatabase(c)
            services = set(database.get_services())
            assert {rpc.SERVICES[own], "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"} <= services
            pool = DescriptorPool(database)
            for service in services:  # a walk as grpcurl makes it: every method's messages
                for method in pool.FindServiceByName(service).methods:
                    assert method.input_type.full_name and method.output_type.full_name
            if own == "inference":
                fields = pool.FindMessageTypeByName("org.pytorch.serve.grpc.inference.PredictionsRequest").fields_by_name
                assert {n: f.number for n, f in fields.items()} == {"model_name": 1, "model_version": 2, "input": 3, "sequence_id": 4}
            with pytest.raises(KeyError):
                pool.FindMessageTypeByName("absent.Message")


def test_what_is_not_grpc_is_refused(server):
    port = server.ports["grpc_inference"]
    with harness.Wire(("127.0.0.1", port)) as w:
        w.send("GET /ping HTTP/1.1\r\nHost: h\r\n\r\n")
        while w.more():
            pass
        assert b"200" not in w.buffer.split(b"\r\n")[0]


def test_clients_that_leave_in_mid_stream_leave_nothing(server):
    fds = server.fds("frontend")
    for _ in range(5):
        with rpc.channel(server.ports["grpc_inference"]) as c:
            stub = rpc.stub("inference", c)
            calls = [stub.Predictions.future(request("steps", sleep=b"0.05")) for _ in range(3)]
            stub.StreamPredictions2(iter([]))
        assert len(calls) == 3
    wait_for(lambda: server.fds("frontend") <= fds, 20, "its descriptors given back")
    with rpc.channel(server.ports["grpc_inference"]) as c:
        assert rpc.stub("inference", c).Predictions(request("steps", data=b"well"), timeout=20).prediction == b"well"


def test_connections_are_closed_at_their_age(serve):
    server = serve(models={"echo": "identity"}, config={"grpc_inference_max_connection_age_ms": 300,
                                                        "grpc_inference_max_connection_age_grace_ms": 300})
    with rpc.channel(server.ports["grpc_inference"]) as c:
        stub, end = rpc.stub("inference", c), time.monotonic() + 1.5
        while time.monotonic() < end:  # clients connect anew and lose no call
            assert stub.Predictions(request(data=b"a"), wait_for_ready=True, timeout=20).prediction == b"a"
            time.sleep(0.05)


def test_ports_can_be_switched_off(serve):
    server = serve(models={"echo": "identity"}, config=harness.NO_GRPC)
    assert "gRPC" not in server.logs()["ts_log.log"]

"""Token authorization over gRPC. What is expected was asked of TorchServe 0.12 itself: the codes, the texts, and that the last
of several `authorization` fields counts (over REST it is the first). Health and reflection are ours."""
import time

import grpc
import harness
import pytest
import rpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from test_auth import REFUSED, start

DENIED = ("PERMISSION_DENIED", REFUSED)
DISABLED = ("PERMISSION_DENIED", "Model API disabled\norg.pytorch.serve.archive.model.ModelException")
STANDARD = "inference.GRPCInferenceService"
# Every method of every service that has a key, and what it says to an empty message from somebody who has it.
METHODS = {
    "inference": [
        (rpc.SERVICES["inference"], [("Ping", "OK"), ("Predictions", "INTERNAL"), ("StreamPredictions", "INTERNAL"),
                                     ("StreamPredictions2", "OK")]),
        (rpc.SERVICES["oip"], [("ServerLive", "OK"), ("ServerReady", "OK"), ("ModelReady", "INTERNAL"), ("ServerMetadata", "UNIMPLEMENTED"),
                               ("ModelMetadata", "INTERNAL"), ("ModelInfer", "INTERNAL")]),
        (STANDARD, [("ServerLive", "OK"), ("ServerReady", "OK"), ("ModelReady", None), ("ServerMetadata", "OK"),
                    ("ModelMetadata", None), ("ModelInfer", None), ("RepositoryIndex", "OK")])],
    "management": [
        (rpc.SERVICES["management"], [("DescribeModel", "NOT_FOUND"), ("ListModels", "OK"), ("RegisterModel", "PERMISSION_DENIED"),
                                      ("ScaleWorker", "UNKNOWN"), ("SetDefault", "NOT_FOUND"), ("UnregisterModel", "PERMISSION_DENIED")])],
}
CALLS = [(kind, f"/{service}/{method}", code) for kind, services in METHODS.items() for service, methods in services
         for method, code in methods]


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    s = start(build, tmp_path_factory.mktemp("grpc-auth"), {"ts_open_inference_protocol": "true"}, models={"echo": "identity"}).start()
    yield s
    harness.stop_all([s])


def bearer(key):
    return [("authorization", f"Bearer {key}")]


def ask(server, kind, path, metadata=(), body=b""):
    """A code and a text; a reply's text."""
    stream = path.endswith("StreamPredictions2")
    with rpc.channel(server.ports[f"grpc_{kind}"]) as c:
        try:
            call = (c.stream_stream if stream else c.unary_stream)(path)
            replies = list(call(iter([body]) if stream else body, metadata=metadata, timeout=30))
            return "OK", replies
        except grpc.RpcError as e:
            return e.code().name, e.details()


PING = f"/{rpc.SERVICES['inference']}/Ping"
LIST = f"/{rpc.SERVICES['management']}/ListModels"


@pytest.mark.parametrize("kind,path,code", CALLS, ids=lambda v: str(v).rpartition("/")[2])
def test_every_method_needs_its_ports_key(server, kind, path, code):
    keys = server.keys()
    for name, key in [("nothing", None), ("wrong", "x" * 8), *keys.items()]:
        got = ask(server, kind, path, bearer(key) if key else ())
        if name != kind:
            assert got == DENIED, name
        else:
            assert got != DENIED
            assert code is None or got[0] == code, got


def test_what_is_not_there_is_told_without_a_key(server):
    for kind, path in [("inference", PING + "x"), ("inference", "/a.B/c"), ("inference", LIST), ("management", PING)]:
        assert ask(server, kind, path) == ("UNIMPLEMENTED", f"Method not found: {path[1:]}")


@pytest.mark.parametrize("value,good", [
    ("Bearer {}", True), ("Bearer  {}", True), ("bearer {}", False), ("BEARER {}", False), ("Bearer{}", False), ("Bearer {} x", False),
    ("{}", False), ("", False), ("Basic {}", False), ("Bearer {}x", False), ("Bearer {},Bearer {}", False),
])
def test_forms_of_the_field(server, value, good):
    got = ask(server, "inference", PING, [("authorization", value.replace("{}", server.keys()["inference"]))])
    assert got[0] == "OK" if good else got == DENIED
    assert ask(server, "inference", PING, [("authorization", "Bearer ")])[0] != "OK", "a blank at the end is no HTTP/2"


def test_the_last_of_two_fields_counts(server):
    good, bad = bearer(server.keys()["inference"]), bearer("x")
    assert ask(server, "inference", PING, good + bad) == DENIED
    assert ask(server, "inference", PING, bad + good)[0] == "OK"


def test_the_key_is_looked_at_before_all_else(server):
    predict = f"/{rpc.SERVICES['inference']}/Predictions"
    register = f"/{rpc.SERVICES['management']}/RegisterModel"
    for kind, path, metadata, body in [
            ("inference", predict, (), b"\xff\xff"), ("inference", predict, (), b"x" * 20_000_000),
            ("inference", predict, [("grpc-encoding", "snappy")], b""), ("management", register, (), b""),
            ("management", register, bearer(server.keys()["inference"]), b"")]:
        assert ask(server, kind, path, metadata, body) == DENIED
    assert ask(server, "management", register, bearer(server.keys()["management"])) == DISABLED


def test_one_port_for_both_takes_each_services_key(build, tmp_path, request):
    port = harness.free_ports(1)[0]
    both = {"grpc_inference_port": port, "grpc_management_port": port}
    server = start(build, tmp_path / "server", both, models={"echo": "identity"})
    server.ports.update(grpc_inference=port, grpc_management=port)
    request.addfinalizer(lambda: harness.stop_all([server]))
    keys = server.start().keys()
    for kind, path in [("inference", PING), ("management", LIST)]:
        for name in keys:
            assert (ask(server, kind, path, bearer(keys[name]))[0] == "OK") is (name == kind), (path, name)


def test_health_and_reflection(server):
    for kind in ("inference", "management"):
        with rpc.channel(server.ports[f"grpc_{kind}"]) as c:
            stub, keys = health_pb2_grpc.HealthStub(c), server.keys()

            def check(service, key=None):
                try:
                    request = health_pb2.HealthCheckRequest(service=service)
                    return stub.Check(request, metadata=bearer(key) if key else (), timeout=30).status
                except grpc.RpcError as e:
                    return e.code().name, e.details()
            assert check("") == health_pb2.HealthCheckResponse.SERVING, "a probe has no key"
            for name in ("echo", "absent", "grpc.health.v1.Health"):
                assert check(name) == DENIED, "who asks for a name learns whether there is one"
                assert check(name, keys["API"]) == DENIED
            assert check("grpc.health.v1.Health", keys[kind]) == health_pb2.HealthCheckResponse.SERVING
            assert check("absent", keys[kind])[0] == "NOT_FOUND"
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="echo"), timeout=30)
            with pytest.raises(grpc.RpcError) as e:
                next(watch)
            assert (e.value.code().name, e.value.details()) == DENIED
            assert rpc.SERVICES[kind] in ProtoReflectionDescriptorDatabase(c).get_services()


def test_keys_that_expire_and_are_renewed(build, tmp_path, request):
    server = start(build, tmp_path / "server", {"token_expiration_min": "0.05"}, models={"echo": "identity"})
    request.addfinalizer(lambda: harness.stop_all([server]))
    server.start()
    old = server.keys()
    harness.wait_for(lambda: ask(server, "inference", PING, bearer(old["inference"])) == DENIED, 30, "the key to expire")
    harness.wait_for(lambda: ask(server, "management", LIST, bearer(old["management"])) == DENIED, 30, "the other key to expire")
    for kind, path in [("inference", PING), ("management", LIST)]:
        assert server.renew(kind).status_code == 200
        began = time.monotonic()
        got = ask(server, kind, path, bearer(server.keys()[kind]))
        assert got[0] == "OK" or time.monotonic() - began > 1.5, got  # unless the machine slept its life away
        assert ask(server, kind, path, bearer(old[kind])) == DENIED
        assert ask(server, kind, path, bearer(old["API"])) == DENIED


def test_a_stream_that_began_with_a_good_key_goes_on(build, tmp_path, request):
    """TorchServe looks at the key when a call begins."""
    server = start(build, tmp_path / "server", models={"echo": "identity"})
    request.addfinalizer(lambda: harness.stop_all([server]))
    server.start()
    with rpc.channel(server.ports["grpc_inference"]) as c:
        watch = health_pb2_grpc.HealthStub(c).Watch(health_pb2.HealthCheckRequest(service="echo"), timeout=60,
                                                    metadata=bearer(server.keys()["inference"]))
        while next(watch).status != health_pb2.HealthCheckResponse.SERVING:
            pass  # its worker loads
        assert server.renew("inference").status_code == 200
        assert server.put("/models/echo?min_worker=0").status_code in (200, 202)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


def test_without_tokens_nobody_needs_one(serve):
    server = serve(models={"echo": "identity"}, config={"disable_token_authorization": "true"})
    assert ask(server, "inference", PING)[0] == "OK"
    assert ask(server, "management", LIST, bearer("any"))[0] == "OK"

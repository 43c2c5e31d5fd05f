"""gRPC for tests: stubs that grpcio-tools makes of proto/ now, raw calls, and calls as data.

    inference = rpc.module("inference")               # the messages
    stub = rpc.stub("inference", channel)             # the service's methods
    rpc.ask(channel, {"grpc": "inference/Predictions", "message": {"model_name": "m"}}) -> a note of what came
"""
import functools
import importlib
import sys
import tempfile

import grpc
from grpc_tools import protoc
from harness import ROOT

# Those of which clients have no packages. The standard package `inference` is tritonclient's.
FILES = {"inference": "inference.proto", "management": "management.proto", "oip": "open_inference_grpc.proto"}
SERVICES = {"inference": "org.pytorch.serve.grpc.inference.InferenceAPIsService",
            "management": "org.pytorch.serve.grpc.management.ManagementAPIsService",
            "oip": "org.pytorch.serve.grpc.openinference.GRPCInferenceService"}
PORTS = {"inference": "grpc_inference", "management": "grpc_management", "oip": "grpc_inference"}
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@functools.cache
def generated():
    folder = tempfile.mkdtemp(prefix="stubs-")
    names = [*FILES.values(), "google/rpc/status.proto", "google/rpc/error_details.proto"]
    code = protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}", *names])
    assert code == 0, "grpcio-tools cannot read proto/"
    sys.path.insert(0, folder)
    return folder


def module(name, kind="pb2"):
    generated()
    return importlib.import_module(f"{FILES[name].removesuffix('.proto')}_{kind}")


def stub(name, channel):
    return getattr(module(name, "pb2_grpc"), SERVICES[name].rpartition(".")[2] + "Stub")(channel)


def channel(port, **more):
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED, **more)


def method(name, called):
    """(descriptor of a method, its full path)"""
    service = module(name).DESCRIPTOR.services_by_name[SERVICES[name].rpartition(".")[2]]
    return service.methods_by_name[called], f"/{SERVICES[name]}/{called}"


def message_class(descriptor):
    from google.protobuf import message_factory
    return message_factory.GetMessageClass(descriptor)


# ---- calls as data ----


def text(data):
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.hex()


def note_of(message):
    """A reply as plain data: texts as they are, bytes as text, or as hexadecimal digits."""
    out = {}
    for field, value in message.ListFields():
        if field.message_type and field.message_type.GetOptions().map_entry:
            out[field.name] = {k: note_of(v) if hasattr(v, "ListFields") else v for k, v in value.items()}
        elif field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED:
            out[field.name] = [note_value(v) for v in value]
        else:
            out[field.name] = note_value(value)
    return out


def note_value(value):
    if hasattr(value, "ListFields"):
        return note_of(value)
    return text(value) if isinstance(value, bytes) else value


def ask(server, step):
    """What a call brought: {"code", "details", "replies"}. A step has `grpc` ("service/Method", or a whole path with `raw`),
    `message` or `messages` (fields), `raw` (bytes of the request in place of a message), `metadata`, `deadline`, `port`."""
    name, _, called = step["grpc"].rpartition("/") if "raw_path" not in step else (step["grpc"], "", "")
    port = server.ports[step.get("port", PORTS.get(name, "grpc_inference"))]
    options = dict(timeout=step.get("deadline", 30), metadata=step.get("metadata"))
    if "compression" in step:
        options["compression"] = getattr(grpc.Compression, step["compression"])
    with channel(port) as c:
        if "raw_path" in step:
            path, many_in, many_out, request, reply = step["raw_path"], False, False, bytes, bytes
            sent = [step.get("raw", b"")]
        else:
            of, path = method(name, called)
            many_in, many_out = of.client_streaming, of.server_streaming
            cls, reply = message_class(of.input_type), message_class(of.output_type).FromString
            sent = [step["raw"]] if "raw" in step else [cls(**m).SerializeToString() for m in
                                                        step.get("messages", [step.get("message", {})])]
            request = bytes
        kind = f"{'stream' if many_in else 'unary'}_{'stream' if many_out else 'unary'}"
        call = getattr(c, kind)(path, request_serializer=request, response_deserializer=reply)
        replies = []
        try:
            if many_in:
                got = call(paced(sent, replies, step.get("lockstep")), **options)
            else:
                got = call(sent[0], **options)
            for one in got if many_out else [got]:
                replies.append(one)
            code, details = "OK", ""
        except grpc.RpcError as e:
            code, details = e.code().name, e.details()
        said = [note_of(r) if hasattr(r, "ListFields") else text(r) for r in replies]
        return {"code": code, "details": server.plain(details or ""), "replies": plain(server, said)}


def paced(sent, replies, lockstep):
    """Requests of a stream; in lockstep each but the first waits for the reply to the one before, and the end for all."""
    import time
    for i, one in enumerate(sent):
        yield one
        end = time.monotonic() + 20
        while lockstep and len(replies) <= i and time.monotonic() < end:
            time.sleep(0.01)


def plain(server, value):
    if isinstance(value, dict):
        return {k: plain(server, v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(server, v) for v in value]
    return server.plain(value) if isinstance(value, str) else value

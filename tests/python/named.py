#!/usr/bin/env python3
"""Expressions about single names of the `ts` package, and what each comes to; TorchServe's answers are recorded.

usage: named.py >data/torchserve_names.json      in an environment with torchserve==0.12.0 and torch
"""
import io
import json
import logging
import os
import re
import struct
import sys
import tempfile


def i(number):
    return struct.pack("!i", number)


def s(value):
    value = value if isinstance(value, bytes) else value.encode()
    return i(len(value)) + value


class Conn:
    """A connection that gives what it was made of, a few bytes at a time."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def recv(self, length):
        return self.data.read(min(length, 3))


def context(count=1, **headers):
    from ts.context import Context, RequestProcessor

    made = Context("m", "/d", None, 1, None, "0.12.0")
    made.request_processor = [RequestProcessor(dict(headers)) for _ in range(count)]
    return made


LOAD = b"L" + s("m") + s("/d") + i(8) + s("h.py") + i(3) + s("json") + b"\0"
LOAD_CPU = b"L" + s("m") + s("/d") + i(1) + s("h.py") + i(-1) + s("") + b"\1"
INFER = (b"I" + s("id1") + s("h") + s("v") + i(-1) + s("body") + s("application/json") + i(2) + b"{}" + s("t") + s("text/plain")
         + s("\u00fc") + i(-1) + s("id2") + i(-1) + s("data") + s("") + s(b"\xff") + i(-1) + i(-1))

OTF = """
retrieve_msg(Conn(LOAD))
retrieve_msg(Conn(LOAD_CPU))
retrieve_msg(Conn(INFER))
retrieve_msg(Conn(b"I" + i(-1)))
retrieve_msg(Conn(b"X"))
retrieve_msg(Conn(b""))
retrieve_msg(Conn(INFER[:20]))
retrieve_msg(Conn(INFER[:-4]))
(LOAD_MSG, PREDICT_MSG, END_OF_LIST, int_size, bool_size)
create_load_model_response(200, "loaded model m")
create_load_model_response(507, "gr\u00fc\u00df")
encode_response_headers({})
encode_response_headers({"a": "b", "c": "\u00fc"})
create_predict_response(["OK"], {0: "request_id"}, "success", 200)
create_predict_response([b"a", bytearray(b"b"), {"k": [1]}, 2.5, None], dict(enumerate("abcde")), "m", 200)
create_predict_response(["a", "b", "c", "d"], {3: "i3"}, "m", 200)
create_predict_response(["a"], {0: "i"}, "m", 200, context())
create_predict_response(["a"], {0: "i"}, "m", 200, context(), True)
create_predict_response(None, {0: "i", 1: "j"}, "Prediction failed", 503)
create_predict_response(None, {0: "i"}, "gone", 404, context())
create_predict_response([{1, 2}], {0: "i"}, "m", 200, context())
create_predict_response([object()], {0: "i"}, "m", 200)
create_predict_response(["a"], {1: "i"}, "m", 200)
said(["a", "b"], lambda c: (c.set_response_status(404, "Gone", 0), c.set_response_content_type(1, "text/csv"), c.set_response_header(0, "X", "1")))
said(["a", "b"], lambda c: setattr(c, "stopping_criteria", [lambda r: True, lambda r: False]))
said(["a", "b"], lambda c: setattr(c, "stopping_criteria", {0: lambda r: None, 1: lambda r: r == "b"}))
said(["a", "b"], lambda c: c.set_response_header(0, "ts_stream_next", "true"))
said(["a", "b"], lambda c: (c.set_response_header(0, "ts_stream_next", "true"), setattr(c, "stopping_criteria", [lambda r: False] * 2)))
parts(["a"], {0: "i"})
parts([{"k": 1}, "b"], {1: "j"})
""".strip().split("\n")

SERVICE = """
[getattr(x, "get_request_properties", dict)() for x in Service.retrieve_data_for_inference(retrieve_msg(Conn(INFER))[1])[0]]
Service.retrieve_data_for_inference(retrieve_msg(Conn(INFER))[1])[1:]
Service.retrieve_data_for_inference([])
Service.retrieve_data_for_inference(None)
""".strip().split("\n")

ARGUMENTS = """
vars(ArgParser.ts_parser().parse_args([]))
vars(ArgParser.ts_parser().parse_args("--start --foreground --ts-config c --models a b=c --ncs --dt --enable-model-api --ppath p".split()))
vars(ArgParser.extract_args("--stop --log-config l --workflow-store w --model-store s --cpp-log-config x".split()))
vars(ArgParser.extract_args(["-v"]))
ArgParser.ts_parser().parse_args(["--start", "--stop"])
ArgParser.ts_parser().parse_args(["--models"])
vars(ArgParser.model_service_worker_args().parse_args(["--sock-type", "unix", "--sock-name", "n", "--async"]))
vars(ArgParser.model_service_worker_args().parse_args(["--sock-type", "tcp", "--host", "h", "--port", "9"]))
ArgParser.model_service_worker_args().parse_args([])
ArgParser.model_service_worker_args().parse_args(["--sock-type", "x"])
""".strip().split("\n")

SIGNATURE = '{"input_type": "%s", "inputs": [{"data_name": "%s"}]}'
SERVICES = """
old("application/json", "data", [{"data": {"k": 1}}])
old("application/json", "data", [{"body": b'{"x": 1}'}])
old("application/json", "data", [{"data": b"x"}])
old("application/json", "x", [{"body": bytearray(b"[1]"), "x": "q"}])
old("image/jpeg", "body", [{"data": b"1", "body": bytearray(b"2")}, {"data": b"3"}])
old("image/jpeg", "x", [{}])
old("image/jpeg", "x", [])
""".strip().split("\n")

LAUNCHERS = """
config("vllm", None)
config("vllm", 4)
config("trt_llm", None)
launched()
launched(model_store="/s", snapshot_file="/f", no_config_snapshots=True, plugin_folder="/p", disable_token=True, models="a.mar", enable_model_api=True)
launched(model_store="/s", models="all")
posted(lambda l: l.register_model("name", "http://x/y z.mar"))
posted(lambda l: l.register_model_with_params({"a": "b c", "d": [1, 2]}))
fetched("a/b", "r", "out")
fetched()
properties("a=b=c\\n# x\\nd = 1\\n")
workers({})
workers({"s_type": "unix"})
workers({"s_type": "tcp"})
workers({"s_type": "x", "port_num": 1})
""".strip().split("\n")

ERRORS = """
[(type(e).__name__, [b.__name__ for b in type(e).__bases__], str(e)) for e in (getattr(errors, n)("t") for n in NAMES)]
""".strip().split("\n")

CASES = {"otf": OTF, "service": SERVICE, "arguments": ARGUMENTS, "services": SERVICES, "launchers": LAUNCHERS, "errors": ERRORS}


def said(results, prepare):
    from ts.protocol.otf_message_handler import create_predict_response

    made = context(len(results))
    prepare(made)
    return create_predict_response(results, {n: "i%d" % n for n in range(len(results))}, "m", 200, made)


def parts(results, ids):
    """What goes over the wire for a part of a stream."""
    from ts.handler_utils.utils import send_intermediate_predict_response

    try:
        from ts.protocol.otf_service import Connection
    except ImportError:
        Connection = None
    sent = []
    made = context(2)
    made.cl_socket = type("Socket", (), {"sendall": staticmethod(sent.append), "send": staticmethod(sent.append)})()
    if Connection:
        made.cl_socket = Connection(made.cl_socket)
    send_intermediate_predict_response(results, ids, "part", 200, made)
    return sent


def old(kind, name, rows):
    from ts.context import Context
    from ts.model_service.model_service import SingleNodeService

    class Service(SingleNodeService):
        def _inference(self, data):
            return ["inferred", data]

    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "s.json"), "w", encoding="utf-8") as file:
            file.write(SIGNATURE % (kind, name))
        manifest = {"Model": {"Signature": "s.json"}}
        service = Service("m", folder, manifest)
        made = Context("m", folder, manifest, 1, None, "0.12.0")
        service.initialize(made)
        return service.signature()["input_type"], service.ping(), service.handle(rows, made)


def config(engine, length):
    import argparse

    from ts import llm_launcher

    options = {"vllm_engine.max_num_seqs": 256, "vllm_engine.max_model_len": length, "vllm_engine.download_dir": "/d",
               "trt_llm_engine.kv_cache_free_gpu_memory_fraction": 0.1, "trt_llm_engine.max_batch_size": 4}
    return llm_launcher.get_model_config(argparse.Namespace(
        model_name="n", model_id="a/b", engine=engine, startup_timeout=9, dtype="bfloat16", model_store="s", **options), "/snap")


def launched(**options):
    """The command line that starts the server. Without a server: a program of that name tells what it was called with."""
    from ts import launcher

    commands = []

    class Popen:
        def __init__(self, command, **_):
            commands.append(["STORE" if word is None or "model_store-" in word else word for word in command])
            self.stdout = io.BytesIO(b"a\nModel server started.\nb\n")

    kept, launcher.Popen = launcher.Popen, Popen
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "torchserve")
        with open(program, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\nexit 0\n")
        os.chmod(program, 0o755)
        os.environ["PATH"] = folder + os.pathsep + path
        try:
            result = type(launcher.start(**options)).__name__
        finally:
            os.environ["PATH"] = path
            launcher.Popen = kept
    return commands, result


def posted(call):
    """The request that registers a model."""
    import requests
    from ts import launcher

    seen = []

    def send(self, request, **_):
        seen.append([request.method, request.url.replace("127.0.0.1", "localhost"), request.body])
        return "response"

    kept, requests.Session.send = requests.Session.send, send
    try:
        return call(launcher), seen
    finally:
        requests.Session.send = kept


def fetched(*arguments):
    from ts.utils import hf_utils

    kept, hf_utils.snapshot_download = hf_utils.snapshot_download, lambda **options: dict(options)
    try:
        options = hf_utils.download_model(*arguments)
        options["token"] = options.pop("use_auth_token", options.get("token"))
        return sorted(options.items())
    finally:
        hf_utils.snapshot_download = kept


def properties(text):
    from ts.model_server import load_properties

    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "p")
        with open(file, "w", encoding="utf-8") as out:
            out.write(text)
        return load_properties(file)


def workers(options):
    from ts.model_service_worker import TorchModelServiceWorker

    return TorchModelServiceWorker(**options)


NAMES = ["GeneralMetricsCacheError", "MetricsCacheIOError", "MetricsCachePyYamlError", "MetricsCacheTypeError",
         "MetricsCacheValueError", "MetricsCacheKeyError"]


def outcome(expression):
    """repr of the value, or the exception."""
    from ts.arg_parser import ArgParser
    from ts.metrics import metric_cache_errors as errors
    from ts.protocol import otf_message_handler
    from ts.service import Service

    names = dict(globals(), ArgParser=ArgParser, errors=errors, Service=Service)
    names.update((name, value) for name, value in vars(otf_message_handler).items() if not name.startswith("_"))
    quiet, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), io.StringIO(), io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        return repr(eval(expression, names))
    except SystemExit as end:
        return "exit %s" % end.code
    except Exception as error:
        return re.sub("0x[0-9a-f]+", "0x", "%s: %s" % (type(error).__name__, error))
    finally:
        sys.stdout, sys.stderr = quiet
        logging.disable(logging.NOTSET)


def main():
    json.dump({expression: outcome(expression) for group in CASES.values() for expression in group}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()

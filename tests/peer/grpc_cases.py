"""Suites over gRPC: predictions, streams, sequences, models, the open inference protocol. Data for play.py; tests/e2e/rpc.py
says what a call may say."""
import json

import archives as ar

MODELS = {"rpc.mar": ar.mar("rpc", yaml=ar.ONE_WORKER + "responseTimeout: 5\n"),
          "seq.mar": ar.mar("rpc", yaml=ar.ONE_WORKER + "batchSize: 1\nmaxBatchDelay: 10\nsequenceBatching: true\n"
                                                        "sequenceMaxIdleMSec: 10000\nmaxNumSequence: 2\n"),
          "idle.mar": ar.mar("rpc")}


def call(case, method, message=None, lines=(), **more):
    step = {"case": case, "grpc": method, "lines": list(lines), **more}
    if message is not None:
        step["message"] = message
    return step


def predict(case, do=None, what=None, model="rpc", version="", method="Predictions", row=None, **more):
    row = {**({"do": do.encode()} if do else {}), **({"with": what.encode()} if what is not None else {}), **(row or {})}
    return call(case, f"inference/{method}", {"model_name": model, "model_version": version, "input": row}, **more)


def stream(case, do=None, what=None, **more):
    return predict(case, do, what, method="StreamPredictions", **more)


def turn(sequence, do=None, what=None, model="seq", version="", row=None):
    row = {**({"do": do.encode()} if do else {}), **({"with": what.encode()} if what is not None else {}), **(row or {})}
    return {"model_name": model, "model_version": version, "sequence_id": sequence, "input": row}


def turns(case, *messages, **more):
    """Requests of one stream, each sent when the one before was answered."""
    return call(case, "inference/StreamPredictions2", messages=list(messages), lockstep=True, **more)


def raw(case, path, **more):
    return {"case": case, "grpc": "raw", "raw_path": path, **more}


IDLE = call("register a model without workers", "management/RegisterModel", {"url": "idle.mar"})
PING = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
GRPC = [
    IDLE,
    call("ping", "inference/Ping", lines=[("access_log.log", "Ping")]),
    predict("rows", row={"data": b"x"}, lines=[("access_log.log", "Predictions")]),
    predict("several inputs", row={"a": b"1", "b": bytes(range(256)), "c": b""}),
    predict("no input"),
    predict("a version", version="1.0"),
    predict("json stays bytes", row={"body": b'{"a": 1}'}),
    predict("text", "python", "'grüße'"),
    predict("bytes", "python", "b'\\x00\\xff'"),
    predict("dict", "python", "{'a': [1, None]}"),
    predict("none", "python", "None"),
    predict("empty", "python", "''"),
    predict("large", "python", "str(len(row['data']))", row={"data": b"x" * 3_000_000}),
    predict("large answer", "python", "'y' * 5000000"),
    predict("status and headers are dropped", "status", "404"),
    predict("no name", model=""),
    predict("unknown model", model="absent", lines=[("access_log.log", "Predictions")]),
    predict("unknown version", version="9.9"),
    predict("no worker", model="idle"),
    predict("no worker, a version", model="idle", version="1.0"),
    predict("exception", "raise", "ValueError('x')"),
    predict("out of memory", "raise", "MemoryError()"),
    *(predict(f"refused with {code}", "refuse", json.dumps(["Said so", code]))
      for code in (400, 401, 403, 404, 405, 409, 413, 416, 429, 499, 500, 501, 503, 504, 507, 599)),
    predict("refused without a word", "refuse", json.dumps([""])),
    predict("unserialisable", "python", "{1}"),
    predict("dies", "exit"),
    predict("afterwards", "python", "'well'", tries=40, until="OK", deadline=5),
    predict("deadline", "sleep", "2", deadline=0.5),
    predict("gzip", "python", "'zipped'", compression="Gzip", row={"data": b"z" * 1000}),
    predict("metadata is not passed", metadata=[("x-one", "1"), ("x-two-bin", b"\x00")]),
    stream("stream", "stream", '["a", "b", "c"]'),
    stream("stream with empty parts", "stream", '["", "b", ""]'),
    stream("stream, unknown model", model="absent"),
    stream("stream, no name", model=""),
    stream("stream, no worker", model="idle"),
    stream("stream, exception", "raise", "ValueError('x')"),
    stream("stream, refused", "refuse", '["Said so", 400]'),
    stream("stream of one answer", "python", "'only'", model="other"),
    predict("a stream's first part", "stream", '["a", "b", "c"]'),
    raw("unknown method", "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Absent"),
    raw("unknown service", "/absent.Service/Ping"),
    raw("management at the inference port", "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels"),
    raw("open inference without the option", "/org.pytorch.serve.grpc.openinference.GRPCInferenceService/ServerLive"),
    call("malformed message", "inference/Predictions", raw=b"\xff\xff\xff\xff\xff"),
    call("cut message", "inference/Predictions", raw=b"\x0a\x05rp"),
    call("name that is no text", "inference/Predictions", raw=b"\x0a\x02\xff\xfe"),
    raw("unknown fields", PING, raw=b"\x0a\x05hello"),
]
# A worker of sequences takes a sequence for itself: the cases use few.
SEQUENCES = [
    IDLE,
    turns("two turns", turn("s", row={"data": b"1"}), turn("s", "python", "'second'")),
    turns("no id", turn("", row={"data": b"1"}), turn("s", "python", "'goes on'")),
    turns("unknown version", turn("s", version="9.9"), turn("s", "python", "'goes on'")),
    turns("no name", turn("s", model="")),
    turns("unknown model", turn("s", model="absent")),
    turns("a model without sequences, no worker", turn("s", model="idle")),
    turns("status is dropped", turn("s", "status", "404")),
]


def manage(case, method, message=None, **more):
    return call(case, f"management/{method}", message, **more)


GOOD = "good.mar"
MANAGEMENT = [
    manage("list, no limit", "ListModels", {}),
    manage("list, empty", "ListModels", {"limit": 10}, lines=[("access_log.log", "ListModels")]),
    manage("register without url", "RegisterModel", {}),
    manage("register what is not there", "RegisterModel", {"url": "absent.mar"}),
    manage("register with ..", "RegisterModel", {"url": "../x.mar"}),
    manage("register with bad runtime", "RegisterModel", {"url": GOOD, "runtime": "cobol"}),
    manage("register, url that nobody serves", "RegisterModel", {"url": "http://127.0.0.1:9/x.mar"}),
    manage("register, not unpackable", "RegisterModel", {"url": "not_gzip.tar.gz"}),
    manage("register, manifest that is no json", "RegisterModel", {"url": "manifest_not_json.mar"}),
    manage("register, no workers", "RegisterModel", {"url": GOOD}),
    manage("register again", "RegisterModel", {"url": GOOD}),
    manage("register under a name", "RegisterModel", {
        "url": GOOD, "model_name": "mine", "initial_workers": 1, "synchronous": True, "batch_size": 4, "max_batch_delay": 20,
        "response_timeout": 33, "startup_timeout": 44}),
    manage("describe what was asked for", "DescribeModel", {"model_name": "mine"}),
    manage("register what does not load", "RegisterModel",
           {"url": "import_error.mar", "initial_workers": 1, "synchronous": True}),
    manage("list", "ListModels", {"limit": 1}),
    manage("list, next page", "ListModels", {"limit": 1, "next_page_token": 1}),
    manage("list, negative", "ListModels", {"limit": -1, "next_page_token": -5}),
    manage("describe", "DescribeModel", {"model_name": "good"}),
    manage("describe a version", "DescribeModel", {"model_name": "good", "model_version": "1.0"}),
    manage("describe all", "DescribeModel", {"model_name": "good", "model_version": "all"}),
    manage("describe absent model", "DescribeModel", {"model_name": "absent"}),
    manage("describe absent version", "DescribeModel", {"model_name": "good", "model_version": "9"}),
    manage("describe no name", "DescribeModel", {}),
    manage("describe customized", "DescribeModel", {"model_name": "rpc", "customized": True}),
    manage("describe customized, no worker", "DescribeModel", {"model_name": "good", "customized": True}),
    manage("describe customized, absent model", "DescribeModel", {"model_name": "absent", "customized": True}),
    manage("describe customized, absent version", "DescribeModel",
           {"model_name": "good", "model_version": "9", "customized": True}),
    manage("scale", "ScaleWorker", {"model_name": "good", "min_worker": 1, "synchronous": True}),
    manage("scale a version", "ScaleWorker", {"model_name": "good", "model_version": "1.0", "min_worker": 1,
                                              "synchronous": True}),
    manage("scale, asynchronous", "ScaleWorker", {"model_name": "good", "min_worker": 1}),
    manage("scale to nothing", "ScaleWorker", {"model_name": "good", "synchronous": True}),
    manage("scale, max below min", "ScaleWorker", {"model_name": "good", "min_worker": 2, "max_worker": 1}),
    manage("scale absent model", "ScaleWorker", {"model_name": "absent", "min_worker": 1}),
    manage("scale absent version", "ScaleWorker", {"model_name": "good", "model_version": "9", "min_worker": 1}),
    manage("scale no name", "ScaleWorker", {"min_worker": 1}),
    predict("predict", model="mine", tries=60, until="OK"),
    manage("another version", "RegisterModel", {"url": "good2.mar", "model_name": "good"}),
    manage("set default", "SetDefault", {"model_name": "good", "model_version": "2.0"}),
    manage("set absent default", "SetDefault", {"model_name": "good", "model_version": "9"}),
    manage("set default of absent model", "SetDefault", {"model_name": "absent", "model_version": "1.0"}),
    manage("set default without version", "SetDefault", {"model_name": "good"}),
    manage("remove the default version", "UnregisterModel", {"model_name": "good", "model_version": "2.0"}),
    manage("remove a version", "UnregisterModel", {"model_name": "good", "model_version": "1.0"}),
    manage("remove absent version", "UnregisterModel", {"model_name": "good", "model_version": "1.0"}),
    manage("remove absent model", "UnregisterModel", {"model_name": "absent"}),
    manage("remove no name", "UnregisterModel", {}),
    manage("remove", "UnregisterModel", {"model_name": "good"}),
    raw("unknown method", "/org.pytorch.serve.grpc.management.ManagementAPIsService/Absent", port="grpc_management"),
    raw("inference at the management port", PING, port="grpc_management"),
]
NO_MODEL_API = [
    manage("register", "RegisterModel", {"url": GOOD}),
    manage("remove", "UnregisterModel", {"model_name": "good"}),
    manage("list", "ListModels", {"limit": 5}),
]
TOKENS = [
    call("no token", "inference/Ping"),
    call("inference token", "inference/Ping", token="inference"),
    call("management token for inference", "inference/Ping", token="management"),
    call("not Bearer", "inference/Ping", metadata=[("authorization", "Basic abc")]),
    manage("management, no token", "ListModels", {"limit": 5}),
    manage("management token", "ListModels", {"limit": 5}, token="management"),
    manage("inference token for management", "ListModels", {"limit": 5}, token="inference"),
    raw("unknown method", "/absent.Service/Ping"),
    predict("prediction, no token", model="good"),
]


def infer(case, id="", inputs=(), model="tensors", version="", fields=None, **more):
    message = {"model_name": model, "model_version": version, "id": id, "inputs": list(inputs), **(fields or {})}
    return call(case, "oip/ModelInfer", message, **more)


def tensor(name, datatype, shape, **contents):
    return {"name": name, "datatype": datatype, "shape": shape, "contents": contents}


ALL_TYPES = [tensor("b", "BOOL", [2], bool_contents=[True, False]), tensor("i8", "INT8", [2], int_contents=[-1, 2]),
             tensor("i16", "INT16", [1], int_contents=[-300]), tensor("i32", "INT32", [2, 1], int_contents=[7, -7]),
             tensor("i64", "INT64", [1], int64_contents=[-(1 << 40)]), tensor("u8", "UINT8", [1], uint_contents=[200]),
             tensor("u16", "UINT16", [1], uint_contents=[60000]), tensor("u32", "UINT32", [1], uint_contents=[70000]),
             tensor("u64", "UINT64", [1], uint64_contents=[1 << 40]), tensor("f32", "FP32", [2], fp32_contents=[0.5, -2]),
             tensor("f64", "FP64", [1], fp64_contents=[0.1])]
BARE = {"name": "x", "datatype": "FP32", "shape": [1]}
OPEN = [
    IDLE,
    call("live", "oip/ServerLive"),
    call("ready", "oip/ServerReady"),
    call("server metadata", "oip/ServerMetadata"),
    call("model ready", "oip/ModelReady", {"name": "tensors"}),
    call("model ready, version", "oip/ModelReady", {"name": "tensors", "version": "1.0"}),
    call("model ready, no worker", "oip/ModelReady", {"name": "idle"}),
    call("model ready, no name", "oip/ModelReady", {}),
    call("model ready, absent", "oip/ModelReady", {"name": "absent"}),
    call("model ready, absent version", "oip/ModelReady", {"name": "tensors", "version": "9"}),
    call("model metadata", "oip/ModelMetadata", {"name": "tensors"}),
    call("model metadata, version", "oip/ModelMetadata", {"name": "tensors", "version": "1.0"}),
    call("model metadata, no name", "oip/ModelMetadata", {}),
    call("model metadata, absent", "oip/ModelMetadata", {"name": "absent"}),
    call("model metadata, absent version", "oip/ModelMetadata", {"name": "tensors", "version": "9"}),
    infer("what the handler sees", "see", ALL_TYPES),
    infer("no id", "", ALL_TYPES[:1]),
    infer("all types", "1", ALL_TYPES),
    infer("bytes in", "see", [tensor("t", "BYTES", [2], bytes_contents=[b"abc", b"\x00\xff"])]),
    infer("bytes out", "2", [tensor("t", "BYTES", [1], bytes_contents=[b"abc"])]),
    infer("texts out", json.dumps({"id": "t", "model_name": "m", "model_version": "1", "outputs": [
        {"name": "o", "datatype": "BYTES", "shape": [6], "data": ["grüße", "a\"b\\c\n\u2028</", 1, 2.50, True, ""]}]})),
    infer("shapes that do not fit", json.dumps({"id": "t", "model_name": "m", "model_version": "1", "outputs": [
        {"name": "o", "datatype": "INT32", "shape": [7, 7], "data": [1, 2]}, {"name": "p", "datatype": "FP16", "shape": [1], "data": [1.5]},
        {"name": "q", "datatype": "FP32", "shape": [], "data": []}]})),
    infer("half", "see", [tensor("h", "FP16", [1], fp32_contents=[1])]),
    infer("no such type", "see", [tensor("h", "INT33", [1], int_contents=[1])]),
    infer("shape, type and contents that do not fit", "see",
          [tensor("a", "INT8", [5, -1], int_contents=[1000]), tensor("b", "FP32", [], int_contents=[1]), tensor("", "BOOL", [1])]),
    infer("unsigned beyond the signed", "see", [tensor("a", "UINT32", [1], uint_contents=[4294967295]),
                                                tensor("b", "UINT64", [1], uint64_contents=[18446744073709551615])]),
    infer("no inputs", "3"),
    infer("no contents", "see", [BARE]),
    infer("raw contents are not read", "see", [BARE], fields={"raw_input_contents": [b"\0\0\0\0"], "parameters": {"p": {"int64_param": 1}},
                                                              "outputs": [{"name": "y"}]}),
    infer("no name", model=""),
    infer("absent", model="absent"),
    infer("absent version", version="9"),
    infer("no worker", model="idle"),
    infer("raises", "raise"),
    infer("refuses", "refuse"),
    call("model that is no text", "oip/ModelInfer", raw=b"\x0a\x02\xff\xfe"),
    call("tensor that is no text", "oip/ModelInfer", raw=b"\x0a\x07tensors\x2a\x04\x0a\x02\xff\xfe"),
    infer("incomplete answer", "{}"),
    infer("afterwards", "4", [tensor("t", "INT32", [1], int_contents=[1])], tries=40, until="OK", deadline=5),
]


WITH_GOOD = {"good.mar": ar.FILES["good.mar"]}
SUITES = {
    "grpc": dict(archives=MODELS, models=["rpc.mar", "other=rpc.mar"], ready=["rpc", "other"], steps=GRPC),
    "grpc_sequences": dict(archives=MODELS, models="seq.mar", ready=["seq"], steps=SEQUENCES),
    "grpc_management": dict(archives={**WITH_GOOD, "good2.mar": ar.source(ar.GOOD, name="good", version="2.0"),
                                      "rpc.mar": MODELS["rpc.mar"], "import_error.mar": ar.LOADS["import_error.mar"],
                                      **{n: ar.FILES[n] for n in ("not_gzip.tar.gz", "manifest_not_json.mar")}},
                            models="rpc.mar", ready=["rpc"], steps=MANAGEMENT),
    "grpc_no_model_api": dict(archives=WITH_GOOD, models="good.mar", model_api=False, steps=NO_MODEL_API),
    "grpc_tokens": dict(archives=WITH_GOOD, models="good.mar", tokens=True, steps=TOKENS),
    "grpc_open": dict(archives={"tensors.mar": ar.mar("tensors", yaml=ar.ONE_WORKER + "responseTimeout: 5\n"),
                                "idle.mar": ar.mar("tensors")}, models="tensors.mar", ready=["tensors"], steps=OPEN,
                      config={"ts_open_inference_protocol": "true"}),
}

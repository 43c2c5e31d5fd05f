"""Suites of the modes beside plain batching: streams, sequences, continuous and asynchronous batches, tickets, envelopes,
explanations, descriptions, metrics in all forms. Data for play.py as in cases.py."""
import json

import archives as ar
from wheels import says

JSON = "application/json"
INTO = "/predictions/modes"
BATCHED = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\nmaxBatchDelay: 2000\nbatchPolicy: fill\n"


def ask(case, path=INTO, body=b"1", do=None, what=None, kind=None, lines=(), **more):
    """A request that a handler of this folder obeys: `do` and `what` are the headers x-do and x-with."""
    headers = dict(more.pop("headers", {}))
    if kind:
        headers["Content-Type"] = kind
    if do:
        headers["x-do"] = do
    if what is not None:
        headers["x-with"] = what if isinstance(what, str) else json.dumps(what)
    return {"case": case, "path": path, "body": body, "headers": headers, "lines": list(lines), **more}


def chunks(case, do="stream", what=None, **more):
    return ask(case, do=do, what=what, stream=True, **more)


def three(case, do, what=None, **more):
    """Three requests of one batch; the first says what is done."""
    return {"case": case, "together": [chunks("", do=do, what=what, **more), chunks("", do=None, body=b"2"),
                                       chunks("", do=None, body=b"3")]}


# ---- streams (workers-and-handlers §11, §19) ----

STREAMS = [
    chunks("hello", "hello"),
    ask("hello, read as a whole", do="hello"),
    chunks("one part and the end", what={"send": [["a"]], "end": ["b"]}),
    chunks("the end is empty", what={"send": [["a"], ["b"]]}),
    chunks("a part is empty", what={"send": [["a"], [""], ["b"]], "end": ["c"]}),
    chunks("kinds of parts", "bytes"),
    chunks("many parts", what={"send": [[f"{i},"] for i in range(50)], "end": ["end"]}),
    chunks("a large part", what={"send": [["x" * 100]], "end": ["y" * 3000]}),
    chunks("headers before the first part", what={"send": [["a"]], "end": ["b"], "headers": [["x-one", "1"]]}),
    chunks("headers behind the first part", what={"send": [["a"]], "end": ["b"], "late": [["x-late", "1"]]}),
    chunks("status before the first part", what={"send": [["a"]], "end": ["b"], "status": [[202, "Taken"]]}),
    chunks("status of an error before the first part", what={"send": [["a"]], "end": ["b"], "status": [[404, "None"]]}),
    chunks("content type of a stream",
           what={"send": [["a"]], "end": ["b"], "headers": [["content-type", "text/event-stream"]]}),
    chunks("no part at all", what={"send": [], "end": ["whole"]}),
    chunks("error before the first part", what={"send": [], "end": "raise"}),
    chunks("error behind the third part", what={"send": [["a"], ["b"], ["c"]], "end": "raise"}),
    chunks("another message", what={"send": [["a"]], "end": ["b"], "more": {"message": "text"}}),
    chunks("afterwards", "sleep", "0"),
    ask("error behind the third part, afterwards", do="sleep", what="0"),
]
STREAM_BATCHES = [
    three("three stream", "hello"),
    three("one of three streams", "mixed"),
    three("parts of some", "stream", {"send": [["a", "b", "c"], ["d", "e", "f"], ["g", "h", "i"]], "of": [[0, 1, 2], [1], [0, 2]],
                                      "end": ["j", "k", "l"]}),
    three("one ends as a whole", "stream", {"send": [["a", "b", "c"]], "of": [[0, 1]], "end": ["j", "k", "l"]}),
]

# ---- sequences (§15.4, §19) ----

SEQUENCES = ar.ONE_WORKER + ("batchSize: 2\nmaxBatchDelay: 10\nsequenceBatching: true\nsequenceMaxIdleMSec: 1500\n"
                             "maxNumSequence: 2\nmaxSequenceJobQueueSize: 1\n")
MANY = ("minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\nmaxBatchDelay: 10\nsequenceBatching: true\nsequenceMaxIdleMSec: 1500\n"
        "maxNumSequence: 8\nmaxSequenceJobQueueSize: 4\n")


def turn(sequence, body, model="modes", **more):
    named = {"ts_request_sequence_id": sequence} if sequence else {}
    return ask("", path=f"/predictions/{model}", body=str(body).encode(), headers={**named, **more.pop("headers", {})}, **more)


def turns(case, *parts):
    return {"case": case, "turns": list(parts)}


IDLE = {"sleep": 2.5}
SEQUENCE_STEPS = [
    turns("two interleaved", *(turn(f"seq_{s}", 2 * i + 1 + s) for i in range(5) for s in (0, 1))),
    {"sleep": 2.5},
    turns("start of a known one", turn("seq_0", 5, headers={"ts_request_sequence_start": "true"}), turn("seq_0", 6)),
    {"sleep": 2.5},
    turns("no id", turn(None, 4)),
    turns("headers without an id", turn(None, 4, do="headers")),
    {"sleep": 2.5},
    turns("headers with an id", turn("seq_h", 4, do="headers")),
    {"sleep": 2.5},
    turns("one too many", turn("a", 1), turn("b", 1), turn("c", 1), turn("a", 2)),
    {"sleep": 2.5},
    turns("room after being idle", turn("c", 1), turn("d", 1), IDLE, turn("c", 2)),
    {"sleep": 2.5},
    {"case": "queue of one", "gap": 0.15, "together": [turn("q", 1, do="sums", what="1.0"), turn("q", 2), turn("q", 3)]},
    {"sleep": 2.5},
    turns("error in a sequence", turn("e", 1), turn("e", 2, do="stream", what={"send": [], "end": "raise"}), turn("e", 3)),
    {"sleep": 2.5},
    turns("empty id", turn(None, 1, headers={"ts_request_sequence_id": ""})),
    {"sleep": 2.5},
    turns("two workers, four sequences", *(turn(f"m{s}", s + 1, "many") for _ in range(3) for s in range(4))),
    {"case": "two workers, in order", "gap": 0.1,
     "together": [turn("o", 1, "many", do="sums", what="0.5"), turn("o", 10, "many"), turn("o", 100, "many")]},
    {"case": "describe", "method": "GET", "path": "/models/many", "api": "management"},
]

# A sequence ends by a header of an answer; with continuous batches alone. (Where more than one ends, TorchServe's worker
# answers nothing any more, once in a while.)
ENDED = SEQUENCES.replace("sequenceMaxIdleMSec: 1500", "sequenceMaxIdleMSec: 120000") + "continuousBatching: true\n"
ENDED_STEPS = [
    turns("room for two", turn("a", 1), turn("b", 1), turn("c", 1)),
    turns("one ends", turn("a", 2, headers={"x-end": "yes"}), turn("c", 1), turn("a", 3), turn("b", 2)),
]

# ---- continuous batches (§15.5) ----


def grows(case, name, of, **more):
    return ask(case, path="/predictions/continuous", body=json.dumps({"name": name, "of": of, **more}).encode(), stream=True)


CONTINUOUS = [
    grows("one", "a", 3),
    grows("one turn", "a", 1),
    grows("one turn, no criterion's word", "a", 1, stop=None),
    grows("rows of later turns", "rows", 3),
    {"case": "of different length", "together": [grows("", "a", 4), grows("", "b", 2), grows("", "c", 6)]},
    {"case": "more than a batch", "gap": 0, "together": [grows("", f"{n}-", 5 + i) for i, n in enumerate("stuvwx")]},
    {"case": "joins what runs", "gap": 0.3, "together": [grows("", "long", 8, sleep=0.1), grows("", "b", 2)]},
    grows("error at the first turn", "a", 3, **{"raise": 1}),
    grows("afterwards", "a", 2),
    {"case": "one leaves", **{k: v for k, v in grows("", "gone", 400, sleep=0.05).items() if k not in ("case", "stream")},
     "leave": 2},
    grows("while it is gone", "a", 40),
    grows("when it is gone", "a", 2),
]

# ---- asynchronous workers (§15.6, §19) ----


def post_async(case, what, stream=False, **more):
    return {"case": case, "path": "/predictions/asynchronous", "body": json.dumps({"do": what, **more}).encode(), "headers": {},
            **({"stream": True} if stream else {})}


ASYNC = [
    post_async("echo", "echo", say="hi"),
    {"case": "ten at once", "gap": 0,
     "together": [post_async("", "echo", say=f"answer {i}", sleep=0.02 * (10 - i)) for i in range(10)]},
    {"case": "replies in another order", "gap": 0.05,
     "together": [post_async("", "echo", say="slow", sleep=0.6), post_async("", "echo", say="fast")]},
    {"case": "four at the same time", "gap": 0, "together": [post_async("", "echo", say="x", sleep=0.5) for _ in range(4)]},
    post_async("tasks", "tasks", n=5),
    post_async("stream", "stream", stream=True, say=["a", "b", "c"], sleep=0.02),
    {"case": "streams at once", "gap": 0, "together": [
        post_async("", "stream", stream=True, say=[f"{i}.{j} " for j in range(6)], sleep=0.03) for i in range(6)]},
    post_async("exception", "raise"),
    post_async("PredictionException", "raise", code=400),
    post_async("busy", "busy", sleep=0.2),
    {"case": "busy, others wait", "gap": 0.02,
     "together": [post_async("", "busy", sleep=0.3), post_async("", "echo", say="after it")]},
    post_async("status and headers", "respond"),
    post_async("context", "context"),
    post_async("context again", "context"),
    post_async("rows", "rows"),
    post_async("dict", "list", value=[{"a": 1}]),
    post_async("too many", "list", value=["a", "b"]),
    post_async("no list", "list", value="a"),
    post_async("afterwards", "echo", say="well"),
]

# ---- job tickets (§15.3) ----

TICKETS = [
    ask("one", do="sleep", what="0"),
    {"case": "second while the first runs", "gap": 0.3,
     "together": [ask("", do="sleep", what="1.2"), ask("", do="sleep", what="0"), ask("", do="sleep", what="0")]},
    ask("afterwards", do="sleep", what="0", tries=20, until=200),
    {"case": "describe", "method": "GET", "path": "/models/modes", "api": "management"},
]

# ---- micro batches (§10.3) ----


def micro(body):
    return ask("", path="/predictions/micro", body=body)


MICRO = [
    {"case": "alone", "turns": [micro(b"alone")]},
    {"case": "four in two pieces", "together": [micro(b"one"), micro(b"two"), micro(b"three"), micro(b"four")]},
    {"case": "three in two pieces", "together": [micro(b"one"), micro(b"two"), micro(b"three")]},
]
# TorchServe never answers it; what time limits make of that comes late enough.
MICRO_RAISE = [
    {"case": "one raises", "together": [micro(b"one"), micro(b"raise")]},
    {"case": "afterwards", **{k: v for k, v in micro(b"next").items() if k != "case"}, "tries": 40, "until": 200},
]

# ---- envelopes (§9) ----

PROBE = "/predictions/probe"
V1, V2 = "/v1/models/probe:predict", "/v2/models/probe/infer"


def wrapped(case, body, path=PROBE, kind=JSON, **more):
    return ask(case, path=path, body=body if isinstance(body, bytes) else json.dumps(body).encode(), kind=kind, **more)


ENVELOPED = {
    "body": [
        wrapped("json", {"a": 1}), wrapped("text", b"text", kind="text/plain"), wrapped("octets", b"\x00\x01", kind=None),
        wrapped("empty", b"", kind=None), wrapped("form with data", b"data=1&x=2", kind="application/x-www-form-urlencoded"),
        wrapped("form without data", b"x=2", kind="application/x-www-form-urlencoded"),
        wrapped("dict", b"x", kind=None, do="python", what="[{'a': 1}]"), wrapped("error", b"x", kind=None, do="raise", what="ValueError()"),
    ],
    "json": [
        wrapped("one instance", {"instances": [1]}), wrapped("two instances", {"instances": [[1, 2], [4, 3]]}),
        wrapped("sum", {"instances": [[1, 2], [4, 3]]}, do="python", what="[sum(x) for x in self.data]"),
        wrapped("base64", {"instances": [{"b64": "YQ=="}, {"x": {"b64": "Yg=="}, "y": 1}]}),
        wrapped("of dicts", {"instances": [{"body": [1, 2]}]}), wrapped("no instances", {"instances": []}),
        wrapped("without instances", {"a": 1}), wrapped("a list", [1, 2]), wrapped("octets", b'{"instances": [1]}', kind=None),
        wrapped("explained", {"instances": [1]}, path="/explanations/probe"),
        wrapped("too few", {"instances": [1, 2]}, do="python", what="['a']"),
        wrapped("error", {"instances": [1]}, do="raise", what="ValueError()"),
    ],
    "kserve": [
        wrapped("one instance", {"instances": [1]}), wrapped("two instances", {"instances": [[1, 2], [4, 3]]}),
        wrapped("octets", b'{"instances": [1]}', kind=None), wrapped("without instances", {"a": 1}),
        wrapped("explained", {"instances": [1]}, path="/explanations/probe"),
        wrapped("dicts", {"instances": [{"data": 1}]}),
        wrapped("numbers back", {"instances": [1, 2]}, do="python", what="[2 * x for x in self.data]"),
        wrapped("error", {"instances": [1]}, do="raise", what="ValueError()"),
        wrapped("v1 predict", {"instances": [1, 2]}, path=V1), wrapped("v1 explain", {"instances": [1]}, path=V1[:-8] + ":explain"),
        wrapped("v1 predict, octets", b'{"instances": [1]}', kind=None, path=V1),
        ask("v1 ready", path="/v1/models/probe", method="GET", body=b""), ask("v1 of another", path="/v1/models/absent:predict"),
    ],
    "kservev2": [
        wrapped("one input", {"id": "7", "inputs": [{"name": "x", "shape": [2, 2], "datatype": "INT32", "data": [1, 2, 3, 4]}]}),
        wrapped("no id", {"inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}]},
                do="python", what="[self.numpy().array([1.5, 2.5], dtype='float32')]"),
        wrapped("numbers back", {"id": "n", "inputs": [{"name": "x", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}]},
                do="python", what="[self.numpy().array([[1, 2], [3, 4]])]"),
        wrapped("list back", {"id": "n", "inputs": [{"name": "x", "shape": [3], "datatype": "INT64", "data": [1, 2, 3]}]},
                do="python", what="[[1, 2]]"),
        wrapped("text", {"id": "b", "inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["word"]}]}),
        wrapped("two inputs", {"id": "2", "inputs": [{"name": "x", "shape": [1], "datatype": "BOOL", "data": [True]},
                                                     {"name": "y", "shape": [1], "datatype": "FP64", "data": [0.5]}]}),
        wrapped("octets", b'{"inputs": [{"name": "x", "shape": [1], "datatype": "INT8", "data": [1]}]}', kind=None),
        wrapped("wrong shape", {"inputs": [{"name": "x", "shape": [3], "datatype": "INT8", "data": [1]}]}),
        wrapped("unknown type", {"inputs": [{"name": "x", "shape": [1], "datatype": "INT7", "data": [1]}]}),
        wrapped("without inputs", {"a": 1}),
        wrapped("error", {"inputs": []}, do="raise", what="ValueError()"),
        wrapped("v2 infer", {"id": "7", "inputs": [{"name": "x", "shape": [2], "datatype": "INT32", "data": [1, 2]}]}, path=V2),
        ask("v2 live", path="/v2/health/live", method="GET", body=b""),
        ask("v2 ready", path="/v2/models/probe/ready", method="GET", body=b""),
    ],
}

# ---- explanations (§7.6), url_path (§19) ----

EXPLAIN = "/explanations/probe"
EXPLANATIONS = [
    ask("explained", path=EXPLAIN, do="headers"), ask("explained, version", path=EXPLAIN + "/1.0", do="headers"),
    ask("explained, GET", path=EXPLAIN, method="GET", body=b"", do="headers"),
    ask("explained, rest of the path", path=EXPLAIN + "/1.0/more", do="headers"),
    ask("explained, rows", path=EXPLAIN), ask("explained, a json body", path=EXPLAIN, body=b'{"a": 1}', kind=JSON),
    ask("explained, absent model", path="/explanations/absent"), ask("explained, absent version", path=EXPLAIN + "/9.9"),
    ask("explanations alone", path="/explanations"),
    ask("explained, error", path=EXPLAIN, do="raise", what="ValueError()"),
    ask("url_path", path=PROBE + "/1.0/v1/chat/completion", do="python", what="[self.context.get_request_header(0, 'url_path')]"),
    ask("url_path with a query", path=PROBE + "/1.0/v1/chat?a=1", do="python",
        what="[self.context.get_request_header(0, 'url_path')]"),
    ask("url_path, escaped", path=PROBE + "/1.0/a%20b/c%2Fd", do="python", what="[self.context.get_request_header(0, 'url_path')]"),
    ask("url_path, slash at the end", path=PROBE + "/1.0/a/", do="python", what="[self.context.get_request_header(0, 'url_path')]"),
    ask("url_path, none", path=PROBE + "/1.0", do="python", what="[repr(self.context.get_request_header(0, 'url_path'))]"),
]
PATHS = "[self.context.get_request_header(i, 'url_path') for i in range(len(self.data))]"
RESPONSES = ("[self.context.set_response_header(i, 'x-i', str(i)) or self.context.set_response_content_type(i, ['text/csv', "
             "'text/html', 'x/y'][i]) or self.context.set_response_status(200 + i, f'Number {i}', i) or str(i) for i in range(3)]")
PER_REQUEST = [
    ask("first", path=PROBE),
    {"case": "url_path of each", "together": [ask("", path=PROBE + "/1.0/v1/chat/completion", do="python", what=PATHS),
                                              ask("", path=PROBE + "/1.0/v1/models"), ask("", path=PROBE)]},
    {"case": "headers, type and status of each", "together": [ask("", path=PROBE, do="python", what=RESPONSES),
                                                              ask("", path=PROBE), ask("", path=PROBE)]},
    {"case": "request headers of each", "together": [
        ask("", path=PROBE, do="python", headers={"x-n": "0"},
            what="[self.context.get_request_header(i, 'x-n') for i in range(len(self.data))]"),
        ask("", path=PROBE, headers={"x-n": "1"}), ask("", path=PROBE, headers={"x-n": "2"})]},
    {"case": "explained with predicted", "together": [
        ask("", path=EXPLAIN, do="python", what="[self.context.get_request_header(i, 'explain') for i in range(3)]"),
        ask("", path=PROBE), ask("", path=EXPLAIN)]},
]
INSIGHTS = [
    ask("predicted", path="/predictions/insights", body=b"[1, 1]", kind=JSON),
    ask("explained", path="/explanations/insights", body=b"[1, 1]", kind=JSON),
    ask("explained, in data", path="/explanations/insights", body=b"data=5", kind="application/x-www-form-urlencoded"),
    ask("predicted afterwards", path="/predictions/insights", body=b"[2, 1]", kind=JSON),
]

# ---- descriptions of one's own (§7.6) ----

DESCRIBED = ("dict", "none", "list", "number", "text", "json_text", "two", "empty", "rows", "raises", "head", "blank", "octets", "no_json",
             "kinds", "nan")


def describe(case, model, query="?customized=true"):
    return {"case": case, "method": "GET", "path": f"/models/{model}{query}", "api": "management", "body": b""}


DESCRIPTIONS = [
    *(describe(model, model) for model in DESCRIBED),
    describe("a version", "dict/1.0"), describe("all versions", "dict/all"), describe("not customised", "dict", "?customized=false"),
    describe("no such value", "dict", "?customized=yes"), describe("capitals", "dict", "?customized=TRUE"),
    {"case": "register without workers", "method": "POST", "path": "/models?url=idle.mar", "api": "management", "body": b""},
    describe("without workers", "idle"), describe("absent", "absent"), describe("absent version", "dict/9.9"),
    ask("predicted", path="/predictions/dict"),
]

# ---- metrics in all forms (§12) ----


def metric(do, *names):
    return ask(do.replace("_", " "), path="/predictions/forms", do=do, lines=[("model_metrics.log", name) for name in names])


METRICS = [
    {"case": "at load", "line": ("model_metrics.log", "AtLoad")},
    metric("dimensions", "Dims"), metric("index", "Of0"), metric("bad_index"), metric("named", "Named"),
    metric("types", "TypedCounter", "TypedGauge", "TypedHistogram"),
    metric("units", "Unitms", "Units[.]", "Unitpercent", "Unitcount", "UnitMB", "UnitGB", "UnitkB", "UnitB",
           "Unitparsecs", "Unit[.]"),
    metric("time", "Timems", "Times"), metric("size", "SizeMB", "SizekB", "SizeGB", "SizeB"),
    metric("error"), metric("error_dimensions", "WrongDims"), metric("cached", "Cached", "Cached"),
    metric("cached_wrong_number"), metric("cached_negative"),
    metric("cached_update", "Updated"), metric("get", "Got", "Got"), metric("get_other_type"), metric("get_declared"),
    metric("negative_counter"), metric("name"), metric("unit"), metric("type"), metric("names"), metric("time_unit"),
    metric("size_unit"), metric("legacy_metric"), metric("emit"),
]

# ---- dependencies of a model (§14.3) ----

USES = "import {0}\n\n\ndef handle(data, context):\n    return [{0}.SAYS] * len(data or ())\n"
WHERE = """import os
import sys

import lodged


def handle(data, context):
    here = os.path.realpath(os.getcwd())
    of = os.path.relpath(os.path.realpath(lodged.__file__), here).replace(f"python{sys.version_info[0]}.{sys.version_info[1]}", "pythonX")
    return [{"of": of, "venv": os.path.relpath(os.path.abspath(sys.prefix), here) if sys.prefix.startswith(here) else None,
             "says": lodged.SAYS}] * len(data or ())
"""
OFFLINE = "--no-index\n--find-links wheels\n"


def needs(text, requirements=OFFLINE + "lodged==1.0\n", wheels=(("lodged", "1.0"),), venv=False, files=None, **more):
    inside = dict(files or {})
    if requirements is not None:
        inside["requirements.txt"] = requirements
    for name, version in wheels:
        file, data = says(name, version)
        inside[f"wheels/{file}"] = data
    if more.pop("named", True):
        more["requirementsFile"] = "requirements.txt"
    return ar.mar("handler", files={"handler.py": text, **inside}, yaml="useVenv: true\n" if venv else "maxBatchDelay: 5\n", **more)


DEPENDENT = {
    "lodged.mar": needs(WHERE),
    "in_venv.mar": needs(WHERE, venv=True),
    "newer.mar": needs(USES.format("lodged"), OFFLINE + "lodged\n", [("lodged", "1.0"), ("lodged", "2.0")]),
    "unresolved.mar": needs(WHERE, OFFLINE + "lodged==9.9\n"),
    "malformed.mar": needs(WHERE, OFFLINE + "this is ??? no requirement\n"),
    "empty.mar": needs(ar.GOOD, ""),
    "file_missing.mar": needs(ar.GOOD, None),
    "not_named.mar": needs(WHERE, named=False),
}


def dependent(file):
    name = file.partition(".")[0]
    return [{"case": f"{name}: register", "method": "POST", "path": f"/models?url={file}&initial_workers=1&synchronous=true",
             "api": "management", "body": b""},
            ask(f"{name}: predict", path=f"/predictions/{name}"),
            {"case": f"{name}: describe", "method": "GET", "path": f"/models/{name}", "api": "management", "body": b"",
             "tries": 8, "until": 404 if name in ("not_named",) else None}]


DEPENDENCIES = [{k: v for k, v in step.items() if k != "until" or v} for file in DEPENDENT for step in dependent(file)]

PROBES = {"probe.mar": ar.probe()}


def modes(yaml, **more):
    return ar.mar("modes", yaml=yaml, **more)


SUITES = {
    "streams": dict(archives={"modes.mar": modes(ar.ONE_WORKER)}, models="modes.mar", ready=["modes"], steps=STREAMS),
    "stream_batches": dict(archives={"modes.mar": modes(BATCHED)}, models="modes.mar", ready=["modes"], steps=STREAM_BATCHES),
    "sequences": dict(archives={"modes.mar": modes(SEQUENCES), "many.mar": modes(MANY)}, models="all", ready=["modes", "many"],
                      steps=SEQUENCE_STEPS),
    "sequences_ended": dict(archives={"modes.mar": modes(ENDED)}, models="all", ready=["modes"], steps=ENDED_STEPS),
    "continuous": dict(archives={"continuous.mar": ar.mar("continuous", yaml=ar.ONE_WORKER + "batchSize: 4\nmaxBatchDelay: 50\n"
                                                                              "continuousBatching: true\n")},
                       models="all", ready=["continuous"], steps=CONTINUOUS),
    "asynchronous": dict(archives={"asynchronous.mar": ar.mar("asynchronous", yaml=ar.ONE_WORKER + "asyncCommunication: true\n")},
                         models="all", ready=["asynchronous"], steps=ASYNC),
    "tickets": dict(archives={"modes.mar": modes(ar.ONE_WORKER + "useJobTicket: true\n")}, models="all", ready=["modes"],
                    steps=TICKETS),
    "micro": dict(archives={"micro.mar": ar.mar("micro", yaml="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 600\n"
                                                              "batchPolicy: fill\n")}, models="all", ready=["micro"], steps=MICRO),
    "micro_raise": dict(archives={"micro.mar": ar.mar("micro", yaml="minWorkers: 1\nmaxWorkers: 1\nbatchSize: 2\nmaxBatchDelay: 600\n"
                                                                    "batchPolicy: fill\nresponseTimeout: 4\n")},
                        models="all", ready=["micro"], steps=MICRO_RAISE),
    **{f"envelope_{name}": dict(archives=PROBES, models="probe.mar", ready=["probe"], config={"service_envelope": name}, steps=steps,
                                **({"imports": "numpy"} if name == "kservev2" else {}))
       for name, steps in ENVELOPED.items()},
    "explanations": dict(archives=PROBES, models="probe.mar", ready=["probe"], steps=EXPLANATIONS),
    "per_request": dict(archives={"probe.mar": ar.probe(BATCHED)}, models="probe.mar", ready=["probe"], steps=PER_REQUEST),
    "insights": dict(models="all", ready=["insights"], steps=INSIGHTS, torch_models=["insights"], imports="torch"),
    "descriptions": dict(archives={**{f"{name}.mar": ar.mar("described", yaml=ar.ONE_WORKER) for name in DESCRIBED},
                                   "idle.mar": ar.mar("described", yaml="batchSize: 1\n")},
                         models=[f"{name}.mar" for name in DESCRIBED], ready=list(DESCRIBED), steps=DESCRIPTIONS),
    "metrics": dict(archives={"forms.mar": ar.mar("forms", yaml=ar.ONE_WORKER)}, models="all", ready=["forms"],
                    config={"model_metrics_auto_detect": "true"}, steps=METRICS),
    "dependencies": dict(archives=DEPENDENT, config={"install_py_dep_per_model": "true"}, steps=DEPENDENCIES, imports="pip"),
    "dependencies_off": dict(archives={n: DEPENDENT[n] for n in ("unresolved.mar", "empty.mar")}, steps=[
        s for s in DEPENDENCIES if s["case"].startswith(("unresolved:", "empty:"))]),
}

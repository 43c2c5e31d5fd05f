"""Handlers and requests for which Sconce's `ts` package and TorchServe's are to do the same.

A scenario is a dict: `name`; `files` of the model's folder; `handler`; optionally `envelope`, `gpu`, `batch_size`, `env`;
`batches`, each a list of requests made by `request`.
"""
MANIFEST = """{"createdOn": "x", "runtime": "python", "archiverVersion": "0.12.0",
"model": {"modelName": "m", "modelVersion": "1.0", "handler": "handler.py"%s}}"""


def request(ident="id-0", headers=None, **parameters):
    """One request; a parameter is bytes, or (content type, bytes)."""
    pairs = [(name, value if isinstance(value, tuple) else ("", value)) for name, value in parameters.items()]
    return {
        "id": ident,
        "headers": headers or {},
        "parameters": [(name, content_type, data.decode("latin-1")) for name, (content_type, data) in pairs],
    }


def function(name, body, *batches, **more):
    """A scenario with a module-level `handle` that is not called for nothing at load."""
    code = "def handle(data, context):\n    if data is None:\n        return None\n" + indented(body)
    return dict(name=name, files={"handler.py": code}, handler="handler.py", batches=batches or [[request(body=b"x")]], **more)


def indented(body):
    return "".join("    " + line + "\n" for line in body.strip("\n").split("\n"))


def results():
    """One scenario for each kind of result."""
    kinds = {
        "bytes": "b'\\xff\\x00'", "bytearray": "bytearray(b'ab')", "str": "'plain'", "str-utf8": "'gr\\u00fc\\u00df \\u4e16'",
        "empty-str": "''", "dict": "{'a': 1, 'b': [1, 2.5, None, True], 'c': {}}", "list": "[[], [1], ['\\u00e9']]",
        "int": "7", "float": "0.1", "nan": "float('nan')", "none": "None", "bool": "False", "tuple": "(1, 2)",
        "set": "{1}", "object": "object()", "bytes-in-dict": "{'a': b'x'}", "memoryview": "memoryview(b'x')",
        "int-key": "{1: 2}", "tuple-key": "{(1, 2): 2}", "str-subclass": "type('S', (str,), {})('sub')",
    }
    return [function("result-" + kind, "return [%s]" % text) for kind, text in kinds.items()]


def outputs():
    """One scenario for each wrong form of a whole answer."""
    kinds = {
        "none": "None", "tuple": "('a',)", "dict": "{'a': 1}", "str": "'a'", "generator": "(x for x in data)",
        "too-many": "['a', 'b']", "none-at-all": "[]", "list-subclass": "type('L', (list,), {})(['a'])",
    }
    return [function("output-" + kind, "return " + text) for kind, text in kinds.items()]


def errors():
    """One scenario for each kind of exception in a handler."""
    head = "from ts.utils.util import PredictionException\n"
    kinds = {
        "prediction": head + "raise PredictionException('too bad', 404)",
        "prediction-599": head + "raise PredictionException('odd', 599)",
        "prediction-default": head + "raise PredictionException('plain')",
        "prediction-service": "from ts.service import PredictionException as P\nraise P('same', 413)",
        "prediction-cuda": head + "raise PredictionException('CUDA', 422)",
        "memory": "raise MemoryError('out')",
        "memory-cuda": "raise MemoryError('CUDA')",
        "cuda": "raise RuntimeError('CUDA error: an illegal memory access was encountered')",
        "cuda-value": "raise ValueError('CUDA out of memory. Tried')",
        "runtime": "raise RuntimeError('no')",
        "key": "raise KeyError('k')",
        "zero": "return [1 / 0]",
        "stop": "raise StopIteration()",
        "assert": "assert False, 'said'",
        "import": "import no_such_module_here",
    }
    return [function("error-" + kind, body) for kind, body in kinds.items()]


def contexts():
    """What a handler sees of its context and how it sets an answer's head."""
    two = [[request("a", {"X-Case": "1", "k": "v"}, body=b"x"), request("b", {"k": "w"}, body=b"y")]]
    show = "return [repr(%s)] * len(data)"
    texts = {
        "ids": "(context.request_ids, context.get_request_id(), context.get_request_id(1), context.get_request_id(9))",
        "headers": "[(context.get_all_request_header(i), context.get_request_header(i, 'x-case')) for i in range(len(data))]",
        "defaults": "(context.get_response_status(0), context.get_response_headers(0), context.get_response_content_type(0))",
        "properties": "sorted((k, v) for k, v in context.system_properties.items() if k != 'model_dir')",
        "model": "(context.model_name, context.manifest, context.model_yaml_config, context.stopping_criteria)",
        "sequence": "(context.get_sequence_id(0), context.header_key_sequence_id, context.header_key_sequence_end)",
        "processors": "[type(p).__name__ for p in context.request_processor]",
        "types": "[(type(row).__name__, sorted((k, type(v).__name__) for k, v in row.items())) for row in data]",
    }
    scenarios = [function("context-" + name, show % text, *two) for name, text in texts.items()]
    bodies = {
        "status": "context.set_response_status(404, 'Gone Away', 0)\nreturn ['a', 'b']",
        "status-one": "context.set_response_status(201, idx=1)\nreturn ['a', 'b']",
        "status-all": "context.set_all_response_status(code=202, phrase='Soon')\nreturn ['a', 'b']",
        "content-type": "context.set_response_content_type(1, 'text/csv')\nreturn ['a', 'b']",
        "headers-set": "context.set_response_header(0, 'X-A', '1')\ncontext.set_response_header(0, 'X-A', '2')\n"
                       "context.set_response_header(0, 'x-b', '')\nreturn ['a', 'b']",
        "header-index": "context.get_request_header(5, 'k')\nreturn ['a', 'b']",
        "persists": "context.seen = getattr(context, 'seen', 0) + 1\nreturn [str(context.seen)] * len(data)",
        "mutates": "data.clear()\nreturn ['a', 'b']",
        "prints": "import logging\nprint('printed')\nlogging.getLogger('x').info('logged %d', 1)\nlogging.debug('not')\n"
                  "return ['a', 'b']",
    }
    scenarios += [function("set-" + name, body, *two * 2) for name, body in bodies.items()]
    return scenarios


def metrics():
    """Metrics as a handler reports them; each call prints its line."""
    head = ("from ts.metrics.dimension import Dimension\nfrom ts.metrics.metric_type_enum import MetricTypes\n"
            "m = context.metrics\n")
    bodies = {
        "counter": "m.add_counter('C', 2, None, [])\nm.add_counter('C', 1, 1, [])",
        "time": "m.add_time('T', 1.25, None, 'ms', [])\nm.add_time('S', 1, unit='s', dimensions=[])",
        "size": "[m.add_size('Z' + u, 1.5, None, u, []) for u in ('MB', 'kB', 'GB', 'B')]",
        "percent": "m.add_percent('P', 50, dimensions=[Dimension('a', 'b')])",
        "error": "m.add_error('E', 1, [])",
        "metric": "m.add_metric('M', 3, 'bananas', dimensions=[], metric_type=MetricTypes.HISTOGRAM)",
        "declared": "m.add_metric('HandlerTime', 3, 'ms', dimensions=[], metric_type=MetricTypes.GAUGE)",
        "own": "c = m.add_metric_to_cache('Own', 'count', ['x', 'y'])\nc.add_or_update(1, ['1', '2'])\n"
               "c.add_or_update(1, ['1'])\nc.add_or_update(-1, ['1', '2'])\nc.update(2, 'rid', [Dimension('q', 'r')])",
        "mutated": "d = [Dimension('a', 'b')]\nm.add_counter('C', 1, dimensions=d)\nprint([str(x) for x in d])",
        "raises": "m.add_time('T', 1, unit='days')",
    }
    two = [[request("a", body=b"x"), request("b", body=b"y")]]
    return [function("metric-" + name, head + body + "\nreturn ['a'] * len(data)", *two) for name, body in bodies.items()]


def decoding():
    """Values by content type."""
    show = "return [repr(sorted(row.items())) for row in data]"
    values = {
        "json": ("application/json", b'{"a": [1, 2]}'), "json-bad": ("application/json", b"{"),
        "json-empty": ("application/json", b""),
        "json-case": ("Application/JSON", b"{}"), "json-number": ("application/json", b"3"),
        "json-null": ("application/json", b"null"),
        "text": ("text/plain", "gr\u00fc\u00df".encode()), "text-bad": ("text/plain", b"\xff\xfe"),
        "text-csv": ("text/csv", b"a,b"),
        "none": ("", b"\x00\x01"), "octets": ("application/octet-stream", b"{}"),
        "json-utf16": ("application/json", '"\u4e16"'.encode("utf-16")),
    }
    scenarios = [function("decode-" + name, show, [request(body=value)]) for name, value in values.items()]
    off = {"TS_DECODE_INPUT_REQUEST": "false"}
    scenarios.append(function("decode-off", show, [request(body=values["json"])], env=off))
    scenarios.append(function("decode-nothing", show, [request()]))
    return scenarios


def classes():
    """The ways to name an entry point."""
    good = "class H:\n    def initialize(self, context):\n        self.n = context.model_name\n" \
           "    def handle(self, data, context):\n        return [self.n] * len(data)\n"
    plain = [[request(body=b"x")]]

    def case(name, code, handler="handler.py", more=None, **settings):
        files = {"handler.py": code}
        files.update(more or {})
        return dict(name="load-" + name, files=files, handler=handler, batches=plain, **settings)

    return [
        case("class", good),
        case("class-no-suffix", good, "handler"),
        case("class-path", good, "some/where/handler.py"),
        case("function-named", "def infer(data, context):\n    return ['f'] * len(data or [])\n", "handler.py:infer"),
        case("function-and-class", good + "def handle(data, context):\n    return ['function'] * len(data or [])\n"),
        case("function-missing", good, "handler.py:nope"),
        case("class-as-function", good, "handler:H"),
        case("function-raises", "def handle(data, context):\n    return [len(x) for x in data]\n"),
        case("imported-class", "from collections import OrderedDict\n" + good),
        case("no-class", "x = 1\n"),
        case("two-classes", good + "class B(H):\n    pass\n"),
        case("no-handle", "class H:\n    def initialize(self, c):\n        pass\n"),
        case("no-initialize", "class H:\n    def handle(self, d, c):\n        return ['a']\n"),
        case("init-arguments", "class H:\n    def __init__(self, x):\n        pass\n" + good.split("\n", 1)[1]),
        case("init-replaces-handle", good.replace(
            "class H:\n", "class H:\n    def __init__(self):\n        self.handle = lambda d, c: ['replaced']\n")),
        case("initialize-replaces-handle", good.replace(
            "self.n = context.model_name", "self.handle = lambda d, c: ['late']; self.n = 'early'")),
        case("syntax-error", "def handle(:\n"),
        case("raises-runtime", "class H:\n    def initialize(self, c):\n"
             "        raise RuntimeError('x')\n    handle = initialize\n"),
        case("raises-import", "raise ImportError('mine')\n"),
        case("sibling", "import sibling\ndef handle(d, c):\n    return [sibling.X] * len(d or [])\n",
             more={"sibling.py": "X = 's'\n"}),
        case("load-context", "seen = []\ndef handle(d, c):\n    if d is None:\n"
             "        seen.append(repr((c.request_ids, c.request_processor, "
             "c.get_request_id(), len(c.metrics.request_ids))))\n    return seen\n"),
        case("load-metric", "def handle(d, c):\n    c.metrics.add_counter('L', 1, None, [])\n    return ['a'] * len(d or [])\n"),
        case("manifest", "def handle(d, c):\n    return [c.manifest] * len(d or [])\n",
             more={"MAR-INF/MANIFEST.json": MANIFEST % ""}),
        case("config", "def handle(d, c):\n    return [c.model_yaml_config] * len(d or [])\n", gpu=2, batch_size=4,
             more={"MAR-INF/MANIFEST.json": MANIFEST % ', "configFile": "c.yaml"',
                   "c.yaml": "minWorkers: 1\nhandler: {a: [1, x], b: null}\n"}),
        case("config-missing", good, more={"MAR-INF/MANIFEST.json": MANIFEST % ', "configFile": "c.yaml"'}),
        case("manifest-bad", good, more={"MAR-INF/MANIFEST.json": "{"}),
    ]


def envelopes():
    """What an envelope makes of requests and results."""
    echo = "return [repr(x) for x in data]"
    same = "return list(data)"
    sums = "return [sum(x) for x in data]"
    json_body = "application/json"

    def body(text, ident="id-0", **headers):
        return request(ident, headers, body=(json_body, text))

    v2 = (b'{"id": "q", "inputs": [{"name": "i", "shape": [2, 2], "datatype": "INT64", "data": [1, 2, 3, 4]},'
          b'{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["hey"]}]}')
    manifest = {"MAR-INF/MANIFEST.json": MANIFEST % ""}
    cases = [
        ("body", "body", echo, [request("a", body=b"x"), request("b", data=("text/plain", b"y"))], {}),
        ("body-neither", "body", echo, [request("a", other=b"x")], {}),
        ("json", "json", sums, [body(b'{"instances": [[1, 2], [4, 3]]}', "a"), body(b'{"instances": [[5]]}', "b")], {}),
        ("json-b64", "json", echo, [body(b'{"instances": [{"b64": "YQ=="}, {"x": {"b64": "YQ=="}, "y": 2}]}')], {}),
        ("json-raw", "json", sums, [request(body=b'{"instances": [[1]]}')], {}),
        ("json-none", "json", sums, [body(b'{"instances": []}')], {}),
        ("json-wrong", "json", sums, [body(b'{"x": []}')], {}),
        ("kserve", "kserve", same, [body(b'{"instances": [[1, 2], [4, 3]]}')], {}),
        ("kserve-bytes", "kserve", same, [request(body=b'{"instances": [1]}')], {}),
        ("kserve-explain", "kserve", same, [body(b'{"instances": [[1, 2]]}', explain="True")], {}),
        ("kserve-two", "kserve", same, [body(b'{"instances": [1]}', "a"), body(b'{"instances": [2]}', "b")], {}),
        ("kserve-wrong", "kserve", same, [body(b'{"inst": [1]}')], {}),
        ("kservev2", "kservev2", "return [data[0]['data'] * 2, data[1]['data']]", [body(v2)], manifest),
        ("kservev2-float", "kservev2", "return [[0.5, 1.5]]", [body(
            b'{"inputs": [{"name": "i", "shape": [2], "datatype": "FP32", "data": [1, 2]}]}')], manifest),
        ("kservev2-echo", "kservev2", "print(data)\nreturn [x['data'] for x in data]", [request(body=v2)], manifest),
        ("kservev2-array", "kservev2", "import numpy\nreturn [numpy.array([[1, 2], [3, 4]], 'int32'), numpy.array(['a', 'b'])]",
         [body(v2)], manifest),
        ("kservev2-scalar", "kservev2", "return [3, {'a': 1}]", [body(v2)], manifest),
        ("kservev2-mixed", "kservev2", "return [[1, 'a'], [True, False]]", [body(v2)], manifest),
        ("kservev2-few", "kservev2", "return [[1]]", [body(v2)], manifest),
        ("kservev2-many", "kservev2", "return [[1], [2], [3]]", [body(v2)], manifest),
        ("kservev2-no-manifest", "kservev2", "return [[1], [2]]", [body(v2)], {}),
        ("kservev2-wrong", "kservev2", "return [[1], [2]]", [body(b'{"x": 1}')], manifest),
        ("kservev2-types", "kservev2", "return [x['data'] for x in data]", [body(
            b'{"inputs": [{"name": "a", "shape": [2], "datatype": "BOOL", "data": [true, false]},'
            b'{"name": "b", "shape": [1], "datatype": "UINT8", "data": [7]},'
            b'{"name": "c", "shape": [2], "datatype": "FP16", "data": [0.5, 1]}]}')], manifest),
        ("kservev2-shape", "kservev2", "return [[1]]", [body(
            b'{"inputs": [{"name": "a", "shape": [3], "datatype": "FP32", "data": [1, 2]}]}')], manifest),
        ("kservev2-type", "kservev2", "return [[1]]", [body(
            b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP8", "data": [1]}]}')], manifest),
        ("unknown", "nosuch", same, [body(b"{}")], {}),
    ]
    scenarios = []
    for name, envelope, code, batch, more in cases:
        scenario = function("envelope-" + name, code, batch, envelope=envelope)
        scenario["files"].update(more)
        scenarios.append(scenario)
    return scenarios


def everything():
    return results() + outputs() + errors() + contexts() + metrics() + decoding() + classes() + envelopes()


MODEL = """import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
            self.layer.bias.zero_()
    def forward(self, x):
        return self.layer(x)
"""

HANDLER = """import torch
from ts.torch_handler.base_handler import BaseHandler
class H(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row.get("data") or row.get("body") for row in data], dtype=torch.float32)
"""


def with_torch():
    """BaseHandler and tensors; these need torch."""
    rows = [request("a", body=("application/json", b"[1, 2]")), request("b", body=("application/json", b"[0, 1]"))]
    one = [request("a", {"explain": "True"}, body=("application/json", b"[1, 2]"))]

    def case(name, entry, batch=rows, config=None, handler=HANDLER, more=None, prepare="", **settings):
        entry = "".join(', "%s": "%s"' % pair for pair in entry.items())
        files = {"handler.py": handler}
        if config is not None:
            files["c.yaml"] = config
            entry += ', "configFile": "c.yaml"'
        files["MAR-INF/MANIFEST.json"] = MANIFEST % entry
        files.update(more or {})
        settings.setdefault("handler", "handler.py")
        return dict(name="torch-" + name, files=files, batches=[batch], prepare=prepare, **settings)

    eager = {"modelFile": "model.py"}
    files = {"model.py": MODEL}
    net = "import sys, torch\nfrom model import Net\nnet = Net()\n"
    weights = net + "with torch.no_grad(): net.layer.bias.fill_(10)\ntorch.save(net.state_dict(), 'w.pt')\n"
    script = net + "torch.jit.script(net).save('s.pt')\n"
    script_only = script + "import os\nos.remove('model.py')\n"
    saved = {"modelFile": "model.py", "serializedFile": "w.pt"}
    labels = "    def postprocess(self, data):\n        from ts.utils.util import map_class_to_label\n" \
             "        return map_class_to_label(data.tolist(), self.mapping)\n"
    insights = "    def get_insights(self, tensor, inputs, target):\n        return [[tensor.tolist(), repr(inputs), target]]\n"
    state = "    def postprocess(self, data):\n        return [repr((str(self.device), self.map_location, self.initialized, " \
            "self.explain, sorted(self.model_yaml_config), self.get_device() is self.device))] * len(data)\n"
    describe = "    def describe_handle(self):\n        return {'n': 1}\n"
    bare = "class H:\n    def initialize(self, c):\n        pass\n    def handle(self, data, context):\n        return %s\n"
    profiled = "handler: {profile: true}\n"
    timed = HANDLER.replace("    def pre", "    from ts.handler_utils.timer import timed\n    @timed\n    def pre")
    profiler = "    def __init__(self):\n        super().__init__()\n" \
               "        self.profiler_args = {'on_trace_ready': self.ready}\n" \
               "    def ready(self, prof):\n        print('ready', 'activities' in self.profiler_args)\n"
    return [
        case("eager", eager, more=files),
        case("eager-weights", saved, more=files, prepare=weights),
        case("torchscript", {"serializedFile": "s.pt"}, more=files, prepare=script_only),
        case("torchscript-missing", {"serializedFile": "s.pt"}),
        case("nothing", {}),
        case("pth", {"serializedFile": "w.pth"}),
        case("model-file-missing", eager),
        case("model-file-two", eager, more={"model.py": MODEL + "class Other:\n    pass\n"}),
        case("labels", eager, more=dict(files, **{"index_to_name.json": '{"0": "no", "1": ["n1", "yes"]}'}),
             handler=HANDLER + labels),
        case("labels-bad", eager, more=dict(files, **{"index_to_name.json": '["no"]'})),
        case("state", eager, more=files, handler=HANDLER + state, config="a: 1\n"),
        case("state-gpu", eager, more=files, handler=HANDLER + state, gpu=0),
        case("explain", eager, one, more=files, handler=HANDLER + insights),
        case("explain-none", eager, one, more=files),
        case("describe", eager, [request("a", {"describe": "True"})], more=files),
        case("describe-own", eager, [request("a", {"describe": "True"})], more=files, handler=HANDLER + describe),
        case("pt2-eager", eager, more=files, config="pt2: {compile: {enable: true, backend: eager}}\n"),
        case("pt2-mode", eager, more=files, config="pt2: {compile: {enable: true, backend: eager, dynamic: true}}\n"),
        case("pt2-off", eager, more=files, config="pt2: {compile: {enable: false, backend: eager}}\n"),
        case("pt2-str", eager, more=files, config="pt2: eager\n"),
        case("pt2-dict", eager, more=files, config="pt2: {backend: eager}\n"),
        case("pt2-unknown", eager, more=files, config="pt2: {compile: {enable: true, backend: bogus}}\n"),
        case("pt2-type", eager, more=files, config="pt2: [1]\n"),
        case("pt2-no-enable", eager, more=files, config="pt2: {compile: {backend: eager}}\n"),
        case("pt2-refused", eager, more=files, config="pt2: {compile: {enable: true, backend: eager, nonsense: 1}}\n"),
        case("pt2-export", eager, more=files, config="pt2: {export: {aot_compile: true}}\n"),
        case("timed", eager, more=files, config=profiled, handler=timed),
        case("timed-off", eager, more=files, handler=timed),
        case("tensor", {}, handler="import torch\n" + bare % "[torch.tensor([1.0, 2.0]), torch.tensor(3)]"),
        case("numpy", {}, handler="import numpy\n" + bare % "[numpy.float32(1), 2]"),
        dict(case("base-handler", eager, more=files, handler="x = 1\n", envelope="body"), handler="base_handler"),
        case("no-super-init", eager, more=files, handler=HANDLER + "    def __init__(self):\n        pass\n"),
        case("profiler", eager, more=files, handler=HANDLER + profiler, env={"ENABLE_TORCH_PROFILER": "true"}),
        case("profiler-describe", eager, [request("a", {"describe": "True"}, body=("application/json", b"[1, 2]"))], more=files,
             handler=HANDLER + profiler, env={"ENABLE_TORCH_PROFILER": "true"}),
        case("raises", eager, [request("a", body=b"")], more=files),
    ]

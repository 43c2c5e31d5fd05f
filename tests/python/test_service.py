"""The service: what a batch comes to where TorchServe is mended, and what it must not cost."""
import json
import os
import subprocess
import sys
import threading

import pytest

from ts import log, model_loader
from ts.context import Context, RequestProcessor
from ts.encoding import decode, encode
from ts.service import Reply, Service




def service_of(function):
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl

    return Service("m", "/nowhere", None, function, None, 4, True, MetricsCacheYamlImpl(None, declarations={}))


def batch(*bodies):
    return [("id-%d" % index, {"h": str(index)}, {"body": body}) for index, body in enumerate(bodies)]


def test_one_answer_has_body_status_phrase_type_and_headers():
    def handle(data, context):
        context.set_response_status(418, "Teapot", 0)
        context.set_response_content_type(0, "text/x")
        context.set_response_header(0, "X-N", 7)
        context.set_response_header(0, "X-B", b"\xc3\xbc")
        return ["a"]

    reply = service_of(handle).predict(batch(b""))
    assert (reply.code, reply.message) == (200, "Prediction success")
    assert reply.items == [("a", 418, "Teapot", "text/x", [("X-N", "7"), ("X-B", "\u00fc")])]


def test_a_content_type_in_any_case_is_the_content_type():
    def handle(data, context):
        context.set_response_header(0, "Content-Type", "text/x")
        return [1]

    (item,) = service_of(handle).predict(batch(b"")).items
    assert item == ("1", 200, "", "text/x", [])


def test_looking_at_a_header_costs_no_processor_and_changes_no_answer():
    def handle(data, context):
        assert context.get_request_header(1, "h") == "1"
        return data and ["a", "b"]

    service = service_of(handle)
    assert [item[1] for item in service.predict(batch(b"", b"")).items] == [200, 200]
    assert service.context._processors is None
    assert [processor.get_request_property("h") for processor in service.context.request_processor] == ["0", "1"]


@pytest.mark.parametrize("ending", [SystemExit(3), KeyboardInterrupt()])
def test_what_ends_the_process_passes_through(ending):
    def handle(data, context):
        raise ending

    with pytest.raises(type(ending)):
        service_of(handle).predict(batch(b""))


class Odd(BaseException):
    def __str__(self):
        raise ValueError("no text")


@pytest.mark.parametrize("error, expected, suspect", [
    (RuntimeError("CUDA error: illegal address"), (507, "Out of resources"), True),
    (RuntimeError("CUDA out of memory"), (507, "Out of resources"), False),
    (MemoryError(), (507, "Out of resources"), False),
    (Odd(), (503, "Prediction failed"), False),
    (GeneratorExit(), (503, "Prediction failed"), False),
    (RecursionError(), (503, "Prediction failed"), False),
])
def test_any_other_exception_is_an_answer(error, expected, suspect):
    def handle(data, context):
        raise error

    reply = service_of(handle).predict(batch(b""))
    assert (reply.code, reply.message) == expected
    assert bool(reply.cuda_suspect) is suspect


def test_the_next_batch_is_served_after_a_failure():
    def handle(data, context):
        return [1 / len(data[0]["body"])]

    service = service_of(handle)
    assert service.predict(batch(b"")).code == 503
    assert service.predict(batch(b"x")).items[0][0] == "1.0"


def deep():
    value = []
    for _ in range(100000):
        value = [value]
    return value


def circle():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("result", ["\ud800", deep(), circle(), {1, 2}, b"".join],
                         ids=["surrogate", "deep", "circle", "set", "method"])
def test_what_has_no_bytes_is_an_error_of_the_batch(result):
    reply = service_of(lambda data, context: [result]).predict(batch(b""))
    assert (reply.code, reply.message, reply.items) == (503, "Unsupported model output data type.", ())


@pytest.mark.parametrize("status", ["x", None, object()])
def test_a_status_that_is_no_number_is_an_error_of_the_batch(status):
    def handle(data, context):
        context.set_response_status(status)
        return ["a"]

    assert service_of(handle).predict(batch(b"")).code == 503


def test_text_is_left_to_be_copied_once_and_is_always_valid():
    text = "plain"
    assert encode(text) is text
    assert encode("\u00fc") == b"\xc3\xbc"
    data = bytearray(b"x")
    assert encode(data) is data


@pytest.mark.parametrize("value", [
    {"a": 0.1, "b, c": "d,\n  e", "\u00fc\"": None, 1: True, None: 2, 0.5: -1}, [1.5, float("nan"), "x, y", None, True, 10**30],
    [], {}, [[1, 2], [3]], {"a": [1], "b": {}}, [1e400, -0.0], "x" * 3, 5, [()], [type("F", (float,), {})(2.5)], [""], {"": ""},
], ids=repr)
def test_json_is_what_the_library_writes_with_an_indent_of_two(value):
    expected = value if isinstance(value, str) else json.dumps(value, indent=2)
    assert encode(value) == expected


def test_deep_json_in_a_request_stays_bytes():
    value = bytearray(b"[" * 200000)
    assert decode(value, "application/json") is value


def test_the_rows_are_forgotten_with_the_batch():
    import gc
    import weakref

    class Body(bytearray):
        pass

    body = Body(b"x")
    seen = weakref.ref(body)
    service = service_of(lambda data, context: ["a"])
    service.predict([("id", {}, {"body": body})])
    del body
    gc.collect()
    assert seen() is None


def test_metric_lines_are_written_whatever_becomes_of_standard_output(tmp_path):
    (tmp_path / "handler.py").write_text(
        "import io, logging, sys\ndef handle(data, context):\n    sys.stdout = io.StringIO()\n"
        "    logging.getLogger().setLevel(logging.CRITICAL)\n"
        "    context.metrics.add_counter('Own', 1)\n    return ['a'] * len(data or [])\n")
    out = run_child(tmp_path, "service.predict([('r', {}, {})])\nservice.predict([('s', {}, {}), ('t', {}, {})])")
    lines = [line for line in out.splitlines() if line.startswith("[METRICS]")]
    assert [line.split(".")[0] for line in lines[1:]] == ["[METRICS]Own", "[METRICS]PredictionTime"] * 2
    assert lines[-1].endswith(",s,t")


def test_a_closed_standard_output_costs_the_lines_only(tmp_path):
    (tmp_path / "handler.py").write_text(
        "import sys\ndef handle(data, context):\n    sys.stdout.close()\n    return ['a'] * len(data or [])\n")
    out = run_child(tmp_path, "assert service.predict([('r', {}, {})]).code == 200\nimport os\nos.write(1, b'end')")
    assert out.endswith("end")


def test_no_heavy_module_is_imported_for_a_plain_handler(tmp_path):
    (tmp_path / "handler.py").write_text("def handle(data, context):\n    return [{}] * len(data or [])\n")
    out = run_child(tmp_path, "service.predict([('r', {}, {})])\n"
                    "print([m for m in ('torch', 'numpy', 'yaml', 'inspect', 'socket', 'uuid',"
                    " 'typing', 'asyncio', 'subprocess') if m in sys.modules])")
    assert out.splitlines()[-1] == "[]"


def run_child(folder, code):
    home = os.path.dirname(os.path.dirname(os.path.abspath(log.__file__)))
    program = ("import sys\nsys.path[:0] = [%r, %r]\nfrom ts import log, model_loader\nlog.configure()\n"
               "service = model_loader.load('m', %r, 'handler.py', None, 1)\n" % (home, str(folder), str(folder))) + code
    done = subprocess.run([sys.executable, "-I", "-c", program], stdout=subprocess.PIPE, universal_newlines=True, check=True)
    return done.stdout


def test_a_context_keeps_what_handlers_set_and_compares_by_content():
    import copy

    context = Context("m", "/d", None, 1, None, "0.12.0")
    context.cache = {"a": 1}
    context.begin(("x",), ({"h": "v"},))
    other = copy.deepcopy(context)
    assert other == context and other is not context
    assert other.request_ids == {0: "x"}
    other.cache["a"] = 2
    assert other != context
    context.request_processor = [RequestProcessor({"h": "w"})]
    assert context.get_request_header(0, "h") == "w"


def test_a_context_before_the_first_batch():
    context = Context("m", "/d", None, 1, None, "0.12.0")
    assert (context.request_ids, context.request_processor, context.get_request_id()) == (None, None, None)
    context.set_response_status(404)
    context.set_all_response_status(404)


def test_a_failed_load_is_answered_by_its_kind():
    assert model_loader.load_failure(MemoryError()) == (507, "System out of memory")
    assert model_loader.load_failure(RuntimeError("CUDA error")) == (507, "System out of memory")
    assert model_loader.load_failure(NotImplementedError("x")) == (500, "Unknown exception")
    assert model_loader.load_failure(ValueError("CUDA")) is None
    assert model_loader.load_failure(SystemExit(1)) is None


def write_model(tmp_path, monkeypatch, name, code):
    (tmp_path / (name + ".py")).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(tmp_path)


def test_the_first_import_error_is_reported(tmp_path, monkeypatch):
    folder = write_model(tmp_path, monkeypatch, "needs_more", "import surely_not_installed\n")
    with pytest.raises(ImportError) as caught:
        model_loader.load("m", folder, "needs_more.py", None, 1)
    assert caught.value.name == "surely_not_installed"
    with pytest.raises(ImportError) as caught:
        model_loader.load("m", folder, "not_there.py", None, 1)
    assert caught.value.name == "not_there"


@pytest.mark.parametrize("handler", ["", None])
def test_no_handler_is_said_to_be_none(handler, tmp_path):
    with pytest.raises(ValueError, match="no handler"):
        model_loader.load("m", str(tmp_path), handler, None, 1)


def test_the_configuration_comes_as_json_where_the_server_wrote_it(tmp_path, monkeypatch):
    folder = write_model(tmp_path, monkeypatch, "shows_config",
                         "def handle(d, c):\n    return [c.model_yaml_config] * len(d or [])\n")
    (tmp_path / "config.json").write_text('{"handler": {"a": 1}}')
    monkeypatch.setenv("SCONCE_MODEL_CONFIG", str(tmp_path / "config.json"))
    service = model_loader.load("m", folder, "shows_config", None, 1)
    assert json.loads(service.predict(batch(b"")).items[0][0]) == {"handler": {"a": 1}}


def test_declared_metrics_come_as_json_where_the_server_wrote_them(tmp_path, monkeypatch):
    (tmp_path / "metrics.json").write_text('{"model_metrics": {"counter": [{"name": "C", "unit": "s", "dimensions": ["x"]}]}}')
    monkeypatch.setenv("SCONCE_METRICS_JSON", str(tmp_path / "metrics.json"))
    assert model_loader.load_metrics("not read").get_metric("C").unit == "Seconds"


def test_contexts_of_two_services_do_not_mix():
    services = [service_of(lambda data, context: [context.get_request_id()]) for _ in range(2)]
    seen = []

    def work(service, ident):
        for _ in range(200):
            seen.append(service.predict([(ident, {}, {})]).items[0][0] == ident)

    threads = [threading.Thread(target=work, args=(service, "id%d" % index)) for index, service in enumerate(services)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(seen) and len(seen) == 400


def test_a_reply_is_for_the_whole_batch_by_default():
    assert (Reply(503, "x").items, Reply(503, "x").cuda_suspect) == ((), "")

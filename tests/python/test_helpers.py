"""What handlers import besides the context: metrics, utilities, micro batching, text, the deprecated and the mock parts."""
import json
import logging
import os
import subprocess
import sys
import threading

import pytest

from ts.handler_utils.micro_batching import MicroBatching
from ts.handler_utils.text_utils import get_tokenizer, ngrams_iterator
from ts.handler_utils.utils import import_class, send_intermediate_predict_response
from ts.metrics import metric_cache_errors as errors
from ts.metrics.dimension import Dimension
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.metrics.metric_encoder import MetricEncoder
from ts.metrics.metric_type_enum import MetricTypes
from ts.metrics.metrics_store import MetricsStore
from ts.torch_handler import pt2
from ts.utils import util
from ts.utils.timeit_decorator import timeit

GAUGE = MetricTypes.GAUGE


def cache(declared=None):
    metrics = MetricsCacheYamlImpl(None, declarations={"model_metrics": declared or {}})
    metrics.model_name = "m"
    metrics.set_request_ids({0: "a", 1: "b"})
    return metrics


def lines(caplog):
    return [record.getMessage().split("|#hostname")[0] for record in caplog.records]


def test_dimensions_of_one_call_are_not_those_of_the_next(caplog):
    caplog.set_level(logging.INFO)
    metrics = cache()
    metrics.set_request_ids(None)
    metrics.add_counter("First", 1)
    metrics.set_request_ids({0: "a"})
    metrics.add_counter("Second", 1)
    metrics.add_error("Third", 1)
    assert lines(caplog) == [
        "[METRICS]First.Count:1|#Level:Error|#type:COUNTER",
        "[METRICS]Second.Count:1|#ModelName:m,Level:Model|#type:COUNTER",
        "[METRICS]Third.unit:1|#Level:Error|#type:COUNTER",
    ]


def test_dimensions_that_are_passed_get_the_defaults_appended():
    given = [Dimension("a", "b")]
    cache().add_percent("P", 1, dimensions=given)
    assert [str(dimension) for dimension in given] == ["a:b", "ModelName:m", "Level:Model"]


def test_names_of_a_declaration_are_not_shared(caplog):
    names = ["x"]
    metrics = cache()
    metric = metrics.add_metric_to_cache("A", "ms", names, GAUGE)
    metric.update(1, "", [Dimension("q", "r")])
    assert names == ["x"]
    assert metrics.get_metric("A", GAUGE).dimension_names == ["q"]


def test_what_a_metric_refuses_is_logged_and_not_raised(caplog):
    metric = cache().add_metric_to_cache("A", "count", ["x"])
    metric.add_or_update(1, ["1", "2"])
    metric.add_or_update(-1, ["1"])
    assert [line.split(":")[0] for line in lines(caplog)] == ["[METRICS]Failed to update metric with name"] * 2


@pytest.mark.parametrize("call, error", [
    (lambda m: m.add_time("T", 1, unit="h"), errors.MetricsCacheValueError),
    (lambda m: m.add_size("S", 1, unit="TB"), ValueError),
    (lambda m: m.add_metric(1, 1, "ms"), errors.MetricsCacheTypeError),
    (lambda m: m.add_metric("A", 1, None), errors.MetricsCacheTypeError),
    (lambda m: m.add_metric("A", 1, "ms", metric_type="gauge"), errors.MetricsCacheTypeError),
    (lambda m: m.add_metric_to_cache("A", "ms", "x"), errors.MetricsCacheTypeError),
    (lambda m: m.get_metric("A"), errors.MetricsCacheKeyError),
    (lambda m: MetricsCacheYamlImpl("/no/such/file.json"), errors.MetricsCacheIOError),
    (lambda m: MetricsCacheYamlImpl(None), errors.MetricsCacheTypeError),
])
def test_wrong_calls_raise_the_errors_of_the_contract(call, error):
    with pytest.raises(error):
        call(cache())


@pytest.mark.parametrize("declared, error", [
    ({"x": 1}, errors.MetricsCacheKeyError),
    ({"model_metrics": None}, errors.MetricsCacheValueError),
    ({"model_metrics": {"weird": []}}, errors.MetricsCacheKeyError),
    ({"model_metrics": {"gauge": [{"name": "A", "unit": "ms"}]}}, errors.MetricsCacheKeyError),
    ({"model_metrics": {"gauge": None}}, errors.MetricsCacheTypeError),
    ([], errors.MetricsCacheKeyError),
])
def test_a_file_of_another_form_is_refused(declared, error, tmp_path):
    (tmp_path / "m.json").write_text(json.dumps(declared))
    with pytest.raises(error):
        MetricsCacheYamlImpl(str(tmp_path / "m.json")).initialize_cache()


def test_the_deprecated_store_still_collects():
    store = MetricsStore({0: "a"}, "m")
    store.add_counter("C", 1)
    store.add_time("T", 2.5, idx=0)
    assert [str(metric).split("|#hostname")[0] for metric in store.store] == [
        "C.Count:1|#ModelName:m,Level:Model", "T.Milliseconds:2.5|#ModelName:m,Level:Model"]
    assert json.loads(json.dumps(store.store, cls=MetricEncoder))[0]["MetricName"] == "C"


@pytest.mark.parametrize("text, expected", [
    ('{"0": "a", "1": ["n", "b"]}', {"0": "a", "1": "b"}),
    ('{"object_type_names": ["a", "b"]}', {"0": "a", "1": "b"}),
])
def test_labels(text, expected, tmp_path):
    (tmp_path / "index_to_name.json").write_text(text)
    assert util.load_label_mapping(str(tmp_path / "index_to_name.json")) == expected
    assert util.load_label_mapping(str(tmp_path / "none")) is None


def test_classes_and_labels_become_dicts():
    probabilities = [[0.1, 0.9], [0.5, 0.5]]
    assert util.map_class_to_label(probabilities) == [{"0": 0.1, "1": 0.9}, {"0": 0.5, "1": 0.5}]
    assert util.map_class_to_label(probabilities, {"0": "x", "1": "y"}, [[1, 0], [0, 1]])[0] == {"y": 0.1, "x": 0.9}
    with pytest.raises(Exception, match="list"):
        util.map_class_to_label("x")
    with pytest.raises(KeyError):
        util.map_class_to_label(probabilities, {"0": "x"})


def test_classes_are_imported_by_name():
    assert import_class("collections.OrderedDict") is import_class("OrderedDict", "collections")
    for name in ("", None, "NoModule", "collections.Nope", "no_such_module.X"):
        with pytest.raises(ImportError):
            import_class(name)


def test_parts_cannot_be_sent_where_there_is_no_connection(monkeypatch):
    from ts.context import Context
    from ts.protocol import otf_message_handler

    context = Context("m", "/d", None, 1, None, "0.12.0")
    with pytest.raises(ValueError, match="connection"):
        send_intermediate_predict_response(["a"], {0: "x"}, "text", 200, context)
    with pytest.warns(PendingDeprecationWarning), pytest.raises(ValueError):
        otf_message_handler.send_intermediate_predict_response(["a"], {0: "x"}, "text", 200, context)
    monkeypatch.setenv("LOCAL_RANK", "1")
    send_intermediate_predict_response(["a"], {0: "x"}, "text", 200, context)


def test_text_is_split_as_torchtext_does():
    english = get_tokenizer("basic_english")
    assert english('It\'s a "q", (x;y)?') == ["it", "'", "s", "a", "q", ",", "(", "x", "y", ")", "?"]
    assert get_tokenizer(None)("A b") == ["A", "b"]
    assert list(ngrams_iterator(["a", "b", "c"], 3)) == ["a", "b", "c", "a b", "b c", "a b c"]
    with pytest.raises(ValueError):
        get_tokenizer("nothing")


def test_timeit_passes_results_on(capsys):
    assert timeit(lambda x: x + 1)(1) == 2
    assert "took" in capsys.readouterr().out


@pytest.mark.parametrize("config, options", [
    ({}, None),
    ({"pt2": "eager"}, {"backend": "eager"}),
    ({"pt2": {"backend": "eager", "mode": "x"}}, {"backend": "eager", "mode": "x"}),
    ({"pt2": {"compile": {"enable": True, "backend": "inductor", "mode": "x"}}}, {"backend": "inductor", "mode": "x"}),
    ({"pt2": {"compile": {"enable": True}}}, {}),
    ({"pt2": {"compile": {"enable": False, "backend": "inductor"}}}, None),
    ({"pt2": {"compile": {"enable": True, "backend": "bogus"}}}, None),
    ({"pt2": {"export": {"aot_compile": True}}}, None),
])
def test_what_the_pt2_section_asks_for(config, options):
    before = json.dumps(config)
    assert pt2.compile_options(config) == options
    assert json.dumps(config) == before
    assert pt2.aot_compile(config) is ("export" in before)


def test_a_pt2_section_of_another_type_is_refused():
    with pytest.raises(ValueError, match="pt2 should be str or dict"):
        pt2.compile_options({"pt2": [1]})
    with pytest.raises(KeyError):
        pt2.compile_options({"pt2": {"compile": {"backend": "eager"}}})


class Steps:
    """Three steps that note in which piece they work."""

    def __init__(self):
        self.seen = []
        self.context = None
        self.described = False

    def preprocess(self, data):
        self.seen.append(self.handle.get_micro_batch_idx())
        return [value + 1 for value in data]

    def inference(self, data):
        if 113 in data:
            raise ValueError("thirteen")
        return [value * 2 for value in data]

    def postprocess(self, data):
        return data

    def _is_describe(self):
        return self.described

    def _is_explain(self):
        return False

    def describe_handle(self):
        return "described"


class Quiet:
    def __init__(self):
        self.metrics = self
        self.times = []

    def add_time(self, name, *rest):
        self.times.append(name)


@pytest.mark.parametrize("rows", [1, 16])
@pytest.mark.parametrize("size", [1, 8])
def test_pieces_come_back_in_order(rows, size):
    handler = Steps()
    handler.handle = MicroBatching(handler, size, {"inference": 3})
    context = Quiet()
    assert handler.handle(list(range(rows)), context) == [(value + 1) * 2 for value in range(rows)]
    assert sorted(handler.seen) == list(range((rows + size - 1) // size))
    assert context.times == ["HandlerTime"]
    assert handler.handle.get_micro_batch_idx() is None
    handler.handle.shutdown()


def test_an_exception_in_a_step_reaches_the_caller_and_the_next_batch_is_served():
    handler = Steps()
    handler.handle = MicroBatching(handler, 1)
    with pytest.raises(ValueError, match="thirteen"):
        handler.handle([1, 112, 3], Quiet())
    assert handler.handle([1], Quiet()) == [4]
    handler.described = True
    assert handler.handle([1], Quiet()) == ["described"]
    handler.handle.shutdown()


def test_threads_follow_the_parallelism():
    before = threading.active_count()
    batching = MicroBatching(Steps(), 1)
    count = {name: len(group) for name, group in batching.thread_groups.items()}
    assert count == {"preprocess": 1, "inference": 1, "postprocess": 1}
    batching.parallelism = {"inference": 4}
    assert len(batching.thread_groups["inference"]) == 4
    batching.parallelism = {"inference": 2}
    assert len(batching.thread_groups["inference"]) == 2
    with pytest.raises(AssertionError):
        batching.parallelism = {"nothing": 1}
    batching.shutdown()
    assert threading.active_count() == before


def test_the_mock_context_serves_handlers_tests():
    from ts.torch_handler.unit_tests.test_utils.mock_context import MockContext

    context = MockContext(model_name="x")
    assert context.manifest == {"model": {"serializedFile": "model.pt", "modelFile": "model.py"}}
    assert not context.get_request_header(0, "explain")
    context.explain = True
    assert context.get_request_header(1, "explain")
    context.metrics.add_time("T", 1)


def test_the_collector_prints_metrics_an_empty_line_and_memory():
    from ts.metrics import metric_collector

    command = [sys.executable, metric_collector.__file__, "--gpu", "0"]
    done = subprocess.run(command, input="%d,999999999\n" % os.getpid(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, check=True)
    metrics, memory = done.stdout.split("\n\n")
    assert [line.split(":")[0] for line in metrics.split("\n")] == [
        "CPUUtilization.Percent", "DiskAvailable.Gigabytes", "DiskUsage.Gigabytes", "DiskUtilization.Percent",
        "MemoryAvailable.Megabytes", "MemoryUsed.Megabytes", "MemoryUtilization.Percent"]
    ours, none = memory.split()
    assert int(ours.split(":")[1]) > 1 << 20 and none == "999999999:0"


def test_properties_are_read_as_the_command_reads_them(tmp_path):
    from ts.model_server import load_properties

    (tmp_path / "p").write_text("# c\n a = b=c \n\n!x\nd\na=2\n")
    assert load_properties(str(tmp_path / "p")) == {"a": "2", "d": ""}


def test_a_models_environment_sees_the_packages_of_this_interpreter(tmp_path):
    from ts.utils import setup_model_venv

    done = subprocess.run([sys.executable, setup_model_venv.__file__, str(tmp_path / "venv")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True)
    if done.returncode and "ensurepip" in done.stdout:
        pytest.skip("this Python has no ensurepip")
    assert done.returncode == 0, done.stdout
    program = str(tmp_path / "venv" / "bin" / "python")
    found = subprocess.check_output([program, "-c", "import pytest, pip; print(pytest.__file__, pip.__file__)"],
                                    universal_newlines=True).split()
    assert found[0] == pytest.__file__
    assert found[1].startswith(str(tmp_path))


def test_a_models_environment_that_cannot_be_made_says_why(tmp_path):
    from ts.utils import setup_model_venv

    (tmp_path / "file").write_text("")
    for arguments, text in (([str(tmp_path / "file" / "venv")], "could not be made"), ([], "usage")):
        done = subprocess.run([sys.executable, setup_model_venv.__file__, *arguments], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        assert done.returncode == 1 and text in done.stdout and "Traceback" not in done.stdout


def enveloped(handle, *instances):
    from ts.torch_handler.request_envelope.json import JSONEnvelope

    return JSONEnvelope(lambda data, context: handle(data)).handle([{"body": {"instances": list(one)}} for one in instances], None)


def test_the_json_envelope_as_torchserves_own_check_has_it():
    def argmax(data):
        return [row.index(max(row)) for row in data]

    assert enveloped(argmax, [[1, 2], [4, 3]]) == ['{"predictions": [1, 0]}']
    assert enveloped(argmax, [[1, 2], [4, 3]], [[0, 5]]) == ['{"predictions": [1, 0]}', '{"predictions": [1]}']


# Recorded from TorchServe 0.12's envelope, but for what it fails on.
@pytest.mark.parametrize("instances, seen", [
    ([{"b64": "YQ=="}, {"x": {"b64": "YQ=="}, "y": {"b64": "YQ==", "z": 1}}],
     "[b'a', {'x': b'a', 'y': {'b64': 'YQ==', 'z': 1}}]"),
    ([5, {"b64": "YQ=="}], "[5, {'b64': 'YQ=='}]"),  # the first instance decides for all
    ([[{"b64": "YQ=="}], {"b64": 5}], "[[{'b64': 'YQ=='}], {'b64': 5}]"),
    ([{}, {"b64": "!!"}], "[{}, b'']"),
    ([{"b64": "YQ=="}, "b64", None], "[b'a', 'b64', None]"),  # TorchServe: AttributeError
    ([{"b64": 5}], TypeError), ([{"x": {"b64": None}}], TypeError), ([{"b64": "YQ"}], ValueError),
    ([{"b64": "\u00e9"}], ValueError),
])
def test_what_the_json_envelope_decodes(instances, seen):
    if isinstance(seen, str):
        assert enveloped(lambda data: [repr(data)] + [None] * (len(data) - 1), instances)[0].startswith(
            '{"predictions": [' + json.dumps(seen))
    else:
        with pytest.raises(seen):
            enveloped(repr, instances)

"""Every name of the `ts` package that TorchServe's users import is there, is called alike, and does alike.

INVENTORY is the contract's list (§13); docs/compatibility.md has the same with where else each is tried. What single
calls come to is compared with TorchServe's recorded answers (named.py, data/torchserve_names.json).
"""
import importlib
import importlib.util
import inspect
import json
from pathlib import Path

import pytest

import named

RECORDED = json.loads((Path(__file__).parent / "data" / "torchserve_names.json").read_text(encoding="utf-8"))

CONTEXT = """get_request_id get_request_header get_all_request_header set_response_content_type get_response_content_type
    set_response_header get_response_headers set_response_status set_all_response_status get_response_status get_sequence_id
    system_properties request_processor metrics"""
PROCESSOR = """get_request_property get_request_properties report_status get_response_status_code get_response_status_phrase
    add_response_property get_response_header get_response_headers"""
CACHE = """add_metric add_counter add_time add_size add_percent add_error add_metric_to_cache get_metric set_request_ids
    initialize_cache cache_keys"""
BASE = """initialize preprocess inference postprocess handle explain_handle describe_handle get_device _is_explain _is_describe
    _infer_with_profiler _load_pickled_model _load_torchscript_model _load_torch_export_aot_compile
    _use_torch_export_aot_compile"""

# module, what it needs, and names: a class with `name(parameters of __init__): members`, a function with `name(parameters)`.
INVENTORY = [
    ("ts", "", ["__version__"]),
    ("ts.version", "", ["__version__"]),
    ("ts.torch_handler.base_handler", "torch packaging", [
        "BaseHandler(): " + BASE, "setup_ort_session(model_pt_path, map_location)", "PROFILER_AVAILABLE", "XLA_AVAILABLE",
        "PT2_AVAILABLE", "PT230_AVAILABLE", "IPEX_AVAILABLE", "ONNX_AVAILABLE"]),
    ("ts.context", "", [
        "Context(model_name, model_dir, manifest, batch_size, gpu, mms_version, limit_max_image_pixels, metrics, "
        "model_yaml_config): " + CONTEXT, "RequestProcessor(request_header): " + PROCESSOR]),
    ("ts.service", "", [
        "Service(model_name, model_dir, manifest, entry_point, gpu, batch_size, limit_max_image_pixels, metrics_cache): "
        "predict context set_cl_socket retrieve_data_for_inference", "PREDICTION_METRIC", "PredictionException",
        "emit_metrics(metrics)", "Context", "RequestProcessor"]),
    ("ts.model_loader", "", [
        "ModelLoaderFactory(): get_model_loader", "ModelLoader: load", "TsModelLoader(): load"]),
    ("ts.model_service.model_service", "", [
        "ModelService(model_name, model_dir, manifest, gpu): handle inference initialize ping signature",
        "SingleNodeService(model_name, model_dir, manifest, gpu): _inference _preprocess _postprocess"]),
    ("ts.model_service_worker", "", [
        "TorchModelServiceWorker(s_type, s_name, host_addr, port_num, metrics_config, async_comm): handle_connection "
        "handle_connection_async load_model run_server", "SOCKET_ACCEPT_TIMEOUT", "BENCHMARK", "DEBUG", "LOCAL_RANK"]),
    ("ts.async_service", "", ["AsyncService(service): call_predict run set_cl_socket"]),
    ("ts.arg_parser", "", ["ArgParser(): ts_parser model_service_worker_args extract_args"]),
    ("ts.model_server", "", ["start()", "load_properties(file_path)"]),
    ("ts.launcher", "", [
        "start(model_store, snapshot_file, no_config_snapshots, plugin_folder, disable_token, models, enable_model_api)",
        "stop(wait)", "register_model(model_name, url)", "register_model_with_params(params)", "Tee(reader)",
        "PrintTillTheEnd(queue)"]),
    ("ts.llm_launcher", "", [
        "main(args)", "get_model_config(args, model_snapshot_path)", "create_mar_file(args, model_snapshot_path)",
        "create_tensorrt_llm_engine(model_store, model_name, dtype, snapshot_path, max_batch_size)"]),
    ("ts.protocol.otf_message_handler", "", [
        "retrieve_msg(conn)", "create_load_model_response(code, message)", "encode_response_headers(resp_hdr_map)",
        "create_predict_response(ret, req_id_map, message, code, context, ts_stream_next)",
        "send_intermediate_predict_response(ret, req_id_map, message, code, context)", "LOAD_MSG", "PREDICT_MSG"]),
    ("ts.handler_utils.utils", "", [
        "send_intermediate_predict_response(ret, req_id_map, message, code, context)",
        "import_class(class_name, module_prefix)"]),
    ("ts.handler_utils.timer", "", ["timed(func)"]),
    ("ts.handler_utils.micro_batching", "", [
        "MicroBatching(parent_handler, micro_batch_size, parallelism): parallelism get_micro_batch_idx handle shutdown",
        "execute_call(in_queue, out_queue, handle, thread_local_data, event)", "HANDLER_METHODS", "WorkerThread"]),
    ("ts.handler_utils.hf_batch_streamer", "transformers", [
        "TextIteratorStreamerBatch(tokenizer, batch_size, skip_prompt, timeout): put end"]),
    ("ts.handler_utils.text_utils", "", ["get_tokenizer(tokenizer, language)", "ngrams_iterator(token_list, ngrams)"]),
    ("ts.utils.util", "", [
        "map_class_to_label(probs, mapping, lbl_classes)", "PredictionException(message, error_code)",
        "load_label_mapping(mapping_file_path)", "list_classes_from_module(module, parent_class)", "CLEANUP_REGEX",
        "check_valid_pt2_backend(backend)", "PT2Backend", "get_yaml_config(yaml_file_path)",
        "deprecated(version, replacement, klass)"]),
    ("ts.utils.hf_utils", "", ["download_model(model_id, revision, model_path, use_auth_token)", "snapshot_download"]),
    ("ts.utils.setup_model_venv", "", ["create_venv(venv_path)", "inherit_site_packages(venv_path)"]),
    ("ts.utils.timeit_decorator", "", ["timeit(func)"]),
    ("ts.metrics.dimension", "", ["Dimension(name, value): to_dict"]),
    ("ts.metrics.metric_type_enum", "", ["MetricTypes: COUNTER GAUGE HISTOGRAM"]),
    ("ts.metrics.unit", "", ["Units()"]),
    ("ts.metrics.metric", "", [
        "Metric(name, value, unit, dimensions, request_id, metric_method): update reset to_dict", "MetricUnit"]),
    ("ts.metrics.metric_abstract", "", [
        "MetricAbstract(metric_name, unit, dimension_names, metric_type): add_or_update", "MetricUnit"]),
    ("ts.metrics.caching_metric", "", [
        "CachingMetric(metric_name, unit, dimension_names, metric_type): add_or_update update emit_metrics"]),
    ("ts.metrics.metric_cache_abstract", "", ["MetricCacheAbstract(config_file_path): " + CACHE.replace("cache_keys", "")]),
    ("ts.metrics.metric_cache_yaml_impl", "", ["MetricsCacheYamlImpl(config_file_path): " + CACHE]),
    ("ts.metrics.metric_cache_errors", "", list(named.NAMES)),
    ("ts.metrics.metric_encoder", "", ["MetricEncoder: default"]),
    ("ts.metrics.metrics_store", "", [
        "MetricsStore(request_ids, model_name): add_counter add_time add_size add_percent add_error add_metric"]),
    ("ts.metrics.process_memory_metric", "", ["check_process_mem_usage(stdin)", "get_cpu_usage(pid)"]),
    ("ts.metrics.system_metrics", "", [
        "collect_all(mod, num_of_gpu)", "cpu_utilization()", "memory_used()", "memory_available()", "memory_utilization()",
        "disk_used()", "disk_utilization()", "disk_available()", "gpu_utilization(num_of_gpu)"]),
    ("ts.metrics.metric_collector", "", []),
    ("ts.torch_handler.vision_handler", "torch torchvision PIL", ["VisionHandler(): initialize preprocess get_insights"]),
    ("ts.torch_handler.image_classifier", "torch torchvision PIL", [
        "ImageClassifier(): topk set_max_result_classes get_max_result_classes image_processing postprocess"]),
    ("ts.torch_handler.image_segmenter", "torch torchvision PIL", ["ImageSegmenter(): image_processing postprocess"]),
    ("ts.torch_handler.object_detector", "torch torchvision PIL", ["ObjectDetector(): threshold image_processing postprocess"]),
    ("ts.torch_handler.text_handler", "torch", [
        "TextHandler(): _expand_contractions _remove_accented_characters _remove_html_tags _remove_punctuation "
        "_remove_puncutation _tokenize get_word_token summarize_attributions"]),
    ("ts.torch_handler.text_classifier", "torch", ["TextClassifier(): ngrams preprocess inference postprocess get_insights"]),
    ("ts.torch_handler.densenet_handler", "torch", ["DenseNetHandler(): initialize inference handle"]),
    ("ts.torch_handler.contractions", "", ["CONTRACTION_MAP"]),
    ("ts.torch_handler.dali_handler", "torch nvidia.dali", ["DALIHandler()"]),
    ("ts.torch_handler.dali_image_classifier", "torch nvidia.dali", ["DALIImageClassifier()"]),
    ("ts.torch_handler.vllm_handler", "vllm", ["VLLMHandler()"]),
    ("ts.torch_handler.trt_llm_handler", "tensorrt_llm", ["TRTLLMHandler()"]),
    ("ts.torch_handler.distributed.base_deepspeed_handler", "torch", ["BaseDeepSpeedHandler(): initialize"]),
    ("ts.torch_handler.distributed.base_pippy_handler", "torch pippy", ["BasePippyHandler(): initialize"]),
    ("ts.handler_utils.distributed.deepspeed", "deepspeed", ["get_ds_engine(model, ctx)"]),
    ("ts.handler_utils.distributed.pt_pippy", "pippy", [
        "get_pipeline_driver(model, world_size, ctx)", "initialize_rpc_workers(local_rank, world_size, ctx)"]),
    ("ts.torch_handler.request_envelope.base", "", ["BaseEnvelope(handle_fn): handle parse_input format_output"]),
    ("ts.torch_handler.request_envelope.body", "", ["BodyEnvelope(handle_fn)"]),
    ("ts.torch_handler.request_envelope.json", "", ["JSONEnvelope(handle_fn)"]),
    ("ts.torch_handler.request_envelope.kserve", "", ["KServeEnvelope(handle_fn)"]),
    ("ts.torch_handler.request_envelope.kservev2", "numpy", ["KServev2Envelope(handle_fn)"]),
    ("ts.torch_handler.unit_tests.test_utils.mock_context", "", [
        "MockContext(model_pt_file, model_dir, model_file, gpu_id, model_name, model_yaml_config_file): get_request_header"]),
]


def rows():
    for module, needs, names in INVENTORY:
        for row in names or [""]:
            yield pytest.param(module, needs.split(), row, id=module + "." + row.split("(")[0].split(":")[0])


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


@pytest.mark.parametrize("module, needs, row", list(rows()))
def test_is_there_and_called_alike(module, needs, row):
    absent = [name for name in needs if importlib.util.find_spec(name.split(".")[0]) is None]
    if absent:
        pytest.skip("not installed: %s" % ", ".join(absent))
    where = importlib.import_module(module)
    called, _, members = row.partition(":")
    name, bracket, wanted = called.partition("(")
    if not name:
        return
    value = getattr(where, name)
    for member in members.split():
        assert hasattr(value, member), "%s has no %s" % (name, member)
    if bracket:
        wanted = [word for word in wanted.rstrip(")").replace(" ", "").split(",") if word]
        there = parameters(value.__init__ if inspect.isclass(value) else value)
        assert there[:len(wanted)] == wanted  # more, with defaults, may follow


@pytest.mark.parametrize("expression", [text for group in named.CASES.values() for text in group])
def test_comes_to_what_torchserve_made_of_it(expression):
    absent = [package for package, mark in (("yaml", "errors"), ("requests", "posted(")) if mark in expression
              and importlib.util.find_spec(package) is None]
    if absent:
        pytest.skip("not installed: %s" % ", ".join(absent))
    assert named.outcome(expression) == RECORDED[expression]


def test_nothing_is_recorded_that_is_not_compared():
    assert sorted(RECORDED) == sorted(text for group in named.CASES.values() for text in group)

"""The handler that most models extend: loads what the archive holds and runs preprocess, inference and postprocess.

This module is the only one of the package's core that imports torch.
"""
import importlib
import importlib.util
import logging
import os
import time
from abc import ABC

import torch
from packaging import version

from ts.handler_utils.timer import timed
from ts.torch_handler import pt2
from ts.utils.util import list_classes_from_module, load_label_mapping

logger = logging.getLogger(__name__)

_torch_version = version.parse(torch.__version__)
PT2_AVAILABLE = _torch_version >= version.parse("2.0.0a0")
PT230_AVAILABLE = _torch_version > version.parse("2.2.2")

try:
    from torch.profiler import ProfilerActivity, profile, record_function  # noqa: F401

    PROFILER_AVAILABLE = True
except ImportError:
    PROFILER_AVAILABLE = False


def _importable(name):
    """Imports an optional package; False, without a word, where it is not installed."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _installed(name):
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


XLA_AVAILABLE = _installed("torch_xla") and _importable("torch_xla.core.xla_model")
if not (_installed("openvino") and _importable("openvino.torch")):
    logger.warning("OpenVINO is not enabled")
ONNX_AVAILABLE = _installed("onnxruntime") and _installed("psutil") and _importable("onnxruntime")
if not ONNX_AVAILABLE:
    logger.info("proceeding without onnxruntime")
if not (_installed("torch_tensorrt") and _importable("torch_tensorrt")):
    logger.warning("Torch TensorRT not enabled")
IPEX_AVAILABLE = os.environ.get("TS_IPEX_ENABLE", "false") == "true" and _importable("intel_extension_for_pytorch")

if torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0):
    torch.set_float32_matmul_precision("high")
    logger.info("Enabled tensor cores")


def setup_ort_session(model_pt_path, map_location):
    """An ONNX Runtime session for the file, on CUDA where `map_location` says so."""
    import onnxruntime
    import psutil

    providers = ["CPUExecutionProvider"]
    if map_location == "cuda":
        providers.insert(0, "CUDAExecutionProvider")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = psutil.cpu_count(logical=True)
    return onnxruntime.InferenceSession(model_pt_path, providers=providers, sess_options=options)


class BaseHandler(ABC):
    """One object per worker. Subclasses override steps, `initialize`, or both; many never call `__init__` of this class,
    so that `handle` and the steps rely on no attribute of it but those that `initialize` of the subclass sets."""

    # For subclasses that do not call __init__.
    context = None
    device = None
    explain = False
    manifest = None
    model = None
    target = 0

    def __init__(self):
        self.model = None
        self.mapping = None
        self.device = None
        self.initialized = False
        self.context = None
        self.model_pt_path = None
        self.manifest = None
        self.map_location = None
        self.explain = False
        self.target = 0
        self.profiler_args = {}

    def initialize(self, context):
        """Chooses the device, loads and perhaps compiles the model, reads the labels. RuntimeError if the archive holds
        nothing that can be loaded."""
        self.context = context
        self.manifest = context.manifest
        self.model_yaml_config = getattr(context, "model_yaml_config", None) or {}
        properties = context.system_properties
        self._choose_device(properties.get("gpu_id"))

        model_dir = properties.get("model_dir")
        entry = self.manifest["model"]
        self.model_pt_path = None
        if entry.get("serializedFile"):
            self.model_pt_path = os.path.join(model_dir, entry["serializedFile"])
        self._load_model(model_dir, entry.get("modelFile", ""))
        self._optimize()

        self.mapping = load_label_mapping(os.path.join(model_dir, "index_to_name.json"))
        self.initialized = True

    def _choose_device(self, gpu_id):
        self.map_location = "cpu"
        name = "cpu"
        if gpu_id is not None:
            if torch.cuda.is_available():
                self.map_location, name = "cuda", "cuda:%s" % gpu_id
            elif (os.environ.get("TS_IPEX_GPU_ENABLE", "false") == "true" and hasattr(torch, "xpu")
                  and torch.xpu.is_available()):
                self.map_location, name = "xpu", "xpu:%s" % gpu_id
                torch.xpu.device(name)
            elif torch.backends.mps.is_available():
                self.map_location = name = "mps"
        if name == "cpu" and XLA_AVAILABLE:
            import torch_xla.core.xla_model as xla

            self.map_location = None
            self.device = xla.xla_device()
            return
        self.device = torch.device(name)

    def _load_model(self, model_dir, model_file):
        path = self.model_pt_path
        if model_file:
            logger.debug("Loading eager model")
            self.model = self._load_pickled_model(model_dir, model_file, path)
            self.model.to(self.device)
            self.model.eval()
        elif path and path.endswith(".pt"):
            self.model = self._load_torchscript_model(path)
            self.model.eval()
        elif path and path.endswith(".onnx") and ONNX_AVAILABLE:
            self.model = setup_ort_session(path, self.map_location)
            logger.info("Loaded the model with ONNX Runtime")
        elif path and path.endswith(".so") and self._use_torch_export_aot_compile():
            self.model = self._load_torch_export_aot_compile(path)
            logger.info("Loaded the ahead-of-time compiled model")
        else:
            raise RuntimeError("No model weights could be loaded")

    def _optimize(self):
        """torch.compile as the configuration asks for, else Intel's extension where it is on."""
        options = pt2.compile_options(self.model_yaml_config) if PT2_AVAILABLE else None
        if options is not None:
            self.model = pt2.compiled(torch, self.model, options)
        elif IPEX_AVAILABLE:
            import intel_extension_for_pytorch as ipex

            self.model = ipex.optimize(self.model.to(memory_format=torch.channels_last))
            logger.info("Compiled model with ipex")

    def _use_torch_export_aot_compile(self):
        return PT230_AVAILABLE and pt2.aot_compile(self.model_yaml_config)

    def _load_torch_export_aot_compile(self, model_so_path):
        """Override point: the model of an ahead-of-time compiled library."""
        if self.map_location == "cuda":
            torch.cuda.set_device(self.device)
        return torch._export.aot_load(model_so_path, self.map_location)

    def _load_torchscript_model(self, model_pt_path):
        """Override point: the model of a TorchScript file."""
        return torch.jit.load(model_pt_path, map_location=self.device)

    def _load_pickled_model(self, model_dir, model_file, model_pt_path):
        """Override point: the one class of the model file, with the weights if there are any."""
        if not os.path.isfile(os.path.join(model_dir, model_file)):
            raise RuntimeError("Missing the model.py file")
        module = importlib.import_module(os.path.splitext(model_file)[0].replace("/", "."))
        classes = list_classes_from_module(module)
        if len(classes) != 1:
            raise ValueError("Expected only one class as model definition. %s" % classes)
        model = classes[0]()
        if model_pt_path:
            model.load_state_dict(torch.load(model_pt_path, map_location=self.device))
        return model

    @timed
    def preprocess(self, data):
        """The rows as one tensor; of use behind an envelope only."""
        return torch.as_tensor(data, device=self.device)

    @timed
    def inference(self, data, *args, **kwargs):
        """The model's answer, without gradients."""
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    @timed
    def postprocess(self, data):
        """A list with one result per row."""
        return data.tolist()

    def handle(self, data, context):
        """A batch of rows to a list of results; reports the metric HandlerTime."""
        start = time.time()
        self.context = context
        if os.environ.get("ENABLE_TORCH_PROFILER"):
            if PROFILER_AVAILABLE:
                results, _ = self._infer_with_profiler(data=data)
            else:
                raise RuntimeError("ENABLE_TORCH_PROFILER is set, but this torch has no torch.profiler")
        elif self._is_describe():
            results = [self.describe_handle()]
        else:
            prepared = self.preprocess(data)
            if self._is_explain():
                results = self.explain_handle(prepared, data)
            else:
                results = self.postprocess(self.inference(prepared))
        context.metrics.add_time("HandlerTime", round((time.time() - start) * 1000, 2), None, "ms")
        return results

    def _infer_with_profiler(self, data):
        """The steps under torch's profiler; returns the results and the profile. `profiler_args` set by a subclass win."""
        arguments = getattr(self, "profiler_args", None)
        if arguments is None:
            arguments = self.profiler_args = {}
        if not arguments:
            arguments["activities"] = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
            arguments["record_shapes"] = True
        if "on_trace_ready" not in arguments:
            folder = os.path.join(os.sep + "tmp", "pytorch_profiler", self.manifest["model"]["modelName"])
            arguments["on_trace_ready"] = torch.profiler.tensorboard_trace_handler(folder)
            logger.info("Saving chrome trace to : %s", folder)
        with profile(**arguments) as profiled:
            with record_function("preprocess"):
                prepared = self.preprocess(data)
            if self._is_explain():
                with record_function("explain"):
                    results = self.explain_handle(prepared, data)
            else:
                with record_function("inference"):
                    output = self.inference(prepared)
                with record_function("postprocess"):
                    results = self.postprocess(output)
        logger.info("%s", profiled.key_averages().table(sort_by="cpu_time_total", row_limit=10))
        return results, profiled

    def explain_handle(self, data_preprocess, raw_data):
        """What `get_insights` of the subclass says about the first request and its `target`."""
        logger.info("Calculating Explanations")
        row = raw_data[0]
        inputs, target = None, 0
        if isinstance(row, dict):
            logger.info("Getting data and target")
            inputs = row.get("data") or row.get("body")
            target = row.get("target") or 0
        return self.get_insights(data_preprocess, inputs, target)

    def _header_says(self, name):
        context = self.context
        return bool(context) and context.get_request_header(0, name) == "True"

    def _is_explain(self):
        if self._header_says("explain"):
            self.explain = True
            return True
        return False

    def _is_describe(self):
        return self._header_says("describe")

    def describe_handle(self):
        """Override point: what a customised describe call shows. None: nothing."""
        return None

    def get_device(self):
        return self.device

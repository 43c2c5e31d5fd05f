"""Finds a model's handler, calls its load-time function and makes the service that will answer requests.

The order in which a handler string is resolved is TorchServe's (workers-and-handlers.md §2.2); where it hides the
first import error behind a second one, the first is raised here.
"""
import importlib
import json
import os
from abc import ABCMeta, abstractmethod

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.service import Service
from ts.utils.util import list_classes_from_module


def load(model_name, model_dir, handler, gpu_id, batch_size, envelope=None, limit_max_image_pixels=True, metrics=None,
         model_config_file=None, service_class=Service):
    """Loads a model and returns its Service, a `service_class`. Whatever the handler raises goes through.

    `gpu_id` is None on CPU. `metrics` is the metrics cache, or None for one without declared metrics.
    `model_config_file` (default: the environment's SCONCE_MODEL_CONFIG) is the model's configuration as a JSON file; without it
    the file that the manifest names is read, as YAML.
    """
    if metrics is None:
        metrics = MetricsCacheYamlImpl(None, declarations={})
    metrics.model_name = model_name
    metrics.set_request_ids(_random_uuid())
    manifest = _manifest(model_dir)
    config = _model_config(model_dir, manifest, model_config_file or os.environ.get("SCONCE_MODEL_CONFIG"))

    module, function_name = _handler_module(handler)
    load_time, entry_point = _entry_point(module, function_name)
    if envelope:
        entry_point = _envelope(envelope)(entry_point).handle
    service = service_class(model_name, model_dir, manifest, entry_point, gpu_id, batch_size, limit_max_image_pixels, metrics,
                            config)
    result = load_time(service.context)
    if hasattr(result, "__await__"):
        result.close()  # a module's `async def handle`, which has nothing to load
    return service


class ModelLoaderFactory:
    """Gives the loader that there is."""

    @staticmethod
    def get_model_loader():
        return TsModelLoader()


class ModelLoader(metaclass=ABCMeta):
    """What loads a model."""

    @abstractmethod
    def load(self, model_name, model_dir, handler=None, gpu_id=None, batch_size=None, envelope=None,
             limit_max_image_pixels=True, metrics_cache=None):
        """The model's service."""


class TsModelLoader(ModelLoader):
    """Loads for drivers that speak TorchServe's protocol: the service's `predict` takes requests of
    ts.protocol.otf_message_handler.retrieve_msg and returns bytes for the wire."""

    def load(self, model_name, model_dir, handler=None, gpu_id=None, batch_size=None, envelope=None,
             limit_max_image_pixels=True, metrics_cache=None):
        from ts.protocol.otf_service import OtfService

        return load(model_name, model_dir, handler, gpu_id, batch_size or 1, envelope, limit_max_image_pixels, metrics_cache,
                    service_class=OtfService)


def load_metrics(metrics_file, json_file=None):
    """The metrics cache with what the server's metrics file declares. Logs nothing.

    `json_file` (default: the environment's SCONCE_METRICS_JSON) is the same in JSON, and preferred: reading it needs no
    PyYAML. Raises an error of ts.metrics.metric_cache_errors.
    """
    cache = MetricsCacheYamlImpl(json_file or os.environ.get("SCONCE_METRICS_JSON") or metrics_file, quiet=True)
    cache.initialize_cache()
    return cache


def load_failure(error):
    """The code and message with which a failed load is answered, or None: then the process ends without an answer."""
    if isinstance(error, MemoryError):
        return 507, "System out of memory"
    if isinstance(error, RuntimeError):
        return (507, "System out of memory") if "CUDA" in str(error) else (500, "Unknown exception")
    return None


def _random_uuid():
    """A version 4 UUID; the module uuid takes longer to import than all of this package's."""
    bits = bytearray(os.urandom(16))
    bits[6] = bits[6] & 0x0F | 0x40
    bits[8] = bits[8] & 0x3F | 0x80
    digits = bits.hex()
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def _manifest(model_dir):
    path = os.path.join(model_dir, "MAR-INF", "MANIFEST.json")
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _model_config(model_dir, manifest, json_file):
    if json_file:
        with open(json_file, encoding="utf-8") as file:
            return json.load(file) or {}
    name = ((manifest or {}).get("model") or {}).get("configFile")
    if not name:
        return {}
    path = os.path.join(model_dir, name)
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            return json.load(file) or {}
    from ts.utils.util import get_yaml_config

    return get_yaml_config(path) or {}


def _handler_module(handler):
    """The module of a handler string and the name of the function after its colon, or None."""
    if not handler:
        raise ValueError("The model has no handler: neither its manifest nor the call that registered it names one")
    path, _, function_name = handler.partition(":")
    if path.endswith(".py"):
        path = path[:-3]
    name = path.rsplit("/", 1)[-1]
    try:
        return importlib.import_module(name), function_name or None
    except ImportError as error:
        first = error
    try:
        return importlib.import_module("ts.torch_handler." + handler), function_name or None
    except ImportError as second:
        built_in = "ts.torch_handler." + handler
        theirs = isinstance(first, ModuleNotFoundError) and first.name == name
        # A built-in handler that is there but lacks a package: that package is what is missing.
        if theirs and not (isinstance(second, ModuleNotFoundError) and built_in.startswith(second.name or "")):
            raise second from None
    raise first


def _entry_point(module, function_name):
    """What to call with the context at load, and what to call with a batch."""
    function = getattr(module, function_name or "handle", None)
    if function is not None:
        return (lambda context: function(None, context)), function
    classes = list_classes_from_module(module)
    if len(classes) != 1:
        raise ValueError("Expected only one class in custom service code or a function entry point %s" % classes)
    instance = classes[0]()
    handle = getattr(instance, "handle", None)
    if handle is None:
        raise ValueError("Expect handle method in class %s" % classes[0])
    return instance.initialize, handle


def _envelope(name):
    """The first class of an envelope's module."""
    classes = list_classes_from_module(importlib.import_module("ts.torch_handler.request_envelope." + name.strip()))
    return classes[0]

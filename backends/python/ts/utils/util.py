"""Helpers that handlers import."""
import json
import logging
import os
import re
from enum import Enum

logger = logging.getLogger(__name__)

CLEANUP_REGEX = re.compile("<.*?>|&([a-z0-9]+|#[0-9]{1,6}|#x[0-9a-f]{1,6});")


class PT2Backend(str, Enum):
    """Backends of torch.compile that a model may ask for."""

    EAGER = "eager"
    AOT_EAGER = "aot_eager"
    INDUCTOR = "inductor"
    NVFUSER = "nvfuser"
    AOT_NVFUSER = "aot_nvfuser"
    AOT_CUDAGRAPHS = "aot_cudagraphs"
    OFI = "ofi"
    FX2TRT = "fx2trt"
    ONNXRT = "onnxrt"
    IPEX = "ipex"
    TORCHXLA_TRACE_ONCE = "torchxla_trace_once"
    OPENVINO = "openvino"
    TENSORRT = "tensorrt"
    HPU_BACKEND = "hpu_backend"


class PredictionException(Exception):
    """Raised by a handler: the whole batch is answered with this message and this HTTP status."""

    def __init__(self, message, error_code=500):
        super().__init__(message)
        self.message = message
        self.error_code = error_code

    def __str__(self):
        return "%s : %s" % (self.message, self.error_code)


def list_classes_from_module(module, parent_class=None):
    """The classes that a module defines itself, by name; only those under `parent_class` if it is given."""
    members = vars(module)
    classes = [members[name] for name in sorted(members) if isinstance(members[name], type)]
    classes = [cls for cls in classes if cls.__module__ == module.__name__]
    if parent_class is not None:
        classes = [cls for cls in classes if issubclass(cls, parent_class)]
    return classes


def load_label_mapping(mapping_file_path):
    """The labels of index_to_name.json as `{class: label}`; None, with a warning, if there is no such file."""
    if not os.path.isfile(mapping_file_path):
        logger.warning("'%s' is missing. Inference output will not include class name.", mapping_file_path)
        return None
    with open(mapping_file_path, encoding="utf-8") as file:
        mapping = json.load(file)
    if not isinstance(mapping, dict):
        raise Exception('index->name JSON mapping should be in "class": "label" format.')
    # Older archives of detectors: {"object_type_names": [...]}
    names = mapping.get("object_type_names")
    if isinstance(names, list):
        mapping = {str(index): name for index, name in enumerate(names)}
    for key, label in mapping.items():
        if isinstance(label, list):
            label = mapping[key] = label[-1]
        if not isinstance(label, str):
            raise Exception("labels in index->name mapping must be either str or List[str]")
    return mapping


def map_class_to_label(probs, mapping=None, lbl_classes=None):
    """One dict `{label: probability}` per row of `probs`. Without `lbl_classes` a row's classes are 0, 1, 2 and so on;
    without a mapping a class is its own label. Raises KeyError for a class that the mapping lacks."""
    if not isinstance(probs, list):
        raise Exception("Convert classes to list before doing mapping")
    if mapping is not None and not isinstance(mapping, dict):
        raise Exception("Mapping must be a dict")
    if lbl_classes is None:
        lbl_classes = [range(len(row)) for row in probs]
    return [
        {(mapping[str(cls)] if mapping is not None else str(cls)): prob for cls, prob in zip(classes, row)}
        for classes, row in zip(lbl_classes, probs)
    ]


def get_yaml_config(yaml_file_path):
    """The content of a YAML file. Needs PyYAML."""
    with open(yaml_file_path, encoding="utf-8") as file:
        import yaml

        return yaml.safe_load(file)


def check_valid_pt2_backend(backend):
    """True for a name of PT2Backend; a warning and False for any other."""
    if any(backend == known.value for known in PT2Backend):
        return True
    logger.warning("%s is not a supported backend", backend)
    return False


def deprecated(version, replacement="", klass=PendingDeprecationWarning):
    """A decorator that warns whenever the function is called."""
    import functools
    import warnings

    def decorate(function):
        text = "Function %s has been deprecated and will be removed in version %s." % (function.__name__, version)
        if replacement:
            text += " Use %s instead." % replacement

        @functools.wraps(function)
        def call(*args, **kwargs):
            warnings.warn(text, klass, stacklevel=2)
            return function(*args, **kwargs)

        return call

    return decorate

"""A context for the unit tests of handlers."""
import os
import uuid

from ts.metrics.metrics_store import MetricsStore


class MockContext:
    """Enough of a context to call `initialize` and `handle` without a server."""

    def __init__(self, model_pt_file="model.pt", model_dir="ts/torch_handler/unit_tests/models/tmp",
                 model_file="model.py", gpu_id="0", model_name="mnist", model_yaml_config_file=None):
        self.manifest = {"model": {}}
        if model_pt_file:
            self.manifest["model"]["serializedFile"] = model_pt_file
        if model_file:
            self.manifest["model"]["modelFile"] = model_file
        self.system_properties = {"model_dir": model_dir}
        if _cuda():
            self.system_properties["gpu_id"] = gpu_id
        self.explain = False
        self.metrics = MetricsStore(uuid.uuid4(), model_name)
        self.model_yaml_config = {}
        if model_yaml_config_file is not None:
            from ts.utils.util import get_yaml_config

            self.model_yaml_config = get_yaml_config(os.path.join(model_dir, model_yaml_config_file))

    def get_request_header(self, idx, exp):
        """Whether an explanation is asked for: index 0 never asks."""
        return bool(idx) and exp == "explain" and self.explain


def _cuda():
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()

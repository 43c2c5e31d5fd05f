"""The oldest of the built-in handlers: a saved tensor in, the model's tensor out. It extends nothing."""
import importlib
import io
import os
import time

import torch

from ts.utils.util import list_classes_from_module


class DenseNetHandler:
    """Answers a batch with one tensor, hence for batches of one request."""

    def __init__(self):
        self.model = None
        self.mapping = None
        self.device = None
        self.initialized = False
        self.context = None
        self.manifest = None
        self.map_location = None

    def initialize(self, context):
        """Loads the model file with its weights, or a TorchScript file. RuntimeError if there is neither."""
        self.context = context
        self.manifest = context.manifest
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        self.map_location = "cuda" if torch.cuda.is_available() and gpu is not None else "cpu"
        self.device = torch.device("cuda:%s" % gpu if self.map_location == "cuda" else "cpu")
        model_dir = properties.get("model_dir")
        entry = self.manifest["model"]
        path = os.path.join(model_dir, entry["serializedFile"]) if entry.get("serializedFile") else None
        if entry.get("modelFile"):
            self.model = self._load_pickled_model(model_dir, entry["modelFile"], path)
        elif path:
            self.model = self._load_torchscript_model(path)
        else:
            raise RuntimeError("No model weights could be loaded")
        self.model.to(self.device)
        self.model.eval()
        self.initialized = True

    def _load_pickled_model(self, model_dir, model_file, model_pt_path):
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

    def _load_torchscript_model(self, model_pt_path):
        return torch.jit.load(model_pt_path, map_location=self.device)

    def preprocess(self, data):
        """The tensors that were sent, as torch.save wrote them, in a tensor of their own."""
        tensors = []
        for row in data:
            saved = row.get("data") or row.get("body")
            tensors.append(torch.load(io.BytesIO(saved), map_location=self.device, weights_only=True))
        return torch.stack(tensors)

    def inference(self, data, *args, **kwargs):
        with torch.inference_mode():
            return self.model(data.to(self.device), *args, **kwargs)

    def postprocess(self, data):
        return [data]

    def handle(self, data, context):
        """A batch to its one answer; reports the metric HandlerTime."""
        start = time.time()
        self.context = context
        results = self.postprocess(self.inference(self.preprocess(data)))
        context.metrics.add_time("HandlerTime", round((time.time() - start) * 1000, 2), None, "ms")
        return results

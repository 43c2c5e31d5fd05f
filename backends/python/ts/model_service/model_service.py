"""Base classes of services as MXNet's model server had them: one request at a time, described by a signature file."""
import json
import os
from abc import ABCMeta, abstractmethod


class ModelService(metaclass=ABCMeta):
    """The manifest's `Model.Signature` names a JSON file with `input_type` and `inputs[0].data_name`."""

    def __init__(self, model_name, model_dir, manifest, gpu=None):
        self.ctx = None
        self._context = None
        self._signature = None

    def initialize(self, context):
        """Reads the signature."""
        self._context = context
        file = os.path.join(context.system_properties.get("model_dir"), context.manifest["Model"]["Signature"])
        with open(file, encoding="utf-8") as signature:
            self._signature = json.load(signature)

    @abstractmethod
    def inference(self, data):
        """A list with the answer for a list with one input."""

    def ping(self):
        return None

    def signature(self):
        """What the signature file says."""
        return self._signature

    def handle(self, data, context):
        """Answers the first request of a batch: the parameter that the signature names, else `data` or `body`."""
        kind = self._signature["input_type"]
        name = self._signature["inputs"][0]["data_name"]
        row = data[0]
        value = row.get(name)
        if value is None:
            value = row.get("data")
        if value is None:
            value = row.get("body")
        if kind == "application/json" and isinstance(value, (bytes, bytearray)):
            value = _literal(bytes(value).decode("utf-8"))
        return self.inference([value])


class SingleNodeService(ModelService):
    """Inference in three steps that a subclass gives."""

    def inference(self, data):
        return self._postprocess(self._inference(self._preprocess(data)))

    @abstractmethod
    def _inference(self, data):
        """The model's output."""

    def _preprocess(self, data):
        return data

    def _postprocess(self, data):
        return data


def _literal(source):
    """JSON, or what older clients send in its place: a literal of Python."""
    try:
        return json.loads(source)
    except ValueError:
        import ast

        return ast.literal_eval(source)

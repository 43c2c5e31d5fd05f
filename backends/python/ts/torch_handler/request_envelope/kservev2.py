"""KServe's second protocol (Open Inference): named tensors in, named tensors out."""
import json
import logging

import numpy as np

from ts.torch_handler.request_envelope.base import BaseEnvelope, payload

logger = logging.getLogger(__name__)

_DatatypeToNumpy = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "byte",
}
_NumpyToDatatype = {name: datatype for datatype, name in _DatatypeToNumpy.items()}


def _to_dtype(datatype):
    """The numpy type, or None (whatever the values are) for a name that the protocol does not have."""
    name = _DatatypeToNumpy.get(datatype)
    return None if name is None else np.dtype(name)


def _to_datatype(dtype):
    """The protocol's name of a numpy type; text and objects are BYTES."""
    if dtype.kind in "OUS":
        return "BYTES"
    return _NumpyToDatatype[str(dtype)]


class KServev2Envelope(BaseEnvelope):
    """Reads the first request of a batch only, so that the batch size must be 1; the handler returns one result per
    input."""

    def parse_input(self, data):
        return self._batch_from_json(data)

    def _batch_from_json(self, rows):
        return self._from_json([payload(row) for row in rows])

    def _from_json(self, body_list):
        body = body_list[0]
        if isinstance(body, (bytes, bytearray)):
            body = json.loads(body)
        if body.get("id") is not None:
            setattr(self.context, "input_request_id", body["id"])
        inputs = body["inputs"]
        setattr(self.context, "input_names", [tensor["name"] for tensor in inputs])
        for tensor in inputs:
            if tensor["datatype"] == "BYTES":
                tensor["data"] = tensor["data"][0]
            else:
                array = np.array(tensor["data"], dtype=_to_dtype(tensor["datatype"]))
                tensor["data"] = array.reshape(tensor["shape"]).tolist()
        return inputs

    def format_output(self, data):
        return self._batch_to_json(data)

    def _batch_to_json(self, data):
        context = self.context
        model = context.manifest.get("model")
        request_id = context.__dict__.pop("input_request_id", None)
        names = context.__dict__.pop("input_names", [])
        outputs = [self._to_json(result, names[index]) for index, result in enumerate(data)]
        return [{
            "id": context.get_request_id() if request_id is None else request_id,
            "model_name": model.get("modelName"),
            "model_version": model.get("modelVersion"),
            "outputs": outputs,
        }]

    def _to_json(self, data, input_name):
        array = np.array(data).flatten()
        return {
            "name": input_name,
            "datatype": _to_datatype(array.dtype),
            "data": array.tolist(),
            "shape": list(array.shape),
        }

"""`{"instances": […]}` in, `{"predictions": […]}` out, with the instances of all requests in one list."""
import json
from base64 import b64decode

from ts.torch_handler.request_envelope.base import BaseEnvelope, payload


class JSONEnvelope(BaseEnvelope):
    """Bodies must have been decoded. Base64 in `{"b64": …}`, as an instance or as a field of one, becomes bytes where the
    first instance is an object."""

    def __init__(self, handle_fn):
        super().__init__(handle_fn)
        self._lengths = []

    def parse_input(self, data):
        batches = self._batch_from_json(data)
        self._lengths = [len(batch) for batch in batches]
        return [instance for batch in batches for instance in batch]

    def format_output(self, data):
        return self._batch_to_json(data, self._lengths)

    def _batch_from_json(self, data_rows):
        return [self._from_json(row) for row in data_rows]

    def _from_json(self, data):
        instances = payload(data)["instances"]
        if len(instances) > 0 and isinstance(instances[0], dict):
            instances = [_decoded(instance) for instance in instances]
        return instances

    def _batch_to_json(self, batch, lengths):
        """One string per request, each with as many predictions as it had instances."""
        results = []
        start = 0
        for length in lengths:
            results.append(self._to_json(batch[start:start + length]))
            start += length
        return results

    def _to_json(self, output):
        return json.dumps({"predictions": output})


def _decoded(instance):
    if not isinstance(instance, dict):
        return instance
    if set(instance) == {"b64"}:
        return b64decode(instance["b64"])
    return {name: _decoded(value) if isinstance(value, dict) and set(value) == {"b64"} else value
            for name, value in instance.items()}

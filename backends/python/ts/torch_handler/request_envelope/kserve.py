"""KServe's first protocol: the instances of one request in, predictions or explanations out."""
import json
import logging

from ts.torch_handler.request_envelope.base import BaseEnvelope, payload

logger = logging.getLogger(__name__)


class KServeEnvelope(BaseEnvelope):
    """Reads the first request of a batch only, so that the batch size must be 1."""

    def parse_input(self, data):
        body = payload(data[0])
        if isinstance(body, (bytes, bytearray)):
            body = json.loads(body)
        return body["instances"]

    def format_output(self, data):
        return [{"explanations" if self._is_explain() else "predictions": data}]

    def _is_explain(self):
        return bool(self.context) and self.context.get_request_header(0, "explain") == "True"

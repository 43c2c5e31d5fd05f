"""The bodies alone, without the dict around each."""
from ts.torch_handler.request_envelope.base import BaseEnvelope, payload


class BodyEnvelope(BaseEnvelope):
    def parse_input(self, data):
        return [payload(row) for row in data]

    def format_output(self, data):
        return data

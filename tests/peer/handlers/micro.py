"""Micro batches: which piece a request was in, and that its answer is its own."""
from ts.handler_utils.micro_batching import MicroBatching


class Micro:
    def __init__(self):
        self.handle = MicroBatching(self, micro_batch_size=2)

    def initialize(self, context):
        self.context = context
        self.handle.parallelism = {"preprocess": 1, "inference": 2, "postprocess": 1}

    def preprocess(self, data):
        return [bytes(row["body"]).decode() for row in data]

    def inference(self, data, *args, **kwargs):
        if "raise" in data:
            raise ValueError("asked for")
        return [(text.upper(), len(data), self.handle.get_micro_batch_idx()) for text in data]

    def postprocess(self, data):
        return [f"{text}, one of {n} in piece {piece}" for text, n, piece in data]

    def _is_explain(self):
        return False

    def _is_describe(self):
        return False

"""JSON lists of numbers in, lists of numbers out; loading and inference are BaseHandler's."""
import torch
from ts.torch_handler.base_handler import BaseHandler


class ScoreHandler(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row.get("data") or row.get("body") for row in data], dtype=torch.float32)

    def postprocess(self, data):
        return [[round(v, 5) for v in row] for row in data.tolist()]

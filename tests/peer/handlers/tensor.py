"""Results and models of PyTorch: an eager model behind BaseHandler."""
import io

import torch
from ts.torch_handler.base_handler import BaseHandler


class Tensor(BaseHandler):
    def preprocess(self, data):
        self.what = self.context.get_request_header(0, "x-do") or "rows"
        rows = [row.get("data") or row.get("body") for row in data]
        return torch.tensor(rows, dtype=torch.float32)

    def postprocess(self, data):
        if self.what == "tensor":
            return list(data)
        if self.what == "facts":
            return [{"device": str(self.device), "map_location": self.map_location, "mapping": self.mapping,
                     "initialized": self.initialized, "model": type(self.model).__name__,
                     "training": self.model.training, "yaml": self.model_yaml_config}]
        if self.what == "labels":
            return [self.mapping[str(int(i))] for i in data.argmax(1)]
        return super().postprocess(data)


def load(data):
    return torch.load(io.BytesIO(data), weights_only=True)

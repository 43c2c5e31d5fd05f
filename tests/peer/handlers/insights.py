"""Explanations without captum: BaseHandler's ways with a get_insights of our own."""
from ts.torch_handler.base_handler import BaseHandler


class Insights(BaseHandler):
    def initialize(self, context):
        super().initialize(context)

    def preprocess(self, data):
        return super().preprocess([row.get("data") or row.get("body") for row in data]).float()

    def get_insights(self, tensor, inputs, target):
        return [{"tensor": tensor.tolist(), "inputs": inputs if isinstance(inputs, list) else str(inputs), "target": target,
                 "explain": self.explain} for _ in range(len(tensor))]

"""Text classification with Transformers: every text is padded to the same length, a batch is one forward pass."""
import ast
import json
import logging
import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class SequenceClassifier(BaseHandler):
    def __init__(self):
        super().__init__()
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        folder = ctx.system_properties.get("model_dir")
        gpu = ctx.system_properties.get("gpu_id")
        on_gpu = torch.cuda.is_available() and gpu is not None
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")

        self.settings = ctx.model_yaml_config["handler"]
        if self.settings["mode"] != "sequence_classification":
            raise ValueError(f"mode {self.settings['mode']} is not sequence_classification")
        if self.settings["save_mode"] == "torchscript":
            path = os.path.join(folder, self.manifest["model"]["serializedFile"])
            self.model = torch.jit.load(path, map_location=self.device)
        else:
            self.model = AutoModelForSequenceClassification.from_pretrained(folder)
            self.model.to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(folder, do_lower_case=self.settings["do_lower_case"])
        self.model.eval()

        names = os.path.join(folder, "index_to_name.json")
        if os.path.isfile(names):
            with open(names) as f:
                self.mapping = json.load(f)
        else:
            logger.warning("there is no index_to_name.json: the answers are numbers")
        self.initialized = True

    def preprocess(self, requests):
        ids, masks = [], []
        for row in requests:
            text = row.get("data")
            if text is None:
                text = row.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            if self.settings["captum_explanation"]:
                text = ast.literal_eval(text)["text"]
            encoded = self.tokenizer(text, max_length=int(self.settings["max_length"]), padding="max_length",
                                     truncation=True, add_special_tokens=True, return_tensors="pt")
            ids.append(encoded["input_ids"])
            masks.append(encoded["attention_mask"])
        return torch.cat(ids).to(self.device), torch.cat(masks).to(self.device)

    def inference(self, batch):
        ids, masks = batch
        with torch.inference_mode():
            logits = self.model(ids, attention_mask=masks)[0]
        print("logits of shape", tuple(logits.shape))
        best = logits.argmax(dim=1).tolist()
        return [self.mapping[str(i)] if self.mapping else str(i) for i in best]

    def postprocess(self, answers):
        return answers

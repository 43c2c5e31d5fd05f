"""Three modes of TorchServe's Transformers example in its manner: settings under `handler:`, texts padded to max_length,
a batch is one forward pass, the tokenizer's own words for what it cut."""
import ast
import json
import os

import torch
from transformers import (AutoModelForQuestionAnswering, AutoModelForSequenceClassification,
                          AutoModelForTokenClassification, AutoTokenizer)
from ts.torch_handler.base_handler import BaseHandler

MODELS = {"sequence_classification": AutoModelForSequenceClassification,
          "token_classification": AutoModelForTokenClassification, "question_answering": AutoModelForQuestionAnswering}


class Modes(BaseHandler):
    def initialize(self, ctx):
        folder = ctx.system_properties.get("model_dir")
        self.setup = ctx.model_yaml_config["handler"]
        self.mode = self.setup["mode"]
        self.model = MODELS[self.mode].from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder, do_lower_case=self.setup["do_lower_case"])
        names = os.path.join(folder, "index_to_name.json")
        if os.path.isfile(names):
            with open(names) as f:
                self.mapping = json.load(f)
        self.initialized = True

    def encode(self, *texts):
        return self.tokenizer(*texts, max_length=int(self.setup["max_length"]), padding="max_length", truncation=True,
                              add_special_tokens=True, return_tensors="pt")

    def preprocess(self, requests):
        rows = []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            if self.mode == "question_answering":
                both = ast.literal_eval(text)
                rows.append(self.encode(both["question"], both["context"]))
            elif self.setup["captum_explanation"]:
                rows.append(self.encode(ast.literal_eval(text)["text"]))
            else:
                rows.append(self.encode(text))
        return torch.cat([r["input_ids"] for r in rows]), torch.cat([r["attention_mask"] for r in rows])

    @torch.inference_mode()
    def inference(self, batch):
        ids, mask = batch
        out = self.model(ids, mask)
        if self.mode == "sequence_classification":
            return [self.mapping[str(row.argmax().item())] for row in out.logits]
        if self.mode == "question_answering":
            return [self.answer(row, start.argmax(), end.argmax() + 1)
                    for row, start, end in zip(ids.tolist(), out.start_logits, out.end_logits)]
        labels = self.mapping["label_list"].strip("][").split(", ")
        return [[(token, labels[best]) for token, best in zip(self.words(row), scores.argmax(dim=1).tolist())]
                for row, scores in zip(ids, out.logits)]

    def answer(self, ids, start, end):
        return self.tokenizer.convert_tokens_to_string(self.tokenizer.convert_ids_to_tokens(ids[start:end]))

    def words(self, ids):
        return self.tokenizer.tokenize(self.tokenizer.decode(ids))

    def postprocess(self, answers):
        return answers

"""The same model as a careful user serves it: half precision on a GPU, one call of the tokeniser a batch, padded to the
longest text of the batch only, one copy each way, nothing printed."""
import torch
from seqclass_handler import SequenceClassifier


class TunedHandler(SequenceClassifier):
    def initialize(self, ctx):
        super().initialize(ctx)
        if self.device.type == "cuda":
            self.model.half()
        self.names = [self.mapping[str(i)] for i in range(len(self.mapping))]

    def preprocess(self, requests):
        texts = [row.get("data") or row.get("body") for row in requests]
        texts = [t.decode("utf-8") if isinstance(t, (bytes, bytearray)) else t for t in texts]
        batch = self.tokenizer(texts, padding=True, truncation=True, max_length=int(self.settings["max_length"]),
                               return_tensors="pt")
        return [batch[k].to(self.device, non_blocking=True) for k in ("input_ids", "attention_mask")]

    def inference(self, batch):
        ids, masks = batch
        with torch.inference_mode():
            return self.model(ids, attention_mask=masks).logits.argmax(1).tolist()

    def postprocess(self, picks):
        return [self.names[p] for p in picks]

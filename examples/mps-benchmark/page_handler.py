"""The handler of TorchServe's page on MPS: each text is tokenised, padded and moved to the device alone, every request is
logged, every batch's logits are printed, each answer is fetched from the device by itself."""
import logging

import torch
from seqclass_handler import SequenceClassifier

logger = logging.getLogger(__name__)


class PageHandler(SequenceClassifier):
    def preprocess(self, requests):
        ids = masks = None
        for row in requests:
            one_id, one_mask = super().preprocess([row])
            logger.info("Received text: '%s'", row.get("data") or row.get("body"))
            ids = one_id if ids is None else torch.cat((ids, one_id))
            masks = one_mask if masks is None else torch.cat((masks, one_mask))
        return ids, masks

    def inference(self, batch):
        with torch.inference_mode():
            logits = self.model(*batch)[0]
        print("logits of shape", tuple(logits.shape))
        print(logits)
        return [self.mapping[str(row.argmax().item())] for row in logits]

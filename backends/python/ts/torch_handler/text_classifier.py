"""A text to the probabilities of all classes."""
import torch

from ts.handler_utils.text_utils import ngrams_iterator
from ts.torch_handler.text_handler import TextHandler
from ts.utils.needs import needs
from ts.utils.util import map_class_to_label


class TextClassifier(TextHandler):
    """A model from token ids and offsets, as torch.nn.EmbeddingBag takes them, to scores. Reads the first row of a batch
    only: for batches of one request."""

    ngrams = 2

    def preprocess(self, data):
        """The ids of the text's words and word pairs, and the words. UnicodeDecodeError for bytes that are no UTF-8,
        whatever the vocabulary says for words that it lacks."""
        text = data[0].get("data") or data[0].get("body")
        if isinstance(text, (bytes, bytearray)):
            text = text.decode("utf-8")
        text = self._remove_html_tags(text).lower()
        text = self._remove_accented_characters(self._expand_contractions(text))
        tokens = self._tokenize(self._remove_punctuation(text))
        ids = [self.source_vocab[token] for token in ngrams_iterator(tokens, self.ngrams)]
        return torch.as_tensor(ids, device=self.device), tokens

    def inference(self, data, *args, **kwargs):
        ids, _ = data
        return super().inference(ids, torch.as_tensor([0], device=self.device))

    def postprocess(self, data):
        return map_class_to_label(torch.softmax(data, dim=1).tolist(), self.mapping)

    def get_insights(self, text_preprocess, _, target=0):
        """How much each word speaks for class `target`: `[{"importances": …, "words": …}]`."""
        ids, tokens = text_preprocess
        captum = needs("captum.attr", "captum", "an explanation")
        reference = captum.TokenReferenceBase().generate_reference(ids.shape[0], self.device)
        attributions = self.lig.attribute(ids, reference.squeeze(0), target=target,
                                          additional_forward_args=torch.as_tensor([0], device=self.device))
        return [{
            "importances": self.summarize_attributions(attributions).tolist(),
            "words": self.get_word_token(tokens),
        }]

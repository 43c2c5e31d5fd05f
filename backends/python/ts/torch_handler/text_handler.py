"""What handlers of text have in common: the vocabulary, cleaning of text, and importances as explanation."""
import os
import re
import string
import unicodedata
from abc import ABC

import torch

from ts.handler_utils.text_utils import get_tokenizer
from ts.torch_handler.base_handler import BaseHandler
from ts.torch_handler.contractions import CONTRACTION_MAP
from ts.utils.needs import needs
from ts.utils.util import CLEANUP_REGEX

CONTRACTIONS_PATTERN = re.compile("(%s)" % "|".join(CONTRACTION_MAP), re.IGNORECASE | re.DOTALL)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextHandler(BaseHandler, ABC):
    """For models with an attribute `embedding` and an archive with a vocabulary."""

    _gradients = None

    def __init__(self):
        super().__init__()
        self.source_vocab = None
        self.tokenizer = get_tokenizer("basic_english")
        self.input_text = None
        self.initialized = None

    @property
    def lig(self):
        """Captum's integrated gradients of the embedding. ModuleNotFoundError without captum: only explanations need it."""
        if self._gradients is None and self.model is not None:
            captum = needs("captum.attr", "captum", "an explanation")
            self._gradients = captum.LayerIntegratedGradients(self.model, self.model.embedding)
        return self._gradients

    @lig.setter
    def lig(self, gradients):
        self._gradients = gradients

    def initialize(self, context):
        """Also reads the vocabulary. Raises for an archive without one, and for a model without `embedding`."""
        super().initialize(context)
        self.source_vocab = torch.load(self.get_source_vocab_path(context), weights_only=False)
        self._gradients = None  # of the model before
        self.model.embedding  # noqa: B018 - an archive that lacks it is told at load
        self.initialized = True

    def get_source_vocab_path(self, ctx):
        """The vocabulary that the manifest names, else the archive's source_vocab.pt."""
        model_dir = ctx.system_properties.get("model_dir")
        path = os.path.join(model_dir, ctx.manifest["model"].get("sourceVocab") or "source_vocab.pt")
        if not os.path.isfile(path):
            raise Exception("Missing the source_vocab file. Refer default handler documentation for details on using text_handler.")
        return path

    def _expand_contractions(self, text):
        """Contractions written out; the first character stays, whatever its case. No apostrophe is left."""
        def written_out(match):
            found = match.group(0)
            return found[0] + (CONTRACTION_MAP.get(found) or CONTRACTION_MAP.get(found.lower()))[1:]

        return CONTRACTIONS_PATTERN.sub(written_out, text).replace("'", "")

    def _remove_accented_characters(self, text):
        return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")

    def _remove_html_tags(self, text):
        return CLEANUP_REGEX.sub("", text)

    def _remove_punctuation(self, text):
        return text.translate(_PUNCTUATION)

    _remove_puncutation = _remove_punctuation  # the name that older handlers know

    def _tokenize(self, text):
        return self.tokenizer(text)

    def get_word_token(self, input_tokens):
        """Tokens without the mark that byte-pair encodings set before a word."""
        return [token.replace("\u0120", "") for token in input_tokens]

    def summarize_attributions(self, attributions):
        """Attributions as shares, scaled by the length of the vector of their sums."""
        shares = torch.softmax(attributions, dim=0 if attributions.dim() in (0, 1, 3) else 1)
        return shares / torch.norm(shares.sum(dim=-1).squeeze(0))

"""What handlers of images have in common: rows to one tensor, and integrated gradients as explanation."""
import base64
import io
from abc import ABC

import torch

from ts.handler_utils.timer import timed
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.needs import needs

Image = needs("PIL.Image", "pillow", "vision_handler")


class VisionHandler(BaseHandler, ABC):
    """Subclasses give `image_processing`, a function from a PIL image to a tensor, and `postprocess`."""

    _gradients = None

    @property
    def ig(self):
        """Captum's integrated gradients of the model. ModuleNotFoundError without captum: only explanations need it."""
        if self._gradients is None:
            self._gradients = needs("captum.attr", "captum", "an explanation").IntegratedGradients(self.model)
        return self._gradients

    @ig.setter
    def ig(self, gradients):
        self._gradients = gradients

    def initialize(self, context):
        super().initialize(context)
        self._gradients = None  # of the model before
        if not context.system_properties.get("limit_max_image_pixels"):
            Image.MAX_IMAGE_PIXELS = None

    @timed
    def preprocess(self, data):
        """One tensor with all images of the batch, which must come to the same shape. A row holds an image file as bytes
        or in base64 text, or the numbers of a tensor. What PIL or torch say of anything else goes through."""
        images = []
        for row in data:
            image = row.get("data") or row.get("body")
            if isinstance(image, str):
                image = base64.b64decode(image)
            if isinstance(image, (bytes, bytearray)):
                image = self.image_processing(Image.open(io.BytesIO(image)))
            else:
                image = torch.FloatTensor(image)
            images.append(image)
        return torch.stack(images).to(self.device)

    def get_insights(self, tensor_data, _, target=0):
        """How much each number of the images speaks for class `target`, in nested lists."""
        return self.ig.attribute(tensor_data, target=target, n_steps=15).tolist()

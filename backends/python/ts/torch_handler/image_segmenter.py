"""Images to the class of each of their pixels."""
import torch
from torch.nn import functional

from ts.handler_utils.timer import timed
from ts.torch_handler.vision_handler import VisionHandler
from ts.utils.needs import needs

transforms = needs("torchvision.transforms", "torchvision", "image_segmenter")


class ImageSegmenter(VisionHandler):
    """A model like torchvision's: its answer's entry `out` holds scores by class, row and column."""

    image_processing = transforms.Compose([
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ])

    @timed
    def postprocess(self, data):
        """For each image rows of columns of `[class, probability]`."""
        probabilities, classes = torch.max(functional.softmax(data["out"], dim=1), dim=1)
        return torch.stack([classes.type(probabilities.dtype), probabilities], dim=3).tolist()

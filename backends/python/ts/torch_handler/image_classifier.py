"""Images to the labels that fit best."""
from torch.nn import functional
from torch import topk

from ts.handler_utils.timer import timed
from ts.torch_handler.vision_handler import VisionHandler
from ts.utils.needs import needs
from ts.utils.util import map_class_to_label

transforms = needs("torchvision.transforms", "torchvision", "image_classifier")


class ImageClassifier(VisionHandler):
    """A model from images of ImageNet's size and colours to scores of classes; answers `{label: probability}`."""

    topk = 5
    image_processing = transforms.Compose([
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
    ])

    def set_max_result_classes(self, topk):
        self.topk = topk

    def get_max_result_classes(self):
        return self.topk

    @timed
    def postprocess(self, data):
        """The `topk` best classes of each image, best first. RuntimeError if the model has fewer."""
        probabilities, classes = topk(functional.softmax(data, dim=1), self.topk, dim=1)
        return map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())

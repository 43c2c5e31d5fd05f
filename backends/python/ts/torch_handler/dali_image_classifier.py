"""image_classifier with images that NVIDIA DALI decodes."""
import torch
from torch.nn import functional

from ts.handler_utils.timer import timed
from ts.torch_handler.dali_handler import DALIHandler
from ts.utils.util import map_class_to_label


class DALIImageClassifier(DALIHandler):
    """JPEG files to `{label: probability}`, the best first."""

    topk = 5

    def set_max_result_classes(self, topk):
        self.topk = topk

    def get_max_result_classes(self):
        return self.topk

    @timed
    def postprocess(self, data):
        """The `topk` best classes of each image. RuntimeError if the model has fewer."""
        probabilities, classes = torch.topk(functional.softmax(data, dim=1), self.topk, dim=1)
        return map_class_to_label(probabilities.tolist(), self.mapping, classes.tolist())

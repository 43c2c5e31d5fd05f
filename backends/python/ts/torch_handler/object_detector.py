"""Images to the objects in them."""
from ts.handler_utils.timer import timed
from ts.torch_handler.vision_handler import VisionHandler
from ts.utils.needs import needs
from ts.utils.util import map_class_to_label

transforms = needs("torchvision.transforms", "torchvision", "object_detector")


class ObjectDetector(VisionHandler):
    """A model like torchvision's: for each image a dict of `boxes`, `labels` and `scores`."""

    threshold = 0.5
    image_processing = transforms.Compose([transforms.ToTensor()])

    @timed
    def postprocess(self, data):
        """For each image a list of `{label: box, "score": score}`: the objects whose score reaches the threshold."""
        answers = []
        for found in data:
            wanted = found["scores"] >= self.threshold
            boxes = found["boxes"][wanted].tolist()
            classes = found["labels"][wanted].tolist()
            scores = found["scores"][wanted].tolist()
            objects = map_class_to_label([[box] for box in boxes], self.mapping, [[cls] for cls in classes])
            for entry, score in zip(objects, scores):
                entry["score"] = score
            answers.append(objects)
        return answers

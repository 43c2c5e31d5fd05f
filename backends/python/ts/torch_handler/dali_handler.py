"""What handlers have in common whose images NVIDIA DALI prepares."""
from abc import ABC

import numpy

from ts.handler_utils.preprocess.dali import get_dali_pipeline
from ts.handler_utils.timer import timed
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.needs import needs


class DALIHandler(BaseHandler, ABC):
    """Needs the section `dali` of the model's configuration: batch_size, num_threads, device_id, seed, and perhaps
    pipeline_file. A subclass may set `pipe` after `initialize`."""

    pipe = None

    def initialize(self, context):
        super().initialize(context)
        self.pipe = get_dali_pipeline(context)
        self.pipe.build()

    @timed
    def preprocess(self, data):
        """The images of the batch as one tensor. ValueError for more rows than the pipeline takes, and for one that is
        no file; DALI's own errors for a broken one."""
        images = []
        for row in data:
            image = row.get("data") or row.get("body")
            if not isinstance(image, (bytes, bytearray)):
                raise ValueError("DALI takes image files as bytes, not %s" % type(image).__name__)
            images.append(numpy.frombuffer(image, dtype=numpy.uint8))
        if len(images) > self.pipe.max_batch_size:
            raise ValueError("%d images, but the section dali says batch_size: %d" % (len(images), self.pipe.max_batch_size))
        torch_plugin = needs("nvidia.dali.plugin.pytorch", "nvidia-dali-cuda120", "dali_handler")
        import torch

        self.pipe.feed_input("source", images)
        (output,) = self.pipe.run()
        prepared = output.as_tensor()
        tensor = torch.empty(prepared.shape(), dtype=torch.float32,
                             device=self.device if "GPU" in type(prepared).__name__.upper() else "cpu")
        torch_plugin.feed_ndarray(prepared, tensor)
        return tensor.to(self.device)

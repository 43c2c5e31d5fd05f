"""What handlers have in common whose model DeepSpeed spreads over ranks."""
import os
from abc import ABC

from ts.torch_handler.base_handler import BaseHandler


class BaseDeepSpeedHandler(BaseHandler, ABC):
    """Subclasses load the model in `initialize`, after this class's; see ts.handler_utils.distributed.deepspeed."""

    def initialize(self, ctx):
        """This rank's device. KeyError outside of torchrun."""
        self.device = int(os.environ["LOCAL_RANK"])

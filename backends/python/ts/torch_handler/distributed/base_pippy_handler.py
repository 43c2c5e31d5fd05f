"""What handlers have in common whose model PiPPy cuts into stages."""
import os
from abc import ABC

import torch

from ts.handler_utils.distributed.pt_pippy import initialize_rpc_workers
from ts.torch_handler.base_handler import BaseHandler


class BasePippyHandler(BaseHandler, ABC):
    """Subclasses load the model in `initialize`, after this class's, and give it to get_pipeline_driver."""

    def __init__(self):
        super().__init__()
        self.initialized = False
        self.local_rank = self.world_size = None

    def initialize(self, ctx):
        """This rank's number and device, and its place in torch's RPC. KeyError outside of torchrun."""
        self.local_rank = int(os.environ["LOCAL_RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.device = self.local_rank % torch.cuda.device_count() if torch.cuda.is_available() else torch.device("cpu")
        initialize_rpc_workers(self.local_rank, self.world_size, ctx)

"""Lets torchvision's wheel be imported beside a torch without CUDA: put this folder on PYTHONPATH.

The compiled library of the wheel is linked with CUDA's, so that it does not load there, and torchvision then trips over the
operators that it takes for granted. Declaring them is enough: no handler calls them.
"""
import sys


class _BeforeTorchvision:
    """Declares the operators when torchvision is about to be imported; finds nothing itself."""

    library = None  # keeps the declaration alive

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "torchvision" and cls.library is None:
            try:
                import torch
            except ImportError:
                return None
            if torch.version.cuda is None:
                cls.library = torch.library.Library("torchvision", "FRAGMENT")
                for name in ("nms", "qnms"):
                    cls.library.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


# Once: the same file may also be in the interpreter's packages.
if all(getattr(finder, "__name__", "") != _BeforeTorchvision.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, _BeforeTorchvision)

"""The `ts` package as handlers know it from TorchServe 0.12. Importing it costs next to nothing."""
from ts.version import __version__

__all__ = ["__version__"]

"""The release of TorchServe whose contract this package keeps; handlers read it."""
__version__ = "0.12.0"

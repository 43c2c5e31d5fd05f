"""Imports of packages that only some handlers need: what is missing is said by the name under which pip knows it."""
import importlib


def needs(module, package, who):
    """The module, imported. ModuleNotFoundError where it is not installed: it says who needs it and what installs it. What
    a module raises that is there goes through."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not error.name or not (module + ".").startswith(error.name + "."):
            raise  # the module is there and misses something itself
        raise ModuleNotFoundError(
            "%s needs the package %s, which this model's Python does not have: pip install %s" % (who, package, package),
            name=error.name) from error

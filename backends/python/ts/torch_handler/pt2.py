"""The `pt2` section of a model's configuration: whether and how torch.compile is asked for."""
import logging

from ts.utils.util import check_valid_pt2_backend

logger = logging.getLogger(__name__)


def compile_options(config):
    """The keyword arguments for torch.compile, or None where nothing is to be compiled. Accepts the forms that
    TorchServe accepted over time; ValueError for a section that is neither str nor dict."""
    section = config.get("pt2")
    if not section:
        return None
    if isinstance(section, str):
        _old_form()
        options = {"backend": section}
    elif not isinstance(section, dict):
        raise ValueError("pt2 should be str or dict")
    elif "compile" in section:
        options = dict(section["compile"])
        if not options.pop("enable"):
            return None
    elif "export" in section:
        return None
    else:
        _old_form()
        options = dict(section)
    backend = options.get("backend")
    if backend is not None and not check_valid_pt2_backend(backend):
        return None
    return options


def compiled(torch, model, options):
    """The compiled model, or the model as it was, with a warning, where torch.compile refuses."""
    said = ", ".join("%s %s" % pair for pair in options.items())
    try:
        model = torch.compile(model, **options)
    except Exception as error:
        logger.warning("Compiling model with %s has failed: %s", said or "defaults", error, exc_info=True)
    else:
        logger.info("Compiled model with %s", said)
    return model


def aot_compile(config):
    """Whether the serialized file is an ahead-of-time compiled library."""
    section = config.get("pt2")
    export = section.get("export") if isinstance(section, dict) else None
    return bool(isinstance(export, dict) and export.get("aot_compile"))


def _old_form():
    logger.warning("This form of the pt2 section is deprecated: write pt2: {compile: {enable: true, backend: …}}")

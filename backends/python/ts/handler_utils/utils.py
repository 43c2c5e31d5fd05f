"""Helpers of handlers that stream or that name their classes in a configuration."""
import importlib


def send_intermediate_predict_response(ret, req_id_map, message, code, context):
    """Sends a part of the answers while the handler goes on. The worker's connection (`context.cl_socket`) does it;
    on ranks other than 0 nothing is sent. NotImplementedError where the connection cannot."""
    import os

    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    send = getattr(getattr(context, "cl_socket", None), "send_intermediate", None)
    if send is None:
        raise NotImplementedError("this server does not stream the answers of Python handlers yet")
    send(ret, req_id_map, message, code, context)


def import_class(class_name, module_prefix=None):
    """The class of `package.module.Class`, or of `Class` in the module `module_prefix`. ImportError if there is none."""
    if not class_name:
        raise ImportError("class name is not defined")
    module_name, _, name = class_name.rpartition(".")
    if module_prefix:
        module_name = "%s.%s" % (module_prefix, module_name) if module_name else module_prefix
    if not module_name:
        raise ImportError("module name is not defined.")
    module = importlib.import_module(module_name)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ImportError("class:%s not found in module:%s." % (name, module_name)) from None

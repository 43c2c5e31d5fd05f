"""Helpers of handlers that stream or that name their classes in a configuration."""
import importlib
import os


def send_intermediate_predict_response(ret, req_id_map, message, code, context):
    """Sends a part of the answers while the handler goes on: `ret[index]` to the request of each `{index: id}` of
    req_id_map, which may name some of the batch. What the handler returns in the end is the last part. On ranks other
    than 0 nothing is sent.

    `message` is told only with a code other than 200, which ends these requests with that error. Raises ValueError for
    an id that is not being answered.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        return
    connection = getattr(context, "cl_socket", None)
    send = getattr(connection, "send_intermediate", None)
    if send is not None:
        send(ret, req_id_map, message, code, context)
    elif connection is not None:  # of a frontend that is not ours
        from ts.protocol.otf_message_handler import create_predict_response

        connection.sendall(create_predict_response(ret, req_id_map, message, code, context, True))
    else:
        raise ValueError("the context has no connection to send by: it is none of a worker")


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

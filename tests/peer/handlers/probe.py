"""Does what the header x-do of the first request asks; without it, says what it was given."""
import json
import logging
import os
import signal
import sys

from ts.utils.util import PredictionException

logger = logging.getLogger(__name__)


def tell(value):
    """A value with its type, as JSON can say it."""
    if isinstance(value, (bytes, bytearray)):
        return [type(value).__name__, value.decode("latin-1")]
    if isinstance(value, dict):
        return [type(value).__name__, {k: tell(v) for k, v in value.items()}]
    if isinstance(value, list):
        return [type(value).__name__, [tell(v) for v in value]]
    if hasattr(value, "dtype"):
        return [type(value).__name__, str(value.dtype), value.tolist()]
    return [type(value).__name__, value]


class Probe:
    def __init__(self):
        self.calls = 0

    def initialize(self, context):
        self.at_load = {"request_ids": context.request_ids, "request_processor": context.request_processor,
                        "metrics": type(context.metrics).__name__}
        context.kept = "kept"

    def handle(self, data, context):
        self.calls += 1
        self.data, self.context = data, context
        what = context.get_request_header(0, "x-do") or "rows"
        return getattr(self, "do_" + what.replace("-", "_"))(context.get_request_header(0, "x-with"))

    # ---- what it sees ----

    def do_rows(self, _):
        return [json.dumps(tell(row)) for row in self.data]

    def do_headers(self, _):
        return [json.dumps(self.context.get_all_request_header(0), sort_keys=True)]

    def do_context(self, _):
        c = self.context
        sp = dict(c.system_properties)
        sp["model_dir"] = os.path.isabs(sp["model_dir"]) and os.path.samefile(sp["model_dir"], os.getcwd())
        return [{"model_name": c.model_name, "manifest": c.manifest, "system_properties": sp,
                 "model_yaml_config": c.model_yaml_config, "request_ids": [type(k).__name__ for k in c.request_ids],
                 "stopping_criteria": c.stopping_criteria, "kept": c.kept, "at_load": self.at_load,
                 "sequence": [c.header_key_sequence_id, c.header_key_sequence_start, c.header_key_sequence_end],
                 "status": c.get_response_status(0), "equal": c == c, "headers": c.get_response_headers(0),
                 "same id": c.get_request_id() == c.request_ids[0], "no id": c.get_request_id(7),
                 "content type": c.get_response_content_type(0), "processors": len(c.request_processor)}]

    def do_environment(self, name):
        return [os.environ.get(name, "(not set)")]

    def do_path(self, _):
        import ts
        return [{"cwd on path": os.getcwd() in [os.path.realpath(p) for p in sys.path],
                 "ts folder on path": os.path.dirname(ts.__file__) in sys.path, "version": ts.__version__}]

    # ---- what it answers ----

    def do_body(self, _):
        return [row.get("data") or row.get("body") for row in self.data]

    def do_python(self, text):
        return eval(text, {"self": self})  # the tests' own text

    def numpy(self):
        import numpy
        return numpy

    def do_size(self, text):
        return [b"x" * int(text)]

    # ---- how it fails ----

    def do_raise(self, text):
        raise eval(text)

    def do_prediction_exception(self, text):
        raise PredictionException(*json.loads(text))

    def do_exit(self, text):
        os._exit(int(text))

    def do_sys_exit(self, text):
        sys.exit(int(text))

    def do_kill(self, name):
        os.kill(os.getpid(), getattr(signal, name))

    def do_sleep(self, text):
        import time
        time.sleep(float(text))
        return ["slept"]

    # ---- what else it does to its answer ----

    def do_respond(self, text):
        ask = json.loads(text)
        for key, value in ask.get("headers", []):
            self.context.set_response_header(0, key, value)
        if "content_type" in ask:
            self.context.set_response_content_type(0, ask["content_type"])
        if "status" in ask:
            self.context.set_response_status(*ask["status"])
        if "all" in ask:
            self.context.set_all_response_status(*ask["all"])
        return [ask.get("body", "answer")]

    # ---- what it prints ----

    def do_print(self, text):
        print(text)
        return ["printed"]

    def do_stderr(self, text):
        print(text, file=sys.stderr)
        return ["printed"]

    def do_log(self, text):
        logger.debug("debug %s", text)
        logger.info("info %s", text)
        return ["logged"]

    def do_metric(self, text):
        name, args = json.loads(text)
        getattr(self.context.metrics, name)(*args)
        return ["counted"]

    def do_metric_error(self, text):
        name, args = json.loads(text)
        try:
            getattr(self.context.metrics, name)(*args)
        except Exception as e:
            return [f"{type(e).__name__}: {e}"]
        return ["no error"]

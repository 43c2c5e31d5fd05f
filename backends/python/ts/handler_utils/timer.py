"""Times the steps of a handler, where its model's configuration asks for it."""
import functools
import sys
import time


def timed(func):
    """A decorator for `preprocess`, `inference` and `postprocess`: with `handler: {profile: true}` in the model's
    configuration it reports the metric `ts_handler_<method>` in ms; else it only calls."""

    @functools.wraps(func)
    def call(self, *args, **kwargs):
        context = getattr(self, "context", None)
        if not context or not _wanted(context):
            return func(self, *args, **kwargs)
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            result = func(self, *args, **kwargs)
            end.record()
            torch.cuda.synchronize()
            took = begin.elapsed_time(end)
        else:
            start = time.perf_counter()
            result = func(self, *args, **kwargs)
            took = (time.perf_counter() - start) * 1000
        context.metrics.add_time("ts_handler_" + func.__name__, took)
        return result

    return call


def _wanted(context):
    section = (getattr(context, "model_yaml_config", None) or {}).get("handler")
    return isinstance(section, dict) and bool(section.get("profile"))

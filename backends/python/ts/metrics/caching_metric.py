"""A metric that is known by name; every value is printed at once and kept nowhere."""
import logging
import time

from ts import log
from ts.metrics.metric_abstract import MetricAbstract
from ts.metrics.metric_type_enum import MetricTypes

logger = logging.getLogger(__name__)

_hostname = None


def hostname():
    """This machine's name, looked up once."""
    global _hostname
    if _hostname is None:
        try:
            from os import uname

            _hostname = uname().nodename
        except ImportError:
            import socket

            _hostname = socket.gethostname()
    return _hostname


class CachingMetric(MetricAbstract):
    """What the `add_…` calls of the metrics cache create and `get_metric` returns."""

    def frame(self, dimension_text):
        """The two constant pieces of a line: before the value, and between the value and the time."""
        return (
            "[METRICS]%s.%s:" % (self.metric_name, self.unit),
            "|#%s|#type:%s|#hostname:%s," % (dimension_text, self.metric_type.name, hostname()),
        )

    def emit_metrics(self, request_id, value, dimension_string):
        """Prints one line whatever the value is; `request_id` may be empty or None."""
        before, between = self.frame(dimension_string)
        text = "%s%s%s%d" % (before, value, between, time.time())
        log.metric_line("%s,%s" % (text, request_id) if request_id else text)

    def _refusal(self, value, dimension_values):
        """Why the value is not to be reported, or None, and the text of the dimensions."""
        names = self.dimension_names
        if dimension_values is None or len(dimension_values) != len(names):
            return "Dimension values: %s should correspond to Dimension names: %s" % (dimension_values, names), ""
        text = ",".join(["%s:%s" % pair for pair in zip(names, dimension_values)])
        if self.metric_type is MetricTypes.COUNTER and value < 0:
            return "Counter metric update value cannot be negative", text
        return None, text

    def _report(self, value, dimension_values, request_id):
        why, text = self._refusal(value, dimension_values)
        if why is None:
            self.emit_metrics(request_id, value, text)
        else:
            logger.error(
                "[METRICS]Failed to update metric with name:%s and dimensions: %s with value: %s: %s",
                self.metric_name, text, value, why,
            )

    def add_or_update(self, value, dimension_values=(), request_id=""):
        """Prints the value. As many dimension values as names, and no negative counter: anything else is logged, not raised."""
        self._report(value, dimension_values if dimension_values is None else list(dimension_values), request_id)

    def update(self, value, request_id="", dimensions=()):
        """The older form: `dimensions` replace the names and give the values."""
        logger.warning("Overriding existing dimensions")
        self.dimension_names = [dimension.name for dimension in dimensions]
        self._report(value, [dimension.value for dimension in dimensions], request_id)

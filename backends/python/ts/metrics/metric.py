"""Deprecated: one value of a metric, as MetricsStore keeps it."""
import time

from ts.metrics.caching_metric import CachingMetric, hostname
from ts.metrics.metric_type_enum import MetricTypes
from ts.metrics.unit import Units

MetricUnit = Units()


class Metric:
    """`str()` is the line without prefix and type; `update` and `reset` print a line."""

    def __init__(self, name, value, unit, dimensions, request_id=None, metric_method=None):
        self.metric_type = MetricTypes.COUNTER
        self.dimensions = dimensions
        self.dimension_names = [dimension.name for dimension in dimensions]
        self.dimension_values = [dimension.value for dimension in dimensions]
        self._caching_metric = CachingMetric(name, unit, self.dimension_names, self.metric_type)
        self.name = name
        self.unit = self._caching_metric.unit
        self.metric_method = metric_method
        self.value = value
        self.request_id = request_id

    def update(self, value):
        """Prints a new value; the object keeps its first one."""
        self._caching_metric.add_or_update(value, self.dimension_values, self.request_id)

    def reset(self):
        """Prints zero."""
        self.update(0)

    def __str__(self):
        dimensions = ",".join([str(dimension) for dimension in self.dimensions])
        text = "%s.%s:%s|#%s|#hostname:%s,%d" % (self.name, self.unit, self.value, dimensions, hostname(), time.time())
        return "%s,%s" % (text, self.request_id) if self.request_id else text

    def to_dict(self):
        """The form that MetricEncoder writes."""
        return {
            "MetricName": self.name,
            "Value": self.value,
            "Unit": self.unit,
            "Dimensions": self.dimensions,
            "Timestamp": int(time.time()),
            "HostName": hostname(),
            "RequestId": self.request_id,
        }

"""What every metric has."""
from abc import ABC, abstractmethod

from ts.metrics.metric_type_enum import MetricTypes
from ts.metrics.unit import Units, printed

MetricUnit = Units()


class MetricAbstract(ABC):
    """Attributes: `metric_name`, `unit` (as printed), `dimension_names` (a list of its own), `metric_type`."""

    def __init__(self, metric_name, unit, dimension_names=None, metric_type=MetricTypes.COUNTER):
        self.metric_name = metric_name
        self.unit = printed(unit)
        self.dimension_names = list(dimension_names or ())
        self.metric_type = metric_type

    @abstractmethod
    def add_or_update(self, value, dimension_values, request_id=""):
        """Reports a value."""

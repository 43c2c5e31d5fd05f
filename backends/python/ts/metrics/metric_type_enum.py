"""Kinds of metrics."""
from enum import Enum


class MetricTypes(Enum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"

    # Enum's own is a Python function; a type is looked up in a dict with every metric.
    __hash__ = object.__hash__

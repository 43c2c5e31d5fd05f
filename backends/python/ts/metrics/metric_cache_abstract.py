"""`context.metrics`: what a handler calls to report a number."""
import copy
from abc import ABC, abstractmethod

from ts._runtime.request_ids import RequestIds
from ts.metrics.dimension import Dimension
from ts.metrics.metric_cache_errors import MetricsCacheTypeError, MetricsCacheValueError
from ts.metrics.metric_type_enum import MetricTypes


def all_ids(request_ids):
    """The ids of a batch as a metric line names them."""
    if isinstance(request_ids, dict):
        return ",".join(request_ids.values())
    return str(request_ids) if request_ids else ""


class MetricCacheAbstract(RequestIds, ABC):
    """Metrics by type and name, and whose requests are being worked on.

    A `dimensions` list that a caller passes gets the default dimensions appended, as handlers know it; without one
    every call starts from a list of its own.
    """

    def __init__(self, config_file_path):
        self.cache = {}
        self.store = []
        self.model_name = None
        self.config_file_path = config_file_path

    def set_request_ids(self, request_ids):
        self.request_ids = request_ids

    def __deepcopy__(self, memo):
        """The same metrics, for other requests: a copied context counts into them, too."""
        return copy.copy(self)

    def begin(self, ids):
        """A new batch: the ids in its order. For the service only."""
        self._ids = ids
        self._request_ids = None

    def _get_req(self, idx):
        """The text for one request of the batch, or for all if there is no such index."""
        ids = self.request_ids
        if idx is not None and isinstance(ids, dict) and idx in ids:
            return ids[idx]
        return all_ids(ids)

    def _add_default_dims(self, idx, dimensions):
        if self.request_ids is None:
            _append_missing(dimensions, "Level", "Error")
            return None
        _append_missing(dimensions, "ModelName", self.model_name)
        _append_missing(dimensions, "Level", "Model")
        return self._get_req(idx)

    def add_metric(self, name, value, unit, idx=None, dimensions=None, metric_type=MetricTypes.COUNTER):
        """Reports any metric; it is registered if it is new."""
        dimensions = [] if dimensions is None else dimensions
        request_id = self._add_default_dims(idx, dimensions)
        metric = self._get_or_add_metric(name, unit, dimensions, metric_type)
        metric.add_or_update(value, [dimension.value for dimension in dimensions], request_id)

    def add_counter(self, name, value, idx=None, dimensions=None):
        """Adds to a counter; a negative value is logged and not reported."""
        self.add_metric(name, value, "count", idx, dimensions, MetricTypes.COUNTER)

    def add_time(self, name, value, idx=None, unit="ms", dimensions=None, metric_type=MetricTypes.GAUGE):
        """Reports a duration in `ms` or `s`."""
        if unit not in ("ms", "s"):
            raise MetricsCacheValueError("the unit for a timed metric should be one of ['ms', 's']")
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_size(self, name, value, idx=None, unit="MB", dimensions=None, metric_type=MetricTypes.GAUGE):
        """Reports a size in `MB`, `kB`, `GB` or `B`."""
        if unit not in ("MB", "kB", "GB", "B"):
            raise ValueError("The unit for size based metric is one of ['MB','kB', 'GB', 'B']")
        self.add_metric(name, value, unit, idx, dimensions, metric_type)

    def add_percent(self, name, value, idx=None, dimensions=None, metric_type=MetricTypes.GAUGE):
        """Reports a percentage."""
        self.add_metric(name, value, "percent", idx, dimensions, metric_type)

    def add_error(self, name, value, dimensions=None):
        """Counts an error, of no request in particular."""
        dimensions = [] if dimensions is None else dimensions
        _append_missing(dimensions, "Level", "Error")
        metric = self._get_or_add_metric(name, "", dimensions, MetricTypes.COUNTER)
        metric.add_or_update(value, [dimension.value for dimension in dimensions])

    def _get_or_add_metric(self, metric_name, unit, dimensions, metric_type):
        metric = self.cache.get(metric_type, {}).get(metric_name) if isinstance(metric_type, MetricTypes) else None
        if metric is None:
            names = [dimension.name for dimension in dimensions]
            metric = self.add_metric_to_cache(metric_name, unit, names, metric_type)
        return metric

    @staticmethod
    def _check_type(variable, expected_type, helper_text):
        if not isinstance(variable, expected_type):
            raise MetricsCacheTypeError(helper_text)

    @abstractmethod
    def initialize_cache(self):
        """Registers what the configuration declares."""

    @abstractmethod
    def get_metric(self, metric_name, metric_type=MetricTypes.COUNTER):
        """A registered metric, or MetricsCacheKeyError."""

    @abstractmethod
    def add_metric_to_cache(self, metric_name, unit, dimension_names=None, metric_type=MetricTypes.COUNTER):
        """Registers a metric, in place of one of the same type and name."""


def _append_missing(dimensions, name, value):
    for dimension in dimensions:
        if dimension.name == name:
            return
    dimensions.append(Dimension(name, value))

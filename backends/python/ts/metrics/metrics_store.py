"""Deprecated: metrics that are collected, before there was a cache. MockContext still gives one to handlers' tests."""
from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric


class MetricsStore:
    """The first report of a metric is kept in `store`; every further one of the same series is printed."""

    def __init__(self, request_ids, model_name):
        self.store = []
        self.request_ids = request_ids
        self.model_name = model_name
        self.cache = {}

    def _add_or_update(self, name, value, req_id, unit, metrics_method=None, dimensions=None):
        own = list(dimensions or ())
        if req_id is None:
            own.append(Dimension("Level", "Error"))
        else:
            own += [Dimension("ModelName", self.model_name), Dimension("Level", "Model")]
        key = "-".join([name, str(unit), str(req_id)] + [str(dimension) for dimension in own])
        metric = self.cache.get(key)
        if metric is not None:
            metric.update(value)
            return
        self.cache[key] = metric = Metric(name, value, unit, own, req_id, metrics_method)
        self.store.append(metric)

    def _get_req(self, idx):
        ids = self.request_ids
        if not isinstance(ids, dict):
            return str(ids)
        return ids[idx] if idx is not None and idx in ids else ",".join(ids.values())

    def add_counter(self, name, value, idx=None, dimensions=None):
        self._add_or_update(name, value, self._get_req(idx), "count", "counter", dimensions)

    def add_time(self, name, value, idx=None, unit="ms", dimensions=None):
        if unit not in ("ms", "s"):
            raise ValueError("the unit for a timed metric should be one of ['ms', 's']")
        self._add_or_update(name, value, self._get_req(idx), unit, None, dimensions)

    def add_size(self, name, value, idx=None, unit="MB", dimensions=None):
        if unit not in ("MB", "kB", "GB", "B"):
            raise ValueError("The unit for size based metric is one of ['MB','kB', 'GB', 'B']")
        self._add_or_update(name, value, self._get_req(idx), unit, None, dimensions)

    def add_percent(self, name, value, idx=None, dimensions=None):
        self._add_or_update(name, value, self._get_req(idx), "percent", None, dimensions)

    def add_error(self, name, value, dimensions=None):
        self._add_or_update(name, value, None, "", None, dimensions)

    def add_metric(self, name, value, unit, idx=None, dimensions=None):
        self._add_or_update(name, value, self._get_req(idx), unit, None, dimensions)

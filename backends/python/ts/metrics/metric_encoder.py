"""Deprecated: metrics as JSON."""
from json import JSONEncoder

from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric


class MetricEncoder(JSONEncoder):
    def default(self, obj):
        """Metrics and dimensions become objects, other things that JSON does not know are refused."""
        if isinstance(obj, (Metric, Dimension)):
            return obj.to_dict()
        return super().default(obj)

"""The metrics cache that starts with the `model_metrics` of a metrics file."""
import logging

from ts.metrics import metric_cache_errors
from ts.metrics.caching_metric import CachingMetric
from ts.metrics.metric_cache_abstract import MetricCacheAbstract
from ts.metrics.metric_cache_errors import (
    MetricsCacheIOError,
    MetricsCacheKeyError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
)
from ts.metrics.metric_type_enum import MetricTypes

logger = logging.getLogger(__name__)

NAMES_WANTED = "`dimension_names` should be a list of dimension name strings"


class MetricsCacheYamlImpl(MetricCacheAbstract):
    """Reads the file when it is made; `initialize_cache` registers what it declares.

    The file is YAML, read with PyYAML; a name that ends in `.json` is read as JSON, without importing PyYAML. With
    `declarations` (the file's content as a dict) no file is read. `quiet`: reading it is not logged.
    """

    def __init__(self, config_file_path, declarations=None, quiet=False):
        super().__init__(config_file_path)
        self._parsed_file = declarations
        self._quiet = quiet
        if declarations is None:
            self._parse_yaml_file(config_file_path)

    def _parse_yaml_file(self, config_file_path):
        if not isinstance(config_file_path, (str, bytes)) and not hasattr(config_file_path, "__fspath__"):
            raise MetricsCacheTypeError("Error loading %s file: it is not the name of a file" % (config_file_path,))
        try:
            self._parsed_file = _read(config_file_path)
        except OSError as error:
            raise MetricsCacheIOError("%s: %s" % (config_file_path, error)) from error
        except ValueError as error:
            raise metric_cache_errors.MetricsCachePyYamlError("%s: %s" % (config_file_path, error)) from error
        if not self._quiet:
            logger.info("Successfully loaded %s.", config_file_path)

    def _parse_metrics_section(self, key="model_metrics"):
        try:
            section = self._parsed_file[key]
        except (KeyError, TypeError) as error:
            raise MetricsCacheKeyError("'%s' key not found in yaml file: %s" % (key, error)) from error
        if not section:
            raise MetricsCacheValueError("Missing `%s` specification" % key)
        return section

    def initialize_cache(self):
        """Registers the declared metrics. Raises an error of metric_cache_errors for a file of another form."""
        for type_name, entries in self._parse_metrics_section().items():
            try:
                metric_type = MetricTypes(type_name)
            except ValueError as error:
                raise MetricsCacheKeyError("Invalid metric type: %s" % error) from error
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise MetricsCacheTypeError("`%s` should be a list of metrics" % type_name)
            for entry in entries:
                try:
                    name, unit, names = entry["name"], entry["unit"], entry["dimensions"]
                except KeyError as error:
                    raise MetricsCacheKeyError("Key not found in cache spec: %s" % error) from error
                self.add_metric_to_cache(name, unit, names, metric_type)

    def add_metric_to_cache(self, metric_name, unit, dimension_names=None, metric_type=MetricTypes.COUNTER):
        """Registers a metric, in place of one of the same type and name, and returns it. Prints nothing."""
        self._check_type(metric_name, str, "`metric_name` must be a str")
        self._check_type(unit, str, "`unit` must be a str")
        self._check_type(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        if dimension_names:
            self._check_type(dimension_names, list, NAMES_WANTED)
            for name in dimension_names:
                self._check_type(name, str, NAMES_WANTED)
        metrics = self.cache.setdefault(metric_type, {})
        if metric_name in metrics:
            logger.warning("Overriding existing key %s:%s", metric_type, metric_name)
        metrics[metric_name] = metric = CachingMetric(metric_name, unit, dimension_names, metric_type)
        return metric

    def get_metric(self, metric_name, metric_type=MetricTypes.COUNTER):
        """A registered metric, or MetricsCacheKeyError."""
        self._check_type(metric_name, str, "`metric_name` must be a str")
        self._check_type(metric_type, MetricTypes, "`metric_type` must be a MetricTypes enum")
        try:
            return self.cache[metric_type][metric_name]
        except KeyError:
            raise MetricsCacheKeyError("Metric of type '%s' and name '%s' doesn't exist" % (metric_type, metric_name)) from None

    def cache_keys(self):
        """`type:name` of every registered metric."""
        return ["%s:%s" % (metric_type.value, name) for metric_type, names in self.cache.items() for name in names]


def _read(path):
    if str(path).endswith(".json"):
        import json

        with open(path, encoding="utf-8") as file:
            return json.load(file)
    import yaml

    with open(path, encoding="utf-8") as file:
        try:
            return yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error

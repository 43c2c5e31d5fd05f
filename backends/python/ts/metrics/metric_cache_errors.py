"""What the metrics cache raises. Each is also the built-in error that it resembles."""


class GeneralMetricsCacheError(Exception):
    def __init__(self, message):
        super().__init__(message)


class MetricsCacheIOError(OSError):
    def __init__(self, message):
        super().__init__(message)


class MetricsCachePyYamlError(Exception):
    """The file is no YAML. No YAMLError: that would make every worker import PyYAML."""

    def __init__(self, message):
        super().__init__(message)


class MetricsCacheTypeError(TypeError):
    def __init__(self, message):
        super().__init__(message)


class MetricsCacheValueError(ValueError):
    def __init__(self, message):
        super().__init__(message)


class MetricsCacheKeyError(KeyError):
    def __init__(self, message):
        super().__init__(message)

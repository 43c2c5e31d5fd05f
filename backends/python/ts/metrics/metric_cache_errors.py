"""What the metrics cache raises. Each is also the built-in error that it resembles."""


class GeneralMetricsCacheError(Exception):
    def __init__(self, message):
        super().__init__("Generic error: %s" % message)


class MetricsCacheIOError(OSError):
    def __init__(self, message):
        super().__init__("Error reading file: %s" % message)


class MetricsCacheTypeError(TypeError):
    def __init__(self, message):
        super().__init__(message)


class MetricsCacheValueError(ValueError):
    def __init__(self, message):
        super().__init__(message)


class MetricsCacheKeyError(KeyError):
    def __init__(self, message):
        super().__init__(message)


def __getattr__(name):
    # A yaml.YAMLError, made when someone asks for it: else every worker would import PyYAML.
    if name != "MetricsCachePyYamlError":
        raise AttributeError("module %r has no attribute %r" % (__name__, name))
    try:
        from yaml import YAMLError
    except ImportError:
        YAMLError = Exception

    def init(self, message):
        YAMLError.__init__(self, "Error parsing file: %s" % message)

    error = type(name, (YAMLError,), {"__init__": init, "__module__": __name__, "__doc__": "The file is no YAML."})
    globals()[name] = error
    return error

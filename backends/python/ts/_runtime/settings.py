"""What the server tells a worker through its environment (docs/internals/python.md, "Start")."""
import os


class Settings:
    """Reads the SCONCE_… variables; `hide` then takes them out of the environment, which is the handler's from then on."""

    def __init__(self, environ):
        self.model = environ.get("SCONCE_MODEL", "")
        self.version = environ.get("SCONCE_MODEL_VERSION", "1.0")
        self.model_dir = environ.get("SCONCE_MODEL_DIR") or os.getcwd()
        self.handler = environ.get("SCONCE_HANDLER") or None
        self.envelope = environ.get("SCONCE_ENVELOPE") or None
        gpu = _number(environ, "SCONCE_GPU_ID", -1)
        self.gpu_id = gpu if gpu >= 0 else None
        self.batch_size = max(1, _number(environ, "SCONCE_BATCH_SIZE", 1))
        self.delay_ms = max(0, _number(environ, "SCONCE_MAX_BATCH_DELAY_MS", 100))
        self.fill = environ.get("SCONCE_BATCH_POLICY") == "fill"
        self.max_response = _number(environ, "SCONCE_MAX_RESPONSE", 6553500)
        self.limit_max_image_pixels = environ.get("SCONCE_LIMIT_MAX_IMAGE_PIXELS", "true") == "true"
        self.model_config = environ.get("SCONCE_MODEL_CONFIG") or None
        self.shared_weights = environ.get("SCONCE_SHARED_WEIGHTS") == "1"
        self.metrics_json = environ.get("SCONCE_METRICS_JSON") or None
        self.mode = environ.get("SCONCE_MODE") or "batches"
        self.in_flight = max(1, _number(environ, "SCONCE_IN_FLIGHT", 1024 if self.mode == "async" else self.batch_size))
        self.pure_python = environ.get("SCONCE_PURE_PYTHON", "") not in ("", "0")
        self.decode_ahead = environ.get("SCONCE_DECODE_AHEAD", "1") != "0"
        self.decode = environ.get("TS_DECODE_INPUT_REQUEST", "true") == "true"
        self.launched = "SCONCE_RANKS" in environ  # by torchrun or another launcher, not by the supervisor
        self.ranks = max(1, _number(environ, "SCONCE_RANKS", 1))
        self.rank = _number(environ, "LOCAL_RANK", 0) if self.ranks > 1 else 0
        self.parallel = environ.get("SCONCE_PARALLEL", "")
        self.profile = environ.get("TS_BENCHMARK") in ("True", "true", "TRUE")

    @staticmethod
    def hide(environ):
        for name in [name for name in environ if name.startswith("SCONCE_")]:
            del environ[name]


def _number(environ, name, fallback):
    try:
        return int(environ.get(name, ""))
    except ValueError:
        return fallback

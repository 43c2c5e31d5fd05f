"""One model in one worker: calls the handler with a batch and turns what it returns, or raises, into the answers.

The rules are TorchServe's (workers-and-handlers.md §3, §4 and §6 in the project's contract); here is the path that
every batch takes, so nothing is done in it that nobody asked for.
"""
import copy
import logging
import time

from ts import log
from ts._runtime.outlet import STREAM_NEXT
from ts.context import Context, RequestProcessor
from ts.encoding import decode, encode, response_head
from ts.metrics.metric_type_enum import MetricTypes
from ts.utils.util import PredictionException
from ts.version import __version__

__all__ = ["PREDICTION_METRIC", "PredictionException", "Reply", "Service", "decode", "emit_metrics"]

PREDICTION_METRIC = "PredictionTime"

logger = logging.getLogger(__name__)

_clock = time.perf_counter
_now = time.time
_PLAIN = (200, "", None, ())  # an answer for which the handler set nothing


class Reply:
    """What a batch came to.

    `code` and `message` stand for the whole batch. With code 200 `items` holds one tuple for each request, in order:
    (body, status, phrase, content type or None, [(header, value), …]); body is bytes, bytearray, memoryview, or a str
    of ASCII alone. With any other code it is empty and the message is the error of every request.
    `cuda_suspect`: what the handler raised, if it mentions CUDA and is no lack of memory: the device should be asked; else "".
    """

    __slots__ = ("code", "message", "items", "cuda_suspect")

    def __init__(self, code, message, items=(), cuda_suspect=""):
        self.code = code
        self.message = message
        self.items = items
        self.cuda_suspect = cuda_suspect


class Service:
    """Owns the context. `predict` is not to be called from two threads at once.

    `continuous`: a request whose stopping criterion says so is called again. `outlet`: the way for parts of answers.
    """

    continuous = False
    outlet = None

    def __init__(self, model_name, model_dir, manifest, entry_point, gpu, batch_size, limit_max_image_pixels=True,
                 metrics_cache=None, model_yaml_config=None):
        self._context = Context(
            model_name, model_dir, manifest, batch_size, gpu, __version__, limit_max_image_pixels, metrics_cache,
            {} if model_yaml_config is None else model_yaml_config,
        )
        self._entry_point = entry_point
        self._metrics = metrics_cache
        self._metric = None  # the object that the frame below was made of
        self._before = self._between = self._tail = ""
        self._second = 0  # for which the tail was made
        if metrics_cache is not None:
            metrics_cache.model_name = model_name

    @property
    def context(self):
        return self._context

    def set_cl_socket(self, cl_socket):
        """What send_intermediate_predict_response sends through."""
        self.outlet = self._context.cl_socket = cl_socket

    @staticmethod
    def retrieve_data_for_inference(batch):
        """Processors, rows and {index: id} of requests as ts.protocol.otf_message_handler.retrieve_msg gives them."""
        from ts.protocol.otf_service import requests

        found = requests(batch)
        return ([RequestProcessor(headers) for _, headers, _ in found], [row for _, _, row in found],
                {index: request[0] for index, request in enumerate(found)})

    def predict(self, batch):
        """Answers a batch: a list of (request id, headers, row). Returns a Reply, whatever the handler does; only
        SystemExit and KeyboardInterrupt pass through."""
        ids, headers, rows = _parted(batch)
        context = self._context
        context.begin(ids, headers)
        metrics = self._metrics
        if metrics is not None:
            metrics.begin(ids)
        start = _clock()
        try:
            results = self._entry_point(rows, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            return _failure(error)
        return self._reply(context, ids, results, _clock() - start)

    async def predict_async(self, batch):
        """As predict, for a handler that is a coroutine: many at a time, each with a copy of the context. Passes
        CancelledError through, too."""
        from asyncio import CancelledError

        ids, headers, rows = _parted(batch)
        try:
            context = copy.deepcopy(self._context)
            context.begin(ids, headers)
            if context.metrics is not None:
                context.metrics.begin(ids)
            start = _clock()
            results = self._entry_point(rows, context)
            if hasattr(results, "__await__"):
                results = await results
        except (SystemExit, KeyboardInterrupt, CancelledError):
            raise
        except BaseException as error:
            return _failure(error)
        return self._reply(context, ids, results, _clock() - start)

    @staticmethod
    def failed():
        """The reply to a batch of which no more is known than that it failed."""
        return Reply(503, "Prediction failed")

    def _reply(self, context, ids, results, took):
        if not isinstance(results, list):
            logger.warning("model: %s, Invalid return type: %s.", context.model_name, type(results))
            return Reply(503, "Invalid model predict output")
        if len(results) != len(ids):
            logger.warning("model: %s, number of batch response mismatched, expect: %s, got: %s.",
                           context.model_name, len(ids), len(results))
            return Reply(503, "number of batch response mismatched")
        if self._metrics is not None:
            self._report(took, ids)
        return self._encoded(context, results)

    def _encoded(self, context, results):
        try:
            if context.stopping_criteria and not _is_description(context):
                self._ask(context, results)
        except Exception as error:
            return _failure(error)
        processors = context._processors
        try:
            if processors is None:
                items = [(encode(result),) + _PLAIN for result in results]
            else:
                if not context.stopping_criteria:
                    _end_streams(processors)
                items = [(encode(result),) + response_head(processor) for result, processor in zip(results, processors)]
        except MemoryError:
            logger.exception("Out of memory while the answers were encoded.")
            return Reply(507, "Out of resources")
        except Exception:
            logger.warning("Unable to serialize model output.", exc_info=True)
            return Reply(503, "Unsupported model output data type.")
        return Reply(200, "Prediction success", items)

    def _ask(self, context, results):
        """What the criteria say of each result: whether its request is done (True), is to be called again (False), or
        was no stream at all (None)."""
        criteria = context.stopping_criteria
        for index, result in enumerate(results):
            try:
                criterion = criteria[index]
            except (IndexError, KeyError):
                continue
            done = None if criterion is None else criterion(result)
            if done is None:
                continue
            if not done and not self.continuous:
                logger.warning("A stopping criterion wants another turn, but the model has no continuousBatching.")
                done = True
            context.set_response_header(index, STREAM_NEXT, "false" if done else "true")

    def _report(self, seconds, ids):
        """The line of PredictionTime. The metric's constant parts are put together once."""
        metrics = self._metrics
        gauges = metrics.cache.get(MetricTypes.GAUGE)
        metric = gauges.get(PREDICTION_METRIC) if gauges else None
        if metric is None or metric is not self._metric:
            if metric is not None and metric.dimension_names != ["ModelName", "Level"]:
                metrics.add_time(PREDICTION_METRIC, round(seconds * 1000, 2), None, "ms")
                return
            if metric is None:
                metric = metrics.add_metric_to_cache(PREDICTION_METRIC, "ms", ["ModelName", "Level"], MetricTypes.GAUGE)
            self._metric = metric
            self._before, self._between = metric.frame("ModelName:%s,Level:Model" % self._context.model_name)
            self._second = 0
        second = int(_now())
        if second != self._second:
            self._second = second
            self._tail = "%s%d," % (self._between, second)
        log.late_line(f"{self._before}{round(seconds * 1000, 2)}{self._tail}{ids[0] if len(ids) == 1 else ','.join(ids)}")


def _parted(batch):
    """Ids and headers of a batch, as tuples, and the list of its rows."""
    if len(batch) == 1:
        request_id, headers, row = batch[0]
        return (request_id,), (headers,), [row]
    ids, headers, rows = zip(*batch)
    return ids, headers, list(rows)


def _is_description(context):
    """The criteria are those of the turn before: a handler that describes its model sets none."""
    return context.get_request_header(0, "describe") == "True"


def _end_streams(processors):
    """What is returned ends the streams that parts have begun."""
    for processor in processors:
        headers = processor.get_response_headers()
        if headers and headers.get(STREAM_NEXT) == "true":
            headers[STREAM_NEXT] = "false"


def _failure(error):
    """The reply to an exception of the handler, with its traceback in the log."""
    try:
        said = str(error)
    except Exception:
        said = type(error).__name__
    if isinstance(error, PredictionException):
        logger.exception("Prediction error")
        return Reply(_status(error.error_code), str(error.message))
    if isinstance(error, MemoryError):
        logger.exception("System out of memory")
        return Reply(507, "Out of resources")
    if "CUDA" in said:
        full = "out of memory" in said.lower()
        logger.exception("CUDA out of memory" if full else "CUDA error")
        return Reply(507, "Out of resources", cuda_suspect="" if full else said)
    logger.exception("Invoking custom service failed.")
    return Reply(503, "Prediction failed")


def _status(code):
    try:
        return int(code)
    except (TypeError, ValueError):
        return 500


def emit_metrics(metrics):
    """Deprecated: prints the metrics of a MetricsStore."""
    for metric in metrics or ():
        log.metric_line("[METRICS]%s" % metric)

"""The worker's standard output: the one stream that logging and metric lines share.

A worker calls `configure` once, before the handler is imported. From then on metric lines go straight to the stream
that standard output was at that moment, so that a handler that replaces `sys.stdout` or the root logger's level does
not lose them. Outside a worker (unit tests of handlers) they go through logging, where tests can catch them.
"""
import logging
import sys

_stream = None
_flush = True  # not where every line is flushed by itself


def configure():
    """Sends the root logger to standard output, level INFO, bare messages. Does nothing the second time."""
    global _stream, _flush
    if _stream is not None:
        return
    _stream = sys.stdout
    _flush = not getattr(_stream, "line_buffering", False)
    logging.basicConfig(stream=_stream, format="%(message)s", level=logging.INFO)


def metric_line(text):
    """Writes one line and flushes it. Never raises: a handler may have closed the stream."""
    stream = _stream
    if stream is None:
        logging.getLogger("ts.metrics").info("%s", text)
        return
    try:
        stream.write(text + "\n")
        if _flush:
            stream.flush()
    except Exception:
        pass


def late_line(text):
    """A line that nobody waits for: where there is a data path it takes this over and writes several at once."""
    metric_line(text)

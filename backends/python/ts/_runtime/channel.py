"""Which data path this interpreter gets: the extension `ts._sconce`, or its twin in plain Python where the extension
cannot be loaded (another platform, a free-threaded build) or SCONCE_PURE_PYTHON asks for it."""
import os


def open_channel(settings, decode, loads):
    """The worker's channel, not yet connected. `decode` (None: bodies stay bytes) is ts.encoding.decode."""
    if settings.launched:
        from ts._runtime import ranks

        ranks.end_with_launcher()
        os.environ["SCONCE_RANK"] = str(settings.rank)
        if settings.rank:
            return ranks.Follower()
    return _kind(settings)(settings.batch_size, settings.delay_ms, settings.fill, settings.max_response, decode, loads, True)


def _kind(settings):
    kind = None
    if not settings.pure_python:
        try:
            from ts._sconce import Channel as kind
        except ImportError:
            pass
    if kind is None:
        from ts._runtime.channel_py import Channel as kind
    return kind

"""The life of a worker process: connect back, load the model, answer batches, end.

What it prints is part of TorchServe's contract (workers-and-handlers.md §14.4). The process ends by os._exit: threads
that a handler left behind must not keep it.
"""
import json
import os
import signal
import sys
import threading
import traceback

from ts._runtime.settings import Settings

EXIT_CONTEXT_DEAD = 86  # the requests without an answer are run again
EXIT_WROTE = 87  # known to the frontend: so are they, with private weights
PROFILE = "/tmp/tsPythonProfile.prof"


def main(argv):
    try:
        code = _live(argv)
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException:
        _report("Backend worker process died.")
        code = 1
    leave(code)


def leave(code):
    """Ends the process, whatever is still running in it."""
    import atexit

    try:
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
    os._exit(code)


def _leave_at_once(number, frame):
    """A load is not waited for."""
    leave(0)


def _exit_code(end):
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _report(text):
    """A line and the traceback of what is being handled, through logging if there is still a way."""
    try:
        import logging

        logging.exception(text)
    except BaseException:
        traceback.print_exc()


def _live(argv):
    from ts import log
    from ts._runtime.channel import open_channel
    from ts._runtime.outlet import Outlet
    from ts.encoding import decode

    settings = Settings(os.environ)
    _prepare_streams()
    log.configure()
    channel = open_channel(settings, decode if settings.decode else None, json.loads)
    channel.connect()
    settings.hide(os.environ)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C at the terminal is the server's
    signal.signal(signal.SIGTERM, _leave_at_once)

    metrics_file = _metrics_argument(argv)
    metrics = _load_metrics(metrics_file, settings)
    print("[PID]%d" % os.getpid())
    print("Torch worker started.")
    print("Python runtime: %s" % sys.version.split()[0], flush=True)

    service = _load(settings, metrics, channel)
    service.set_cl_socket(Outlet(channel))
    ours = signal.getsignal(signal.SIGTERM) is _leave_at_once  # else the handler has its own ideas
    if ours:
        signal.signal(signal.SIGTERM, lambda number, frame: channel.stop())
    from ts._runtime.device import tensor_bytes

    facts = {"pid": os.getpid()}
    if settings.shared_weights:
        from ts._runtime import weights

        facts["sharedWeights"] = weights.share(channel)
    facts["gpuWeights"] = tensor_bytes()
    channel.status(True, json.dumps(facts))
    log.late_line = channel.line
    service.continuous = settings.mode == "continuous"
    if settings.rank:
        return channel.follow(service)
    if settings.ranks > 1:
        from ts._runtime.ranks import Leader

        service = Leader(service, channel, settings)
    try:
        run = _way_of_serving(settings, channel, service, ours)
        return _profiled(run) if settings.profile else run()
    finally:
        channel.close()


def _way_of_serving(settings, channel, service, heed_sigterm):
    """The loop of the worker's mode, ready to be called."""

    def fail(reply, ids):
        _failed(reply, len(ids) == 1,
                lambda status, message: channel.answer([(request_id, status, message) for request_id in ids]))

    if settings.mode == "async":
        from ts.async_service import AsyncService

        calls = AsyncService(service, channel, settings.batch_size, settings.in_flight, fail)
        return lambda: calls.run(heed_sigterm)
    if settings.mode == "continuous":
        from ts._runtime import continuous

        return lambda: continuous.serve(channel, service, settings.in_flight, fail)
    return lambda: serve(channel, service, settings.decode_ahead)


def _profiled(run):
    import cProfile

    profile = cProfile.Profile()
    try:
        return profile.runcall(run)
    finally:
        profile.dump_stats(PROFILE)


def _prepare_streams():
    """The frontend reads lines: none waits in a buffer, and no character can make a print fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
        except (AttributeError, ValueError):
            pass


def _metrics_argument(argv):
    for option, value in zip(argv, argv[1:]):
        if option == "--metrics-config":
            return value
    return None


def _load_metrics(file, settings):
    """The metrics cache; a file that cannot be read costs its metrics, not the worker."""
    if not file and not settings.metrics_json:
        return None
    from ts.model_loader import load_metrics

    try:
        cache = load_metrics(file, settings.metrics_json)
    except Exception as error:
        _report("Failed to load the metrics file %s: %s" % (file, error))
        return None
    print("Successfully loaded %s." % file)
    return cache


def _load(settings, metrics, channel):
    from ts.model_loader import load, load_failure

    try:
        return load(settings.model, settings.model_dir, settings.handler, settings.gpu_id, settings.batch_size,
                    settings.envelope, settings.limit_max_image_pixels, metrics, settings.model_config)
    except BaseException as error:
        _report("Backend worker process died.")
        code, message = load_failure(error) or (500, "Worker died.")
        reason = "%s: %s" % (type(error).__name__, error) if str(error) else type(error).__name__
        try:
            channel.status(False, _clean("%d %s\n%s" % (code, message, reason)))
        except Exception:
            traceback.print_exc()
        leave(_exit_code(error) or 1 if isinstance(error, SystemExit) else 1)


def _clean(text):
    """The text as UTF-8 can carry it: half a surrogate pair is no character."""
    return text.encode("utf-8", "replace").decode()


def serve(channel, service, decode_ahead=True):
    """Batches until the channel has no more. Returns the exit code."""
    take, reply, predict = channel.take, channel.reply, service.predict
    while True:
        batch = take()
        if batch is None:
            return 0
        answer = predict(batch)
        if answer.code == 200:
            try:
                reply(answer.items)
            except (TypeError, ValueError):
                _report("The answers cannot be encoded.")
                channel.reply_all(503, "Unsupported model output data type.")
        else:
            _failed(answer, channel.alone or len(batch) == 1, channel.reply_all)
        if channel.wants_thread and decode_ahead:
            threading.Thread(target=channel.decode_ahead, name="sconce-decode", daemon=True).start()


def _failed(answer, alone, reply):
    """Answers a batch that failed as a whole, with reply(status, message). A process whose CUDA context is dead ends
    here: only a request that was alone, and no client of MPS, is known to be the cause; the others run again elsewhere."""
    suspect = getattr(answer, "cuda_suspect", "")
    if suspect:
        _ask_device(suspect, (lambda: reply(507, answer.message)) if alone else lambda: None)
    reply(answer.code if 100 <= answer.code <= 999 else 500, _clean(answer.message))


def _ask_device(said, answer):
    """Ends the process if its context is dead, or the handler wrote to what it must not write to; `said` is what it
    raised."""
    from ts._runtime import weights
    from ts._runtime.device import context_error, faults_are_shared

    error = context_error()
    if error is not None:
        print("The CUDA context of this worker is dead; the worker ends.", file=sys.stderr)
    wrote = weights.wrote(error or said)
    if wrote:
        print("The handler wrote to shared weights: %s." % wrote, file=sys.stderr)
        leave(EXIT_WROTE)
    if error is not None:
        if not faults_are_shared():
            answer()
        leave(EXIT_CONTEXT_DEAD)

"""Splits a batch into pieces that overlap: one is preprocessed while another is computed and a third one finished."""
import logging
import os
import queue
import threading
import time
from collections import namedtuple

logger = logging.getLogger(__name__)

HANDLER_METHODS = ["preprocess", "inference", "postprocess"]

WorkerThread = namedtuple("WorkerThread", "event thread")


class _Failed:
    """An exception on its way through the queues in place of a piece."""

    def __init__(self, error):
        self.error = error


def execute_call(in_queue, out_queue, handle, thread_local_data, event):
    """What a thread of one step does until its event is set. An exception becomes the result of its piece."""
    while not event.is_set():
        try:
            index, piece = in_queue.get(timeout=0.1)
        except queue.Empty:
            continue
        if not isinstance(piece, _Failed):
            thread_local_data.micro_batch_idx = index
            try:
                piece = handle(piece)
            except BaseException as error:
                piece = _Failed(error)
            finally:
                thread_local_data.micro_batch_idx = None
        out_queue.put((index, piece))
        piece = None


class MicroBatching:
    """Put in place of a handler's `handle`: `self.handle = MicroBatching(self, micro_batch_size=4)`.

    `parallelism` maps a step to its number of threads (1 for each unless said otherwise) and may be changed while it
    runs. An exception in a step is raised to the caller once all pieces are through.
    """

    def __init__(self, parent_handler, micro_batch_size=1, parallelism=None):
        self.handler = parent_handler
        self.micro_batch_size = micro_batch_size
        self.thread_groups = {name: [] for name in HANDLER_METHODS}
        self.thread_local_data = threading.local()
        self._parallelism = {}
        self._create_queues()
        self.parallelism = parallelism or {}

    def __del__(self):
        self.shutdown()

    @property
    def parallelism(self):
        return self._parallelism

    @parallelism.setter
    def parallelism(self, parallelism):
        assert all(name in HANDLER_METHODS for name in parallelism), "steps are %s" % HANDLER_METHODS
        wanted = {name: 1 for name in HANDLER_METHODS}
        wanted.update(parallelism)
        self._parallelism = wanted
        self._update_threads()

    def shutdown(self):
        """Ends the threads; the next change of `parallelism` starts new ones."""
        threads = [worker for group in getattr(self, "thread_groups", {}).values() for worker in group]
        for worker in threads:
            worker.event.set()
        for worker in threads:
            if worker.thread is not threading.current_thread():
                worker.thread.join()
        self.thread_groups = {name: [] for name in HANDLER_METHODS}

    def _create_queues(self):
        self.queues = {name: queue.Queue() for name in HANDLER_METHODS + ["result"]}

    def _update_threads(self):
        outputs = HANDLER_METHODS[1:] + ["result"]
        for name, output in zip(HANDLER_METHODS, outputs):
            group = self.thread_groups[name]
            while len(group) < self._parallelism[name]:
                event = threading.Event()
                step = getattr(self.handler, name)
                arguments = (self.queues[name], self.queues[output], step, self.thread_local_data, event)
                thread = threading.Thread(target=execute_call, args=arguments, daemon=True)
                thread.start()
                group.append(WorkerThread(event, thread))
            dismissed = group[self._parallelism[name]:]
            del group[self._parallelism[name]:]
            for worker in dismissed:
                worker.event.set()
            for worker in dismissed:
                worker.thread.join()

    def get_micro_batch_idx(self):
        """In a step: the index of the piece that this thread works on; elsewhere None."""
        return getattr(self.thread_local_data, "micro_batch_idx", None)

    def handle(self, data):
        """All three steps for the whole batch; results in the order of the rows."""
        size = self.micro_batch_size
        count = 0
        for start in range(0, len(data), size):
            self.queues["preprocess"].put((count, data[start:start + size]))
            count += 1
        pieces = [None] * count
        failed = None
        for _ in range(count):
            index, piece = self.queues["result"].get()
            if isinstance(piece, _Failed):
                failed = failed or piece.error
            else:
                pieces[index] = piece
        if failed is not None:
            raise failed
        return [result for piece in pieces for result in piece]

    def __call__(self, data, context):
        handler = self.handler
        start = time.time()
        handler.context = context
        if os.environ.get("ENABLE_TORCH_PROFILER"):
            results, _ = handler._infer_with_profiler(data=data)
        elif handler._is_describe():
            results = [handler.describe_handle()]
        elif handler._is_explain():
            results = handler.explain_handle(handler.preprocess(data), data)
        else:
            results = self.handle(data)
        context.metrics.add_time("HandlerTime", round((time.time() - start) * 1000, 2), None, "ms")
        return results

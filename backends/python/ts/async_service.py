"""Handlers that are coroutines (`asyncCommunication: true`, workers-and-handlers.md §15.6): many calls at once on one
event loop, in the thread that loaded the model.

Every call has a context of its own, a deep copy of what `initialize` left, so that calls cannot take each other for
themselves; what a handler puts on it is gone after the call. An answer is sent when its call ends, whatever the others
do, and a call that fails is the only one that does.
"""
import asyncio
import logging
import signal

logger = logging.getLogger(__name__)

BEAT_SECONDS = 0.25  # the frontend takes a loop that does not turn for responseTimeout for dead
TAKEN_AT_ONCE = 64  # then other tasks have their turn

_LEFT = (b"", 499, "", None, ())  # nobody reads it


class _Call:
    __slots__ = ("ids", "gone", "task")

    def __init__(self, ids):
        self.ids = ids
        self.gone = 0
        self.task = None


class AsyncService:
    """Serves `service` from a channel. `in_flight`: most requests at once; `fail(reply, ids)` answers a call that
    failed."""

    def __init__(self, service, channel=None, batch_size=1, in_flight=1024, fail=None):
        self.service = service
        self._channel = channel
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._fail = fail
        self._calls = {}  # id -> its call
        self._finished = []  # (call, reply or None), to be answered together
        self._ended = None  # future: there will be no more work, and none is left
        self._over = self._held_back = False
        self._loop = self._timer = None

    def set_cl_socket(self, cl_socket):
        self.service.set_cl_socket(cl_socket)

    async def call_predict(self, batch):
        """One call of the handler with a batch, [(id, headers, row), …]: a ts.service.Reply."""
        return await self.service.predict_async(batch)

    def run(self, heed_sigterm=True):
        """Serves until there is no more work, and what runs then has ended. Returns the exit code."""
        loop = self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        self._ended = loop.create_future()
        self.service.outlet.ended = set()
        if heed_sigterm:
            loop.add_signal_handler(signal.SIGTERM, self._stop)
        for fd in self._channel.poll_fds():
            loop.add_reader(fd, self._look)
        loop.call_soon(self._beat)
        return loop.run_until_complete(self._ended)

    def _stop(self):
        self._channel.stop()
        self._look()

    def _beat(self):
        """Looks even if nothing was heard. Taking also tells the frontend that the loop turns."""
        if self._ended.done():
            return
        period = min(BEAT_SECONDS, getattr(self._channel, "sleep_ms", 1000) / 1000)
        self._timer = self._loop.call_later(period, self._beat)
        self._look()

    def _look(self):
        if self._over:
            return
        channel = self._channel
        while True:
            room = self._in_flight - len(self._calls)
            new = channel.take_new(min(room, TAKEN_AT_ONCE), 0)
            if new is None:
                self._no_more()
                return
            for batch in self._batches(new):
                self._start(batch)
            for request_id in channel.cancelled():  # perhaps of those that have just come
                self._left(request_id)
            if len(new) == TAKEN_AT_ONCE:
                self._loop.call_soon(self._look)
                return
            if channel.arm():
                return
            if room == len(new):  # the next call that ends looks again
                self._held_back = True
                return

    def _batches(self, new):
        """What was taken together, in calls. A question for the handler's own description is a call of its own."""
        batch = []
        for request in new:
            alone = request[1].get("describe") == "True"
            if batch and (alone or len(batch) == self._batch_size):
                yield batch
                batch = []
            batch.append(request)
            if alone:
                yield batch
                batch = []
        if batch:
            yield batch

    def _start(self, batch):
        call = _Call([request[0] for request in batch])
        for request_id in call.ids:
            self._calls[request_id] = call
        call.task = self._loop.create_task(self.call_predict(batch))
        call.task.add_done_callback(lambda task: self._done(call, task))

    def _left(self, request_id):
        """A client is gone. A call whose clients all are is cancelled."""
        call = self._calls.get(request_id)
        if call is None:
            return
        logger.info("Connection to client got closed; Removing job: %s", request_id)
        call.gone += 1
        if call.gone == len(call.ids):
            call.task.cancel()

    def _done(self, call, task):
        if task.cancelled():
            reply = None
            if call.gone < len(call.ids):
                logger.error("Invoking custom service failed: the handler let its own call be cancelled.")
                reply = self.service.failed()
        else:
            error = task.exception()
            if error is not None:  # SystemExit and its like end the loop too
                if not self._ended.done():
                    self._ended.set_exception(error)
                return
            reply = task.result()
        if not self._finished:
            self._loop.call_soon(self._answer)
        self._finished.append((call, reply))

    def _answer(self):
        """Answers the calls that have ended since the last time."""
        finished, self._finished = self._finished, []
        ended = self.service.outlet.ended
        answers = []
        for call, reply in finished:
            ids = [request_id for request_id in call.ids if request_id not in ended]
            for request_id in call.ids:
                del self._calls[request_id]
            ended.difference_update(call.ids)
            if reply is None:
                answers += [(request_id,) + _LEFT for request_id in ids]
            elif reply.code == 200:
                answers += [(request_id,) + item for request_id, item in zip(call.ids, reply.items) if request_id in ids]
            else:
                self._fail(reply, ids)
        if answers:
            self._channel.answer(answers)
        if self._over:
            self._no_more()
        elif self._held_back:
            self._held_back = False
            self._look()

    def _no_more(self):
        if not self._over:
            self._over = True
            for fd in self._channel.poll_fds():
                self._loop.remove_reader(fd)
        if self._ended.done() or self._calls and self._channel.over == "stopped":
            return
        self._ended.set_result(0)

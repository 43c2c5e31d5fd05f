"""A worker of several processes (torchrun): rank 0 has the channel and sends every batch to the others.

Each rank connects back to the supervisor, which gives rank 0 a socket to each of the others. All of them call the
handler with the same batches in the same order; what the others answer is dropped. They end when rank 0 does.
"""
import ctypes
import os
import pickle
import select
import signal
import socket
import struct
import sys
import threading
import time

from ts._runtime import control_py as control
from ts._runtime import shared_py as shared

_LENGTH = struct.Struct("=Q")
_PR_SET_PDEATHSIG = 1
_END_MS = 200
_TOGETHER = ("tp", "pptp")  # parallelType of models whose ranks all get the batches; in a pipeline rank 0 alone does


def end_with_launcher():
    """Whatever ends the launcher ends this process, even if the handler never lets another thread run."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0)
    except (OSError, AttributeError):
        pass  # then the end of the control connection does it


class Leader:
    """Rank 0's service: a batch goes to the other ranks before its own handler gets it."""

    def __init__(self, service, channel, settings):
        self._service, self._channel = service, channel
        self._others = settings.ranks - 1 if settings.parallel in _TOGETHER else 0
        self._links = []

    def __getattr__(self, name):
        return getattr(self._service, name)

    def predict(self, batch):
        if self._others:
            self._tell(batch)
        answer = self._service.predict(batch)
        # What fails because another rank has died is no answer: the worker ends, and its requests are run again.
        if answer.code != 200 and self._others and self._somebody_is_gone(_END_MS if answer.code >= 500 else 0):
            raise ConnectionError("another rank is gone")
        return answer

    def _somebody_is_gone(self, wait_ms):
        """A process that dies closes its sockets one after the other: the handler's may be seen before ours."""
        poller = select.poll()
        for link in self._links:
            poller.register(link.fileno(), select.POLLRDHUP)
        return bool(poller.poll(wait_ms))

    def _tell(self, batch):
        if not self._links:
            self._links = [socket.socket(fileno=fd) for fd in self._channel.links()]
        if len(self._links) != self._others:
            raise ConnectionError("%d of %d other ranks are connected" % (len(self._links), self._others))
        raw = pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
        for rank, link in enumerate(self._links, 1):
            try:
                link.sendall(_LENGTH.pack(len(raw)))
                link.sendall(raw)
            except OSError as error:
                raise ConnectionError("rank %d is gone: %s" % (rank, error)) from None


class Follower:
    """Another rank's channel: its connection to the supervisor, and the socket from rank 0."""

    def __init__(self):
        self.over = None
        self._sock = self._link = None

    def connect(self):
        sock = control.connect_back(os.environ)
        self._sock = socket.socket(fileno=shared.move_up(sock.detach()))
        self._sock.setblocking(False)

    def status(self, loaded, text):
        try:
            control.send(self._sock, control.STATUS, control.status(loaded, text))
        except OSError as error:
            raise ConnectionError("the supervisor is gone: %s" % error) from None
        if loaded:
            threading.Thread(target=self._watch, name="sconce-rank", daemon=True).start()

    def _watch(self):
        """The handler may compute for long: the end of the supervisor is not to wait for it."""
        while True:
            poller = select.poll()
            poller.register(self._sock.fileno(), select.POLLRDHUP)
            if any(events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR) for _, events in poller.poll()):
                os._exit(0)

    def follow(self, service):
        """Calls the handler with the batches of rank 0 until that ends. Returns the exit code."""
        while True:
            batch = self._next()
            if batch is None:
                return 0
            print("Backend received inference at: %d" % time.time())
            answer = service.predict(batch)
            if answer.code != 200:
                print("This rank could not compute the batch: %d %s" % (answer.code, answer.message), file=sys.stderr)

    def _next(self):
        while self._link is None and self.over is None:
            self._wait()
        head = self._receive(_LENGTH.size) if self.over is None else None
        raw = self._receive(_LENGTH.unpack(head)[0]) if head else None
        return pickle.loads(raw) if raw else None

    def _wait(self):
        """For the socket to rank 0."""
        select.select([self._sock], [], [])
        try:
            message = control.receive(self._sock)
        except ConnectionError:
            self.over = "the supervisor is gone"
            return
        if message is None:
            return
        kind, _, fds = message
        for fd in fds:
            if kind == control.RANKS and self._link is None:
                self._link = socket.socket(fileno=shared.move_up(fd))
            else:
                os.close(fd)

    def _receive(self, n):
        """Exactly n bytes; None at the end of rank 0."""
        data = bytearray(n)
        view = memoryview(data)
        while len(view):
            try:
                got = self._link.recv_into(view)
            except OSError:
                got = 0
            if got == 0:
                self.over = "rank 0 is gone"
                return None
            view = view[got:]
        return data

    def stop(self):
        """Rank 0 says when it is over."""

    def line(self, text):
        print(text)

    def close(self):
        pass

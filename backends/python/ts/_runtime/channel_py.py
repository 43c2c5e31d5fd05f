"""The worker's end of the data path in plain Python: behaves as ext/channel.c, which is its fast twin."""
import os
import select
import socket
import stat
import sys
import time

from ts._runtime import control_py as control
from ts._runtime import request_py as request
from ts._runtime import shared_py as shared
from ts._runtime.port_py import META_BYTES, SLEEP_MS, BadAttachment, Port

_ALONE = 1
_LOOK_NS = 20_000_000
_LINES_NS = 5_000_000
_LINES_HANDLER_NS = 500_000
_ERROR = request.block([(b":type", b"InternalServerException")])
_NO_MEMORY = b"The worker has no memory for its answer."

_in_child = False
_control = None


def _forked():
    global _in_child
    _in_child = True
    if _control is not None:
        _control.close()


os.register_at_fork(after_in_child=_forked)


def _not_in_child():
    if _in_child:
        os.write(2, b"a process that the handler forked came back from the handler; it ends here\n")
        os._exit(0)


class Channel:
    """One thread, the one that calls the handler."""

    wants_thread = False  # decodes nothing ahead

    def __init__(self, batch_size, delay_ms, fill, max_response, decode, loads, lines):
        if batch_size < 1 or delay_ms < 0:
            raise ValueError("a batch size of %d, a delay of %d ms" % (batch_size, delay_ms))
        self._batch_size, self._delay_ns, self._fill = batch_size, delay_ms * 1_000_000, fill
        self._max_response, self._decode, self._batch_line = max_response, decode, lines
        self._sock = self._port = None
        self._looked_ns = self._began_ns = self._handler_ns = self._lines_due_ns = 0
        self._lines = []
        self._lines_fd = -1
        self._links = []
        self._held = None  # (work, row): must be alone, and there was a batch before it
        self._batch = []
        self.alone = False
        self.over = None

    # ---- the supervisor's side -----------------------------------------------------------------

    def connect(self):
        """Connects back to the supervisor and says hello."""
        global _control
        if self._sock is not None:
            raise ValueError("connected already")
        sock = control.connect_back(os.environ)
        sock = socket.socket(fileno=shared.move_up(sock.detach()))
        sock.setblocking(False)
        self._sock = _control = sock
        try:
            self._lines_fd = shared.copy_up(1)
        except OSError:
            pass
        self._inode = os.fstat(sock.fileno()).st_ino

    def status(self, loaded, text):
        """Tells the frontend how loading ended."""
        _not_in_child()
        if not self._intact():
            raise ConnectionError("the handler has closed the worker's descriptors")
        try:
            control.send(self._sock, control.STATUS, control.status(loaded, text))
        except OSError as error:
            raise ConnectionError("the supervisor is gone: %s" % error) from None

    def _intact(self):
        try:
            there = os.fstat(self._sock.fileno())
        except (OSError, ValueError):
            return False
        return there.st_ino == self._inode and stat.S_ISSOCK(there.st_mode)

    def _read_control(self):
        try:
            while True:
                message = control.receive(self._sock)
                if message is None:
                    return
                kind, payload, fds = message
                if kind == control.ATTACH:
                    self._attach(payload, fds)
                elif kind == control.RANKS:
                    self._links += [shared.move_up(fd) for fd in fds]
                else:
                    for fd in fds:
                        os.close(fd)
        except ConnectionError:
            self.over = self.over or "the supervisor is gone"

    def _attach(self, payload, fds):
        try:
            port = Port(fds, *control.attachment(payload))
        except BadAttachment as error:
            print("attachment failed: %s" % error, file=sys.stderr)
            return
        self._detach()
        self._port = port

    def _detach(self):
        self._batch_over()  # one that is being filled
        self._held = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def links(self):
        """Descriptors of the sockets to the worker's other ranks, if they have come; the caller's from then on."""
        links, self._links = self._links, []
        return links

    def stop(self):
        """Makes the next take() return None."""
        self.over = "stopped"

    def close(self):
        """Writes the lines that waited."""
        if not _in_child:
            self._flush_lines()

    def decode_ahead(self):
        pass

    # ---- batches ---------------------------------------------------------------------------------

    def take(self):
        """The next batch, [(id, headers, row), …]; None when there will be no more."""
        _not_in_child()
        if self._sock is None:
            raise ValueError("not connected")
        self._batch_over()
        rows = []
        while not rows:
            first = self._first()
            if first is None:
                self._flush_lines()
                return None
            self._add(first, rows)
            self._fill_up(rows, first[0].arrival_ns + self._delay_ns)
            if not self._batch:  # its frontend has gone
                rows = []
        self._port.begin([work.id for work in self._batch])
        self._note_batch()
        return rows

    def _first(self):
        while True:
            now = time.monotonic_ns()
            if now - self._looked_ns > _LOOK_NS:
                self._looked_ns = now
                self._read_control()
            if self.over:
                return None
            got = self._next()
            if got is not None:
                return got
            self._wait(0)

    def _next(self):
        """(work, row) of the next request, or None."""
        got, self._held = self._held, None
        while got is None and self._port is not None:
            try:
                work = self._port.next()
            except OSError as error:
                print("the frontend's ring cannot be read: %s" % error, file=sys.stderr)
                self._detach()
                return None
            if work is None:
                return None
            got = self._convert(work)
        return got

    def _convert(self, work):
        try:
            return work, request.convert(work.meta, work.body, self._decode)
        except MemoryError:
            self._port.send(work, 507, _ERROR, b"Out of resources")
        except request.Malformed as error:
            print("the frontend sent %s" % error, file=sys.stderr)
            self._port.send(work, 500, _ERROR, b"The worker could not read this request.")
        finally:
            self._port.done(work)
        self._port.flush()
        return None

    def _add(self, got, rows):
        self._batch.append(got[0])
        self.alone = bool(got[0].flags & _ALONE)
        rows.append(got[1])

    def _fill_up(self, rows, deadline_ns):
        while len(rows) < self._batch_size and not self.alone:
            got = self._next()
            if got is not None:
                if got[0].flags & _ALONE:
                    self._held = got
                    return
                self._add(got, rows)
            elif not self._fill or self.over or self._port is None or time.monotonic_ns() >= deadline_ns:
                return
            else:
                self._wait(deadline_ns)
                if not self._batch:
                    return

    def _wait(self, deadline_ns):
        self._flush_lines()
        timeout = SLEEP_MS if self._port is not None else 1000
        if deadline_ns:
            timeout = max(0, min(timeout, (deadline_ns - time.monotonic_ns()) / 1e6))
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLIN)
        port = self._port
        if port is not None:
            if not port.sleep():
                port.awake()
                return
            poller.register(port.wake.fileno(), select.POLLIN)
            poller.register(port.hup_fd, select.POLLRDHUP)
        events = dict(poller.poll(timeout))
        if port is not None:
            port.awake()
        if self._sock.fileno() in events:
            self._read_control()
        if port is not None and self._port is port and events.get(port.hup_fd):
            self._detach()

    def line(self, text):
        """A line for standard output that may wait some milliseconds for others."""
        self._lines.append(text.encode("utf-8", "replace") + b"\n")

    def _note_batch(self):
        if self._batch_line:
            self._lines.append(b"Backend received inference at: %d\n" % time.time())
        self._began_ns = now = time.monotonic_ns()
        if now >= self._lines_due_ns or self._handler_ns >= _LINES_HANDLER_NS or len(self._lines) > 200:
            self._flush_lines()
            self._lines_due_ns = now + _LINES_NS

    def _flush_lines(self):
        if self._lines:
            lines = b"".join(self._lines)
            self._lines = []
            try:
                while lines and self._lines_fd >= 0 and self._intact():
                    lines = lines[os.write(self._lines_fd, lines):]
            except OSError:
                pass

    def _batch_over(self):
        if self._batch:
            if self._port is not None:
                self._port.end()
            self._batch = []
            self.alone = False

    # ---- answers -----------------------------------------------------------------------------------

    def reply(self, items):
        """Answers the batch: a list of (body, status, reason, content type, headers)."""
        _not_in_child()
        if len(items) != len(self._batch):
            raise ValueError("%d answers for %d requests" % (len(items), len(self._batch)))
        self._send([self._ready(*item) for item in items])

    def reply_all(self, status, message):
        """One error for all of the batch."""
        _not_in_child()
        message = _raw(message)
        self._send([(status if 100 <= status <= 999 else 500, _ERROR, message)] * len(self._batch))

    def _ready(self, body, status, reason, content_type, headers):
        body = _raw(body)
        meta = b""
        if reason or content_type is not None or headers:
            items = [] if content_type is None else [(b":content-type", _raw(content_type))]
            if reason:
                items.append((b":reason", _raw(reason)))
            items += [(_raw(k), _raw(v)) for k, v in headers or () if k and not _raw(k).startswith(b":")]
            meta = request.block(items)
        if not 100 <= status <= 999:
            said = "The handler set the status %d, which is none of HTTP's (100 to 999)." % status
        elif len(body) > self._max_response:
            said = "The answer of %d bytes exceeds max_response_size (%d)." % (len(body), self._max_response)
        elif len(meta) > META_BYTES:
            said = "The headers that the handler set exceed %d bytes." % META_BYTES
        else:
            return status, meta, body
        return 500, _ERROR, said.encode()

    def _send(self, answers):
        self._handler_ns += (time.monotonic_ns() - self._began_ns - self._handler_ns) // 8
        port = self._port
        if port is not None:
            intact = self._intact()
            for work, (status, meta, body) in zip(self._batch, answers):
                if not intact and len(body) + len(meta) > shared.BLOCK_MAX // 2:
                    continue  # it would need descriptors
                try:
                    port.send(work, status, meta, body)
                except OSError:
                    port.send(work, 507, b"", _NO_MEMORY)
            port.end()
            if intact:
                port.flush()
        self._batch_over()
        if port is not None and not intact:
            raise ConnectionError("the handler has closed descriptors that are not its own; the worker cannot go on")


def _raw(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, (bytes, bytearray)):
        return value
    if isinstance(value, memoryview):
        return value.cast("B")
    return str(value).encode("utf-8", "replace")

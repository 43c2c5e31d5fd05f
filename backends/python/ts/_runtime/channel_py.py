"""The worker's end of the data path in plain Python: behaves as ext/channel.c, which is its fast twin."""
import collections
import os
import select
import socket
import stat
import sys
import threading
import time

from ts._runtime import control_py as control
from ts._runtime import request_py as request
from ts._runtime import shared_py as shared
from ts._runtime.port_py import CANCEL, META_BYTES, MORE, SLEEP_MS, BadAttachment, Port

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
    """One thread, the one that calls the handler.

    Either in batches: take, reply or reply_all, take, …; or as an open set of requests that come and are answered
    in any order: take_new, answer, take_new, …. Parts of answers may be sent in both.
    """

    wants_thread = False  # decodes nothing ahead
    sleep_ms = SLEEP_MS  # who has armed it looks again after so long

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
        self._asked = self._answer = None  # of kept(): a name; what came, False while nothing has
        self._held = None  # (work, row): must be alone, and there was a batch before it
        self._batch = []
        self._open = {}  # of take_new: id -> Work
        self._waiting = collections.deque()  # taken from the rings, not yet given out: (Work, row)
        self._cancelled = []  # ids, to be told
        self._lost = set()  # ids that were open when their frontend ended
        self._gone = set()  # numbers of open requests whose clients have left
        self._lock = threading.RLock()  # of the open set and of sending: any thread may answer
        self._epoll = None
        self._armed = False
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

    def keep(self, name, fd, size):
        """Has the supervisor keep a descriptor for this worker's next lives, and for others; it stays the caller's. Nothing
        is said of one that is not kept."""
        self._say(control.KEEP, control.kept(name, size), (fd,))

    def kept(self, name):
        """(descriptor, size) of what is kept under that name, the caller's to close; None: nothing."""
        end = time.monotonic() + control.KEPT_SECONDS
        self._asked, self._answer = name, False
        self._say(control.FETCH, control.kept(name))
        try:
            while self._answer is False and self.over is None and time.monotonic() < end:
                select.select([self._sock], [], [], 0.1)
                self._read_control()
            return self._answer or None
        finally:
            self._asked = None

    def _take_kept(self, payload, fds):
        name, size = control.kept_answer(payload)
        if name == self._asked and self._answer is False:
            self._answer = (fds.pop(0), size) if fds else None
        for fd in fds:
            os.close(fd)

    def _say(self, kind, payload, fds=()):
        _not_in_child()
        try:
            select.select([], [self._sock], [], control.KEPT_SECONDS)
            control.send(self._sock, kind, payload, fds)
        except OSError as error:
            raise ConnectionError("the supervisor does not take it: %s" % error) from None

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
                elif kind == control.KEPT and self._asked is not None:
                    self._take_kept(payload, fds)
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
        self._watch(True)

    def _detach(self):
        self._batch_over()  # one that is being filled
        self._held = None
        self._waiting.clear()
        self._cancelled += [name for name, work in self._open.items() if work.id not in self._gone]
        self._cancelled = list(dict.fromkeys(self._cancelled))
        self._lost.update(self._open)
        self._open = {}
        self._gone.clear()
        self._armed = False
        if self._port is not None:
            self._watch(False)
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

    # ---- for an event loop in the same thread ------------------------------------------------------

    def poll_fds(self):
        """Descriptors that are readable when take_new should be called; the same for the life of the channel."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._epoll.register(self._sock.fileno(), select.EPOLLIN)
            self._watch(True)
        return [self._epoll.fileno()]

    def _watch(self, on):
        port = self._port
        if self._epoll is None or port is None:
            return
        for fd, events in ((port.wake.fileno(), select.EPOLLIN), (port.hup_fd, select.EPOLLRDHUP)):
            if on:
                self._epoll.register(fd, events)
            else:
                self._epoll.unregister(fd)

    def arm(self):
        """Before the loop waits: True if the frontend will now make a descriptor readable with its next request; False
        if there is one already: take_new first."""
        self._flush_lines()
        if self._waiting or self._cancelled or self.over:
            return False
        if self._port is None or self._armed:
            return True
        if not self._port.sleep():
            self._port.awake()
            return False
        self._armed = True
        return True

    # ---- an open set of requests ---------------------------------------------------------------------

    def take_new(self, limit, wait_ms):
        """At most `limit` new requests, [(id, headers, row), …], which are open from now on. Waits up to wait_ms for one
        (-1: for ever), but not while there are ids in cancelled(). None when there will be no more."""
        _not_in_child()
        if self._sock is None:
            raise ValueError("not connected")
        if self._batch:
            raise ValueError("the batch of take is open")
        deadline_ns = time.monotonic_ns() + wait_ms * 1_000_000 if wait_ms > 0 else 0
        if self._armed:
            self._armed = False
            self._port.awake()
            self._read_control()
            if self._port is not None and self._port.hung_up():
                self._detach()
        while True:
            now = time.monotonic_ns()
            if now - self._looked_ns > _LOOK_NS:
                self._looked_ns = now
                self._read_control()
            if self.over:
                self._flush_lines()
                return None
            with self._lock:
                self._drain()
            if self._waiting or self._cancelled or wait_ms == 0 or deadline_ns and now >= deadline_ns:
                break
            self._wait(deadline_ns)
        rows = []
        with self._lock:
            while self._waiting and len(rows) < limit and not self.alone:
                if self._waiting[0][0].flags & _ALONE and self._open:
                    break
                work, row = self._waiting.popleft()
                self.alone = bool(work.flags & _ALONE)
                self._open[row[0]] = work
                work.taken_ns, work.batch = time.monotonic_ns(), len(self._open)
                rows.append(row)
            self._list(len(rows))
        if rows:
            self._note_batch()
        return rows

    def _drain(self):
        """Takes all that is in the rings: what was cancelled may stand behind what has to wait."""
        while self._port is not None:
            got = self._next()
            if got is None:
                return
            self._waiting.append(got)

    def _note_cancel(self, number):
        for name, work in self._open.items():
            if work.id == number:
                if number not in self._gone:
                    self._cancelled.append(name)
                    self._gone.add(number)
                return
        for at, (work, _) in enumerate(self._waiting):
            if work.id == number:
                del self._waiting[at]
                self._port.send(work, 200, b"", b"")
                self._port.flush()
                return

    def _list(self, fresh):
        if self._port is not None:
            self._port.list([work.id for work in self._open.values()], fresh)

    def cancelled(self):
        """The ids of open requests whose answers nobody waits for any more, each once: their clients, or the frontend,
        have left. They stay open until answered."""
        gone, self._cancelled = self._cancelled, []
        lost, self._lost = self._lost, set()
        return [name for name in gone if name in self._open or name in lost]

    def part(self, items):
        """Parts of answers that go on, to requests that are open or of the batch: a list of (id, body, status, reason,
        content type, headers). Sent at once. What HTTP cannot carry becomes an error of its request, which ends it.
        Returns how many were sent: the others are answered already, or nobody waits for them."""
        _not_in_child()
        with self._lock:
            sent = []
            for request_id, *item in items:
                work, answer = self._find(request_id), self._ready(*item)
                if work is not None and work.id not in self._gone:
                    sent.append((request_id, work, answer, answer[1] is _ERROR))
            return self._send_some(sent)

    def answer(self, items):
        """The last, or only, parts: as part(). (id, status, message) is an error."""
        _not_in_child()
        with self._lock:
            sent = []
            for request_id, *item in items:
                work = self._find(request_id)
                answer = self._error(*item) if len(item) == 2 else self._ready(*item)
                if work is not None:
                    sent.append((request_id, work, answer, True))
            return self._send_some(sent)

    @staticmethod
    def _error(status, message):
        return status if 100 <= status <= 999 else 500, _ERROR, _raw(message)

    def _find(self, request_id):
        """The Work of a request that is not answered, or None."""
        work = self._open.get(request_id)
        if work is None:
            for other in self._batch:
                if other.name == request_id and not other.answered:
                    return other
        return work

    def _send_some(self, answers):
        self._publish([(work, answer, 0 if last else MORE) for _, work, answer, last in answers])
        closed = False
        for request_id, work, _, last in answers:
            if last:
                work.answered = True
                self._gone.discard(work.id)
                closed = self._open.pop(request_id, None) is not None or closed
        if self._port is not None:
            if closed:
                self.alone = self.alone and bool(self._open)
                self._list(0)
            elif answers:
                self._port.touch()
            self._port.flush()
        return len(answers)

    def _publish(self, answers):
        """Sends [(work, (status, metadata, body), flags), …]."""
        port = self._port
        if port is None or not answers:
            return
        intact = self._intact()
        for work, (status, meta, body), flags in answers:
            if not intact and len(body) + len(meta) > shared.BLOCK_MAX // 2:
                continue  # it would need descriptors
            try:
                port.send(work, status, meta, body, flags)
            except OSError:
                port.send(work, 507, b"", _NO_MEMORY)
        if not intact:
            raise ConnectionError("the handler has closed descriptors that are not its own; the worker cannot go on")

    # ---- batches ---------------------------------------------------------------------------------

    def take(self):
        """The next batch, [(id, headers, row), …]; None when there will be no more."""
        _not_in_child()
        if self._sock is None:
            raise ValueError("not connected")
        if self._open:
            raise ValueError("requests of take_new are open")
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
        now = time.monotonic_ns()
        for work in self._batch:
            work.taken_ns, work.batch = now, len(self._batch)
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
            if work.flags & CANCEL:
                self._port.done(work)
                self._note_cancel(work.id)
            else:
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
        got[0].name = got[1][0]
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
        if self._open:
            raise ValueError("what take_new gave is answered by its ids")
        if len(items) != len(self._batch):
            raise ValueError("%d answers for %d requests" % (len(items), len(self._batch)))
        self._send([self._ready(*item) for item in items])

    def reply_all(self, status, message):
        """One error for all of the batch, or of what is open."""
        _not_in_child()
        if self._open:
            self.answer([(request_id, status, message) for request_id in list(self._open)])
            return
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
        try:
            self._publish([(work, answer, 0) for work, answer in zip(self._batch, answers) if not work.answered])
        finally:
            if port is not None:
                port.end()
            self._batch_over()
        if port is not None:
            port.flush()


def _raw(value):
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, (bytes, bytearray)):
        return value
    if isinstance(value, memoryview):
        return value.cast("B")
    return str(value).encode("utf-8", "replace")

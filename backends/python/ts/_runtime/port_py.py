"""Board and channels in plain Python: the twin of src/worker/port.c, on the layout of channel_layout.h.

Why this is allowed to work without atomic operations. It runs on x86-64 alone, where stores become visible in the
order in which they were made and loads are not reordered with loads: so a tail stored after its slot publishes it,
and a slot read after the tail is whole. Python's memoryviews move an aligned word of 4 or 8 bytes in one access.
The one reordering that the processor does make, a load before an earlier store, matters only for sleeping: the flag
against the ring. A lock taken and released in between is a locked instruction, which forbids it; and since
that is the interpreter's doing and not its promise, no sleep here is longer than SLEEP_MS.
"""
import os
import platform
import socket
import struct
import threading
import time

from ts._runtime import shared_py as shared

SLEEP_MS = 20
BOARD_FDS, CHAN_FDS = 2, 5

_VERSION = 4
_BOARD_MAGIC = 0x6472616F62206373
_CHAN_MAGIC = 0x6E6E616863206373
_RING, _HELD, _LARGE = 1024, 4096, 256
_RUNNING, _LANES, _LOOPS = 1024, 64, 16
META_BYTES = 16 << 10
LARGE_FLAG = 1 << 31
CANCEL = 2  # flag of a submission: no request, nobody waits for this id any more
MORE = 1  # flag of an answer: it goes on
_RELEASE_LARGE = (1 << 64) - 1
_BUCKETS = 18  # of batches by their size

# Offsets, in bytes.
BOARD_SLEEPS, BOARD_PAGES, BOARD_PAGE = 128, 256, 8576
PAGE_N, PAGE_IDS, PAGE_BATCHES, PAGE_SIZES = 8, 16, 8208, 8232
HOST_SLEEPS, SUB, COMP, REL, HEAD = 128, 256, 512, 768, 128
SUBS, COMPS, RELS = 1024, 1024 + 64 * _RING, 1024 + 128 * _RING
CHAN_BYTES = (RELS + 8 * _HELD + 4095) & ~4095

_BOARD_HEAD = struct.Struct("=QQII")
_CHAN_HEAD = struct.Struct("=QQIIIIQQQ")
_SUB_DESC = struct.Struct("=QQQQIIqQQ")
_COMP_DESC = struct.Struct("=QQQQIIIIq8x")
_ONE = struct.pack("=Q", 1)

_fence = threading.Lock()


def full_barrier():
    _fence.acquire()
    _fence.release()


class BadAttachment(Exception):
    """The frontend's shared memory is not what this build knows."""


class Work:
    """A submission: as struct sc_work. `name` (the request's id) and `answered` are the channel's."""

    __slots__ = ("id", "end", "flags", "meta", "body", "map", "arrival_ns", "taken_ns", "batch", "name", "answered")


class _End:
    """The worker's end of one channel."""

    def __init__(self, fds, epoch):
        self.maps = maps = [shared.map_file(fds[0], True), shared.map_file(fds[1], True), shared.map_file(fds[2], False)]
        self.wake_fd = shared.move_up(os.dup(fds[3]))
        self.sock = socket.socket(fileno=shared.move_up(os.dup(fds[4])))
        head = _CHAN_HEAD.unpack_from(maps[0]) if len(maps[0]) == CHAN_BYTES else (0,) * 9
        magic, its_epoch, version, ring, held, block, request, response, self.max_response = head
        if (magic, version, ring, held, block) != (_CHAN_MAGIC, _VERSION, _RING, _HELD, shared.BLOCK_MIN):
            raise BadAttachment("the frontend's channel has another version; restart the server")
        if its_epoch != epoch or response != len(maps[1]) or request > len(maps[2]):
            raise BadAttachment("the frontend's channel does not fit this attachment")
        view = memoryview(maps[0])
        self.words = view.cast("I")
        self.rels = view[RELS:RELS + 8 * _HELD].cast("Q")
        self.response = memoryview(maps[1])
        self.request = memoryview(maps[2])
        self.arena = shared.Arena(len(maps[1]))
        self.sub = self.comp = self.rel = 0
        self.out = self.large = 0
        self.unflushed = False

    def close(self):
        for view in (getattr(self, name, None) for name in ("words", "rels", "response", "request")):
            if view is not None:
                view.release()
        for one in self.maps:
            try:
                one.close()
            except BufferError:
                pass  # a row in flight still looks at it
        self.sock.close()
        os.close(self.wake_fd)


def _write_slot(mapping, at, desc):
    mapping[at:at + 64] = desc


class Port:
    """The worker's end of all channels of one attachment. One thread."""

    def __init__(self, fds, channels, epoch):
        """Takes over the descriptors, also when it raises."""
        self.ends = []
        self.board = None
        self.wake = None
        try:
            if platform.machine() not in ("x86_64", "AMD64"):
                raise BadAttachment("the data path in plain Python is for x86-64 alone")
            if not 0 < channels <= _LOOPS or len(fds) != BOARD_FDS + channels * CHAN_FDS:
                raise BadAttachment("an attachment of %d channels with %d descriptors" % (channels, len(fds)))
            self.epoch = epoch
            self.turn = 0
            self.wake = socket.socket(fileno=shared.move_up(os.dup(fds[1])))
            self.board = shared.map_file(fds[0], True)
            magic, its_epoch, version, lanes = _BOARD_HEAD.unpack_from(self.board)
            if (magic, version) != (_BOARD_MAGIC, _VERSION):
                raise BadAttachment("the frontend's board has another version; restart the server")
            if its_epoch != epoch or not 0 < lanes <= _LANES or len(self.board) < BOARD_PAGES + lanes * BOARD_PAGE:
                raise BadAttachment("the frontend's board does not fit this attachment")
            self.flags = memoryview(self.board).cast("I")
            self.page = memoryview(self.board).cast("Q")
            for i in range(channels):
                at = BOARD_FDS + i * CHAN_FDS
                self.ends.append(_End(fds[at:at + CHAN_FDS], epoch))
        except (OSError, ValueError, struct.error, BadAttachment) as error:
            self.close()
            raise BadAttachment(str(error)) from None
        finally:
            for fd in fds:
                os.close(fd)

    def close(self):
        for end in self.ends:
            end.close()
        self.ends = []
        for view in (getattr(self, "flags", None), getattr(self, "page", None)):
            if view is not None:
                view.release()
        if self.board is not None:
            self.board.close()
        if self.wake is not None:
            self.wake.close()

    def hung_up(self):
        """Whether the frontend is gone."""
        return self._gone(self.ends[0])

    @property
    def hup_fd(self):
        return self.ends[0].sock.fileno()

    # ---- submissions -----------------------------------------------------------------------

    def next(self):
        """The next submission of any channel, fairly, or None. Raises OSError if the ring cannot be read."""
        ends = self.ends
        for _ in range(len(ends)):
            end = ends[self.turn]
            self.turn = (self.turn + 1) % len(ends)
            waiting = (end.words[SUB // 4] - end.sub) & 0xFFFFFFFF
            if waiting > _RING:
                raise OSError("an index of the frontend's is impossible")
            if waiting:
                return self._take(end)
        return None

    def _take(self, end):
        at = SUBS + 64 * (end.sub % _RING)
        number, epoch, off, body_len, meta_len, flags, arrival, _cost, _ = _SUB_DESC.unpack_from(end.maps[0], at)
        end.sub = (end.sub + 1) & 0xFFFFFFFF
        end.words[(SUB + HEAD) // 4] = end.sub
        large = flags & LARGE_FLAG
        inside = meta_len + (0 if large else body_len)
        if epoch != self.epoch or off + inside > len(end.request):
            raise OSError("a submission that lies outside of its arena")
        work = Work()
        work.answered = False
        work.taken_ns = work.batch = 0
        work.id, work.end, work.flags, work.arrival_ns = number, end, flags & ~LARGE_FLAG, arrival
        work.meta = bytes(end.request[off:off + meta_len])
        work.map = None
        if large:
            work.map = shared.receive_large(end.sock, number, epoch, body_len)
            work.body = memoryview(work.map)
        else:
            work.body = end.request[off + meta_len:off + meta_len + body_len]
        return work

    @staticmethod
    def done(work):
        """The body is no longer needed."""
        work.body.release()
        if work.map is not None:
            work.map.close()
            work.map = None

    # ---- sleeping ----------------------------------------------------------------------------

    def sleep(self):
        """Announces sleep; False if there is work."""
        self.flags[BOARD_SLEEPS // 4] = 1
        full_barrier()
        for end in self.ends:
            if end.words[SUB // 4] != end.sub:
                self.flags[BOARD_SLEEPS // 4] = 0
                return False
        return True

    def awake(self):
        self.flags[BOARD_SLEEPS // 4] = 0
        try:
            while len(self.wake.recv(64, socket.MSG_DONTWAIT)) == 64:
                pass
        except OSError:
            pass

    # ---- running pages ---------------------------------------------------------------------------

    def _count(self, requests):
        page, first = self.page, BOARD_PAGES // 8
        page[first + PAGE_BATCHES // 8] += 1
        page[first + PAGE_BATCHES // 8 + 1] += requests
        page[first + PAGE_SIZES // 8 + min((requests - 1).bit_length(), _BUCKETS - 1)] += 1

    def begin(self, ids):
        page, first = self.page, BOARD_PAGES // 8
        ids = ids[:_RUNNING]
        page[first] = 0
        at = first + PAGE_IDS // 8
        for number in ids:
            page[at] = number
            at += 1
        self.flags[(BOARD_PAGES + PAGE_N) // 4] = len(ids)
        page[first] = time.monotonic_ns()
        self._count(len(ids))

    def end(self):
        self.page[BOARD_PAGES // 8] = 0

    def list(self, ids, fresh):
        """The set that is being computed has changed; `fresh` of the ids are new. Never invalid in between: see
        sc_port_list. Restarts the clock of responseTimeout."""
        page, first = self.page, BOARD_PAGES // 8
        ids = ids[:_RUNNING]
        if fresh:
            self._count(fresh)
        if not ids:
            page[first] = 0
            return
        at = first + PAGE_IDS // 8
        for number in ids:
            page[at] = number
            at += 1
        self.flags[(BOARD_PAGES + PAGE_N) // 4] = len(ids)
        page[first] = time.monotonic_ns()

    def touch(self):
        if self.page[BOARD_PAGES // 8]:
            self.page[BOARD_PAGES // 8] = time.monotonic_ns()

    # ---- answers --------------------------------------------------------------------------------------

    def _reclaim(self, end):
        waiting = (end.words[REL // 4] - end.rel) & 0xFFFFFFFF
        if waiting > _HELD:
            return
        for _ in range(waiting):
            entry = end.rels[end.rel % _HELD]
            end.rel = (end.rel + 1) & 0xFFFFFFFF
            end.out -= end.out > 0
            if entry == _RELEASE_LARGE:
                end.large -= end.large > 0
            else:
                end.arena.release(entry)
        end.words[(REL + HEAD) // 4] = end.rel

    def send(self, work, status, meta, body, flags=0):
        """Publishes an answer, or with MORE a part of it; waits while there is no room, unless the frontend is gone.
        Raises OSError."""
        end = work.end
        size = len(body) + len(meta)
        off = fd = None
        self._reclaim(end)
        if size:
            off = end.arena.alloc(size)
            if off is None:
                fd = shared.large_file(body, meta)
            else:
                # Slices of a view, not of a mapping, which would copy into bytes first.
                end.response[off:off + len(body)] = body
                end.response[off + len(body):off + size] = meta
        if fd is not None:
            flags |= LARGE_FLAG
        desc = _COMP_DESC.pack(work.id, self.epoch, off or 0, len(body), len(meta), flags, status,
                               work.batch, work.taken_ns)
        try:
            self._push(end, desc, size > 0, fd, shared.TAG.pack(work.id, self.epoch))
        finally:
            if fd is not None:
                os.close(fd)

    def _push(self, end, desc, holds, fd, tag):
        pause = 20e-6
        while not self._has_room(end, holds, fd, tag):
            self._wake(end)
            time.sleep(pause)
            pause = min(pause * 2, 1e-3)
            if self._gone(end):
                return
            self._reclaim(end)
        if holds:
            end.out += 1
            end.large += fd is not None
        _write_slot(end.maps[0], COMPS + 64 * (end.comp % _RING), desc)
        end.comp = (end.comp + 1) & 0xFFFFFFFF
        end.words[COMP // 4] = end.comp
        end.unflushed = True

    @staticmethod
    def _has_room(end, holds, fd, tag):
        if (end.comp - end.words[(COMP + HEAD) // 4]) & 0xFFFFFFFF >= _RING or holds and end.out >= _HELD:
            return False
        if fd is None:
            return True
        if end.large >= _LARGE:
            return False
        try:
            end.sock.sendmsg([tag], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))],
                             socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):
            return True  # nobody is there to look
        except BlockingIOError:
            return False
        return True

    @staticmethod
    def _gone(end):
        import select

        poller = select.poll()
        poller.register(end.sock.fileno(), 0)
        return any(events for _, events in poller.poll(0))

    @staticmethod
    def _wake(end):
        full_barrier()
        if end.words[HOST_SLEEPS // 4]:
            end.words[HOST_SLEEPS // 4] = 0
            try:
                os.write(end.wake_fd, _ONE)
            except OSError:
                pass

    def flush(self):
        for end in self.ends:
            if end.unflushed:
                end.unflushed = False
                self._wake(end)

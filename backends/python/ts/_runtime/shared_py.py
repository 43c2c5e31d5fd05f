"""Shared memory for the plain data path: mapping, sealing, and the allocator of the response arena (the twins of
src/worker/shm.c and arena.c, which say why each check is there)."""
import array
import fcntl
import mmap
import os
import socket
import struct

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEALS = 2 | 4 | 8  # SHRINK, GROW, WRITE
TAG = struct.Struct("=QQ")
FD_FIRST = 512  # our descriptors lie above those that a handler's files get

BLOCK_MIN = 256
BLOCK_MAX = 256 << 10
_ORDERS = 11


def copy_up(fd):
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FD_FIRST)


def move_up(fd):
    try:
        up = copy_up(fd)
    except OSError:
        return fd
    os.close(fd)
    return up


def map_file(fd, write):
    """The whole file, shared."""
    prot = mmap.PROT_READ | (mmap.PROT_WRITE if write else 0)
    return mmap.mmap(fd, os.fstat(fd).st_size, flags=mmap.MAP_SHARED, prot=prot)


def receive_large(sock, number, epoch, size):
    """The bytes of a large body, as a private mapping of the memory file that comes by the socket."""
    data, control, _, _ = sock.recvmsg(TAG.size, socket.CMSG_LEN(4), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    try:
        if len(fds) != 1 or len(data) != TAG.size or TAG.unpack(data) != (number, epoch):
            raise OSError("a large body whose descriptor is missing or belongs to another")
        if fcntl.fcntl(fds[0], F_GET_SEALS) & SEALS != SEALS or os.fstat(fds[0]).st_size != size:
            raise OSError("a large body without its seals, or of another size than announced")
        return mmap.mmap(fds[0], size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    finally:
        for fd in fds:
            os.close(fd)


def large_file(*parts):
    """A sealed memory file with these bytes."""
    fd = os.memfd_create("sconce-answer", os.MFD_CLOEXEC | 2)
    try:
        for part in parts:
            view = memoryview(part).cast("B") if len(part) else b""
            while len(view):
                view = view[os.write(fd, view):]
        fcntl.fcntl(fd, F_ADD_SEALS, SEALS | 1)
    except OSError:
        os.close(fd)
        raise
    return fd


class Arena:
    """Blocks of powers of two, from BLOCK_MIN to BLOCK_MAX (a buddy system). Gives offsets."""

    def __init__(self, size):
        self._free = [set() for _ in range(_ORDERS)]
        self._free[-1].update(range(0, size - BLOCK_MAX + 1, BLOCK_MAX))
        self._taken = {}

    def alloc(self, n):
        """An offset, or None."""
        if n > BLOCK_MAX:
            return None
        order = max(0, (n - 1) // BLOCK_MIN).bit_length()
        k = order
        while k < _ORDERS and not self._free[k]:
            k += 1
        if k == _ORDERS:
            return None
        off = self._free[k].pop()
        while k > order:
            k -= 1
            self._free[k].add(off + (BLOCK_MIN << k))
        self._taken[off] = order
        return off

    def release(self, off):
        order = self._taken.pop(off, None)
        if order is None:
            return
        while order + 1 < _ORDERS:
            buddy = off ^ (BLOCK_MIN << order)
            if buddy not in self._free[order]:
                break
            self._free[order].discard(buddy)
            off = min(off, buddy)
            order += 1
        self._free[order].add(off)

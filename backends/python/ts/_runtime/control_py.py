"""The connection to the supervisor: the twin of src/worker/control.c, of which it speaks the worker's part."""
import array
import os
import socket
import struct

VERSION = 1
ATTACH, HELLO, STATUS, RANKS, KEEP, FETCH, KEPT = 36, 64, 65, 66, 67, 68, 69
LOADED, FAILED = 3, 4
STATUS_TEXT = 2048
BYTES = 16384
FDS = 4 + 5 * 16
CONNECT_SECONDS = 30

_HEADER = struct.Struct("=HHI")
_ATTACH = struct.Struct("=IIQQ")
_HELLO = struct.Struct("=16sIi")
_STATUS = struct.Struct("=II")
_KEPT = struct.Struct("=64sQ")
KEPT_SECONDS = 5


def connect_back(environ):
    """Connects and says hello. Returns the socket, non-blocking; raises ConnectionError."""
    where, token = environ.get("SCONCE_SOCKET"), environ.get("SCONCE_TOKEN")
    if not where or not token:
        raise ConnectionError("SCONCE_%s is not set: a worker is started by sconce, not by hand" % ("TOKEN" if where else "SOCKET"))
    try:
        hello = _HELLO.pack(bytes.fromhex(token), int(environ.get("SCONCE_RANK", "0")), os.getpid())
    except (ValueError, struct.error) as error:
        raise ConnectionError("SCONCE_TOKEN or SCONCE_RANK is malformed: %s" % error) from None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        sock.settimeout(CONNECT_SECONDS)
        sock.connect("\0" + where[1:] if where.startswith("@") else where)
        send(sock, HELLO, hello)
    except OSError as error:
        sock.close()
        raise ConnectionError("the supervisor does not answer at %s: %s" % (where, error)) from None
    sock.setblocking(False)
    return sock


def send(sock, kind, payload, fds=()):
    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([_HEADER.pack(VERSION, kind, len(payload)), payload], control, socket.MSG_NOSIGNAL)


def status(loaded, text):
    """The payload of STATUS; a text that is too long is cut, not within a character."""
    raw = text.encode("utf-8", "replace")
    if len(raw) > STATUS_TEXT:
        raw = raw[:STATUS_TEXT].decode("utf-8", "ignore").encode()
    return _STATUS.pack(LOADED if loaded else FAILED, len(raw)) + raw


def receive(sock):
    """The next message, (type, payload, descriptors), which are the caller's; None if there is none. Raises
    ConnectionError at the end of the connection, or for what is malformed."""
    space = FDS * 4
    try:
        data, control, flags, _ = sock.recvmsg(_HEADER.size + BYTES, socket.CMSG_SPACE(space), socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    except OSError as error:
        raise ConnectionError(str(error)) from None
    fds = array.array("i")
    for level, kind, content in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
    whole = len(data) >= _HEADER.size and not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
    version, kind, length = _HEADER.unpack_from(data) if whole else (0, 0, 0)
    if not whole or version != VERSION or length != len(data) - _HEADER.size:
        for fd in fds:
            os.close(fd)
        raise ConnectionError("the supervisor is gone" if not data else "a malformed control message")
    return kind, data[_HEADER.size:], list(fds)


def attachment(payload):
    """(channels, epoch) of ATTACH."""
    _slot, channels, _life, epoch = _ATTACH.unpack_from(payload)
    return channels, epoch


def kept(name, size=0):
    """The payload of KEEP and FETCH."""
    raw = name.encode()
    if not 0 < len(raw) < 64:
        raise ValueError("a name of %d bytes" % len(raw))
    return _KEPT.pack(raw, size)


def kept_answer(payload):
    """(name, size) of KEPT."""
    raw, size = _KEPT.unpack(payload)
    return raw.rstrip(b"\0").decode(), size

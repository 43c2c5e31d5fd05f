"""Clients that sconce bench cannot be: each connection has its own story, chunks are looked at as they come. One thread,
one core, raw sockets: some 15,000 answers a second."""
import select
import socket
import time
from urllib.parse import urlparse


class Client:
    """A connection of a closed loop. `story` is a generator: it yields the bytes of a request and is given back
    (status, headers, body, stamps), stamps being [(ns, chunk)] of a chunked answer, until it ends."""

    def __init__(self, url, story):
        self.socket = socket.create_connection((urlparse(url).hostname, urlparse(url).port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.story, self.buffer, self.fields, self.stamps = story, b"", None, []

    def go(self, answer=None):
        """Sends the story's next request; False at its end."""
        try:
            request = next(self.story) if answer is None else self.story.send(answer)
        except StopIteration:
            self.socket.close()
            return False
        self.socket.sendall(request)
        return True

    def read(self):
        """The answer, if all of it is there by now."""
        data = self.socket.recv(262144)
        now = time.time_ns()
        if not data:
            raise RuntimeError(f"closed: {self.buffer[:300]!r}")
        self.buffer += data
        if self.fields is None and not self.head():
            return None
        return self.chunked(now) if self.length is None else self.whole()

    def head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        text = self.buffer[:end].lower()
        self.status = int(text[9:12])
        self.fields = self.buffer[:end]
        at = text.find(b"content-length:")
        self.length = int(text[at + 15:].partition(b"\r\n")[0]) if at >= 0 else None
        self.buffer = self.buffer[end + 4:]
        return True

    def whole(self):
        if len(self.buffer) < self.length:
            return None
        body, self.buffer = self.buffer[:self.length], self.buffer[self.length:]
        return self.answer(body)

    def chunked(self, now):
        while True:
            size, found, rest = self.buffer.partition(b"\r\n")
            if not found or len(rest) < (n := int(size, 16)) + 2:
                return None
            self.buffer = rest[n + 2:]
            if n == 0:
                return self.answer(b"".join(data for _, data in self.stamps))
            self.stamps.append((now, rest[:n]))

    def answer(self, body):
        out = (self.status, self.fields, body, self.stamps)
        self.fields, self.stamps = None, []
        return out


def play(url, stories, seconds=120):
    """Plays all stories at once; the seconds that it took."""
    poll, clients = select.epoll(), {}
    began = time.monotonic()
    for story in stories:
        client = Client(url, story)
        clients[client.socket.fileno()] = client
        poll.register(client.socket.fileno(), select.EPOLLIN)
        client.go()
    while clients:
        ready = poll.poll(5)
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"{len(clients)} of the clients still wait after {seconds} s")
        for fd, _ in ready:
            client = clients[fd]
            answer = client.read()
            if answer and not client.go(answer):
                del clients[fd]  # closed, and so out of the poll
    poll.close()
    return time.monotonic() - began


def post(url, body, **headers):
    """The bytes of a request."""
    where = urlparse(url)
    more = "".join(f"{k}: {v}\r\n" for k, v in headers.items())
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body

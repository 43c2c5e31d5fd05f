"""Clients that keep a server busy while a test does something to it.

    with Load(server, "/predictions/echo", connections=50) as load:
        ...kill something...
    assert load.failures == []

Each connection is a thread with one request at a time. A failure is an answer other than 200 with the right body, or a
connection that breaks. With retry=True a broken connection is opened again and counted in `broken`, not as a failure:
for tests that end the frontend, where breaking is what the contract says.
"""
import threading
import time

from harness import wire


class Load:
    def __init__(self, server, path, *, connections=20, body=b"load %d", retry=False, right=None, patience=60):
        self.server, self.path, self.body, self.retry = server, path, body, retry
        self.patience = patience  # seconds that an answer may take
        self.right = right or (lambda sent, reply: reply.content == sent)
        self.connections = connections
        self.failures, self.broken, self.done = [], 0, 0
        self.slowest = 0.0
        self.gaps = []  # (start, end) of the time in which a connection could not be had again
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(connections)]

    def __enter__(self):
        for t in self._threads:
            t.start()
        self.wait_for_answers(self.connections)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for t in self._threads:
            t.join(self.patience)
        assert not any(t.is_alive() for t in self._threads), f"a request has had no answer for {self.patience} s"

    def wait_for_answers(self, n, seconds=60):
        """Waits until n more requests are answered: the server works."""
        goal, end = self.done + n, time.monotonic() + seconds
        while self.done < goal:
            assert time.monotonic() < end, f"{self.done} of {goal} answers after {seconds} s; {self.failures[:3]}"
            time.sleep(0.005)

    def _note(self, failure):
        with self._lock:
            self.failures.append(failure)

    def _connect(self):
        start = time.monotonic()
        while True:
            try:
                connection = wire(self.server, timeout=self.patience)
                break
            except OSError as e:
                if not self.retry or self._stop.is_set() or time.monotonic() - start > 30:
                    self._note(f"connect: {e!r}")
                    return None
                time.sleep(0.002)
        return connection

    def _run(self, index):
        connection = self._connect()
        count = 0
        broken_at = None
        while connection and not self._stop.is_set():
            count += 1
            sent = self.body % (index * 1_000_000 + count) if b"%d" in self.body else self.body
            start = time.monotonic()
            try:
                reply = connection.ask("POST", self.path, sent, {"Content-Type": "text/plain"})
            except (OSError, EOFError) as e:
                connection.close()
                if not self.retry:
                    self._note(f"broken: {e!r}")
                    return
                broken_at = broken_at or start
                with self._lock:
                    self.broken += 1
                connection = self._connect()
                continue
            now = time.monotonic()
            if reply.status_code != 200 or not self.right(sent, reply):
                self._note(f"{reply.status_code} {reply.content[:300]!r} for {sent!r}")
                if reply.headers.get("connection") == "close":
                    connection.close()
                    connection = self._connect()
            with self._lock:
                self.done += 1
                self.slowest = max(self.slowest, now - start)
                if broken_at:
                    self.gaps.append((broken_at, now))
            broken_at = None
        if connection:
            connection.close()

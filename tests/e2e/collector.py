"""A collector of traces: what it is sent by OTLP/HTTP in JSON, and answers as a test wants it."""
import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector:
    """`answers`: (status, headers) of the next requests, then 200. While `held` is set requests wait."""

    def __init__(self, port=0):
        self.requests, self.answers, self.connections = [], [], []
        self.free = threading.Event()
        self.free.set()
        self.lock = threading.Lock()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                collector.connections.append(self.connection)

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                collector.free.wait(60)
                with collector.lock:
                    status, headers = collector.answers.pop(0) if collector.answers else (200, {})
                    collector.requests.append((status, self.path, dict(self.headers), body))
                try:
                    self.send_response(status)
                    for name, value in {**headers, "Content-Type": "application/json", "Content-Length": "2"}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    pass  # the client waits no longer

            def log_message(self, *_):
                pass

        ThreadingHTTPServer.allow_reuse_address = True
        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.free.set()
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def taken(self):
        """Requests that were answered with 2xx: path, headers, body."""
        with self.lock:
            return [r[1:] for r in self.requests if r[0] // 100 == 2]

    def spans(self):
        return [s for _, _, body in self.taken() for r in body["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]

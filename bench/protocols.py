#!/usr/bin/env python3
"""Identity over HTTP/1.1, HTTP/2, gRPC and TLS, per core of the server; gRPC against TorchServe's own."""
# needs: taskset h2load openssl nginx
import argparse
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import grpc
from common import (LOAD_CORE, Process, Sconce, die, floor, load, median, rounds, say, table, write_section)
from peers import Nginx, Served, sconce_command, torchserve_command, write_mar

BODY = b"0123456789abcdef"
SEND = ("-b", BODY.decode(), "-H", "content-type: application/octet-stream", "--expect", BODY.decode())
HTTP_HEADERS = ("content-type: application/octet-stream",)
GRPC_HEADERS = ("content-type: application/grpc", "te: trailers")
METHOD = "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions"
HANDLER = "class Same:\n    def initialize(self, c):\n        self.initialized = True\n\n" \
          "    def handle(self, data, c):\n        return [d.get('data') or d.get('body') for d in data]\n"
TLS_MAY_ADD = 0.15
NGINX = "nginx: HTTP/1.1, 64 connections"


# ---- messages ----


def field(number, data):
    """Bytes as a field of a protobuf message; at most 127 of them."""
    return bytes([number << 3 | 2, len(data)]) + data


def request(model, body):
    """A PredictionsRequest of inference.proto."""
    return field(1, model.encode()) + field(3, field(1, b"data") + field(2, body))


def response(body):
    return field(1, body)


def framed(message):
    return b"\0" + len(message).to_bytes(4, "big") + message


def verify(target, model, root=None):
    """A gRPC client of others: each answer must be what was sent."""
    channel = (grpc.secure_channel(target, grpc.ssl_channel_credentials(root.read_bytes())) if root
               else grpc.insecure_channel(target))
    with channel:
        call = channel.unary_unary(METHOD)
        for _ in range(100):
            body = os.urandom(len(BODY))
            got = call(request(model, body), timeout=60)
            if got != response(body):
                raise RuntimeError(f"{target}: gRPC gave {got!r} for {body!r}")


# ---- load ----


@dataclass
class Load:
    """One connection or many to one server, always with the same body, by h2load; HTTP/1.1 without a `body` by
    `sconce bench`."""
    server: Process
    url: str
    body: bytes = None
    headers: tuple = HTTP_HEADERS
    answer: int = len(BODY)  # bytes
    connections: int = 1
    streams: int = 100
    http1: bool = False
    begun_apart: bool = False  # what it takes to open the connections does not count
    requests: int = 0

    def run(self, seconds):
        if self.body is None:
            return load(self.url, connections=self.connections, seconds=seconds, more=SEND, of=self.server)
        if not self.requests:  # how many take that long is seen in a run of many, when the server is warm
            self.requests = 500
            while (took := self.count(self.requests)[0]) < 0.5:
                self.requests *= 2
            self.requests = max(500, int(self.requests * seconds / took))
        took, spent = self.count(self.requests)
        few = 5 * self.connections if self.begun_apart else 0
        if few:
            spent -= self.count(few)[1]
        return {"rate": self.requests / took, "per_cpu_second": (self.requests - few) / max(spent, 0.01)}

    def count(self, requests):
        """Seconds that so many took, and of the server's CPU time."""
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.body)
            file.flush()
            headers = [word for header in self.headers for word in ("-H", header)]
            before = self.server.cpu_seconds()
            done = subprocess.run(
                ["taskset", "-c", LOAD_CORE, "h2load", "-n", str(requests), "-c", str(self.connections), "-m",
                 str(self.streams), "-d", file.name, *headers, *(["--h1"] if self.http1 else []), self.url],
                capture_output=True, text=True)
            spent = self.server.cpu_seconds() - before
        took = re.search(r"finished in ([\d.]+)(us|ms|s),", done.stdout)
        # It sees no status in HTTP/1.1's "200" without a phrase.
        good = re.search(r" (\d+) done, " if self.http1 else r" (\d+) succeeded, ", done.stdout)
        data = re.search(r"\((\d+)\) data", done.stdout)
        # An error over gRPC has status 200, too, but no body: the bytes tell that every answer was a full one.
        if not took or int(good[1]) != requests or int(data[1]) != requests * self.answer:
            raise RuntimeError(f"{self.url}: h2load found errors, or answers of other sizes\n{done.stdout}{done.stderr}")
        return float(took[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1}[took[2]], spent


def over_grpc(server, model, scheme="http", **more):
    return Load(server, f"{scheme}://127.0.0.1:{server.grpc}{METHOD}", framed(request(model, BODY)), GRPC_HEADERS,
                len(framed(response(BODY))), **more)


def measured(loads, a):
    """name -> (rate, requests per second of the server's CPU time), medians, and the latter of each round."""
    results = rounds(a.rounds, list(loads.items()), lambda one: one.run(a.seconds))
    return {name: (median([r["rate"] for r in rs]), median([r["per_cpu_second"] for r in rs]),
                   [r["per_cpu_second"] for r in rs]) for name, rs in results.items()}


def ratio(ours, theirs, digits=2):
    """The median of the rounds' ratios, and as a text with the lowest and the highest."""
    each = [o / t for o, t in zip(ours[2], theirs[2])]
    return median(each), f"**{median(each):.{digits}f}** ({min(each):.{digits}f}–{max(each):.{digits}f})"


def figures(one):
    return [f"{one[0]:,.0f}", f"{one[1]:,.0f}"]


# ---- the parts ----


def certificate(folder):
    key, cert = Path(folder) / "key.pem", Path(folder) / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    key, "-out", cert, "-days", "30", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    return key, cert


def protocols_part(plain, a):
    say("protocols")
    h1, h2 = plain.inference + "/predictions/echo", Load(plain, plain.inference + "/predictions/echo", BODY)
    loads = {"HTTP/1.1, 100 connections": Load(plain, h1, connections=100),
             "HTTP/2, 100 streams": h2,
             "gRPC, 100 streams": over_grpc(plain, "echo"),
             "gRPC, 10 connections of 10 streams": over_grpc(plain, "echo", connections=10, streams=10)}
    verify(f"127.0.0.1:{plain.grpc}", "echo")
    results = measured(loads, a)
    verify(f"127.0.0.1:{plain.grpc}", "echo")
    base = results["HTTP/1.1, 100 connections"]
    rows = []
    for name, one in results.items():
        value, text = ratio(one, base)
        goal = floor(value, 0.5, 0.8) if name == "gRPC, 100 streams" else ""
        rows.append([name, *figures(one), "" if one is base else text, goal])
    return table(["", "req/s", "per CPU second", "of HTTP/1.1's", "goal"], rows)


def tls_part(plain, a):
    say("TLS")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        key, cert = certificate(folder)
        settings = {"access_log": "false", "private_key_file": key, "certificate_file": cert, "enable_grpc_ssl": "true"}
        with Sconce({"echo": "identity"}, settings, scheme="https", grpc=True) as secure, \
                Nginx(BODY.decode(), (key, cert)) as nginx:
            loads = {}
            for name, how in (("HTTP/1.1, 64 connections", {"connections": 64, "streams": 1, "http1": True}),
                              ("HTTP/2, 100 streams", {})):
                for kind, server in (("plain", plain), ("TLS", secure)):
                    loads[name, kind] = Load(server, server.inference + "/predictions/echo", BODY, begun_apart=True, **how)
            for kind, url in (("plain", nginx.h1), ("TLS", nginx.tls)):
                loads[NGINX, kind] = Load(nginx, url, BODY, connections=64, streams=1, http1=True, begun_apart=True)
            loads["gRPC, 100 streams", "plain"] = over_grpc(plain, "echo", begun_apart=True)
            loads["gRPC, 100 streams", "TLS"] = over_grpc(secure, "echo", scheme="https", begun_apart=True)
            verify(f"127.0.0.1:{secure.grpc}", "echo", cert)
            results = measured(loads, a)
    for name in dict.fromkeys(name for name, _ in results):
        clear, tls = results[name, "plain"], results[name, "TLS"]
        more = median([c / t - 1 for c, t in zip(clear[2], tls[2])])
        goal = "" if name == NGINX else f"< {TLS_MAY_ADD:.0%} {'reached' if more < TLS_MAY_ADD else 'not reached'}"
        rows.append([name, f"{clear[1]:,.0f}", f"{tls[1]:,.0f}", f"**{more:.0%}**", goal])
    return table(["", "in clear, per CPU second", "TLS 1.3, per CPU second", "CPU time that TLS adds", "goal"], rows)


def torchserve_part(a):
    say("against TorchServe")

    def same(path):
        write_mar(path, {"same.py": HANDLER}, "same.py", "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 1\n")

    with Sconce({"echo": "identity"}, grpc=True) as ours, Served(sconce_command(), "sconce", {"same": same}) as handled, \
            Served(torchserve_command(), "torchserve", {"same": same}) as theirs:
        servers = {"TorchServe": (theirs, "same"), "Sconce, the same archive": (handled, "same"),
                   "Sconce, identity": (ours, "echo")}
        loads = {}
        for name, (server, model) in servers.items():
            verify(f"127.0.0.1:{server.grpc}", model)
            loads[name, "gRPC, 100 streams"] = over_grpc(server, model)
            loads[name, "HTTP/1.1, 100 connections"] = Load(server, f"{server.inference}/predictions/{model}",
                                                            connections=100)
        say("  warming up")
        for name in ("gRPC, 100 streams", "HTTP/1.1, 100 connections"):
            loads["TorchServe", name].run(4)
            loads["TorchServe", name].requests = 0
        results = measured(loads, a)
        for server, model in servers.values():
            verify(f"127.0.0.1:{server.grpc}", model)
    rows = []
    for (name, how), one in results.items():
        their = results["TorchServe", how]
        value, text = ratio(one, their, 1)
        goal = floor(value, 10, 20) if name == "Sconce, identity" and "gRPC" in how else ""
        rows.append([name, how, *figures(one), "" if one is their else text, goal])
    return table(["", "", "req/s", "per CPU second", "of TorchServe's, per CPU second", "goal"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2)
    p.add_argument("--parts", nargs="+", default=["protocols", "tls", "torchserve"])
    a = p.parse_args()
    if os.cpu_count() < 2:
        die("one core for the server and one for the load are needed")
    parts = [
        "Servers with all their workers on core 0, the load on core 1 in a closed loop: `sconce bench` for HTTP/1.1, which "
        "compares every answer, `h2load` for the rest, whose count of bytes says that every answer was a full one; before "
        f"and after that a client of `grpcio` compares answers. Medians of {a.rounds} rounds of about {a.seconds:g} s that "
        "take turns (lowest and highest in brackets). 16 bytes there and back. Ratios are of the requests per second of the "
        "servers' CPU time: what a core can do."]
    with Sconce({"echo": "identity"}, {"access_log": "false"}, grpc=True) as plain:
        if "protocols" in a.parts:
            parts.append("The identity model, no access log:\n\n" + protocols_part(plain, a))
        if "tls" in a.parts:
            parts.append("TLS against plain on connections that are kept, both by `h2load`; what their handshakes take is "
                         "subtracted. Streams of one connection share records; with HTTP/1.1 each request pays for two of its "
                         "own, here as in nginx, which has the same OpenSSL:\n\n" + tls_part(plain, a))
    if "torchserve" in a.parts:
        if torchserve_command():
            parts.append("TorchServe 0.12, one worker, a handler that gives its input back, and the identity model; all "
                         "logging as they come:\n\n" + torchserve_part(a))
        else:
            parts.append("TorchServe or a Java runtime (openjdk-17-jre-headless) was not there: not compared.")
    write_section("protocols", "Protocols", "\n\n".join(parts))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Time to healthy, time to recover from a kill, resident memory, and what 10,000 idle connections cost."""
import argparse
import json
import os
import resource
import signal
import socket
import time

from common import Sconce, die, fetch, median, program, say, table, write_section

MIB = 1 << 20
PER_ADDRESS = 5000  # connections from one source address: it has ports for them


def healthy(port):
    """One attempt by a raw socket: what urllib needs for itself would be a good part of the time measured."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(b"GET /ping HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n")
            return s.recv(12) == b"HTTP/1.1 200"
    except OSError:
        return False


def start_up(rounds):
    """Milliseconds from the start of the program to the first healthy /ping, no model."""
    took = []
    program("sconce")
    for _ in range(rounds):
        with Sconce(wait=False, core=None) as server:
            began = server.began
            while not healthy(server.ports[0]):
                if time.monotonic() - began > 20:
                    die(f"not healthy in 20 s\n{server.log.read_text()[-2000:]}")
                time.sleep(0.0005)
            took.append((time.monotonic() - began) * 1e3)
            time.sleep(0.1)
    return took


def predicts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            s.sendall(b"POST /predictions/echo HTTP/1.1\r\nhost: t\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
            answer = b""
            while more := s.recv(4096):
                answer += more
            return answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hi")
    except OSError:
        return False


def recovery(title, rounds):
    """Milliseconds from kill -9 of a process to the next good prediction, each on a server of its own."""
    took = []
    for _ in range(rounds):
        with Sconce(models={"echo": "identity"}, core=None) as server:
            time.sleep(1.2)  # a worker that dies at once is started again later
            [pid] = server.role(title)
            os.kill(pid, signal.SIGKILL)
            began = time.monotonic()
            while not predicts(server.ports[0]):
                if time.monotonic() - began > 20:
                    die(f"no answer in 20 s\n{server.log.read_text()[-2000:]}")
                time.sleep(0.0005)
            took.append((time.monotonic() - began) * 1e3)
    return took


def hold(port, count):
    """Keep-alive connections that have had one answer each and now do nothing."""
    held = []
    request = b"GET /ping HTTP/1.1\r\nhost: t\r\n\r\n"
    for i in range(count):
        s = socket.socket()
        s.bind((f"127.0.0.{2 + i // PER_ADDRESS}", 0))
        s.connect(("127.0.0.1", port))
        s.sendall(request)
        held.append(s)
        if len(held) % 100 == 0:
            for one in held[-100:]:
                if not one.recv(4096).startswith(b"HTTP/1.1 200"):
                    die("a connection was not answered")
    return held


def idle_connections(count):
    """Memory before, with and after `count` connections; all must be answered again at the end."""
    wanted = count + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        die(f"{wanted} descriptors are needed, the limit is {hard}: ulimit -n {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    with Sconce(settings={"access_log": "false"}, core=None) as server:
        time.sleep(0.5)
        rss = {"supervisor": server.rss("sconce: supervisor"), "frontend": server.rss("sconce: frontend")}
        held = hold(server.ports[0], count)
        time.sleep(1)
        full = server.rss("sconce: frontend")
        for s in held[:: max(1, count // 1000)]:
            s.sendall(b"GET /ping HTTP/1.1\r\nhost: t\r\n\r\n")
            if not s.recv(4096).startswith(b"HTTP/1.1 200"):
                die("an idle connection was not answered")
        for s in held:
            s.close()
        time.sleep(1)
        after = server.rss("sconce: frontend")
        if fetch(server.inference + "/ping")[0] != 200:
            die("the server is not healthy after all connections are closed")
    return rss, full, after


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=11)
    p.add_argument("--connections", type=int, default=10000)
    p.add_argument("--json", action="store_true")
    a = p.parse_args()
    took = start_up(a.rounds)
    frontend, executor = recovery("sconce: frontend", a.rounds), recovery("sconce: executor", a.rounds)
    rss, full, after = idle_connections(a.connections)
    both = rss["supervisor"] + rss["frontend"]
    grown = full - rss["frontend"]
    if a.json:
        say(json.dumps({"start_ms": took, "frontend_ms": frontend, "executor_ms": executor, "rss": rss, "idle_bytes": grown, "after_bytes": after}))
        return

    def goal(value, most, unit):
        return f"< {most} {unit} reached" if value < most else f"NOT < {most} {unit}"

    start = median(took)
    write_section("footprint", "Footprint", table(["", "", "goal"], [
        [f"`sconce serve` without a model: start to the first healthy `/ping`, median of {a.rounds}",
         f"**{start:.0f} ms** ({min(took):.0f}–{max(took):.0f})", goal(start, 50, "ms")],
        [f"kill -9 of the frontend to the next prediction, median of {a.rounds}",
         f"**{median(frontend):.0f} ms** ({min(frontend):.0f}–{max(frontend):.0f})", goal(median(frontend), 200, "ms")],
        [f"kill -9 of an executor (identity) to the next prediction, median of {a.rounds}",
         f"**{median(executor):.0f} ms** ({min(executor):.0f}–{max(executor):.0f})", goal(median(executor), 700, "ms")],
        ["resident: supervisor + frontend", f"**{both / MIB:.1f} MiB** ({rss['supervisor'] / MIB:.1f} + "
         f"{rss['frontend'] / MIB:.1f})", goal(both / MIB, 20, "MiB")],
        [f"{a.connections:,} idle keep-alive connections, more in the frontend",
         f"**{grown / MIB:.1f} MiB** ({grown / a.connections:.0f} bytes each)", goal(grown / MIB, 100, "MiB")],
        ["after they are closed", f"{after / MIB:.1f} MiB", ""],
    ]))


if __name__ == "__main__":
    main()

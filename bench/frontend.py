#!/usr/bin/env python3
"""/ping and identity against nginx and TorchServe, one core for the server, one for the load."""
# needs: taskset
import argparse
import json
import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from common import (Process, Sconce, die, fetch, floor, free_ports, load, median, rounds, say, table, write_section)

BODY = "0123456789abcdef"
SEND = ("-b", BODY, "-H", "content-type: application/octet-stream", "--expect", BODY)
# nginx adds these itself, or they differ from answer to answer.
OWN_HEADERS = {"content-length", "content-type", "connection", "server", "date", "x-request-id", "keep-alive"}
LOG_FORMAT = """'$time_iso8601 - $remote_addr:$remote_port "$request" $status $request_time'"""


class Nginx(Process):
    """Answers /ping and /echo as that Sconce does, on a port with an access log and one without."""

    def __init__(self, like):
        self.ports = free_ports(2)
        folder = Path(tempfile.mkdtemp(prefix="sconce-bench-nginx-"))

        def location(path, answer):
            _, headers, body = answer
            text = body.decode().replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines = [f"add_header {k} '{v}';" for k, v in headers.items() if k.lower() not in OWN_HEADERS]
            lines += [f"default_type {headers['content-type']};", "add_header x-request-id $request_id;"]
            return f"location = {path} {{ {' '.join(lines)} return 200 \"{text}\"; }}"

        ping = location("/ping", fetch(like.inference + "/ping"))
        echo = location("/echo", fetch(like.inference + "/predictions/echo", BODY.encode()))
        servers = "".join(f"server {{ listen 127.0.0.1:{port} backlog=4096; access_log {log}; {ping} {echo} }}\n"
                          for port, log in zip(self.ports, ("off", f"{folder}/access.log line buffer=64k flush=1s")))
        (folder / "nginx.conf").write_text(f"""
            worker_processes 1; daemon off; master_process on; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 20000; }}
            http {{
                client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
                uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
                keepalive_requests 1000000000; keepalive_timeout 3600s; server_tokens off; tcp_nodelay on;
                log_format line {LOG_FORMAT};
                {servers}
            }}""")
        super().__init__(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], name="nginx", folder=folder)
        self.wait_for(self.url("/ping", False))

    def url(self, path, logged):
        return f"http://127.0.0.1:{self.ports[logged]}{path}"


class TorchServe(Process):
    """With a handler that does nothing, one worker, as it comes but for the token."""

    def __init__(self, batch):
        inference, management, metrics, grpc1, grpc2 = free_ports(5)
        self.inference = f"http://127.0.0.1:{inference}"
        folder = Path(tempfile.mkdtemp(prefix="sconce-bench-torchserve-"))
        store = folder / "store"
        store.mkdir()
        handler = "class Noop:\n    def initialize(self, c):\n        self.initialized = True\n\n" \
                  "    def handle(self, data, c):\n        return [d.get('data') or d.get('body') for d in data]\n"
        with zipfile.ZipFile(store / "noop.mar", "w") as z:
            z.writestr("noop.py", handler)
            z.writestr("model-config.yaml", f"batchSize: {batch}\nmaxBatchDelay: 1\nminWorkers: 1\nmaxWorkers: 1\n")
            z.writestr("MAR-INF/MANIFEST.json", json.dumps({
                "createdOn": "01/01/2026 00:00:00", "runtime": "python", "archiverVersion": "0.12.0",
                "model": {"modelName": "noop", "handler": "noop.py", "modelVersion": "1.0",
                          "configFile": "model-config.yaml"}}))
        (folder / "config.properties").write_text(
            f"inference_address={self.inference}\nmanagement_address=http://127.0.0.1:{management}\n"
            f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc1}\ngrpc_management_port={grpc2}\n"
            "disable_token_authorization=true\njob_queue_size=1000\n")
        super().__init__(["torchserve", "--start", "--foreground", "--ncs", "--disable-token-auth", "--model-store",
                          str(store), "--ts-config", str(folder / "config.properties"), "--models", "noop=noop.mar"],
                         name="torchserve", folder=folder, env={"LOG_LOCATION": str(folder / "logs"),
                                                                "METRICS_LOCATION": str(folder / "logs")})
        self.wait_for(self.inference + "/ping", 90)
        self.wait_for(self.inference + "/predictions/noop", 90, data=BODY.encode())


def pair(name, n, seconds, ours, theirs, more):
    """One comparison: medians of both, ratio of rates, ratio of requests per CPU second."""
    say(f"{name}")

    def measure(contestant):
        server, url = contestant
        return load(url, seconds=seconds, more=more, of=server)

    results = rounds(n, [("ours", ours), ("theirs", theirs)], measure)
    rates = {k: median([r["rate"] for r in v]) for k, v in results.items()}
    cpu = {k: median([r["per_cpu_second"] for r in v]) for k, v in results.items()}
    p99 = {k: median([r["latency_us"]["p99"] for r in v]) for k, v in results.items()}
    each = [a["rate"] / b["rate"] for a, b in zip(results["ours"], results["theirs"])]
    return {"ours": rates["ours"], "theirs": rates["theirs"], "ratio": median(each), "spread": (min(each), max(each)),
            "cpu": cpu["ours"] / cpu["theirs"], "p99": p99}


def nginx_part(n, seconds):
    rows = []
    with Sconce({"echo": "identity"}, {"access_log": "false"}) as quiet, \
            Sconce({"echo": "identity"}, {"access_log": "true"}) as logging, Nginx(quiet) as nginx:
        for logged, server in ((False, quiet), (True, logging)):
            for what, path, mine, more, least, stretch in (
                    ("/ping", "/ping", "/ping", (), 0.8, 0.95),
                    ("identity", "/echo", "/predictions/echo", SEND, 0.4, 0.6)):
                r = pair(f"{what}, access log {'on' if logged else 'off'}", n, seconds,
                         (server, server.inference + mine), (nginx, nginx.url(path, logged)), more)
                rows.append([what, "on" if logged else "off", f"{r['ours']:,.0f}", f"{r['theirs']:,.0f}",
                             f"**{r['ratio']:.2f}** ({r['spread'][0]:.2f}–{r['spread'][1]:.2f})", f"{r['cpu']:.2f}",
                             f"{r['p99']['ours']:,.0f} / {r['p99']['theirs']:,.0f}",
                             floor(r["ratio"], least, stretch)])
    return table(["", "access log", "Sconce, req/s", "nginx, req/s", "ratio (lowest–highest round)",
                  "ratio per CPU second", "p99, us", "goal"], rows)


def torchserve_part(n, seconds):
    rows = []
    for batch in (1, 32):
        with Sconce({"echo": "identity"}, {"access_log": "true"}) as ours, TorchServe(batch) as theirs:
            cases = [("identity / no-op handler", f"batch {batch}", "/predictions/echo", "/predictions/noop", SEND)]
            if batch == 1:
                cases.insert(0, ("/ping", "", "/ping", "/ping", ()))
            for what, note, mine, path, more in cases:
                r = pair(f"{what} {note} against TorchServe", n, seconds, (ours, ours.inference + mine),
                         (theirs, theirs.inference + path), more)
                rows.append([what, note, f"{r['ours']:,.0f}", f"{r['theirs']:,.0f}",
                             f"**{r['ratio']:.1f}** ({r['spread'][0]:.1f}–{r['spread'][1]:.1f})"])
    return table(["", "TorchServe's", "Sconce, req/s", "TorchServe, req/s", "ratio"], rows)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--seconds", type=float, default=2)
    p.add_argument("--only", choices=["nginx", "torchserve"])
    a = p.parse_args()
    if os.cpu_count() < 2:
        die("one core for the server and one for the load are needed")
    parts = [f"Server on core 0, `sconce bench` with 64 keep-alive connections on core 1, a closed loop; medians of "
             f"{a.rounds} rounds of {a.seconds:g} s that take turns. Identity: 16 bytes there and back, every answer "
             "compared. The ratio is the median of the rounds' ratios; the one per CPU second divides by the CPU time "
             "that the server's processes used, and so is hardly moved by other work on the machine."]
    if a.only != "torchserve":
        if shutil.which("nginx"):
            parts.append("nginx, one worker, `return 200` with the same headers and body (it adds `Server` and "
                         "`Date`), its access log buffered:\n\n" + nginx_part(a.rounds, a.seconds))
        else:
            parts.append("nginx was not there: not compared.")
    if a.only != "nginx":
        if shutil.which("torchserve") and shutil.which("java"):
            try:
                parts.append("TorchServe 0.12, one worker, a handler that gives its input back, logging as it comes; "
                             "ours with its access log on:\n\n" + torchserve_part(a.rounds, a.seconds))
            except RuntimeError as e:
                say(e)
                parts.append("TorchServe did not start: not compared.")
        else:
            parts.append("TorchServe or a Java runtime (openjdk-17-jre-headless) was not there: not compared.")
    write_section("frontend", "The frontend", "\n\n".join(parts))


if __name__ == "__main__":
    main()

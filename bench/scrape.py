#!/usr/bin/env python3
"""GET /metrics with many models: how long a scrape takes, and what it costs requests that run beside it."""
import argparse
import json
import statistics
import threading
import time

from common import Sconce, fetch, load, say, table, write_section


def register(server, n):
    """n models, each with every series that it can have: one request was answered, then its workers were stopped."""
    for i in range(n):
        for method, url in (("POST", f"{server.management}/models?url=identity&model_name=m{i}&initial_workers=1"),
                            ("POST", f"{server.inference}/predictions/m{i}"),
                            ("PUT", f"{server.management}/models/m{i}?min_worker=0&synchronous=true")):
            status, _, body = fetch(url, method=method, data=b"x" if "predictions" in url else None)
            if status != 200:
                raise RuntimeError(f"{method} {url}: {status} {body[:300]}")


def scrapes(server, stop=None, n=50):
    """Milliseconds of each scrape, and the bytes of the last. Asked as Prometheus asks."""
    times, body = [], b""
    while len(times) < n and not (stop and stop.is_set()):
        began = time.monotonic()
        _, _, body = fetch(f"{server.metrics}/metrics", headers={"Accept": "application/openmetrics-text,text/plain;q=0.5"})
        times.append((time.monotonic() - began) * 1000)
    return times, len(body)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--models", type=int, default=1000)
    p.add_argument("--scrapers", type=int, default=1, help="that ask beside the requests, each without a pause")
    a = p.parse_args()
    with Sconce(models={"echo": "identity"}, settings={"access_log": "false"}) as server:
        register(server, a.models)
        alone, size = scrapes(server)
        quiet = load(f"{server.inference}/predictions/echo", connections=8)
        stop, beside = threading.Event(), []
        scrapers = [threading.Thread(target=lambda: beside.extend(scrapes(server, stop, 1 << 30)[0])) for _ in range(a.scrapers)]
        for t in scrapers:
            t.start()
        busy = load(f"{server.inference}/predictions/echo", connections=8)
        stop.set()
        for t in scrapers:
            t.join()
    say(json.dumps({"scrape_ms": statistics.median(alone), "max_ms": max(alone), "bytes": size}))
    rows = [[f"{a.models}", f"{size / 1e6:.1f} MB", f"{statistics.median(alone):.1f} ms", f"{max(alone):.1f} ms",
             f"{quiet['latency_us']['p99'] / 1000:.2f} ms", f"{busy['latency_us']['p99'] / 1000:.2f} ms ({len(beside)} scrapes)"]]
    write_section("scrape", "GET /metrics", "Models with all their series. p99: of requests to another model, 8 connections, alone and "
                  "with scrapes one behind the other.\n\n" +
                  table(["models", "text", "scrape, median", "slowest", "p99 alone", "p99 beside scrapes"], rows))


if __name__ == "__main__":
    main()

"""GET /metrics in OpenMetrics: read by Prometheus' own parsers, the same names as in the text format, exemplars; many
scrapers at once."""
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from harness import wait_for
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families as read_text
from python_models import PYTHON, folder

PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HANDLER = """
    def handle(data, context):
        return ["x"] * len(data) if data else None
"""


def scrape(server, query="", accept=PROMETHEUS):
    r = server.get("/metrics" + query, api="metrics", headers={"Accept": accept})
    assert r.status_code == 200
    assert r.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert r.text.endswith("# EOF\n") and r.text.count("# EOF") == 1
    return {f.name: f for f in read_open(r.text)}


def series(text):
    """Names with their labels, as they stand there."""
    lines = (line.partition(" # {")[0] for line in text.splitlines() if not line.startswith("#"))
    return {line.rpartition(" ")[0].replace(",}", "}") for line in lines}


def test_the_same_samples_in_both_formats(serve, tmp_path):
    (tmp_path / "metrics.yaml").write_text(
        "ts_metrics:\n  counter:\n    - {name: Requests2XX, unit: Count, dimensions: [Level, Hostname]}\n"
        "  histogram:\n    - {name: QueueTime, unit: Milliseconds, dimensions: [Level, Hostname]}\n"
        "model_metrics:\n  counter:\n    - {name: Seen, unit: Count, dimensions: [ModelName]}\n"
        "    - {name: seen_total, unit: Count, dimensions: [ModelName]}\n")
    folder(tmp_path / "store", "m", """
        def handle(data, context):
            if data is None:
                return None
            for name in ("Seen", "seen_total"):
                print("[METRICS]%s.Count:1|#ModelName:a\\\\b|#type:COUNTER|#hostname:h,1,id" % name, flush=True)
            return ["x"] * len(data)
    """)
    server = serve(models={"echo": "identity", "m": "m"}, store=tmp_path / "store",
                   config={**PYTHON, "default_workers_per_model": 1, "metrics_config": tmp_path / "metrics.yaml"})
    for model in ("echo", "m", "echo/1.0"):
        assert server.post(f"/predictions/{model}", data=b"x").status_code == 200
    wait_for(lambda: server.metric("Seen") == 1 and server.metric("seen_total") == 1, 30, "the handler's metrics")
    wait_for(lambda: server.metric("sconce_batch_size_count") == 3, 30, "the batches")

    text = server.get("/metrics", api="metrics")
    assert text.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(read_text(text.text))
    families = scrape(server)
    of_open = series(server.get("/metrics", api="metrics", headers={"Accept": PROMETHEUS}).text)
    created = {s for s in of_open if "_created{" in s}
    assert of_open - created == series(text.text), "dashboards find every name and label in either format"
    assert {s.partition("{")[0] for s in created} >= {"sconce_replays_created", "sconce_queue_seconds_created", "seen_created"}
    types = {name: f.type for name, f in families.items()}
    assert types["Requests2XX"] == types["Seen"] == "unknown", "their names have no _total"
    assert types["sconce_replays"] == types["seen"] == "counter"
    assert types["QueueTime"] == types["sconce_batch_size"] == "histogram" and types["sconce_queue_depth"] == "gauge"
    assert families["sconce_queue_seconds"].unit == "seconds"


def test_a_filter_and_an_idle_server(serve):
    server = serve(models={"echo": "identity"})
    scrape(server)
    assert server.get("/metrics?name[]=nothing", api="metrics", headers={"Accept": PROMETHEUS}).text == "# EOF\n"
    server.post("/predictions/echo", data=b"x")
    only = scrape(server, "?name[]=sconce_queue_seconds_bucket&name[]=ts_inference_requests_total")
    assert set(only) == {"sconce_queue_seconds", "ts_inference_requests"}
    assert {s.name for f in only.values() for s in f.samples} == {"sconce_queue_seconds_bucket", "ts_inference_requests_total"}


def exemplars(server):
    return {s.name: s.exemplar for f in scrape(server).values() for s in f.samples if s.exemplar}


@pytest.mark.parametrize("flags,bad", [("01", False), ("00", False), ("01", True)])
def test_a_sampled_trace_explains_its_buckets(serve, flags, bad):
    server = serve(models={"echo": "identity"})
    parent = f"00-{TRACE}-{PARENT}-{flags}"
    headers = {"traceparent": parent.upper() if bad else parent}
    assert server.post("/predictions/echo", data=b"x", headers=headers).status_code == 200
    found = exemplars(server)
    if bad or flags == "00":
        assert not found
        return
    assert set(found) == {f"sconce_{part}_seconds_bucket" for part in ("queue", "worker", "request")}
    for exemplar in found.values():
        assert exemplar.labels == {"trace_id": TRACE}
        assert exemplar.value >= 0 and float(exemplar.timestamp) > 1.7e9
    assert "trace_id" not in server.get("/metrics", api="metrics").text


def test_batches_by_size(serve, tmp_path):
    folder(tmp_path / "store", "m", HANDLER, config={"batchSize": 4, "maxBatchDelay": 20000, "batchPolicy": "fill", "minWorkers": 1})
    server = serve(models={"m": "m"}, store=tmp_path / "store", config=PYTHON)
    with ThreadPoolExecutor(4) as pool:
        assert {r.status_code for r in pool.map(lambda _: server.post("/predictions/m", data=b"x"), range(4))} == {200}
    wait_for(lambda: server.metric("sconce_batch_size_count", "m") == 1, 30, "the batch")
    family = scrape(server)["sconce_batch_size"]
    counts = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert (counts["2.0"], counts["4.0"], counts["+Inf"]) == (0, 1, 1)
    assert [s.value for s in family.samples if s.name.endswith("_sum")] == [4]


def test_many_scrapers_beside_models_that_come_and_go(serve):
    """Each gets a whole text that is no older than its question."""
    server = serve(models={"echo": "identity"})
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            server.post("/models?url=identity&model_name=short&initial_workers=1", api="management")
            server.post("/predictions/short", data=b"x")
            server.delete("/models/short")

    lock, answered = threading.Lock(), []

    def ask(i):
        with requests.Session() as session:
            for _ in range(8):
                assert session.post(server.url("/predictions/echo"), data=b"x", timeout=30).status_code == 200
                with lock:
                    answered.append(i)
                    counted = len(answered)
                url = server.url("/metrics", "metrics") + ("", "?name[]=ts_inference_requests_total")[i % 2]
                r = session.get(url, headers={"Accept": PROMETHEUS} if i % 3 else {}, timeout=30)
                families = list((read_open if i % 3 else read_text)(r.text))
                told = [s.value for f in families for s in f.samples if s.name == "ts_inference_requests_total"
                        and (s.labels["model_name"], s.labels["model_version"]) == ("echo", "default")]
                assert told[0] >= counted
        return True

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(ask, range(8)))
    finally:
        stop.set()
        thread.join()

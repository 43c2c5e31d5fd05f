"""GET /metrics: the text format and what the numbers mean."""
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from harness import wait_for, wire
from python_models import PYTHON, folder

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",)*)\} (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",')
NUMBER = re.compile(r"^(-?\d+\.\d+(E-?\d+)?|NaN|[+-]Inf)$")


def parse(text):
    """family -> type, and (sample, labels) -> value. Fails on anything that the format does not allow."""
    families, samples, family = {}, {}, None
    assert text == "" or text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family = line.split(" ", 3)[2]
            assert family not in families, f"{family} twice"
            families[family] = None
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == family and kind in ("counter", "gauge", "histogram")
            families[family] = kind
        else:
            m = SAMPLE.match(line)
            assert m, f"not a sample: {line!r}"
            assert m[1] == family or families[family] == "histogram" and m[1].startswith(family)
            assert NUMBER.match(m[3]), f"not a Java double: {m[3]}"
            key = (m[1], tuple(LABEL.findall(m[2])))
            assert key not in samples, f"{key} twice"
            samples[key] = float(m[3].replace("Inf", "inf"))
    assert None not in families.values()
    return families, samples


def scrape(server, query=""):
    r = server.get("/metrics" + query, api="metrics")
    assert r.status_code == 200
    assert r.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(r.headers["content-length"]) == len(r.content)
    return parse(r.text)


def value(server, name, **labels):
    found = [v for (n, l), v in scrape(server)[1].items() if n == name and labels.items() <= dict(l).items()]
    assert len(found) <= 1, f"{name}{labels}: {len(found)} samples"
    return found[0] if found else 0.0


def test_the_families_and_labels_of_torchserve(echo):
    echo.post("/predictions/echo", data=b"x")
    families, samples = scrape(echo)
    for name in ("Requests2XX", "Requests4XX", "Requests5XX", "ts_inference_requests_total",
                 "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"):
        assert families[name] == "counter", name
    for name in ("QueueTime", "WorkerThreadTime", "CPUUtilization", "MemoryUtilization", "DiskUtilization", "MemoryUsed",
                 "MemoryAvailable", "DiskUsage", "DiskAvailable"):
        assert families[name] == "gauge", name
    labels = {n: [k for k, _ in l] for n, l in samples}
    assert labels["Requests2XX"] == ["Level", "Hostname"]
    assert labels["ts_inference_requests_total"] == ["model_name", "model_version", "hostname"]
    assert labels["MemoryUsed"] == ["Level", "Hostname"]
    hosts = {dict(l).get("Hostname", dict(l).get("hostname")) for _, l in samples}
    assert hosts == {socket.gethostname()}


def test_requests_are_counted_by_model_and_by_whether_a_version_was_named(echo):
    def counts():
        return [value(echo, "ts_inference_requests_total", model_name="echo", model_version=v) for v in ("default", "1.0")]

    before = counts()
    latency = value(echo, "ts_inference_latency_microseconds", model_name="echo", model_version="default")
    for path in ("/predictions/echo", "/predictions/echo", "/predictions/echo/1.0"):
        assert echo.post(path, data=b"x").status_code == 200
    echo.post("/predictions/nope", data=b"x")
    assert [a - b for a, b in zip(counts(), before)] == [2, 1]
    assert value(echo, "ts_inference_latency_microseconds", model_name="echo", model_version="default") > latency
    assert not [l for _, l in scrape(echo)[1] if ("model_name", "nope") in l], "strangers make no series"


def test_requests_refused_for_want_of_a_worker_count_too(serve):
    server = serve()
    server.post("/models?url=identity&model_name=idle", api="management")
    assert server.post("/predictions/idle", data=b"x").status_code == 503
    assert value(server, "ts_inference_requests_total", model_name="idle", model_version="default") == 1


def test_answers_are_counted_by_their_class(echo):
    def classes():
        samples = scrape(echo)[1]
        return [sum(v for (n, _), v in samples.items() if n == f"Requests{c}XX") for c in (2, 4, 5)]

    before = classes()
    for _ in range(3):
        echo.get("/ping")
    echo.get("/nowhere")
    echo.get("/predictions/nope")
    after = classes()
    assert [a - b for a, b in zip(after, before)] == [4, 2, 0], "the scrape before counts among the 2xx"


def test_names_select_samples(echo):
    families, samples = scrape(echo, "?name[]=Requests2XX&name[]=MemoryUsed")
    assert set(families) == {"Requests2XX", "MemoryUsed"}
    assert {n for n, _ in samples} == {"Requests2XX", "MemoryUsed"}
    assert set(scrape(echo, "?name%5B%5D=Requests4XX")[0]) == {"Requests4XX"}
    assert scrape(echo, "?name[]=NoSuchMetric") == ({}, {})


def test_any_method_and_any_path_below(echo):
    for method, path in (("POST", "/metrics"), ("DELETE", "/metrics/x/y"), ("FOO", "/metrics/")):
        with wire(echo, "metrics") as w:
            r = w.ask(method, path)
            assert r.status_code == 200
            parse(r.text)
    with wire(echo, "metrics") as w:
        r = w.ask("HEAD", "/metrics")
        assert (r.status_code, r.content) == (200, b"")
        assert int(r.headers["content-length"]) > 0
    assert echo.get("/ping", api="metrics").status_code == 404
    assert echo.get("/metrics").status_code == 404, "not on the inference listener"


def test_a_broken_query(echo):
    with wire(echo, "metrics") as w:
        r = w.ask("GET", "/metrics?name[]=%zz")
        assert (r.status_code, r.json()["type"]) == (403, "IllegalArgumentException")


@pytest.mark.parametrize("mode,empty", [("log", True), ("LOG", True), ("what", True), ("prometheus", False), (" Prometheus ", False)])
def test_metrics_mode(serve, mode, empty):
    server = serve(config={"metrics_mode": mode})
    r = server.get("/metrics", api="metrics")
    assert (r.status_code, r.content == b"") == (200, empty)


def test_without_a_metrics_listener(serve):
    server = serve(config={"enable_metrics_api": "false"})
    with pytest.raises(OSError):
        wire(server, "metrics")
    assert server.get("/ping").status_code == 200


def test_a_label_that_needs_escapes(serve):
    server = serve()
    name = 'a"b\\c'
    assert server.post("/models", api="management", params={"url": "identity", "model_name": name, "initial_workers": 1}).status_code == 200
    assert server.post("/predictions/" + quote(name), data=b"x").status_code == 200
    assert value(server, "ts_inference_requests_total", model_name='a\\"b\\\\c', model_version="default") == 1


def test_gauges_of_work_return_to_zero(serve):
    server = serve(models={"echo": "identity"})
    for _ in range(50):
        server.post("/predictions/echo", data=b"x")
    wait_for(lambda: value(server, "sconce_in_flight", model_name="echo") == 0, 10, "no request in flight")


GATED = """
    import os, time

    def handle(data, context):
        while data is not None and not os.path.exists(bytes(data[0]["body"]).decode()):
            time.sleep(0.01)
        return ["open"] * len(data or [])
"""


@pytest.mark.parametrize("data_path", ["extension", "plain"])
def test_what_waits_in_a_workers_ring_counts_as_queued(serve, tmp_path, data_path):
    (tmp_path / "store").mkdir()
    folder(tmp_path / "store", "m", GATED, config={"minWorkers": 1, "batchSize": 1})
    server = serve(models={"m": "m"}, store=tmp_path / "store", config=PYTHON,
                   env={"SCONCE_PURE_PYTHON": "1"} if data_path == "plain" else {})
    gate, waiting = tmp_path / "gate", 0.4
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(server.post, "/predictions/m", data=str(gate), timeout=60) for _ in range(2)]
        wait_for(lambda: value(server, "sconce_in_flight", model_name="m") == 2, 60, "both with the worker")
        time.sleep(waiting)
        gate.touch()
        assert [a.result().text for a in asked] == ["open"] * 2
    queued = value(server, "ts_queue_latency_microseconds", model_name="m", model_version="default") / 1e6
    total = value(server, "ts_inference_latency_microseconds", model_name="m", model_version="default") / 1e6
    assert waiting < queued < total - waiting


def test_where_a_requests_time_went(serve):
    """Histograms of every model, read by Prometheus' own client."""
    parser = pytest.importorskip("prometheus_client.parser")
    server = serve(models={"echo": "identity"})

    def histogram(name, suffix, **labels):
        text = server.get("/metrics", api="metrics").text
        found = [s.value for family in parser.text_string_to_metric_families(text) if family.name == name
                 for s in family.samples if s.name == name + suffix and labels.items() <= s.labels.items()]
        return found[0] if found else None

    assert histogram("sconce_queue_seconds", "_count") is None, "no series before the first request"
    for _ in range(5):
        assert server.post("/predictions/echo", data=b"x").status_code == 200
    for name in ("sconce_queue_seconds", "sconce_worker_seconds", "sconce_request_seconds"):
        assert histogram(name, "_count", model_name="echo", model_version="1.0") == 5
        assert histogram(name, "_bucket", model_name="echo", le="+Inf") == 5
    parts = [histogram(f"sconce_{part}_seconds", "_sum") for part in ("queue", "worker", "request")]
    assert 0 < parts[0] + parts[1] <= parts[2] < 60
    server.delete("/models/echo")
    wait_for(lambda: histogram("sconce_queue_seconds", "_count") is None, 30, "no series of a model that has gone")

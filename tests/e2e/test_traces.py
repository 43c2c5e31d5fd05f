"""Spans of requests, as a collector gets them; and collectors that are dead, slow or refuse."""
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import rpc
from collector import Collector
from harness import wait_for, wire
from python_models import PYTHON, folder

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{PARENT}-01"
HEADERS = """
    import json

    def handle(data, context):
        if data is None:
            return None
        return [json.dumps(context.get_all_request_header(i)) for i in range(len(data))]
"""


@pytest.fixture
def collector():
    c = Collector()
    yield c
    c.close()


@pytest.fixture
def traced(serve):
    """A server that sends to a collector at once."""
    def start(url, env=None, **more):
        return serve(env={"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50", **(env or {})},
                     **{"models": {"echo": "identity"}, **more})
    return start


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span.get("attributes", [])}


def roots(collector):
    return [s for s in collector.spans() if s["kind"] == 2]


def wait_roots(collector, n):
    wait_for(lambda: len(roots(collector)) >= n, 30, f"{n} requests at the collector")
    return roots(collector)


def test_a_request_and_what_it_went_through(traced, collector):
    server = traced(collector.url, {"OTEL_SERVICE_NAME": "shop", "OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,service.name=no",
                                    "OTEL_EXPORTER_OTLP_HEADERS": "api-key=s%3Dt, x=1"})
    began = time.time_ns()
    r = server.post("/predictions/echo/1.0?q=secret", data=b"x",
                    headers={"traceparent": SAMPLED, "tracestate": "congo=t61rcWkgMzE"})
    assert r.status_code == 200
    wait_roots(collector, 1)
    path, headers, body = collector.taken()[0]
    assert (path, headers["Content-Type"], headers["api-key"], headers["x"]) == ("/v1/traces", "application/json", "s=t", "1")
    resource = attributes(body["resourceSpans"][0]["resource"])
    assert (resource["service.name"], resource["team"]) == ("shop", "a b") and resource["host.name"]
    spans = {s["name"]: s for s in collector.spans()}
    assert set(spans) == {"POST /predictions/{model_name}/{model_version}", "queue", "inference", "response"}
    root = spans.pop("POST /predictions/{model_name}/{model_version}")
    assert (root["traceId"], root["parentSpanId"], root["traceState"]) == (TRACE, PARENT, "congo=t61rcWkgMzE")
    about = attributes(root)
    assert about == {"http.request.method": "POST", "http.route": "/predictions/{model_name}/{model_version}",
                     "url.path": "/predictions/echo/1.0", "network.protocol.version": "1.1",
                     "http.response.status_code": "200", "sconce.model.name": "echo", "sconce.model.version": "1.0"}
    ids = {root["spanId"]}
    at = int(root["startTimeUnixNano"])
    assert began - 10**9 < at < time.time_ns()
    for name in ("queue", "inference", "response"):
        span = spans[name]
        assert (span["traceId"], span["parentSpanId"]) == (TRACE, root["spanId"])
        assert at <= int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) <= int(root["endTimeUnixNano"])
        at = int(span["endTimeUnixNano"])
        ids.add(span["spanId"])
    assert len(ids) == 4 and all(len(i) == 16 for i in ids)
    inference = attributes(spans["inference"])
    assert inference["sconce.batch.size"] == "1" and int(inference["sconce.worker.id"]) >= 9000
    wait_for(lambda: server.metric("sconce_spans_sent_total") == 4, 30, "the count")
    exemplar = server.get("/metrics?name[]=sconce_request_seconds_bucket", api="metrics",
                          headers={"Accept": "application/openmetrics-text"}).text
    assert f'# {{trace_id="{TRACE}",span_id="{root["spanId"]}"}} ' in exemplar


def test_grpc_and_http2(traced, collector):
    server = traced(collector.url)
    with rpc.channel(server.ports["grpc_inference"]) as channel:
        request = rpc.module("inference").PredictionsRequest(model_name="echo", input={"data": b"x"})
        rpc.stub("inference", channel).Predictions(request, metadata=[("traceparent", SAMPLED)])
    subprocess.run(["curl", "-sSf", "--max-time", "60", "--http2-prior-knowledge", "-d", "x", "-H", f"traceparent: {SAMPLED}",
                    server.url("/predictions/echo")], check=True, capture_output=True)
    found = {s["name"]: s for s in wait_roots(collector, 2)}
    service = "org.pytorch.serve.grpc.inference.InferenceAPIsService"
    about = attributes(found[f"{service}/Predictions"])
    assert about.items() >= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": "Predictions",
                             "rpc.grpc.status_code": "0", "sconce.model.name": "echo"}.items()
    other = found["POST /predictions/{model_name}"]
    assert attributes(other)["network.protocol.version"] == "2"
    assert {s["traceId"] for s in found.values()} == {TRACE}


def test_failures_are_marked(traced, collector, tmp_path):
    folder(tmp_path / "store", "bad", """
        def handle(data, context):
            if data is None:
                return None
            raise ValueError("no")
    """)
    server = traced(collector.url, models={"bad": "bad"}, store=tmp_path / "store",
                    config={**PYTHON, "default_workers_per_model": 1})
    assert server.post("/predictions/bad", data=b"x").status_code == 503
    server.post("/models?url=identity&model_name=idle&initial_workers=0", api="management")
    assert server.post("/predictions/idle", data=b"x").status_code == 503
    for span in wait_roots(collector, 2):
        assert span["status"] == {"code": 2} and attributes(span)["http.response.status_code"] == "503"


@pytest.mark.parametrize("headers,parent", [
    ({"traceparent": SAMPLED.upper()}, False),
    ({"traceparent": SAMPLED[:-1]}, False),
    ({"traceparent": f"00-{'0' * 32}-{PARENT}-01"}, False),
    ({"traceparent": f"01-{TRACE}-{PARENT}-01-more", "tracestate": "not valid"}, True),
])
def test_bad_context_is_ignored(traced, collector, headers, parent):
    server = traced(collector.url)
    assert server.post("/predictions/echo", data=b"x", headers=headers).status_code == 200
    span = wait_roots(collector, 1)[0]
    assert (span["traceId"] == TRACE) == parent == ("parentSpanId" in span)
    assert "traceState" not in span


def test_two_traceparents_are_none(traced, collector):
    server = traced(collector.url)
    with wire(server) as w:
        w.send(f"POST /predictions/echo HTTP/1.1\r\nhost: x\r\ntraceparent: {SAMPLED}\r\ntraceparent: {SAMPLED}\r\n"
               "content-length: 1\r\n\r\nx".encode())
        assert w.reply().status_code == 200
    assert wait_roots(collector, 1)[0]["traceId"] != TRACE


@pytest.mark.parametrize("sampler,argument,expected", [
    ("", "", ["none", "yes"]), ("always_off", "", []), ("always_on", "", ["no", "none", "yes"]),
    ("parentbased_traceidratio", "0", ["yes"]), ("what", "", ["none", "yes"])])
def test_samplers(traced, collector, sampler, argument, expected):
    server = traced(collector.url, {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})
    for sent in ("no", "none", "yes"):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-{'01' if sent == 'yes' else '00'}"} if sent != "none" else {}
        assert server.post("/predictions/echo", data=sent.encode(), headers=headers).status_code == 200
    server.stop()  # which sends what there is

    def kind(span):
        return "none" if "parentSpanId" not in span else "yes"

    got = roots(collector)
    assert len(got) == len(expected)
    assert sum(kind(s) == "none" for s in got) == expected.count("none")


def test_handlers_see_the_headers(traced, collector, tmp_path):
    folder(tmp_path / "store", "m", HEADERS)
    server = traced(collector.url, models={"m": "m"}, store=tmp_path / "store", config={**PYTHON, "default_workers_per_model": 1})
    for given in (SAMPLED, "nonsense"):
        seen = json.loads(server.post("/predictions/m", data=b"x", headers={"traceparent": given}).text)
        assert {k.lower(): v for k, v in seen.items()}["traceparent"] == given


def ask_many(server, n):
    """Answered, all of them, whatever becomes of their spans."""
    with ThreadPoolExecutor(8) as pool:
        assert {r.status_code for r in pool.map(lambda _: server.post("/predictions/echo", data=b"x"), range(n))} == {200}


def test_a_collector_that_dies_and_comes_back(traced, collector):
    server = traced(collector.url)
    ask_many(server, 4)
    wait_roots(collector, 4)
    port = collector.port
    collector.close()
    ask_many(server, 8)
    wait_for(lambda: "spans cannot be sent" in server.log_tail(200), 30, "a line in the log")
    again = Collector(port)
    try:
        wait_roots(again, 8)
        wait_for(lambda: "again" in server.log_tail(50), 30, "another line")
        assert server.metric("sconce_spans_dropped_total") == 0
    finally:
        again.close()


def test_a_slow_collector_costs_spans_not_requests(traced, collector):
    server = traced(collector.url, {"OTEL_BSP_MAX_QUEUE_SIZE": "16", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4"})
    collector.free.clear()
    ask_many(server, 40)
    wait_for(lambda: server.metric("sconce_spans_dropped_total") >= 4 * 30, 30, "drops")
    collector.free.set()
    wait_for(lambda: server.metric("sconce_spans_sent_total") + server.metric("sconce_spans_dropped_total") == 160, 30, "all accounted for")
    assert len(collector.spans()) == server.metric("sconce_spans_sent_total")


def test_refusals(traced, collector):
    collector.answers = [(503, {"Retry-After": "0"}), (503, {}), (429, {"Retry-After": "0"}), (200, {}), (400, {})]
    server = traced(collector.url)
    ask_many(server, 1)
    wait_for(lambda: len(collector.spans()) == 4, 30, "the batch, at the fourth try")
    assert len({json.dumps(r[3], sort_keys=True) for r in collector.requests}) == 1, "the same bytes each time"
    ask_many(server, 1)
    wait_for(lambda: server.metric("sconce_spans_dropped_total") == 4, 30, "a refusal for good")
    assert server.metric("sconce_spans_sent_total") == 4


def test_the_end_waits_for_nobody(traced, collector):
    server = traced(collector.url, {"OTEL_BSP_SCHEDULE_DELAY": "60000"})
    ask_many(server, 2)
    server.stop()
    assert len(roots(collector)) == 2, "what there was is sent at the end"

    server = traced(collector.url)
    collector.free.clear()
    ask_many(server, 2)
    server.stop()


@pytest.mark.parametrize("env,config", [
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "{url}/here"}, {}),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, {"otlp_traces_endpoint": "{url}/here"})])
def test_endpoints(traced, collector, env, config):
    server = traced("", {k: v.format(url=collector.url) for k, v in env.items()},
                    config={k: v.format(url=collector.url) for k, v in config.items()})
    ask_many(server, 1)
    wait_roots(collector, 1)
    assert collector.taken()[0][0] == "/here"


@pytest.mark.parametrize("env", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"},
                                 {"OTEL_EXPORTER_OTLP_ENDPOINT": "grpc://x:4317"}])
def test_off(traced, collector, env):
    server = traced(collector.url, env)
    ask_many(server, 1)
    assert "sconce_spans_sent_total" not in server.get("/metrics", api="metrics").text
    server.stop()
    assert not collector.requests

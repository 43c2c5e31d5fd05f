"""Handlers that stream, that are called turn by turn, and that are coroutines: the whole way from HTTP
(workers-and-handlers.md §11, §15.5, §15.6 and the checks of §19)."""
import json
import threading
import time

import pytest
from harness import send, wait_for, wire
from python_models import PYTHON, folder, need_python_with

HEAD = """
    import asyncio, json, os, time
    from ts.handler_utils.utils import send_intermediate_predict_response
"""

HELLO = HEAD + """
    def handle(data, context):
        if data is None:
            return None
        for _ in range(3):
            send_intermediate_predict_response(["hello"] * len(data), context.request_ids, "Intermediate Prediction success", 200, context)
        return ["hello world "] * len(data)
"""

COROUTINES = HEAD + """
    async def handle(data, context):
        want = json.loads(bytes(data[0]["body"]))
        for i in range(want.get("parts", 0)):
            send_intermediate_predict_response(["%s-%d;" % (want["name"], i)], context.request_ids, "m", 200, context)
            await asyncio.sleep(want.get("pause", 0))
        if want.get("raise"):
            raise ValueError("asked for")
        if want.get("block"):
            time.sleep(want["block"])
        if want.get("kill") and not os.path.exists(want["kill"]):
            open(want["kill"], "w").close()
            os.kill(os.getpid(), 9)
        try:
            await asyncio.sleep(want.get("sleep", 0))
        except asyncio.CancelledError:
            print("CANCELLED", want["name"], flush=True)
            raise
        return ["%s end" % want["name"]]
"""

TURNS = HEAD + """
    SEEN = {}

    def handle(data, context):
        if data is None:
            return None
        time.sleep(0.02)
        for gone in set(SEEN) - set(context.request_ids.values()):
            del SEEN[gone]
        out = []
        for i, row in enumerate(data):
            rid = context.request_ids[i]
            if rid not in SEEN:
                SEEN[rid] = [int(bytes(row["body"])), int(bytes(row["body"]))]
            assert rid in SEEN
            SEEN[rid][0] -= 1
            out.append("%d/%d:%d;" % (SEEN[rid][0], SEEN[rid][1], len(data)))
        left = [SEEN[context.request_ids[i]][0] for i in range(len(data))]
        context.stopping_criteria = [lambda result, n=n: n <= 0 for n in left]
        return out
"""


@pytest.fixture
def server(serve, tmp_path):
    """server(handler, config): a server with one model, m."""
    def start(handler, config=None, workers=1, **settings):
        store = tmp_path / "store"
        store.mkdir()
        folder(store, "m", handler, config={"responseTimeout": 20, **(config or {})})
        one = serve(models={"m": "m"}, store=store, config={**PYTHON, "default_workers_per_model": workers, **settings})
        wait_for(lambda: len(pids(one)) == workers, 60, "the workers")
        return one

    return start


def pids(one):
    found = one.get("/models/m", api="management").json()[0]["workers"]
    return [w["pid"] for w in found if w["status"] == "READY"]


def ask_all(one, bodies, timeout=60):
    """All at once: the replies in order."""
    out = [None] * len(bodies)

    def ask(i):
        out[i] = one.post("/predictions/m", data=bodies[i], timeout=timeout)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


def test_send_intermediate_prediction_response(server):
    one = server(HELLO)
    with wire(one) as w:
        reply = w.ask("POST", "/predictions/m", b"x")
        assert reply.chunks == [b"hello", b"hello", b"hello", b"hello world "]
    text = one.post("/predictions/m", data=b"x").text
    assert text == "hellohellohellohello world "


def test_async_worker_comm(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    start = time.monotonic()
    replies = ask_all(one, [json.dumps({"name": f"n{i}", "sleep": 2}) for i in range(10)])
    assert [r.text for r in replies] == [f"n{i} end" for i in range(10)]
    assert time.monotonic() - start < 15, "one after the other it would take twenty seconds"


def test_streams_of_coroutines_are_not_mixed(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    replies = ask_all(one, [json.dumps({"name": f"n{i}", "parts": 5, "pause": 0.02}) for i in range(60)])
    for i, reply in enumerate(replies):
        assert reply.text == "".join(f"n{i}-{k};" for k in range(5)) + f"n{i} end"
        assert reply.headers["ts_stream_next"] == "true"


def test_a_call_that_fails_harms_no_other(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    wants = [{"name": f"n{i}", "sleep": 0.3, "raise": i % 3 == 0} for i in range(9)]
    replies = ask_all(one, [json.dumps(want) for want in wants])
    assert [r.status_code for r in replies] == [503 if i % 3 == 0 else 200 for i in range(9)]
    assert replies[0].json() == {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}


def test_the_call_of_a_client_that_leaves_is_cancelled(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    body = json.dumps({"name": "left", "parts": 1, "sleep": 5})
    w = wire(one)
    w.send(f"POST /predictions/m HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n{body}")
    assert w.line().startswith("HTTP/1.1 200")
    w.close()
    log = one.folder / "logs" / "model_log.log"
    wait_for(lambda: "Connection to client got closed; Removing job" in log.read_text(), 10, "the cancellation")
    wait_for(lambda: "CANCELLED" in log.read_text(), 10, "the coroutine's own end")
    assert one.post("/predictions/m", data=json.dumps({"name": "next"})).text == "next end"


def test_a_call_that_never_awaits_is_answered_by_the_time_limit(server):
    one = server(COROUTINES, {"asyncCommunication": "true", "responseTimeout": 2})
    before = pids(one)
    reply = one.post("/predictions/m", data=json.dumps({"name": "b", "block": 60}), timeout=30)
    assert (reply.status_code, reply.json()["message"]) == (500, "Worker died.")
    wait_for(lambda: pids(one) and pids(one) != before, 30, "a new worker")
    assert one.post("/predictions/m", data=json.dumps({"name": "next"})).text == "next end"


def test_calls_that_have_not_begun_to_stream_survive_their_worker(server, tmp_path):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    wants = [{"name": f"n{i}", "sleep": 1} for i in range(6)]
    (pid,) = pids(one)
    threading.Timer(0.5, send, (pid, 9)).start()
    replies = ask_all(one, [json.dumps(want) for want in wants])
    assert [r.text for r in replies] == [f"n{i} end" for i in range(6)]


def test_requests_join_and_leave_a_continuous_batch(server):
    one = server(TURNS, {"continuousBatching": "true", "batchSize": 4})
    lengths = [20, 3, 5, 1, 8, 2, 10]
    replies = ask_all(one, [str(n).encode() for n in lengths])
    widths = set()
    for n, reply in zip(lengths, replies):
        pieces = reply.text.rstrip(";").split(";")
        assert [p.split(":")[0] for p in pieces] == [f"{n - 1 - i}/{n}" for i in range(n)]
        widths |= {int(p.split(":")[1]) for p in pieces}
    assert max(widths) <= 4 and len(widths) > 1


def test_a_server_that_stops_lets_coroutines_end(server):
    one = server(COROUTINES, {"asyncCommunication": "true"})
    got = []
    thread = threading.Thread(target=lambda: got.append(one.post("/predictions/m", data=json.dumps({"name": "x", "sleep": 1.5}), timeout=20)))
    thread.start()
    one.wait_busy()
    one.stop()
    thread.join()
    assert got and got[0].text == "x end"


def test_tokens_of_a_causal_language_model(server):
    python = need_python_with("torch", "transformers")
    one = server(HEAD + """
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    class Handler:
        def initialize(self, context):
            torch.manual_seed(1)
            self.model = GPT2LMHeadModel(GPT2Config(vocab_size=97, n_positions=64, n_embd=32, n_layer=2, n_head=2)).eval()

        @torch.no_grad()
        def handle(self, data, context):
            if not hasattr(context, "cache"):
                context.cache = {}
            cache, out, criteria = context.cache, [], []
            for gone in set(cache) - set(context.request_ids.values()):
                del cache[gone]
            for i, row in enumerate(data):
                rid = context.request_ids[i]
                if rid not in cache:
                    want = json.loads(bytes(row["body"]))
                    cache[rid] = {"ids": want["prompt"], "left": want["tokens"]}
                state = cache[rid]
                logits = self.model(torch.tensor([state["ids"]])).logits[0, -1]
                state["ids"] = state["ids"] + [int(logits.argmax())]
                state["left"] -= 1
                out.append("%d " % state["ids"][-1])
                criteria.append(lambda result, state=state: state["left"] <= 0)
            context.stopping_criteria = criteria
            return out
""", {"continuousBatching": "true", "batchSize": 4, "startupTimeout": 120}, python=python)
    bodies = [json.dumps({"prompt": [i + 1, 5, 7], "tokens": 4 + i}) for i in range(5)]
    together = [r.text for r in ask_all(one, bodies)]
    alone = [one.post("/predictions/m", data=body).text for body in bodies]
    assert together == alone
    assert [len(text.split()) for text in together] == [4, 5, 6, 7, 8]


def test_a_request_that_is_late_is_given_up_alone(server):
    """The loop turns, so the worker is no hang: responseTimeout counts for each request by itself."""
    one = server(COROUTINES, {"asyncCommunication": "true", "responseTimeout": 3})
    before = pids(one)
    got = []
    streams = [threading.Thread(target=lambda: got.append(one.post(
        "/predictions/m", data=json.dumps({"name": "s", "parts": 5, "pause": 1}), timeout=60))) for _ in range(3)]
    for stream in streams:
        stream.start()
    reply = one.post("/predictions/m", data=json.dumps({"name": "late", "sleep": 3600}), timeout=60)
    assert (reply.status_code, reply.json()["message"]) == (500, "Worker died.")
    for stream in streams:
        stream.join()
    assert [r.text for r in got] == ["s-0;s-1;s-2;s-3;s-4;s end"] * 3, "each part begins their time anew"
    log = one.folder / "logs"
    wait_for(lambda: "CANCELLED late" in (log / "model_log.log").read_text(), 20, "the end of the coroutine")
    wait_for(lambda: "a request was not answered in 3 s (responseTimeout)" in (log / "ts_log.log").read_text(), what="the line about it")
    assert pids(one) == before


def test_a_worker_that_reads_nothing_learns_later_who_has_left(server, tmp_path):
    """More requests and departures than the ring to the worker holds: those that could not be told are told again."""
    n, flag = 530, tmp_path / "go on"
    one = server(COROUTINES.replace('time.sleep(want["block"])', f'[time.sleep(0.01) for _ in iter(lambda: os.path.exists("{flag}"), True)]'),
                 {"asyncCommunication": "true", "responseTimeout": 100, "jobQueueSize": 2000}, number_of_netty_threads=1)

    def begin(want):
        body = json.dumps(want)
        w = wire(one)
        w.send(f"POST /predictions/m HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n{body}")
        return w

    with begin({"name": "blocks", "block": 1}) as blocks:
        wait_for(lambda: "Backend received inference" in (one.folder / "logs" / "model_log.log").read_text(), 20, "its begin")
        waiting = [begin({"name": "w", "sleep": 3600}) for _ in range(n)]
        wait_for(lambda: one.metric("sconce_in_flight") == n + 1, 40, "all to be sent to the worker")
        for w in waiting:
            w.close()
        wait_for(lambda: one.fds("frontend") < n, 40, "the frontend to see that they have left")
        flag.touch()
        assert blocks.reply().content == b"blocks end"
    wait_for(lambda: one.metric("sconce_in_flight") == 0, 40, "the worker to be told of all")
    assert one.post("/predictions/m", data=json.dumps({"name": "next"})).text == "next end"

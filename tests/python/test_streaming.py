"""Answers in parts, continuous batching and coroutines, on both data paths (workers-and-handlers.md §11, §15.5, §15.6)."""
import json
import signal
import time

import pytest

from harness import wait_for
from data_path import ALONE, Worker

HEAD = """
from ts.handler_utils.utils import send_intermediate_predict_response as send
"""


@pytest.fixture(params=["extension", "plain"])
def worker(request, tmp_path):
    """worker(source, …): a Worker of the data path under test."""
    made = []

    def start(source, mode=None, **options):
        env = dict(options.pop("env", {}), **({"SCONCE_MODE": mode} if mode else {}))
        made.append(Worker(tmp_path / f"model{len(made)}", HEAD + source, pure=request.param == "plain", env=env, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def bodies(answers):
    return [answer.body for answer in answers]


def nexts(answers):
    return [dict(answer.meta).get("ts_stream_next") for answer in answers]


def stream(one, body=b"", **options):
    number = one.submit(body, **options)
    return one.whole(number)[number]


# ---- parts from a handler that returns in the end ------------------------------------------------------


def test_parts_come_before_the_return_and_the_return_ends_them(worker):
    one = worker("""
import os, time
def handle(data, context):
    if data is None:
        return
    for i in range(3):
        send([f"part {i} "] * len(data), context.request_ids, "Intermediate Prediction success", 200, context)
        while not os.path.exists("go"):
            time.sleep(0.005)
    return ["end"] * len(data)
""")
    number = one.submit()
    first = one.piece()
    assert first.more and first.body == b"part 0 "
    (one.folder / "go").touch()
    rest = one.whole(number)[number]
    assert bodies([first] + rest) == [b"part 0 ", b"part 1 ", b"part 2 ", b"end"]
    assert nexts([first] + rest) == ["true", "true", "true", "false"]


def test_a_plain_answer_has_no_such_header_and_one_set_by_hand_is_ended(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    if data[0]["body"] == b"by hand":
        context.set_response_header(0, "ts_stream_next", "true")
    return ["x"]
""")
    assert one.call(b"plain").meta == []
    answer = one.call(b"by hand")
    assert not answer.more and nexts([answer]) == ["false"]


def test_a_subset_of_a_batch_may_stream(worker):
    one = worker("""
import os, time
def handle(data, context):
    if data is None:
        return
    if data[0]["body"] == b"first":
        while not os.path.exists("go"):
            time.sleep(0.005)
        return ["first"]
    some = {i: r for i, r in context.request_ids.items() if data[i]["body"] == b"s"}
    context.set_response_content_type(1, "text/event-stream")
    send({i: f"part of {i}" for i in some}, some, "m", 200, context)
    return [f"end of {i}" for i in range(len(data))]
""", batch_size=4)
    first = one.submit(b"first")
    wait_for(lambda: one.running() == [first], 10, "its begin")
    numbers = [one.submit(b"s" if i % 2 else b"-") for i in range(4)]
    (one.folder / "go").touch()
    got = one.whole(first, *numbers)
    assert [bodies(got[n]) for n in numbers] == [[b"end of 0"], [b"part of 1", b"end of 1"], [b"end of 2"], [b"part of 3", b"end of 3"]]
    assert dict(got[numbers[1]][0].meta)[":content-type"] == "text/event-stream"
    assert nexts(got[numbers[0]]) == [None]


def test_the_old_place_warns_and_works(worker):
    one = worker("""
import warnings
from ts.protocol.otf_message_handler import send_intermediate_predict_response as old
def handle(data, context):
    if data is None:
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        old(["a"], context.request_ids, "m", 200, context)
    return [caught[0].category.__name__]
""")
    assert bodies(stream(one)) == [b"a", b"PendingDeprecationWarning"]


def test_the_connection_takes_messages_that_a_handler_makes_by_itself(worker):
    one = worker("""
from ts.protocol.otf_message_handler import create_predict_response
def handle(data, context):
    if data is None:
        return
    context.cl_socket.sendall(create_predict_response([b"made"], context.request_ids, "m", 200, context, True))
    return ["end"]
""")
    got = stream(one)
    assert bodies(got) == [b"made", b"end"] and nexts(got) == ["true", "false"]


def test_other_ranks_send_nothing(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    send(["a"], context.request_ids, "m", 200, context)
    return ["only"]
""", env={"LOCAL_RANK": "1"})
    assert bodies(stream(one)) == [b"only"]


def test_an_exception_after_the_third_part_ends_the_stream_with_an_error(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    for i in range(3):
        send([str(i)], context.request_ids, "m", 200, context)
    raise KeyError("no fourth")
""")
    got = stream(one)
    assert bodies(got) == [b"0", b"1", b"2", b"Prediction failed"]
    assert (got[-1].status, got[-1].more) == (503, False)
    assert bodies(stream(one))[-1] == b"Prediction failed"


@pytest.mark.parametrize("mode", [None, "continuous", "async"])
def test_ids_that_nobody_asked_for_are_an_error_of_the_call_alone(worker, mode):
    prefix = "async " if mode == "async" else ""
    one = worker(prefix + """def handle(data, context):
    if data is None:
        return
    if data[0]["body"] == b"bad":
        send(["x"], {0: "invented"}, "m", 200, context)
    return ["fine"]
""", mode)
    assert one.call(b"good").body == b"fine"
    bad = one.call(b"bad")
    assert (bad.status, bad.body) == (503, b"Prediction failed")
    assert "invented" in one.output()
    assert one.call(b"good").body == b"fine"


@pytest.mark.parametrize("mode", [None, "continuous", "async"])
def test_a_code_other_than_200_ends_the_request_with_that_error(worker, mode):
    prefix = "async " if mode == "async" else ""
    one = worker(prefix + """def handle(data, context):
    if data is None:
        return
    send(["x"], context.request_ids, "m", 200, context)
    send(["y"], context.request_ids, "too much", 429, context)
    return ["never seen"]
""", mode)
    for _ in range(2):
        got = stream(one)
        assert [(a.status, a.body, a.more) for a in got] == [(200, b"x", True), (429, b"too much", False)]
        assert (":type", "InternalServerException") in got[-1].meta
    assert one.piece(100) is None


def test_a_part_that_http_cannot_carry_ends_its_request(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    send(["x" * 2000], context.request_ids, "m", 200, context)
    send(["more"], context.request_ids, "m", 200, context)
    return ["end"]
""", max_response=1000)
    got = stream(one)
    assert len(got) == 1 and got[0].status == 500 and b"max_response_size" in got[0].body
    assert stream(one)[0].status == 500


def test_threads_of_a_handler_may_send(worker):
    one = worker("""
import threading
def handle(data, context):
    if data is None:
        return
    def some(n):
        for i in range(50):
            send([f"{n}-{i} "], context.request_ids, "m", 200, context)
    threads = [threading.Thread(target=some, args=(n,)) for n in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    return ["end"]
""")
    got = stream(one)
    assert sorted(bodies(got)) == sorted([b"%d-%d " % (n, i) for n in range(4) for i in range(50)] + [b"end"])
    for n in b"0", b"1", b"2", b"3":
        order = [int(body.split(b"-")[1]) for body in bodies(got)[:-1] if body.startswith(n + b"-")]
        assert order == sorted(order)


def test_large_parts(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    for size in (0, 1, 300000, 3000000):
        send([b"z" * size], context.request_ids, "m", 200, context)
    return [b"y" * 3000000]
""")
    for _ in range(3):
        assert [len(body) for body in bodies(stream(one))] == [0, 1, 300000, 3000000, 3000000]


def test_the_clock_of_the_running_page_starts_anew_with_a_part(worker):
    one = worker("""
import time
def handle(data, context):
    if data is None:
        return
    send(["x"], context.request_ids, "m", 200, context)
    time.sleep(0.2)
    return ["end"]
""")
    number = one.submit()
    assert one.piece().more
    assert one.running() == [number]
    assert one.whole(number)


def test_criteria_without_continuous_batching_end_the_request(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    context.stopping_criteria = [lambda result: False]
    return ["once"]
""")
    answer = one.call()
    assert not answer.more and answer.body == b"once"
    assert "continuousBatching" in one.output()


# ---- continuous batching ---------------------------------------------------------------------------------

COUNTER = """
import time
STEP = 0.02
class Until:
    def __init__(self, state):
        self.state = state
    def __call__(self, result):
        self.state["n"] -= 1
        return self.state["n"] <= 0

SEEN = {}
def handle(data, context):
    if data is None:
        return
    time.sleep(STEP)
    known = set(context.request_ids.values())
    for gone in set(SEEN) - known:
        print("GONE", gone, flush=True)
        del SEEN[gone]
    out, criteria = [], []
    for i, row in enumerate(data):
        rid = context.request_ids[i]
        if rid not in SEEN:
            assert row, row
            SEEN[rid] = {"n": int(row["body"])}
        else:
            assert row == {}, row
            assert context.get_request_header(i, "body") is None
        if context.get_request_header(i, "raise") and SEEN[rid]["n"] == 1:
            SEEN.clear()
            raise RuntimeError("asked for")
        criteria.append(Until(SEEN[rid]))
        out.append(f"{rid}:{SEEN[rid]['n']}:{len(data)} ")
    context.stopping_criteria = criteria
    return out
"""


def test_requests_join_and_leave_in_mid_flight(worker):
    one = worker(COUNTER, "continuous", batch_size=3)
    a = one.submit(b"60")
    assert one.piece().id == a
    b = one.submit(b"2")
    c = one.submit(b"3")
    d = one.submit(b"4")  # waits for a place
    got = one.whole(a, b, c, d)
    assert [len(got[n]) for n in (a, b, c, d)] == [59, 2, 3, 4]
    for n, answers in got.items():
        assert all(body.startswith(b"id-%d:" % n) for body in bodies(answers))
        assert nexts(answers) == ["true"] * (len(answers) - 1) + ["false"]
    widths = {int(body.split(b":")[2]) for answers in got.values() for body in bodies(answers)}
    assert max(widths) == 3


def test_a_request_without_a_criterions_answer_is_a_single_one(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    context.stopping_criteria = [lambda result: None for _ in data]
    return ["single"] * len(data)
""", "continuous", batch_size=2)
    answer = one.call()
    assert not answer.more and answer.meta == [] and answer.body == b"single"


def test_a_client_that_leaves_makes_room(worker):
    one = worker(COUNTER, "continuous", batch_size=1)
    long = one.submit(b"100000")
    assert one.piece().id == long
    waiting = one.submit(b"2")
    never = one.submit(b"100000")
    one.cancel(never)
    one.cancel(long)
    got = one.whole(waiting, long, never)
    assert len(got[waiting]) == 2 and len(got[never]) == 1
    assert f"Connection to client got closed; Removing job: id-{long}" in one.output()
    assert f"GONE id-{long}" in one.output()


def test_an_error_ends_all_open_requests(worker):
    one = worker(COUNTER, "continuous", batch_size=4)
    long = one.submit(b"1000")
    assert one.piece().more
    bad = one.submit(b"2", ("raise", "1"))
    got = one.whole(long, bad)
    assert [got[n][-1].status for n in (long, bad)] == [503, 503]
    assert len(stream(one, b"3")) == 3


def test_continuous_work_is_brought_to_its_end_at_sigterm(worker):
    one = worker(COUNTER, "continuous", batch_size=2)
    number = one.submit(b"20")
    assert one.piece().more
    one.process.send_signal(signal.SIGTERM)
    got = one.whole(number)[number]
    assert len(got) == 19 and not got[-1].more
    assert one.wait() == 0


def test_a_new_frontend_finds_an_empty_set(worker):
    one = worker(COUNTER, "continuous", batch_size=2)
    for _ in range(2):
        one.submit(b"100000")
    assert one.piece().more
    one.ask("attach 1")
    assert len(stream(one, b"3")) == 3
    assert one.running() == []
    one.ask("detach")
    time.sleep(0.3)
    one.ask("attach 2")
    assert len(stream(one, b"2", channel=1)) == 2


# ---- coroutines -------------------------------------------------------------------------------------------

ASYNC = """
import asyncio, json, os, time
class Handler:
    def initialize(self, context):
        context.seen = []
        self.calls = 0
    async def handle(self, data, context):
        self.calls += 1
        want = json.loads(bytes(data[0]["body"]) or b"{}")
        context.seen.append(want)
        for i in range(want.get("parts", 0)):
            send([f"{want['name']}-{i}"], context.request_ids, "m", 200, context)
            await asyncio.sleep(want.get("sleep", 0))
        if "raise" in want:
            await asyncio.sleep(0.01)
            raise ValueError(want["raise"])
        if want.get("block"):
            print("BLOCKS", flush=True)
            time.sleep(want["block"])
        while want.get("until") and not os.path.exists(want["until"]):
            await asyncio.sleep(0.005)
        if want.get("exit"):
            os._exit(3)
        if want.get("leave"):
            raise SystemExit(4)
        if want.get("cancel"):
            asyncio.current_task().cancel()
        try:
            await asyncio.sleep(want.get("sleep", 0))
        except asyncio.CancelledError:
            print("CANCELLED", want["name"], flush=True)
            raise
        if want.get("result"):
            return want["result"]
        return [json.dumps({"name": want.get("name"), "seen": len(context.seen), "id": context.get_request_id(0),
                            "calls": self.calls})]
"""


def ask(one, flush=True, **want):
    return one.submit(json.dumps(want).encode(), flush=flush)


def test_many_calls_at_once_answered_in_the_order_in_which_they_end(worker):
    one = worker(ASYNC, "async")
    numbers = [ask(one, name=i, until=f"go{i}") for i in range(10)]
    answers = []
    for i in reversed(range(10)):
        (one.folder / f"go{i}").touch()
        answers.append(one.piece())
    assert [a.id for a in answers] == numbers[::-1]
    for answer in answers:
        said = json.loads(answer.body)
        assert (said["name"], said["id"]) == (answer.id - 1, f"id-{answer.id}")
        assert said["seen"] == 1, "a context is a call's own"


def test_hundreds_of_streams_at_once_are_not_mixed(worker):
    one = worker(ASYNC, "async")
    numbers = [ask(one, name=f"s{i}", parts=10, sleep=0.01, flush=False) for i in range(200)]
    one.flush()
    got = one.whole(*numbers)
    for i, number in enumerate(numbers):
        assert bodies(got[number])[:-1] == [b"s%d-%d" % (i, k) for k in range(10)]
        assert nexts(got[number]) == ["true"] * 10 + ["false"]
    assert one.running() == []


@pytest.mark.parametrize("want, status, body", [
    ({"raise": "x"}, 503, b"Prediction failed"), ({"raise": "CUDA out of memory"}, 507, b"Out of resources"),
    ({"result": "text"}, 503, b"Invalid model predict output"), ({"result": ["a", "b"]}, 503, b"number of batch response mismatched"),
    ({"cancel": 1, "name": "c"}, 503, b"Prediction failed"), ({"raise": "y", "parts": 3, "name": "p"}, 503, b"Prediction failed")])
def test_a_call_that_fails_is_the_only_one(worker, want, status, body):
    one = worker(ASYNC, "async")
    good = ask(one, name="good", until="go")
    bad = ask(one, **want)
    got = one.whole(bad)[bad]
    assert (got[-1].status, got[-1].body) == (status, body) and len(got) == 1 + want.get("parts", 0)
    assert one.running() == [good]
    (one.folder / "go").touch()
    assert one.whole(good)[good][0].status == 200


def test_the_call_of_a_client_that_leaves_is_cancelled(worker):
    one = worker(ASYNC, "async")
    stays = ask(one, name="stays", sleep=0.5)
    leaves = ask(one, name="leaves", sleep=30, parts=1)
    assert one.piece().more
    one.cancel(leaves)
    got = one.whole(leaves, stays)
    assert got[stays][0].status == 200 and len(got[leaves]) == 1
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 0
    assert one.output().count("CANCELLED") <= 1 and f"Removing job: id-{leaves}" in one.output()


def test_batches_are_calls_as_they_were_taken(worker):
    one = worker("""
import asyncio
async def handle(data, context):
    await asyncio.sleep(0.05)
    return [f"{len(data)}:{i}" for i in range(len(data))]
""", "async", batch_size=4)
    seen = set()
    for _ in range(50):  # a worker that happens to be awake takes what is there before the rest
        numbers = [one.submit(flush=False) for _ in range(6)]
        one.flush()
        got = one.whole(*numbers)
        places = [tuple(map(int, got[n][0].body.split(b":"))) for n in numbers]
        while places:
            size = places[0][0]
            assert 1 <= size <= 4 and places[:size] == [(size, i) for i in range(size)], places
            seen.add(size)
            places = places[size:]
        if 4 in seen:
            return
    pytest.fail(f"never a whole batch: {seen}")


def test_a_call_that_never_awaits_makes_the_others_wait(worker):
    one = worker(ASYNC, "async")
    blocks = ask(one, name="blocks", block=0.6)
    wait_for(lambda: "BLOCKS" in one.output(), 10, "its begin")
    other = ask(one, name="other")
    assert one.piece().id == blocks and one.piece().id == other


def test_a_loop_that_turns_restarts_the_clock(worker):
    """The frontend takes a running page older than responseTimeout for a hang."""
    one = worker(ASYNC, "async")
    number = ask(one, name="long", sleep=1.2)
    seen = set()
    for _ in range(8):
        time.sleep(0.15)
        seen.add(one.ask("since"))
    assert len(seen) >= 4, seen
    assert one.whole(number)


def test_coroutines_end_what_runs_at_sigterm(worker):
    one = worker(ASYNC, "async")
    number = ask(one, name="x", sleep=0.5, parts=2)
    assert one.piece().more
    one.process.send_signal(signal.SIGTERM)
    time.sleep(0.4)
    late = ask(one, name="late")
    got = one.whole(number)[number]
    assert not got[-1].more and len(got) == 2
    assert one.wait() == 0
    assert one.piece(50) is None and late


def test_an_idle_worker_of_coroutines_ends(worker):
    one = worker(ASYNC, "async")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 0
    other = worker(ASYNC, "async")
    ask(other, name="x", parts=1, sleep=60)
    assert other.piece().more
    other.ask("hangup")
    assert other.wait() == 0


@pytest.mark.parametrize("want, code", [({"exit": 1}, 3), ({"leave": 1}, 4)])
def test_a_coroutine_that_ends_the_process(worker, want, code):
    one = worker(ASYNC, "async")
    ask(one, name="other", sleep=30)
    ask(one, **want)
    assert one.wait() == code


def test_a_new_frontend_is_served_by_coroutines(worker):
    one = worker(ASYNC, "async")
    old = [ask(one, name="old", sleep=30) for _ in range(5)]
    wait_for(lambda: sorted(one.running()) == old, 10, "the old ones to begin")
    one.ask("attach 1")
    assert json.loads(stream(one, b'{"name": "new"}')[0].body)["name"] == "new"
    one.ask("detach")
    time.sleep(0.3)
    one.ask("attach 2")
    assert json.loads(one.call(b'{"name": "third"}', channel=1).body)["name"] == "third"
    assert one.running() == []


def test_a_handler_of_coroutines_in_the_other_modes_and_the_other_way_round(worker):
    one = worker(ASYNC)
    answer = one.call(b"{}")
    assert (answer.status, answer.body) == (503, b"Invalid model predict output")
    other = worker("def handle(data, context):\n    return data and ['plain']\n", "async")
    assert other.call(b"x").body == b"plain"


def test_a_context_that_cannot_be_copied_is_an_error_of_each_call(worker):
    one = worker("""
import threading
class Handler:
    def initialize(self, context):
        context.lock = threading.Lock()
    async def handle(self, data, context):
        return ["x"]
""", "async")
    assert (one.call().status, one.call().body) == (503, b"Prediction failed")
    assert "cannot pickle" in one.output()


def test_metrics_of_a_call_name_its_own_request(worker):
    one = worker("""
import asyncio
async def handle(data, context):
    await asyncio.sleep(0.2 if data[0]["body"] == b"slow" else 0)
    context.metrics.add_counter("Served", 1)
    return ["x"]
""".replace("Served", "PredictionTime"), "async", env={"SCONCE_METRICS_JSON": ""})
    slow, quick = one.submit(b"slow"), one.submit(b"quick")
    one.whole(slow, quick)
    assert one.call(b"more").status == 200


@pytest.mark.parametrize("mode", ["continuous", "async"])
def test_a_client_that_leaves_before_its_request_is_taken(worker, mode):
    prefix = "async " if mode == "async" else ""
    one = worker("import time\n" + prefix + """def handle(data, context):
    if data is None:
        return
    for row in data:
        print("SEEN", bytes(row["body"]).decode(), flush=True)
    time.sleep(0.5)
    return ["end"] * len(data)
""", mode, batch_size=4 if mode == "continuous" else 1)
    first = one.submit(b"first")
    while "SEEN first" not in one.output():
        time.sleep(0.01)
    leaves = one.submit(b"leaves")
    one.cancel(leaves)
    stays = one.submit(b"stays")
    got = one.whole(first, leaves, stays)
    assert bodies(got[first]) == bodies(got[stays]) == [b"end"]
    assert bodies(got[leaves]) == [b""] and "SEEN leaves" not in one.output()


# ---- envelopes -------------------------------------------------------------------------------------------


def test_an_envelope_awaits_coroutines(worker):
    """The calls overlap: what an envelope remembers of one is not taken for another's."""
    one = worker("""
import asyncio
async def handle(data, context):
    if data is None:
        return
    await asyncio.sleep(0.3 - 0.1 * len(data))
    return [2 * n for n in data]
""", "async", env={"SCONCE_ENVELOPE": "json"})
    numbers = {one.submit(json.dumps({"instances": list(range(n))}).encode(), kind="application/json", flush=n == 3): n
               for n in (1, 2, 3)}
    got = one.whole(*numbers)
    assert {n: [json.loads(body) for body in bodies(got[number])] for number, n in numbers.items()} == {
        n: [{"predictions": [2 * i for i in range(n)]}] for n in (1, 2, 3)}


@pytest.mark.parametrize("envelope, body, wanted", [
    ("body", b"text", b"text!"),
    ("kserve", b'{"instances": ["a", "b"]}', {"predictions": ["a!", "b!"]}),
])
def test_other_envelopes_await_coroutines(worker, envelope, body, wanted):
    one = worker("""
import asyncio
async def handle(data, context):
    if data is None:
        return
    await asyncio.sleep(0.01)
    return [(d if isinstance(d, str) else bytes(d).decode()) + "!" for d in data]
""", "async", env={"SCONCE_ENVELOPE": envelope})
    answer = one.call(body)
    assert (answer.body if isinstance(wanted, bytes) else json.loads(answer.body)) == wanted


# ---- descriptions (§7.6) ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [None, "continuous", "async"])
def test_a_description_is_a_call_of_its_own(worker, mode):
    prefix = "async " if mode == "async" else ""
    one = worker("import time\n" + prefix + """def handle(data, context):
    if data is None:
        return
    if context.get_request_header(0, "describe") == "True":
        return [{"rows": len(data), "row": data[0]}]
    context.stopping_criteria = [lambda result: 1 / 0 if isinstance(result, dict) else None] * len(data)
    time.sleep(0.2)
    return ["end"] * len(data)
""", mode, batch_size=4)
    first = one.submit(b"first")
    others = [one.submit(b"o", flush=False) for _ in range(2)]
    told = one.submit(b"no row", (":form", ""), ("describe", "True"), flags=0 if mode == "async" else ALONE, flush=False)
    others += [one.submit(b"o") for _ in range(2)]
    got = one.whole(first, told, *others)
    assert [bodies(got[n]) for n in (first, *others)] == [[b"end"]] * 5
    assert [json.loads(body) for body in bodies(got[told])] == [{"rows": 1, "row": {}}]

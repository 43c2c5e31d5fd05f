"""The worker's data path, the extension and its twin in plain Python alike: same requests in, same bytes out."""
import json
import os
import re
import signal
import time

import pytest

from harness import wait_for
from data_path import ALONE, FAILED, Worker, meta, param, part

# Answers with what it sees. Bytes show their type, since handlers ask for it.
MIRROR = """
import json

def show(value):
    if isinstance(value, (bytes, bytearray)):
        return [type(value).__name__, value.decode("latin-1")]
    return value

def handle(data, context):
    if data is None:
        return
    out = []
    for i, row in enumerate(data):
        out.append(json.dumps({"id": context.get_request_id(i), "n": len(data), "row": {k: show(v) for k, v in row.items()},
                               "order": list(row), "headers": context.get_all_request_header(i)}))
    return out
"""

ECHO = """
def handle(data, context):
    if data is None:
        return
    return [bytes(row["body"]) for row in data]
"""


@pytest.fixture(params=["extension", "plain"])
def pure(request):
    return request.param == "plain"


@pytest.fixture
def worker(pure, tmp_path):
    """worker(source, …): a Worker of the data path under test."""
    made = []

    def start(source, **options):
        made.append(Worker(tmp_path / f"model{len(made)}", source, pure=pure, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture(scope="module", params=["extension", "plain"])
def mirror(request, tmp_path_factory):
    one = Worker(tmp_path_factory.mktemp("mirror"), MIRROR, pure=request.param == "plain", batch_size=8)
    yield one
    one.close()


def seen(answer):
    assert answer.status == 200, answer
    return json.loads(answer.body)


def test_both_data_paths_are_what_they_are_called(worker, pure):
    source = "import sys\ndef handle(data, context):\n    return data and [' '.join(m for m in sys.modules if m.startswith('ts.'))]\n"
    modules = worker(source).call().body.decode().split()
    assert ("ts._sconce" in modules, "ts._runtime.channel_py" in modules) == (not pure, pure)


# ---- what a handler sees -------------------------------------------------------------------------


@pytest.mark.parametrize("body, kind, value", [
    (b"plain", None, ["bytearray", "plain"]),
    (b"", None, ["bytearray", ""]),
    (b"x\x00\xff", "application/octet-stream", ["bytearray", "x\x00\xff"]),
    (b'{"a": [1, 2.5, null]}', "application/json", {"a": [1, 2.5, None]}),
    (b"7", "application/json", 7),
    (b"\xef\xbb\xbf[1]", "application/json", ["bytearray", "\xef\xbb\xbf[1]"]),
    ("[1]".encode("utf-16-le"), "application/json", ["bytearray", "[\0" + "1\0]\0"]),
    (b'{"a": ', "application/json", ["bytearray", '{"a": ']),
    (b"", "application/json", ["bytearray", ""]),
    (b"[" * 100000, "application/json", ["bytearray", "[" * 100000]),
    (b'"\xff"', "application/json", ["bytearray", '"\xff"']),
    (b"[1]", "Application/JSON", ["bytearray", "[1]"]),
    ("grüß".encode(), "text/plain", "grüß"),
    (b"", "text/plain", ""),
    (b"\xff", "text/plain", ["bytearray", "\xff"]),
    (b"x", "texture", "x"),
    (b"x", "image/jpeg", ["bytearray", "x"]),
])
def test_a_body_is_decoded_by_its_type(mirror, body, kind, value):
    got = seen(mirror.call(body, kind=kind))
    assert got["row"] == {"body": value}
    assert got["headers"] == {"body": {"content-type": kind or ""}}
    assert got["id"] == f"id-{mirror.number}"


def test_nothing_is_decoded_when_the_server_says_so(worker):
    one = worker(MIRROR, env={"TS_DECODE_INPUT_REQUEST": "false"})
    assert seen(one.call(b"[1]", kind="application/json"))["row"] == {"body": ["bytearray", "[1]"]}
    assert seen(one.call(b"a", kind="text/plain"))["row"] == {"body": ["bytearray", "a"]}


def test_headers_come_as_sent_and_the_last_one_wins(mirror):
    got = seen(mirror.call(b"x", ("X-Case", "1"), ("x-case", "2"), ("X-Case", "3"), ("Latin", b"\xe4"), ("url_path", "ü/v1"),
                           ("body", "a header")))
    assert got["headers"] == {"body": "a header", "X-Case": "3", "x-case": "2", "Latin": "ä", "url_path": "ü/v1"}


def test_the_parts_of_a_form_make_the_row(mirror):
    body = b'--b\r\n\r\n{"k": 1}\r\n--b\r\n\r\ntext\r\nraw'
    got = seen(mirror.call(body, (":form", ""), part("data", 7, 8, "application/json"), part("t", 24, 4, "text/plain"),
                           part("empty", len(body), 0), param("p", b"v"), part("t", 30, 3), kind="multipart/form-data"))
    assert got["row"] == {"data": {"k": 1}, "t": ["bytearray", "raw"], "empty": ["bytearray", ""], "p": ["bytearray", "v"]}
    assert got["order"] == ["data", "t", "empty", "p"]
    assert got["headers"] == {"data": {"content-type": "application/json"}, "t": {"content-type": ""},
                              "empty": {"content-type": ""}, "p": {"content-type": ""}}


def test_a_form_can_be_empty_and_a_body_have_parameters_beside_it(mirror):
    assert seen(mirror.call(b"", (":form", "")))["row"] == {}
    got = seen(mirror.call(b"B", param("q", b"1"), param("body", b"lost"), kind="text/plain"))
    assert got["row"] == {"q": ["bytearray", "1"], "body": "B"}


@pytest.mark.parametrize("pair", [
    part("x", 0, 5), part("x", 5, 0), part("x", 2 ** 63, 1), part("x", 1, 2 ** 64 - 1), part("x", 2 ** 64 - 1, 2),
    (":part", b"\0" * 17), (":part", b"\0" * 16 + b"\xff\xff"), (":param", b""), (":param", b"\x05\x00name"), (":strange", "")])
def test_what_lies_outside_of_the_body_is_refused_and_the_next_request_is_served(mirror, pair):
    answer = mirror.call(b"body", pair)
    assert answer.status == 500 and (":type", "InternalServerException") in answer.meta
    assert seen(mirror.call(b"body"))["row"] == {"body": ["bytearray", "body"]}


@pytest.mark.parametrize("block", [b"", b"\x01", b"\x01\x00", b"\x00\x00x", meta((":id", "x"))[:-1], b"\x02\x00" + meta((":id", "x"))[2:]])
def test_malformed_metadata_is_refused(mirror, block):
    answer = mirror.call(b"body", block=block)
    assert answer.status == 500
    assert mirror.call(b"x").status == 200


# ---- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4095, 65536, 262144, 262145, 1 << 20, 6_000_000])
def test_every_size_goes_there_and_back(worker, size):
    one = worker(ECHO)
    body = bytes(i * 31 % 251 for i in range(997)) * (size // 997 + 1)
    body = body[:size]
    for _ in range(3):
        answer = one.call(body)
        assert answer.status == 200 and answer.body == body


def test_thousands_of_answers_leave_the_arena_as_it_was(worker):
    one = worker(ECHO, batch_size=4)
    rate, _, errors = one.load(1.0, 16, b"x" * 60000)
    assert rate > 50 and errors == 0
    assert one.call(b"y" * 200000).body == b"y" * 200000


def test_channels_are_served_in_turn(worker):
    one = worker(ECHO, channels=4, batch_size=8)
    sent = {one.submit(b"%d" % i, channel=i % 4, flush=False): b"%d" % i for i in range(100)}
    one.flush()
    got = [one.answer() for _ in sent]
    assert {a.id: a.body for a in got} == sent
    assert one.answer(50) is None


# ---- batches -----------------------------------------------------------------------------------------


# Who says `hold` holds the worker until the file `go` is there: what comes meanwhile is there when it is through.
HELD = MIRROR.replace("    out = []\n", """    import os, time
    while data[0].get("body") == b"hold" and not os.path.exists("go"):
        time.sleep(0.005)
    out = []
""")


def hold(one, **more):
    number = one.submit(b"hold", **more)
    wait_for(lambda: one.running() == [number], 10, "its begin")
    return number


def go(one):
    (one.folder / "go").touch()


def test_eager_takes_what_is_there_up_to_the_batch_size(worker):
    one = worker(HELD, batch_size=4)
    hold(one)
    numbers = [one.submit(b"x") for _ in range(6)]
    go(one)
    assert seen(one.answer())["n"] == 1
    assert [seen(one.answer())["n"] for _ in numbers] == [4, 4, 4, 4, 2, 2]


def test_fill_waits_for_the_delay_and_not_longer(worker):
    one = worker(MIRROR, batch_size=4, delay_ms=2000, policy="fill")
    start = time.monotonic()
    one.submit(b"a")
    time.sleep(0.1)
    one.submit(b"b")
    assert [seen(one.answer())["n"] for _ in range(2)] == [2, 2]
    assert time.monotonic() - start > 1.9
    start = time.monotonic()
    for _ in range(4):
        one.submit(b"c")
    assert seen(one.answer())["n"] == 4 and time.monotonic() - start < 1.8


@pytest.mark.parametrize("policy", ["eager", "fill"])
def test_a_suspect_is_alone(worker, policy):
    one = worker(HELD, batch_size=8, delay_ms=150, policy=policy)
    hold(one, flags=ALONE)
    for flags in (0, 0, ALONE, ALONE, 0):
        one.submit(b"x", flags=flags)
    go(one)
    assert [seen(one.answer())["n"] for _ in range(6)] == [1, 2, 2, 1, 1, 1]


def test_the_running_page_names_the_batch(worker):
    one = worker(HELD, batch_size=4)
    number = hold(one)
    waiting = one.submit(b"x")
    assert one.running() == [number]
    go(one)
    assert one.answer().id == number and one.answer().id == waiting
    wait_for(lambda: one.running() == [], 10, "its end")


# ---- answers ------------------------------------------------------------------------------------------


def test_status_phrase_type_and_headers_of_each_answer(worker):
    one = worker("""
def handle(data, context):
    if data is None:
        return
    context.set_response_status(code=418, phrase="Teapöt", idx=0)
    context.set_response_content_type(0, "text/x")
    context.set_response_header(0, "X-Number", 7)
    context.set_response_header(0, "X-Wide", "\\u20ac")
    context.set_response_header(0, ":type", "not ours")
    return ["body"]
""")
    answer = one.call()
    assert (answer.status, answer.body) == (418, b"body")
    assert answer.meta == [(":content-type", "text/x"), (":reason", "Teapöt"), ("X-Number", "7"), ("X-Wide", "€")]


@pytest.mark.parametrize("result, body", [
    ("b'bytes'", b"bytes"), ("bytearray(b'array')", b"array"), ("'t\\u00e4xt'", "täxt".encode()), ("{'a': 1}", b'{\n  "a": 1\n}'),
    ("''", b""), ("None", b"null"), ("b'z' * 500000", b"z" * 500000), ("bytearray(b'z') * 500000", b"z" * 500000)])
def test_results_as_bytes(worker, result, body):
    answer = worker(f"def handle(data, context):\n    return data and [{result}]\n").call()
    assert (answer.status, answer.body, answer.meta) == (200, body, [])


def test_an_error_of_the_whole_batch(worker):
    one = worker(HELD.replace("    out = []\n", "    if len(data) > 1: raise KeyError('x')\n    out = []\n"), batch_size=4)
    hold(one)
    for _ in range(3):
        one.submit()
    go(one)
    assert one.answer().status == 200
    for _ in range(3):
        answer = one.answer()
        assert (answer.status, answer.body) == (503, b"Prediction failed")
        assert answer.meta == [(":type", "InternalServerException")]
    assert "KeyError: 'x'" in one.output()


def test_an_answer_beyond_the_limit_is_an_error_that_names_it_and_spares_the_others(worker):
    one = worker("""
import os, time
def handle(data, context):
    if data is None:
        return
    while not os.path.exists("go"):
        time.sleep(0.005)
    return ["x" * int(row["body"].replace(b"hold", b"1")) for row in data]
""", batch_size=4, max_response=1000)
    hold(one)
    for size in (b"1000", b"1001", b"5"):
        one.submit(size)
    go(one)
    answers = [one.answer() for _ in range(4)]
    assert [a.status for a in answers] == [200, 200, 500, 200]
    assert b"1001" in answers[2].body and b"max_response_size" in answers[2].body


@pytest.mark.parametrize("call, says", [
    ("context.set_response_status(99999)", b"99999"), ("context.set_response_status(-1)", b"-1"),
    ("context.set_response_header(0, 'X', 'v' * 20000)", b"16384"), ("context.set_response_header(0, 'X', 'v' * (80 << 20))", b"16384")])
def test_what_http_cannot_carry_is_an_error_of_that_request(worker, call, says):
    one = worker(f"def handle(data, context):\n    if data:\n        {call}\n        return ['x']\n")
    answer = one.call()
    assert answer.status == 500 and says in answer.body
    assert one.call().status == 500 and one.process.poll() is None


# ---- the life of the process ----------------------------------------------------------------------------


def test_what_a_worker_prints(worker):
    one = worker(ECHO)
    one.call(b"x")
    lines = one.output().splitlines()
    assert lines[:2] == [f"[PID]{one.process.pid}", "Torch worker started."]
    assert re.fullmatch(r"Python runtime: 3\.\d+\.\d+\S*", lines[2])
    assert lines[3].startswith("Backend received inference at: 1")


def test_every_batch_has_its_line(worker):
    one = worker("def handle(data, context):\n    return data and ['x'] * len(data)\n")
    rate, _, errors = one.load(0.5, 8)
    assert errors == 0

    def lines():
        said = one.output()
        return said.count("Backend received inference at: ") == said.count("[METRICS]PredictionTime") > rate * 0.3
    wait_for(lines, 10, "two lines of each")


def test_the_environment_is_the_handlers_own(worker):
    source = """
import os, sys
SEEN = " ".join(sorted(n for n in os.environ if n.startswith("SCONCE_"))) + "|" + str(any(p.endswith("/ts") for p in sys.path))
def handle(data, context):
    return data and [SEEN + "|" + os.popen("env | grep -c ^SCONCE_").read().strip()]
"""
    assert worker(source).call().body == b"|False|0"


@pytest.mark.parametrize("source, code", [
    ("import nowhere_to_be_found", "500"), ("def handle(:\n", "500"), ("class A: pass\nclass B: pass\n", "500"),
    ("def handle(data, context):\n    raise MemoryError()\n", "507"),
    ("def handle(data, context):\n    raise RuntimeError('CUDA error: out of memory')\n", "507"),
    ("import sys\nsys.exit(3)\n", "500"), ("import os\nos.closerange(0, 100)\nraise ValueError('x')\n", "500")])
def test_a_load_that_fails_says_why_and_ends(worker, source, code):
    one = worker(source, load=False)
    state, text = one.status()
    assert state == FAILED and text.split()[0] == code, text
    assert one.wait() != 0


def test_sigterm_finishes_the_batch(worker):
    one = worker(HELD)
    number = hold(one)
    one.process.send_signal(signal.SIGTERM)
    go(one)
    assert one.answer().id == number
    assert one.wait() == 0


def test_sigterm_and_the_supervisors_end_reach_an_idle_worker(worker):
    one = worker(ECHO)
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 0
    other = worker(ECHO)
    other.ask("hangup")
    assert other.wait() == 0


def test_an_interrupt_at_the_terminal_is_the_servers(worker):
    one = worker(ECHO)
    one.process.send_signal(signal.SIGINT)
    assert one.call(b"still").body == b"still"


def test_a_new_frontend_is_served_and_the_old_ones_requests_are_forgotten(worker):
    one = worker(HELD, batch_size=2)
    hold(one)
    for _ in range(5):
        one.submit(b"x")
    one.ask("attach 2")
    go(one)
    assert seen(one.call(b"new", channel=1))["row"] == {"body": ["bytearray", "new"]}
    assert one.answer(100) is None
    one.ask("detach")
    time.sleep(0.3)
    assert one.process.poll() is None
    one.ask("attach 1")
    assert one.call(b"again").status == 200


def test_a_new_frontend_while_a_batch_fills(worker):
    one = worker(MIRROR, batch_size=4, delay_ms=700, policy="fill")
    one.submit(b"old")
    time.sleep(0.1)
    one.ask("attach 1")
    time.sleep(0.1)
    number = one.submit(b"new")
    answer = one.answer()
    assert answer.id == number and seen(answer)["n"] == 1
    assert one.answer(100) is None
    one.submit(b"lost")
    time.sleep(0.1)
    one.ask("detach")
    time.sleep(1)
    one.ask("attach 1")
    assert one.call(b"x").status == 200


def test_sigterm_does_not_wait_for_a_load(worker):
    one = worker("import time\nprint('LOADING', flush=True)\ntime.sleep(60)\n", load=False)
    wait_for(lambda: "LOADING" in one.output(), 20, "the load")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait(20) == 0


def test_attachments_before_loading_has_ended_are_taken_up(worker):
    one = worker("import time\ntime.sleep(0.5)\n" + ECHO, attach=False, load=False)
    for _ in range(3):
        one.ask("attach 1")
    assert one.status()[0] == 3
    assert one.call(b"x").body == b"x"


def test_a_profile_is_written_when_asked_for(worker, tmp_path):
    """As TorchServe: TS_BENCHMARK."""
    path = "/tmp/tsPythonProfile.prof"
    before = os.stat(path).st_mtime_ns if os.path.exists(path) else 0
    one = worker(ECHO, env={"TS_BENCHMARK": "true"})
    one.call(b"x")
    one.process.send_signal(signal.SIGTERM)
    assert one.wait() == 0
    assert os.stat(path).st_mtime_ns > before

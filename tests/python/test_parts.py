"""Answers in parts, answers one by one, and clients that leave: the data path below streaming, continuous batching and
async workers. A serve loop of the test's own takes the place of the runtime's."""
import time

import pytest

from data_path import ALONE, Worker

HEAD = """
import json, os, select, threading, time
import ts._runtime.main as main

def item(id, body, headers=()):
    return (id, body, 200, "", None, list(headers))

def handle(data, context):
    pass

def serve(channel, service, ahead=True):
    live(channel)
    return 0

main.serve = serve
"""

# Every batch: two parts of each request, an answer of the last one before the others, then the rest by place.
BATCHES = HEAD + """
def live(channel):
    while True:
        batch = channel.take()
        if batch is None:
            return
        ids = [row[0] for row in batch]
        for n in range(2):
            assert channel.part([item(i, b"part %d" % n, [("ts_stream_next", "true")]) for i in ids]) == len(ids)
        if len(ids) > 1:
            assert channel.answer([item(str(ids[-1]), b"early")]) == 1
            assert channel.answer([item(ids[-1], b"again")]) == 0
            assert channel.part([item(ids[-1], b"after the end")]) == 0
        assert channel.part([item("nobody's", b"x")]) == 0
        channel.reply([(b"last", 200, "", None, [])] * len(ids))
"""

# Requests as they come; each is answered in as many turns as its body says, the newest first.
TURNS = HEAD + """
def live(channel):
    work = {}
    while True:
        new = channel.take_new(4 - len(work), 0 if work else -1)
        if new is None:
            return
        for id, headers, row in new:
            work[id] = int(bytes(row["body"]))
        for id in channel.cancelled():
            print("left", id, flush=True)
            channel.answer([item(id, b"")])
            del work[id]
        for id in reversed(list(work)):
            work[id] -= 1
            if work[id] > 0:
                channel.part([item(id, b"%d" % work[id])])
        done = [id for id in work if work[id] <= 0]
        channel.answer([item(id, b"end") for id in done])
        for id in done:
            del work[id]
        time.sleep(0.01)
"""

# An event loop of poll: every request is answered by a thread, the later ones first.
EVENTS = HEAD + """
def live(channel):
    fds = channel.poll_fds()
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)

    def answer(id, ms):
        time.sleep(ms / 1000)
        channel.part([item(id, b"p")])
        channel.answer([item(id, str(ms).encode())])

    while True:
        new = channel.take_new(100, 0)
        if new is None:
            return
        for id in channel.cancelled():
            print("left", id, flush=True)
        for id, headers, row in new:
            threading.Thread(target=answer, args=(id, int(bytes(row["body"]))), daemon=True).start()
        if channel.arm():
            poller.poll(5000)
"""


@pytest.fixture(params=["extension", "plain"])
def pure(request):
    return request.param == "plain"


@pytest.fixture
def worker(pure, tmp_path):
    made = []

    def start(source, **options):
        made.append(Worker(tmp_path / f"model{len(made)}", source, pure=pure, **options))
        return made[-1]

    yield start
    for one in made:
        one.close()


def pieces(w, number):
    """The bodies of one request's pieces, up to its last one; nothing else may come meanwhile."""
    out = []
    while True:
        p = w.piece()
        assert p is not None, w.output()
        assert p.id == number
        out.append(p.body)
        if not p.more:
            return out


def test_parts_come_before_the_answer(worker):
    w = worker(BATCHES)
    number = w.submit(b"x")
    first = w.piece()
    assert first.more and first.meta == [("ts_stream_next", "true")] and first.body == b"part 0"
    assert pieces(w, number) == [b"part 1", b"last"]
    assert w.running() == []


def test_a_request_of_a_batch_may_end_before_the_others(worker):
    w = worker(BATCHES, batch_size=3, policy="fill", delay_ms=2000)
    numbers = [w.submit(b"x") for _ in range(3)]
    got = {n: [] for n in numbers}
    ended = []
    for _ in range(9):
        p = w.piece()
        assert p is not None, w.output()
        got[p.id].append(p.body)
        if not p.more:
            ended.append(p.id)
    assert [got[n] for n in numbers] == [[b"part 0", b"part 1", b"last"]] * 2 + [[b"part 0", b"part 1", b"early"]]
    assert ended == [numbers[2], numbers[0], numbers[1]]
    assert w.piece(50) is None


def test_large_parts(worker):
    w = worker(HEAD + """
def live(channel):
    while True:
        batch = channel.take()
        if batch is None:
            return
        for n in range(4):
            channel.part([item(batch[0][0], bytes([n]) * 3000000)])
        channel.part([item(batch[0][0], b"m" * 7000000)])
        assert channel.part([item(batch[0][0], b"more")]) == 0
        channel.reply([(b"never sent", 200, "", None, [])])
""")
    number = w.submit(b"x")
    for n in range(4):
        p = w.piece()
        assert p.more and p.body == bytes([n]) * 3000000
    last = w.piece()
    assert last.id == number and not last.more and last.status == 500 and b"max_response_size" in last.body
    assert (":type", "InternalServerException") in last.meta
    assert w.piece(50) is None and w.running() == []


def test_new_requests_join_those_that_are_open(worker):
    w = worker(TURNS)
    long = w.submit(b"30")
    assert w.piece().body == b"29"
    assert w.running() == [long]
    short = w.submit(b"2")
    ended, seen = [], set()
    while len(ended) < 2:
        p = w.piece()
        seen.add(tuple(sorted(w.running())))
        if not p.more:
            ended.append(p.id)
    assert ended == [short, long]
    assert tuple(sorted((long, short))) in seen
    time.sleep(0.05)
    assert w.running() == []


def test_more_than_fit_wait(worker):
    w = worker(TURNS, batch_size=4)
    numbers = [w.submit(b"5") for _ in range(11)]
    open_at_once, ended = 0, set()
    while len(ended) < len(numbers):
        p = w.piece()
        open_at_once = max(open_at_once, len(w.running()))
        if not p.more:
            ended.add(p.id)
    assert open_at_once <= 4 and ended == set(numbers)


def told(w, n):
    """How often the handler said that a client has left; it may say so a little after the answer."""
    end = time.monotonic() + 10
    while w.output().count("left") < n and time.monotonic() < end:
        time.sleep(0.01)
    return w.output().count("left")


ENDLESS = 10**9  # turns: such a request ends because its client leaves, however slow the test is


def test_a_client_that_leaves(worker):
    w = worker(TURNS)
    other, number = w.submit(b"40"), w.submit(b"%d" % ENDLESS)
    ended = {}

    def take():
        p = w.piece()
        if not p.more:
            ended[p.id] = p.body
        return p.id

    while take() != number:  # until it has been begun
        pass
    w.cancel(number)
    w.cancel(12345)  # never was
    w.cancel(number)
    while len(ended) < 2:
        take()
    assert ended == {number: b"", other: b"end"}
    w.cancel(number)  # long over
    assert pieces(w, w.submit(b"1")) == [b"end"]
    assert told(w, 1) == 1


def test_a_client_that_leaves_before_its_request_is_begun(worker):
    w = worker(TURNS, batch_size=4)
    first = [w.submit(b"%d" % ENDLESS) for _ in range(4)]
    assert w.piece() is not None
    waiting = w.submit(b"40")
    w.cancel(waiting)
    ended = []
    while len(ended) < 5:
        p = w.piece()
        if not p.more:
            ended.append(p.id)
            for number in first if ended == [waiting] else ():
                w.cancel(number)
    assert ended[0] == waiting and set(ended[1:]) == set(first)
    assert told(w, len(first)) == len(first) and f"left {waiting}\n" not in w.output()


def test_an_event_loop(worker):
    w = worker(EVENTS, channels=2)
    numbers = {w.submit(b"%d" % ms, channel=i % 2): ms for i, ms in enumerate((1600, 1100, 600, 100))}
    ended = []
    while len(ended) < 4:
        p = w.piece()
        if not p.more:
            assert p.body == b"%d" % numbers[p.id]
            ended.append(numbers[p.id])
    assert ended == [100, 600, 1100, 1600]
    start = time.monotonic()
    assert pieces(w, w.submit(b"0", channel=1)) == [b"p", b"0"]
    assert time.monotonic() - start < 1


def test_an_event_loop_costs_nothing_while_idle(worker):
    w = worker(EVENTS)
    assert pieces(w, w.submit(b"0")) == [b"p", b"0"]

    def spent():
        fields = open(f"/proc/{w.process.pid}/stat").read().rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = spent()
    time.sleep(1)
    assert spent() - before <= 3


def test_a_frontend_that_dies_takes_its_requests_with_it(worker):
    w = worker(EVENTS)
    gone = [w.submit(b"500") for _ in range(3)]
    time.sleep(0.1)
    assert w.ask("detach") == "detached"
    assert told(w, len(gone)) == 3
    w.ask("attach 1")
    assert pieces(w, w.submit(b"1")) == [b"p", b"1"]
    time.sleep(0.6)  # the threads answer requests that are no more
    assert w.piece(50) is None
    assert pieces(w, w.submit(b"2")) == [b"p", b"2"]


def test_a_suspect_is_alone(worker):
    w = worker(TURNS)
    first, suspect = w.submit(b"20"), w.submit(b"20", flags=ALONE)
    behind = w.submit(b"1")
    pages, ended = [], []
    while len(ended) < 3:
        p = w.piece()
        pages.append(w.running())
        if not p.more:
            ended.append(p.id)
    assert ended == [first, suspect, behind]
    assert all(len(page) <= 1 for page in pages)


def test_a_thousand_at_once(worker):
    w = worker(HEAD + """
def live(channel):
    ids = []
    while True:
        new = channel.take_new(2000, -1)
        if new is None:
            return
        ids += [row[0] for row in new]
        if len(ids) == 1000:
            for n in range(3):
                channel.part([item(id, id.encode()) for id in ids])
            for id in ids[::-1]:
                channel.answer([item(id, id.encode())])
            ids = []
""")
    for _ in range(2):
        numbers = [w.submit(b"x", flush=False) for _ in range(1000)]
        w.flush()
        seen = {n: 0 for n in numbers}
        for _ in range(4000):
            p = w.piece()
            assert p.body == b"id-%d" % p.id
            seen[p.id] += 1
        assert set(seen.values()) == {4}
    assert w.running() == []


def test_the_two_ways_do_not_mix(worker):
    w = worker(HEAD + """
def refused(call, *args):
    try:
        call(*args)
    except ValueError as error:
        print("refused", error, flush=True)

def live(channel):
    batch = channel.take()
    refused(channel.take_new, 1, 0)
    channel.reply([(b"a", 200, "", None, [])])
    (new,) = channel.take_new(1, -1)
    refused(channel.take)
    refused(channel.reply, [(b"a", 200, "", None, [])])
    for bad in ([(new[0], b"b")], [("id-x",)], 5, [item(new[0], b"x"), 7]):
        try:
            channel.answer(bad)
        except TypeError:
            print("type", flush=True)
    channel.answer([item(new[0], b"b")])
    while channel.take():
        pass
""")
    assert w.call(b"x").body == b"a"
    assert w.call(b"x").body == b"b"
    assert w.output().count("refused") == 3 and w.output().count("type") == 4

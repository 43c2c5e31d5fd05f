"""Stateful sequences, job tickets and the client's time limit (docs/internals/models.md, "Sequences")."""
import collections
import concurrent.futures
import os
import random
import re
import signal
import threading
import time

import pytest
import requests
from harness import send, wait_for
from python_models import PYTHON, folder

# Keeps a running sum per sequence, as TorchServe's example of a stateful handler does, and says where it runs.
SUMS = """
    import json, os, signal, time
    class Sums:
        def __init__(self):
            self.sums = {}
            self.turns = 0
        def initialize(self, context):
            self.context = context
        def handle(self, data, context):
            ids = [context.get_sequence_id(i) for i in range(len(data))]
            assert len(set(ids)) == len(ids), f"a batch has two of one sequence: {ids}"
            out = []
            for i, row in enumerate(data):
                word, _, rest = bytes(row.get("body") or row.get("data") or b"").decode().partition(" ")
                if word == "sleep":
                    time.sleep(float(rest))
                elif word == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif word == "once" and not os.path.exists(rest):
                    open(rest, "w").close()
                    os.kill(os.getpid(), signal.SIGKILL)
                elif word == "raise":
                    raise RuntimeError("no")
                elif word.lstrip("-").isdigit():
                    self.sums[ids[i]] = self.sums.get(ids[i], 0) + int(word)
                context.set_response_header(i, "ts_request_sequence_id", ids[i])
                out.append(json.dumps({"sum": self.sums.get(ids[i], 0), "pid": os.getpid(), "batch": len(data),
                                       "headers": context.get_all_request_header(i)}))
            return out
"""

# Sequences in continuous batches: a turn of N streams N running sums; `end` closes what it names; `stop` ends what streams.
TALKS = """
    import os, time
    class Talks:
        def initialize(self, context):
            self.sums = {}
            self.open = {}
        def handle(self, data, context):
            time.sleep(0.01)
            ids = [context.request_ids[i] for i in range(len(data))]
            for gone in set(self.open) - set(ids):
                del self.open[gone]
            out = []
            for i, (rid, row) in enumerate(zip(ids, data)):
                sequence = context.get_sequence_id(i)
                if rid not in self.open:
                    word, _, rest = bytes(row["body"]).decode().partition(" ")
                    self.open[rid] = [sequence, int(word) if word.isdigit() else 1]
                    if word == "end":
                        context.set_response_header(i, context.header_key_sequence_end, rest)
                    if word == "stop":
                        for other, talk in self.open.items():
                            if talk[0] == sequence and other != rid:
                                talk[1] = 1
                else:
                    assert row == {}, row
                self.open[rid][1] -= 1
                self.sums[sequence] = self.sums.get(sequence, 0) + 1
                out.append(f"{sequence}:{self.sums[sequence]}:{os.getpid()} ")
            context.stopping_criteria = [lambda result, rid=rid: self.open[rid][1] <= 0 for rid in ids]
            return out
"""

SLOW = """
    import time
    def handle(data, context):
        if data is None:
            return None
        time.sleep(float(bytes(data[0].get("body") or b"0").decode()))
        return [bytes(row.get("body") or b"") for row in data]
"""

NO_WORKER = ('Model "{}" has no worker to serve inference request. Please use scale workers API to add workers. If this is a '
             "sequence inference, please check if it is closed, or expired; or exceeds maxSequenceJobQueueSize")


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


def start(serve, store, workers=1, handler=SUMS, config=None, **settings):
    keys = {"minWorkers": workers, "maxWorkers": workers, "batchSize": 4, "maxBatchDelay": 10, "sequenceBatching": "true",
            "sequenceMaxIdleMSec": 60000, "maxNumSequence": 1000, "maxSequenceJobQueueSize": 10, **(config or {})}
    folder(store, "m", handler, config={k: v for k, v in keys.items() if v is not None})
    server = serve(models={"m": "m"}, store=store, config={**PYTHON, **settings})
    pids(server, workers)
    return server


def pids(server, n, seconds=40):
    def enough():
        workers = server.get("/models/m", api="management").json()[0]["workers"]
        ready = [w["pid"] for w in workers if w["status"] == "READY"]
        return ready if len(ready) == n else None
    return wait_for(enough, seconds, f"{n} workers")


def turn(server, sequence, body, session=None, **headers):
    headers = {"content-type": "application/octet-stream", **headers}
    if sequence is not None:
        headers["ts_request_sequence_id"] = sequence
    return (session or requests).post(server.url("/predictions/m"), data=str(body), headers=headers, timeout=60)


def total(server, sequence, body, **more):
    r = turn(server, sequence, body, **more)
    assert r.status_code == 200, r.text
    return r.json()["sum"]


def later(f, *args, **more):
    box = concurrent.futures.Future()

    def run():
        try:
            box.set_result(f(*args, **more))
        except BaseException as e:
            box.set_exception(e)
    threading.Thread(target=run, daemon=True).start()
    return box


# ---- order and place ----


def test_two_interleaved_sequences(serve, store):
    """TorchServe's own check: running sums of two sequences."""
    server = start(serve, store, workers=2)
    sums = {"a": [], "b": []}
    for odd, even in zip((1, 3, 5, 7, 9), (2, 4, 6, 8, 10)):
        sums["a"].append(total(server, "a", odd))
        sums["b"].append(total(server, "b", even))
    assert sums == {"a": [1, 4, 9, 16, 25], "b": [2, 6, 12, 20, 30]}


@pytest.mark.parametrize("loops", [1, 2])
def test_many_interleaved_sequences_are_not_mixed_up(serve, store, loops):
    server = start(serve, store, workers=4, number_of_netty_threads=loops)
    sequences, turns = 200, 10
    rng = random.Random(7)
    values = {f"seq-{i}": [rng.randrange(1000) for _ in range(turns)] for i in range(sequences)}
    places, wrong = {}, []

    def client(ids):
        with requests.Session() as session:
            done = dict.fromkeys(ids, 0)
            sums = dict.fromkeys(ids, 0)
            mine = random.Random(ids[0])
            while open_ids := [i for i in ids if done[i] < turns]:
                i = mine.choice(open_ids)
                sums[i] += values[i][done[i]]
                done[i] += 1
                r = turn(server, i, values[i][done[i] - 1], session)
                answer = r.json()
                if r.status_code != 200 or answer["sum"] != sums[i] or places.setdefault(i, answer["pid"]) != answer["pid"]:
                    wrong.append((i, r.status_code, answer, sums[i]))
    ids = sorted(values)
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(client, [ids[i::20] for i in range(20)]))
    assert not wrong, wrong[:3]
    spread = collections.Counter(places.values())
    assert len(spread) == 4 and set(spread.values()) == {50}, spread


def test_turns_of_one_sequence_run_in_the_order_they_came(serve, store):
    server = start(serve, store, config={"maxSequenceJobQueueSize": 20}, number_of_netty_threads=2)
    first = later(turn, server, "s", "sleep 2")
    server.wait_busy()
    answers = []
    for n in range(1, 11):
        answers.append(later(total, server, "s", n))
        server.wait_busy(waiting=n)
    assert first.result(20).json()["sum"] == 0
    assert [a.result(20) for a in answers] == [n * (n + 1) // 2 for n in range(1, 11)]


def test_without_an_id_one_is_made(serve, store):
    server = start(serve, store)
    r = turn(server, None, 5)
    made = r.headers["ts_request_sequence_id"]
    assert re.fullmatch(r"ts-seq-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", made)
    headers = r.json()["headers"]
    assert headers["ts_request_sequence_id"] == made and headers["ts_request_sequence_start"] == "true"
    assert total(server, made, 6) == 11
    assert turn(server, None, 1).headers["ts_request_sequence_id"] != made
    assert "ts_request_sequence_start" not in turn(server, made, 1).json()["headers"]


def test_a_form_gets_an_id_too(serve, store):
    server = start(serve, store)
    r = requests.post(server.url("/predictions/m"), files={"data": b"5"})
    assert r.json()["sum"] == 5 and r.headers["ts_request_sequence_id"].startswith("ts-seq-")
    r = requests.post(server.url("/predictions/m"), files={"data": b"6"},
                      headers={"ts_request_sequence_id": r.headers["ts_request_sequence_id"]})
    assert r.json()["sum"] == 11


def test_header_names_are_settings(serve, store):
    server = start(serve, store, ts_header_key_sequence_id="X-Talk", ts_header_key_sequence_start="X-Talk-Start")
    headers = turn(server, None, 1).json()["headers"]
    assert headers["X-Talk"].startswith("ts-seq-") and headers["X-Talk-Start"] == "true"
    assert [turn(server, None, n, **{"X-Talk": "a"}).json()["sum"] for n in (1, 2, 3)] == [1, 3, 6]


def test_an_id_that_is_too_long(serve, store):
    server = start(serve, store)
    r = turn(server, "x" * 513, 1)
    assert (r.status_code, r.json()["type"]) == (400, "BadRequestException")
    assert total(server, "x" * 512, 1) == 1


# ---- limits and time ----


def test_too_many_sequences(serve, store):
    server = start(serve, store, config={"maxNumSequence": 4, "sequenceMaxIdleMSec": 2500})
    for i in range(4):
        assert total(server, f"s{i}", 1) == 1
    r = turn(server, "one more", 1)
    assert r.status_code == 503
    assert r.json() == {"code": 503, "type": "ServiceUnavailableException", "message": NO_WORKER.format("m")}
    assert total(server, "s0", 1) == 2
    wait_for(lambda: turn(server, "one more", 1).status_code == 200, 10, "idle sequences to end")


def test_the_queue_of_a_sequence_is_full(serve, store):
    server = start(serve, store, config={"maxSequenceJobQueueSize": 1})
    first = later(turn, server, "s", "sleep 1.5")
    server.wait_busy()
    waits = later(total, server, "s", 2)
    server.wait_busy(waiting=1)
    r = turn(server, "s", 4)
    assert r.status_code == 503 and r.json()["message"] == NO_WORKER.format("m")
    assert first.result(10).status_code == 200 and waits.result(10) == 2


def test_a_sequence_ends_with_its_lifetime(serve, store):
    server = start(serve, store, config={"sequenceTimeoutMSec": 2500, "maxNumSequence": 4}, workers=1)
    began = time.monotonic()
    while time.monotonic() - began < 0.7:
        assert turn(server, "s", 1).status_code == 200
    for i in range(3):
        assert turn(server, f"x{i}", 1).status_code == 200
    assert turn(server, "y", 1).status_code == 503
    wait_for(lambda: turn(server, "y", 1).status_code == 200, 10, "a sequence's lifetime to be over")


def test_a_client_that_leaves_gives_its_turn_to_the_next(serve, store):
    server = start(serve, store)
    first = later(turn, server, "s", "sleep 1.5")
    server.wait_busy()
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(server.url("/predictions/m"), data="100", headers={"ts_request_sequence_id": "s"}, timeout=0.3)
    assert total(server, "s", 2) == 2
    assert first.result(10).status_code == 200


def test_an_error_does_not_end_a_sequence(serve, store):
    server = start(serve, store)
    assert total(server, "s", 3) == 3
    assert turn(server, "s", "raise").status_code == 503
    assert total(server, "s", 4) == 7


def test_a_model_without_an_idle_limit_has_one(serve, store):
    """TorchServe fails every request then (Q17)."""
    server = start(serve, store, config={"sequenceMaxIdleMSec": None, "maxNumSequence": None})
    assert [total(server, "s", n) for n in (1, 2, 3)] == [1, 3, 6]
    for i in range(3):  # as many as the workers can batch
        assert total(server, f"s{i}", 1) == 1
    assert turn(server, "one more", 1).status_code == 503


# ---- in continuous batches ----

TALKING = {"continuousBatching": "true", "batchSize": 3, "maxNumSequence": 6}


def talk(server, sequence, body, **more):
    """What a turn streams: [(sequence, sum, pid)]."""
    r = turn(server, sequence, body, **more)
    assert r.status_code == 200, r.text
    return [(s, int(n), int(pid)) for s, n, pid in (piece.split(":") for piece in r.text.split())]


def test_sequences_in_continuous_batches(serve, store):
    """Turns of many sequences stream side by side; each has its own sums, in order, on one worker."""
    server = start(serve, store, workers=2, handler=TALKS, config=TALKING)
    lengths = {f"s{i}": [3 + i, 7 - i, 5] for i in range(6)}

    def client(sequence):
        return [piece for n in lengths[sequence] for piece in talk(server, sequence, n)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for sequence, pieces in zip(lengths, pool.map(client, lengths)):
            assert [p[:2] for p in pieces] == [(sequence, n + 1) for n in range(15)], pieces
            assert len({p[2] for p in pieces}) == 1
    assert len({talk(server, s, 1)[0][2] for s in lengths}) == 2


def test_a_second_turn_may_stop_the_one_that_streams(serve, store):
    server = start(serve, store, handler=TALKS, config=TALKING)
    long = later(talk, server, "s", 100000)
    server.wait_busy()
    assert talk(server, "s", "stop")[0][0] == "s"
    assert len(long.result(20)) < 100000
    assert talk(server, "s", 2)[0][0] == "s"


def test_an_answer_that_ends_sequences(serve, store):
    server = start(serve, store, handler=TALKS, config=TALKING)
    for i in range(6):
        assert talk(server, f"s{i}", 1)[0][1] == 1
    assert turn(server, "more", 1).status_code == 503
    assert talk(server, "s0", "end s0;s1;nobody")[0][1] == 2
    assert [turn(server, s, 1).status_code for s in ("more", "again", "too many")] == [200, 200, 503]


def test_a_worker_that_dies_in_continuous_batches(serve, store):
    server = start(serve, store, handler=TALKS, config=TALKING)
    assert talk(server, "old", 1)[0][1] == 1
    stream = requests.post(server.url("/predictions/m"), data="100000", stream=True, timeout=60,
                           headers={"content-type": "application/octet-stream", "ts_request_sequence_id": "old"})
    assert next(parts := stream.iter_content(None))  # it has begun
    send(pids(server, 1)[0], signal.SIGKILL)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        list(parts)
    assert turn(server, "old", 1).status_code == 503
    assert [talk(server, s, 1)[0][1] for s in ("old", "new")] == [1, 1]


# ---- deaths ----


def test_a_frontend_that_dies_forgets_the_open_sequences(serve, store):
    """The next turn opens its sequence anew; the worker, which lives on, still has the state, if it is the one that is asked."""
    server = start(serve, store, config={"maxNumSequence": 4})
    [pid] = pids(server, 1)
    for i in range(4):
        assert total(server, f"s{i}", 5) == 5
    assert turn(server, "more", 1).status_code == 503
    server.kill_role("frontend")

    def served():
        try:
            return turn(server, "more", 1).status_code == 200  # there is room again
        except requests.exceptions.ConnectionError:
            return False
    wait_for(served, 30, "the next frontend")
    assert pids(server, 1) == [pid]
    r = turn(server, "s0", 2)
    assert (r.json()["sum"], r.json()["pid"]) == (7, pid)
    assert "ts_request_sequence_start" not in r.json()["headers"]



def test_a_first_turn_is_run_again_where_its_sequence_lives(serve, store, tmp_path):
    server = start(serve, store, workers=2)
    r = turn(server, "s", f"once {tmp_path / 'died'}")
    assert r.status_code == 200 and r.json()["sum"] == 0
    place = r.json()["pid"]
    assert place in pids(server, 2)  # and not the worker that it was tried on
    for n, want in ((1, 1), (2, 3), (3, 6)):
        r = turn(server, "s", n)
        assert (r.json()["sum"], r.json()["pid"]) == (want, place)


def test_a_first_turn_that_ends_every_worker(serve, store):
    server = start(serve, store, workers=2)
    r = turn(server, "bad", "kill")
    assert (r.status_code, r.json()["message"]) == (500, "Worker died.")
    assert turn(server, "bad", 1).status_code == 503
    assert total(server, "bad", 1) == 1


def test_a_later_turn_is_refused_and_its_id_begins_anew(serve, store):
    server = start(serve, store, workers=2)
    assert total(server, "s", 1) == 1
    running = later(turn, server, "s", "sleep 20")
    server.wait_busy()
    waiting = later(turn, server, "s", 2)
    server.wait_busy(waiting=1)
    for worker in pids(server, 2):
        send(worker, signal.SIGKILL)
    for r in (running.result(30), waiting.result(30)):
        assert r.status_code == 503 and "closed" in r.json()["message"], r.text
    assert [total(server, "s", n) for n in (4, 5)] == [4, 9]


def test_an_idle_sequence_whose_worker_dies_is_told_so(serve, store):
    server = start(serve, store, workers=2)
    place = {}
    for i in range(8):
        r = turn(server, f"s{i}", i)
        place[f"s{i}"] = r.json()["pid"]
    victim = place["s0"]
    send(victim, signal.SIGKILL)
    wait_for(lambda: victim not in pids(server, 2), 20, "another worker")
    for s, pid in place.items():
        r = turn(server, s, 1)
        if pid != victim:
            assert r.status_code == 200 and r.json()["pid"] == pid
            continue
        assert r.status_code == 503
        assert r.json()["message"].startswith('The sequence of this request to model "m" is closed')
        assert total(server, s, 7) == 7


def test_who_begins_anew_after_a_death_is_not_refused(serve, store):
    server = start(serve, store)
    assert total(server, "s", 1) == 1
    [pid] = pids(server, 1)
    send(pid, signal.SIGKILL)
    wait_for(lambda: pid not in pids(server, 1), 20, "another worker")
    assert total(server, "s", 5, ts_request_sequence_start="true") == 5


def test_a_hung_turn(serve, store):
    server = start(serve, store, config={"responseTimeout": 1})
    assert total(server, "s", 1) == 1
    r = turn(server, "s", "sleep 30")
    assert (r.status_code, r.json()["message"]) == (500, "Worker died.")
    assert turn(server, "s", 1).status_code == 503
    assert total(server, "s", 1) == 1


def test_workers_die_under_load(serve, store):
    """Whatever dies: a sequence's sum is right, or the client was told and began anew. Nothing hangs."""
    server = start(serve, store, workers=4, config={"maxRetryTimeoutInSec": 600}, number_of_netty_threads=2)
    end = time.monotonic() + 8
    wrong, seen = [], collections.Counter()

    def client(n):
        rng = random.Random(n)
        sums = {f"c{n}-{i}": 0 for i in range(5)}
        with requests.Session() as session:
            while time.monotonic() < end:
                s = rng.choice(sorted(sums))
                value = rng.randrange(1, 9)
                r = turn(server, s, value, session)
                seen[r.status_code] += 1
                if r.status_code == 200:
                    if r.json()["sum"] != sums[s] + value:
                        wrong.append((s, r.json()["sum"], sums[s] + value))
                    sums[s] = r.json()["sum"]
                elif r.status_code == 503 and "closed" in r.json()["message"]:
                    sums[s] = 0
                else:
                    wrong.append((s, r.status_code, r.text))
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        clients = [pool.submit(client, n) for n in range(12)]
        rng = random.Random(1)
        while time.monotonic() < end - 1:
            time.sleep(0.8)
            workers = server.get("/models/m", api="management").json()[0]["workers"]
            ready = [w["pid"] for w in workers if w["status"] == "READY"]
            if len(ready) > 1:
                send(rng.choice(ready), signal.SIGKILL)
        for c in clients:
            c.result(60)
    assert not wrong, wrong[:5]
    assert seen[200] > 200 and seen[503] > 0, seen


# ---- scaling ----


def scale(server, n):
    return server.put(f"/models/m?min_worker={n}&max_worker={n}&synchronous=true")


def test_a_worker_that_is_taken_away_keeps_its_sequences_until_they_end(serve, store):
    server = start(serve, store, workers=2, config={"sequenceMaxIdleMSec": 2000})
    places = {f"s{i}": turn(server, f"s{i}", 1).json()["pid"] for i in range(4)}
    before = pids(server, 2)
    assert scale(server, 1).status_code == 200
    for _ in range(3):
        for s, pid in places.items():
            assert turn(server, s, 1).json()["pid"] == pid
        time.sleep(0.3)
    new = {turn(server, f"n{i}", 1).json()["pid"] for i in range(4)}
    assert len(new) == 1 and new < set(before)
    wait_for(lambda: len([p for p in before if os.path.exists(f"/proc/{p}")]) == 1, 20, "the drained worker's end")
    assert total(server, "fresh", 3) == 3


def test_taking_away_does_not_wait_for_ever(serve, store):
    server = start(serve, store, workers=2, unregister_model_timeout=1)
    places = {f"s{i}": turn(server, f"s{i}", 1).json()["pid"] for i in range(4)}
    before = pids(server, 2)
    assert scale(server, 1).status_code == 200
    wait_for(lambda: len([p for p in before if os.path.exists(f"/proc/{p}")]) == 1, 20, "the drained worker's end")
    for s, pid in places.items():
        r = turn(server, s, 1)
        assert r.status_code == (200 if os.path.exists(f"/proc/{pid}") else 503), (s, r.text)
        assert total(server, s, 1) in (1, 3)


def test_unregistering_lets_turns_finish(serve, store):
    server = start(serve, store)
    first = later(turn, server, "s", "sleep 1.5")
    server.wait_busy()
    waiting = [later(turn, server, "s", 1) for _ in range(3)]
    server.wait_busy(waiting=3)
    assert server.delete("/models/m").status_code == 200
    assert first.result(10).status_code == 200
    assert sorted(w.result(10).json()["sum"] for w in waiting) == [1, 2, 3]


def test_scaled_to_none_answers_who_waits(serve, store):
    server = start(serve, store, unregister_model_timeout=1)
    assert total(server, "s", 1) == 1
    first = later(turn, server, "s", "sleep 3")
    server.wait_busy()
    waiting = later(turn, server, "s", 1)
    server.wait_busy(waiting=1)
    scale(server, 0)
    assert first.result(15).status_code == 200
    assert waiting.result(15).status_code in (200, 503)
    assert turn(server, "s", 1).status_code == 503


def test_a_frontend_that_dies_leaves_a_table_that_works(serve, store):
    server = start(serve, store, workers=2)
    assert total(server, "s", 1) == 1
    server.kill_role("frontend")
    server.wait_healthy()
    pids(server, 2)
    first = total(server, "s", 5)
    assert first in (5, 6)  # opened anew, perhaps on the worker that had it
    assert total(server, "s", 1) == first + 1


# ---- job tickets, the client's time ----


def test_job_tickets(serve, store):
    server = start(serve, store, workers=2, handler=SLOW,
                   config={"sequenceBatching": None, "useJobTicket": "true", "batchSize": 1})
    for _ in range(3):  # no ticket is lost, and none is made
        first = [later(turn, server, None, 1) for _ in range(2)]
        server.wait_busy(2)
        r = turn(server, None, 0)
        assert r.status_code == 503 and r.json()["message"] == NO_WORKER.format("m")
        assert [b.result(10).status_code for b in first] == [200, 200]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        codes = collections.Counter(r.status_code for r in pool.map(lambda _: turn(server, None, 0.05), range(200)))
    assert set(codes) <= {200, 503} and codes[200] >= 2
    assert turn(server, None, 0).status_code == 200


def test_what_a_client_waits_for_no_more_is_not_computed(serve, store, tmp_path):
    handler = SLOW.replace("time.sleep(", 'open("' + str(tmp_path / "seen") + '", "a").write("x"); time.sleep(')
    server = start(serve, store, handler=handler,
                   config={"sequenceBatching": None, "clientTimeoutInMills": 500, "batchSize": 1})
    first = later(turn, server, None, 3)
    wait_for(lambda: (tmp_path / "seen").exists(), 10, "its begin")
    waiting = [later(turn, server, None, 0) for _ in range(6)]
    answers = [w.result(10) for w in waiting]
    late = [r for r in answers if r.status_code == 408]
    assert len(late) == 6 and not first.done()
    assert late[0].json()["type"] == "RequestTimeoutException"
    assert "clientTimeoutInMills" in late[0].json()["message"]
    assert first.result(10).status_code == 200  # it was being computed
    assert len((tmp_path / "seen").read_text()) == 1
    assert turn(server, None, 0).status_code == 200


def test_a_late_turn_lets_the_next_come(serve, store):
    server = start(serve, store, config={"clientTimeoutInMills": 700})
    first = later(turn, server, "s", "sleep 2")
    server.wait_busy()
    assert turn(server, "s", 100).status_code == 408
    assert first.result(10).status_code == 200
    assert total(server, "s", 2) == 2

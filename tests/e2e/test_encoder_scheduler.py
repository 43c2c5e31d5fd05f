"""The executor's scheduler with the real encoder (docs/internals/encoder.md): long lists delay nobody, and are answered
in order; workers are lanes of one process."""
import json
import os
import threading

import pytest

from harness import ROOT, wait_for

WORDS = ("the cat sat on mat", "der die und ist ein", "le la et est un", "yes no yes", "cat", "hund und cat ?")


def put(store, name, **settings):
    """The folder of bert-tiny with settings of its own."""
    folder = store / name
    folder.mkdir(parents=True)
    for file in (ROOT / "tests" / "data" / "bert-tiny").iterdir():
        os.symlink(file, folder / file.name)
    (folder / "model-config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in settings.items()))
    return name


def text(i):
    return f"{WORDS[i % len(WORDS)]} {'abcdefgh'[i * i % 8]} {i % 10}"


class Lists:
    """Lists of n texts, sent at the same time and answered whenever."""

    def __init__(self, server, model, count, n):
        self.body = json.dumps([text(i) for i in range(n)])
        self.answers = [None] * count
        self.threads = [threading.Thread(target=self.send, args=(server, model, i)) for i in range(count)]
        for t in self.threads:
            t.start()

    def send(self, server, model, i):
        self.answers[i] = server.post(f"/predictions/{model}", data=self.body, timeout=300,
                                      headers={"Content-Type": "application/json"})

    def open(self):
        return sum(t.is_alive() for t in self.threads)

    def join(self):
        for t in self.threads:
            t.join()
        return [a.json() for a in self.answers]


def one(server, model, i):
    return server.post(f"/predictions/{model}", data=text(i), headers={"Content-Type": "text/plain"}, timeout=120).json()[0]


@pytest.mark.parametrize("lanes, lists", [(1, 1), (2, 8)])
def test_a_long_list_delays_nobody(serve, tmp_path, lanes, lists):
    """More lists than the executor is given at once, and single texts behind them: all singles are answered while all
    lists are being computed. The lists grow until they take long enough on this machine."""
    store = tmp_path / "store"
    name = put(store, "tiny", minWorkers=lanes, maxWorkers=lanes, maxBatchTokens=48, maxTexts=1000000)
    server = serve(models={"tiny": name}, store=store)
    want = {i: one(server, "tiny", i) for i in range(12)}
    for n in (2000, 8000, 32000):
        sent = Lists(server, "tiny", lists, n)
        wait_for(lambda: server.metric("sconce_in_flight") or not sent.open(), 60, "the lists to arrive")
        got = {i: one(server, "tiny", i) for i in range(12)}
        left = sent.open()
        answers = sent.join()
        assert got == want
        for answer in answers:
            assert len(answer) == n
            assert all(answer[i] == want[i] for i in want), "a list's answers are in the order of its texts"
        if left == lists:
            return
    pytest.fail("single texts were answered behind long lists")


def test_workers_are_lanes(serve, tmp_path):
    store = tmp_path / "store"
    name = put(store, "tiny", minWorkers=3, maxWorkers=3)
    server = serve(models={"tiny": name}, store=store)
    pid = server.pid("executor")  # waits for it: a server is healthy before its models are there

    def workers():
        return server.get("/models/tiny", api="management").json()[0]["workers"]

    wait_for(lambda: pid in [w["pid"] for w in workers()], 10, "its pid")
    assert [w["pid"] for w in workers()] == [pid] * 3
    assert len(server.pids("executor")) == 1
    assert server.put("/models/tiny?min_worker=2&synchronous=true").status_code == 200
    wait_for(lambda: len(workers()) == 2, 30, "two lanes")
    assert one(server, "tiny", 0)["label"]

"""Workers of several processes: torchrun starts ranks, every one gets the batches, one answers (docs/running.md).

They need an interpreter with torch: SCONCE_TORCH_PYTHON, or build/venv-torch."""
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import Load
from harness import alive, read_proc, send, title, wait_for, wire
from python_models import folder, python_with

TORCH = python_with("torch")
LOAD_SECONDS = 120

pytestmark = pytest.mark.skipif(not TORCH, reason="needs an interpreter with torch (SCONCE_TORCH_PYTHON)")

SUM = """
    import os, sys, time
    import torch
    import torch.distributed as dist
    from ts.handler_utils.utils import send_intermediate_predict_response

    class Handler:
        def initialize(self, context):
            dist.init_process_group("gloo")
            self.rank = dist.get_rank()
            self.initialized = True
            # In one write: the ranks share a pipe.
            sys.stdout.write("ranks: {} {LOCAL_RANK} {WORLD_SIZE} {OMP_NUM_THREADS}\\n".format(self.rank, **os.environ))
        def handle(self, data, context):
            out = []
            for i, row in enumerate(data):
                body = row.get("body")
                words = (body if isinstance(body, str) else bytes(body).decode()).split()
                if "part" in words:
                    send_intermediate_predict_response([str(self.rank)], context.request_ids, "", 200, context)
                if "die" in words and self.rank == 1:
                    os._exit(3)
                x = torch.tensor([float(words[0])])
                dist.all_reduce(x)
                out.append(f"{int(x.item())} {self.rank} {context.get_request_header(i, 'X-Who')} {len(data)}")
                if "sleep" in words:
                    time.sleep(0.05)
                if "hang" in words and self.rank == 1:
                    time.sleep(3600)
                if "raise" in words and self.rank == 1:
                    raise ValueError("rank 1 has its own opinion")
            return out
"""

# A rank that never starts: its initialization does not come to an end, or fails at once.
LAME = """
    import os, time
    class Handler:
        def initialize(self, context):
            if os.environ["LOCAL_RANK"] == "1":
                if context.model_yaml_config["how"] == "hangs":
                    time.sleep(3600)
                raise RuntimeError("no weights for this rank")
        def handle(self, data, context):
            return [b""] * len(data)
"""

# Continuous batching: every rank sees the same turns.
TURNS = """
    import torch
    import torch.distributed as dist

    class Handler:
        def initialize(self, context):
            dist.init_process_group("gloo")
            self.left = {}
        def handle(self, data, context):
            ids = [context.request_ids[i] for i in range(len(data))]
            for gone in set(self.left) - set(ids):
                del self.left[gone]
            for rid, row in zip(ids, data):
                self.left[rid] = self.left[rid] - 1 if rid in self.left else int(bytes(row["body"])) - 1
            x = torch.tensor([float(self.left[rid]) for rid in ids])
            dist.all_reduce(x)
            context.stopping_criteria = [lambda result, rid=rid: self.left[rid] <= 0 for rid in ids]
            return ["%d " % n for n in x.tolist()]
"""

COROUTINE = """
    async def handle(data, context):
        return [b"x"] * len(data)
"""

PIPELINE = """
    import os
    class Handler:
        def initialize(self, context):
            self.initialized = True
        def handle(self, data, context):
            if data is None:
                return None
            print("computes:", os.environ["LOCAL_RANK"], flush=True)
            return [os.environ["LOCAL_RANK"]] * len(data)
"""


def config(kind="tp", ranks=2, workers=1, **more):
    return {"minWorkers": workers, "maxWorkers": workers, "parallelType": kind, "deviceType": "cpu",
            "torchrun": f"{{nproc-per-node: {ranks}, OMP_NUMBER_THREADS: 1}}", **more}


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "store"
    path.mkdir()
    return path


def start(serve, store, *models, **settings):
    return serve(models={m: m for m in models}, store=store,
                 config={"python": TORCH, "system_metrics_cmd": "", "default_response_timeout": 60, **settings})


def workers(server, model):
    return server.get(f"/models/{model}", api="management").json()[0]["workers"]


def ready(server, model, n=1):
    def enough():
        found = [w for w in workers(server, model) if w["status"] == "READY"]
        return found if len(found) >= n else None
    return wait_for(enough, LOAD_SECONDS, f"{n} workers of {model}\n{server.log_tail(8)}")


def ranks(server):
    """rank -> pid, and the launcher under None."""
    found = {}
    for pid in server.processes():
        line = title(pid)
        if "torchrun" in line or "torch.distributed.run" in line:
            found[None] = pid
        elif "model_service_worker.py" in line:
            for entry in read_proc(pid, "environ").split(b"\0"):
                if entry.startswith(b"LOCAL_RANK="):
                    found[int(entry[11:])] = pid
    return found


def test_all_ranks_compute_and_one_answers(serve, store):
    folder(store, "tp", SUM, config=config(ranks=4, batchSize=4, maxBatchDelay=50))
    server = start(serve, store, "tp")
    worker = ready(server, "tp")[0]
    assert worker["id"] == "29500"
    there = ranks(server)
    assert sorted(r for r in there if r is not None) == [0, 1, 2, 3]
    assert worker["pid"] == there[0]
    assert "--nnodes 1 --nproc-per-node 4 --log-dir" in title(there[None])
    assert server.get("/models/tp", api="management").json()[0]["parallelLevel"] == 4

    # §19: body 42 on four ranks is 168
    assert server.post("/predictions/tp", data=b"42", headers={"X-Who": "me"}).text.split()[:3] == ["168", "0", "me"]
    with wire(server, timeout=60) as w:  # as a stream: rank 0's part, before the others have computed theirs
        chunks = w.ask("POST", "/predictions/tp", b"42 part").chunks
    assert [chunk.split()[0] for chunk in chunks] == [b"0", b"168"]

    def ask(i):
        return server.post("/predictions/tp", data=f"{i}", headers={"X-Who": f"n{i}"}).text.split()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))
    assert [a[:3] for a in answers] == [[str(4 * i), "0", f"n{i}"] for i in range(200)]
    assert max(int(a[3]) for a in answers) > 1  # batches, too, are the same everywhere
    def said(r):
        return f"ranks: {r} {r} 4 1" in server.logs()["model_log.log"]
    wait_for(lambda: all(said(r) for r in range(4)), what="a line of every rank")


def test_a_large_body_reaches_every_rank(serve, store):
    folder(store, "tp", SUM, config=config())
    server = start(serve, store, "tp")
    ready(server, "tp")
    for n in (10, 200_000, 5_000_000):
        assert server.post("/predictions/tp", data=b"21 " + b"x" * n).text.split()[0] == "42"


def test_in_a_pipeline_rank_0_alone_gets_the_batches(serve, store):
    folder(store, "pp", PIPELINE, config=config("pp"))
    server = start(serve, store, "pp")
    ready(server, "pp")
    assert {server.post("/predictions/pp", data=b"x").text for _ in range(5)} == {"0"}
    assert "computes: 1" not in server.logs()["model_log.log"]


def test_a_rank_that_dies_in_mid_stream(serve, store):
    folder(store, "tp", SUM, config=config())
    server = start(serve, store, "tp")
    ready(server, "tp")
    before = ranks(server)
    with wire(server, timeout=60) as w:
        w.send("POST /predictions/tp HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n1 part die")
        assert w.line().startswith("HTTP/1.1 200")
        with pytest.raises(EOFError):  # what has begun to stream is not run again
            while True:
                w.line()
    wait_for(lambda: not any(alive(p) for p in before.values()), 10, "the whole worker to be gone")


def test_turns_of_a_continuous_batch_reach_every_rank(serve, store):
    folder(store, "tp", TURNS, config=config(continuousBatching="true", batchSize=3))
    server = start(serve, store, "tp")
    ready(server, "tp")
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda n: server.post("/predictions/tp", data=str(n)).text, (5, 2, 8, 1, 3)))
    assert answers == ["".join(f"{2 * i} " for i in reversed(range(n))) for n in (5, 2, 8, 1, 3)]


def test_coroutines_of_several_ranks_are_refused_by_name(serve, store):
    folder(store, "tp", COROUTINE, config=config(asyncCommunication="true"))
    server = start(serve, store)
    answer = server.post("/models?url=tp&initial_workers=1&synchronous=true", api="management", timeout=LOAD_SECONDS)
    assert answer.status_code == 400, answer.text
    message = answer.json()["message"]
    assert "asyncCommunication" in message and "parallelType" in message, message
    assert server.get("/models/tp", api="management").status_code == 404


def test_what_another_rank_says_is_dropped(serve, store):
    folder(store, "tp", SUM, config=config())
    server = start(serve, store, "tp")
    ready(server, "tp")
    assert server.post("/predictions/tp", data=b"1 raise").text.split()[0] == "2"
    assert server.post("/predictions/tp", data=b"1").text.split()[0] == "2"
    # Nobody waits for rank 1: what it writes may come after the answers.
    wait_for(lambda: "rank 1 has its own opinion" in server.logs()["model_log.log"])


@pytest.mark.parametrize("victim", [1, 0, None], ids=["a rank", "rank 0", "the launcher"])
def test_a_death_under_load_is_seen_by_nobody(serve, store, victim):
    folder(store, "tp", SUM, config=config(batchSize=4, maxBatchDelay=5))
    server = start(serve, store, "tp")
    ready(server, "tp")
    before = ranks(server)
    with Load(server, "/predictions/tp", connections=8, body=b"3 sleep", patience=LOAD_SECONDS,
              right=lambda _, r: r.text.split()[0] == "6") as load:
        load.wait_for_answers(20)
        send(before[victim], signal.SIGKILL)
        wait_for(lambda: not any(alive(p) for p in before.values()), 10, "the whole worker to be gone")
        load.wait_for_answers(20, LOAD_SECONDS)
    assert not load.failures, load.failures[:3]
    now = ranks(server)
    assert not set(now.values()) & set(before.values())
    assert ready(server, "tp")[0]["id"] == "29500"


def test_a_hang_of_one_rank_is_answered_and_the_worker_replaced(serve, store):
    folder(store, "tp", SUM, config=config(responseTimeout=3))
    server = start(serve, store, "tp")
    ready(server, "tp")
    before = ranks(server)
    # Rank 0 has done its part of this one; the next waits for rank 1 for ever.
    assert server.post("/predictions/tp", data=b"1 hang").status_code == 200
    assert server.post("/predictions/tp", data=b"1").status_code == 500
    wait_for(lambda: not any(alive(p) for p in before.values()), 10, "the whole worker to be gone")
    ready(server, "tp")
    assert server.post("/predictions/tp", data=b"1").text.split()[0] == "2"


def test_a_rank_whose_load_fails_fails_the_worker(serve, store):
    folder(store, "lame", LAME, config=config(how="fails", maxRetryTimeoutInSec=0))
    server = start(serve, store)
    answer = server.post("/models?url=lame&initial_workers=1&synchronous=true", api="management", timeout=LOAD_SECONDS)
    assert answer.status_code == 500, answer.text
    assert "no weights for this rank" in "".join(server.logs().values())


def test_a_rank_that_does_not_start_is_named_after_startup_timeout(serve, store):
    folder(store, "lame", LAME, config=config(how="hangs", maxRetryTimeoutInSec=0, startupTimeout=30))
    server = start(serve, store)
    answer = server.post("/models?url=lame&initial_workers=1&synchronous=true", api="management", timeout=LOAD_SECONDS)
    assert answer.status_code == 500, answer.text
    wait_for(lambda: "did not load within 30 s (startupTimeout); rank 1 of 2 has not loaded" in server.logs()["ts_log.log"],
             5, f"the reason in the log\n{answer.text}\n{server.log_tail(5)}")


@pytest.mark.parametrize("who", ["supervisor", "frontend"])
def test_nothing_is_orphaned(serve, store, who):
    folder(store, "tp", SUM, config=config())
    server = start(serve, store, "tp")
    ready(server, "tp")
    before = ranks(server)
    server.kill_role(who)
    if who == "supervisor":
        server.process.wait(10)
        server.assert_nothing_left(2.0)
        return
    # The ranks live on, and a new frontend finds them.
    wait_for(lambda: server.post("/predictions/tp", data=b"4", timeout=5).text.split()[0] == "8", 20, "the next frontend")
    assert ranks(server) == before


def test_two_workers_at_once_have_a_rendezvous_each(serve, store):
    folder(store, "tp", SUM, config=config(workers=2))
    server = start(serve, store, "tp")
    assert sorted(w["id"] for w in ready(server, "tp", 2)) == ["29500", "29502"]
    first = next(p for p in server.processes() if "torchrun" in title(p))
    send(first, signal.SIGKILL)
    for _ in range(20):
        assert server.post("/predictions/tp", data=b"5").text.split()[0] == "10"
    ready(server, "tp", 2)
    server.put("/models/tp?min_worker=1&max_worker=1&synchronous=true", timeout=LOAD_SECONDS)
    assert len(ready(server, "tp")) == 1


def cpu_launcher_works():
    command = [TORCH, "-m", "torch.backends.xeon.run_cpu", "--no_python", "hostname"]
    return subprocess.run(command, capture_output=True, timeout=120).returncode == 0


def test_the_cpu_launcher(serve, store):
    if not cpu_launcher_works():
        pytest.skip("torch.backends.xeon.run_cpu does not work here")
    folder(store, "plain", """
        import os
        def handle(data, context):
            return None if data is None else [f"{os.getpid()} {len(os.sched_getaffinity(0))}"] * len(data)
    """, config={"minWorkers": 1, "maxWorkers": 1})
    server = start(serve, store, "plain", cpu_launcher_enable="true", cpu_launcher_args="--ncores-per-instance 1")
    pid = ready(server, "plain")[0]["pid"]
    assert server.post("/predictions/plain", data=b"x").text.split() == [str(pid), "1"]
    send(pid, signal.SIGKILL)
    wait_for(lambda: workers(server, "plain")[0]["pid"] != pid, 20, "the death to be noticed")
    assert ready(server, "plain")[0]["pid"] != pid
    server.kill_role("supervisor")
    server.process.wait(10)
    server.assert_nothing_left(2.0)

"""`sconce tune`: models whose best configuration is known, what goes wrong, and where the recommendation goes."""
import csv
import json
import os
import re
import signal
import subprocess
import xml.etree.ElementTree as xml

import pytest
from harness import MARK, alive, title, wait_for
from python_models import PYTHON, folder, mar

# A batch of n takes so long; above 16 three times that: 16 is best, by far.
COST = """
    import time
    def handle(data, context):
        if data is None:
            return None
        n = len(data)
        time.sleep((0.03 + 0.0005 * n) * (3 if n > 16 else 1))
        return ["ok"] * n
"""

# Answers are mixed up once there is more than one.
MIXED = """
    def handle(data, context):
        return data and [d["body"] for d in data][::-1]
"""


class Tune:
    def __init__(self, build, folder):
        self.program, self.folder, self.store = build / "sconce", folder, folder / "store"
        self.store.mkdir()
        self.env = {**os.environ, MARK: folder.name, "TMPDIR": str(folder)}

    def start(self, *args):
        return subprocess.Popen([self.program, "tune", *map(str, args)], cwd=self.folder, env=self.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self, *args, expect=0):
        process = self.start(*args)
        out, err = process.communicate(timeout=240)
        assert process.returncode == expect, f"{process.returncode}\n{out[-3000:]}\n{err[-2000:]}"
        assert self.servers() == [] and not list(self.folder.glob("sconce-bench-*"))
        return out, err

    def found(self, out="out"):
        j = json.loads((self.folder / out / "tune.json").read_text())
        return j, None if j["recommended"] is None else j["configurations"][j["recommended"]]

    def servers(self):
        def cwd(pid):
            try:
                return os.readlink(f"/proc/{pid}/cwd")
            except OSError:
                return ""
        return [p for p in map(int, filter(str.isdigit, os.listdir("/proc"))) if alive(p) and
                cwd(p).startswith(str(self.folder) + "/sconce-bench")]

    def identity(self, name="echo", config="backend: identity\n"):
        (self.store / name).mkdir()
        (self.store / name / "model-config.yaml").write_text(config)
        return f"store/{name}"


@pytest.fixture
def tune(build, tmp_path):
    return Tune(build, tmp_path)


def test_the_planted_best_is_recommended_applied_and_obeyed(tune, serve):
    """The archive says batchSize 2; what lies beside it goes over that, and the archive is not touched."""
    path = mar(tune.store, "cost", COST, config={"minWorkers": 1, "maxWorkers": 1, "batchSize": 2, "maxBatchDelay": 7})
    before = path.read_bytes()
    out, _ = tune.run("store/cost.mar", "-b", "x", "--expect", "ok", "--batches", "1,16,64", "-w", "1", "--budget", 12, "-o",
                      "out", "--apply")
    j, best = tune.found()
    assert best["batchSize"] == 16 and best["workers"] == 1 and best["gpuSharing"] == "cpu", out
    assert not j["partial"] and "batch 16, 1 worker" in j["reason"] and j["reason"] in out
    assert j["loading_s"] > 0 and j["machine"]["cores"] == str(os.cpu_count())
    points = [p for c in j["configurations"] for p in c["points"]]
    assert all(p["failed"] == 0 for p in points)
    assert all(sum(n for _, n in p["latency_ns"]["buckets"]) > 0 for p in best["points"] if p["rate"])
    rows = list(csv.DictReader(open(tune.folder / "out" / "points.csv")))
    assert len(rows) == len(points) and {r["batchSize"] for r in rows if r["recommended"] == "1"} == {"16"}
    for name in ("latency_by_rate", "rate_by_load", "configurations"):
        picture = xml.parse(tune.folder / "out" / f"{name}.svg").getroot()
        assert [e for e in picture.iter() if e.tag.endswith(("polyline", "circle", "rect"))], name
    html = (tune.folder / "out" / "report.html").read_text()
    assert html.count("<svg") == 3 and "<script" not in html and not re.search(r"(?:src|href)=|@import|url\(", html)
    xml.fromstring(re.search(r"<body>.*</body>", html, re.S)[0])

    beside = tune.store / "cost.mar.sconce.yaml"
    assert beside.read_text() == "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 16\n" and f"applied: store/{beside.name}" in out
    assert path.read_bytes() == before
    server = serve(store=tune.store, config=PYTHON)
    r = server.post("/models", api="management", params={"url": "cost.mar", "synchronous": "true"})
    assert r.status_code == 200, r.text
    shown = server.get("/models/cost", api="management").json()[0]
    assert (shown["batchSize"], shown["maxBatchDelay"], len(shown["workers"])) == (16, 7, 1)


def test_wrong_answers_are_never_recommended(tune):
    mar(tune.store, "mixed", MIXED)
    (tune.folder / "lines").write_text("one\ntwo\nthree\n")
    out, _ = tune.run("store/mixed.mar", "--lines", "lines", "--echo", "--batches", "1,8", "-w", "1", "--budget", 8, "-o", "out")
    j, best = tune.found()
    assert best["batchSize"] == 1
    other = j["configurations"][1]
    assert other["failed"] and "wrong body" in other["why"] and "batch 8, 1 worker not used" in out


def test_interrupted_it_reports_what_it_has_and_goes_on_later(tune):
    model = tune.identity()
    args = [model, "-b", "x", "--echo", "--batches", "1,2,4,8", "-w", "1", "-o", "out"]
    process = tune.start(*args, "--budget", 30)
    wait_for(lambda: (tune.folder / "out" / "tune.json").exists(), 60, "a first point")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 130 and "PARTIAL: interrupted" in out, err
    assert tune.servers() == []
    j, _ = tune.found()
    measured = [c for c in j["configurations"] if c["points"]]
    assert j["partial"] and measured and "interrupted" in (tune.folder / "out" / "report.html").read_text()
    assert "had another requests" in tune.run(*args, "-b", "y", "--resume", expect=2)[1]
    tune.run(*args, "--budget", 1, "--resume", "--apply")
    after, best = tune.found()
    assert not after["partial"] and after["began_ms"] == j["began_ms"] and best
    runs = measured[0]["points"][0]["runs"]
    assert after["configurations"][0]["points"][0]["runs"][:len(runs)] == runs
    text = (tune.store / "echo" / "model-config.yaml").read_text()
    assert text.startswith("backend: identity\nminWorkers: 1\nmaxWorkers: 1\nbatchSize: ")


def test_killed_it_leaves_no_server(tune):
    process = tune.start(tune.identity(), "-b", "x", "--budget", 600, "-o", "out")
    wait_for(lambda: any(title(p).startswith("sconce: frontend") for p in tune.servers()), 60, "the server")
    process.kill()
    process.communicate(timeout=90)
    wait_for(lambda: not tune.servers(), 60, "the server to end")


def test_a_ceiling_of_memory_leaves_nothing_to_recommend(tune):
    out, _ = tune.run(tune.identity(), "-b", "x", "--memory", "100M", "--memory", "1M", "--batches", "1,2", "--budget", 3, "-o",
                      "out", expect=1)
    j, best = tune.found()
    assert best is None and "could be used" in j["reason"]
    assert all("more than the ceiling of 1 MiB" in c["why"] for c in j["configurations"]) and "not used" in out


def test_a_p99_that_cannot_be_kept_is_said(tune):
    mar(tune.store, "cost", COST)
    out, _ = tune.run("store/cost.mar", "-b", "x", "--p99", "5ms", "--batches", "4", "-w", "1", "--budget", 2, "-o", "out",
                      expect=1)
    assert "keeps p99 below 5 ms" in out


def test_what_cannot_be_meant_is_refused_before_anything_starts(tune):
    model = tune.identity()
    (tune.folder / "file").write_text("")
    for args, said in (([], "which model"), (["none.mar", "-b", "x"], "none.mar"), ([model], "what is sent"),
                       ([model, model, "-b", "x"], "one model at a time"), ([model, "-b", "x", "--p99", "20"], "--p99"),
                       ([model, "-b", "x", "--budget", "soon"], "--budget"), ([model, "-b", "x", "--memory", "4"], "--memory"),
                       ([model, "-b", "x", "-c", "0"], "--concurrency"), ([model, "-b", "x", "-o", "file/out"], "file"),
                       ([model, "-b", "x", "--batch-size", "3"], "no option"), (["http://x/y.mar", "-b", "x"], "give the model's file")):
        out, err = tune.run(*args, expect=2)
        assert said in err and not out, (args, err)


def test_what_only_the_model_can_tell_is_refused_too(tune):
    model = tune.identity()
    for args, said in ((["--batches", "4,2"], "--batches"), (["--workers", "0"], "--workers"), (["--sharing", "mps"], "--sharing"),
                       (["--expect", "y"], "does not answer the first request well"), (["--resume", "-o", "none"], "tune.json")):
        assert said in tune.run(model, "-b", "x", *args, expect=2)[1], args


# ---- what lies beside a model ----


def test_what_lies_beside_a_model_goes_over_its_own_file(tune, serve):
    """Key by key; a handler sees both; the call goes over both."""
    mar(tune.store, "told", """
        import json
        def handle(data, context):
            return data and [json.dumps(context.model_yaml_config)] * len(data)
    """, config={"minWorkers": 1, "maxWorkers": 1, "batchSize": 2, "handler": "{a: 1, b: [x, 2.5]}"})
    (tune.store / "told.mar.sconce.yaml").write_text("batchSize: 6 # measured\nmine: 'ä'\n")
    tune.identity("echo", "backend: identity\nbatchSize: 3\nmaxWorkers: 1\n")
    (tune.store / "echo.sconce.yaml").write_text("batchSize: 9\nminWorkers: 1\n")
    (tune.store / "bad").mkdir()
    (tune.store / "bad" / "model-config.yaml").write_text("backend: identity\n")
    (tune.store / "bad.sconce.yaml").write_text("- 1\n")
    server = serve(store=tune.store, config=PYTHON)

    def register(url, **more):
        return server.post("/models", api="management", params={"url": url, "synchronous": "true", **more})
    assert register("told.mar").status_code == register("echo").status_code == 200
    shown = server.get("/models/told", api="management").json()[0]
    assert (shown["batchSize"], shown["minWorkers"]) == (6, 1)
    assert server.post("/predictions/told", data=b"x").json() == {"minWorkers": 1, "maxWorkers": 1, "batchSize": 6, "mine": "ä",
                                                                  "handler": {"a": 1, "b": ["x", 2.5]}}
    shown = server.get("/models/echo", api="management").json()[0]
    assert (shown["batchSize"], len(shown["workers"])) == (9, 1)
    r = register("bad")
    assert r.status_code == 400 and "bad.sconce.yaml" in r.text
    assert register("told.mar", model_name="other", batch_size=4).status_code == 200
    assert server.get("/models/other", api="management").json()[0]["batchSize"] == 4


def test_a_folder_with_a_manifest_is_tuned_like_an_archive(tune):
    """Its manifest names no configuration: what is written into the folder would not be read."""
    folder(tune.store, "m", COST)
    tune.run("store/m", "-b", "x", "--batches", "4", "-w", "1", "--budget", 2, "-o", "out", "--apply")
    assert "batchSize: 4" in (tune.store / "m.sconce.yaml").read_text()
    assert not (tune.store / "m" / "model-config.yaml").exists()

"""Snapshots of `torchserve`: when they are written, what is restored of them, and what of them ends a start."""
import re
import time
from pathlib import Path

import pytest
from harness import wait_for
from test_torchserve_cli import TorchServe

NAME = re.compile(r"\d{17}-(startup|snapshot|shutdown)\.cfg")
MISSING = "Model archive file for model :{}, version :1.0 not found in model store"


def files(server):
    return sorted((server.folder / "logs/config").glob("*.cfg"))


def kinds(server):
    return [NAME.fullmatch(f.name)[1] for f in files(server)]


def start(server, *args, config=True):
    """In the foreground, with what stands in the folder; `config`: the snapshots do not win over it."""
    named = ["--ts-config", server.config_file] if config else []
    server.process = server.popen("--foreground", "--disable-token", "--enable-model-api", *named, *args)
    server.wait_healthy(60)
    return server


def end(server):
    server.process.terminate()
    assert server.process.wait(30) is not None
    server.assert_nothing_left()


def refused(server, *args):
    """All that a start said that ended by itself."""
    said = server.output.stat().st_size
    process = server.popen("--foreground", "--model-store", server.store, *args)
    assert process.wait(60) == 0, "as TorchServe's launcher in the foreground"
    server.assert_nothing_left()
    return server.output.read_text()[said:]


def models(server):
    return {m["modelName"]: m["modelUrl"] for m in server.get("/models", api="management").json()["models"]}


def log(server, *lines):
    text = lambda: server.logs()["ts_log.log"]
    for line in lines:
        wait_for(lambda: line in text(), 10, line)
    places = [text().index(line) for line in lines]
    assert places == sorted(places)


@pytest.fixture
def ts(build, tmp_path):
    server = TorchServe(build=build, folder=tmp_path / "ts")
    yield lambda: server
    try:
        server.down()
    finally:
        server.kill()


@pytest.fixture
def saved(ts):
    """A server that was stopped, with a snapshot of the models `a` (one worker, as only a snapshot can know) and `b`."""
    server = start(ts(), "--models", "a=identity")
    assert server.put("/models/a?min_worker=2&max_worker=3&synchronous=true").status_code == 200
    assert server.post("/models?url=identity&model_name=b&batch_size=7", api="management").status_code == 200
    wait_for(lambda: any('"b"' in f.read_text() for f in files(server)[-1:]), 10, "a snapshot with b")
    end(server)
    return server


def change(server, old, new):
    """The newest snapshot, rewritten."""
    path = files(server)[-1]
    text = path.read_text()
    assert old in text, text
    path.write_text(text.replace(old, new))


def test_one_is_written_after_each_change(ts):
    server = start(ts(), "--models", "a=identity")
    wait_for(lambda: kinds(server) == ["startup"], 10, "the first")
    for method, path in [("POST", "/models?url=identity&model_name=b"), ("PUT", "/models/b?min_worker=1&synchronous=true"),
                         ("PUT", "/models/b/1.0/set-default"), ("DELETE", "/models/b")]:
        before = len(files(server))
        assert server.request(method, path, "management").status_code == 200
        wait_for(lambda: len(files(server)) == before + 1, 10, f"one behind {method} {path}")
    assert server.request("DELETE", "/models/nobody", "management").status_code == 404
    end(server)
    assert kinds(server) == ["startup", *["snapshot"] * 4, "shutdown"]
    text = files(server)[-1].read_text()
    assert text.startswith("#Saving snapshot\n#") and '"modelCount"\\: 1' in text


def test_what_was_served_is_served_again_with_the_snapshots_numbers(saved):
    start(saved, "--models", "c=identity", config=False)
    assert set(models(saved)) == {"a", "b"}, "--models does not count"
    a, b = (saved.get(f"/models/{m}", api="management").json()[0] for m in "ab")
    assert (a["minWorkers"], a["maxWorkers"], b["minWorkers"], b["batchSize"]) == (2, 3, 0, 7)
    name = files(saved)[0]
    log(saved, "Started restoring models from snapshot", "Validating snapshot", "validated successfully")
    end(saved)
    # By name, also with --ncs, which then writes none.
    old, count = files(saved)[-1], len(files(saved))
    start(saved, "--ncs", "--ts-config", old, config=False)
    assert set(models(saved)) == {"a", "b"}
    end(saved)
    assert len(files(saved)) == count
    # And without: nothing of it.
    start(saved, "--ncs")
    assert models(saved) == {}
    end(saved)
    assert name.exists()


def test_a_missing_archive_ends_the_start(saved):
    change(saved, '"marName"\\: "identity"', '"marName"\\: "gone.tar.gz"')
    assert f"Invalid configuration: {MISSING.format('a')}" in refused(saved)
    # A folder or a file of that name is enough to be served, or to be reported as what it is.
    (saved.store / "gone.tar.gz").write_bytes(b"no archive")
    start(saved, config=False)
    log(saved, "Error while registering model. Details: ")
    end(saved)


def test_a_truncated_one_ends_the_start_and_is_named(saved):
    path = files(saved)[-1]
    text = path.read_text()
    at = text.index("model_snapshot=")
    rest = "\n".join(line for line in text.splitlines() if not line.startswith("model_snapshot="))
    for cut in ("", rest, text[:at + 150], rest + "\nmodel_snapshot=x"):
        path.write_text(cut)
        said = refused(saved)
        assert path.name in said and "model_snapshot" in said, (cut, said)
    path.unlink()
    start(saved, config=False)
    assert set(models(saved)) == {"a", "b"}, "the one before it"
    end(saved)


def test_a_value_that_cannot_be_ends_the_start(saved):
    whole = files(saved)[-1].read_text()
    for old, new, named in [
        ('"minWorkers"\\: 2', '"minWorkers"\\: "two"', "integer"), ('"minWorkers"\\: 2', '"minWorkers"\\: -1', "minWorkers"),
        ('"batchSize"\\: 7', '"batchSize"\\: 99999999999', "integer"), ('"maxBatchDelay"', '"maxBatchDelays"', "maxBatchDelay"),
        ('"runtimeType"\\: "python"', '"runtimeType"\\: "perl"', "runtimeType"),
        ('"defaultVersion"\\: true', '"defaultVersion"\\: 1', "true or false"),
        ('"marName"\\: "identity"', '"marName"\\: "../identity"', "not found in model store"),
    ]:
        change(saved, old, new)
        assert named in refused(saved)
        files(saved)[-1].write_text(whole)


def test_one_without_models_says_so(saved):
    path = files(saved)[-1]
    text = path.read_text()
    path.write_text(re.sub(r"^model_snapshot=.*$", r'model_snapshot={"name"\: "x", "modelCount"\: 0, "models"\: {}}', text, flags=re.M))
    start(saved, config=False)
    assert models(saved) == {}
    log(saved, "Model snapshot is empty. Starting TorchServe without initial models.")
    end(saved)


def test_strangers_among_them_do_not_count(saved):
    folder = saved.folder / "logs/config"
    for name in ("zzz.cfg", "99991231-x.cfg", "99991231235959999-startup.cfg.bak", "99991231235959999startup.cfg", ".hidden"):
        (folder / name).write_text("model_snapshot=broken\n")
    start(saved, config=False)
    assert set(models(saved)) == {"a", "b"}
    end(saved)


def test_a_folder_that_cannot_be_written_stops_nobody(ts):
    server = ts()
    (server.folder / "logs").mkdir()
    (server.folder / "logs/config").write_text("a file")
    start(server, "--models", "a=identity")
    log(server, "the snapshot cannot be written")
    assert server.post("/models?url=identity&model_name=b&initial_workers=1", api="management").status_code == 200
    end(server)


def test_what_happens_at_once_is_in_the_last(ts):
    server = start(ts(), "--models", "a=identity")
    for i in range(30):
        assert server.post(f"/models?url=identity&model_name=m{i}", api="management").status_code == 200
    wait_for(lambda: any('"modelCount"\\: 31' in f.read_text() for f in files(server)[-1:]), 10, "all of them")
    assert len({f.name for f in files(server)}) <= 31
    end(server)
    newest = Path(files(server)[-1])
    assert '"modelCount"\\: 31' in newest.read_text() and time.time() - newest.stat().st_mtime < 60

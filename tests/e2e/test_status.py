"""`sconce status` and `sconce stop`: finding the servers of this machine, and what is told about them."""
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest
from harness import alive, wait_for


def command(server, *args, **more):
    """(exit code, standard output, standard error) of the program, with the server's own pid named."""
    done = subprocess.run([server.program, *map(str, args)], env=server.env, capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, cwd=server.folder, **more)
    return done.returncode, done.stdout, done.stderr


def status(server, *args):
    return command(server, "status", "--pid", server.pid("supervisor"), *args)


@pytest.fixture
def echo_server(serve):
    server = serve(models={"echo": "identity"}, config={"default_workers_per_model": 2})
    assert server.post("/predictions/echo", data=b"1").content == b"1"
    return server


def test_models_and_workers_are_shown_in_columns(echo_server):
    code, out, err = status(echo_server)
    assert (code, err) == (0, "")
    head, addresses, empty, *table = out.splitlines()
    assert head.startswith(f"sconce, pid {echo_server.pid('supervisor')}, up ")
    assert head.endswith(f", in {echo_server.folder}")
    assert addresses == f"inference {echo_server.url('')}, management {echo_server.url('', 'management')}"
    assert empty == ""
    assert table[0].split() == ["MODEL", "VERSION", "WORKERS", "QUEUE", "RUNTIME"]
    assert table[1].split() == ["echo", "1.0", "*", "2/2", "0", "identity"]
    assert [table[0].index(w) for w in ("VERSION", "WORKERS", "RUNTIME")] == [
        table[1].index(w) for w in ("1.0", "2/2", "identity")]
    executor = echo_server.pid("executor")
    assert [line.split()[:5] for line in table[2:]] == [["worker", str(9000 + i), "READY", "pid", str(executor)] for i in (0, 1)]
    assert "\033" not in out


def test_the_same_as_json(echo_server):
    code, out, _ = status(echo_server, "--json")
    told = json.loads(out)
    assert code == 0 and out.count("\n") == 1
    assert told["server"]["pid"] == echo_server.pid("supervisor")
    assert told["server"]["face"] == "sconce"
    assert told["managementAddress"] == echo_server.url("", "management")
    assert told["well"] is True
    (model,) = told["models"]
    assert (model["modelName"], model["modelVersion"], model["default"]) == ("echo", "1.0", True)
    assert len(model["workers"]) == 2 and model["jobQueueStatus"]["pendingRequests"] == 0


def test_every_version_and_which_is_the_default(echo_server):
    r = echo_server.post("/models?url=identity&model_name=echo&model_version=2.0&initial_workers=1", api="management")
    assert r.status_code == 200
    told = json.loads(status(echo_server, "--json")[1])
    assert {(m["modelVersion"], m["default"]) for m in told["models"]} == {("1.0", True), ("2.0", False)}


def test_names_that_need_escapes_are_asked_for(serve):
    server = serve(models={"grün & 100%": "identity"})
    wait_for(lambda: status(server)[0] == 0, 30, "the model to be ready")
    code, out, _ = status(server)
    assert code == 0 and "\ngrün & 100%  1.0 *" in out


def test_a_server_without_models(serve):
    code, out, _ = status(serve())
    assert code == 0 and out.endswith("\nno models\n")


def test_missing_workers_are_told_by_the_exit_code(serve, tmp_path):
    model = tmp_path / "broken"
    (model / "MAR-INF").mkdir(parents=True)
    (model / "MAR-INF/MANIFEST.json").write_text('{"model": {"modelName": "broken", "modelVersion": "1.0", "handler": "h.py"}}')
    (model / "h.py").write_text("raise RuntimeError('no')\n")
    server = serve(models={"broken": model}, config={"default_workers_per_model": 1})
    code, out, _ = status(server)
    assert code == 1
    assert re.search(r"^broken +1\.0 \* +0/1 ", out, re.M)
    assert json.loads(status(server, "--json")[1])["well"] is False


def test_on_a_terminal_there_is_colour_unless_it_is_not_wanted(echo_server):
    def on_terminal(**env):
        master, slave = pty.openpty()
        pid = str(echo_server.pid("supervisor"))
        p = subprocess.Popen([echo_server.program, "status", "--pid", pid], env={**echo_server.env, **env}, stdout=slave)
        assert p.wait(30) == 0
        os.close(slave)
        out = os.read(master, 65536)
        os.close(master)
        return out

    assert b"\033[32mREADY" in on_terminal()
    assert b"\033" not in on_terminal(NO_COLOR="1")


def test_watching_looks_again_and_again(echo_server):
    p = subprocess.Popen([echo_server.program, "status", "--watch", "--json", "--pid", str(echo_server.pid("supervisor"))],
                         env=echo_server.env, stdout=subprocess.PIPE, text=True)
    try:
        first = json.loads(p.stdout.readline())
        assert [m["modelName"] for m in first["models"]] == ["echo"]
        echo_server.delete("/models/echo")
        end = time.monotonic() + 30
        while json.loads(p.stdout.readline())["models"]:
            assert time.monotonic() < end
    finally:
        p.kill()
        p.wait()
        p.stdout.close()


def test_an_address_instead_of_a_process(serve):
    server = serve(unix=True, models={"echo": "identity"})
    wait_for(lambda: server.get("/models/echo", "management").json()[0]["workers"][0]["status"] == "READY", 30, "the worker")
    for address in (f"unix:{server.sockets['management']}",):
        code, out, _ = command(server, "status", "--address", address)
        assert code == 0 and out.startswith(f"management {address}\n") and "\necho  " in out


def test_a_key_is_sent_if_there_is_one(echo_server):
    """The server of this test wants none and does not mind; that it arrives is seen with a listener of our own."""
    import socket
    import threading
    (echo_server.folder / "key_file.json").write_text('{"management": {"key": "secret-1"}, "API": {"key": "other"}}')
    heard = []
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()

        def answer():
            c, _ = s.accept()
            heard.append(c.recv(65536))
            c.sendall(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\ne\r\n{"models": []}\r\n0\r\n\r\n')
            c.close()

        t = threading.Thread(target=answer)
        t.start()
        code, out, _ = command(echo_server, "status", "--address", f"http://127.0.0.1:{s.getsockname()[1]}")
        t.join(10)
    assert code == 0 and out.endswith("no models\n")
    assert b"\r\nAuthorization: Bearer secret-1\r\n" in heard[0]


@pytest.mark.parametrize("answer", [
    b"", b"hello\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n\r\nnot json",
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
])
def test_what_answers_is_no_server(echo_server, answer):
    import socket
    import threading
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()

        def play():
            c, _ = s.accept()
            c.recv(65536)
            c.sendall(answer)
            c.close()

        t = threading.Thread(target=play)
        t.start()
        code, out, err = command(echo_server, "status", "--address", f"http://127.0.0.1:{s.getsockname()[1]}")
        t.join(10)
    assert (code, out) == (4, "") and err.startswith("sconce status: http://127.0.0.1:")


def test_nobody_listens_there(echo_server):
    code, _, err = command(echo_server, "status", "--address", "http://127.0.0.1:1")
    assert code == 4 and "http://127.0.0.1:1" in err
    assert command(echo_server, "status", "--address", "127.0.0.1:8081")[0] == 4


def test_a_pid_that_is_no_server(echo_server):
    for name in ("status", "stop"):
        code, _, err = command(echo_server, name, "--pid", os.getpid())
        assert code == 3 and f"there is no server with pid {os.getpid()}" in err


def test_with_several_servers_one_must_be_named(serve):
    servers = [serve(), serve()]
    for name in ("status", "stop"):
        code, _, err = command(servers[0], name)
        assert code == 4 and "say which with --pid" in err
    assert all(alive(s.pid("supervisor")) for s in servers)


@pytest.mark.parametrize("args", [["--pid", "x"], ["--pid", "0"], ["word"], ["--nothing"]])
def test_wrong_words(echo_server, args):
    for name in ("status", "stop"):
        assert command(echo_server, name, *args)[0] == 2


# ---- stop ----


def test_stop_waits_for_the_end(echo_server):
    pid = echo_server.pid("supervisor")
    assert command(echo_server, "stop", "--pid", pid) == (0, f"the server with pid {pid} has stopped\n", "")
    assert not alive(pid)
    assert echo_server.process.wait(10) == 0


def slow_request(server):
    from harness import wire
    w = wire(server, timeout=60)
    w.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nha")
    time.sleep(0.1)
    return w


def test_stop_tells_that_requests_hold_it_up(echo_server):
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server) as slow:
        code, out, err = command(echo_server, "stop", "--pid", pid, "--wait", "1")
        assert (code, out) == (1, "") and f"pid {pid} is still running after 1 s" in err
        slow.send("ha")
        assert slow.reply().content == b"haha"
    assert echo_server.process.wait(30) == 0


def test_a_second_stop_cuts_nothing(echo_server):
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server) as slow:
        for _ in range(3):
            assert command(echo_server, "stop", "--pid", pid, "--wait", "0")[0] == 0
            time.sleep(0.05)  # two of the same signal could become one
        assert alive(pid)
        slow.send("ha")
        assert slow.reply().content == b"haha"
    assert echo_server.process.wait(30) == 0


def test_a_signal_that_comes_twice_at_once_cuts_nothing(echo_server):
    """timeout(1) sends it to its child, and to its group."""
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server) as slow:
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.01)  # two of the same signal could become one
        os.kill(pid, signal.SIGTERM)
        time.sleep(0.5)
        assert alive(pid)
        slow.send("ha")
        assert slow.reply().content == b"haha"
    assert echo_server.process.wait(30) == 0


def test_now_ends_one_that_finishes_its_requests(echo_server):
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server):
        assert command(echo_server, "stop", "--pid", pid, "--wait", "0")[0] == 0
        assert command(echo_server, "stop", "--pid", pid, "--now")[0] == 0
    assert echo_server.process.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)


def test_stop_now_does_not_wait_for_requests(echo_server):
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server):
        assert command(echo_server, "stop", "--pid", pid, "--now")[0] == 0
    assert echo_server.process.wait(10) in (128 + signal.SIGINT, 128 + signal.SIGTERM)  # whichever was read last


def test_stop_need_not_wait(echo_server):
    pid = echo_server.pid("supervisor")
    with slow_request(echo_server) as slow:
        assert command(echo_server, "stop", "--pid", pid, "--wait", "0") == (0, "", "")
        slow.send("ha")
        assert slow.reply().content == b"haha"
    assert echo_server.process.wait(30) == 0

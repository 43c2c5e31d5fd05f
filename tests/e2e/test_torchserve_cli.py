"""The command `torchserve` as scripts use it: its words, its messages, its exit codes, its PID file."""
import re
import signal
import socket
import subprocess
import time

import harness
import pytest
from harness import alive, read_proc, send, wait_for

ALREADY = "TorchServe is already running, please use torchserve --stop to stop TorchServe.\n"
ORPHAN = "Removing orphan pid file.\n"
NOT_RUNNING = "TorchServe is not currently running.\n"
STOPPED = "TorchServe has stopped.\n"
VERSION = "TorchServe Version is 0.12.0\n"


class TorchServe(harness.Server):
    """A folder from which torchserve is called. Ports and model store stand in config.properties there."""

    def __init__(self, *, build, folder, **more):
        super().__init__(build=build, folder=folder, **more)
        self.temp = self.folder / "tmp"
        self.temp.mkdir()
        self.pid_file = self.temp / ".model_server.pid"
        self.env["TMPDIR"] = str(self.temp)
        for name in ("TEMP", "TMP", "TS_CONFIG_FILE", "LOG_LOCATION", "METRICS_LOCATION"):
            self.env.pop(name, None)

    def popen(self, *args, env=None, program="torchserve", **more):
        command = [self.program.parent / program] if isinstance(program, str) else [self.program, "torchserve"]
        with open(self.output, "ab") as out:
            return subprocess.Popen([*command, *map(str, args)], cwd=self.folder, env={**self.env, **(env or {})},
                                    **{"stdin": subprocess.DEVNULL, "stdout": out, "stderr": subprocess.STDOUT, **more})

    def run(self, *args, **more):
        """(exit code, standard output, standard error) of a command that starts no server, or does not wait for it:
        its output is a file, which a server keeps open."""
        paths = [self.folder / f"{name}{time.monotonic_ns()}" for name in ("out", "err")]
        with open(paths[0], "wb") as out, open(paths[1], "wb") as err:
            code = self.popen(*args, stdout=out, stderr=err, **more).wait(30)
        return code, *(p.read_text() for p in paths)

    def up(self, *args, **more):
        """Starts a server in the background and waits until it serves."""
        process = self.popen("--ts-config", self.config_file, "--ncs", "--disable-token", *args, **more)
        assert process.wait(30) == 0
        wait_for(self.answers, 60, f"the server to answer\n{self.output.read_text()}")
        return self

    def answers(self):
        try:
            return self.get("/ping", timeout=5).status_code == 200
        except OSError:
            return False

    def file_pid(self):
        return int(self.pid_file.read_text())

    def down(self):
        """Ends what runs, however it was started; nothing may be left."""
        for pid in self.pids("supervisor"):
            send(pid, signal.SIGTERM)
        wait_for(lambda: not self.processes(), 30, f"the end of\n{self.tree()}")
        self.assert_nothing_left()


@pytest.fixture
def ts(build, tmp_path):
    made = []

    def make(**settings):
        made.append(TorchServe(build=build, folder=tmp_path / f"ts{len(made)}", **settings))
        return made[-1]

    yield make
    try:
        for server in made:
            server.down()
    finally:
        for server in made:
            server.kill()


# ---- words ----


def test_the_version(ts):
    assert ts().run("--version") == (0, VERSION, "")
    assert ts().run("-v") == (0, VERSION, "")
    assert ts().run("-v", program=("sconce", "torchserve")) == (0, VERSION, "")


def test_help_goes_to_standard_output(ts):
    code, out, err = ts().run("--help")
    assert (code, err) == (0, "")
    assert out.startswith("usage: torchserve [-h] [-v | --start | --stop] ")
    for word in ("--ts-config", "--no-config-snapshots, --ncs", "--disable-token-auth, --dt", "--enable-model-api"):
        assert f"  {word}" in out


# What Python's argparse says to the same options.
@pytest.mark.parametrize("args, error", [
    (["--mod", "x"], "ambiguous option: --mod could match --model-store, --models"),
    (["--model"], "ambiguous option: --model could match --model-store, --models"),
    (["--mode=q"], "ambiguous option: --mode=q could match --model-store, --models"),
    (["--start", "--stop"], "argument --stop: not allowed with argument --start"),
    (["--stop", "-v"], "argument -v/--version: not allowed with argument --stop"),
    (["--ncs=1"], "argument --no-config-snapshots/--ncs: ignored explicit argument '1'"),
    (["--stop="], "argument --stop: ignored explicit argument ''"),
    (["-vx"], "argument -v/--version: ignored explicit argument 'x'"),
    (["-ncs"], "unrecognized arguments: -ncs"),
    (["--ts-config"], "argument --ts-config: expected one argument"),
    (["--ts-config", "--ncs"], "argument --ts-config: expected one argument"),
    (["--models", "--ncs"], "argument --models: expected at least one argument"),
    (["--models=a", "b"], "unrecognized arguments: b"),
    (["--models", "a", "--", "b"], "unrecognized arguments: -- b"),
    (["serve", "--no-such-flag", "--port", "8080"], "unrecognized arguments: serve --no-such-flag --port 8080"),
    (["-"], "unrecognized arguments: -"),
])
def test_wrong_words_are_refused_as_argparse_does(ts, args, error):
    code, out, err = ts().run(*args)
    assert (code, out) == (2, "")
    assert err.startswith("usage: torchserve [-h]")
    assert err.endswith(f"\ntorchserve: error: {error}\n")


def test_any_unambiguous_prefix_is_taken(ts):
    assert ts().run("--vers") == (0, VERSION, "")
    assert ts().run("--sto") == (0, NOT_RUNNING, "")
    assert ts().run("--log-conf=/no/such") == (1, "--log-config file not found: /no/such\n", "")


def test_the_last_of_repeated_options_counts(ts):
    _, out, _ = ts().run("--ts-config", "/no/such/a", "--ts-config", "/no/such/b")
    assert out == "--ts-config file not found: /no/such/b\n"


# ---- what is looked at before the start ----


@pytest.mark.parametrize("option, what", [
    ("--ts-config", "file"), ("--log-config", "file"), ("--cpp-log-config", "file"),
    ("--model-store", "directory"), ("--workflow-store", "directory"),
])
def test_a_missing_file_or_folder_is_named(ts, option, what):
    server = ts()
    code, out, _ = server.run("--model-store", server.store, option, "/no/such/thing")
    assert (code, out) == (1, f"{option} {what} not found: /no/such/thing\n")
    assert not server.pid_file.exists()


def test_a_log_config_is_named_with_its_full_path(ts):
    server = ts()
    _, out, _ = server.run("--log-config", "log4j2.xml")
    assert out == f"--log-config file not found: {server.folder}/log4j2.xml\n"


def test_a_store_is_a_folder_and_a_config_is_a_file(ts):
    server = ts()
    assert server.run("--model-store", server.config_file)[:2] == (
        1, f"--model-store directory not found: {server.config_file}\n")
    assert server.run("--ts-config", server.store)[:2] == (1, f"--ts-config file not found: {server.store}\n")


def test_a_model_store_is_mandatory(ts):
    server = ts(config={"model_store": None})
    missing = (1, "Missing mandatory parameter --model-store\n", "")
    assert server.run("--start") == missing
    assert server.run() == missing  # starting is what is done without a word
    assert server.run("--ts-config", server.config_file) == missing


def test_the_environment_names_the_config_file_and_beats_the_option(ts):
    server = ts()
    code, out, _ = server.run("--ts-config", server.config_file, env={"TS_CONFIG_FILE": "/no/such/file"})
    assert (code, out) == (1, "--ts-config file not found: /no/such/file\n")


def test_a_temporary_folder_that_is_none(ts):
    server = ts()
    code, out, _ = server.run("--model-store", server.store, env={"TEMP": "/no/such/folder"})
    assert (code, out) == (1, "Invalid temp directory: /no/such/folder, please check TEMP environment variable.\n")


def test_options_of_the_java_machine_are_told_and_ignored(ts):
    server = ts(config={"vmargs": "-Xmx4g"}, models={"echo": "identity"})
    server.up("--models", "echo=identity", "--plugins-path", "/no/such/jars")
    assert "Warning: TorchServe is using non-default JVM parameters: -Xmx4g\n" in server.output.read_text()


# ---- starting and stopping ----


def test_a_server_is_started_in_the_background_and_stopped(ts):
    server = ts()
    began = time.monotonic()
    server.up("--models", "echo=identity")
    assert server.post("/predictions/echo", data=b"hello").content == b"hello"

    text = server.pid_file.read_text()
    assert re.fullmatch(r"[1-9][0-9]*", text)
    assert int(text) == server.pid("supervisor")
    wait_for(lambda: "\nModel server started.\n" in server.output.read_text(), 10, "the line that tools wait for")
    assert time.monotonic() - began < 60

    (server.folder / "key_file.json").write_text("{}")
    assert server.run("--stop") == (0, STOPPED, "")
    assert not server.pid_file.exists()
    assert not (server.folder / "key_file.json").exists()
    assert server.run("--stop") == (0, NOT_RUNNING, "")
    wait_for(lambda: not alive(int(text)), 30, "the server to end")


def test_the_launcher_does_not_wait_for_the_server(ts):
    server = ts()
    server.up()
    supervisor = server.pid("supervisor")
    parent = harness.all_stats()[supervisor][1]
    assert b"torchserve" not in read_proc(parent, "cmdline").split(b"\0")[0]  # its launcher has gone


def test_a_second_start_is_refused(ts):
    server = ts()
    server.up()
    first = server.file_pid()
    assert server.run("--ts-config", server.config_file) == (1, ALREADY, "")
    assert server.run("--start", "--foreground", "--model-store", server.store) == (1, ALREADY, "")
    assert server.run("-v") == (0, VERSION, "")
    assert server.file_pid() == first and server.answers()


def test_starts_at_the_same_time_make_one_server(ts):
    server = ts()
    starts = [server.popen("--ts-config", server.config_file, "--ncs", "--disable-token") for _ in range(6)]
    assert sorted(p.wait(30) for p in starts) == [0, 1, 1, 1, 1, 1]
    wait_for(server.answers, 60, "the server to answer")
    assert server.file_pid() == server.pid("supervisor")


@pytest.mark.parametrize("content", ["{dead}", "{dead}\n", "", "nonsense", "-1", "99999999999999999999"])
def test_a_pid_file_of_nobody_is_removed(ts, content):
    server = ts()
    child = subprocess.Popen(["true"])
    child.wait()
    for args, after in ((["--stop"], NOT_RUNNING), (["-v"], VERSION)):
        server.pid_file.write_text(content.format(dead=child.pid))
        assert server.run(*args) == (0, ORPHAN + after, "")
        assert not server.pid_file.exists()


def test_a_start_goes_on_behind_a_pid_file_of_nobody(ts):
    server = ts()
    server.up()
    for pid in server.processes():
        send(pid, signal.SIGKILL)
    wait_for(lambda: not server.processes(), 10, "the end of the killed server")
    server.up()
    assert ORPHAN in server.output.read_text()
    assert server.file_pid() == server.pid("supervisor")


def test_a_foreign_process_is_left_alone(ts):
    server = ts()
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        server.pid_file.write_text(str(stranger.pid))
        assert server.run("--stop") == (0, NOT_RUNNING, "")
        assert server.pid_file.read_text() == str(stranger.pid)
        server.up()
        assert server.file_pid() == server.pid("supervisor")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_server_that_another_command_started_is_foreign(ts, serve):
    other = serve()
    server = ts()
    server.pid_file.write_text(str(other.pid("supervisor")))
    assert server.run("--stop") == (0, NOT_RUNNING, "")
    assert other.get("/ping").status_code == 200


def test_a_link_in_place_of_the_pid_file_is_not_followed(ts):
    server = ts()
    victim = server.folder / "victim"
    victim.write_text("precious")
    server.pid_file.symlink_to(victim)
    server.up()
    assert victim.read_text() == "precious"
    assert server.file_pid() == server.pid("supervisor")


def test_stop_in_the_foreground_waits_for_the_end(ts):
    server = ts()
    server.up()
    supervisor = server.file_pid()
    assert server.run("--stop", "--foreground") == (0, "", "")
    assert not alive(supervisor)
    assert not server.pid_file.exists()


def test_a_start_behind_a_stop_waits_for_the_ports(ts):
    """TorchServe's stop does not wait, and scripts say `torchserve --stop; torchserve --start`."""
    server = ts()
    server.up("--models", "echo=identity")
    first = server.file_pid()
    with harness.wire(server) as slow:
        slow.send("POST /predictions/echo HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nha")
        time.sleep(0.2)
        assert server.run("--stop")[1] == STOPPED
        again = server.popen("--ts-config", server.config_file, "--ncs", "--disable-token")
        assert again.wait(30) == 0
        wait_for(lambda: f"Waiting for the server with pid {first}" in server.output.read_text(), 30, "the new server to wait")
        assert alive(first)
        slow.send("ha")
        assert slow.reply().content == b"haha"
    wait_for(lambda: not alive(first) and server.answers(), 60, "the second server to answer")
    assert server.file_pid() == server.pid("supervisor") != first


# ---- foreground ----


def test_in_the_foreground_the_command_is_the_server(ts):
    server = ts()
    process = server.popen("--start", "--foreground", "--ts-config", server.config_file, "--ncs", "--disable-token")
    wait_for(server.answers, 60, "the server to answer")
    assert server.file_pid() == process.pid == server.pid("supervisor")
    assert server.run("--stop")[1] == STOPPED
    assert process.wait(30) == 0  # whatever the server's own status


def test_a_signal_ends_it_in_order(ts):
    server = ts()
    process = server.popen("--foreground", "--ts-config", server.config_file, "--ncs", "--disable-token")
    wait_for(server.answers, 60, "the server to answer")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert server.run("--stop") == (0, ORPHAN + NOT_RUNNING, "")


# ---- settings ----


def test_a_model_store_in_the_folders_own_config_counts(ts):
    server = ts()
    assert server.popen("--start", "--ncs", "--disable-token").wait(30) == 0  # ./config.properties
    wait_for(server.answers, 60, "the server to answer")


def test_models_and_store_of_the_command_line_win(ts):
    server = ts(config={"model_store": "/no/such/store", "load_models": "wrong=identity"})
    server.up("--model-store", server.store, "--models", "a=identity", "b=identity")
    wait_for(lambda: server.post("/predictions/b", data=b"1").status_code == 200, 30, "model b")
    models = server.get("/models", api="management").json()["models"]
    assert sorted(m["modelName"] for m in models) == ["a", "b"]


def test_a_folder_without_snapshots_stays_so(ts):
    server = ts()
    server.up("--models", "echo=identity")
    assert server.post("/predictions/echo", data=b"1").content == b"1"
    assert server.run("--stop", "--foreground") == (0, "", "")
    assert not list(server.folder.glob("logs/config/*"))


def test_status_has_the_key_that_the_server_wrote(ts):
    server = ts()
    assert server.popen("--ts-config", server.config_file, "--ncs", "--models", "echo=identity").wait(30) == 0
    pid = wait_for(lambda: p[0] if (p := server.pids("supervisor")) else None, 30, "the server")
    done = wait_for(lambda: (d := subprocess.run([server.program, "status", "--pid", str(pid)], capture_output=True, text=True,
                                                 env=server.env)).returncode == 0 and d, 60, "the model")
    assert server.get("/models", api="management").status_code == 400  # a key is wanted
    assert done.stdout.startswith(f"torchserve, pid {pid}, up ")
    assert "\necho  " in done.stdout


def test_a_setting_that_is_none_is_said_on_standard_output(ts):
    server = ts(config={"job_queue_size": "many"})
    code, out, _ = server.run("--ts-config", server.config_file, "--foreground", "--ncs")
    assert code == 0  # the foreground tells nothing
    assert "Invalid configuration: " in out and "many" in out
    assert server.run("--stop") == (0, ORPHAN + NOT_RUNNING, "")


def test_a_port_that_is_taken_is_named(ts):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        server = ts(config={"management_address": f"http://127.0.0.1:{port}"})
        code, out, _ = server.run("--ts-config", server.config_file, "--foreground", "--ncs")
    assert code == 0
    assert f"Failed to bind to address: http://127.0.0.1:{port}" in out

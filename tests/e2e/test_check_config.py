"""`sconce check-config`: what a settings file does here, and what the server would say to it."""
import os
import subprocess

import pytest


@pytest.fixture
def check(build, tmp_path):
    """A function that checks a file of that text and returns exit code and output."""

    def run(text, *args, **env):
        (tmp_path / "config.properties").write_bytes(text.encode("latin-1"))
        variables = {k: v for k, v in os.environ.items() if not k.startswith("TS_")}
        r = subprocess.run([build / "sconce", "check-config", *args], cwd=tmp_path, env={**variables, **env},
                           capture_output=True, text=True, timeout=30)
        return r.returncode, r.stdout + r.stderr

    return run


def test_a_file_that_is_as_in_torchserve(check, tmp_path):
    code, said = check(f"inference_address=http://0.0.0.0:8080\nmodel_store={tmp_path}\njob_queue_size=1000\n")
    assert code == 0, said
    assert "3 as in TorchServe" in said
    assert "used       job_queue_size=1000" in said


def test_everything_that_is_worth_a_word(check, tmp_path):
    code, said = check(f"model_store={tmp_path}\njob_queue_sise=3\ncpp_log_config=x\nvmargs=-Xmx1g\n"
                       "load_models=a, b\nkeystore_pass=geheim\nlog_json=true\nnetty_client_threads=2 \n")
    assert code == 1, said
    assert "did you mean job_queue_size?" in said
    assert "no effect  cpp_log_config=x" in said
    assert "ignored    vmargs" in said
    assert "differs    load_models" in said
    assert "ours       log_json=true" in said
    assert "geheim" not in said
    assert "the blank behind the value does not count" in said


@pytest.mark.parametrize("text,says", [
    ("job_queue_size=abc\n", 'line 1: For input string: "abc"'),
    ("a=1\ninference_address=https://h\n", "set private_key_file and certificate_file"),
    ("management_address=127.0.0.1:80\n", "Invalid binding address: 127.0.0.1:80"),
    ("models={\n", "models"),
    ("blacklist_env_vars=(\n", "blacklist_env_vars"),
    ("model_store=/no/such/folder\n", "model_store is /no/such/folder: No such file or directory"),
    ("use_native_io=false\nmetrics_address=unix:/x\n", "unix domain socket requires use_native_io set to true."),
    ("model_store=$$NO_SUCH_VARIABLE$$\n", "Invalid Environment Variable NO_SUCH_VARIABLE"),
    ("a=\\u12\n", "Malformed"),
])
def test_what_a_server_would_refuse(check, text, says):
    code, said = check(text)
    assert code == 2, said
    assert "refused" in said
    assert says in said
    assert "1 refused" in said


def test_the_environment(check):
    text = "enable_envvars_config=true\njob_queue_size=3\n"
    assert "overridden job_queue_size by the environment: TS_JOB_QUEUE_SIZE=9" in check(text, TS_JOB_QUEUE_SIZE="9")[1]
    assert "TS_JOB_QUEUE_SIZE is set, but counts only with" in check("job_queue_size=3\n", TS_JOB_QUEUE_SIZE="9")[1]


def test_which_file(check, tmp_path):
    other = tmp_path / "other.cfg"
    other.write_text("job_queue_size=7\n")
    assert "job_queue_size=7" in check("job_queue_size=8\n", other)[1]
    assert "job_queue_size=7" in check("job_queue_size=8\n", TS_CONFIG_FILE=str(other))[1]
    (tmp_path / "logs" / "config").mkdir(parents=True)
    (tmp_path / "logs" / "config" / "20240530214603625-startup.cfg").write_text("job_queue_size=5\n")
    assert "job_queue_size=5" in check("job_queue_size=8\n")[1]
    assert "job_queue_size=8" in check("job_queue_size=8\n", "--ncs")[1]
    code, said = check("", "/no/such/file")
    assert code == 2 and "/no/such/file" in said


def test_the_command_line(check):
    assert check("", "--help")[0] == 0
    assert check("", "--for", "triton")[0] == 2
    assert check("", "--nope")[0] == 2
    assert check("", "a", "b")[0] == 2
    assert "disable_token_authorization (default true)" in check("", "--for", "serve", "--all")[1]
    assert "disable_token_authorization (default false)" in check("", "--all")[1]

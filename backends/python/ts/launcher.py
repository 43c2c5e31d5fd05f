"""Starts and stops the server and registers models, for tests and notebooks. Needs nothing but the `torchserve` command."""
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

MANAGEMENT = "http://127.0.0.1:8081"


def start(model_store=None, snapshot_file=None, no_config_snapshots=False, plugin_folder=None, disable_token=True,
          models=None, gen_mar=False, enable_model_api=True, foreground=False, timeout=60):
    """Runs `torchserve --start` and waits until it answers pings. Returns a file with its output, open for reading."""
    stop()
    command = ["torchserve", "--start", "--model-store", model_store or tempfile.mkdtemp(prefix="model_store")]
    for flag, value in (("--ts-config", snapshot_file), ("--plugins-path", plugin_folder), ("--models", models)):
        if value:
            command += [flag, value]
    for flag, wanted in (("--no-config-snapshots", no_config_snapshots), ("--disable-token-auth", disable_token),
                         ("--enable-model-api", enable_model_api), ("--foreground", foreground)):
        if wanted:
            command.append(flag)
    output = tempfile.NamedTemporaryFile("w+", prefix="torchserve-", suffix=".log")
    process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + timeout
    while not _answers("http://127.0.0.1:8080/ping"):
        if process.poll() not in (None, 0) or time.monotonic() > deadline:
            output.seek(0)
            raise RuntimeError("the server did not start:\n" + output.read())
        time.sleep(0.1)
    output.seek(0)
    return output


def stop():
    """Runs `torchserve --stop`; nothing happens if no server runs."""
    subprocess.run([_program("torchserve"), "--stop"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def register_model(model_name, model_store=None, **parameters):
    """Registers an archive of the model store (or a URL). Returns status and the decoded answer."""
    url = model_name if "://" in model_name or model_name.endswith((".mar", ".tar.gz", ".tgz")) else model_name + ".mar"
    values = {"url": url, "initial_workers": 1, "synchronous": "true"}
    values.update(parameters)
    return register_model_with_params(values)


def register_model_with_params(params):
    """Registers a model with exactly these parameters. Returns status and the decoded answer."""
    query = urllib.parse.urlencode(params)
    request = urllib.request.Request("%s/models?%s" % (MANAGEMENT, query), method="POST")
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, json.loads(reply.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def _program(name):
    return shutil.which(name) or os.path.join(os.sep, "usr", "bin", name)


def _answers(url):
    try:
        with urllib.request.urlopen(url, timeout=1) as reply:
            return reply.status == 200
    except OSError:
        return False

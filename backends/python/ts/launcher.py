"""Starts and stops the server and registers models, for tests and notebooks: the `torchserve` command and the management
API at its usual port, from Python."""
import os
import subprocess
import tempfile
import threading
from queue import Empty, Queue
from subprocess import PIPE, STDOUT, Popen

MANAGEMENT = "http://localhost:8081"
STARTED = "Model server started"
START_SECONDS = 60


class Tee(threading.Thread):
    """Hands a stream on, line by line, to whoever called `add` before the line came. Ends with the stream."""

    def __init__(self, reader):
        super().__init__(daemon=True)
        self.reader = reader
        self.queues = []

    def add(self):
        """A queue with the lines from now on, and None after the last one."""
        lines = Queue()
        self.queues.append(lines)
        return lines

    def run(self):
        for line in self.reader:
            line = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
            for lines in self.queues:
                lines.put(line)
        for lines in self.queues:
            lines.put(None)


class PrintTillTheEnd(threading.Thread):
    """Prints what comes out of a queue, until None does."""

    def __init__(self, queue):
        super().__init__(daemon=True)
        self._queue = queue

    def run(self):
        for line in iter(self._queue.get, None):
            print(line, end="", flush=True)


def start(model_store=None, snapshot_file=None, no_config_snapshots=False, plugin_folder=None, disable_token=False,
          models=None, enable_model_api=False):
    """Stops a running server and starts one. Returns, when it answers, a queue with the lines that it prints from then
    on (None after the last one); they are printed here, too. RuntimeError if it ends or does not start in a minute."""
    stop()
    command = ["torchserve", "--start", "--model-store", model_store or tempfile.mkdtemp(prefix="model_store-")]
    for option, value in (("--plugins-path", plugin_folder), ("--ts-config", snapshot_file)):
        if value is not None:
            command += [option, value]
    command += [option for option, wanted in (("--no-config-snapshots", no_config_snapshots),
                                              ("--disable-token-auth", disable_token)) if wanted]
    if models:
        command += ["--models"] + ([models] if isinstance(models, str) else list(models))
    if enable_model_api:
        command.append("--enable-model-api")
    print("## In directory: %s | Executing command: %s" % (os.getcwd(), command))
    tee = Tee(Popen(command, stdin=PIPE, stdout=PIPE, stderr=STDOUT).stdout)
    seen, printed, rest = tee.add(), tee.add(), tee.add()
    tee.start()
    PrintTillTheEnd(printed).start()
    said = []
    while True:
        try:
            line = seen.get(timeout=START_SECONDS)
        except Empty:
            raise RuntimeError("the server did not start:\n" + "".join(said)) from None
        if line is None:
            raise RuntimeError("the server did not start:\n" + "".join(said))
        said.append(line)
        rest.get()
        if STARTED in line:
            tee.queues.remove(seen)
            return rest


def stop(wait=True):
    """Stops the server, if one runs; `wait`: until it has ended."""
    subprocess.run(["torchserve", "--stop"] + (["--foreground"] if wait else []), check=False)


def register_model(model_name, url):
    """Registers an archive of the model store, or of a URL, with one worker. Returns the response of `requests`."""
    return register_model_with_params(
        {"model_name": model_name, "url": url, "initial_workers": "1", "synchronous": "true"})


def register_model_with_params(params):
    """Registers a model with exactly these parameters. Returns the response of `requests`."""
    import requests

    return requests.post(MANAGEMENT + "/models", params=params, timeout=None)

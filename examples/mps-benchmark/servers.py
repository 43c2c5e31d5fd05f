"""TorchServe and Sconce with the same config.properties, and MPS as the page turns it on, by hand."""
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))

from common import TICKS, Process, die, fetch, load, program, read_proc, say  # noqa: E402

# The page's config.properties (of TorchServe's benchmarks folder) on free ports; more time for workers that start together.
CONFIG = """inference_address={inference}
management_address={management}
metrics_address={metrics}
grpc_inference_port={grpc}
grpc_management_port={grpc2}
number_of_netty_threads=32
job_queue_size=1000
vmargs=-Xmx4g -XX:+ExitOnOutOfMemoryError
prefer_direct_buffer=True
default_response_timeout=300
default_startup_timeout=300
unregister_model_timeout=300
install_py_dep_per_model=true
python={python}
"""
START_SECONDS = 300  # of a worker: dozens start together
TEXT = Path(__file__).resolve().parents[1] / "transformers-seqclass" / "sample_text.txt"


def gpu_query(what, of="gpu"):
    """Rows of nvidia-smi; [] without it."""
    try:
        done = subprocess.run(["nvidia-smi", f"--query-{of}={what}", "--format=csv,noheader,nounits"], capture_output=True,
                              text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [[x.strip() for x in line.split(",")] for line in done.stdout.splitlines()] if done.returncode == 0 else []


class Mps:
    """A daemon for the GPUs, as the page starts it, but for the compute mode, which stays as it is."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mps-"))
        self.env = {"CUDA_MPS_PIPE_DIRECTORY": str(self.folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(self.folder / "log")}
        for path in self.env.values():
            os.mkdir(path)
        subprocess.run(["nvidia-cuda-mps-control", "-d"], env={**os.environ, **self.env}, check=True, timeout=30,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def stop(self):
        try:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit -t 5\n", text=True, env={**os.environ, **self.env}, timeout=30)
        except subprocess.TimeoutExpired:
            print("the MPS daemon did not end within 30 s", file=sys.stderr)


def torchserve(where, python):
    """(command, environment) of TorchServe: a program, or an unpacked folder with site/ (its packages) and jre/."""
    where = Path(where).resolve()
    if where.is_dir():
        if not (where / "jre/bin/java").exists() or not (where / "site/ts").is_dir():
            die(f"{where} has no jre/bin/java or no site/ts")
        paths = [str(where / p) for p in ("shim", "site") if (where / p).is_dir()]
        return ([python, "-c", "from ts.model_server import start; start()"],
                {"JAVA_HOME": str(where / "jre"), "PYTHONPATH": ":".join(paths)})
    if not os.access(where, os.X_OK):
        die(f"there is no program {where}")
    return [str(where)], {"PATH": f"{where.parent}:{os.environ['PATH']}"}


class Server(Process):
    """One of both, ready for registrations. settings: further lines of config.properties. ports: taken for all servers before
    the first one starts, because TorchServe binds gRPC's late."""

    PORTS = 5

    def __init__(self, name, store, python, ports, command=None, env=None, settings=None):
        self.inference, self.management, metrics = (f"http://127.0.0.1:{p}" for p in ports[:3])
        folder = Path(tempfile.mkdtemp(prefix=f"page-{name}-"))
        (folder / "tmp").mkdir()
        text = CONFIG.format(inference=self.inference, management=self.management, metrics=metrics, grpc=ports[3],
                             grpc2=ports[4], python=python)
        (folder / "config.properties").write_text(text + "".join(f"{k}={v}\n" for k, v in (settings or {}).items()))
        super().__init__([*(command or [program("torchserve")]), "--start", "--foreground", "--ncs", "--disable-token-auth",
                          "--enable-model-api", "--model-store", str(store), "--ts-config", "config.properties"],
                         name=name, core=None, folder=folder,
                         env={"TMPDIR": str(folder / "tmp"), "TEMP": str(folder / "tmp"), "LOG_LOCATION": str(folder / "logs"),
                              "METRICS_LOCATION": str(folder / "logs"), **(env or {})})
        self.wait_for(self.inference + "/ping", 120)

    def register(self, name, url, workers, batch):
        """Empty, or what was wrong. batch 0: the archive's own. What `batch_delay` asks of TorchServe it does not know, so the
        page's delay was the default; it is here, too."""
        asked = {"model_name": name, "url": url, "initial_workers": workers, "synchronous": "false",
                 **({"batch_size": batch} if batch else {})}
        status, _, body = fetch(f"{self.management}/models?{urllib.parse.urlencode(asked)}", b"", timeout=60)
        return "" if status in (200, 202) else f"registration: {status} {body[:300].decode(errors='replace')}"

    def register_all(self, models, seconds=START_SECONDS):
        """models: (name, url, workers, batch), whose workers start at the same time. name -> what was wrong, or empty."""
        bad = {m[0]: self.register(*m) for m in models}
        end = time.monotonic() + min(seconds, START_SECONDS)
        for name, _, workers, _ in models:
            while not bad[name] and len(ready := self.ready(name)) < workers:
                if time.monotonic() > end or self.process.poll() is not None:
                    bad[name] = f"{len(ready)} of {workers} workers ready"
                time.sleep(0.2)
        return bad

    def ready(self, model):
        return [w for w in self.workers(model) if w["status"] == "READY"]

    def workers(self, model):
        status, _, body = fetch(f"{self.management}/models/{model}")
        return json.loads(body)[0]["workers"] if status == 200 else []

    def worker_pids(self, model):
        return {w["pid"] for w in self.workers(model) if w.get("pid", 0) > 0}

    def tail(self):
        return self.log.read_text(errors="replace")[-3000:]


def make_store(store, python, *more):
    """The models of make_models.py, if they are not there; more: its further words."""
    if not (store / "expected.txt").exists():
        say(f"models are made in {store}")
        subprocess.run([python, str(Path(__file__).with_name("make_models.py")), str(store), *more], check=True)


def measure(server, model, store, seconds, threads=4):
    """A report of the page's 600 requests at once, every answer compared; fails when one does."""
    more = ("-t", threads, "-i", TEXT, "-H", "content-type: text/plain", "--timeout", 300, "--expect", (store / "expected.txt").read_text())
    return load(f"{server.inference}/predictions/{model}", connections=600, seconds=seconds, warmup=0.5, core=None, more=more)


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        if stat := read_proc(pid, "stat"):
            total += sum(map(int, stat.rpartition(")")[2].split()[11:13]))
    return total / TICKS


def gpu_memory(pids):
    """MiB of the GPUs that these processes have."""
    return sum(int(m) for p, m in (row[:2] for row in gpu_query("pid,used_memory", "compute-apps") if len(row) >= 2)
               if p.isdigit() and m.isdigit() and int(p) in pids)


def wait_gpu_empty(seconds=20):
    """The next servers must not share it with the last ones' dying workers."""
    end = time.monotonic() + seconds
    while gpu_query("pid", "compute-apps") and time.monotonic() < end:
        time.sleep(0.5)

"""What the comparisons with TorchServe share: archives, the same command for both servers, Triton, nginx."""
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import time
import zipfile
from pathlib import Path

from common import BUILD, Process, die, fetch, free_ports

NOOP = '''"""Answers at once: what is left is the server."""


class Noop:
    def initialize(self, context):
        self.initialized = True

    def handle(self, data, context):
        return ["ok"] * len(data)
'''

# With metrics_mode=prometheus, which logs no metrics: all that TorchServe can leave out.
NO_LOG = '<Configuration><Loggers><Root level="off"/></Loggers></Configuration>\n'


def write_mar(path, files, handler, config, **model):
    """An archive of files (name -> text, bytes or Path); config is the text of model-config.yaml."""
    name = path.name.rpartition(".")[0]
    of = {"createdOn": "01/01/2026 00:00:00", "runtime": "python", "archiverVersion": "0.12.0",
          "model": {"modelName": name, "handler": handler, "modelVersion": "1.0", "configFile": "model-config.yaml",
                    **model}}
    with zipfile.ZipFile(path, "w") as z:
        for file, data in {**files, "model-config.yaml": config, "MAR-INF/MANIFEST.json": json.dumps(of)}.items():
            z.writestr(file, data.read_bytes() if isinstance(data, Path) else data)


def noop(workers, batch, delay=None):
    """Writes the archive of a handler that does nothing."""
    config = f"minWorkers: {workers}\nmaxWorkers: {workers}\nbatchSize: {batch}\n"
    config += "" if delay is None else f"maxBatchDelay: {delay}\n"
    return lambda path: write_mar(path, {"noop.py": NOOP}, "noop.py", config)


def torchserve_command():
    """TorchServe's own: the one on PATH; None if it or its Java is missing."""
    found = shutil.which("torchserve")
    if not found or not shutil.which("java"):
        return None
    if Path(found).resolve().parent == BUILD:
        die("the torchserve on PATH is Sconce's; TorchServe's own is wanted for comparison")
    return found


def sconce_command():
    path = BUILD / "torchserve"
    if not os.access(path, os.X_OK):
        die(f"there is no program {path}: ./dev bench builds it")
    return str(path)


class Nginx(Process):
    """One worker. `text` for everybody: HTTP/1.1 at `h1`, HTTP/2 with prior knowledge at `h2`, and with a pair of key and
    certificate HTTP/1.1 over TLS at `tls`."""

    def __init__(self, text="Hello, world!\\n", pair=None):
        one, two, three = free_ports(3)
        folder = Path(tempfile.mkdtemp(prefix="sconce-bench-nginx-"))
        paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        answer = f'location / {{ default_type text/plain; return 200 "{text}"; }}'
        servers = f"server {{ listen 127.0.0.1:{one}; {answer} }} server {{ listen 127.0.0.1:{two} http2; {answer} }}"
        if pair:
            servers += (f" server {{ listen 127.0.0.1:{three} ssl; ssl_certificate_key {pair[0]}; ssl_certificate {pair[1]}; "
                        f"ssl_protocols TLSv1.3; {answer} }}")
        (folder / "nginx.conf").write_text(f"""
            worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
            events {{ worker_connections 4000; }}
            http {{ {paths} access_log off; keepalive_requests 1000000000; keepalive_timeout 3600s; http2_max_concurrent_streams 256;
                {servers} }}""")
        super().__init__(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], name="nginx", folder=folder)
        self.h1, self.h2, self.tls = f"http://127.0.0.1:{one}/", f"http://127.0.0.1:{two}/", f"https://127.0.0.1:{three}/"
        self.wait_for(self.h1)


class Served(Process):
    """A `torchserve` command, TorchServe's or Sconce's, on a folder of its own with these archives (name -> writer)."""

    def __init__(self, command, name, archives, *, quiet=False, settings=None, core="0", python=sys.executable,
                 wait=True):
        ports = free_ports(5)
        self.inference, self.management = (f"http://127.0.0.1:{p}" for p in ports[:2])
        self.grpc = ports[3]
        folder = Path(tempfile.mkdtemp(prefix=f"bench-{name}-"))
        for sub in ("store", "tmp"):
            (folder / sub).mkdir()
        for model, write in archives.items():
            write(folder / "store" / f"{model}.mar")
        lines = {"inference_address": self.inference, "management_address": self.management,
                 "metrics_address": f"http://127.0.0.1:{ports[2]}", "grpc_inference_port": ports[3],
                 "grpc_management_port": ports[4], "job_queue_size": 2000, "python": python,
                 "disable_system_metrics": "true", "max_request_size": 20000000}
        args = []
        if quiet:
            (folder / "quiet.xml").write_text(NO_LOG)
            lines["metrics_mode"] = "prometheus"
            args = ["--log-config", "quiet.xml"]
            if Path(command).parent == BUILD:  # that file tells Sconce nothing; these keys say the same
                lines.update(access_log="false", log_to_stdout="false")
        lines.update(settings or {})
        (folder / "config.properties").write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
        env = {"TMPDIR": str(folder / "tmp"), "TEMP": str(folder / "tmp"), "LOG_LOCATION": str(folder / "logs"),
               "METRICS_LOCATION": str(folder / "logs")}
        super().__init__([command, "--start", "--foreground", "--ncs", "--disable-token-auth", "--enable-model-api",
                          "--model-store", "store", "--ts-config", "config.properties", "--models", "all", *args],
                         name=name, core=core, env=env, folder=folder)
        if wait:
            self.wait_for(self.inference + "/ping", 120)
            for model in archives:
                self.wait_model(model)

    def wait_model(self, model, seconds=120):
        """Until every worker of a model is ready; its description then."""
        end = time.monotonic() + seconds
        while True:
            status, _, body = fetch(f"{self.management}/models/{model}")
            if status == 200:
                described = json.loads(body)[0]
                if described["workers"] and all(w["status"] == "READY" for w in described["workers"]):
                    return described
            if time.monotonic() > end:
                text = self.log.read_text(errors="replace")[-3000:]
                self.stop()
                raise RuntimeError(f"{self.name}: model {model} is not ready\n{text}")
            time.sleep(0.05)

    def url(self, model):
        return f"{self.inference}/predictions/{model}"


IDENTITY = '''import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [pb_utils.InferenceResponse(output_tensors=[
            pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(r, "x").as_numpy())]) for r in requests]
'''
IDENTITY_CONFIG = '''name: "identity"
backend: "python"
max_batch_size: 64
input [{name: "x" data_type: TYPE_UINT8 dims: [-1]}]
output [{name: "y" data_type: TYPE_UINT8 dims: [-1]}]
dynamic_batching { }
instance_group [{count: 1 kind: KIND_CPU}]
'''
IDENTITY_BODY = json.dumps({"inputs": [{"name": "x", "shape": [1, 16], "datatype": "UINT8",
                                        "data": list(range(1, 17))}]})


class Triton(Process):
    """Triton's server out of the wheel nvidia-pytriton, CPU only: a model that gives its input back on the Python
    backend, with the dynamic batcher."""

    def __init__(self, python, core="0"):
        python = Path(python)  # of the environment that has the wheel; not resolved: that would leave it
        site = next(python.parent.parent.glob("lib/python3.*/site-packages"))
        home = site / "pytriton" / "tritonserver"
        version = re.sub("python", "", site.parent.name)
        shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", home / "backends/python")
        folder = Path(tempfile.mkdtemp(prefix="bench-triton-"))
        model = folder / "models" / "identity"
        (model / "1").mkdir(parents=True)
        (model / "1" / "model.py").write_text(IDENTITY)
        (model / "config.pbtxt").write_text(IDENTITY_CONFIG)
        http, grpc = free_ports(2)
        self.inference = f"http://127.0.0.1:{http}"
        libraries = [site / "nvidia_pytriton.libs", home / "external_libs", sysconfig.get_config_var("LIBDIR")]
        super().__init__([str(home / "bin" / "tritonserver"), f"--model-repository={folder}/models",
                          f"--backend-directory={home}/backends", "--http-address", "127.0.0.1", "--http-port", str(http),
                          "--grpc-address", "127.0.0.1", "--grpc-port", str(grpc), "--allow-metrics", "false"],
                         name="triton", core=core, folder=folder,
                         env={"PATH": f"{python.parent}:{os.environ['PATH']}",
                              "LD_LIBRARY_PATH": ":".join(map(str, libraries))})
        self.wait_for(self.url(), 120, data=IDENTITY_BODY.encode())

    def url(self, _=None):
        return f"{self.inference}/v2/models/identity/infer"

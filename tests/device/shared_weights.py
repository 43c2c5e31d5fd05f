#!/usr/bin/env python3
"""sharedWeights on a real GPU: [SCONCE_BUILD=...] tests/device/shared_weights.py [--cpu | --mps]

Four workers of examples/transformers-seqclass, its handler as it is, with BERT-large of random weights: private, then shared.
GPU memory, the same answers, a worker killed with kill -9, a handler that writes to shared weights (in a way that PyTorch
counts, one that it does not, by a copy), and what is left when all is unregistered. One line per scenario; 1 if anything is wrong. About 100 s.
Needs torch with CUDA and transformers in this interpreter, and nvidia-smi. --cpu: in main memory, with a smaller model.
--mps: all workers are clients of one daemon, which a write takes down together.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from common import Sconce, fetch, read_proc  # noqa: E402
from encoder_http import WORDS, word  # noqa: E402

CPU, MPS = ("--" + way in sys.argv[1:] for way in ("cpu", "mps"))
WORKERS, LABELS, REQUESTS = 4, 1000, 96
MIB = 1 << 20
WRITER = """
import torch

net = None

def handle(data, context):
    global net
    if data is None:
        torch.manual_seed(5)
        net = torch.nn.Sequential(*(torch.nn.Linear(4096, 4096) for _ in range(2))).to("cuda:%d" % context.system_properties["gpu_id"])
        return None
    out = []
    for row in data:
        if bytes(row["body"]) == b"write":
            with torch.no_grad():
                net[1].weight{how}
        with torch.no_grad():
            out.append("%.6f" % net(torch.ones(1, 4096, device=net[0].weight.device)).sum().item())
    return out
"""
HOW = {"counted": ".add_(0)", "uncounted": ".data.add_(0)", "copied": ".copy_(net[1].weight.cpu())"}
wrong = 0


def say(good, what, text):
    global wrong
    wrong += not good
    print(f"{'ok  ' if good else 'FAIL'} {what:36} {text}", flush=True)


def make_model(store):
    """The example's archive twice, with and without sharedWeights. Returns the bytes of its weights."""
    import torch
    import transformers

    torch.manual_seed(1)
    size = {"hidden_size": 256, "num_hidden_layers": 8, "num_attention_heads": 4, "intermediate_size": 4096} if CPU else {
        "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    model = transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=LABELS, initializer_range=0.3, **size))
    first = store / "private"
    model.save_pretrained(first)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (first / "vocab.txt").write_text("\n".join([*special, *(word(i) for i in range(WORDS))]) + "\n")
    (first / "index_to_name.json").write_text(json.dumps({str(i): f"label {i}" for i in range(LABELS)}))
    shutil.copy(ROOT / "examples" / "transformers-seqclass" / "handler.py", first / "handler.py")
    shutil.copytree(first, store / "shared", copy_function=os.link)
    for name in ("private", "shared"):
        write_config(store / name, name, "handler:\n  mode: sequence_classification\n  save_mode: pretrained\n  max_length: 64\n"
                     "  do_lower_case: true\n  captum_explanation: false\n", name == "shared")
    return sum(p.numel() * p.element_size() for p in model.parameters())


def write_config(folder, name, more, shared):
    folder.mkdir(parents=True, exist_ok=True)
    device = "deviceType: cpu\n" if CPU else ""
    (folder / "model-config.yaml").write_text(f"batchSize: 1\nmaxBatchDelay: 1\nresponseTimeout: 60\n{device}{more}"
                                              + ("sharedWeights: true\n" if shared else ""))
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": {
        "modelName": name, "handler": "handler.py", "modelVersion": "1.0", "configFile": "model-config.yaml"}}))


class Server(Sconce):
    def call(self, method, path):
        status, _, body = fetch(self.management + path, method=method, timeout=100)
        if status != 200:
            sys.exit(f"{method} {path}: {status} {body[:600]!r}\n{self.words()[-4000:]}")
        return json.loads(body)

    def register(self, name, workers):
        self.call("POST", f"/models?url={name}&initial_workers={workers}&synchronous=true")

    def workers(self, name):
        return self.call("GET", f"/models/{name}")[0]["workers"]

    def ask(self, name, body):
        status, _, answer = fetch(f"{self.inference}/predictions/{name}", body, timeout=60,
                                  headers={"Content-Type": "application/octet-stream"})
        return status, answer

    def words(self):
        return "".join(p.read_text(errors="replace") for p in sorted((self.folder / "logs").glob("*.log")))

    def memory(self):
        """MiB in use: of the GPU; with --cpu what the processes have, shared pages once."""
        if CPU:
            return sum(int(m[1]) for p in self.pids() if (m := re.search(r"\nPss:\s+(\d+)", read_proc(p, "smaps_rollup")))) / 1024
        out = subprocess.run(["nvidia-smi", "-i", "0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"],
                             capture_output=True, text=True, check=True)
        return float(out.stdout)

    def settled(self, want, within, seconds=20):
        """The memory, once it is that, or after so long."""
        end = time.monotonic() + seconds
        while abs((got := self.memory()) - want) > within and time.monotonic() < end:
            time.sleep(0.1)
        return got


def texts():
    return [" ".join(word((i * 7919 + k * 104729) % WORDS) for k in range(40)).encode() for i in range(REQUESTS)]


def ask_all(server, name):
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda t: server.ask(name, t), texts()))


def measure(server, name):
    began = time.monotonic()
    server.register(name, WORKERS)
    ready = time.monotonic() - began
    ask_all(server, name)
    answers = ask_all(server, name)
    return server.memory(), answers, ready


def killed(server, usual):
    """kill -9 of a worker while the others serve."""
    answers, over = [], False

    def load():
        while not over:
            answers.append(server.ask("shared", texts()[len(answers) % REQUESTS])[0])

    threads = [threading.Thread(target=load) for _ in range(4)]
    for t in threads:
        t.start()
    old = {w["pid"] for w in server.workers("shared")}
    victim = min(old)
    began, base = time.monotonic(), len(answers)
    os.kill(victim, signal.SIGKILL)
    while len(answers) < base + 5:
        time.sleep(0.002)
    first = time.monotonic() - began
    while time.monotonic() < began + 60:
        now = server.workers("shared")
        if len({w["pid"] for w in now if w["status"] == "READY"} - {victim}) == WORKERS:
            break
        time.sleep(0.05)
    back = time.monotonic() - began
    over = True
    for t in threads:
        t.join()
    ask_all(server, "shared")
    bad = [a for a in answers if a != 200]
    memory = server.settled(usual, 32)
    say(not bad and back < 60 and memory <= usual + 64, "kill -9 of a worker",
        f"{len(answers)} requests, {len(bad)} failed; next answer after {first:.2f} s, replacement after {back:.1f} s; "
        f"{memory:.0f} MiB (before: {usual:.0f})")


def writes(server, name):
    server.register(name, 2)
    before = server.workers(name)
    shared = [w["sharedWeights"] for w in before]
    calm = server.ask(name, b"read")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: server.ask(name, b"write" if i == 7 else b"read"), range(40)))
    took = time.monotonic() - began
    while time.monotonic() < began + 60:
        now = server.workers(name)
        if len(now) == 2 and all(w["status"] == "READY" and w["sharedWeights"]["state"] == "private" for w in now):
            break
        time.sleep(0.1)
    back = time.monotonic() - began
    after = server.ask(name, b"write")
    line = re.search(rf"model {name}: its handler wrote.*", server.words())
    named = re.search(r"The handler wrote to shared weights: .*", server.words())
    good = (all(w["state"] == "shared" for w in shared) and all(a == calm for a in answers) and after == calm
            and calm[0] == 200 and line and back < 60)
    say(bool(good), f"a handler that writes ({name})",
        f"{sum(a[0] != 200 for a in answers)} of 40 failed, all answered after {took:.1f} s, private everywhere after {back:.1f} s; "
        f"log: {named[0] if named else 'nothing'}")


def main():
    os.environ["HF_HUB_OFFLINE"] = "1"
    if CPU:
        os.environ["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        store = Path(temporary)
        weights = make_model(store) / MIB
        for name, how in HOW.items():
            write_config(store / name, name, "", True)
            (store / name / "handler.py").write_text(WRITER.replace("{how}", how))
        settings = {"python": sys.executable, "mps": "managed" if MPS else "off", "system_metrics_cmd": "", "default_startup_timeout": 100}
        with Server(settings=settings, core=None, store=store) as server:
            idle = server.memory()
            private, expected, ready = measure(server, "private")
            say(all(a[0] == 200 for a in expected) and len(set(expected)) > 3, "four workers, private",
                f"{private - idle:.0f} MiB, weights {weights:.0f} MiB, ready after {ready:.1f} s, {len(set(expected))} different answers")
            server.call("DELETE", "/models/private")
            server.settled(idle, 32)
            shared, answers, ready = measure(server, "shared")
            most = private - 3 * weights + 64
            told = [w["sharedWeights"] for w in server.workers("shared")]
            lines = re.findall(r"Shared weights: .*", server.words())
            # In main memory a Transformers model is mapped from its file, which all share anyhow.
            say((shared <= most or CPU) and all(t["state"] == "shared" and not t.get("why") for t in told), "four workers, shared",
                f"{shared - idle:.0f} MiB (at most {most - idle:.0f}), ready after {ready:.1f} s, "
                f"{told[0]['bytes'] / MIB:.0f} MiB shared; {lines[-1] if lines else told}")
            same = sum(a == b for a, b in zip(answers, expected, strict=True))
            say(same == REQUESTS, "the same answers", f"{same} of {REQUESTS}")
            killed(server, shared)
            server.call("DELETE", "/models/shared")
            left = server.settled(idle, 32)
            say(left <= idle + 32, "unregistered", f"{left - idle:+.0f} MiB")
            if not CPU:
                with ThreadPoolExecutor(1 if MPS else 3) as pool:
                    list(pool.map(lambda name: writes(server, name), HOW))
            if wrong:
                print(server.words()[-8000:])
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

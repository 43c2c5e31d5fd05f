#!/usr/bin/env python3
"""A handler whose request kills its CUDA context, on a real GPU: python3 tests/device/cuda_fault.py BUILD

The requests beside it must not notice; it alone gets 507; the workers are replaced and serve on. Needs torch with CUDA in
this interpreter. Prints a short table; exits 1 if anything is not as it should be.
"""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

HANDLER = """
import torch

def handle(data, context):
    device = torch.device("cuda:%d" % context.system_properties["gpu_id"])
    if data is None:
        torch.ones(8, device=device).sum().item()
        return None
    out = []
    for row in data:
        order = bytes(row["body"]).decode()
        if order == "fault":
            x = torch.zeros(4, device=device)
            x[torch.tensor([10**8], device=device)].sum().item()  # a device-side assert: the context is dead
        if order == "memory":
            torch.empty(1 << 42, dtype=torch.uint8, device=device)
        out.append("%s %d" % (order, int(torch.full((4,), 2, device=device).sum().item())))
    return out
"""


def call(url, body=None, method=None):
    request = urllib.request.Request(url, data=body, method=method,
                                     headers={"Content-Type": "application/octet-stream"})
    try:
        with urllib.request.urlopen(request, timeout=120) as r:
            return r.status, r.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def main(build):
    folder = Path(tempfile.mkdtemp())
    model = folder / "store" / "cuda"
    (model / "MAR-INF").mkdir(parents=True)
    (model / "handler.py").write_text(HANDLER)
    (model / "model-config.yaml").write_text("minWorkers: 2\nmaxWorkers: 2\nbatchSize: 4\n")
    (model / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": {
        "modelName": "cuda", "handler": "handler.py", "modelVersion": "1.0", "configFile": "model-config.yaml"}}))
    (folder / "config.properties").write_text(f"python={sys.executable}\nmodel_store={folder}/store\n")
    server = subprocess.Popen([f"{build}/sconce", "serve", "--models", "cuda=cuda"], cwd=folder, stdout=subprocess.DEVNULL)
    wrong = []
    try:
        def workers():
            return json.loads(call("http://127.0.0.1:8081/models/cuda")[1])[0]["workers"]

        def ready(n=2, seconds=90):
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                try:
                    if sum(w["status"] == "READY" for w in workers()) >= n:
                        return
                except (OSError, KeyError, TypeError, IndexError):
                    pass
                time.sleep(0.1)
            raise SystemExit("no workers: " + (folder / "logs" / "ts_log.log").read_text()[-3000:])

        began = time.monotonic()
        ready()
        print(f"two workers ready after      {time.monotonic() - began:.1f} s")
        code, text = call("http://127.0.0.1:8080/predictions/cuda", b"memory")
        print(f"out of memory                {code} {text.split()[-2:] if code != 507 else ''}")
        if code != 507:
            wrong.append("out of memory")
        pids = {w["pid"] for w in workers()}
        orders = [b"fault" if i == 17 else b"fine%d" % i for i in range(40)]
        answers = {}

        def ask(i):
            answers[i] = call("http://127.0.0.1:8080/predictions/cuda", orders[i])

        began = time.monotonic()
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(orders))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        bad = {i: a for i, a in answers.items() if a[0] != 200}
        print(f"40 requests, one of them bad {time.monotonic() - began:.1f} s; not 200: {[(i, a[0]) for i, a in bad.items()]}")
        if set(bad) != {17} or bad[17][0] != 507:
            wrong.append(f"answers: {bad}")
        ready()
        ends = [w.get("lastEnd", "")[:90] for w in workers()]
        fresh = {w["pid"] for w in workers()} - pids
        print(f"replaced workers             {len(fresh)}; {ends}")
        if not fresh or not any("86" in e for e in ends):
            wrong.append(f"workers: {workers()}")
        code, text = call("http://127.0.0.1:8080/predictions/cuda", b"after")
        print(f"afterwards                   {code} {text}")
        if (code, text) != (200, "after 8"):
            wrong.append("afterwards")
        print(f"describe                     gpu {workers()[0]['gpu']}, {workers()[0]['gpuUsage']}")
    finally:
        server.terminate()
        server.wait(60)
    if wrong:
        print("WRONG:", *wrong, sep="\n  ")
        print((folder / "logs" / "ts_log.log").read_text()[-6000:])
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(os.path.abspath(sys.argv[1])))

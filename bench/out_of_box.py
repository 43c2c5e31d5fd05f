#!/usr/bin/env python3
"""Nothing set but the model: four workers of the page's handler, batch 8, on one GPU, by TorchServe and by Sconce as they start.

Sconce finds several processes of one model on the GPU and runs MPS for them (mps=auto). 600 connections, the two in turn.
TORCHSERVE: its program or an unpacked folder, as of examples/mps-benchmark. Ends with 1 below 1.6 times TorchServe's rate.
"""
# needs: nvidia-smi
import os
import shutil
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "mps-benchmark"))
import servers  # noqa: E402
from common import die, free_ports  # noqa: E402

WORKERS, BATCH, ROUNDS, SECONDS, FLOOR = 4, 8, 3, 6, 1.6
STORE = Path(os.environ.get("STORE", "/tmp/mps-benchmark-store"))


def main():
    where = os.environ.get("TORCHSERVE") or shutil.which("torchserve") or die("TORCHSERVE names no TorchServe")
    python = shutil.which("python3")
    servers.make_store(STORE, python)
    ports = free_ports(2 * servers.Server.PORTS)
    command, env = servers.torchserve(where, python)
    peer = servers.Server("torchserve", STORE, python, ports[:servers.Server.PORTS], command=command, env=env)
    ours = servers.Server("sconce", STORE, python, ports[servers.Server.PORTS:])
    rates = {peer: [], ours: []}
    try:
        for server in rates:
            if bad := server.register_all([("page", "page", WORKERS, BATCH)])["page"]:
                die(f"{server.name}: {bad}\n{server.tail()}")
            servers.measure(server, "page", STORE, 2)
        print("Sconce's workers: " + ", ".join(w.get("gpuSharing", "no GPU") for w in ours.workers("page")), flush=True)
        for turn in range(ROUNDS):
            for server in (peer, ours) if turn % 2 else (ours, peer):
                report = servers.measure(server, "page", STORE, SECONDS)
                rates[server].append(report["rate"])
                print(f"{server.name:10} {report['rate']:8.1f} /s, p99 {report['latency_us']['p99'] / 1e3:6.0f} ms", flush=True)
    finally:
        for server in rates:
            server.stop()
    ratio = statistics.mean(rates[ours]) / statistics.mean(rates[peer])
    print(f"Sconce {ratio:.2f} times TorchServe's rate (floor {FLOOR})")
    return 0 if ratio >= FLOOR else 1


if __name__ == "__main__":
    sys.exit(main())

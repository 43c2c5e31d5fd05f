#!/bin/sh
# gpu_agent.sh [PROGRAM]: what the gpu agent says on this machine, beside what the driver's own tool says. Succeeds if
# they agree on number, UUIDs and memory (to 64 MiB: it moves). For machines with a GPU; needs python3.
set -eu
sconce=${1:-build/release/sconce}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

echo "gpu-count:"
"$sconce" --role=gpu-count | tee "$out/count"

echo "three reports, 200 ms apart:"
# Its standard input is its life-line: it ends when sleep does.
sleep 0.9 | "$sconce" --role=gpu-agent --interval=200 >"$out/agent" || echo "ended with $?"
head -n 3 "$out/agent"

echo "nvidia-smi:"
nvidia-smi --query-gpu=index,uuid,name,memory.used,memory.total,utilization.gpu,utilization.memory \
    --format=csv,noheader,nounits | tee "$out/smi"

python3 - "$out/count" "$out/agent" "$out/smi" <<'EOF'
import json
import sys

count = int(open(sys.argv[1]).readline())
reports = [json.loads(line) for line in open(sys.argv[2])]
smi = [[f.strip() for f in line.split(",")] for line in open(sys.argv[3])]
assert len(reports) >= 3, f"{len(reports)} reports"
gpus = reports[-1]["gpus"]
assert count == len(gpus) == len(smi), (count, len(gpus), len(smi))
for ours, theirs in zip(gpus, smi):
    index, uuid, name, used, total = theirs[:5]
    assert (ours["index"], ours["uuid"], ours["name"]) == (int(index), uuid, name), (ours, theirs)
    for key, mib in ("memoryUsed", used), ("memoryTotal", total):
        assert abs(ours[key] / 2**20 - float(mib)) <= 64, (key, ours[key], mib)
    assert ours["utilization"] is None or 0 <= ours["utilization"] <= 100
print(f"agreed: {count} GPU(s), {len(reports[-1]['processes'])} process(es)")
EOF

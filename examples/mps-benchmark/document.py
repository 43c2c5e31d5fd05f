"""The document and its pictures, from a state file."""
import json
import math
import re
import statistics
from pathlib import Path

import plan
from pictures import bars

DEFAULT = Path(__file__).resolve().parents[2] / "docs" / "gpu-sharing-benchmark.md"
# Student's t for a confidence of 95 %, by degrees of freedom.
T = [0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23]
KEEP = re.compile(r"<!-- by hand -->.*?<!-- end -->", re.S)
HAND = "<!-- by hand -->\nNothing has been written about these figures yet.\n<!-- end -->"


def ratios(records):
    """Runs of the second beside those of the first, as they took turns; of one record its runs beside their mean."""
    if len(records) == 1:
        rates = [r["rate"] for r in records[0]["runs"]]
        return [r / statistics.mean(rates) for r in rates] if rates and min(rates) > 0 else []
    one, two = (r["runs"] for r in records)
    return [b["rate"] / a["rate"] for a, b in zip(one, two) if a["rate"] > 0 and b["rate"] > 0]


def interval(values):
    """Geometric mean and the factor of its 95 % interval; one value: infinite."""
    logs = [math.log(v) for v in values]
    if len(logs) < 2:
        return math.exp(logs[0]), math.inf
    half = T[min(len(logs) - 1, len(T) - 1)] * statistics.stdev(logs) / math.sqrt(len(logs))
    return math.exp(statistics.mean(logs)), math.exp(min(half, 50))


def uncertainty(records):
    """Width of the interval of a pair's ratio, as a share of it."""
    values = ratios(records)
    if not values:
        return math.inf
    _, factor = interval(values)
    return factor - 1 / factor if factor < math.inf else math.inf


class Results:
    def __init__(self, state):
        self.points = {n: p for n, p in state["points"].items() if p["runs"]}
        self.failed = {n: p["error"] for n, p in state["points"].items() if p["error"]}

    def get(self, *what):
        return self.points.get(plan.Point(*what).name)

    def rate(self, *what):
        p = self.get(*what)
        return statistics.median(r["rate"] for r in p["runs"]) if p else None

    def pairs(self, handler):
        """(key, TorchServe's record, Sconce's) where there are both."""
        keys = sorted({(p["workers"], p["batch"], p["sharing"]) for p in self.points.values() if p["handler"] == handler},
                      key=lambda k: (k[0], k[2] == "mps", k[1]))
        for key in keys:
            one, two = self.get("torchserve", handler, *key), self.get("sconce", handler, *key)
            if one and two and ratios([one, two]):
                yield key, one, two

    def batches(self, handler):
        return sorted({p["batch"] for p in self.points.values() if p["handler"] == handler}, key=lambda b: b or 10**6)

    def workers(self, handler):
        return sorted({p["workers"] for p in self.points.values() if p["handler"] == handler})


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
                     + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def of(record, *path):
    """Median over a record's runs."""
    values = []
    for run in record["runs"]:
        for key in path:
            run = run.get(key) if isinstance(run, dict) else None
        values.append(run)
    return statistics.median(v for v in values if v is not None) if any(v is not None for v in values) else None


def number(v, form="{:,.0f}"):
    return "–" if v is None else form.format(v)


def spread(record):
    rates = [r["rate"] for r in record["runs"]]
    return f"{statistics.median(rates):,.0f} ({min(rates):,.0f}–{max(rates):,.0f}; {len(rates)})"


def pair_table(results, handler):
    rows, notes = [], {"below": []}
    for (workers, batch, sharing), one, two in results.pairs(handler):
        ratio, factor = interval(ratios([one, two]))
        known = f" ({ratio / factor:.2f}–{ratio * factor:.2f})" if factor < 10 else ""
        rows.append([workers, batch, "MPS" if sharing == "mps" else "–", spread(one), spread(two), f"**{ratio:.2f}**{known}",
                     *(f"{number(of(one, *path), form)} / {number(of(two, *path), form)}" for path, form in (
                         (("latency_us", "p99"), "{:,.0f}"),)),
                     f"{number(of(one, 'worker_cores'), '{:.1f}')}+{number(of(one, 'server_cores'), '{:.1f}')} / "
                     f"{number(of(two, 'worker_cores'), '{:.1f}')}+{number(of(two, 'server_cores'), '{:.1f}')}",
                     f"{number(of(one, 'gpu', 'watts_mean'))} / {number(of(two, 'gpu', 'watts_mean'))}",
                     f"{number(of(one, 'worker_gpu_mib'))} / {number(of(two, 'worker_gpu_mib'))}"])
        rows[-1][6] = " / ".join(number((of(x, "latency_us", "p99") or 0) / 1e3) for x in (one, two))
        if ratio * min(factor, 10) < 0.97:
            notes["below"].append(f"{workers} workers, batch {batch}{', MPS' if sharing == 'mps' else ''}: {ratio:.2f}")
    head = ["workers", "batch", "", "TorchServe, requests/s", "Sconce, requests/s", "ratio", "p99, ms", "cores: workers+rest", "W",
            "GPU MiB"]
    return rows and table(head, rows), notes["below"]


def summary(results, handler, what):
    found = [interval(ratios([one, two]))[0] for _, one, two in results.pairs(handler)]
    if not found:
        return ""
    mean = math.exp(statistics.mean(map(math.log, found)))
    _, below = pair_table(results, handler)
    return (f"{what}: over {len(found)} points geometric mean **{mean:.2f}** (lowest {min(found):.2f}, highest {max(found):.2f}); "
            + (f"below 0.97 beyond the interval: {'; '.join(below)}." if below else "none below 0.97 beyond its interval."))


def best(results, server, handler):
    """(rate, its words) of a server's best point."""
    found = [(statistics.median(r["rate"] for r in p["runs"]), p) for p in results.points.values()
             if p["server"] == server and p["handler"] == handler]
    if not found:
        return None
    rate, p = max(found, key=lambda f: f[0])
    sharing = {"none": "", "mps": ", MPS", "lanes": ", lanes", "timeslice": ", time slices"}[p["sharing"]]
    return rate, f"{p['workers']} worker{'s' * (p['workers'] > 1)}, batch {p['batch'] or 'its own'}{sharing}"


def headline(results):
    rows = []
    base = best(results, "torchserve", "page")
    for server, handler, what in (("torchserve", "page", "TorchServe, the page's handler"), ("sconce", "page", "Sconce, the same archive"),
                                  ("torchserve", "tuned", "TorchServe, tuned handler"), ("sconce", "tuned", "Sconce, the same archive"),
                                  ("sconce", "encoder", "Sconce, the page's archive with `backend: encoder`")):
        if found := best(results, server, handler):
            rows.append([what, f"**{found[0]:,.0f}**", found[1], f"{found[0] / base[0]:.1f}" if base else ""])
    return table(["", "best, requests/s", "at", "to TorchServe's best with the page's handler"], rows)


def drawings(results):
    """name -> SVG."""
    out = {}
    for handler in ("page", "tuned"):
        batches = results.batches(handler)
        for workers in results.workers(handler):
            series = [(f"{'TorchServe' if server == 'torchserve' else 'Sconce'}{', MPS' if sharing == 'mps' else ''}",
                       [results.rate(server, handler, workers, b, sharing) for b in batches])
                      for sharing in ("none", "mps") for server in ("torchserve", "sconce")]
            out[f"{handler}-{workers}"] = bars(f"{'The page’s' if handler == 'page' else 'The tuned'} handler, {workers} "
                                               f"worker{'s' * (workers > 1)}, by batch", batches, series, "requests/s")
    lanes = results.workers("encoder")
    for batch in results.batches("encoder"):
        series = [(name, [results.rate("sconce", "encoder", w, batch, sharing) for w in lanes])
                  for name, sharing in (("lanes", "lanes"), ("time slices", "timeslice"), ("MPS", "mps"))]
        out[f"encoder-{batch or 'own'}"] = bars(f"Encoder, batch {batch or 'as the backend chooses'}, by workers", lanes, series, "requests/s")
    return {name: svg for name, svg in out.items() if svg}


def encoder_table(results):
    rows = []
    for p in sorted((p for p in results.points.values() if p["handler"] == "encoder"),
                    key=lambda p: (p["batch"] or 10**6, p["workers"], p["sharing"])):
        rows.append([p["workers"], p["batch"] or "own", p["sharing"], spread(p), f"{of(p, 'latency_us', 'p50') / 1e3:,.1f}",
                     f"{of(p, 'latency_us', 'p99') / 1e3:,.1f}", f"{of(p, 'worker_cores'):.1f}+{of(p, 'server_cores'):.1f}",
                     number(of(p, "gpu", "busy_mean")), number(of(p, "gpu", "watts_mean")), number(of(p, "worker_gpu_mib"))])
    return rows and table(["workers", "batch", "way", "requests/s", "p50, ms", "p99, ms", "cores: workers+rest", "GPU busy, %", "W",
                           "GPU MiB"], rows)


def machines(state):
    seen = {}
    for call in state["calls"]:
        what = (f"{call['gpu']}; {call['cpu']}, {call['cores']} cores; Python {call['python']}, torch {call['torch']}, transformers "
                f"{call['transformers']}; {call['sconce']}" + (f"; TorchServe {call['torchserve']}" if call["torchserve"] else ""))
        seen.setdefault(what, []).append(f"{call['at']}: `{call['command']}`")
    return "\n".join(f"- {what}\n" + "\n".join(f"  - {c}" for c in calls) for what, calls in seen.items())


def keep(state, path):
    """What the document says, for a later call to go on from: a state file without histograms, a line for each point."""
    def slim(point):
        return {**point, "runs": [{k: v for k, v in run.items() if k != "histogram"} for run in point["runs"]]}

    lines = ",\n".join(f"{json.dumps(n)}: {json.dumps(slim(p))}" for n, p in state["points"].items() if p["runs"] or p["error"])
    calls = ",\n".join(json.dumps(c) for c in state["calls"])
    path.write_text(f'{{"version": {state["version"]}, "calls": [\n{calls}\n], "points": {{\n{lines}\n}}}}\n')


def write(state, path):
    """The document, its pictures and results.json in a folder of its name; what stands between the marks of the old one stays."""
    results = Results(state)
    folder = path.with_suffix("")
    pictures = drawings(results)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for name, svg in pictures.items():
        (folder / f"{name}.svg").write_text(svg)
    keep(state, folder / "results.json")
    hand = KEEP.search(path.read_text()) if path.exists() else None

    def shown(prefix):
        return "\n\n".join(f"![{name}]({folder.name}/{name}.svg)" for name in pictures if name.startswith(prefix))

    call = state["calls"][-1] if state["calls"] else {}
    saturated = sorted(n for n, p in results.points.items() if any(r["saturated"] for r in p["runs"]))
    wrong = sorted(n for n, p in results.points.items() if any(r["failed"] for r in p["runs"]))
    parts = [f"""# TorchServe's page on MPS, again

BERT-base{'' if call.get('model') == 'BERT-base' else ' (a tiny one, on this occasion)'} sequence classification, random weights, one sentence of 15 tokens,
{call.get('concurrency', 600)} requests at once: what batch, workers and the way to share a GPU do, for TorchServe 0.12 and Sconce with the same unpacked
archives and the same `config.properties`, and for Sconce's encoder with the page's archive and one more line, `backend: encoder`.
`examples/mps-benchmark/run.py` measured and wrote this; [gpu-sharing.md](gpu-sharing.md) says what the ways are.

## Best of each

{headline(results)}
""", (hand[0] if hand else HAND), """
## How it was measured

- `sconce bench` drives all servers: a closed loop over keep-alive connections, every answer compared with PyTorch's own; failures are no
  throughput. A run has 10,000 requests and lasts at least 10 s, or as long as the command below says. Median (lowest–highest; runs).
- Both servers are up at the same time with their models loaded; one is measured, the other idle; then they change places. A ratio is the
  geometric mean of the rounds' ratios, in brackets its 95 % interval where there were rounds enough.
- MPS: for TorchServe a daemon started by hand (`nvidia-cuda-mps-control -d`, its folder in the environment), for Sconce `mps=managed`; the
  compute mode stays DEFAULT. Without: `mps=off`.
- The page's handler tokenises, pads to 150 tokens and moves each text alone, logs each request and prints each batch's logits; fp32
  (TF32 in products, as `BaseHandler` sets). The tuned handler: fp16, one call of the tokeniser a batch, padded to its longest text.
- The delay of batches is the default 100 ms, as in the page's runs (`batch_delay` is no parameter of TorchServe's).
- W is the whole GPU's mean power, MiB what the measured workers' processes have on it (idle neighbours not counted).
""", machines(state)]
    for handler, title in (("page", "The page's handler"), ("tuned", "The tuned handler")):
        rows, _ = pair_table(results, handler)
        if rows:
            parts.append(f"\n## {title}\n\n{summary(results, handler, 'Sconce to TorchServe')}\n\n{shown(handler + '-')}\n\n{rows}")
    if rows := encoder_table(results):
        parts.append(f"\n## The encoder, from the same archive\n\n{shown('encoder-')}\n\n{rows}")
    if saturated:
        parts.append(f"\nThe generator itself was at its limit at: {', '.join(saturated)}.")
    if wrong or results.failed:
        parts.append("\n## What failed\n\n" + "\n".join(
            [f"- {n}: requests failed in a run" for n in wrong] + [f"- {n}: {e.splitlines()[0][:200]}" for n, e in results.failed.items()]))
    path.write_text("\n".join(parts) + "\n")
    print(f"written: {path} and {len(pictures)} pictures")
    return 0

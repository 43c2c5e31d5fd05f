"""Which points there are, and which belong together."""
import fnmatch
from typing import NamedTuple

BATCHES, QUICK = (1, 2, 4, 8, 16, 32, 64, 128), (1, 8, 32, 128)
WORKERS = (1, 2, 4, 8)


class Point(NamedTuple):
    server: str  # torchserve, sconce
    handler: str  # page, tuned, encoder
    workers: int
    batch: int  # 0: the backend's own
    sharing: str  # none, mps; of the encoder lanes, timeslice, mps

    @property
    def name(self):
        return f"{self.server}-{self.handler}-w{self.workers}-b{self.batch or 'own'}-{self.sharing}"

    @property
    def key(self):
        return self[1:]

    @property
    def model(self):
        return f"{self.handler}_w{self.workers}_b{self.batch}_{self.sharing}"

    @property
    def archive(self):
        return "encoder_process" if self.handler == "encoder" and self.sharing != "lanes" else self.handler

    @property
    def processes(self):
        return 1 if self.sharing == "lanes" else self.workers


def python_points(handler, workers, batches, sharings=("none", "mps")):
    for w in workers:
        for sharing in sharings if w > 1 else ("none",):  # one worker has nobody to share with
            for b in batches:
                for server in ("torchserve", "sconce"):
                    yield Point(server, handler, w, b, sharing)


def encoder_points(workers, batches):
    for w in workers:
        for sharing in ("lanes", "timeslice", "mps") if w > 1 else ("lanes",):
            for b in batches:
                yield Point("sconce", "encoder", w, b, sharing)


def sets(batches):
    """Names of sets of points; all others are patterns of names."""
    return {"page1": [*python_points("page", [1], batches)], "page2": [*python_points("page", [2], batches)],
            "pageN": [*python_points("page", [4, 8], batches)], "tuned": [*python_points("tuned", WORKERS, batches)],
            "encoder": [*encoder_points(WORKERS, [*batches, 0])],
            # What the comparison is about, in a quarter of an hour.
            "headline": [*python_points("page", [1], QUICK), *python_points("tuned", [1], [32]),
                         *python_points("page", [2], [8, 32, 128]), *python_points("page", [4], [32]),
                         *python_points("page", [8], [32]), *python_points("tuned", [4], [32, 128]),
                         *encoder_points([1, 2, 4], [0]), *encoder_points([1], [32])]}


def choose(words, batches):
    """Points of sets and patterns, in the order of the plan. An unknown word is a KeyError."""
    known = sets(batches)
    every = list(dict.fromkeys(p for name in ("page1", "page2", "pageN", "tuned", "encoder", "headline") for p in known[name]))
    found = []
    for word in words:
        new = every if word == "all" else known.get(word) or [p for p in every if fnmatch.fnmatch(p.name, word)]
        if not new:
            raise KeyError(word)
        found += new
    return list(dict.fromkeys(found))


def stages(points, most):
    """Points whose models are loaded at the same time: with MPS or without, a pair of both servers never parted, at most
    `most` processes."""
    pairs = {}
    for p in points:
        pairs.setdefault(p.key, []).append(p)
    out = []
    for mps in (False, True):
        room = 0
        for pair in pairs.values():
            if (pair[0].sharing == "mps") != mps:
                continue
            need = sum(p.processes for p in pair)
            if need > room:
                out.append((mps, []))
                room = most
            room -= need
            out[-1][1].append(pair)
    return out

"""Continuous batching: a request of N in its body gets N chunks, one a turn, in whatever company it is."""
import json
import time

from ts.utils.util import PredictionException


def criterion(cache, request):
    """What says of each answer: more to come (False), the last one (True), no stream (None)."""
    def stop(_):
        kept = cache[request]
        if kept["stop"] is None:
            return None
        if kept["said"] < kept["of"]:
            return False
        cache.pop(request)
        return True
    return stop


class Continuous:
    def initialize(self, context):
        context.cache = {}

    def handle(self, data, context):
        out = []
        now = list(context.request_ids.values())
        for i, row in enumerate(data):
            request = context.get_request_id(i)
            if request not in context.cache:
                ask = json.loads(bytes(row["body"]))
                context.cache[request] = {"of": ask["of"], "said": 0, "name": ask["name"], "stop": ask.get("stop", 1),
                                          "raise": ask.get("raise"), "sleep": ask.get("sleep", 0.01)}
            kept = context.cache[request]
            kept["said"] += 1
            if kept["raise"] == kept["said"]:
                context.cache.clear()
                raise PredictionException("Bad turn", 400)
            out.append(f"{kept['name']}{kept['said']} " if kept["name"] != "rows" else f"{sorted(row)} ")
        time.sleep(max(context.cache[r]["sleep"] for r in now))
        for r in [r for r in context.cache if r not in now]:
            context.cache.pop(r)
        context.stopping_criteria = [criterion(context.cache, r) for r in now]
        return out

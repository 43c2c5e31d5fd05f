#!/usr/bin/env python3
"""Runs the scenarios with whichever `ts` package comes first on the path, and prints what happened as JSON.

usage: runner.py [NAME…]          PYTHONPATH chooses the package: Sconce's, or TorchServe 0.12's of its own environment

Each scenario runs in a process of its own. TorchServe is driven as its frontend drives it, through its wire protocol.
"""
import importlib.util
import json
import logging
import os
import re
import struct
import sys
import tempfile
import traceback

import scenarios

# JSON is YAML, too.
METRICS = """{"model_metrics": {"gauge": [
  {"name": "HandlerTime", "unit": "ms", "dimensions": ["ModelName", "Level"]},
  {"name": "PredictionTime", "unit": "ms", "dimensions": ["ModelName", "Level"]}]}}
"""


class Ours:
    """Sconce's package, called as its worker calls it."""

    def __init__(self, folder, scenario):
        from ts import log, model_loader

        log.configure()
        metrics = model_loader.load_metrics(os.path.join(folder, "metrics.json"))
        self.service = model_loader.load(
            "m", os.path.join(folder, "model"), scenario["handler"], scenario.get("gpu"), scenario.get("batch_size", 1),
            scenario.get("envelope"), scenario.get("limit_pixels", True), metrics)

    def predict(self, batch):
        from ts.service import decode

        rows = []
        for request in batch:
            headers, row = {}, {}
            for name, content_type, data in request["parameters"]:
                headers[name] = {"content-type": content_type}
                row[name] = decode(bytearray(data.encode("latin-1")), content_type)
            headers.update(request["headers"])
            rows.append((request["id"], headers, row))
        reply = self.service.predict(rows)
        items = []
        for (body, status, phrase, content_type, headers), request in zip(reply.items, batch):
            body = body.encode() if isinstance(body, str) else bytes(body)
            items.append([request["id"], content_type or "", status, phrase, sorted(headers), body.decode("latin-1")])
        return reply.code, reply.message, items


class Theirs:
    """TorchServe's package, through a pair of sockets."""

    def __init__(self, folder, scenario):
        from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
        from ts.model_loader import TsModelLoader

        logging.basicConfig(stream=sys.stdout, format="%(message)s", level=logging.INFO)
        metrics = MetricsCacheYamlImpl(os.path.join(folder, "metrics.json"))
        metrics.initialize_cache()
        metrics.model_name = "m"
        self.service = TsModelLoader().load(
            "m", os.path.join(folder, "model"), scenario["handler"], scenario.get("gpu"), scenario.get("batch_size", 1),
            scenario.get("envelope"), scenario.get("limit_pixels", True), metrics)

    def predict(self, batch):
        import socket

        from ts.protocol.otf_message_handler import retrieve_msg

        ours, theirs = socket.socketpair()
        ours.sendall(frame(batch))
        _, message = retrieve_msg(theirs)
        self.service.set_cl_socket(theirs)
        return unframed(bytes(self.service.predict(message)))


def counted(data):
    data = data.encode() if isinstance(data, str) else data
    return struct.pack("!i", len(data)) + data


def frame(batch):
    end = struct.pack("!i", -1)
    parts = [b"I"]
    for request in batch:
        parts.append(counted(request["id"]))
        parts += [counted(name) + counted(value) for name, value in request["headers"].items()] + [end]
        parts += [counted(name) + counted(kind) + counted(data.encode("latin-1")) for name, kind, data in request["parameters"]]
        parts.append(end)
    return b"".join(parts) + end


def unframed(data):
    place = 0

    def number():
        nonlocal place
        place += 4
        return struct.unpack_from("!i", data, place - 4)[0]

    def octets(length):
        nonlocal place
        place += length
        return data[place - length:place]

    def string():
        return octets(number()).decode()

    code, message, items = number(), string(), []
    while code == 200:
        length = number()
        if length < 0:
            break
        ident, content_type, status, phrase = octets(length).decode(), string(), number(), string()
        headers = sorted((string(), string()) for _ in range(number()))
        headers = [pair for pair in headers if pair[0].lower() != "content-type"]
        items.append([ident, content_type, status, phrase, headers, octets(number()).decode("latin-1")])
    return code, message, items


def plain(text):
    """Output without what differs from run to run, and without where in the sources an exception passed."""
    # The first two lines are the worker's, not the package's.
    text = re.sub(r"(?m)^(Backend received inference at: \d+|Successfully loaded .*)\n", "", text)
    text = re.sub(r"(?m)^(\[METRICS\](?:PredictionTime|HandlerTime|ts_handler_\w+)\.\w+:)[\d.]+", r"\1N", text)
    text = re.sub(r"#hostname:[^,\n]*,\d+", "#hostname:H,T", text)
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID", text)
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"(Self CPU time total: ).*", r"\1N", text)
    return "\n".join(line for line in text.split("\n") if not line.startswith("  "))


def run(scenario):
    """What one scenario comes to, in this process."""
    for name, value in scenario.get("env", {}).items():
        os.environ[name] = value
        for module in [m for m in sys.modules if m == "ts" or m.startswith("ts.")]:
            del sys.modules[module]
    with tempfile.TemporaryDirectory() as folder:
        files = {"model/" + name: text for name, text in scenario["files"].items()}
        files["metrics.json"] = METRICS
        for name, text in files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        model = os.path.join(folder, "model")
        sys.path.insert(0, model)
        os.chdir(model)
        sys.stdout = open(os.path.join(folder, "out"), "w+", encoding="utf-8")
        logging.getLogger().handlers.clear()  # a test runner's
        result = {"name": scenario["name"], "replies": []}
        try:
            exec(scenario.get("prepare", ""), {"model": model})
            ours = importlib.util.find_spec("ts.log") is not None  # TorchServe has no such module
            worker = (Ours if ours else Theirs)(folder, scenario)
            result["load"] = "ok"
        except BaseException as error:
            result["load"] = plain(("%s: %s" % (type(error).__name__, error)).replace(folder, "DIR"))
        else:
            for batch in scenario["batches"]:
                try:
                    result["replies"].append(worker.predict(batch))
                except BaseException as error:
                    result["replies"].append("died: %s: %s" % (type(error).__name__, error))
                    result["trace"] = traceback.format_exc()
        sys.stdout.flush()
        sys.stdout.seek(0)
        result["log"] = plain(sys.stdout.read().replace(folder, "DIR"))
        os.chdir("/")
    return result


def apart(scenario):
    """The same in a process of its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            with os.fdopen(write, "w") as pipe:
                json.dump(run(scenario), pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"name": scenario["name"], "load": "process died"}


def main():
    wanted = sys.argv[1:]
    # Once, for all the processes made below.
    importlib.import_module("ts.model_loader")
    with_torch = importlib.util.find_spec("torch") is not None
    chosen = scenarios.everything() + (scenarios.with_torch() if with_torch else [])
    chosen = [scenario for scenario in chosen if not wanted or scenario["name"] in wanted]
    json.dump([apart(scenario) for scenario in chosen], sys.stdout, indent=1)


if __name__ == "__main__":
    main()

"""What the modes beside plain batching need: streams, sequences, continuous batches. The header x-do says what is done."""
import json
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


class Modes:
    def initialize(self, context):
        self.sums = {}
        self.left = {}
        context.cache = {}

    def handle(self, data, context):
        self.data, self.context = data, context
        what = context.get_request_header(0, "x-do") or "sums"
        return getattr(self, "do_" + what)(context.get_request_header(0, "x-with"))

    def bodies(self):
        return [bytes(row.get("body") or b"").decode() for row in self.data]

    # ---- streams ----

    def send(self, says, of=None, message="Intermediate Prediction success", code=200):
        ids = self.context.request_ids
        send_intermediate_predict_response(says, {i: ids[i] for i in ids if of is None or i in of}, message, code, self.context)

    def do_hello(self, _):
        for _ in range(3):
            self.send(["hello"] * len(self.data))
        return ["hello world "] * len(self.data)

    def do_stream(self, text):
        """{"send": [[what, ...], ...], "of": [indexes, ...], "headers": [[name, value], ...], "end": [...] or "raise"}"""
        ask = json.loads(text)
        for name, value in ask.get("headers", ()):
            for i in range(len(self.data)):
                self.context.set_response_header(i, name, value)
        for status in ask.get("status", ()):
            self.context.set_response_status(*status)
        for i, says in enumerate(ask["send"]):
            self.send(says, of=ask["of"][i] if "of" in ask else None, **ask.get("more", {}))
        end = ask.get("end", [""] * len(self.data))
        if isinstance(end, str):
            raise PredictionException("Bad input", 400) if end == "prediction" else ValueError("x")
        for name, value in ask.get("late", ()):
            self.context.set_response_header(0, name, value)
        return end

    def do_bytes(self, _):
        self.send([b"\x00\xff"] * len(self.data))
        self.send([{"a": 1}] * len(self.data))
        self.send([bytearray(b"ab")] * len(self.data))
        return [["last"]] * len(self.data)

    def do_mixed(self, _):
        """The first streams, the others do not."""
        for i in range(2):
            self.send([f"part {i} "] * len(self.data), of=[0])
        return [f"end {i}" for i in range(len(self.data))]

    def do_exit(self, _):
        self.send(["first "] * len(self.data))
        time.sleep(0.2)
        raise SystemExit(3)

    def do_sleep(self, text):
        time.sleep(float(text))
        return [f"slept, {body}" for body in self.bodies()]

    # ---- sequences: the sum of what a sequence sent ----

    def do_sums(self, text):
        time.sleep(float(text or 0))
        out = []
        for i, body in enumerate(self.bodies()):
            sequence = self.context.get_sequence_id(i)
            started = self.context.get_request_header(i, self.context.header_key_sequence_start) == "true"
            fresh = started or sequence not in self.sums
            self.sums[sequence] = (0 if fresh else self.sums[sequence]) + int(body or 0)
            self.context.set_response_header(i, self.context.header_key_sequence_id, sequence or "none")
            end = self.context.get_request_header(i, "x-end")
            if end:
                self.context.set_response_header(i, self.context.header_key_sequence_end, sequence if end == "yes" else end)
            out.append(f"{self.sums[sequence]}{' new' if fresh else ''}")
        return out

    def do_headers(self, _):
        return [json.dumps({k: v for k, v in self.context.get_all_request_header(i).items() if k.startswith("ts_")},
                           sort_keys=True) for i in range(len(self.data))]



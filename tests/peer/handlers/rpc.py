"""Does what the input `do` of a row asks, with `with`; without it, says what it was given. For gRPC, which has no headers."""
import json
import os
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def tell(value):
    if isinstance(value, (bytes, bytearray)):
        return [type(value).__name__, value.decode("latin-1")]
    if isinstance(value, dict):
        return {k: tell(value[k]) for k in sorted(value)}
    return [type(value).__name__, value]


class Rpc:
    def initialize(self, context):
        self.context = None

    def handle(self, data, context):
        self.context = context
        return [self.one(i, row) for i, row in enumerate(data)]

    def one(self, i, row):
        do, what = (bytes(row.get(key, b"")).decode() if not isinstance(row.get(key), dict) else "" for key in ("do", "with"))
        return getattr(self, "do_" + (do or "rows"))(i, row, what)

    def do_rows(self, i, row, what):
        return json.dumps({"row": tell(row), "headers": tell(dict(self.context.get_all_request_header(i)))})

    def do_python(self, i, row, what):
        return eval(what, {"row": row, "context": self.context})

    def do_raise(self, i, row, what):
        raise eval(what)

    def do_refuse(self, i, row, what):
        raise PredictionException(*json.loads(what))

    def do_status(self, i, row, what):
        self.context.set_response_status(int(what), "A phrase", i)
        self.context.set_response_header(i, "x-one", "1")
        return "answer"

    def do_sleep(self, i, row, what):
        time.sleep(float(what))
        return "slept"

    def do_stream(self, i, row, what):
        *parts, last = json.loads(what)
        for part in parts:
            send_intermediate_predict_response([part], self.context.request_ids, "Intermediate", 200, self.context)
        return last

    def do_exit(self, i, row, what):
        os._exit(1)

    def describe_handle(self):
        return {"a": 1, "b": ["x", None]}

"""An async handler: the body says what is done."""
import asyncio
import json
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


class Asynchronous:
    def initialize(self, context):
        self.seen = 0
        self.at_once = self.most = 0
        context.kept = "kept"

    async def handle(self, data, context):
        self.seen += 1
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            ask = json.loads(bytes(data[0]["body"]))
            return await getattr(self, "do_" + ask.pop("do"))(data, context, **ask)
        finally:
            self.at_once -= 1

    async def do_echo(self, data, context, say, sleep=0.0):
        await asyncio.sleep(sleep)
        return [say]

    async def do_most(self, data, context):
        return [str(self.most)]

    async def do_stream(self, data, context, say, sleep=0.0, fail=None):
        for part in say[:-1]:
            send_intermediate_predict_response([part], context.request_ids, "Intermediate Prediction success", 200, context)
            await asyncio.sleep(sleep)
        if fail:
            raise ValueError("x")
        return [say[-1]]

    async def do_tasks(self, data, context, n):
        async def one(i):
            await asyncio.sleep(0.01 * (n - i))
            return i

        return [json.dumps(await asyncio.gather(*(asyncio.create_task(one(i)) for i in range(n))))]

    async def do_raise(self, data, context, code=None):
        await asyncio.sleep(0)
        if code:
            raise PredictionException("Bad input", code)
        raise ValueError("no good")

    async def do_busy(self, data, context, sleep):
        time.sleep(sleep)
        return ["done"]

    async def do_list(self, data, context, value):
        return value

    async def do_respond(self, data, context):
        context.set_response_header(0, "x-one", "1")
        context.set_response_content_type(0, "text/csv")
        context.set_response_status(202, "Taken")
        return ["a,b"]

    async def do_context(self, data, context):
        before = getattr(context, "kept", None)
        context.kept = "changed"
        return [{"kept": before, "processors": len(context.request_processor), "ids": len(context.request_ids)}]

    async def do_rows(self, data, context):
        return [str(len(data))]

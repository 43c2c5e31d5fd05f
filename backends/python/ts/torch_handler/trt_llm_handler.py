"""Large language models behind TensorRT-LLM's engine."""
import importlib
import json
import logging
import os
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.service import PredictionException
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.needs import needs

logger = logging.getLogger(__name__)

# Where TensorRT-LLM's releases keep a name, the newest first. The engine folder is for the class that runs built engines.
_PLACES = {
    "LLM": ("tensorrt_llm._tensorrt_engine", "tensorrt_llm", "tensorrt_llm.hlapi"),
    "SamplingParams": ("tensorrt_llm", "tensorrt_llm.llmapi", "tensorrt_llm.hlapi"),
    "KvCacheConfig": ("tensorrt_llm.llmapi", "tensorrt_llm.hlapi"),
}


def _found(name):
    needs("tensorrt_llm", "tensorrt-llm", "trt_llm_handler")
    for place in _PLACES[name]:
        try:
            found = getattr(importlib.import_module(place), name, None)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("tensorrt_llm"):
                raise
            continue
        if found is not None:
            return found
    raise ImportError("this release of TensorRT-LLM has no %s in any of %s" % (name, ", ".join(_PLACES[name])))


class TRTLLMHandler(BaseHandler):
    """Reads `handler: {engine_dir, tokenizer_dir, kv_cache_config}`. Serves one request per call and many calls at a
    time: needs `asyncCommunication: true`."""

    def __init__(self):
        super().__init__()
        self.trt_llm_engine = None
        self.tokenizer = None

    def initialize(self, ctx):
        """Starts the engine. ValueError for a configuration without one."""
        self.context = ctx
        self.model_yaml_config = getattr(ctx, "model_yaml_config", None) or {}
        config = self.model_yaml_config.get("handler") or {}
        for key in ("engine_dir", "tokenizer_dir"):
            if not config.get(key):
                raise ValueError("the model's configuration has no handler: {%s}" % key)
        folder = ctx.system_properties.get("model_dir")
        engine, tokenizer = (self._inside(folder, config[key]) for key in ("engine_dir", "tokenizer_dir"))
        arguments = {"model": engine, "tokenizer": tokenizer}
        if config.get("kv_cache_config"):
            arguments["kv_cache_config"] = _found("KvCacheConfig")(**config["kv_cache_config"])
        self.trt_llm_engine = _found("LLM")(**arguments)
        self.initialized = True

    @staticmethod
    def _inside(folder, name):
        path = os.path.join(folder, name)
        return path if os.path.exists(path) else name

    async def handle(self, data, context):
        """One request, hence one result: the text, or the last part of a stream. PredictionException 400 for a body that
        is no request."""
        start = time.time()
        if context.get_request_header(0, "describe") == "True":
            return [self.describe_handle()]
        results = await self.inference(await self.preprocess(data), context)
        context.metrics.add_time("HandlerTime", round((time.time() - start) * 1000, 2), None, "ms")
        return results

    async def preprocess(self, requests):
        """The request's body as a dict with a `prompt`."""
        assert len(requests) == 1, "the TensorRT-LLM handler takes one request at a time: batchSize must be 1"
        body = requests[0].get("data") or requests[0].get("body")
        if isinstance(body, (bytes, bytearray, str)):
            try:
                body = json.loads(body)
            except ValueError as error:
                raise PredictionException("The body is no JSON: %s" % error, 400) from error
        if not isinstance(body, dict) or not isinstance(body.get("prompt"), str):
            raise PredictionException("The body is no JSON object with a text prompt", 400)
        return dict(body)

    async def inference(self, body, context):
        prompt, streaming = body.pop("prompt"), bool(body.pop("streaming", False))
        try:
            sampling = _found("SamplingParams")(**body)
        except (TypeError, ValueError) as error:
            raise PredictionException("Bad sampling parameters: %s" % error, 400) from error
        answer = self.trt_llm_engine.generate_async(prompt, sampling_params=sampling, streaming=streaming)
        if not streaming:
            return [(await answer).outputs[0].text]
        # The last part goes by return, so each is held until the next is there.
        held, said = None, ""
        async for output in answer:
            text = output.outputs[0].text
            part, said = text[len(said):], text
            if held is not None:
                send_intermediate_predict_response([held], context.request_ids, "Result", 200, context)
            held = part
        return [held or ""]

    async def postprocess(self, inference_outputs):
        return inference_outputs

"""Large language models behind vLLM's engine, asked as OpenAI's API is."""
import importlib
import inspect
import json
import logging
import os
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.service import PredictionException
from ts.torch_handler.base_handler import BaseHandler
from ts.utils.needs import needs

logger = logging.getLogger(__name__)

_OPENAI = "vllm.entrypoints.openai."
# Where vLLM's releases keep a name, the newest first.
_PLACES = {
    "CompletionRequest": ("completion.protocol", "protocol"),
    "ChatCompletionRequest": ("chat_completion.protocol", "protocol"),
    "ErrorResponse": ("engine.protocol", "protocol"),
    "OpenAIServingCompletion": ("completion.serving", "serving_completion"),
    "OpenAIServingChat": ("chat_completion.serving", "serving_chat"),
    "OpenAIServingModels": ("models.serving", "serving_models"),
    "BaseModelPath": ("models.protocol", "serving_models", "serving_engine"),
    "LoRAModulePath": ("models.protocol", "serving_models", "serving_engine"),
}
_DONE = "data: [DONE]"


def _openai(name):
    """A class of vLLM's OpenAI face; None where this release has none of that name."""
    for place in _PLACES[name]:
        try:
            found = getattr(importlib.import_module(_OPENAI + place), name, None)
        except ModuleNotFoundError as error:
            if not (error.name or "").startswith("vllm"):
                raise
            continue
        if found is not None:
            return found
    return None


def _made(cls, **arguments):
    """An object of a class, with those of the arguments that its release of vLLM takes."""
    taken = inspect.signature(cls).parameters
    return cls(**{name: value for name, value in arguments.items() if name in taken})


class VLLMHandler(BaseHandler):
    """Reads `handler: {model_path, vllm_engine_config, adapters: {name: path}, chat_template}`. Serves one request per
    call and many calls at a time: needs `asyncCommunication: true`."""

    def __init__(self):
        super().__init__()
        self.vllm_engine = None
        self.model_config = None
        self.served_model_names = []
        self.models = None
        self.chat_completion_service = None
        self.completion_service = None

    def initialize(self, ctx):
        """Starts the engine. ValueError for a configuration without a model."""
        self.context = ctx
        self.model_yaml_config = getattr(ctx, "model_yaml_config", None) or {}
        config = self.model_yaml_config.get("handler") or {}
        folder = ctx.system_properties.get("model_dir")
        vllm = needs("vllm", "vllm", "vllm_handler")
        arguments = dict(config.get("vllm_engine_config") or {})
        arguments["model"] = self._model(config, arguments, folder)
        names = arguments.get("served_model_name") or ctx.model_name
        self.served_model_names = [names] if isinstance(names, str) else list(names)
        self.adapters = {name: os.path.join(folder, path) for name, path in (config.get("adapters") or {}).items()}
        self.chat_template = config.get("chat_template")
        self.vllm_engine = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(**arguments))
        self.initialized = True

    @staticmethod
    def _model(config, arguments, folder):
        """The model's folder in the archive, else the path or hub name as it is written."""
        name = config.get("model_path") or arguments.get("model")
        if not name:
            raise ValueError("the model's configuration has no handler: {model_path} or vllm_engine_config: {model}")
        inside = os.path.join(folder, name)
        return inside if os.path.exists(inside) else name

    async def _start(self):
        """The services, once the loop runs in which the engine lives."""
        engine = self.vllm_engine
        config = getattr(engine, "model_config", None)
        if config is None:
            config = engine.get_model_config()
            config = await config if inspect.isawaitable(config) else config
        self.model_config = config
        base, lora = _openai("BaseModelPath"), _openai("LoRAModulePath")
        paths = [base(name=name, model_path=config.model) for name in self.served_model_names] if base else None
        adapters = [lora(name=name, path=path) for name, path in self.adapters.items()] if lora else None
        common = dict(engine_client=engine, engine=engine, async_engine_client=engine, model_config=config,
                      base_model_paths=paths, served_model_names=self.served_model_names, lora_modules=adapters or None,
                      prompt_adapters=None, request_logger=None)
        models = _openai("OpenAIServingModels")
        if models is not None:
            self.models = _made(models, **common)
            load = getattr(self.models, "init_static_loras", None)
            if load is not None:
                await load()
            common["models"] = self.models
        self.completion_service = _made(_openai("OpenAIServingCompletion"), **common)
        self.chat_completion_service = _made(
            _openai("OpenAIServingChat"), response_role="assistant", chat_template=self.chat_template,
            chat_template_content_format="auto", **common)

    async def handle(self, data, context):
        """One request, hence one result: a JSON object, or the last part of a stream. PredictionException 404 for a path
        that is no endpoint, 400 for a body that is no request."""
        start = time.time()
        if context.get_request_header(0, "describe") == "True":
            return [self.describe_handle()]
        results = await self.inference(await self.preprocess(data, context), context)
        context.metrics.add_time("HandlerTime", round((time.time() - start) * 1000, 2), None, "ms")
        return results

    async def preprocess(self, requests, context):
        """The request's body as a dict."""
        assert len(requests) == 1, "the vLLM handler takes one request at a time: batchSize must be 1"
        body = requests[0].get("data") or requests[0].get("body")
        if isinstance(body, (bytes, bytearray, str)):
            try:
                body = json.loads(body)
            except ValueError as error:
                raise PredictionException("The body is no JSON: %s" % error, 400) from error
        return body or {}

    async def inference(self, body, context):
        path = (context.get_request_header(0, "url_path") or "").strip("/")
        if path not in ("v1/models", "v1/completions", "v1/chat/completions"):
            raise PredictionException("Unknown API endpoint: %s" % path, 404)
        if self.completion_service is None:
            await self._start()
        if path == "v1/models":
            answer = (self.models or self.completion_service).show_available_models()
        elif path == "v1/completions":
            request = self._request("CompletionRequest", body)
            answer = self.completion_service.create_completion(request)
        else:
            request = self._request("ChatCompletionRequest", body)
            answer = self.chat_completion_service.create_chat_completion(request)
        if inspect.isawaitable(answer):
            answer = await answer
        if hasattr(answer, "__aiter__"):
            return await self._streamed(answer, context)
        self._report_error(answer, context)
        return [answer.model_dump()]

    @staticmethod
    def _request(name, body):
        try:
            return _openai(name).model_validate(body)
        except ValueError as error:  # pydantic's is one
            raise PredictionException(str(error), 400) from error

    @staticmethod
    def _report_error(answer, context):
        """vLLM tells an error in the answer; its status is the answer's, too."""
        kind = _openai("ErrorResponse")
        if kind is None or not isinstance(answer, kind):
            return
        code = getattr(answer, "code", None) or getattr(getattr(answer, "error", None), "code", None)
        if isinstance(code, int) and 400 <= code < 600:
            context.set_response_status(code, idx=0)

    @staticmethod
    async def _streamed(parts, context):
        last = ""
        async for last in parts:
            if last.strip() != _DONE:
                send_intermediate_predict_response([last], context.request_ids, "Result", 200, context)
        return [last if last.strip() == _DONE else ""]

    async def postprocess(self, inference_outputs):
        return inference_outputs

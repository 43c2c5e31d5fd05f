"""The handlers of packages that need a GPU, and more of the machine than a test has: vLLM, TensorRT-LLM, DALI, DeepSpeed,
PiPPy. Small stand-ins of those packages show that requests reach the right call, in the right order, and what errors
come of it; they do not show that a real release takes the calls. Needs torch.
"""
import asyncio
import importlib
import json
import sys
import textwrap

import pytest

pytest.importorskip("torch")

from ts.context import Context  # noqa: E402
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl  # noqa: E402
from ts.utils.util import PredictionException  # noqa: E402

VLLM = {
    "vllm/__init__.py": """
        class AsyncEngineArgs:
            def __init__(self, **arguments):
                self.__dict__.update(arguments)

        class AsyncLLMEngine:
            @classmethod
            def from_engine_args(cls, args):
                self = cls()
                self.args = args
                self.model_config = args
                return self
        """,
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/openai/__init__.py": "",
    "vllm/entrypoints/openai/protocol.py": """
        class Said(dict):
            def model_dump(self):
                return dict(self)

        class Request(dict):
            @classmethod
            def model_validate(cls, body):
                if not isinstance(body, dict) or "model" not in body:
                    raise ValueError("model: Field required")
                return cls(body)

        class CompletionRequest(Request): pass
        class ChatCompletionRequest(Request): pass

        class ErrorResponse(Said):
            @property
            def code(self):
                return self["code"]

        async def answer(request, names, extra):
            if request["model"] not in names:
                return ErrorResponse(object="error", message="no model", code=404)
            if not request.get("stream"):
                return Said(model=request["model"], kind=type(request).__name__, **extra)
            async def parts():
                for n in range(3):
                    yield 'data: {"n": %d}\\n\\n' % n
                yield "data: [DONE]\\n\\n"
            return parts()
        """,
    "vllm/entrypoints/openai/serving_models.py": """
        from .protocol import Said

        class BaseModelPath:
            def __init__(self, name, model_path):
                self.name, self.model_path = name, model_path

        class LoRAModulePath:
            def __init__(self, name, path):
                self.name, self.path = name, path

        class OpenAIServingModels:
            def __init__(self, engine_client, base_model_paths, *, lora_modules=None):
                self.names = [m.name for m in base_model_paths] + [m.name for m in lora_modules or ()]

            async def show_available_models(self):
                return Said(object="list", data=[{"id": name} for name in self.names])
        """,
    "vllm/entrypoints/openai/serving_completion.py": """
        from .protocol import answer

        class OpenAIServingCompletion:
            def __init__(self, engine_client, models, *, request_logger):
                self.models = models

            async def create_completion(self, request, raw_request=None):
                return await answer(request, self.models.names, {})
        """,
    "vllm/entrypoints/openai/serving_chat.py": """
        from .protocol import answer

        class OpenAIServingChat:
            def __init__(self, engine_client, models, response_role, *, request_logger, chat_template, chat_template_content_format):
                self.models, self.template = models, chat_template

            async def create_chat_completion(self, request, raw_request=None):
                return await answer(request, self.models.names, {"template": self.template})
        """,
}
TRT = {"tensorrt_llm/__init__.py": """
    class SamplingParams:
        def __init__(self, temperature=1.0, max_tokens=3):
            self.max_tokens = max_tokens

    class Out:
        def __init__(self, text):
            self.outputs = [type("O", (), {"text": text})()]

    class LLM:
        def __init__(self, model, tokenizer, kv_cache_config=None):
            self.made = (model, tokenizer, kv_cache_config)

        def generate_async(self, prompt, sampling_params, streaming):
            words = [prompt + str(n) + " " for n in range(sampling_params.max_tokens)]
            if not streaming:
                async def whole():
                    return Out("".join(words))
                return whole()
            async def parts():
                for n in range(len(words)):
                    yield Out("".join(words[:n + 1]))
            return parts()
    """, "tensorrt_llm/llmapi.py": "class KvCacheConfig:\n    def __init__(self, **k):\n        self.k = k\n"}


class Connection:
    """What a worker's connection does with the parts of a stream: here it keeps them."""

    def __init__(self):
        self.sent = []

    def send_intermediate(self, ret, req_id_map, message, code, context):
        self.sent.append((ret, dict(req_id_map), code))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A function that puts files on the path; what was imported of them is forgotten at the end."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def lay(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        importlib.invalidate_caches()

    yield lay
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("vllm", "tensorrt_llm", "deepspeed", "nvidia"):
            del sys.modules[name]


def context(folder, config, url_path="", ids=("a",)):
    made = Context("m", str(folder), None, 1, None, "0.12.0", metrics=MetricsCacheYamlImpl(None, declarations={}),
                   model_yaml_config=config)
    made.begin(ids, tuple({"url_path": url_path} for _ in ids))
    made.cl_socket = Connection()
    return made


@pytest.fixture
def vllm(package, tmp_path):
    package(VLLM)
    from ts.torch_handler.vllm_handler import VLLMHandler

    (tmp_path / "weights").mkdir()
    config = {"handler": {"model_path": "weights", "vllm_engine_config": {"max_num_seqs": 4, "served_model_name": "llm"},
                          "adapters": {"tuned": "adapters/tuned"}, "chat_template": "T"}}
    handler = VLLMHandler()
    handler.initialize(context(tmp_path, config))

    def ask(path, body, raw=False):
        asked = context(tmp_path, config, path)
        row = {"body": body if raw else bytearray(json.dumps(body).encode())}
        return asyncio.run(handler.handle([row], asked)), asked
    ask.handler = handler
    return ask


def test_vllm_engine_gets_the_model_and_its_settings(vllm, tmp_path):
    assert vars(vllm.handler.vllm_engine.args) == {"model": str(tmp_path / "weights"), "max_num_seqs": 4, "served_model_name": "llm"}


def test_vllm_routes_by_path(vllm):
    (models,), _ = vllm("v1/models", {})
    assert models == {"object": "list", "data": [{"id": "llm"}, {"id": "tuned"}]}
    (whole,), _ = vllm("v1/completions", {"model": "llm", "prompt": "p"})
    assert whole == {"model": "llm", "kind": "CompletionRequest"}
    (chat,), _ = vllm("v1/chat/completions", {"model": "tuned", "messages": []}, raw=True)
    assert chat == {"model": "tuned", "kind": "ChatCompletionRequest", "template": "T"}


@pytest.mark.parametrize("path", ["", "v1", "v2/completions", "v1/completions/x", "../v1/models"])
def test_vllm_other_paths_are_404(vllm, path):
    with pytest.raises(PredictionException, match="Unknown API endpoint") as told:
        vllm(path, {"model": "llm"})
    assert told.value.error_code == 404


def test_vllm_stream_comes_in_order_and_ends_by_return(vllm):
    answer, asked = vllm("v1/completions", {"model": "llm", "stream": True})
    assert asked.cl_socket.sent == [(['data: {"n": %d}\n\n' % n], {0: "a"}, 200) for n in range(3)]
    assert answer == ["data: [DONE]\n\n"]


@pytest.mark.parametrize("body", [bytearray(b"{"), bytearray(b"\xff"), [1], {"prompt": "no model"}, 3])
def test_vllm_body_that_is_no_request_is_400(vllm, body):
    with pytest.raises(PredictionException) as told:
        vllm("v1/completions", body, raw=True)
    assert told.value.error_code == 400


def test_vllm_error_keeps_its_status(vllm):
    (answer,), asked = vllm("v1/completions", {"model": "other"})
    assert answer["code"] == 404 and asked.get_response_status(0)[0] == 404


def test_vllm_takes_one_request(vllm, tmp_path):
    with pytest.raises(AssertionError):
        asyncio.run(vllm.handler.handle([{}, {}], context(tmp_path, {}, ids=("a", "b"))))


@pytest.fixture
def trt(package, tmp_path):
    package(TRT)
    from ts.torch_handler.trt_llm_handler import TRTLLMHandler

    config = {"handler": {"engine_dir": "engine", "tokenizer_dir": "hub/name", "kv_cache_config": {"free": 0.1}}}
    (tmp_path / "engine").mkdir()
    handler = TRTLLMHandler()
    handler.initialize(context(tmp_path, config))

    def ask(body):
        asked = context(tmp_path, config)
        return asyncio.run(handler.handle([{"body": body}], asked)), asked
    ask.handler = handler
    return ask


def test_trt_answers_whole_or_in_parts(trt, tmp_path):
    model, tokenizer, cache = trt.handler.trt_llm_engine.made
    assert (model, tokenizer, cache.k) == (str(tmp_path / "engine"), "hub/name", {"free": 0.1})
    answer, asked = trt({"prompt": "x", "max_tokens": 2})
    assert answer == ["x0 x1 "] and asked.cl_socket.sent == []
    answer, asked = trt({"prompt": "x", "streaming": True})
    assert asked.cl_socket.sent == [(["x0 "], {0: "a"}, 200), (["x1 "], {0: "a"}, 200)]
    assert answer == ["x2 "]


@pytest.mark.parametrize("body", [bytearray(b"nothing"), {}, {"prompt": 3}, [1], {"prompt": "x", "no_such_setting": 1}])
def test_trt_body_that_is_no_request_is_400(trt, body):
    with pytest.raises(PredictionException) as told:
        trt(body)
    assert told.value.error_code == 400


@pytest.mark.parametrize("name, pip", [
    ("vllm_handler", "vllm"), ("trt_llm_handler", "tensorrt-llm"), ("dali_handler", "nvidia-dali-cuda120"),
])
def test_what_is_missing_is_named_with_what_installs_it(name, pip, tmp_path):
    module = importlib.import_module("ts.torch_handler." + name)
    top = {"vllm": "vllm", "tensorrt-llm": "tensorrt_llm"}.get(pip, "nvidia")
    if importlib.util.find_spec(top) is not None:
        pytest.skip("%s is installed" % pip)
    config = {"handler": {"model_path": "x", "engine_dir": "x", "tokenizer_dir": "x"}, "dali": {"batch_size": 1, "num_threads": 1}}
    with pytest.raises(ModuleNotFoundError, match="pip install %s" % pip):
        if name == "dali_handler":
            module.get_dali_pipeline(context(tmp_path, config))
        else:
            next(cls for key, cls in vars(module).items() if key.endswith("LLMHandler"))().initialize(context(tmp_path, config))


def test_deepspeed_gets_the_configuration_and_the_list_of_checkpoints(package, tmp_path):
    package({"deepspeed/__init__.py": "def init_inference(model, config, checkpoint):\n    return (model, config, checkpoint)\n",
             "ds.json": "{}", "model/a/one.bin": "", "model/two.pt": "", "model/config.json": ""})
    from ts.handler_utils.distributed.deepspeed import get_ds_engine

    config = {"deepspeed": {"config": "ds.json"}, "handler": {"model_path": "model"}}
    made = get_ds_engine("net", context(tmp_path, config))
    assert made == ("net", str(tmp_path / "ds.json"), str(tmp_path / "checkpoints.json"))
    assert json.loads((tmp_path / "checkpoints.json").read_text()) == {
        "type": "ds_model", "version": 1.0, "checkpoints": [str(tmp_path / "model/a/one.bin"), str(tmp_path / "model/two.pt")]}


@pytest.mark.parametrize("config", [{}, {"deepspeed": {}}, {"deepspeed": {"config": "missing.json"}}, {"deepspeed": "x"}])
def test_deepspeed_without_its_configuration(config, tmp_path):
    from ts.handler_utils.distributed.deepspeed import get_ds_engine

    with pytest.raises(ValueError, match="deepspeed|DeepSpeed"):
        get_ds_engine("net", context(tmp_path, config))


@pytest.mark.parametrize("config, said", [
    ({}, "pippy"), ({"pippy": {"model_type": "HF"}}, "input_names"), ({"pippy": {"input_names": ["x"]}}, "model_type"),
    ({"pippy": {"input_names": ["x"], "model_type": "HF"}}, "handler"),
    ({"pippy": {"input_names": ["x"], "model_type": "HF"}, "handler": {"model_path": "m", "index_filename": "i"}}, "index"),
])
def test_pippy_without_its_configuration(config, said, tmp_path):
    from ts.handler_utils.distributed.pt_pippy import get_pipeline_driver

    with pytest.raises(ValueError, match=said):
        get_pipeline_driver("net", 2, context(tmp_path, config))


def test_pippy_rank_joins_torchs_rpc(tmp_path, monkeypatch):
    import torch.distributed.rpc as rpc
    from ts.torch_handler.distributed.base_pippy_handler import BasePippyHandler

    for name, value in {"LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}.items():
        monkeypatch.setenv(name, value)
    handler = type("H", (BasePippyHandler,), {})()
    handler.initialize(context(tmp_path, {"pippy": {"rpc_timeout": 60, "num_worker_threads": 4}}))
    assert (handler.local_rank, handler.world_size) == (0, 1)
    assert rpc.rpc_sync("worker0", len, args=("four",)) == 4
    rpc.shutdown()


def test_deepspeed_handler_takes_its_ranks_device(monkeypatch):
    from ts.torch_handler.distributed.base_deepspeed_handler import BaseDeepSpeedHandler

    monkeypatch.setenv("LOCAL_RANK", "3")
    handler = type("H", (BaseDeepSpeedHandler,), {})()
    handler.initialize(None)
    assert handler.device == 3

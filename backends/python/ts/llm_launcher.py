"""`python -m ts.llm_launcher --model_id ID`: serves one large language model until Ctrl-C.

Writes a model folder with a configuration into the model store and starts the server on it. The engine (vllm, or
tensorrt_llm) must be installed; its handler is ts.torch_handler.vllm_handler or trt_llm_handler.
"""
import argparse
import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from signal import pause

from ts.launcher import start, stop
from ts.utils.hf_utils import download_model

ENGINES = {"vllm": "vllm_handler", "trt_llm": "trt_llm_handler"}


def get_model_config(args, model_snapshot_path=None):
    """The model's configuration as a dict. ValueError for an engine that is not known."""
    config = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "maxBatchDelay": 100, "responseTimeout": 1200,
              "startupTimeout": args.startup_timeout, "deviceType": "gpu", "asyncCommunication": True}
    if args.engine == "vllm":
        devices = _devices()
        folder = _option(args, "vllm_engine.download_dir")
        config["parallelLevel"] = devices
        config["handler"] = {
            "model_path": args.model_id,
            "vllm_engine_config": {
                "max_num_seqs": _option(args, "vllm_engine.max_num_seqs"),
                "max_model_len": _option(args, "vllm_engine.max_model_len"),
                "download_dir": folder and os.path.abspath(folder),
                "tensor_parallel_size": devices,
            },
        }
    elif args.engine == "trt_llm":
        config["handler"] = {
            "tokenizer_dir": model_snapshot_path or args.model_id,
            "engine_dir": "%s-engine" % args.model_name,
            "kv_cache_config": {
                "free_gpu_memory_fraction": _option(args, "trt_llm_engine.kv_cache_free_gpu_memory_fraction")},
        }
    else:
        raise ValueError("Unsupported LLM engine: %s; there are %s" % (args.engine, ", ".join(ENGINES)))
    return config


@contextmanager
def create_mar_file(args, model_snapshot_path=None):
    """`with`: makes the model's folder in the model store, by torch-model-archiver, and gives its path. It stays."""
    config = get_model_config(args, model_snapshot_path)
    store = Path(args.model_store)
    store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model-config.yaml")
        with open(file, "w", encoding="utf-8") as out:
            json.dump(config, out, indent=1)  # JSON is YAML, too
        subprocess.run(
            ["torch-model-archiver", "--model-name", args.model_name, "--version", "1.0", "--handler", ENGINES[args.engine],
             "--config-file", file, "--archive-format", "no-archive", "--export-path", str(store), "--force"], check=True)
    made = store / args.model_name
    assert made.exists(), "torch-model-archiver did not make %s" % made
    yield made.as_posix()


def create_tensorrt_llm_engine(model_store, model_name, dtype, snapshot_path, max_batch_size):
    """Builds the engine of tensorrt_llm from a snapshot, into the model's folder, unless it is there."""
    model = Path(model_store) / model_name
    engine = model / ("%s-engine" % model_name)
    if engine.exists():
        return
    from tensorrt_llm import LLM, BuildConfig

    built = LLM(snapshot_path, dtype=dtype, build_config=BuildConfig(max_batch_size=max_batch_size))
    built.save(str(engine))


def main(args):
    """Makes the model, serves it and waits for Ctrl-C."""
    snapshot = download_model(args.model_id) if args.engine == "trt_llm" else None
    with create_mar_file(args, snapshot):
        if args.engine == "trt_llm":
            create_tensorrt_llm_engine(args.model_store, args.model_name, args.dtype, snapshot,
                                       _option(args, "trt_llm_engine.max_batch_size"))
        try:
            start(model_store=args.model_store, no_config_snapshots=True, models=args.model_name,
                  disable_token=args.disable_token_auth)
            pause()
        except KeyboardInterrupt:
            pass
        finally:
            stop(wait=False)


def parser():
    """The command's options."""
    options = argparse.ArgumentParser(prog="llm_launcher.py")
    add = options.add_argument
    add("--model_name", default="model", help="name of the model")
    add("--model_store", default="model_store", help="folder of the models")
    add("--model_id", default="meta-llama/Meta-Llama-3.1-8B-Instruct", help="name of the model at its hub, or a folder")
    add("--disable_token_auth", action="store_true", help="no tokens")
    add("--vllm_engine.max_num_seqs", type=int, default=256, help="sequences at once")
    add("--vllm_engine.max_model_len", type=int, default=None, help="length of the context")
    add("--vllm_engine.download_dir", default=None, help="where downloads are kept")
    add("--startup_timeout", type=int, default=1200, help="seconds that a start may take")
    add("--engine", default="vllm", choices=list(ENGINES), help="what runs the model")
    add("--dtype", default="bfloat16", help="type of the weights (trt_llm)")
    add("--trt_llm_engine.max_batch_size", type=int, default=4, help="requests at once")
    add("--trt_llm_engine.kv_cache_free_gpu_memory_fraction", type=float, default=0.1, help="share of free GPU memory")
    return options


def _option(args, name):
    return getattr(args, name)


def _devices():
    try:
        import torch
    except ImportError:
        return 0
    return torch.cuda.device_count()


if __name__ == "__main__":
    main(parser().parse_args())

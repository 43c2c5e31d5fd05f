"""Inference with DeepSpeed: a model spread over the ranks of a worker."""
import json
import logging
import os

from ts.utils.needs import needs

logger = logging.getLogger(__name__)


def _section(ctx, name):
    section = (ctx.model_yaml_config or {}).get(name)
    return section if isinstance(section, dict) else {}


def create_checkpoints_json(model_path, checkpoints_json):
    """Writes the list of a folder's checkpoint files (.bin and .pt, in all its folders) in the form that DeepSpeed reads."""
    files = sorted(os.path.join(folder, name) for folder, _, names in os.walk(model_path)
                   for name in names if name.endswith((".bin", ".pt")))
    with open(checkpoints_json, "w", encoding="utf-8") as file:
        json.dump({"type": "ds_model", "checkpoints": files, "version": 1.0}, file)


def get_ds_engine(model, ctx):
    """The engine of `deepspeed: {config: FILE, checkpoint: FILE}`, both in the archive. Without `checkpoint`, and where the
    handler's section has a `model_path`, the list of its checkpoint files is written first. ValueError for a section or
    file that is not there."""
    section, model_dir = _section(ctx, "deepspeed"), ctx.system_properties.get("model_dir")
    if not section.get("config"):
        raise ValueError("the model's configuration has no deepspeed: {config: FILE}")
    config = os.path.join(model_dir, section["config"])
    if not os.path.isfile(config):
        raise ValueError("the archive lacks the DeepSpeed configuration %s" % section["config"])
    checkpoint = None
    if section.get("checkpoint"):
        checkpoint = os.path.join(model_dir, section["checkpoint"])
        if not os.path.isfile(checkpoint):
            raise ValueError("the archive lacks the checkpoint list %s" % section["checkpoint"])
    elif _section(ctx, "handler").get("model_path"):
        folder = os.path.join(model_dir, _section(ctx, "handler")["model_path"])
        if not os.path.isdir(folder):
            raise ValueError("there is no folder %s" % folder)
        checkpoint = os.path.join(model_dir, "checkpoints.json")
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one list for all ranks: whoever comes late finds it
            create_checkpoints_json(folder, checkpoint + ".new")
            os.replace(checkpoint + ".new", checkpoint)
        else:
            _wait_for(checkpoint)
    engine = needs("deepspeed", "deepspeed", "a handler with a deepspeed section")
    logger.info("Creating the DeepSpeed engine")
    return engine.init_inference(model, config=config, checkpoint=checkpoint)


def _wait_for(path, seconds=60):
    import time

    end = time.monotonic() + seconds
    while not os.path.isfile(path):
        if time.monotonic() > end:
            raise RuntimeError("rank 0 has not written %s within %d s" % (path, seconds))
        time.sleep(0.05)

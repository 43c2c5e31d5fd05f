"""Pipelines of NVIDIA DALI, which decodes and scales images on the device."""
import os

from ts.utils.needs import needs

_WHO, _PACKAGE = "a handler with a dali section", "nvidia-dali-cuda120"
_IMAGENET_MEAN = [0.485 * 255, 0.456 * 255, 0.406 * 255]
_IMAGENET_STD = [0.229 * 255, 0.224 * 255, 0.225 * 255]


def _settings(ctx):
    config = (ctx.model_yaml_config or {}).get("dali")
    if not isinstance(config, dict):
        raise ValueError("the model's configuration has no section dali: {batch_size, num_threads, device_id, seed}")
    missing = [key for key in ("batch_size", "num_threads") if key not in config]
    if missing:
        raise ValueError("the section dali of the model's configuration lacks %s" % ", ".join(missing))
    return config


def default_pipeline(config, device="cpu"):
    """What image_classifier does to an image: shorter side 256, the middle 224 x 224, ImageNet's mean and deviation.
    Fed by an external source named `source`."""
    dali = needs("nvidia.dali", _PACKAGE, _WHO)
    functions, types = needs("nvidia.dali.fn", _PACKAGE, _WHO), needs("nvidia.dali.types", _PACKAGE, _WHO)

    gpu = device == "gpu"
    pipeline = dali.Pipeline(batch_size=config["batch_size"], num_threads=config["num_threads"],
                             device_id=config.get("device_id", 0) if gpu else None, seed=config.get("seed", -1),
                             prefetch_queue_depth=1)
    with pipeline:
        encoded = functions.external_source(name="source", device="cpu", dtype=types.UINT8, ndim=1)
        images = functions.decoders.image(encoded, device="mixed" if gpu else "cpu", output_type=types.RGB)
        images = functions.resize(images, resize_shorter=256)
        images = functions.crop_mirror_normalize(images, dtype=types.FLOAT, output_layout="CHW", crop=(224, 224),
                                                 mean=_IMAGENET_MEAN, std=_IMAGENET_STD)
        pipeline.set_outputs(images)
    return pipeline


def get_dali_pipeline(ctx):
    """The pipeline that the model's configuration asks for, not built yet: that of `dali: {pipeline_file: …}`, a file
    that DALI serialized, else `default_pipeline`. ValueError for a section that lacks something, FileNotFoundError for a
    file that is not there."""
    config = _settings(ctx)
    file = config.get("pipeline_file")
    if not file:
        import torch

        return default_pipeline(config, "gpu" if torch.cuda.is_available() else "cpu")
    path = os.path.join(ctx.system_properties.get("model_dir"), file)
    if not os.path.isfile(path):
        raise FileNotFoundError("the archive lacks the DALI pipeline %s" % file)
    dali = needs("nvidia.dali", _PACKAGE, _WHO)
    return dali.Pipeline.deserialize(filename=path, batch_size=config["batch_size"], num_threads=config["num_threads"],
                                     device_id=config.get("device_id", 0), seed=config.get("seed", -1),
                                     prefetch_queue_depth=1)

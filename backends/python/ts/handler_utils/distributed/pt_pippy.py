"""Pipeline parallelism with PiPPy: a model cut into one stage per rank."""
import os

from ts.utils.needs import needs

_WHO, _PACKAGE = "a handler with a pippy section", "torchpippy==0.1.1"  # later ones have no driver


def _section(ctx, name):
    section = (ctx.model_yaml_config or {}).get(name)
    if not isinstance(section, dict):
        raise ValueError("the model's configuration has no section %s" % name)
    return section


def initialize_rpc_workers(local_rank, world_size, ctx):
    """Makes this rank a worker of torch's RPC, with the GPU that has its number. `pippy: {num_worker_threads,
    rpc_timeout}`: 512 threads and 1800 s if they are not set."""
    import torch
    import torch.distributed.rpc as rpc

    config = _section(ctx, "pippy")
    options = rpc.TensorPipeRpcBackendOptions(num_worker_threads=config.get("num_worker_threads", 512),
                                              rpc_timeout=config.get("rpc_timeout", 1800))
    if torch.cuda.is_available():
        for other in range(world_size):
            options.set_device_map("worker%d" % other, {local_rank: other})
    rpc.init_rpc("worker%d" % local_rank, rank=local_rank, world_size=world_size, rpc_backend_options=options)


def get_pipeline_driver(model, world_size, ctx):
    """Cuts the model into `world_size` stages and returns the driver that feeds them.

    Reads `pippy: {input_names, model_type, chunks}` (`model_type: HF` traces as Transformers' models need it; `chunks`: 1) and
    `handler: {model_path, index_filename}`, the checkpoint of which each stage loads its own part. ValueError for what is not set.
    """
    config = _section(ctx, "pippy")
    names, kind = config.get("input_names"), config.get("model_type")
    if not names:
        raise ValueError("the section pippy of the model's configuration lacks input_names")
    if not kind:
        raise ValueError("the section pippy of the model's configuration lacks model_type")
    handler = _section(ctx, "handler")
    folder, index = handler.get("model_path"), handler.get("index_filename")
    if not folder or not index:
        raise ValueError("the section handler of the model's configuration lacks model_path or index_filename")
    index = os.path.join(ctx.system_properties.get("model_dir"), folder, index)
    if not os.path.isfile(index):
        raise ValueError("there is no checkpoint index %s" % index)

    pippy = needs("pippy", _PACKAGE, _WHO)
    compiler = needs("pippy.compile", _PACKAGE, _WHO)
    tracer = needs("pippy.hf", _PACKAGE, _WHO).PiPPyHFTracer() if str(kind).upper() == "HF" else None
    model.eval()
    return compiler.all_compile(
        model, num_ranks=world_size, num_chunks=config.get("chunks", 1), schedule="FillDrain",
        split_policy=pippy.split_into_equal_size(world_size), tracer=tracer, index_filename=index, checkpoint_prefix=None,
        concrete_args=compiler.create_default_args(model, except_keys=names))

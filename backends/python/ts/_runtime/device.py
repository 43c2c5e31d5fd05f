"""The GPU's context of this process: whether it is still alive, and what has been put there."""
import os
import sys
import threading

SECONDS = 5.0
# How the server tells a worker that it is to be a client of an MPS daemon; another folder has no daemon.
_CLIENT = os.path.exists(os.path.join(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/nonexistent"), "control"))


def faults_are_shared():
    """True under MPS: a fault comes to every client of the GPU, so no request is to blame for it."""
    return _CLIENT


def context_error():
    """What the device says that no longer answers: after a sticky error (illegal address, launch failure, lost device) every
    call of this process fails until it ends. None where there is no CUDA, or it was merely out of memory."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return None
    except Exception:
        return None
    # A lost device can also keep silent.
    said = []
    asker = threading.Thread(target=_ask, args=(torch, said), daemon=True)
    asker.start()
    asker.join(SECONDS)
    return said[0] if said else "no answer"


def tensor_bytes():
    """What PyTorch's tensors have on the GPUs: behind `initialize`, the weights. 0 where it has not been used there."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return 0
        return sum(torch.cuda.memory_allocated(i) for i in range(torch.cuda.device_count()))
    except Exception:
        return 0


def _ask(torch, said):
    try:
        torch.cuda.synchronize()
    except Exception as error:
        said.append(None if "out of memory" in str(error) else str(error))
    else:
        said.append(None)

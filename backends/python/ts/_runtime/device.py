"""Whether the GPU's context of this process is still alive."""
import sys
import threading

SECONDS = 5.0


def context_is_dead():
    """True if the device no longer answers: after a sticky error (illegal address, launch failure, lost device) every
    call of this process fails until it ends. False where there is no CUDA, or it was merely out of memory."""
    torch = sys.modules.get("torch")
    try:
        if torch is None or not torch.cuda.is_initialized():
            return False
    except Exception:
        return False
    # A lost device can also keep silent.
    answered = []
    asker = threading.Thread(target=_ask, args=(torch, answered), daemon=True)
    asker.start()
    asker.join(SECONDS)
    return not answered


def _ask(torch, answered):
    try:
        torch.cuda.synchronize()
    except Exception as error:
        if "out of memory" not in str(error):
            return
    answered.append(True)

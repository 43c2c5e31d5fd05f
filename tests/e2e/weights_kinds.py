"""Every kind of module that handlers have, shared within one process: run by test_shared_weights.py with an interpreter that has PyTorch."""
import fcntl
import gc
import os
import sys
import warnings

import torch

sys.path.insert(0, sys.argv[1])
from ts._runtime import weights  # noqa: E402

ADD_SEALS = 1033
torch.set_num_threads(1)
warnings.simplefilter("ignore")


class Channel:
    """The supervisor's part."""

    def __init__(self):
        self.files = {}

    def keep(self, name, fd, size):
        self.files.setdefault(name, (os.dup(fd), size))

    def kept(self, name):
        return (os.dup(self.files[name][0]), self.files[name][1]) if name in self.files else None


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.low = torch.nn.Linear(128, 128, dtype=torch.bfloat16)
        self.image = torch.nn.Conv2d(32, 32, 3).to(memory_format=torch.channels_last)
        self.lstm = torch.nn.LSTM(64, 64)
        flat = torch.randn(128 * 128 * 2)
        self.view = torch.nn.Parameter(flat[128 * 128:].view(128, 128).t())
        self.register_buffer("wide", torch.randn(1, 128).expand(64, 128))
        self.register_buffer("odd", torch.arange(20001, dtype=torch.uint8))
        self.register_buffer("complex", torch.randn(64, 64, dtype=torch.complex64).conj())

    def forward(self, x):
        a = self.low(x[:, :128].bfloat16()).float()
        b = self.image(x[:, :32 * 16].view(-1, 32, 4, 4)).flatten(1)
        c = self.lstm(x[:, :64].unsqueeze(0))[0]
        return a.sum() + b.sum() + c.sum() + (x[:, :128] @ self.view).sum() + self.wide.sum() + self.odd.sum() + self.complex.real.sum()


def build():
    torch.manual_seed(1)
    net = Net().eval()
    scripted = torch.jit.script(torch.nn.Sequential(torch.nn.Linear(128, 128), torch.nn.ReLU())).eval()
    traced = torch.jit.trace(torch.nn.Linear(128, 128), torch.ones(1, 128))
    with torch.inference_mode():
        frozen = torch.nn.Linear(128, 128)
    hooked = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(128, 128))
    return [net, scripted, traced, frozen, hooked]


def answers(nets):
    torch.manual_seed(2)
    x = torch.randn(3, 512)
    with torch.inference_mode():
        return [nets[0](x).item()] + [n(x[:, :128]).sum().item() for n in nets[1:]]


def shapes(nets):
    return [(k, v.shape, v.stride(), v.dtype, v.requires_grad) for n in nets for k, v in [*n.named_parameters(), *n.named_buffers()]]


channel = Channel()
nets = build()
expected, was = answers(nets), shapes(nets)
gc.freeze()
torch.set_default_device("meta")
with torch.inference_mode():
    told = weights.share(channel)
torch.set_default_device("cpu")
assert told["bytes"] and not told["why"], told
assert gc.get_freeze_count()
assert shapes(nets) == was and answers(nets) == expected
mapped = open("/proc/self/maps").read()
assert mapped.count("sconce-weights") == len(channel.files)
# Gradients still reach inputs and weights; a write has pages of its own.
nets[0](torch.randn(1, 512)).backward()
assert nets[0].view.grad is not None
# The next worker adds nothing, and has the same.
del nets
files = dict(channel.files)
nets = build()
assert weights.share(channel) == told
assert channel.files == files and answers(nets) == expected
# Who writes has pages of its own.
with torch.no_grad():
    nets[0].view.add_(1)
assert answers(nets) != expected
del nets
nets = build()
assert weights.share(channel) == told and answers(nets) == expected
# What is kept under the name and is something else, of another size or not sealed, is not taken.
del nets
for seals, more in ((15, 0), (15, 1), (0, 0)):
    for name, (_, size) in files.items():
        other = os.memfd_create("other", os.MFD_ALLOW_SEALING)
        os.ftruncate(other, size + more)
        fcntl.fcntl(other, ADD_SEALS, seals)
        channel.files[name] = other, size + more
    nets = build()
    wrong = weights.share(channel)
    assert wrong["bytes"] == 0 and wrong["why"], wrong
    assert answers(nets) == expected
    del nets

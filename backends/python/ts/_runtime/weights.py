"""`sharedWeights: true`: the parameters and buffers of a loaded handler lie once per GPU (and once in main memory), however
many workers use them.

After `initialize`, whatever way the handler loads. The bytes of all tensors are dealt into blocks by what they are. A block
that the supervisor keeps under the name of its content is mapped; one that it does not have is published first. What
is mapped is compared with the private bytes before it takes their place, so a name alone decides nothing. The tensors
stay the objects that they are: their storage is another.

On a GPU a shared block cannot be written to: a kernel that tries is a fault (`wrote`). In main memory who writes gets pages
of its own.
"""
import gc
import hashlib
import os
import sys
import time
import weakref

from ts._runtime.device import faults_are_shared

LEAST = 16 << 10  # on a GPU smaller tensors stay private: counters and the like, which handlers do write
UNIT = 32 << 20  # of a block, and more where that would make more than...
UNITS = 16  # ...so many
_ALIGNMENT = 512  # of the GPU's allocator, which kernels rely on
_PIECE = 2 << 20  # numbers that are looked at at a time
_ILLEGAL = "illegal memory access"  # of a kernel; the context is dead
_REFUSED = "invalid argument"  # of a copy to what is mapped for reading; no harm was done

_adopted = []  # on GPUs: (weak reference to a tensor, the count of writes that PyTorch knows of, its name)


def share(channel):
    """Returns what the frontend is to know: {"bytes": that are shared, "why": not all, or none, if so}. Whatever goes wrong
    costs memory, nothing else."""
    began = time.monotonic()
    done = {"bytes": 0, "why": ""}
    blocks = [0, 0]
    try:
        _share(channel, done, blocks)
    except Exception as error:
        done["why"] = "%s: %s" % (type(error).__name__, error)
    done["why"] = done["why"][:200]
    if done["bytes"]:
        print("Shared weights: %.1f MiB in %d blocks, of which %d were new, in %.2f s%s"
              % (done["bytes"] / 1048576, blocks[0], blocks[1], time.monotonic() - began,
                 "; the rest stays private: " + done["why"] if done["why"] else ""))
    else:
        print("The weights stay private to this worker: %s" % done["why"], file=sys.stderr)
    return done


def wrote(error):
    """What was written to, if `error`, of CUDA, is that of a write to shared weights; else None. Under MPS the fault may be
    another process's, unless PyTorch has counted a write."""
    if _adopted and _REFUSED in error:
        return "by a copy"
    if not _adopted or _ILLEGAL not in error:
        return None
    for reference, version, name in _adopted:
        tensor = reference()
        if tensor is not None and tensor._version != version:
            return name
    return None if faults_are_shared() else "something that PyTorch does not count"


class _Region:
    """Neighbouring bytes of one storage, and the tensors that lie there."""

    def __init__(self, torch, storage, device):
        self._torch, self._storage, self.device = torch, storage, device
        self.begin, self.end = sys.maxsize, 0
        self.tensors = []  # (tensor, name, first byte)
        self.digest = b""
        self.at = 0  # in its block

    def add(self, tensor, name):
        size, first = tensor.element_size(), tensor.storage_offset() * tensor.element_size()
        last = first + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride())) * size + size
        self.begin = min(self.begin, first // _ALIGNMENT * _ALIGNMENT)
        self.end = max(self.end, last)
        self.tensors.append((tensor, name, first))

    @property
    def size(self):
        return self.end - self.begin

    def bytes(self):
        empty = self._torch.empty(0, dtype=self._torch.uint8, device=self.device)
        return empty.set_(self._storage, self.begin, (self.size,), (1,))

    def take(self, block):
        """Puts the block's bytes in the place of its own."""
        storage = block.untyped_storage()
        for tensor, name, first in self.tensors:
            new = self._torch.empty(0, dtype=tensor.dtype, device=self.device)
            new.set_(storage, (self.at + first - self.begin) // tensor.element_size(), tensor.shape, tensor.stride())
            tensor.data = new
            if self.device.type == "cuda":
                _adopted.append((weakref.ref(tensor), tensor._version, name))
        self._storage = None
        self.tensors = ()


def _share(channel, done, blocks):
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch.Tensor, "untyped_storage"):
        done["why"] = "PyTorch %s" % ("2.0 or later is needed" if torch else "is not used")
        return
    # A handler may have set a default device, or be in inference mode.
    with torch._C.DisableTorchFunction(), torch.inference_mode(False), torch.no_grad():
        modules, graphs = _modules(torch)
        regions = _regions(torch, modules)
        if graphs and any(r.device.type == "cuda" for r in regions):
            regions = [r for r in regions if r.device.type != "cuda"]
            done["why"] = "a CUDA graph was captured while loading, and has the addresses of the private copies"
        if not regions and not done["why"]:
            done["why"] = "no tensors that can be shared were found" if modules else "no nn.Module was found"
        for device in sorted({r.device for r in regions}, key=str):
            there = [r for r in regions if r.device == device]
            regions = [r for r in regions if r.device != device]
            memory = _memory(torch, device)
            _name(torch, there)
            for block in _blocks(there):
                _adopt(torch, channel, memory, block, done, blocks)
                memory.trim()
            memory.trim()


def _memory(torch, device):
    from ts._runtime.memory import GpuMemory, HostMemory

    return HostMemory(torch) if device.type == "cpu" else GpuMemory(torch, device.index)


def _modules(torch):
    """All there are, wherever the handler keeps them; whether there are CUDA graphs."""
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()  # a handler's economy: what is frozen is not listed
    gc.collect()
    modules, graphs = [], False
    for thing in gc.get_objects():
        kind = type(thing)
        if issubclass(kind, torch.nn.Module):
            modules.append(thing)
        elif issubclass(kind, torch.cuda.CUDAGraph):
            graphs = True
    if frozen:
        gc.freeze()
    return modules, graphs


def _regions(torch, modules):
    found, seen = {}, set()
    for module in modules:
        scripted = isinstance(module, torch.jit.ScriptModule)
        for name, tensor in [*module.named_parameters(recurse=scripted), *module.named_buffers(recurse=scripted)]:
            if id(tensor) in seen or not _is_plain(torch, tensor):
                continue
            storage = tensor.untyped_storage()
            key = tensor.device, storage.data_ptr()
            region = found.get(key)
            if region is None:
                region = found[key] = _Region(torch, storage, tensor.device)
            region.add(tensor, "%s.%s" % (type(module).__name__, name))
            seen.add(id(tensor))
    # In main memory a small one that stayed would keep the file mapped that all were loaded from.
    return [region for region in found.values() if region.size >= LEAST or region.device.type == "cpu"]


def _is_plain(torch, tensor):
    """An ordinary tensor with ordinary memory, of which nobody else knows."""
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.layout != torch.strided:
        return False
    if tensor.device.type not in ("cpu", "cuda") or tensor.is_quantized or tensor.is_inference() or tensor.numel() == 0:
        return False
    if tensor.is_conj() or tensor.is_neg():
        return False
    if tensor.device.type == "cuda":
        return True
    return not tensor.is_shared() and not (torch.cuda.is_initialized() and tensor.is_pinned())


def _numbers(torch, data):
    """Bytes as 64-bit numbers, and the few that are left over."""
    whole = data.numel() // 8 * 8
    return data[:whole].view(torch.int64), bytes(data[whole:].tolist())


def _name(torch, regions):
    """The digest of each: sums of its numbers, each with a factor of its place. Not proof against malice, and need not be:
    what is adopted is compared."""
    device = regions[0].device
    factors = torch.arange(1, _PIECE + 1, device=device) * 0x1E3779B97F4A7C15
    factors ^= factors >> 29
    factors |= 1
    sums, tails = [], []
    for region in regions:
        numbers, tail = _numbers(torch, region.bytes())
        sums.append([(piece * factors[:piece.numel()]).sum() for piece in numbers.split(_PIECE)])
        tails.append(tail)
    flat = iter(torch.stack([each for some in sums for each in some]).tolist())
    for region, some, tail in zip(regions, sums, tails):
        what = repr((region.size, [next(flat) for _ in some], tail))
        region.digest = hashlib.blake2b(what.encode(), digest_size=20).digest()


def _blocks(regions):
    """Regions that lie together, each with its place: by their digests alone, so that models that have most tensors in
    common have most blocks in common. Returns [(digests, size, regions), …]."""
    unit = UNIT
    while sum(r.size for r in regions) > UNITS * unit:
        unit *= 2
    rest = sum(r.size for r in regions if r.size < unit)
    boxes = 1
    while boxes * unit < rest:
        boxes *= 2
    dealt = {}
    for region in sorted(regions, key=lambda r: r.digest):
        dealt.setdefault(region.digest if region.size >= unit else region.digest[0] * boxes >> 8, []).append(region)
    out = []
    for block in dealt.values():
        at = 0
        for region in block:
            region.at = at
            at = (at + region.size + _ALIGNMENT - 1) // _ALIGNMENT * _ALIGNMENT
        out.append((b"".join(r.digest for r in block), at, block))
    return out


def _adopt(torch, channel, memory, block, done, blocks):
    digests, size, regions = block

    def fill(data):
        for region in regions:
            data[region.at:region.at + region.size].copy_(region.bytes())

    name = "py-" + hashlib.blake2b(memory.key + digests, digest_size=20).hexdigest()
    kept = channel.kept(name)
    if kept is None:
        blocks[1] += 1
        fd = memory.publish(size, fill)
        try:
            channel.keep(name, fd, size)
        finally:
            os.close(fd)
        kept = channel.kept(name)  # another worker may have been first: the same, then, for all
    if kept is None:
        done["why"] = "the server keeps no more descriptors"
        return
    data = _map(memory, kept, size)
    if not all(_same(torch, data[r.at:r.at + r.size], r.bytes()) for r in regions):
        done["why"] = "what the server keeps under that name is something else"
        return
    for region in regions:
        region.take(data)
        done["bytes"] += region.size
    blocks[0] += 1


def _map(memory, kept, size):
    fd, said = kept
    try:
        if said != size:
            raise OSError("the server keeps %d bytes where %d were expected" % (said, size))
        return memory.adopt(fd, size)
    finally:
        os.close(fd)


def _same(torch, ours, theirs):
    (a, rest_a), (b, rest_b) = _numbers(torch, ours), _numbers(torch, theirs)
    return rest_a == rest_b and all(torch.equal(x, y) for x, y in zip(a.split(_PIECE * 4), b.split(_PIECE * 4)))

"""Memory that outlives the process that filled it and that several map: where shared weights lie.

Two kinds with the same three members: `key`, bytes that tell memories apart; `publish(size, fill)`, a descriptor of
`size` bytes that fill(tensor of bytes) has written and nobody can write any more; `adopt(fd, size)`, such bytes as a
tensor (the descriptor stays the caller's). Errors are OSError.
"""
import ctypes
import fcntl
import mmap
import os

_SEALS = 1 | 2 | 4 | 8  # SEAL, SHRINK, GROW, WRITE
_ADD_SEALS, _GET_SEALS = 1033, 1034


class HostMemory:
    """Main memory: a sealed memory file. Who writes to what it has adopted gets pages of its own."""

    key = b"cpu"

    def __init__(self, torch):
        self._torch = torch

    def _tensor(self, mapping):
        return self._torch.frombuffer(mapping, dtype=self._torch.uint8)

    def publish(self, size, fill):
        fd = os.memfd_create("sconce-weights", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, size)
            fill(self._tensor(mmap.mmap(fd, size)))
            fcntl.fcntl(fd, _ADD_SEALS, _SEALS)  # fails while something still maps it for writing
        except BaseException:
            os.close(fd)
            raise
        return fd

    def adopt(self, fd, size):
        if fcntl.fcntl(fd, _GET_SEALS) & _SEALS != _SEALS or os.fstat(fd).st_size != size:
            raise OSError("the memory file lacks its seals, or has another size")
        return self._tensor(mmap.mmap(fd, size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE))

    def trim(self):
        """Gives freed memory back to the system."""
        try:
            ctypes.CDLL(None).malloc_trim(ctypes.c_size_t(0))
        except (OSError, AttributeError):
            pass  # another libc


# ---- the driver (cuda.h) ----------------------------------------------------------------------------------------------

_DEVICE, _PINNED, _POSIX_FD = 1, 1, 1  # location type, allocation type, handle type
_READ, _READ_WRITE = 1, 3
_HAS_DESCRIPTORS = 103  # attribute of a device


class _Properties(ctypes.Structure):
    """CUmemAllocationProp"""

    _fields_ = [("type", ctypes.c_int), ("handle_types", ctypes.c_int), ("location_type", ctypes.c_int),
                ("location_id", ctypes.c_int), ("win32", ctypes.c_void_p), ("flags", ctypes.c_ubyte * 8)]


class _Access(ctypes.Structure):
    """CUmemAccessDesc"""

    _fields_ = [("location_type", ctypes.c_int), ("location_id", ctypes.c_int), ("flags", ctypes.c_int)]


class _Driver:
    """Functions of libcuda.so.1, by their names without "cu". A result other than 0 is an OSError with its name."""

    def __init__(self):
        self._library = ctypes.CDLL("libcuda.so.1")

    def __getattr__(self, name):
        function = getattr(self._library, "cu" + name)

        def call(*arguments):
            result = function(*arguments)
            if result:
                text = ctypes.c_char_p()
                self._library.cuGetErrorName(result, ctypes.byref(text))
                raise OSError("cu%s: %s" % (name, (text.value or b"error %d" % result).decode()))

        return call

    def number(self, kind, name, *arguments):
        """What a function leaves where its first argument points to."""
        value = kind()
        getattr(self, name)(ctypes.byref(value), *arguments)
        return value.value


def _size(n):
    return ctypes.c_size_t(n)


def _address(n):
    return ctypes.c_uint64(n)


class _Bytes:
    """A mapping for PyTorch, which keeps this object as long as a tensor uses it."""

    def __init__(self, address, size):
        self.__cuda_array_interface__ = {"shape": (size,), "typestr": "|u1", "data": (address, False), "strides": None,
                                         "version": 2}


class GpuMemory:
    """A GPU's memory. What was adopted is mapped for reading until the process ends: a kernel may still use it when the
    last tensor has gone, and one that writes to it is a fault."""

    def __init__(self, torch, index):
        self._torch, self._index = torch, index
        self._cuda = cuda = _Driver()
        torch.cuda.synchronize(index)  # makes the context
        self._device = device = ctypes.c_int(cuda.number(ctypes.c_int, "DeviceGet", ctypes.c_int(index)))
        if not cuda.number(ctypes.c_int, "DeviceGetAttribute", ctypes.c_int(_HAS_DESCRIPTORS), device):
            raise OSError("GPU %d cannot share memory by descriptors" % index)
        name = (ctypes.c_ubyte * 16)()
        cuda.DeviceGetUuid_v2(name, device)
        self.key = b"gpu" + bytes(name)
        self._what = _Properties(_PINNED, _POSIX_FD, _DEVICE, device.value)
        self._unit = cuda.number(ctypes.c_size_t, "MemGetAllocationGranularity", ctypes.byref(self._what), ctypes.c_int(0))

    def _whole(self, size):
        return (size + self._unit - 1) // self._unit * self._unit

    def _map(self, handle, size, access):
        """The address of the memory behind a handle."""
        cuda, whole = self._cuda, self._whole(size)
        at = cuda.number(ctypes.c_uint64, "MemAddressReserve", _size(whole), _size(0), _address(0), _address(0))
        try:
            cuda.MemMap(_address(at), _size(whole), _size(0), _address(handle), _address(0))
        except OSError:
            cuda.MemAddressFree(_address(at), _size(whole))
            raise
        try:
            who = _Access(_DEVICE, self._device.value, access)
            cuda.MemSetAccess(_address(at), _size(whole), ctypes.byref(who), _size(1))
        except OSError:
            self._unmap(at, size)
            raise
        return at

    def _unmap(self, at, size):
        self._cuda.MemUnmap(_address(at), _size(self._whole(size)))
        self._cuda.MemAddressFree(_address(at), _size(self._whole(size)))

    def _tensor(self, at, size):
        return self._torch.as_tensor(_Bytes(at, size), device=self._torch.device("cuda", self._index))

    def publish(self, size, fill):
        torch, cuda = self._torch, self._cuda
        with torch.cuda.device(self._index):
            handle = cuda.number(ctypes.c_uint64, "MemCreate", _size(self._whole(size)), ctypes.byref(self._what), _address(0))
            try:
                at = self._map(handle, size, _READ_WRITE)
                try:
                    fill(self._tensor(at, size))
                finally:
                    torch.cuda.synchronize(self._index)
                    self._unmap(at, size)
                fd = cuda.number(ctypes.c_int, "MemExportToShareableHandle", _address(handle), ctypes.c_int(_POSIX_FD),
                                 _address(0))
            finally:
                cuda.MemRelease(_address(handle))
        os.set_inheritable(fd, False)
        return fd

    def adopt(self, fd, size):
        cuda = self._cuda
        with self._torch.cuda.device(self._index):
            handle = cuda.number(ctypes.c_uint64, "MemImportFromShareableHandle", ctypes.c_void_p(fd), ctypes.c_int(_POSIX_FD))
            try:
                return self._tensor(self._map(handle, size, _READ), size)
            finally:
                cuda.MemRelease(_address(handle))  # the mapping keeps the memory

    def trim(self):
        """Gives freed memory back to the system."""
        self._torch.cuda.empty_cache()

"""Metrics of the host, read from the kernel; nothing has to be installed for them."""
import logging
import os
import time

from ts.metrics.dimension import Dimension
from ts.metrics.metric import Metric

GIB = 1 << 30
MIB = 1 << 20

system_metrics = []
dimension = [Dimension("Level", "Host")]


def _add(name, value, unit, extra=()):
    system_metrics.append(Metric(name, value, unit, dimension + list(extra)))


def _cpu_ticks():
    """Idle and total ticks since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def cpu_utilization(seconds=0.1):
    """How busy the processors are, measured over a moment."""
    idle, total = _cpu_ticks()
    time.sleep(seconds)
    idle_now, total_now = _cpu_ticks()
    passed = total_now - total
    _add("CPUUtilization", round(100.0 * (1 - (idle_now - idle) / passed), 1) if passed else 0.0, "percent")


def disk_available():
    disk = os.statvfs("/")
    _add("DiskAvailable", disk.f_bavail * disk.f_frsize / GIB, "GB")


def disk_used():
    disk = os.statvfs("/")
    _add("DiskUsage", (disk.f_blocks - disk.f_bfree) * disk.f_frsize / GIB, "GB")


def disk_utilization():
    """Used of what an ordinary user could use."""
    disk = os.statvfs("/")
    used = disk.f_blocks - disk.f_bfree
    usable = used + disk.f_bavail
    _add("DiskUtilization", round(100.0 * used / usable, 1) if usable else 0.0, "percent")


def _memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        pairs = [line.split(":", 1) for line in file]
    values = {name: int(text.split()[0]) * 1024 for name, text in pairs}
    free = values["MemFree"] + values.get("Buffers", 0) + values.get("Cached", 0) + values.get("SReclaimable", 0)
    total = values["MemTotal"]
    return total, values.get("MemAvailable", free), max(total - free, 0)


def memory_available():
    _add("MemoryAvailable", _memory()[1] / MIB, "MB")


def memory_used():
    _add("MemoryUsed", _memory()[2] / MIB, "MB")


def memory_utilization():
    total, available, _ = _memory()
    _add("MemoryUtilization", round(100.0 * (total - available) / total, 1), "percent")


def gpu_utilization(num_of_gpu):
    """One set of metrics per GPU, from NVIDIA's tool; nothing if there is none."""
    if num_of_gpu <= 0:
        return
    import subprocess

    query = "--query-gpu=index,utilization.gpu,memory.used,memory.total"
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=30).stdout.decode()
    except (OSError, subprocess.SubprocessError) as error:
        logging.error("Failed to read the GPUs: %s", error)
        return
    for line in output.splitlines()[:num_of_gpu]:
        index, busy, used, total = [field.strip() for field in line.split(",")]
        device = [Dimension("device_id", index)]
        try:
            _add("GPUMemoryUtilization", float(used) / float(total) * 100, "percent", device)
            _add("GPUMemoryUsed", int(used), "MB", device)
            _add("GPUUtilization", int(busy), "percent", device)
        except (ValueError, ZeroDivisionError):
            logging.error("Failed to read GPU %s: %s", index, line)


def collect_all(mod, num_of_gpu):
    """Runs every collector of the module by name and prints the lines, then an empty one."""
    for name in sorted(vars(mod)):
        collector = vars(mod)[name]
        if name.startswith("_") or name == "collect_all" or getattr(collector, "__module__", None) != mod.__name__:
            continue
        if not callable(collector):
            continue
        if name == "gpu_utilization":
            collector(num_of_gpu)
        else:
            collector()
    for metric in system_metrics:
        print(metric)
    print("", flush=True)

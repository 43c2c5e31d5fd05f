"""Resident memory of worker processes, for the server's describe call."""
import logging
import os


def get_cpu_usage(pid):
    """Resident bytes of a process (the name is historical); 0 if there is no such process."""
    try:
        with open("/proc/%d/statm" % int(pid), encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        logging.error("Failed get process for pid: %s", pid)
        return 0


def check_process_mem_usage(stdin):
    """Reads a line of process ids joined with commas and prints `pid:bytes` for each."""
    for pid in stdin.readline().strip().split(","):
        if pid:
            print("%s:%d" % (pid, get_cpu_usage(pid)))

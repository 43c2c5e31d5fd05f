"""Prints how long a function took."""
import functools
import time


def timeit(func):
    """A decorator; the time goes to standard output."""

    @functools.wraps(func)
    def call(*args, **kwargs):
        start = time.perf_counter()
        try:
            return func(*args, **kwargs)
        finally:
            print("func:%r took: %.3f ms" % (func.__name__, (time.perf_counter() - start) * 1000))

    return call

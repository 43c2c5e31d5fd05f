"""`metric_collector.py --gpu N`: prints the host's metrics, an empty line, and the memory of the processes whose ids
come on standard input."""
import argparse
import logging
import os
import sys


def main():
    parser = argparse.ArgumentParser(prog="metric_collector.py")
    parser.add_argument("--gpu", type=int, default=0, help="number of GPU")
    gpus = parser.parse_args().gpu

    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
    from ts.metrics import process_memory_metric, system_metrics

    system_metrics.collect_all(system_metrics, gpus)
    process_memory_metric.check_process_mem_usage(sys.stdin)


if __name__ == "__main__":
    # Started by its file name: the folder of the package, not this one, is where imports begin.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path or ".") != here]
    sys.path.insert(0, os.path.dirname(os.path.dirname(here)))
    main()

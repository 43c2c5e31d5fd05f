#!/usr/bin/env python3
"""The same archives, requests and commands to TorchServe and to Sconce, in one run: ./dev test-peer [--record] [SUITE...]

--record notes TorchServe's side in recorded/, which tests/e2e/test_recorded.py compares in the normal run."""
import argparse
import os
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "e2e")]

import play  # noqa: E402
from cases import SUITES  # noqa: E402
from differences import KNOWN  # noqa: E402
from transformers_example import SUITES as TRANSFORMERS  # noqa: E402


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--record", action="store_true", help="note TorchServe's answers in recorded/")
    p.add_argument("--only", choices=["torchserve", "sconce"], help="one side; the other is the record")
    p.add_argument("--torchserve", default=shutil.which("torchserve"), help="TorchServe's command")
    p.add_argument("--sconce", default=Path(os.environ.get("SCONCE_BUILD", "build/release")) / "torchserve")
    p.add_argument("-v", "--verbose", action="store_true")
    p.add_argument("suites", nargs="*", default=[])
    a = p.parse_args()
    failed = 0
    suites = {**SUITES, **TRANSFORMERS}
    for name in a.suites or SUITES:
        began = time.monotonic()
        say = (lambda text: print("   ", text, flush=True)) if a.verbose else (lambda text: None)
        theirs = play.read_record(name) if a.only == "sconce" else play.play_suite(a.torchserve, suites[name],
                                                                                     sys.executable, say)
        if a.record:
            play.write_record(name, theirs)
        if a.only == "torchserve":
            print(f"{name}: {len(theirs)} cases, {time.monotonic() - began:.0f} s", flush=True)
            continue
        ours = play.play_suite(os.path.abspath(a.sconce), suites[name], sys.executable, say)
        wrong = {case: d for case in theirs if (d := play.differences(KNOWN, name, case, theirs[case], ours.get(case)))}
        for case, found in wrong.items():
            print(f"{name}: {case}")
            for field, their, our in found:
                print(f"    {field}\n        TorchServe: {their!r}\n        Sconce:     {our!r}")
        print(f"{name}: {len(theirs)} cases, {len(wrong)} differ, {time.monotonic() - began:.0f} s", flush=True)
        failed += len(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the server runs for each worker. This folder, which Python put first on the path, is the package and not a
place to import from: its file names (`service`, `context`, …) must not hide those of an archive. With `--sock-type` it is a
worker for another frontend (ts.protocol.otf_worker)."""
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) != here]
home = os.path.dirname(here)
if home not in sys.path:
    sys.path.insert(0, home)

if __name__ != "__main__":
    # Imported by name: what a worker by hand is made of.
    from ts.protocol.otf_worker import BENCHMARK, DEBUG, LOCAL_RANK, SOCKET_ACCEPT_TIMEOUT, TorchModelServiceWorker

    __all__ = ["BENCHMARK", "DEBUG", "LOCAL_RANK", "SOCKET_ACCEPT_TIMEOUT", "TorchModelServiceWorker"]
elif "--sock-type" in sys.argv:
    from ts.protocol.otf_worker import main

    sys.exit(main(sys.argv[1:]))
else:
    from ts._runtime.main import main

    main(sys.argv[1:])

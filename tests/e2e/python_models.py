"""Models with Python handlers for tests: folders and .mar files as archivers make them."""
import functools
import json
import os
import subprocess
import sys
import textwrap
import zipfile

import pytest
from harness import ROOT

PYTHON = {"python": sys.executable, "system_metrics_cmd": ""}

TORCH_PYTHON = os.environ.get("SCONCE_TORCH_PYTHON", str(ROOT / "build" / "venv-torch" / "bin" / "python"))
HAS = "import importlib.util, sys; sys.exit(not all(map(importlib.util.find_spec, sys.argv[1:])))"


@functools.cache
def python_with(*modules):
    """An interpreter that has all of these: the tests' own, SCONCE_TORCH_PYTHON, build/venv-torch. None: there is none, or
    SCONCE_TORCH_PYTHON is empty: what needs PyTorch is left to another run."""
    for python in (sys.executable, TORCH_PYTHON) if TORCH_PYTHON else ():
        if os.path.exists(python) and subprocess.run([python, "-c", HAS, *modules]).returncode == 0:
            return python
    return None


def need_python_with(*modules):
    python = python_with(*modules)
    if python is None:
        pytest.skip(f"no interpreter with {', '.join(modules)}: ./dev deps makes one, SCONCE_TORCH_PYTHON names one")
    return python


def manifest(name, version="1.0", handler="handler.py", **model):
    return {"createdOn": "22/11/2026 07:30:54", "runtime": "python", "archiverVersion": "0.12.0",
            "model": {"modelName": name, "handler": handler, "modelVersion": version, **model}}


def files_of(name, handler, config=None, version="1.0", files=None, **model):
    """What the archive of a handler's source holds: name -> bytes."""
    out = {"handler.py": textwrap.dedent(handler).encode(), **(files or {})}
    if config is not None:
        out["model-config.yaml"] = "".join(f"{k}: {v}\n" for k, v in config.items()).encode()
        model["configFile"] = "model-config.yaml"
    model.setdefault("handler", "handler.py")
    out["MAR-INF/MANIFEST.json"] = json.dumps(manifest(name, version, **model), indent=2).encode()
    return out


def folder(store, name, handler, **more):
    """An unpacked model in the store."""
    for path, data in files_of(name, handler, **more).items():
        target = store / name / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return store / name


def mar(store, name, handler, stored=False, **more):
    """name.mar in the store."""
    store.mkdir(parents=True, exist_ok=True)
    path = store / f"{name}.mar"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as z:
        for member, data in files_of(name, handler, **more).items():
            z.writestr(member, data)
    return path

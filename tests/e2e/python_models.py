"""Models with Python handlers for tests: folders and .mar files as archivers make them."""
import json
import sys
import textwrap
import zipfile

PYTHON = {"python": sys.executable, "system_metrics_cmd": ""}


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

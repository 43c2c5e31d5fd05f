"""The archives of the comparisons: written here byte by byte, so that the good ones are good and the bad ones bad in one
way each. An archive is a function (store, name) that puts the file or folder `name` into the store."""
import gzip
import io
import json
import os
import sys
import tarfile
import zipfile
from pathlib import Path

HANDLERS = Path(__file__).parent / "handlers"
WHEN = "01/01/2026 00:00:00"
DATE = (2026, 1, 1, 0, 0, 0)


def manifest(name, handler=None, version="1.0", **model):
    fields = {"modelName": name, **({"handler": handler} if handler else {}), "modelVersion": version, **model}
    return {"createdOn": WHEN, "runtime": "python", "model": {k: v for k, v in fields.items() if v is not None},
            "archiverVersion": "0.12.0"}


def content(value):
    if isinstance(value, Path):
        return value.read_bytes()
    if isinstance(value, (dict, list)):
        return json.dumps(value, indent=2).encode()
    return value.encode() if isinstance(value, str) else value


def members(files, of):
    files = {name: content(value) for name, value in files.items()}
    if of is not None:
        files["MAR-INF/MANIFEST.json"] = content(of)
    return files


def zipped(files, of=None, stored=False):
    """Bytes of a zip file; `of` is the manifest, or None for none."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as z:
        for name, data in members(files, of).items():
            z.writestr(zipfile.ZipInfo(name, DATE), data,
                       zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)
    return out.getvalue()


def tarred(files, of=None, top="model/", zip_it=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, data in members(files, of).items():
            info = tarfile.TarInfo(top + name)
            info.size, info.mode = len(data), 0o644
            t.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0) if zip_it else out.getvalue()


def raw(data):
    """A file of just these bytes."""
    return lambda store, name: (store / name).write_bytes(data)


def folder(files, of=None, inside=""):
    def write(store, name):
        for path, data in members(files, of).items():
            target = store / name / inside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return write


def mar(handler, *, files=None, version="1.0", yaml=None, name=None, stored=False, entry="", **model):
    """A .mar of one handler file of `handlers/` (or of the text in `files`)."""
    def write(store, file):
        inside = dict(files or {})
        if handler and handler + ".py" not in inside:
            inside[handler + ".py"] = HANDLERS / (handler + ".py")
        more = dict(model)
        if yaml is not None:
            inside["model-config.yaml"] = yaml
            more["configFile"] = "model-config.yaml"
        of = manifest(name or file.rpartition(".")[0], (handler or "") + (entry or ".py"), version, **more)
        (store / file).write_bytes(zipped(inside, of, stored))
    return write


def source(text, **more):
    """A .mar whose handler is this text."""
    return mar("handler", files={"handler.py": text}, **more)


ONE_WORKER = "minWorkers: 1\nmaxWorkers: 1\n"
GOOD = "def handle(data, context):\n    return ['good'] * len(data or ())\n"


def probe(yaml=ONE_WORKER, **more):
    return mar("probe", yaml=yaml, **more)


def eager(store, name, handler="tensor"):
    """A BaseHandler model with model file, weights and labels. Needs torch where it is written."""
    import torch
    weights = io.BytesIO()
    torch.save({"layer.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "layer.bias": torch.tensor([0.5, -0.5])}, weights)
    mar(handler, yaml=ONE_WORKER, serializedFile="weights.pt", modelFile="linear.py",
        files={"linear.py": HANDLERS / "linear.py", "weights.pt": weights.getvalue(),
               "index_to_name.json": {"0": "nought", "1": ["n1", "one"]}})(store, name)


def scripted(store, name):
    """The same as a TorchScript module."""
    import torch
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.copy_(torch.tensor([0.5, -0.5]))
    module = io.BytesIO()
    torch.jit.save(torch.jit.script(layer), module)
    mar("tensor", yaml=ONE_WORKER, serializedFile="module.pt", files={"module.pt": module.getvalue()})(store, name)


# ---- archives that do not load, and how ----

LOAD_FAILURES = {
    "import_error": "import a_module_that_is_not_there\n",
    "syntax_error": "def handle(data, context:\n",
    "no_entry": "x = 1\n",
    "two_classes": "class A:\n    pass\n\n\nclass B:\n    pass\n",
    "no_handle": "class A:\n    def initialize(self, context):\n        pass\n",
    "no_initialize": "class A:\n    def handle(self, data, context):\n        return data\n",
    "init_value_error": "class A:\n    def initialize(self, c):\n        raise ValueError('no such thing')\n\n"
                        "    def handle(self, data, c):\n        return data\n",
    "init_runtime_error": "class A:\n    def initialize(self, c):\n        raise RuntimeError('no weights')\n\n"
                          "    def handle(self, data, c):\n        return data\n",
    "init_cuda_error": "class A:\n    def initialize(self, c):\n        raise RuntimeError('CUDA out of memory')\n\n"
                       "    def handle(self, data, c):\n        return data\n",
    "init_memory_error": "class A:\n    def initialize(self, c):\n        raise MemoryError\n\n"
                         "    def handle(self, data, c):\n        return data\n",
    "init_sys_exit": "import sys\n\n\nclass A:\n    def initialize(self, c):\n        sys.exit(3)\n\n"
                     "    def handle(self, data, c):\n        return data\n",
    "init_os_exit": "import os\n\n\nclass A:\n    def initialize(self, c):\n        os._exit(3)\n\n"
                    "    def handle(self, data, c):\n        return data\n",
}
LOADS = {f"{name}.mar": source(text) for name, text in LOAD_FAILURES.items()}
# The reply may come while the worker that failed is tried again: once is enough here.
LOADS["base_handler_without_weights.mar"] = source(
    "from ts.torch_handler.base_handler import BaseHandler\n\n\nclass A(BaseHandler):\n    pass\n")


# ---- archives that are broken as files ----

def cut(data, keep):
    return data[:keep] if keep > 0 else data[:len(data) + keep]


def wrong_crc(data):
    """One byte of the first entry's stored content changed."""
    at = data.index(b"['good']") + 3
    return data[:at] + b"X" + data[at + 1:]


def big(text):
    return text + "#" + os.urandom(3000).hex() + "\n"


GOOD_ZIP = zipped({"handler.py": GOOD}, manifest("broken", "handler.py"))
STORED_ZIP = zipped({"handler.py": GOOD}, manifest("broken", "handler.py"), stored=True)
GOOD_FILES = {"handler.py": GOOD}
FILES = {
    "good.mar": source(GOOD),
    "stored.mar": source(GOOD, stored=True),
    "good.tar.gz": raw(tarred(GOOD_FILES, manifest("good_tar", "handler.py"))),
    "good.tgz": raw(tarred(GOOD_FILES, manifest("good_tgz", "handler.py"))),
    "good.model": raw(tarred(GOOD_FILES, manifest("good_model", "handler.py"))),
    "good_folder": folder(GOOD_FILES, manifest("good_folder", "handler.py")),
    "nested_folder": folder(GOOD_FILES, manifest("nested_folder", "handler.py"), inside="only"),
    "named.mar": source(GOOD, name="another"),
    "leading_digit.mar": source(GOOD, name="4u"),
    "entry_function.mar": mar("functions", entry=":infer"),
    "entry_py_function.mar": mar("functions", entry=".py:infer"),
    "entry_module.mar": mar("functions", entry=""),
    "entry_fallback.mar": mar("functions", entry=":absent"),
    "no_manifest.mar": raw(zipped(GOOD_FILES)),
    "junk.mar": raw(b"this is no zip file\n" * 50),
    "empty.mar": raw(b""),
    "prefixed.mar": raw(b"#!/bin/sh\n" + GOOD_ZIP),
    "cut_in_entry.mar": raw(cut(STORED_ZIP, 60)),
    "cut_between.mar": raw(cut(STORED_ZIP, STORED_ZIP.index(b"PK\x03\x04", 4))),
    "cut_directory.mar": raw(cut(GOOD_ZIP, -30)),
    "wrong_crc.mar": raw(wrong_crc(STORED_ZIP)),
    "escapes.mar": raw(zipped({**GOOD_FILES, "../outside.txt": "out"}, manifest("escapes", "handler.py"))),
    "absolute.mar": raw(zipped({**GOOD_FILES, "/outside.txt": "out"}, manifest("absolute", "handler.py"))),
    "not_gzip.tar.gz": raw(b"this is no gzip file\n" * 50),
    "plain.tar": raw(tarred(GOOD_FILES, manifest("plain_tar", "handler.py"), zip_it=False)),
    "manifest_not_json.mar": raw(zipped({**GOOD_FILES, "MAR-INF/MANIFEST.json": "{not json"})),
    "manifest_list.mar": raw(zipped({**GOOD_FILES, "MAR-INF/MANIFEST.json": "[]"})),
    "manifest_empty.mar": raw(zipped({**GOOD_FILES, "MAR-INF/MANIFEST.json": ""})),
    "manifest_no_model.mar": raw(zipped(GOOD_FILES, {"createdOn": WHEN, "archiverVersion": "0.12.0"})),
    "manifest_model_null.mar": raw(zipped(GOOD_FILES, {"model": None})),
    "manifest_model_text.mar": raw(zipped(GOOD_FILES, {"model": "text"})),
    "manifest_unknown.mar": raw(zipped(GOOD_FILES, {**manifest("unknown_fields", "handler.py"), "more": {"x": 1}})),
    "runtime_python3.mar": raw(zipped(GOOD_FILES, {**manifest("python3", "handler.py"), "runtime": "python3"})),
    "runtime_wrong.mar": raw(zipped(GOOD_FILES, {**manifest("wrong_runtime", "handler.py"), "runtime": "cobol"})),
    "no_handler.mar": raw(zipped(GOOD_FILES, manifest("no_handler"))),
    "number_version.mar": raw(zipped(GOOD_FILES, {**manifest("number_version", "handler.py"),
                                                  "model": {"modelName": "number_version", "modelVersion": 2,
                                                            "handler": "handler.py"}})),
    "yaml_missing.mar": raw(zipped(GOOD_FILES, manifest("yaml_missing", "handler.py", configFile="absent.yaml"))),
    "yaml_broken.mar": source(GOOD, yaml="minWorkers: [1\n"),
    "yaml_types.mar": source(GOOD, yaml="minWorkers: '1'\nmaxWorkers: x\nbatchSize: -1\ndeviceType: tpu\nunknown: 1\n"),
    "yaml_min_only.mar": source(GOOD, yaml="minWorkers: 2\n"),
    "yaml_two.mar": source(GOOD, yaml="minWorkers: 2\nmaxWorkers: 2\nbatchSize: 3\nmaxBatchDelay: 7\n"
                                      "responseTimeout: 11\nstartupTimeout: 12\n"),
}


if __name__ == "__main__":  # a folder and which models of PyTorch go into it
    WRITERS = {"eager": eager, "scripted": scripted, "insights": lambda *to: eager(*to, handler="insights")}
    for model in sys.argv[2:]:
        WRITERS[model](Path(sys.argv[1]), model + ".mar")

"""`sconce archive` writes what torch-model-archiver and torch-workflow-archiver write, byte for byte in what matters:
members, content, compression, manifest; and says what they say."""
import json
import os
import subprocess
import tarfile
import zipfile

import pytest


@pytest.fixture
def folder(tmp_path):
    """A folder with what people put into an archive."""
    for name, text in {
        "model.py": "class Model: pass\n", "handler.py": "def handle(data, context):\n    return data\n",
        "names.json": "{}", "v1.txt": "1", "v2.txt": "2", "requirements.txt": "six\n", "model-config.yaml": "minWorkers: 1\n",
        "extra/a.txt": "a", "extra/sub/b.txt": "b", "extra/.hidden": "kept", "extra/.git/config": "left out",
        "extra/__pycache__/c.pyc": "left out", "spec.yaml": "models: {}\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "weights.pt").write_bytes(os.urandom(100_000) + bytes(300_000))
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.fixture
def run(build, folder):
    def call(*args, name=None, status=0):
        if name:
            command = [str(folder / name)]
            if not (folder / name).exists():
                (folder / name).symlink_to(build / "sconce")
        else:
            command = [str(build / "sconce"), "archive"]
        done = subprocess.run(command + list(args), cwd=folder, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        assert "Sanitizer" not in done.stderr
        assert done.stdout == "" or "-h" in args
        return done.stderr
    return call


EVERYTHING = ["--model-name", "m", "-v", "1.0", "--handler", "handler.py", "--model-file", "model.py",
              "--serialized-file", "weights.pt", "--extra-files", "names.json, extra,v*.txt",
              "-r", "requirements.txt", "-c", "model-config.yaml", "--export-path", "out"]
MEMBERS = {"model.py", "handler.py", "weights.pt", "names.json", "a.txt", "sub/b.txt", ".hidden", "v1.txt", "v2.txt",
           "requirements.txt", "model-config.yaml"}


def check_manifest(text):
    manifest = json.loads(text)
    assert list(manifest) == ["createdOn", "runtime", "model", "archiverVersion"]
    assert manifest["runtime"] == "python"
    assert manifest["model"] == {
        "modelName": "m", "serializedFile": "weights.pt", "handler": "handler.py", "modelFile": "model.py",
        "modelVersion": "1.0", "requirementsFile": "requirements.txt", "configFile": "model-config.yaml"}


@pytest.mark.parametrize("how, method", [([], zipfile.ZIP_DEFLATED), (["--archive-format", "zip-store"], zipfile.ZIP_STORED)])
def test_a_mar(run, folder, how, method):
    assert run(*EVERYTHING, *how) == ""
    with zipfile.ZipFile(folder / "out/m.mar") as z:
        assert z.testzip() is None
        assert {i.filename for i in z.infolist()} == MEMBERS | {"MAR-INF/MANIFEST.json"}
        assert z.infolist()[-1].filename == "MAR-INF/MANIFEST.json"
        assert {i.compress_type for i in z.infolist()} == {method}
        assert not any(i.flag_bits & 8 for i in z.infolist()), "TorchServe cannot read what has its sizes behind it"
        assert z.read("weights.pt") == (folder / "weights.pt").read_bytes()
        check_manifest(z.read("MAR-INF/MANIFEST.json"))
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["m.mar"]


def test_a_tgz(run, folder):
    run(*EVERYTHING, "--archive-format", "tgz")
    with tarfile.open(folder / "out/m.tar.gz") as t:
        assert {m.name for m in t} == {"m/" + n for n in MEMBERS | {"MAR-INF/MANIFEST.json"}}
        assert t.extractfile("m/weights.pt").read() == (folder / "weights.pt").read_bytes()
        check_manifest(t.extractfile("m/MAR-INF/MANIFEST.json").read())


def test_a_folder(run, folder):
    run(*EVERYTHING, "--archive-format", "no-archive")
    made = folder / "out/m"
    assert {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()} == MEMBERS | {"MAR-INF/MANIFEST.json"}
    check_manifest((made / "MAR-INF/MANIFEST.json").read_text())


@pytest.mark.parametrize("handler, member", [
    ("handler", "handler.py"), ("handler:handle", "handler.py"), ("handler.py:handle", "handler.py"),
    ("image_classifier", None), ("./handler.py", "handler.py")])
def test_handlers(run, folder, handler, member):
    run("--model-name", "m", "-v1", f"--handler={handler}")
    with zipfile.ZipFile(folder / "m.mar") as z:
        assert set(z.namelist()) - {"MAR-INF/MANIFEST.json"} == ({member} if member else set())
        assert json.loads(z.read("MAR-INF/MANIFEST.json"))["model"]["handler"] == handler.split("/")[-1]


def test_a_workflow(run, folder):
    for name in (None, "torch-workflow-archiver"):
        run("--workflow-name", "w", "--spec-file", "spec.yaml", "--handler", "handler.py", "--extra-files",
            "names.json,v1.txt", "--export-path", "out", "-f", name=name)
        with zipfile.ZipFile(folder / "out/w.war") as z:
            assert set(z.namelist()) == {"spec.yaml", "handler.py", "names.json", "v1.txt", "WAR-INF/MANIFEST.json"}
            manifest = json.loads(z.read("WAR-INF/MANIFEST.json"))
            assert list(manifest) == ["createdOn", "workflow", "archiverVersion"]
            assert manifest["workflow"] == {"workflowName": "w", "specFile": "spec.yaml", "handler": "handler.py"}


def test_nothing_is_replaced_without_force(run, folder):
    path = folder / "out/m.mar"
    path.write_text("mine")
    said = run(*EVERYTHING, name="torch-model-archiver", status=1)
    assert said == ("ERROR - out/m.mar already exists.\n"
                    "Please specify --force/-f option to overwrite the model archive output file.\n"
                    "See -h/--help for more details.\n")
    assert path.read_text() == "mine"
    assert run(*EVERYTHING, "--force") == "WARNING - Overwriting out/m.mar ...\n"
    assert zipfile.is_zipfile(path)


BASE = ["--model-name", "m", "-v", "1", "--handler", "handler"]


@pytest.mark.parametrize("args, status, text", [
    ([], 2, "error: the following arguments are required: --model-name, --handler, -v/--version\n"),
    (BASE + ["--runtime", "java"], 2, "error: argument --runtime: invalid choice: 'java' (choose from 'python', 'python3', 'LSP')\n"),
    (BASE + ["--archive-format", "rar"], 2, "invalid choice: 'rar' (choose from 'tgz', 'no-archive', 'zip-store', 'default')\n"),
    (BASE + ["more"], 2, "error: unrecognized arguments: more\n"),
    (["--model-name", "m", "-v", "1", "--handler", "absent"], 1, "ERROR - [Errno 2] No such file or directory: 'absent.py'\n"),
    (["--model-name", "-m", "-v", "1", "--handler", "handler"], 2, "error: argument --model-name: expected one argument\n"),
    (["--model-name", "_m", "-v", "1", "--handler", "handler"], 1, "ERROR - Model name contains special characters.\n"
     "The allowed regular expression filter for model name is: ^[A-Za-z0-9][A-Za-z0-9_\\-.]*$\n"),
    (BASE + ["--export-path", "absent"], 1,
     "ERROR - Given export-path absent is not a directory. Point to a valid export-path directory.\n"),
    (BASE + ["--extra-files", "absent.txt"], 1, "ERROR - File does not exist: absent.txt\n"),
    (BASE + ["--serialized-file", "extra"], 1, "ERROR - [Errno 21] Is a directory: 'extra'\n"),
])
def test_what_is_refused(run, folder, args, status, text):
    assert run(*args, name="torch-model-archiver", status=status).endswith(text)
    assert not list(folder.glob("*.mar")) and not list(folder.glob(".sconce-*"))


def test_a_wildcard_without_a_file_is_only_a_warning(run, folder):
    said = run(*BASE, "--extra-files", "absent*")
    assert said == "WARNING - Given wildcard pattern did not match any file: absent*\n"
    assert zipfile.is_zipfile(folder / "m.mar")


def test_help(run):
    run("-h")
    run("-h", name="torch-workflow-archiver")

"""An archive whose handler is `image_classifier`, as people make it, asked by real clients; explained where captum is."""
import json
import subprocess
import sys

import pytest

import harness
from python_models import need_python_with

sys.path.insert(0, str(harness.ROOT / "tests" / "python"))
import builtin_scenarios as models  # noqa: E402

NEEDED = ("torch", "torchvision", "PIL", "captum")
RECORDED = json.loads((harness.ROOT / "tests" / "python" / "data" / "builtin_handlers.json").read_text())


def recorded(name):
    """What TorchServe's package answered to the first request of a scenario."""
    return next(result for result in RECORDED if result["name"] == name)["replies"][0][2][0][-1]


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    python = need_python_with(*NEEDED)
    folder = tmp_path_factory.mktemp("images")
    (folder / "model.py").write_text(models.CLASSIFIER % 12)
    (folder / "index_to_name.json").write_text(models.LABELS)
    (folder / "store").mkdir()
    for name in ("images", "other"):
        subprocess.run([str(build / "sconce"), "archive", "--model-name", name, "-v", "1.0", "--handler", "image_classifier",
                        "--model-file", "model.py", "--extra-files", "index_to_name.json", "--export-path", "store"],
                       cwd=folder, check=True, capture_output=True, timeout=60)
    server = harness.Server(
        build=build, folder=folder / "server", store=folder / "store", config={"python": python, "system_metrics_cmd": ""},
        env={"PYTHONPATH": str(harness.ROOT / "tests" / "python" / "torchvision_cpu"), "OMP_NUM_THREADS": "1"})
    try:
        server.start()
        reply = server.post("/models?url=images.mar&initial_workers=1&batch_size=4&max_batch_delay=20&synchronous=true",
                            "management", timeout=100)
        assert reply.status_code == 200, reply.text + server.log_tail()
        yield server
    finally:
        harness.stop_all([server])


def near(value):
    return {key: pytest.approx(number, rel=1e-3) for key, number in value.items()}


def test_a_png_gets_its_five_best_labels(server):
    reply = server.post("/predictions/images", data=models.PICTURE, headers={"Content-Type": "image/png"})
    assert reply.status_code == 200, reply.text
    assert reply.json() == near(recorded("classifier-eager"))
    assert list(reply.json()) == list(recorded("classifier-eager"))


def test_a_form_with_the_picture_as_data(server):
    body = (b"--X\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.png\"\r\n\r\n" + models.PICTURE
            + b"\r\n--X--\r\n")
    reply = server.post("/predictions/images", data=body, headers={"Content-Type": "multipart/form-data; boundary=X"})
    assert (reply.status_code, reply.json()) == (200, near(recorded("classifier-eager")))


def test_explanations_are_captums(server):
    small = next(s for s in models.everything() if s["name"] == "classifier-explain")["batches"][0][0]["parameters"][0][2]
    reply = server.post("/explanations/images", data=small.encode(), headers={"Content-Type": "application/json"}, timeout=60)
    assert reply.status_code == 200, reply.text
    flat = [n for channel in reply.json() for row in channel for n in row]
    theirs = [n for channel in recorded("classifier-explain") for row in channel for n in row]
    assert flat == pytest.approx(theirs, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("body", [b"", b"no image", models.png(40, 30, cut=200), models.png(4, 4, claimed=(20000, 20000))],
                         ids=["empty", "text", "cut", "bomb"])
def test_what_is_no_image_fails_and_the_next_is_served(server, body):
    reply = server.post("/predictions/images", data=body, headers={"Content-Type": "image/png"})
    assert reply.status_code == 503
    assert reply.json() == {"code": 503, "type": "InternalServerException", "message": "Prediction failed"}
    assert server.post("/predictions/images", data=models.PICTURE).status_code == 200


def test_an_unknown_built_in_is_named(server):
    reply = server.post("/models?url=other.mar&handler=image_clasifier&initial_workers=1", "management", timeout=100)
    assert reply.status_code == 500
    harness.wait_for(lambda: "No module named 'image_clasifier'" in server.logs()["model_log.log"], 20, "the reason in the log")

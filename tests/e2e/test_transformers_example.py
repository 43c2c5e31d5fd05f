"""Archives of TorchServe's Transformers example, served by the encoder after one setting: what TorchServe's handler
answered is recorded (tests/peer/transformers_example.py), and the encoder answers the same bytes."""
import sys

import pytest

import harness

sys.path.append(str(harness.ROOT / "tests" / "peer"))

import archives as ar  # noqa: E402
import play  # noqa: E402
import transformers_example as example  # noqa: E402
from cases import SUITES  # noqa: E402
from test_recorded import interpreter  # noqa: E402

RECORD = play.read_record("transformers")
KNOWN = [{"case": "*: form, broken escape", "field": "body", "torchserve": "Invalid hex byte", "sconce": "Bad string",
          "why": "messages of the Java runtime"}]
played = {}


def played_by_encoder(build):
    """The suite's answers with `backend: encoder` in every archive's file; played once."""
    if not played:
        suite = {**example.SUITES["transformers"], "archives": example.archives(_top={"backend": "encoder"})}
        try:
            played["notes"] = play.play_suite(build / "torchserve", suite, sys.executable)
        except Exception as e:  # each case fails with it
            played["notes"] = e
    if isinstance(played["notes"], Exception):
        raise played["notes"]
    return played["notes"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", list(RECORD), ids=lambda text: text.replace("/", "|"))
def test_says_what_torchserve_said(build, case):
    ours = played_by_encoder(build).get(case)
    found = play.differences(KNOWN, "transformers", case, RECORD[case], ours)
    assert not found, f"TorchServe: {RECORD[case]}\nSconce: {ours}"


def put(server, name, write):
    write(server.store, f"{name}.mar")
    return f"{name}.mar"


def register(server, url, **more):
    query = "&".join(f"{k}={v}" for k, v in {"url": url, "initial_workers": 1, "synchronous": "true", **more}.items())
    return server.post(f"/models?{query}", api="management")


@pytest.fixture
def server(serve):
    return serve()


def sequence(**settings):
    return example.archive("sequence", "sequence_classification", {"0": "Not Accepted", "1": "Accepted"}, **settings)


def test_registered_with_backend_encoder(server):
    url = put(server, "plain", sequence())
    reply = register(server, url, backend="encoder")
    assert reply.status_code == 200, reply.text
    body = example.TEXTS[0].encode()
    answer = server.post("/predictions/plain", data=body, headers={"Content-Type": "text/plain"})
    assert answer.text == RECORD["sequence: text/plain"]["body"]
    assert "Content-Type" not in answer.headers
    assert server.get("/models/plain", api="management").json()[0]["runtime"] == "encoder"


def test_a_backend_that_cannot_be_is_refused(server):
    url = put(server, "plain", sequence())
    for name in ("../encoder", "a/b", "", "x" * 40):
        reply = register(server, url, backend=name, model_name="bad")
        if name:
            assert reply.status_code == 400 and "backend" in reply.text, name
    assert register(server, url, backend="unheard_of", model_name="bad").status_code == 500


def test_absent_keys_take_the_examples_defaults(server):
    """captum_explanation is false then; max_length is 150, do_lower_case true."""
    keys = ("model_name", "do_lower_case", "num_labels", "save_mode", "max_length", "captum_explanation", "embedding_name")
    url = put(server, "bare", sequence(**dict.fromkeys(keys)))
    assert register(server, url, backend="encoder").status_code == 200
    for i, text in enumerate(example.TEXTS):
        answer = server.post("/predictions/bare", data=text.encode(), headers={"Content-Type": "text/plain"})
        assert answer.text == RECORD[f"defaults: text {i + 1}"]["body"], text


@pytest.mark.parametrize("mode, settings, says", [
    ("text_generation", {}, "text_generation"),
    ("summarization", {}, "summarization"),
    ("sequence_classification", {"save_mode": "torchscript"}, "torchscript"),
    ("sequence_classification", {"max_length": 161}, "at most 160"),
    ("sequence_classification", {"max_length": "many"}, "max_length"),
    ("sequence_classification", {"captum_explanation": "perhaps"}, "captum_explanation"),
])
def test_what_is_not_served_is_refused_by_name(server, mode, settings, says):
    url = put(server, "other", example.archive("sequence", mode, {"0": "No", "1": "Yes"}, **settings))
    reply = register(server, url, backend="encoder")
    assert reply.status_code == 500
    assert says in reply.text


def test_files_that_are_missing_are_named(server):
    reply = register(server, put(server, "nameless", example.archive("sequence", "sequence_classification")), backend="encoder")
    assert reply.status_code == 500 and "index_to_name.json" in reply.text


def without_tokenizer(store, name, **settings):
    files = {n: example.DATA / "sequence" / n for n in ("config.json", "model.safetensors")}
    files["index_to_name.json"] = {"0": "Not Accepted", "1": "Accepted"}
    yaml = "handler:\n    mode: sequence_classification\n    max_length: 40\n" + "".join(f"{k}: {v}\n" for k, v in settings.items())
    ar.mar(example.HANDLER, files=files, yaml=yaml, serializedFile="model.safetensors")(store, name)


def test_the_tokenizer_may_lie_elsewhere(server):
    without_tokenizer(server.store, "t.mar")
    reply = register(server, "t.mar", backend="encoder")
    assert reply.status_code == 500
    assert "vocab.txt" in reply.text and "setting tokenizer" in reply.text
    without_tokenizer(server.store, "u.mar", backend="encoder", tokenizer=example.DATA / "sequence")
    assert register(server, "u.mar").status_code == 200
    answer = server.post("/predictions/u", data=example.TEXTS[1].encode(), headers={"Content-Type": "text/plain"})
    assert answer.text == RECORD["sequence: text 2"]["body"]
    assert register(server, "t.mar", backend="encoder", tokenizer=example.DATA / "question").status_code == 200


def test_explanations_are_the_handlers_own(server):
    assert register(server, put(server, "plain", sequence()), backend="encoder").status_code == 200
    reply = server.post("/explanations/plain", data=b"{'text': 'cat', 'target': 0}")
    assert reply.status_code == 501 and "handler" in reply.text


@pytest.mark.timeout(300)
def test_the_example_of_ours_with_real_weights(server):
    """examples/transformers-seqclass as it is packed for TorchServe: its tokenizer's own truncation is shorter than max_length."""
    python = interpreter(SUITES["examples"])
    play.pack({"examples": ["transformers-seqclass"]}, server.store, python)
    assert register(server, "seqclass.mar", backend="encoder").status_code == 200
    theirs = play.read_record("examples")
    steps = [s for s in SUITES["examples"]["steps"] if s.get("path", "").startswith("/predictions/seqclass")]
    assert len(steps) > 8
    for step in steps:
        answer = server.post(step["path"], data=step["body"], headers=step["headers"])
        assert (answer.status_code, answer.text) == (theirs[step["case"]]["status"], theirs[step["case"]]["body"]), step["case"]

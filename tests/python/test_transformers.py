"""A Transformers sequence-classification handler, written as those of TorchServe's users are, on a trained model.

Needs torch and transformers; skipped where they are not installed.
"""
import csv
import importlib.util
import json
import logging
import os
import shutil
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("yaml")

DEMO = Path(__file__).resolve().parents[2] / "models" / "demo-langid"

HANDLER = '''
import ast
import logging
import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from ts.torch_handler.base_handler import BaseHandler

logger = logging.getLogger(__name__)


class TransformersSeqClassifierHandler(BaseHandler):
    def __init__(self):
        super().__init__()
        self.initialized = False

    def initialize(self, ctx):
        self.manifest = ctx.manifest
        properties = ctx.system_properties
        model_dir = properties.get("model_dir")
        self.device = torch.device(
            "cuda:" + str(properties.get("gpu_id"))
            if torch.cuda.is_available() and properties.get("gpu_id") is not None else "cpu")
        self.setup_config = ctx.model_yaml_config["handler"]
        self.model = AutoModelForSequenceClassification.from_pretrained(model_dir)
        self.tokenizer = AutoTokenizer.from_pretrained(model_dir)
        self.model.to(self.device).eval()
        self.mapping = self.model.config.id2label
        self.initialized = True

    def preprocess(self, requests):
        ids, masks = [], []
        for data in requests:
            text = data.get("data")
            if text is None:
                text = data.get("body")
            if isinstance(text, (bytes, bytearray)):
                text = text.decode("utf-8")
            if self.setup_config["captum_explanation"]:
                text = ast.literal_eval(text)["text"]
            inputs = self.tokenizer(text, max_length=int(self.setup_config["max_length"]), padding="max_length",
                                    truncation=True, return_tensors="pt")
            ids.append(inputs["input_ids"])
            masks.append(inputs["attention_mask"])
        return torch.cat(ids).to(self.device), torch.cat(masks).to(self.device)

    def inference(self, batch):
        with torch.inference_mode():
            return self.model(*batch)[0]

    def postprocess(self, logits):
        return [self.mapping[row.argmax().item()] for row in logits]
'''
CONFIG = "minWorkers: 1\nhandler: {model_name: bert, mode: sequence_classification, max_length: '48', captum_explanation: %s}\n"
MANIFEST = {"model": {"modelName": "langid", "modelVersion": "1.0", "handler": "seq_handler.py",
                      "configFile": "model-config.yaml", "serializedFile": "model.safetensors"}}


def sentences():
    with open(DEMO / "sentences.tsv", encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) >= 2]


@pytest.fixture
def archive(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(str(DEMO), str(folder))
    (folder / "seq_handler.py").write_text(HANDLER)
    (folder / "model-config.yaml").write_text(CONFIG % "false")
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(MANIFEST))
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("seq_handler", None)
    return folder


def load(archive):
    from ts import model_loader

    return model_loader.load("langid", str(archive), "seq_handler.py", None, 8)


def direct(texts):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(DEMO))
    model = AutoModelForSequenceClassification.from_pretrained(str(DEMO)).eval()
    inputs = tokenizer(texts, max_length=48, padding="max_length", truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits = model(inputs["input_ids"], inputs["attention_mask"])[0]
    return [model.config.id2label[index] for index in logits.argmax(1).tolist()]


def requests(texts):
    return [("id-%d" % index, {"explain": "False"}, {"body": bytearray(text.encode())}) for index, text in enumerate(texts)]


def test_every_text_gets_the_label_that_the_model_gives_it(archive):
    texts = [max(row, key=len) for row in sentences()][:16]
    assert len(texts) > 4
    service = load(archive)
    reply = service.predict(requests(texts))
    assert (reply.code, reply.message) == (200, "Prediction success")
    labels = [item[0] if isinstance(item[0], str) else item[0].decode() for item in reply.items]
    assert labels == direct(texts)
    assert len(set(labels)) > 1
    assert all(item[1:] == (200, "", None, ()) for item in reply.items)


def test_the_literal_form_is_read_and_another_fails_the_batch(archive):
    (archive / "model-config.yaml").write_text(CONFIG % "true")
    service = load(archive)
    text = sentences()[0]
    text = max(text, key=len)
    assert service.predict(requests([repr({"text": text, "target": 1})])).items[0][0] == direct([text])[0]
    reply = service.predict([("id", {}, {"body": {"text": text}})])
    assert (reply.code, reply.message) == (503, "Prediction failed")


def compiled_service(folder, monkeypatch, pt2):
    """A model of two numbers with that configuration for torch.compile, which compiles at the first batch."""
    import scenarios
    from ts import model_loader

    entry = ', "modelFile": "compiled_model.py", "configFile": "c.yaml"'
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(scenarios.MANIFEST % entry)
    (folder / "compiled_model.py").write_text(scenarios.MODEL)
    (folder / "compiled_handler.py").write_text(scenarios.HANDLER)
    (folder / "c.yaml").write_text("pt2: %s\n" % pt2)
    monkeypatch.syspath_prepend(str(folder))
    for module in "compiled_model", "compiled_handler":
        monkeypatch.delitem(sys.modules, module, raising=False)
    return model_loader.load("m", str(folder), "compiled_handler.py", None, 1)


@pytest.mark.parametrize("pt2, said", [
    ("{compile: {enable: true, backend: inductor}}", "Compiled model with backend inductor"),
    ("{compile: {enable: true, backend: inductor, mode: reduce-overhead}}",
     "Compiled model with backend inductor, mode reduce-overhead"),
    ("inductor", "Compiled model with backend inductor"),
    ("{compile: {enable: false, backend: inductor}}", None),
])
def test_what_is_compiled_is_told(tmp_path, monkeypatch, caplog, pt2, said):
    caplog.set_level(logging.INFO)
    model = compiled_service(tmp_path, monkeypatch, pt2)._entry_point.__self__.model
    lines = [record.getMessage() for record in caplog.records if "Compiled model" in record.getMessage()]
    assert lines == ([said] if said else [])
    assert isinstance(model, torch._dynamo.eval_frame.OptimizedModule) == bool(said)


@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="inductor needs a C++ compiler")
@pytest.mark.skipif(not os.environ.get("SCONCE_SLOW"), reason="compiles for half a minute; set SCONCE_SLOW")
def test_a_base_handler_model_is_compiled_by_inductor(tmp_path, monkeypatch):
    service = compiled_service(tmp_path, monkeypatch, "{compile: {enable: true, backend: inductor, mode: reduce-overhead}}")
    reply = service.predict([("id", {}, {"body": [1.0, 2.0]})])
    assert json.loads(reply.items[0][0]) == [5.0, 11.0]


@pytest.mark.parametrize("skip", [False, True])
def test_a_streamers_pieces_join_to_the_whole_text(skip):
    from transformers import AutoTokenizer

    from ts.handler_utils.hf_batch_streamer import TextIteratorStreamerBatch

    tokenizer = AutoTokenizer.from_pretrained(str(DEMO))
    texts = ["hello world , this is streaming text", "another sentence that is long enough"]
    rows = [tokenizer(text).input_ids for text in texts]
    length = min(len(row) for row in rows)
    ids = torch.tensor([row[:length] for row in rows])
    streamer = TextIteratorStreamerBatch(tokenizer, 2, skip_prompt=skip, timeout=5, skip_special_tokens=True)
    streamer.put(ids[:, :3])
    for place in range(3, length):
        streamer.put(ids[:, place])
    streamer.end()
    pieces = list(streamer)
    for index in range(2):
        text = "".join(piece[index]["text"] for piece in pieces)
        assert text == tokenizer.decode(ids[index, 3 if skip else 0:], skip_special_tokens=True)
    with pytest.raises(ValueError):
        TextIteratorStreamerBatch(tokenizer, 3).put(ids)


# ---- the other modes of such handlers: answers to questions, labels of tokens -----------------------------

MODES = '''
import ast

import torch
from transformers import AutoModelForQuestionAnswering, AutoModelForTokenClassification, AutoTokenizer

from ts.torch_handler.base_handler import BaseHandler

MODELS = {"question_answering": AutoModelForQuestionAnswering, "token_classification": AutoModelForTokenClassification}


class TransformersHandler(BaseHandler):
    def initialize(self, ctx):
        folder = ctx.system_properties.get("model_dir")
        self.setup = ctx.model_yaml_config["handler"]
        self.model = MODELS[self.setup["mode"]].from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.initialized = True

    def preprocess(self, requests):
        texts, pairs = [], []
        for request in requests:
            body = request.get("data") or request.get("body")
            body = body.decode("utf-8") if isinstance(body, (bytes, bytearray)) else body
            if self.setup["mode"] == "question_answering":
                asked = ast.literal_eval(body) if isinstance(body, str) else body
                texts.append(asked["question"])
                pairs.append(asked["context"])
            else:
                texts.append(body)
        return self.tokenizer(texts, pairs or None, padding="max_length", max_length=int(self.setup["max_length"]),
                              truncation=True, return_tensors="pt")

    def inference(self, batch):
        with torch.inference_mode():
            result = self.model(batch["input_ids"], batch["attention_mask"])
        rows = batch["input_ids"].tolist()
        if self.setup["mode"] == "question_answering":
            return [self.words(ids[first:last + 1]) for ids, first, last in zip(
                rows, result.start_logits.argmax(1).tolist(), result.end_logits.argmax(1).tolist())]
        labels = self.setup["labels"]
        return [[(token, labels[label]) for token, label, kept in zip(self.tokenizer.convert_ids_to_tokens(ids), found, mask) if kept]
                for ids, found, mask in zip(rows, result.logits.argmax(2).tolist(), batch["attention_mask"].tolist())]

    def words(self, ids):
        return self.tokenizer.convert_tokens_to_string(self.tokenizer.convert_ids_to_tokens(ids))

    def postprocess(self, results):
        return results
'''
LABELS = ["O", "B-MISC", "I-MISC", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC"]
ASKED = [{"question": "who was jim henson ?", "context": "jim henson was a nice puppet"},
         {"question": "what sat on the mat", "context": "the cat sat on the mat . it is a beautiful day !"}]
TAGGED = ["bloomberg has decided to publish a new report", "the cat sat on matting"]


@pytest.fixture(params=["question_answering", "token_classification"])
def other(request, tmp_path, monkeypatch):
    """(mode, folder of the weights, service) of such a handler."""
    weights = Path(__file__).resolve().parents[1] / "data" / "example" / request.param.partition("_")[0]
    shutil.copytree(weights, tmp_path / "model")
    folder = tmp_path / "model"
    (folder / "other_modes.py").write_text(MODES)
    (folder / "c.yaml").write_text("handler: {mode: %s, max_length: 48, labels: %s}\n" % (request.param, json.dumps(LABELS)))
    (folder / "MAR-INF").mkdir()
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(
        {"model": {"modelName": "m", "modelVersion": "1.0", "handler": "other_modes.py", "configFile": "c.yaml"}}))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "other_modes", raising=False)
    from ts import model_loader

    return request.param, weights, model_loader.load("m", str(folder), "other_modes.py", None, 4)


def by_hand(mode, folder, want):
    """What the model says of one request by itself."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
    if mode == "question_answering":
        model = transformers.AutoModelForQuestionAnswering.from_pretrained(str(folder)).eval()
        ids = tokenizer(want["question"], want["context"], padding="max_length", max_length=48, return_tensors="pt")
        with torch.inference_mode():
            result = model(ids["input_ids"], ids["attention_mask"])
        found = ids["input_ids"][0, result.start_logits.argmax():result.end_logits.argmax() + 1]
        return tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(found))
    model = transformers.AutoModelForTokenClassification.from_pretrained(str(folder)).eval()
    ids = tokenizer(want, return_tensors="pt")
    with torch.inference_mode():
        labels = model(**ids).logits[0].argmax(1).tolist()
    return [[token, LABELS[label]] for token, label in zip(tokenizer.convert_ids_to_tokens(ids["input_ids"][0]), labels)]


def test_answers_and_labels_are_the_models_own(other):
    mode, weights, service = other
    wants = ASKED if mode == "question_answering" else TAGGED
    bodies = [str(want) for want in wants]
    reply = service.predict([("id%d" % i, {}, {"body": bytearray(body, "utf-8")}) for i, body in enumerate(bodies)])
    assert (reply.code, reply.message) == (200, "Prediction success")
    said = [item[0] if isinstance(item[0], str) else item[0].decode() for item in reply.items]
    if mode == "token_classification":
        said = [json.loads(text) for text in said]
        assert len({label for row in said for _, label in row}) > 1
    assert said == [by_hand(mode, weights, want) for want in wants]
    assert service.predict([("id", {}, {"body": "{" if mode == "question_answering" else None})]).code == 503


def test_the_package_is_ours():
    assert importlib.util.find_spec("ts.log") is not None

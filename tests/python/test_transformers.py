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


def test_the_package_is_ours():
    assert importlib.util.find_spec("ts.log") is not None

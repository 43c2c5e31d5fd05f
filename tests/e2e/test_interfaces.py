"""The interfaces of others: OpenAI's /v1/embeddings with its own client, text-embeddings-inference's and Cohere's calls.

The models are tests/data/bert-tiny with another head: what they compute is compared elsewhere (tests/python)."""
import base64
import json
import math
import shutil
import struct

import pytest

import harness
from encoder_models import TINY, variant

openai = pytest.importorskip("openai")


def one_label(folder):
    """The classifier's first row alone: a ranker."""
    shutil.copytree(TINY, folder)
    data = (folder / "model.safetensors").read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    tensors, rest, body = json.loads(data[8:8 + n]), data[8 + n:], b""
    for name, t in sorted(tensors.items()):
        if name == "__metadata__":
            continue
        piece = rest[slice(*t["data_offsets"])]
        if name.startswith("classifier."):
            piece = piece[:len(piece) // t["shape"][0]]
            t["shape"][0] = 1
        t["data_offsets"] = [len(body), len(body) + len(piece)]
        body += piece
    head = json.dumps(tensors).encode()
    head += b" " * (-len(head) % 8)
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = {"0": "LABEL_0"}
    config.pop("label2id", None)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interfaces")
    models = {"vectors": variant(folder / "vectors", task="embeddings", pooling="mean"), "classes": TINY,
              "ranks": one_label(folder / "ranks"), "echo": "identity"}
    server = harness.Server(build=harness.build_dir(), folder=folder / "server", models=models,
                            config={"interface_models": "nobody, vectors"}).start()
    yield server
    harness.stop_all([server])


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url("/v1"), api_key="none", max_retries=0, timeout=60)


def length(v):
    return math.sqrt(sum(x * x for x in v))


# ---- OpenAI ----


def test_embeddings_with_the_official_client(client):
    texts = ["the cat", "der hund", ""]
    r = client.embeddings.create(model="vectors", input=texts)  # the client asks for base64
    assert (r.object, r.model, [d.index for d in r.data], [d.object for d in r.data]) == ("list", "vectors", [0, 1, 2], ["embedding"] * 3)
    floats = client.embeddings.create(model="vectors", input=texts, encoding_format="float")
    for a, b in zip(r.data, floats.data):
        assert len(a.embedding) == len(b.embedding) == 32
        assert a.embedding == pytest.approx(b.embedding, abs=1e-7)
        assert length(a.embedding) == pytest.approx(1, abs=1e-5)
    assert r.usage.prompt_tokens == r.usage.total_tokens > 6
    one = client.embeddings.create(model="vectors", input="the cat", dimensions=4).data[0].embedding
    assert len(one) == 4 and length(one) == pytest.approx(1, abs=1e-5)
    full = r.data[0].embedding
    assert one == pytest.approx([x / length(full[:4]) for x in full[:4]], abs=1e-5)
    assert client.embeddings.create(model="vectors/1.0", input="the cat").data[0].embedding == pytest.approx(full, abs=1e-6)


def test_base64_is_of_the_floats(server):
    body = {"model": "vectors", "input": "the cat"}
    floats = server.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    text = server.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert struct.unpack("<32f", base64.b64decode(text)) == pytest.approx(floats, abs=1e-7)


@pytest.mark.parametrize("body,status,said", [
    ({"model": "nobody", "input": "a"}, 404, "nobody"),
    ({"model": "vectors/7", "input": "a"}, 404, "vectors/7"),
    ({"model": "classes", "input": "a"}, 400, "tei/predict"),
    ({"model": "echo", "input": "a"}, 400, "kserve/infer"),
    ({"model": 3, "input": "a"}, 400, "model"),
    ({"model": "vectors"}, 400, "input"),
    ({"model": "vectors", "input": []}, 400, "input"),
    ({"model": "vectors", "input": None}, 400, "list of texts"),
    ({"model": "vectors", "input": [1, 2, 3]}, 400, "token ids"),
    ({"model": "vectors", "input": [[1, 2, 3]]}, 400, "token ids"),
    ({"model": "vectors", "input": ["a", None]}, 400, "text"),
    ({"model": "vectors", "input": {"a": "b"}}, 400, "list of texts"),
    ({"model": "vectors", "input": "a", "encoding_format": "int8"}, 400, "encoding_format"),
    ({"model": "vectors", "input": "a", "dimensions": 33}, 400, "32"),
    ({"model": "vectors", "input": "a", "dimensions": 0}, 400, "dimensions"),
    ({"model": "vectors", "input": "a", "dimensions": "8"}, 400, "dimensions"),
    ({"model": "vectors", "input": ["a"] * 100_000}, 400, "1024"),
    ([], 400, "object"),
    ("a", 400, "object"),
])
def test_errors_have_openais_shape(server, body, status, said):
    r = server.post("/v1/embeddings", json=body)
    assert r.status_code == status, r.text
    error = r.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    assert said in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["code"] == ("model_not_found" if status == 404 else None)


@pytest.mark.parametrize("body", [b"", b"{", b'{"model": "vectors", "input": "a"', b'{"model": "vectors", "input": "\xff"}', b"\x00" * 20,
                                  b'{"a": ' * 1000, b'{"model": "vectors", "input": "a"} x'])
def test_a_body_that_is_no_json(server, body):
    r = server.post("/v1/embeddings", data=body)
    assert (r.status_code, r.json()["error"]["type"]) == (400, "invalid_request_error")


def test_the_client_raises_its_own_errors(client):
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="gone", input="a")
    with pytest.raises(openai.BadRequestError):
        client.embeddings.create(model="classes", input="a")


def test_without_a_model_the_only_one_or_the_preferred_one_is_meant(server, tmp_path):
    alone = server.post("/v1/embeddings", json={"input": "the cat"}).json()
    assert alone["model"] == "vectors"
    folder = variant(tmp_path / "another", task="embeddings")
    server.post("/models", api="management", params={"url": str(folder), "model_name": "another", "initial_workers": 1})
    try:
        assert server.post("/v1/embeddings", json={"input": "the cat", "model": None}).json()["model"] == "vectors"
        assert server.post("/v1/embeddings", json={"input": "the cat", "model": "another"}).json()["model"] == "another"
        assert server.get("/info?model=another").json()["model_id"] == "another"
    finally:
        server.delete("/models/another")


def test_methods(server):
    assert server.get("/v1/embeddings").status_code == 405
    assert server.get("/embed").status_code == 405
    assert server.post("/info").status_code == 405
    assert server.get("/v2/rerank").status_code == 405
    assert server.post("/v1/embeddings/more", json={}).status_code == 404


# ---- text-embeddings-inference ----


def test_embed(server):
    one = server.post("/embed", json={"inputs": "the cat"}).json()
    two = server.post("/embed", json={"inputs": ["the cat", "la"]}).json()
    assert one == two[:1] and [len(v) for v in two] == [32, 32]
    assert length(one[0]) == pytest.approx(1, abs=1e-5)
    raw = server.post("/embed", json={"inputs": "the cat", "normalize": False}).json()[0]
    assert length(raw) != pytest.approx(1, abs=1e-2)
    assert [x / length(raw) for x in raw] == pytest.approx(one[0], abs=1e-5)


def test_similarity(server):
    texts = ["der hund", "the cat", "la"]
    inputs = {"source_sentence": "the cat", "sentences": texts}
    got = server.post("/similarity", json={"inputs": inputs, "parameters": {"truncate": True}}).json()
    vectors = server.post("/embed", json={"inputs": texts}).json()
    assert got == pytest.approx([sum(a * b for a, b in zip(v, vectors[1])) for v in vectors], abs=1e-5)
    assert got[1] == pytest.approx(1, abs=1e-5)
    other_order = {"sentences": texts, "source_sentence": "the cat"}
    assert server.post("/similarity", json={"inputs": other_order, "parameters": None}).json() == pytest.approx(got, abs=1e-6)


def test_health(server):
    r = server.get("/health")
    assert (r.status_code, r.content) == (200, b"")
    assert server.post("/health").status_code == 405


def test_predict(server):
    def predict(inputs, **more):
        r = server.post("/predict?model=classes", json={"inputs": inputs, **more})
        assert r.status_code == 200, r.text
        return r.json()
    one = predict("the cat")
    assert [list(x) for x in one] == [["score", "label"]] * 3
    assert one == sorted(one, key=lambda x: -x["score"]) and sum(x["score"] for x in one) == pytest.approx(1, abs=1e-5)
    assert predict(["the cat"]) == one
    assert predict([["the cat"], ["the cat", "la"]])[0] == one
    assert predict([["the cat"], ["the cat", "la"]])[1] == predict(["the cat", "la"]) != one
    assert sum(x["score"] for x in predict("the cat", raw_scores=True)) != pytest.approx(1, abs=1e-2)
    wrong = server.post("/predict?model=classes", json={"inputs": ["a", "b", "c"]})
    assert (wrong.status_code, wrong.json()["error_type"]) == (422, "Validation")


def test_rerank(server):
    body = {"query": "the cat", "texts": ["la", "the mat", "der hund"]}
    ranks = server.post("/rerank", json=body).json()
    assert sorted(r["index"] for r in ranks) == [0, 1, 2]
    assert ranks == sorted(ranks, key=lambda r: -r["score"]) and all(0 < r["score"] < 1 for r in ranks)
    with_text = server.post("/rerank", json={**body, "return_text": True}).json()
    assert [(r["index"], r["text"]) for r in with_text] == [(r["index"], body["texts"][r["index"]]) for r in ranks]
    raw = server.post("/rerank", json={**body, "raw_scores": True}).json()
    assert [r["index"] for r in raw] == [r["index"] for r in ranks]
    assert [1 / (1 + math.exp(-r["score"])) for r in raw] == pytest.approx([r["score"] for r in ranks], abs=1e-5)
    assert server.post("/predictions/ranks", json=body).json() == ranks
    pair = server.post("/predictions/ranks", json={"text": "the cat", "text_pair": body["texts"][ranks[0]["index"]]}).json()
    assert pair[0]["score"] == pytest.approx(ranks[0]["score"], abs=1e-6)


def test_tokenize(server):
    text = "the cat étés"
    tokens = server.post("/tokenize?model=classes", json={"inputs": text}).json()[0]
    assert [(t["text"], t["special"], t["start"]) for t in tokens[:2]] == [("[CLS]", True, None), ("the", False, 0)]
    assert all(text[t["start"]:t["stop"]] == t["text"] for t in tokens if not t["special"])
    bare = server.post("/tokenize?model=classes", json={"inputs": [text, "la"], "add_special_tokens": False}).json()
    assert bare[0] == [t for t in tokens if not t["special"]] and len(bare[1]) == 1


def test_info(server):
    info = server.get("/info").json()
    assert (info["model_id"], info["model_type"]) == ("vectors", {"embedding": {"pooling": "mean"}})
    assert server.get("/info?model=classes").json()["model_type"]["classifier"]["id2label"]["0"] == "de"
    assert server.get("/info?model=ranks").json()["model_type"]["reranker"]
    assert info["max_input_length"] == 48 and info["max_client_batch_size"] == 1024


@pytest.mark.parametrize("path,body,status", [
    ("/embed", {"inputs": []}, 422),
    ("/embed", {"inputs": 5}, 422),
    ("/embed", {}, 422),
    ("/embed", {"inputs": "a", "normalize": "yes"}, 422),
    ("/embed", {"inputs": "the cat " * 40, "truncate": False}, 413),
    ("/embed", {"inputs": ["a"] * 1025}, 413),
    ("/embed?model=classes", {"inputs": "a"}, 422),
    ("/embed?model=nobody", {"inputs": "a"}, 424),
    ("/predict", {"inputs": "a"}, 422),  # two models have it
    ("/similarity", {"inputs": "a"}, 422),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 422),
    ("/similarity", {"inputs": {"sentences": ["a"]}}, 422),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a", 5]}}, 422),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["a"]}, "parameters": {"truncate": 1}}, 422),
    ("/similarity?model=classes", {"inputs": {"source_sentence": "a", "sentences": ["a"]}}, 422),
    ("/rerank", {"query": "a", "texts": []}, 422),
    ("/rerank", {"texts": ["a"]}, 422),
    ("/rerank", {"query": 1, "texts": ["a"]}, 422),
])
def test_errors_of_text_embeddings_inference(server, path, body, status):
    r = server.post(path, json=body)
    assert r.status_code == status, r.text
    assert sorted(r.json()) == ["error", "error_type"]
    assert server.post("/embed", json={"inputs": "  \t\n"}).status_code == 200  # only blanks: a text like others


# ---- Cohere ----


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank"])
def test_cohere(server, path):
    body = {"model": "ranks", "query": "the cat", "documents": ["la", {"text": "the mat"}, "der hund"]}
    r = server.post(path, json=body).json()
    assert r["meta"]["api_version"]["version"] == path[2] and len(r["id"]) == 36
    tei = server.post("/rerank", json={"query": "the cat", "texts": ["la", "the mat", "der hund"]}).json()
    assert [(x["index"], x["relevance_score"]) for x in r["results"]] == [(x["index"], x["score"]) for x in tei]
    best = server.post(path, json={**body, "top_n": 1, "return_documents": True}).json()["results"]
    assert len(best) == 1 and best[0]["document"]["text"] == ["la", "the mat", "der hund"][best[0]["index"]]
    assert len(server.post(path, json={**body, "top_n": 99}).json()["results"]) == 3


@pytest.mark.parametrize("change,status", [({"top_n": 0}, 400), ({"top_n": "2"}, 400), ({"documents": []}, 400), ({"documents": "a"}, 400),
                                           ({"documents": [{"title": "a"}]}, 400), ({"query": None}, 400), ({"model": "classes"}, 400),
                                           ({"model": "gone"}, 404), ({"documents": ["a"] * 100_000}, 400)])
def test_errors_of_cohere(server, change, status):
    r = server.post("/v2/rerank", json={"model": "ranks", "query": "a", "documents": ["b"], **change})
    assert (r.status_code, sorted(r.json())) == (status, ["id", "message"]), r.text


# ---- the server around them ----


def test_without_a_worker_the_answer_has_the_interfaces_form(server, tmp_path):
    folder = variant(tmp_path / "idle", task="embeddings")
    server.post("/models", api="management", params={"url": str(folder), "model_name": "idle"})
    try:
        r = server.post("/v1/embeddings", json={"model": "idle", "input": "a"})
        assert (r.status_code, r.json()["error"]["type"]) == (503, "server_error")
    finally:
        server.delete("/models/idle")


def test_the_frontends_successor_knows_the_interfaces(server):
    server.kill_role("frontend")
    harness.wait_for(lambda: harness.read_proc(server.pid("frontend"), "stat") and answers(server), 60, "the next frontend")
    assert server.post("/v1/embeddings", json={"input": "the cat"}).json()["model"] == "vectors"


def answers(server):
    try:
        return server.get("/info").status_code == 200
    except OSError:
        return False


def test_tokens_of_the_server_are_the_clients_api_key(tmp_path):
    folder = variant(tmp_path / "vectors", task="embeddings")
    server = harness.Server(build=harness.build_dir(), folder=tmp_path / "server", models={"vectors": folder},
                            config={"disable_token_authorization": "false"})
    try:
        server.launch()
        key_file = server.folder / "key_file.json"
        harness.wait_for(lambda: key_file.exists() and key_file.read_text().strip().endswith("}"), 60, "the key file")
        key = json.loads(key_file.read_text())["inference"]["key"]
        client = openai.OpenAI(base_url=server.url("/v1"), api_key=key, max_retries=0)

        def served():
            try:
                return client.embeddings.create(model="vectors", input="the cat")
            except (openai.APIConnectionError, openai.APIStatusError):
                return None
        assert harness.wait_for(served, 60, "an embedding").model == "vectors"
        with pytest.raises(openai.APIStatusError):
            openai.OpenAI(base_url=server.url("/v1"), api_key="wrong", max_retries=0).embeddings.create(model="vectors", input="a")
    finally:
        harness.stop_all([server])

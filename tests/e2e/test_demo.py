"""The demo model through the whole server: what Transformers says in fp32 is what a client gets."""
import json
from pathlib import Path

import pytest
from harness import ROOT

from test_death import wait_ready

DATA = ROOT / "tests" / "data"
MODEL = ROOT / "models" / "demo-langid"
TEXT = {"content-type": "text/plain; charset=utf-8"}


@pytest.fixture(scope="module")
def langid(build, tmp_path_factory):
    import harness
    server = harness.Server(build=build, folder=Path(tmp_path_factory.mktemp("langid")), models={"langid": MODEL})
    server.start()
    wait_ready(server, "langid", 60)
    yield server
    harness.stop_all([server])


def classify(server, text):
    r = server.post("/predictions/langid", data=text.encode(), headers=TEXT)
    assert r.status_code == 200, r.text
    assert r.headers["content-type"] == "application/json"
    [answer] = r.json()
    assert list(answer) == ["label", "score"]
    return answer


def test_labels_and_scores_are_those_of_transformers(langid):
    cases = [c for c in json.loads((DATA / "demo_expected.json").read_text()) if c["text"]]
    assert len(cases) > 50
    for case in cases:
        answer = classify(langid, case["text"])
        assert answer["label"] == case["label"], case["text"]
        assert answer["score"] == pytest.approx(case["score"], abs=1e-4), case["text"]


def test_a_list_gives_what_its_texts_give_one_by_one(langid):
    texts = [line.split("\t")[1] for line in (DATA / "everyday.tsv").read_text().splitlines()][:64]
    together = langid.post("/predictions/langid", json=texts).json()
    assert [a["label"] for a in together] == [classify(langid, t)["label"] for t in texts]


def test_everyday_sentences_are_named_right_nine_times_in_ten(langid):
    pairs = [line.split("\t") for line in (DATA / "everyday.tsv").read_text().splitlines()]
    assert len(pairs) >= 300
    answers = langid.post("/predictions/langid", json=[text for _, text in pairs]).json()
    right = sum(a["label"] == code for (code, _), a in zip(pairs, answers, strict=True))
    assert right / len(pairs) >= 0.90, f"{right} of {len(pairs)}"


def test_forms_of_input(langid):
    text = "Guten Morgen, wie geht es dir heute?"
    url = "/predictions/langid"
    for more in ({"json": {"text": text}}, {"json": {"inputs": text}}, {"json": [text]}, {"json": text},
                 {"data": text.encode(), "headers": TEXT}, {"data": text.encode()}):
        r = langid.post(url, **more)
        assert r.status_code == 200, (more, r.text)
        assert [a["label"] for a in r.json()] == ["de"], more

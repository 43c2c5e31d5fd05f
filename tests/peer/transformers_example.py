"""TorchServe's Transformers example in its three modes of understanding: archives and requests. live.py plays it with the
handler (./dev test-peer transformers), tests/e2e/test_transformers_example.py with the encoder in the handler's place."""
from pathlib import Path

import archives as ar

DATA = Path(__file__).resolve().parent.parent / "data" / "example"
HANDLER = "transformers_modes"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
LABELS = {"label_list": "[O, B-MISC, I-MISC, B-PER, I-PER, B-ORG, I-ORG, B-LOC, I-LOC]"}
TEXTS = ("Bloomberg has decided to publish a new report on the global economy.", "the cat sat on mats",
         "What a nice day! Don't you think - é ü?", "x y z cat", "how is the weather, it is beautiful day", "cat " * 60,
         "some words", "日本 ☃ cat", "  the [MASK] sat \t on\nthe [SEP] mat  ", "a " * 5000)
QUESTIONS = (("How is the weather", "The weather is nice, it is beautiful day"),
             ("Who was Jim Henson?", "Jim Henson was a nice puppet"), ("what", "cat"), ("", ""), ("who?", "mat " * 60),
             ("cat " * 60, "mat"), ("Don't", "it's a 'new' report - about é and ü ."))


def archive(weights, mode, names=None, handler=HANDLER, **settings):
    """`settings` of handler: beside the mode; those named _top go into the file itself."""
    top = settings.pop("_top", {})
    settings = {"model_name": "bert-base-uncased", "mode": mode, "do_lower_case": "true", "num_labels": 2,
                "save_mode": "pretrained", "max_length": 40, "captum_explanation": "false", "embedding_name": "bert",
                **settings}
    yaml = ar.ONE_WORKER + "".join(f"{k}: {v}\n" for k, v in top.items()) + "handler:\n"
    yaml += "".join(f"    {k}: {v}\n" for k, v in settings.items() if v is not None)
    files = {name: DATA / weights / name for name in ("config.json", "vocab.txt", "tokenizer_config.json",
                                                      "model.safetensors")}
    if names:
        files["index_to_name.json"] = names
    return ar.mar(handler, files=files, yaml=yaml, serializedFile="model.safetensors")


def archives(**more):
    accepted = {"0": "Not Accepted", "1": "Accepted"}
    return {"sequence.mar": archive("sequence", "sequence_classification", accepted, **more),
            "captum.mar": archive("sequence", "sequence_classification", accepted, captum_explanation="true", **more),
            "defaults.mar": archive("sequence", "sequence_classification", accepted, max_length='"150"', **more),
            "token.mar": archive("token", "token_classification", LABELS, **more),
            "token_captum.mar": archive("token", "token_classification", LABELS, captum_explanation="true",
                                        max_length=16, **more),
            "question.mar": archive("question", "question_answering", **more),
            "cased.mar": archive("sequence", "sequence_classification", accepted, do_lower_case="false", **more)}


def post(case, model, body, kind=None, **more):
    body = body.encode() if isinstance(body, str) else body
    return {"case": f"{model}: {case}", "path": f"/predictions/{model}", "body": body,
            "headers": {"Content-Type": kind} if kind else {}, **more}


def parts(*fields):
    """(name, file name or None, type or None, bytes) -> body and content type."""
    out = b""
    for name, file, kind, data in fields:
        head = f'Content-Disposition: form-data; name="{name}"' + (f'; filename="{file}"' if file else "")
        out += b"--limit\r\n" + head.encode() + (f"\r\nContent-Type: {kind}".encode() if kind else b"")
        out += b"\r\n\r\n" + data + b"\r\n"
    return out + b"--limit--\r\n", "multipart/form-data; boundary=limit"


def bodies(model, text):
    """The ways in which one text can come."""
    data = text.encode()
    return [post("text/plain", model, data, "text/plain"),
            post("text/plain, charset", model, data, "text/plain; charset=utf-8"),
            post("octets", model, data, "application/octet-stream"),
            post("form, data", model, b"data=" + data.replace(b" ", b"+"), FORM),
            post("form, body", model, b"body=" + data.replace(b" ", b"%20"), FORM),
            post("form, both", model, b"body=cat&data=" + data.replace(b" ", b"+"), FORM),
            post("form, data twice", model, b"data=cat&data=" + data.replace(b" ", b"+"), FORM),
            post("form, neither", model, b"text=" + data.replace(b" ", b"+"), FORM),
            post("form, empty data", model, b"data=&body=" + data.replace(b" ", b"+"), FORM),
            post("form, broken escape", model, b"data=%zz", FORM),
            post("form, empty", model, b"", FORM),
            post("file", model, *parts(("data", "text.txt", None, data))),
            post("file of text", model, *parts(("data", "text.txt", "text/plain", data))),
            post("field", model, *parts(("data", None, None, data))),
            post("field, body", model, *parts(("other", None, None, b"x"), ("body", None, None, data))),
            post("file of json", model, *parts(("data", "text.json", JSON, b'"' + data.replace(b'"', b'\\"') + b'"'))),
            post("multipart, neither", model, *parts(("text", None, None, data))),
            post("multipart, cut off", model, b"--limit\r\nContent-Disposition: form-data", "multipart/form-data; boundary=limit"),
            post("multipart, no boundary", model, data, "multipart/form-data"),
            post("json string", model, b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"', JSON),
            post("json object", model, '{"text": "some words"}', JSON),
            post("json object, data", model, '{"data": "some words"}', JSON),
            post("json number", model, "17", JSON),
            post("json null", model, "null", JSON),
            post("json, not json", model, data, JSON),
            post("json list of no texts", model, "[{}]", JSON),
            post("empty", model, b""),
            post("not utf-8", model, b"\xff\xfe"),
            post("text/plain, not utf-8", model, b"\xff\xfe", "text/plain")]


def literal(case, model, text, **more):
    return post(f"literal, {case}", model, text, **more)


def literals(model):
    """What ast.literal_eval takes, and what it does not."""
    return [literal("as in the example", model, '{"text":"%s", "target":1} ' % TEXTS[0]),
            literal("single quotes", model, "{'text': 'the cat'}"), literal("escapes", model, r'{"text": "the\x20c\u0061t\n\101"}'),
            literal("raw", model, r'{"text": r"the \x cat"}'), literal("pieces", model, """{"text": 'the' " cat " '''sat "on" the''' u'mat'}"""),
            literal("bytes", model, '{"text": b"the cat"}'), literal("numbers", model, '{"text": "cat", "a": [1, -2.5e3, 0x1F, 1_000, 3+4j, (), {1, 2}], 5: None, True: False}'),
            literal("twice", model, '{"text": "cat", "text": "the mat and the cat"}'), literal("trailing comma", model, '{"text": "cat",}'),
            literal("lines", model, '{\n"text":\n  "cat", # a comment\n"target": 0\n}\n'), literal("in brackets", model, '({"text": "cat"})'),
            literal("json's words", model, '{"text": "cat", "x": true}'), literal("null", model, '{"text": "cat", "x": null}'),
            literal("no text", model, '{"data": "cat"}'), literal("text is no string", model, '{"text": 17}'),
            literal("text is a list", model, '{"text": {"a": 1}}'), literal("text is none", model, '{"text": None}'),
            literal("not a dictionary", model, '["text"]'), literal("a string", model, '"text"'), literal("plain words", model, "the cat sat"),
            literal("unterminated", model, '{"text": "cat'), literal("newline in a string", model, '{"text": "the\ncat"}'), literal("two values", model, '{"text": "cat"} {}'),
            literal("call", model, '{"text": str("cat")}'), literal("list as key", model, '{[1]: 2, "text": "cat"}'), literal("leading blanks", model, '  \t{"text": "cat"}'),
            literal("leading newline", model, '\n{"text": "cat"}'), literal("f string", model, '{"text": f"cat"}'), literal("bad escape", model, r'{"text": "the \d cat"}'),
            literal("surrogate", model, r'{"text": "the \ud800 cat"}'), literal("NUL", model, '{"text": "the \\0 cat"}'), literal("empty", model, b""),
            post("json of it", model, '{"text": "cat"}', JSON), post("form of it", model, b"data=%7B%22text%22%3A+%22the+cat%22%7D", FORM),
            post("json string of it", model, '"{\'text\': \'the cat\'}"', JSON)]


def questions(model):
    return [*(post(f"question {i + 1}", model, repr({"question": q, "context": c})) for i, (q, c) in enumerate(QUESTIONS)),
            post("as in the example", model, '{"question" :"How is the weather", "context": "The weather is nice, it is beautiful day", "target":0}'),
            post("form", model, b"data=%7B%22question%22%3A%22what%22%2C%22context%22%3A%22cat%22%7D", FORM),
            post("file", model, *parts(("data", "q.txt", None, b'{"question": "what", "context": "cat"}'))),
            post("json of it", model, '{"question": "what", "context": "cat"}', JSON),
            post("no context", model, '{"question": "what"}'), post("no question", model, '{"context": "what"}'),
            post("plain words", model, "what about the cat"), post("context is none", model, '{"question": "what", "context": None}')]


STEPS = [*(post(f"text {i + 1}", model, text) for model in ("sequence", "defaults", "cased") for i, text in enumerate(TEXTS)),
         *bodies("sequence", TEXTS[0]), *literals("captum"),
         *(post(f"text {i + 1}", "token", text) for i, text in enumerate(TEXTS)),
         *(b for b in bodies("token", TEXTS[1]) if "form, data" in b["case"] or "json" in b["case"] or "empty" in b["case"]),
         literal("as in the example", "token_captum", '{"text":"%s", "target":1} ' % TEXTS[0]), *questions("question"),
         {"case": "token: batch", "together": [post("", "token", t) for t in TEXTS[:3]]}]
SUITES = {"transformers": dict(archives=archives(), models="all", steps=STEPS, imports="torch, transformers",
                               ready=["sequence", "captum", "defaults", "token", "token_captum", "question", "cased"])}

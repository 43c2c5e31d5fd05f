"""Plays a suite of cases on a server and notes what came: status, headers, bodies, lines of logs, exit codes.

What is noted is plain (no times, ids, ports, folders), so that two servers, or a server and a record, can be compared as
they are. `differences` does so, less what differences.py says is meant."""
import base64
import difflib
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

import flows
from servers import Peer

RECORDED = Path(__file__).parent / "recorded"
# In every answer of both servers; a record tells only where one is missing.
ALWAYS = {"pragma": "no-cache", "cache-control": "no-cache; no-store, must-revalidate, private",
          "expires": "Thu, 01 Jan 1970 00:00:00 UTC", "connection": "keep-alive", "x-request-id": "<uuid>"}
LONG = 4000
PREFIX = re.compile(r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,]\d{3} ")
# The name of a frontend's thread and of a class of Java is nobody's business; level, worker thread and text are.
FRONTEND = re.compile(r"^(\[\w+ *\] )(?!W-\d+-\S+-std(?:out|err) )\S+ (?:\S*\.)?(\S+) - ")
MEASURED = ((r'(HTTP/2\.0" \d+) \d+$', r"\1 <ms>"),
            (r'(HTTP/1\.1" \d{3}) \d+$', r"\1 <ms>"),
            (r"\b((?:Prediction|Handler|Queue|WorkerThread|WorkerLoad)Time\.\w+):[-+.\dE]+", r"\1:<n>"))


def text_of(data):
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if len(data) > LONG:
        return f"<{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()[:16]}>"
    return "<base64>" + base64.b64encode(data).decode() if text is None else text


def note_reply(server, reply):
    fields = [(n, server.plain(v)) for n, v in reply.fields]
    # A body's length says nothing that the body does not, and is another one where the body had an id in it.
    headers = {n: v for n, v in fields if n.lower() not in ("content-length", "date") and ALWAYS.get(n.lower()) != v}
    names = {n.lower() for n, _ in fields}
    body = server.plain(text_of(reply.content))
    note = {"status": reply.status_code, "reason": reply.reason, **({"headers": headers} if headers else {}), "body": body}
    missing = [n for n in ALWAYS if n not in names]
    if missing:
        note["lacks"] = missing
    if reply.chunks is not None:
        note["chunked"] = True
    return note


def note_line(server, line):
    if line is None:
        return None
    line = FRONTEND.sub(r"\1\2 - ", server.plain(PREFIX.sub("", line)))
    for pattern, by in MEASURED:
        line = re.sub(pattern, by, line)
    return line


def with_token(server, step):
    """The step's headers, with the key that the key file has for what `token` names."""
    headers = dict(step.get("headers") or {})
    if "token" in step:
        keys = json.loads((server.folder / "key_file.json").read_text())
        headers["Authorization"] = f"Bearer {keys[step['token']]['key']}"
    return headers


def streamed(server, step):
    reply, end = flows.stream(server, step, with_token(server, step))
    if reply is None:
        return {"end": end}
    note = note_reply(server, reply)
    if reply.chunks is not None:
        note["chunks"] = [server.plain(text_of(data)) for data in reply.chunks]
    return {**note, "end": end}


def snapshot(server, kind):
    """The models of the newest snapshot of a kind, and what it is called."""
    found = sorted((server.folder / "logs" / "config").glob(f"*-{kind}.cfg"))
    if not found:
        return {"file": None}
    line = re.search(r"^model_snapshot=(.*)$", found[-1].read_text(), re.M)[1]
    models = json.loads(re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), line))
    models.update(created="<ms>", name=re.sub(r"\d+", "<time>", models["name"]))
    return {"file": re.sub(r"\d+", "<time>", found[-1].name), **models}


def labels(server):
    """The labels of the record of the configuration at the start, in order."""
    text = server.text("output.txt")
    at = text.find("Torchserve version:")
    found = []
    for line in text[at:].splitlines() if at >= 0 else ():
        label = re.match(r"([A-Z][\w ]*):( |$)", line)
        if not label:
            break
        found.append(label[1])
    return {"labels": found}


def over_grpc(server, step):
    import rpc
    if "token" in step:
        step = {**step, "metadata": [("authorization", with_token(server, step)["Authorization"])]}
    note = rpc.ask(server, step)
    return {k: [text_of(json.dumps(r).encode()) if len(str(r)) > LONG else r for r in v] if k == "replies" else v
            for k, v in note.items()}


def ask(server, step):
    note = None
    if step.get("stream"):
        return streamed(server, step)
    if "leave" in step:
        return flows.leave(server, step, with_token(server, step))
    for attempt in range(step.get("tries", 1)):
        if attempt:
            time.sleep(0.25)
        if "grpc" in step:
            note = over_grpc(server, step)
            if note["code"] == step.get("until", note["code"]):
                break
            continue
        if "raw" in step:
            reply = server.send(step["raw"], step.get("api", "inference"))
        else:
            reply = server.ask(step.get("method", "POST"), step["path"], step.get("body", b""),
                               with_token(server, step), step.get("api", "inference"))
        note = note_reply(server, reply)
        if note["status"] == step.get("until", note["status"]):
            break
    return note


def play(server, step):
    """What a step brought; None for one that only waits."""
    if "ready" in step:
        server.wait_ready(step["ready"])
        return None
    if "sleep" in step:
        time.sleep(step["sleep"])
        return None
    if "restart" in step:
        server.stop()
        server.read.clear()
        server.output.unlink()
        server.start()
        return None
    if "line" in step:
        note = {}
    elif "together" in step:
        note = flows.at_once(server, step["together"], ask, step.get("gap", 0.04))
    elif "turns" in step:
        note = flows.in_turn(server, step["turns"], ask)
    elif "snapshot" in step:
        note = snapshot(server, step["snapshot"])
    elif "labels" in step:
        note = labels(server)
    elif "run" in step:
        status, out, err = server.run(*step["run"], env=step.get("env"))
        # Usage texts are as long as they are different; what is wrong stands in the last line.
        note = {"exit": status, "out": server.plain(out), "err": server.plain(err).strip().rpartition("\n")[2]}
    elif "exists" in step:
        note = {"exists": bool(list(server.folder.glob(step["exists"])))}
    else:
        note = ask(server, step)
    if "line" in step:
        note["lines"] = [note_line(server, server.line(*step["line"], from_start=True))]
    elif step.get("lines"):
        note["lines"] = [note_line(server, server.line(*which)) for which in step["lines"]]
    return note


def pack(suite, store, python):
    """Archives that only an interpreter with torch can write, which the tests' own need not be."""
    if suite.get("torch_models"):
        subprocess.run([python, Path(__file__).parent / "archives.py", store, *suite["torch_models"]], check=True)
    for example in suite.get("examples", ()):
        env = {**os.environ, "PYTHON": python, "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
        script = Path(__file__).resolve().parents[2] / "examples" / example / "pack.sh"
        done = subprocess.run(["sh", script, store], env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{script}\n{done.stdout}"


def play_suite(program, suite, python, say=lambda text: None):
    """case -> note, in the order of the suite."""
    notes = {}
    if "starts" in suite:
        for step in suite["starts"]:
            notes[step["case"]] = play_start(program, step, python)
            say(step["case"])
        return notes
    settings = {k: suite[k] for k in ("config", "models", "args", "env", "snapshots", "archives", "model_api", "tokens",
                                          "named_config") if k in suite}
    server = Peer(program, python=python, **settings)
    pack(suite, server.store, python)
    with server:
        server.wait_ready(suite.get("ready", ()))
        for step in suite["steps"]:
            note = play(server, step)
            if note is not None:
                assert step["case"] not in notes, step["case"]
                notes[step["case"]] = note
                say(step["case"])
    return notes


def play_start(program, step, python):
    """A start that should end by itself: exit status and what it said, or that it came up."""
    server = Peer(program, python=python, **{k: v for k, v in step.items() if k in (
        "config", "models", "args", "env", "snapshots", "archives", "model_api", "tokens")})
    try:
        for name, data in step.get("files", {}).items():
            path = server.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(data)
        if "command" in step:
            server.command = [server.program, *step["command"]]
        if "prepare" in step:
            step["prepare"](server)
        server.launch()
        end = time.monotonic() + 60
        while server.process.poll() is None and time.monotonic() < end:
            if "Model server started" in server.text("output.txt"):
                note = {"started": True}
                break
            time.sleep(0.05)
        else:
            note = {"exit": server.process.poll()}
        if "says" in step:
            found = re.search(step["says"], server.text("output.txt"))
            note["says"] = server.plain(found[0]) if found else None
        return note
    finally:
        server.__exit__()


# ---- records ----


def write_record(name, notes):
    lines = [f"{json.dumps(case, ensure_ascii=False)}: {json.dumps(note, ensure_ascii=False)}"
             for case, note in notes.items()]
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def read_record(name):
    return json.loads((RECORDED / f"{name}.json").read_text())


# ---- comparison ----


def flat(note, prefix=""):
    out = {}
    for key, value in (note or {}).items():
        if isinstance(value, dict):
            out.update(flat(value, f"{prefix}{key}."))
        elif isinstance(value, list):
            out.update({f"{prefix}{key}.{i}": v for i, v in enumerate(value)})
        else:
            out[prefix + key] = value
    return out


def says(entry, side, value):
    want = entry.get(side, value)
    return value == want or (isinstance(value, str) and isinstance(want, str) and re.search(want, value) is not None)


def applies(entry, suite, case, field):
    return (fnmatch.fnmatchcase(suite, entry.get("suite", "*")) and fnmatch.fnmatchcase(case, entry.get("case", "*"))
            and fnmatch.fnmatchcase(field, entry["field"]))


def covers(entry, suite, case, note):
    """True if an entry of the table speaks of something that was recorded."""
    return any(applies(entry, suite, case, field) for field in [*flat(note), entry["field"]])


def meant(known, suite, case, field, theirs, ours):
    """True if the table says that this difference is meant."""
    return any(applies(e, suite, case, field) and says(e, "torchserve", theirs) and says(e, "sconce", ours) for e in known)


def differences(known, suite, case, theirs, ours):
    """[(field, theirs, ours)] of what differs and is not meant to."""
    a, b = flat(theirs), flat(ours)
    found = []
    for field in [*a, *(f for f in b if f not in a)]:
        if a.get(field) == b.get(field):
            continue
        pair = lines_apart(a.get(field), b.get(field))
        if not meant(known, suite, case, field, *pair):
            found.append((field, *pair))
    return found


def lines_apart(a, b):
    """Of two texts of several lines, those that are not the same."""
    if not (isinstance(a, str) and isinstance(b, str) and a.count("\n") > 1 and b.count("\n") > 1):
        return a, b
    a, b = a.splitlines(), b.splitlines()
    changed = [op for op in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes() if op[0] != "equal"]
    return ("\n".join(line.strip() for op in changed for line in a[op[1]:op[2]]),
            "\n".join(line.strip() for op in changed for line in b[op[3]:op[4]]))

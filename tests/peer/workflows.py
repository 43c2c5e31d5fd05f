"""Workflows: what TorchServe 0.12 says to registrations and requests.

On a busy machine it now and then fails a request of a new workflow with `Error executing NODE`, whatever the node: such a
record is to be made again."""
import archives as ar

MODELS = "models:\n  min-workers: 1\n  max-workers: 1\n  batch-size: 1\n  max-batch-delay: 10\n  retry-attempts: {retry}\n  timeout-ms: {timeout}\n"
ECHO = "def handle(data, context):\n    return data and [b'm(' + bytes(r['body']) + b')' for r in data]\n"


def spec(dag, models="", retry=0, timeout=20000):
    lines = "".join(f"  {line}\n" for line in models.splitlines())
    return MODELS.format(retry=retry, timeout=timeout) + lines + "dag:\n" + "".join(f"  {line}\n" for line in dag.splitlines())


def manifest(name, **more):
    return {"createdOn": ar.WHEN, "archiverVersion": "1.0",
            "workflow": {"workflowName": name, "specFile": "spec.yaml", "handler": "flow.py", **more}}


def war(text, *, name=None, of=None, files=None, **more):
    """A .war of handlers/flow.py and a specification."""
    def write(store, file):
        whole = manifest(name or file.rpartition(".")[0], **more) if of is None else of
        inside = {"spec.yaml": text, "flow.py": ar.HANDLERS / "flow.py", **(files or {})}
        if whole:
            inside["WAR-INF/MANIFEST.json"] = whole
        (store / file).write_bytes(ar.zipped(inside))
    return write


GOOD = {
    "line.war": war(spec("pre: [m1]\nm1: [post]", "m1:\n  url: echo.mar")),
    "fork.war": war(spec("pre: [left, right]\nleft: [join]\nright: [join]")),
    "leaves.war": war(spec("pre: [one, two]")),
    "texts.war": war(spec("pre: [one, text]")),
    "single.war": war(spec("seen: []")),
    "behind.war": war(spec("pre: [seen]")),
    "joined.war": war(spec("pre: [left, right]\nleft: [seen]\nright: [seen]")),
    "again.war": war(spec("pre: [again]", retry=2)),
    "broken.war": war(spec("pre: [broken]\nbroken: [post]", retry=1)),
    "slow.war": war(spec("pre: [slow]\nslow: [post]", timeout=400)),
    "refusing.war": war(spec("refusing: [post]")),
    "refuses.war": war(spec("pre: [refusing]")),
    "nothing.war": war(spec("nothing: [seen]")),
    "empty.war": war(spec("pre: [empty]")),
}

BAD = {
    # graphs
    "self.war": war(spec("pre: [pre]")),
    "pair.war": war(spec("pre: [left]\nleft: [pre]")),
    "cycle.war": war(spec("pre: [left]\nleft: [right]\nright: [join]\njoin: [left]")),
    "inner_pair.war": war(spec("pre: [left]\nleft: [right]\nright: [left]")),
    "starts.war": war(spec("pre: [join]\nleft: [join]")),
    "empty_dag.war": war(MODELS.format(retry=0, timeout=1000) + "dag: {}\n"),
    "no_dag.war": war(MODELS.format(retry=0, timeout=1000)),
    "no_models.war": war("dag:\n  pre: [left]\n"),
    "no_list.war": war(spec("pre: left")),
    "null_list.war": war(spec("pre:")),
    "number_node.war": war(spec("pre: [1]")),
    "list_spec.war": war("- a\n- b\n"),
    "broken_yaml.war": war("models: [1\n"),
    "empty_spec.war": war(""),
    # models
    "text_number.war": war("models:\n  min-workers: '1'\ndag:\n  pre: [left]\n"),
    "text_number2.war": war(spec("pre: [m1]", "m1:\n  url: echo.mar\n  batch-size: x")),
    "no_url.war": war(spec("pre: [m1]", "m1:\n  batch-size: 1")),
    "scalar_model.war": war(spec("pre: [m1]", "m1: echo.mar")),
    "absent_model.war": war(spec("pre: [m1]", "m1:\n  url: absent.mar")),
    "outside_model.war": war(spec("pre: [m1]", "m1:\n  url: ../echo.mar")),
    "far_model.war": war(spec("pre: [m1]", "m1:\n  url: http://nowhere/echo.mar")),
    "absent_function.war": war(spec("pre: [absent]")),
    "unloading.war": war(spec("pre: [load_fails]")),
    # archives
    "no_name.war": war(spec("pre: [left]"), of={"createdOn": ar.WHEN, "archiverVersion": "1.0", "workflow": {"specFile": "spec.yaml", "handler": "flow.py"}}),
    "no_version.war": war(spec("pre: [left]"), of={"createdOn": ar.WHEN, "workflow": manifest("x")["workflow"]}),
    "no_date.war": war(spec("pre: [left]"), of={"archiverVersion": "1.0", "workflow": manifest("x")["workflow"]}),
    "no_workflow.war": war(spec("pre: [left]"), of={"createdOn": ar.WHEN, "archiverVersion": "1.0"}),
    "null_workflow.war": war(spec("pre: [left]"), of={"createdOn": ar.WHEN, "archiverVersion": "1.0", "workflow": None}),
    "no_manifest.war": war(spec("pre: [left]"), of=False),
    "not_json.war": war(spec("pre: [left]"), of="{not json"),
    "junk.war": ar.raw(b"this is no zip file\n" * 50),
    "nothing_in_it.war": ar.raw(b""),
    "cut.war": ar.raw(ar.cut(ar.zipped({"flow.py": "#" * 100}, None, stored=True), 60)),
    "escapes.war": ar.raw(ar.zipped({"../outside.txt": "out", "WAR-INF/MANIFEST.json": manifest("escapes")})),
    "absent_spec.war": war(spec("pre: [left]"), specFile="absent.yaml"),
    "absent_handler.war": war(spec("pre: []"), handler="absent.py"),
    "no_spec_named.war": war(spec("pre: [left]"), specFile=None),
    "no_handler_named.war": war(spec("pre: [left]"), handler=None),
    "other_suffix.zip": war(spec("pre: [left]"), name="other"),
    "packed.tar.gz": ar.raw(ar.tarred({"spec.yaml": spec("pre: [left]"), "flow.py": ar.HANDLERS / "flow.py",
                                       "WAR-INF/MANIFEST.json": manifest("packed")})),
    "a_folder": ar.folder({"spec.yaml": spec("pre: [left]"), "flow.py": ar.HANDLERS / "flow.py", "WAR-INF/MANIFEST.json": manifest("a_folder")}),
}


def manage(case, method, path, body=b"", **more):
    return {"case": case, "method": method, "path": path, "body": body, "api": "management", **more}


def run(case, name, body=b"x", **more):
    return {"case": case, "path": f"/wfpredict/{name}", "body": body, **more}


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def register(file, **more):
    return manage(f"register {file}", "POST", f"/workflows?url={file}", **more)


STEPS = [
    manage("none", "GET", "/workflows"),
    manage("describe unknown", "GET", "/workflows/line"),
    manage("remove unknown", "DELETE", "/workflows/line"),
    manage("put", "PUT", "/workflows/line"),
    manage("patch all", "PATCH", "/workflows"),
    manage("delete all", "DELETE", "/workflows"),
    manage("post to one", "POST", "/workflows/line?url=line.war"),
    manage("four segments", "GET", "/workflows/a/b/c"),
    run("unknown", "line"),
    {"case": "no name", "path": "/wfpredict", "body": b""},
    manage("no url", "POST", "/workflows"),
    manage("empty url", "POST", "/workflows?url="),
    manage("relative url", "POST", "/workflows?url=../line.war"),
    manage("absent", "POST", "/workflows?url=absent.war"),
    manage("not allowed", "POST", "/workflows?url=http://nowhere/line.war"),
    manage("not to be fetched", "POST", "/workflows?url=http://127.0.0.1:1/far.war"),
    manage("there already", "POST", "/workflows?url=http://127.0.0.1:1/line.war"),
    manage("empty json", "POST", "/workflows", b"", headers=JSON),
    manage("broken json", "POST", "/workflows", b"{", headers=JSON),
    manage("json without url", "POST", "/workflows", b"{}", headers=JSON),
    register("line.war"),
    manage("list", "GET", "/workflows"),
    manage("describe", "GET", "/workflows/line"),
    manage("describe with more", "GET", "/workflows/line/x"),
    register("line.war", ) | {"case": "register twice"},
    manage("models", "GET", "/models"),
    manage("describe a model", "GET", "/models/line__m1"),
    manage("describe a function", "GET", "/models/line__pre"),
    run("run", "line", b"hello"),
    run("run with more path", "line/more/path?body=query", b"hello"),
    run("get", "line", b"", method="GET"),
    run("delete", "line", b"d", method="DELETE"),
    {"case": "other capitals", "path": "/WFpredict/line", "body": b"hello"},
    run("empty", "line", b""),
    run("form", "line", b"body=formed&other=1", headers=FORM),
    {"case": "call a model", "path": "/predictions/line__m1", "body": b"direct"},
    {"case": "call a function", "path": "/predictions/line__post", "body": b"direct"},
    manage("another name", "POST", "/workflows?url=single.war&workflow_name=named"),
    manage("list of two", "GET", "/workflows?limit=1"),
    manage("next page", "GET", "/workflows?limit=1&next_page_token=1"),
    run("what the first gets", "named", b"text", headers={"Content-Type": "text/plain", "x-mine": "yes"}),
    run("what the first gets of json", "named", b'{"a": 1}', headers=JSON),
    run("what the first gets of a form", "named", b"a=1&b=2", headers=FORM),
    manage("remove", "DELETE", "/workflows/named"),
    run("removed", "named"),
    register("behind.war"),
    run("what the second gets", "behind", b"text", headers={"Content-Type": "text/plain", "x-mine": "yes"}),
    manage("remove behind", "DELETE", "/workflows/behind/x"),
    register("joined.war"),
    run("what a join gets", "joined", b"text", headers={"Content-Type": "text/plain", "x-mine": "yes"}),
    manage("remove joined", "DELETE", "/workflows/joined"),
    register("fork.war"),
    run("fork", "fork", b"f"),
    manage("describe fork", "GET", "/workflows/fork"),
    manage("remove fork", "DELETE", "/workflows/fork"),
    manage("no models of fork", "GET", "/models/fork__left"),
    register("leaves.war"),
    run("leaves", "leaves", b"f"),
    manage("remove leaves", "DELETE", "/workflows/leaves"),
    register("texts.war"),
    run("a leaf that is no object", "texts", b"f"),
    manage("remove texts", "DELETE", "/workflows/texts"),
    register("again.war"),
    run("two tries fail", "again"),
    manage("remove again", "DELETE", "/workflows/again"),
    register("broken.war"),
    run("all tries fail", "broken"),
    manage("remove broken", "DELETE", "/workflows/broken"),
    register("slow.war"),
    run("too slow", "slow"),
    manage("remove slow", "DELETE", "/workflows/slow"),
    register("refusing.war"),
    run("status of a node", "refusing"),
    manage("remove refusing", "DELETE", "/workflows/refusing"),
    register("refuses.war"),
    run("status of a leaf", "refuses"),
    manage("remove refuses", "DELETE", "/workflows/refuses"),
    register("nothing.war"),
    run("nothing from a node", "nothing"),
    manage("remove nothing", "DELETE", "/workflows/nothing"),
    register("empty.war"),
    run("nothing from a leaf", "empty"),
    manage("remove empty", "DELETE", "/workflows/empty"),
    manage("in json", "POST", "/workflows", b'{"url": "single.war", "workflow_name": "json", "response_timeout": 33, "startup_timeout": 60}', headers=JSON),
    manage("time limits", "GET", "/models/json__seen"),
    manage("remove a model by hand", "DELETE", "/models/json__seen"),
    run("without its model", "json"),
    manage("remove what is left", "DELETE", "/workflows/json"),
]

BAD_STEPS = [s for file in BAD for s in [register(file)]] + [
    manage("list", "GET", "/workflows"),
    manage("models", "GET", "/models"),
    manage("rolled back", "GET", "/models/absent_model__pre"),
]

ALLOWED = {"allowed_urls": "http://127.0.0.1:1/.*"}
ECHOES = {"echo.mar": ar.source(ECHO)}
SUITES = {
    "workflows": dict(archives={**ECHOES, **GOOD}, config=ALLOWED, steps=STEPS),
    "workflows_bad": dict(archives={**ECHOES, **BAD}, config=ALLOWED, steps=BAD_STEPS),
}

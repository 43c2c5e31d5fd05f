"""Models from URLs, by servers that somebody means ill: where a download may go, and that nothing of it runs unseen."""
import http.server
import threading
import zipfile

import harness
import pytest
from harness import wait_for
from python_models import PYTHON

REFUSED = "Failed to download archive from: "


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """An HTTP server of files, with paths that redirect; `asked` is what it was asked for."""
    folder = tmp_path_factory.mktemp("origin")
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            name = self.path.partition("?")[0].lstrip("/")
            if name.startswith("to/"):
                self.send_response(302)
                self.send_header("Location", f"http://{name[3:]}")
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif (folder / name).is_file():
                body = (folder / name).read_bytes()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            else:
                self.send_error(404)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as s:
        thread = threading.Thread(target=s.serve_forever)
        thread.start()
        s.folder, s.asked, s.host = folder, asked, f"127.0.0.1:{s.server_address[1]}"
        yield s
        s.shutdown()
        thread.join()


def archive(path, handler, config=""):
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("h.py", handler)
        z.writestr("MAR-INF/MANIFEST.json", '{"model": {"modelName": "m", "handler": "h.py:handle", "modelVersion": "1.0"%s}}' % config)


ECHO = "def handle(data, context):\n    return None if data is None else [bytes(r.get('body', b'')) for r in data]\n"


@pytest.fixture(scope="module")
def server(build, origin, tmp_path_factory):
    """Only archives of that one host are allowed."""
    archive(origin.folder / "m.mar", ECHO)
    allowed = rf"http://{origin.host}/.*".replace(".", r"\\.", 3)
    s = harness.Server(build=build, folder=tmp_path_factory.mktemp("fetching"), config={**PYTHON, "allowed_urls": allowed}).start()
    yield s
    harness.stop_all([s])


def register(server, url, **more):
    query = "".join(f"&{k}={v}" for k, v in more.items())
    return server.post(f"/models?url={url}{query}", api="management")


def test_what_is_allowed_is_fetched_through_a_redirection(server, origin):
    r = register(server, f"http://{origin.host}/to/{origin.host}/m.mar", initial_workers=1)
    assert r.status_code == 200, r.text
    assert server.post("/predictions/m", data=b"hello").content == b"hello"
    assert server.delete("/models/m").status_code == 200
    harness.wait_for(lambda: not list(server.store.iterdir()), 10, "what was fetched to go with its model")


@pytest.mark.parametrize("target,why", [
    ("localhost:{port}/m.mar", "does not match any allowed URL"),
    ("127.0.0.2:{port}/m.mar", "does not match any allowed URL"),
    ("169.254.169.254/latest/m.mar", "does not match any allowed URL"),
    ("{host}/to/{host}/to/evil.example/m.mar", "does not match any allowed URL"),
])
def test_a_redirection_to_somewhere_else_is_not_followed(server, origin, target, why):
    target = target.format(host=origin.host, port=origin.server_address[1])
    origin.asked.clear()
    url = f"http://{origin.host}/to/{target}"
    r = register(server, url)
    assert (r.status_code, r.json()["type"]) == (400, "DownloadArchiveException")
    assert r.json()["message"] == REFUSED + url
    assert not [path for path in origin.asked if path == "/m.mar"]
    assert not list(server.store.iterdir())
    wait_for(lambda: why in server.logs()["ts_log.log"], 10, "the reason in the log")


def test_the_default_reaches_no_metadata_service(serve):
    server = serve()
    for url in ("http://169.254.169.254/latest/meta-data/m.mar", "http://2852039166/m.mar", "http://[fe80::1]/m.mar",
                "http://[::ffff:169.254.169.254]/m.mar", "http://[fd00:ec2::254]/m.mar", "http://100.100.100.200/m.mar"):
        r = register(server, url)
        assert (r.status_code, r.json()["type"]) == (400, "DownloadArchiveException"), r.text
        assert r.json()["message"] == REFUSED + url, "and not what is there"
    wait_for(lambda: server.logs()["ts_log.log"].count("a link-local or metadata address") >= 6, 10, "the reasons in the log")


def test_workflows_are_fetched_by_the_same_rules(server, origin):
    url = f"http://{origin.host}/to/169.254.169.254/w.war"
    r = server.post(f"/workflows?url={url}", api="management")
    assert (r.status_code, r.json()["type"]) == (400, "DownloadArchiveException")


@pytest.mark.parametrize("damage", ["cut", "checksum", "manifest", "escape"])
def test_nothing_of_a_bad_archive_runs(server, origin, tmp_path, damage):
    """Its handler leaves a mark where it is imported."""
    mark = tmp_path / "ran"
    path = origin.folder / f"bad-{damage}.mar"
    archive(path, f"open({str(mark)!r}, 'w').close()\n" + ECHO + "#" * 1000, ', "requirementsFile": "r.txt"' if damage != "manifest" else "")
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:600])
    elif damage == "checksum":
        path.write_bytes(whole.replace(b"#" * 1000, b"!" * 1000))
    elif damage == "manifest":
        path.write_bytes(whole.replace(b'{"model":', b'{"model";').replace(b"open(", b"open("))
    else:
        with zipfile.ZipFile(path, "a") as z:
            z.writestr("../escaped.py", f"open({str(mark)!r}, 'w')")
    r = register(server, f"http://{origin.host}/{path.name}", model_name="bad", initial_workers=1)
    assert r.status_code in (400, 500), r.text
    assert r.json()["type"] != "DownloadArchiveException", "it came, and was refused for what it is"
    assert not mark.exists()
    assert server.get("/models/bad", api="management").status_code == 404
    assert not list(server.store.iterdir()), "and does not stay"


def test_a_file_that_never_ends_is_refused_by_its_source(server, origin):
    for url in ("file:///dev/zero", "file:///proc/self/environ", f"file://{origin.folder}/m.mar"):
        r = register(server, url)
        assert (r.status_code, r.json()["message"]) == (404, f"Given URL {url} does not match any allowed URL(s)")

"""Programs and libraries that people use, as they use them. Others have files of their own: requests is the harness's, grpcio is
in test_grpc, tritonclient in test_oip*, prometheus_client's parser in test_metrics, openapi-spec-validator and Schemathesis in
test_description, the openai client in test_interfaces."""
import asyncio
import json
import re
import shutil
import subprocess

import grpc
import harness
import httpx
import pytest
import requests
import rpc
from python_models import PYTHON, folder, need_python_with

# What a handler sees of a request.
SEES = """
    import json
    from ts.handler_utils.utils import send_intermediate_predict_response

    def handle(data, context):
        if data is None:
            return None
        row = data[0]
        if "parts" in row:
            for i in range(int(row["parts"])):
                send_intermediate_predict_response(["%d;" % i], context.request_ids, "more", 200, context)
            return ["end"]
        return [json.dumps({k: len(v) for k, v in row.items()})]
"""


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    where = tmp_path_factory.mktemp("clients")
    folder(where / "store", "sees", SEES)
    s = harness.Server(build=build, folder=where / "server", store=where / "store", models={"echo": "identity", "sees": "sees"},
                       config={**PYTHON, "default_workers_per_model": 1})
    s.start()
    assert s.post("/predictions/sees", data=b"warm", timeout=60).ok
    yield s
    harness.stop_all([s])


def run(*command, seconds=120, **more):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=seconds, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def needs(program, package):
    if not shutil.which(program):
        pytest.skip(f"{program} is not here: ./dev deps installs {package}")


# ---- curl ----


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge"])
def test_curl(server, tmp_path, version):
    file = tmp_path / "kitten.jpg"
    file.write_bytes(bytes(range(256)) * 1000)
    curl = lambda *args: run("curl", "-sS", "--max-time", "60", version, *args)  # noqa: E731
    sees = server.url("/predictions/sees")
    # The calls of TorchServe's pages.
    assert json.loads(curl(sees, "-T", file)) == {"body": 256000}
    assert json.loads(curl("-X", "POST", sees, "-F", f"data=@{file}")) == {"data": 256000}
    assert json.loads(curl("-X", "POST", sees, "-F", f"img1=@{file}", "-F", "text=abc")) == {"img1": 256000, "text": 3}
    assert json.loads(curl(sees, "-d", "a=1&b=22")) == {"a": 1, "b": 2}
    assert json.loads(curl(sees, "-H", "Content-Type: application/octet-stream", "--data-binary", f"@{file}")) == {"body": 256000}
    assert curl(sees, "-F", "parts=3") == "0;1;2;end" or version == "--http1.0"
    assert curl("-o", "/dev/null", "-w", "%{http_code} %{content_type}", server.url("/predictions/nobody")) == "404 application/json"
    assert "HTTP/" in curl("-I", server.url("/ping"))
    if version != "--http2-prior-knowledge":  # curl 7.88 sends nothing then, whatever the server
        two = curl(server.url("/ping"), server.url("/ping"), "-w", " %{num_connects};")
        assert two.count("Healthy") == 2
        assert re.findall(r" (\d);", two) == ["1", "1" if version == "--http1.0" else "0"], "the second goes over the first's connection"


def test_curl_over_a_unix_socket(serve):
    server = serve(models={"echo": "identity"}, unix=True)
    said = run("curl", "-sS", "--max-time", "60", "--unix-socket", server.sockets["inference"], "-d", "hi", "http://localhost/predictions/echo")
    assert said == "hi"


# ---- requests ----


def test_requests(server):
    with requests.Session() as s:
        url = server.url("/predictions/sees")
        for _ in range(50):
            assert s.post(url, data=b"abc", timeout=30).json() == {"body": 3}
        pools = s.get_adapter(url).poolmanager.pools
        assert pools[next(iter(pools.keys()))].num_connections == 1
        assert s.post(url, data=(b"x" * 1000 for _ in range(300)), timeout=30).json() == {"body": 300000}, "a generator is sent chunked"
        assert s.post(url, files={"data": ("a.png", b"1234", "image/png")}, data={"t": "é"}, timeout=30).json() == {"t": 2, "data": 4}
        assert s.post(url, json={"k": 1}, timeout=30).json() == {"body": 1}
        with s.post(url, data={"parts": 4}, stream=True, timeout=30) as r:
            assert b"".join(r.iter_content(None)) == b"0;1;2;3;end"
        assert s.get(server.url("/models/nobody", "management"), timeout=30).json()["type"] == "ModelNotFoundException"


# ---- httpx ----


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/2"])
def test_httpx(server, version):
    url = server.url("/predictions/sees")
    with httpx.Client(http1=version == "HTTP/1.1", http2=version == "HTTP/2", timeout=30) as c:
        r = c.post(url, content=b"abc")
        assert (r.status_code, r.http_version, r.json()) == (200, version, {"body": 3})
        assert c.post(url, content=(b"x" * 1000 for _ in range(300))).json() == {"body": 300000}
        assert c.post(url, files={"data": ("a.png", b"1234")}, data={"t": "xy"}).json() == {"t": 2, "data": 4}
        with c.stream("POST", url, data={"parts": "4"}) as r:
            assert "".join(r.iter_text()) == "0;1;2;3;end"
        r = c.get(server.url("/predictions/nobody"))
        assert (r.status_code, r.json()["type"]) == (404, "ModelNotFoundException")
        assert c.options(server.url("/")).json()["openapi"] == "3.0.1"

    async def many():
        async with httpx.AsyncClient(http1=version == "HTTP/1.1", http2=version == "HTTP/2", timeout=30) as c:
            return await asyncio.gather(*(c.post(server.url("/predictions/echo"), content=b"%d" % i) for i in range(200)))
    assert [r.content for r in asyncio.run(many())] == [b"%d" % i for i in range(200)]


# ---- grpcio, without threads ----


def test_grpc_aio(server):
    async def many():
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports['grpc_inference']}") as c:
            stub, request = rpc.stub("inference", c), rpc.module("inference").PredictionsRequest
            calls = [stub.Predictions(request(model_name="echo", input={"data": b"%d" % i}), timeout=30) for i in range(200)]
            parts = [r.prediction async for r in stub.StreamPredictions(request(model_name="sees", input={"parts": b"3"}), timeout=30)]
            return [r.prediction for r in await asyncio.gather(*calls)], parts
    assert asyncio.run(many()) == ([b"%d" % i for i in range(200)], [b"0;", b"1;", b"2;", b"end"])


# ---- h2load ----


@pytest.mark.parametrize("how", [("-m", "100"), ("--h1", "-m", "1"), ("-m", "100", "-d", "body"), ("-w", "10", "-W", "10", "-d", "large")],
                         ids=["streams", "http1", "bodies", "small-windows"])
def test_h2load(server, tmp_path, how):
    needs("h2load", "nghttp2-client")
    (tmp_path / "body").write_bytes(b"x" * 100)
    (tmp_path / "large").write_bytes(b"x" * 20_000)
    n = 100 if "large" in how else 4000
    path = "/predictions/echo" if "-d" in how else "/ping"
    said = run("h2load", "-n", n, "-c", "4", *how, server.url(path), cwd=tmp_path)
    assert f"{n} succeeded, 0 failed, 0 errored, 0 timeout" in said, said
    assert f"status codes: {n} 2xx" in said


# ---- torch-model-archiver ----


@pytest.mark.parametrize("form", ["default", "tgz", "no-archive", "zip-store"])
def test_archives_of_torch_model_archiver(server, tmp_path, form):
    python = need_python_with("model_archiver")
    name = f"m-{form}"
    (tmp_path / "h.py").write_text("def handle(data, context):\n"
                                   "    return data and [context.manifest['model']['modelName'] + open(context.system_properties"
                                   "['model_dir'] + '/extra.txt').read()] * len(data)\n")
    (tmp_path / "extra.txt").write_text(" has its file")
    (tmp_path / "model-config.yaml").write_text("minWorkers: 1\nmaxWorkers: 1\nbatchSize: 3\n")
    run(python, "-m", "model_archiver.model_packaging", "--model-name", name, "--version", "2.5", "--handler", tmp_path / "h.py",
        "--extra-files", tmp_path / "extra.txt", "--config-file", tmp_path / "model-config.yaml", "--export-path", server.store,
        "--archive-format", form)
    url = {"tgz": f"{name}.tar.gz", "no-archive": name}.get(form, f"{name}.mar")
    assert (server.store / url).exists()
    r = server.post("/models", api="management", params={"url": url}, timeout=60)
    assert r.json()["status"] == f'Model "{name}" Version: 2.5 registered with 1 initial workers'
    assert server.get(f"/models/{name}", api="management").json()[0]["batchSize"] == 3
    assert server.post(f"/predictions/{name}/2.5", data=b"x").text == f"{name} has its file"
    assert server.delete(f"/models/{name}").status_code == 200

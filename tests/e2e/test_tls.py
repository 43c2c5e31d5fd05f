"""TLS on the listeners: who is let in, what is refused at the start, and certificates that change while it runs."""
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
import harness
import pytest
import requests
import rpc
from harness import wait_for

SAN = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(*args):
    done = subprocess.run(["openssl", *map(str, args)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def certificate(folder, name):
    """A key and a certificate that signs itself."""
    key, cert = Path(folder) / f"{name}.key", Path(folder) / f"{name}.pem"
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj",
            f"/CN={name}", "-addext", SAN)
    return key, cert


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: certificate(folder, name) for name in ("one", "two")}


class Secure(harness.Server):
    """A server whose listeners speak TLS. `pair`: key and certificate, or None."""

    def __init__(self, *, pair=None, ca=None, config=None, **more):
        super().__init__(config={**({"private_key_file": pair[0], "certificate_file": pair[1]} if pair else {}),
                                 **(config or {})}, **more)
        self.ca = str(ca or pair[1]) if ca or pair else None
        self.config_file.write_text(self.config_file.read_text().replace("_address=http://", "_address=https://"))
        self.client = None

    def request(self, method, path, api="inference", **more):
        more.setdefault("timeout", 30)
        return requests.request(method, f"https://127.0.0.1:{self.ports[api]}{path}", verify=self.ca, cert=self.client, **more)

    def connect(self, alpn=(), context=None, session=None):
        """A TLS connection to the inference listener."""
        if context is None:
            context = ssl.create_default_context(cafile=self.ca)
            if alpn:
                context.set_alpn_protocols(list(alpn))
        plain = socket.create_connection(("127.0.0.1", self.ports["inference"]), timeout=30)
        return context.wrap_socket(plain, server_hostname="localhost", session=session)


@pytest.fixture
def secure(build, tmp_path):
    started = []

    def make(**settings):
        started.append(Secure(build=build, folder=tmp_path / f"server{len(started)}", **settings))
        return started[-1]

    yield make
    harness.stop_all(started)


@pytest.fixture(scope="module")
def echo(build, tmp_path_factory, keys):
    server = Secure(build=build, folder=tmp_path_factory.mktemp("tls"), pair=keys["one"], models={"echo": "identity"})
    server.start()
    yield server
    harness.stop_all([server])


def subject(connection):
    return dict(pair[0] for pair in connection.getpeercert()["subject"])["commonName"]


def ask(connection):
    connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    return connection.recv(65536)


def test_every_listener_speaks_tls(echo):
    body = bytes(range(256)) * 4000
    assert echo.post("/predictions/echo", data=body).content == body
    assert echo.get("/models", api="management").json()["models"][0]["modelName"] == "echo"
    assert echo.get("/metrics", api="metrics").status_code == 200


@pytest.mark.parametrize("offered,chosen", [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1"), ([], None)])
def test_the_protocol_is_agreed_on(echo, offered, chosen):
    with echo.connect(alpn=offered) as c:
        assert c.selected_alpn_protocol() == chosen
        if chosen != "h2":
            assert ask(c).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_protocol_that_nobody_speaks_is_refused(echo):
    with pytest.raises(ssl.SSLError):
        echo.connect(alpn=["imap"])


def test_requests_over_http2_and_tls(echo):
    url = f"https://localhost:{echo.ports['inference']}/predictions/echo"
    done = subprocess.run(["curl", "-sS", "--http2", "--max-time", "30", "--cacert", echo.ca, "-d", "hello", "-w", " %{http_version}",
                           url, url], capture_output=True, text=True)
    assert done.stdout == "hello 2hello 2", done.stderr


def test_tls_1_2_is_enough_and_1_1_is_not(echo):
    context = ssl.create_default_context(cafile=echo.ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with echo.connect(context=context) as c:
        assert c.version() == "TLSv1.2"
    done = subprocess.run(["curl", "-sS", "--max-time", "30", "--tls-max", "1.1", "--cacert", echo.ca, echo.url("/ping").replace("http:", "https:")],
                          capture_output=True, text=True)
    assert done.returncode == 35, done.stderr


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(echo, version):
    context = ssl.create_default_context(cafile=echo.ca)
    context.minimum_version = context.maximum_version = version
    with echo.connect(context=context) as c:
        assert not c.session_reused
        ask(c)  # the ticket of TLS 1.3 comes behind the handshake
        session = c.session
    with echo.connect(context=context, session=session) as c:
        assert c.session_reused
        assert ask(c).startswith(b"HTTP/1.1 200 OK\r\n")


def test_clear_text_is_told_to_go(echo):
    with socket.create_connection(("127.0.0.1", echo.ports["inference"]), timeout=30) as c:
        c.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        while piece := c.recv(65536):
            said += piece
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert f"content-length: {len(body)}".encode() in head
    assert body == b'{\n  "status": "This TorchServe instance only accepts HTTPS requests"\n}\n'


def test_garbage_and_half_handshakes_harm_nobody(echo):
    half = []
    for piece in (b"\x16\x03\x01", b"\x16" + b"\xff" * 4000, b"\x16\x03\x01\x00\x05hello", b"\x80\x2e\x01\x00\x02"):
        c = socket.create_connection(("127.0.0.1", echo.ports["inference"]), timeout=30)
        c.sendall(piece)
        half.append(c)
    assert echo.get("/ping").status_code == 200
    for c in half:
        c.close()
    assert echo.get("/ping").status_code == 200


def test_status_asks_over_tls(echo):
    done = subprocess.run([echo.program, "status", "--pid", str(echo.process.pid)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "echo" in done.stdout


# ---- certificates of clients ----


def test_clients_without_a_certificate_stay_out(secure, keys):
    server = secure(pair=keys["one"], config={"tls_client_ca": keys["two"][1]})
    server.client = (str(keys["two"][1]), str(keys["two"][0]))
    server.start()
    assert server.get("/ping").status_code == 200
    server.client = None
    with pytest.raises(requests.exceptions.RequestException):
        server.get("/ping")
    server.client = (str(keys["one"][1]), str(keys["one"][0]))
    with pytest.raises(requests.exceptions.RequestException):
        server.get("/ping")


def test_a_clients_certificate_that_expired(secure, keys, tmp_path):
    """Signed by the right authority, which does not help one that is over."""
    ca = keys["two"]
    server = secure(pair=keys["one"], config={"tls_client_ca": ca[1], "enable_grpc_ssl": "true"})
    pairs = {}
    for name, days in (("good", 30), ("expired", -1)):
        key, cert = pairs[name] = tmp_path / f"{name}.key", tmp_path / f"{name}.pem"
        openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", f"/CN={name}", "-out", tmp_path / "request")
        openssl("x509", "-req", "-in", tmp_path / "request", "-CA", ca[1], "-CAkey", ca[0], "-days", days, "-out", cert)
    server.client = tuple(map(str, reversed(pairs["good"])))
    server.start()
    server.client = tuple(map(str, reversed(pairs["expired"])))
    with pytest.raises(requests.exceptions.RequestException):
        server.get("/ping")
    for name, answer in (("good", "OK"), ("expired", "UNAVAILABLE")):
        got = call(server, root_certificates=keys["one"][1], private_key=pairs[name][0], certificate_chain=pairs[name][1])
        assert (got if isinstance(got, str) else "OK") == answer
    server.client = tuple(map(str, reversed(pairs["good"])))
    assert server.get("/ping").status_code == 200


# ---- certificates that change ----


def test_new_connections_get_the_new_certificate(secure, keys, tmp_path):
    pair = tmp_path / "key.pem", tmp_path / "cert.pem"

    def put(name):
        for at, source in zip(pair, keys[name]):
            at.write_bytes(source.read_bytes())

    both = tmp_path / "both.pem"
    both.write_bytes(keys["one"][1].read_bytes() + keys["two"][1].read_bytes())
    put("one")
    server = secure(pair=pair, ca=both, models={"echo": "identity"}).start()

    def log(text):
        return any(text in part for part in server.logs().values())

    def now():
        with server.connect() as c:
            return subject(c)

    with server.connect() as old:
        assert subject(old) == "one"
        put("two")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: now() == "two", 30, "the new certificate")
        assert ask(old).startswith(b"HTTP/1.1 200 OK\r\n")
    pair[1].write_text("no certificate")
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: log("the certificate that was in use stays"), 30, "a word about the bad certificate")
    assert log(f"{pair[1]} holds no certificate")
    assert now() == "two"
    pair[1].write_bytes(keys["one"][1].read_bytes())
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: log(f"{pair[0]} does not belong to the certificate in {pair[1]}"), 30, "a word about the key of another")
    assert now() == "two"
    pair[1].write_text("no certificate")

    # A frontend that is started again reads the files again, and says so while it cannot.
    frontend = server.kill_role("frontend")
    wait_for(lambda: server.pids("frontend") not in ([], [frontend]), 30, "another frontend")

    def closed():
        try:
            server.connect().close()
            return False
        except OSError:
            return True
    wait_for(lambda: server.log_tail(200).count("holds no certificate") >= 2 and closed(), 30, "a word from the new frontend")
    put("one")
    wait_for(lambda: not closed() and now() == "one", 30, "the certificate to be read")
    assert server.post("/predictions/echo", data=b"x").content == b"x"


# ---- refused at the start ----


def refused(server):
    status, said = server.refused()
    assert status == 2, said
    return said


def test_https_needs_a_key(secure):
    assert "set private_key_file and certificate_file, or keystore" in refused(secure())


def test_a_missing_file_is_named(secure, keys, tmp_path):
    said = refused(secure(pair=(keys["one"][0], tmp_path / "none.pem")))
    assert f"{tmp_path / 'none.pem'} cannot be read: No such file" in said


def test_a_key_of_another_certificate_is_refused(secure, keys):
    said = refused(secure(pair=(keys["two"][0], keys["one"][1])))
    assert f"{keys['two'][0]} does not belong to the certificate in {keys['one'][1]}" in said


def test_an_encrypted_key_is_refused_without_asking(secure, keys, tmp_path):
    openssl("pkey", "-in", keys["one"][0], "-aes256", "-passout", "pass:x", "-out", tmp_path / "k.pem")
    assert "write it without a pass phrase" in refused(secure(pair=(tmp_path / "k.pem", keys["one"][1])))


def test_a_java_keystore_gets_the_conversion(secure, tmp_path):
    store = tmp_path / "keys.jks"
    store.write_bytes(b"\xfe\xed\xfe\xed" + bytes(100))
    for more in ({}, {"keystore_type": "JKS"}):
        said = refused(secure(config={"keystore": store, **more}))
        assert f"keytool -importkeystore -srckeystore {store}"[:150] in said


def test_an_expired_certificate_is_served_with_a_warning(secure, keys, tmp_path):
    openssl("req", "-new", "-key", keys["one"][0], "-subj", "/CN=old", "-out", tmp_path / "request")
    openssl("x509", "-req", "-in", tmp_path / "request", "-signkey", keys["one"][0], "-days", "-1", "-out", tmp_path / "old.pem")
    server = secure(pair=(keys["one"][0], tmp_path / "old.pem"))
    server.launch()
    wait_for(lambda: f"the certificate in {tmp_path / 'old.pem'} has expired" in server.log_tail(), 60, "the warning")


def test_a_keystore_opens_with_its_password(secure, keys, tmp_path):
    store = tmp_path / "keys.p12"
    openssl("pkcs12", "-export", "-inkey", keys["one"][0], "-in", keys["one"][1], "-out", store, "-passout", "pass:changeit")
    assert "keystore_pass does not open" in refused(secure(config={"keystore": store, "keystore_pass": "wrong"}))
    server = secure(ca=keys["one"][1], config={"keystore": store}).start()
    assert server.get("/ping").status_code == 200


# ---- gRPC ----


def call(server, name="inference", method="Ping", **pem):
    """What a call says, or the code that it ends with. `pem`: as grpcio takes it; none: in clear text."""
    port = server.ports[rpc.PORTS[name]]
    read = {k: Path(v).read_bytes() for k, v in pem.items()}
    target = f"127.0.0.1:{port}"
    with (grpc.secure_channel(target, grpc.ssl_channel_credentials(**read)) if pem else grpc.insecure_channel(target)) as c:
        of, _ = rpc.method(name, method)
        try:
            return getattr(rpc.stub(name, c), method)(rpc.message_class(of.input_type)(), timeout=30)
        except grpc.RpcError as e:
            return e.code().name


@pytest.fixture(scope="module")
def grpc_server(build, tmp_path_factory, keys):
    server = Secure(build=build, folder=tmp_path_factory.mktemp("grpc_tls"), pair=keys["one"], config={"enable_grpc_ssl": "true"}).start()
    yield server
    harness.stop_all([server])


def test_grpc_over_tls_on_both_ports(grpc_server, keys):
    for _ in range(3):
        assert "Healthy" in call(grpc_server, root_certificates=keys["one"][1]).health
    assert '"models"' in call(grpc_server, "management", "ListModels", root_certificates=keys["one"][1]).msg
    assert f"gRPC API on https://127.0.0.1:{grpc_server.ports['grpc_inference']}" in grpc_server.logs()["ts_log.log"]
    with socket.create_connection(("127.0.0.1", grpc_server.ports["grpc_inference"]), timeout=30) as plain:
        context = ssl.create_default_context(cafile=keys["one"][1])
        context.set_alpn_protocols(["http/1.1", "h2"])
        with context.wrap_socket(plain, server_hostname="localhost") as c:
            assert c.selected_alpn_protocol() == "h2"


def test_grpc_with_another_ca_or_none(grpc_server, echo, keys):
    assert call(grpc_server, root_certificates=keys["two"][1]) == "UNAVAILABLE"
    assert call(grpc_server) == "UNAVAILABLE"  # clear text at a port of TLS
    assert call(echo, root_certificates=keys["one"][1]) == "UNAVAILABLE"  # and the other way round: https alone does not make gRPC's
    assert "Healthy" in call(echo).health
    assert "Healthy" in call(grpc_server, root_certificates=keys["one"][1]).health


def test_grpc_asks_for_certificates_of_clients(secure, keys):
    server = secure(pair=keys["one"], config={"enable_grpc_ssl": "true", "tls_client_ca": keys["two"][1]})
    server.client = (str(keys["two"][1]), str(keys["two"][0]))
    server.start()
    assert call(server, root_certificates=keys["one"][1]) == "UNAVAILABLE"
    mine = {"root_certificates": keys["one"][1], "private_key": keys["two"][0], "certificate_chain": keys["two"][1]}
    assert "Healthy" in call(server, **mine).health


def test_grpc_ssl_without_a_key_is_refused_at_the_start(build, tmp_path):
    server = harness.Server(build=build, folder=tmp_path, config={"enable_grpc_ssl": "true"})
    status, said = server.refused()
    assert status == 2 and "enable_grpc_ssl needs private_key_file and certificate_file" in said

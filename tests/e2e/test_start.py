"""A server that cannot do what it was told says which thing is wrong and what to do, and ends with a status."""
import socket

import harness
import pytest


@pytest.fixture
def refuse(build, tmp_path):
    """Starts a server that must refuse: what it said, on one line per line. Nothing may be left of it."""
    made = []

    def start(**settings):
        server = harness.Server(build=build, folder=tmp_path / f"refused{len(made)}", **settings)
        made.append(server)
        status, said = server.refused(30)
        assert status not in (0, None) and status > 0, f"ended with {status}:\n{said}"
        server.assert_nothing_left()
        return said + "".join(server.logs().values())

    yield start
    for server in made:
        server.kill()


def test_a_port_in_use_is_named(refuse):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        said = refuse(config={"inference_address": f"http://127.0.0.1:{port}"})
    assert str(port) in said


def test_two_servers_on_one_port_leave_the_first_alone(serve, refuse):
    first = serve(models={"echo": "identity"})
    said = refuse(config={"management_address": f"http://127.0.0.1:{first.ports['management']}"})
    assert str(first.ports["management"]) in said
    assert first.post("/predictions/echo", data=b"mine").content == b"mine"


@pytest.mark.parametrize("address", ["127.0.0.1:8080", "http://127.0.0.1:99999", "http://[::1]:8080", "ftp://x", "http://a/b"])
def test_an_address_that_is_none(refuse, address):
    said = refuse(config={"inference_address": address})
    assert "Invalid" in said and address in said


def test_a_config_file_that_is_not_there(build, tmp_path):
    server = harness.Server(build=build, folder=tmp_path)
    server.config_file.unlink()
    status, said = server.refused(30)
    assert status > 0
    assert str(server.config_file) in said
    server.assert_nothing_left()


def test_a_model_that_is_not_there(refuse):
    said = refuse(models={"m": "/no/such/folder"})
    assert "/no/such/folder" in said


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\x01b"])
def test_a_model_name_that_is_no_name(refuse, name):
    said = refuse(models={name: "identity"})
    assert "name" in said.lower()


def test_a_store_that_is_a_file(refuse, tmp_path):
    store = tmp_path / "store.txt"
    store.write_text("")
    said = refuse(config={"model_store": store})
    assert str(store) in said


def test_a_log_folder_that_cannot_be_written(refuse, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    said = refuse(env={"LOG_LOCATION": str(blocker / "logs")})
    assert str(blocker / "logs") in said


def test_a_wrong_command_line_names_the_word(build, tmp_path):
    server = harness.Server(build=build, folder=tmp_path, args=["--no-such-option"])
    status, said = server.refused(30)
    assert status > 0
    assert "--no-such-option" in said
    server.assert_nothing_left()


def test_an_idle_server_is_small_and_starts_fast(serve):
    server = serve()
    if "asan" not in str(server.program):
        assert server.rss("supervisor") + server.rss("frontend") < 20 << 20
        assert server.started_in < 0.5  # the goal is 0.05 on an idle machine; bench measures it

"""Completion and manual pages: made of the commands' help, so all that can go stale is the help itself. Tried in real shells."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

import pytest
from harness import ROOT, sanitized

pytestmark = pytest.mark.skipif(sanitized(), reason="they are not made of a program under a sanitizer")
MANUALS = ("sconce", "torchserve", "torch-model-archiver", "torch-workflow-archiver")
# Not for people: `torchserve` says it to the server that it starts.
UNTOLD = {"torchserve"}


@pytest.fixture(scope="module")
def pages(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "share"
    subprocess.run(["sh", ROOT / "tools/pages.sh", build / "sconce", folder], check=True, timeout=120)
    return folder


def read_options():
    """File of src/cli -> the long options of its tables."""
    found = {}
    for file in sorted((ROOT / "src/cli").glob("*.c")):
        text = file.read_text()
        names = re.findall(r'\{"([a-z][a-z-]+)", (?:no|required|optional)_argument', text)
        names += re.findall(r'\{"([a-z][a-z_-]+)", (?:SC_OPTION_|(?:NULL|"[a-z]+"), [A-Z]+, AT)', text)
        names += [n for row in re.findall(r'\.?(?:names = )?\{"(--?[a-z][^}]*)"\}', text) for n in re.findall(r"--([a-z-]+)", row)]
        if names:
            found[file.name] = set(names) - UNTOLD
    return found


def read_settings():
    text = (ROOT / "src/model/settings_table.c").read_text()
    rows = text[text.index("keys[] = {"):]
    return re.findall(r'^    (?:[A-Z]+\(\s*|\{\.name = )"([A-Za-z_]+)"', rows, re.M)


def plain(page):
    return re.sub(r"\\f[BRI]|\\&", "", page).replace("\\-", "-")


def test_every_option_stands_in_a_help_and_so_in_the_pages(pages):
    options = read_options()
    assert len(options) >= 7 and all(options.values()), "the tables of options look different now"
    manuals = "".join(plain((pages / f"man/man1/{name}.1").read_text()) for name in MANUALS)
    completion = (pages / "bash-completion/completions/sconce").read_text() + (pages / "zsh/site-functions/_sconce").read_text()
    for file, names in options.items():
        for name in names - {"help"}:
            assert re.search(rf"^--{name}\b|, --{name}\b", manuals, re.M), f"{file}: --{name} is not in its command's help"
            assert f" --{name} " in completion.replace("'", " ") and f"'--{name}" in completion.replace("*--", "--"), name


def test_every_setting_stands_in_the_pages(pages):
    settings = read_settings()
    assert len(settings) > 80 and "inference_address" in settings and "models" in settings
    manual = plain((pages / "man/man1/sconce.1").read_text())
    ignored = {"vmargs", "plugins_path", "netty_client_threads", "prefer_direct_buffer", "async_logging", "io_ratio"}
    missing = [s for s in settings if not re.search(rf"^{s} \(", manual, re.M)]
    assert set(missing) == ignored, missing


@pytest.mark.parametrize("name", MANUALS)
def test_a_manual_page_is_good_roff(pages, name):
    page = pages / f"man/man1/{name}.1"
    if not shutil.which("mandoc"):
        pytest.skip("there is no mandoc")
    assert subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True).stdout == ""
    shown = subprocess.run(["mandoc", "-Tutf8", page], capture_output=True, text=True, check=True).stdout
    assert name in shown and "SEE ALSO" in re.sub(".\x08", "", shown)


# ---- bash ----


def bash(pages, line, folder="/"):
    """What bash offers behind a line, by the function that it calls itself."""
    script = 'source "$1"; line=$2; read -ra COMP_WORDS <<< "${line//=/ = }"; [[ $line != *" " ]] || COMP_WORDS+=("")' \
             '; COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _sconce "${COMP_WORDS[0]}"; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", pages / "bash-completion/completions/sconce", line],
                          capture_output=True, text=True, cwd=folder, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), line
    return set(done.stdout.split())


def test_bash_completes_commands_options_and_values(pages, tmp_path):
    (tmp_path / "my.properties").write_text("")
    (tmp_path / "mystore").mkdir()
    for line, offered in [
        ("sconce st", {"stop", "status"}),
        ("/opt/bin/sconce ch", {"check-config"}),
        ("sconce serve --mod", {"--model-store", "--models"}),
        ("sconce serve --model-store my", {"mystore"}),
        ("sconce serve --model-store=my", {"mystore"}),
        ("sconce serve --config my", {"mystore", "my.properties"}),
        ("sconce serve --ts-config=", {"mystore", "my.properties"}),
        ("sconce serve --set grpc_inference_p", {"grpc_inference_port="}),
        ("sconce serve --models lang=my", {"mystore", "my.properties"}),
        ("sconce check-config --for ", {"torchserve", "serve"}),
        ("sconce check-config --for=s", {"serve"}),
        ("sconce check-config my", {"mystore", "my.properties"}),
        ("sconce status --w", {"--watch"}),
        ("sconce status --pid ", set()),
        ("sconce torchserve --d", {"--disable-token-auth", "--dt"}),
        ("torchserve --st", {"--start", "--stop"}),
        ("torchserve --workflow-store ", {"mystore"}),
        ("torch-model-archiver --runtime p", {"python", "python3"}),
        ("torch-model-archiver --archive-format=", {"tgz", "no-archive", "zip-store", "default"}),
        ("torch-workflow-archiver --s", {"--spec-file"}),
        ("sconce archive --spec", {"--spec-file"}),
        ("sconce nonsense --", set()),
    ]:
        assert bash(pages, line, tmp_path) == offered, line


def test_bash_finds_it_under_every_name(pages):
    for name in MANUALS:
        file = pages / "bash-completion/completions" / name
        done = subprocess.run(["bash", "--norc", "-c", 'source "$1" && complete -p "$2"', "bash", file, name], capture_output=True, text=True)
        assert done.stdout == f"complete -F _sconce {name}\n", done.stderr


# ---- zsh ----


class Terminal:
    """An interactive zsh with the completion in its path."""

    def __init__(self, functions, folder):
        self.at, end = pty.openpty()
        self.process = subprocess.Popen(["zsh", "-f", "-i"], stdin=end, stdout=end, stderr=end, cwd=folder, start_new_session=True,
                                        env={**os.environ, "TERM": "dumb", "FUNCTIONS": str(functions), "ZDOTDIR": str(folder)})
        os.close(end)
        self.ask("fpath=($FUNCTIONS $fpath); autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste; LISTMAX=9999"
                 "; print READ''Y\n", "READY")

    def ask(self, keys, *expected):
        """Types; all it says until every expected word was seen."""
        os.write(self.at, keys.encode())
        said, end = "", time.monotonic() + 30
        while not all(word in said for word in expected):
            assert time.monotonic() < end, f"{keys!r}: {expected} not in {said!r}"
            if select.select([self.at], [], [], 1)[0]:
                said += os.read(self.at, 65536).decode(errors="replace")
        return said

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.at)


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_completes_commands_options_and_values(pages, tmp_path):
    terminal = Terminal(pages / "zsh/site-functions", tmp_path)
    try:
        clear = "\x15"
        terminal.ask("sconce che\t", "check-config ")
        terminal.ask(clear + "sconce serve --mod\t\t", "--model-store", "--models", "folder in which models are looked up")
        terminal.ask(clear + "sconce serve --set tls_cl\t", "tls_client_ca=")
        terminal.ask(clear + "sconce check-config --for t\t", "--for torchserve ")
        terminal.ask(clear + "torchserve --disable\t", "--disable-token-auth ")
        terminal.ask(clear + "torch-model-archiver --archive-format zip\t", "zip-store ")
    finally:
        terminal.close()

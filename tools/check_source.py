#!/usr/bin/env python3
"""Rules of the house that a compiler does not know: layers, banned calls, file length, words, stray files.

usage: check_source.py [ROOT]      prints `file:line: what is wrong: what to do`, exits 1 if there was anything

The order of the rooms is docs/design.md §4; why a call is banned stands beside it below.
"""
import os
import re
import subprocess
import sys
from pathlib import Path

ROOMS = ["base", "proto", "net", "archive", "worker", "gpu", "metrics", "model", "api", "load", "tune", "cli"]
# What a backend may use besides its own folder and the public header: the rooms that do no I/O of the server's.
BACKEND_MAY = {"base", "proto"}
# Python's is no plug-in but the worker itself: it has the worker's end of the channel.
BACKEND_MAY_ALSO = {"python": {"worker"}}
# Rooms that may use the public header: those that carry requests to a backend and what stands below them.
PUBLIC_FROM = ROOMS.index("worker")

# (room, header pattern, why)
ROOM_MUST_NOT = [
    ("base", r"uv\.h|jansson\.h", "base knows no library but libc"),
    ("proto", r"uv\.h|sys/(socket|epoll|un|eventfd|mman)\.h|netinet/.*|poll\.h|fcntl\.h", "proto does no I/O"),
    ("archive|worker|gpu|metrics|model", r"uv\.h", "the event loop belongs to net; use net/loop.h"),
    ("model", r"proto/(http|h2|grpc).*|net/http\.h", "model does not know HTTP"),
]

BANNED = {
    "strcpy|strcat|sprintf|vsprintf|stpcpy": "has no bound; use sc_buf or snprintf",
    "strncpy|strncat": "does not always end the string; use spans or snprintf",
    "gets|scanf|sscanf|fscanf|strtok|atoi|atol|atoll|atof": "cannot tell bad input; use spans (sc_span_u64, sc_span_i32)",
    "alloca|strdupa": "input would decide the size of the stack",
    "system|popen": "runs a shell; spawn the program itself",
    "tmpnam|mktemp|tempnam": "races; use mkstemp or memfd_create",
    "gmtime|localtime|ctime|asctime": "shares a buffer between threads; use the _r form",
    "rand|srand|random": "is predictable; use getrandom",
    "signal": "differs between systems; use sigaction",
}
BANNED_CALL = {name: why for names, why in BANNED.items() for name in names.split("|")}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED_CALL) + r")\s*\(")
IGNORES = re.compile(r"[^,;]*,\s*SIG_(IGN|DFL)\s*\)")  # the one form of signal() that is the same everywhere

MAX_LINES = 600
MAX_BYTES = 6 << 20
SKIP_FOLDERS = {".git", "build", "__pycache__", ".cache", ".pytest_cache", "node_modules"}

# Places that exist on one machine only. Written in pieces, so that this file passes its own check.
WORDS = [
    (re.compile(r"(?<![\w./~-])/" + r"(work|root)/"), "a path of one machine"),
    (re.compile("|".join(re.escape(".".join(h)) for h in [
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"), ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"), ("snapshot", "debian", "org")])), "the name of a package registry's host"),
]

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
COMMENT_OR_STRING = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def blank(text):
    """Code without comments and strings, lines kept."""
    return COMMENT_OR_STRING.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


class Checker:
    def __init__(self, root):
        self.root = Path(root)
        self.problems = []

    def say(self, path, line, text):
        self.problems.append(f"{path.relative_to(self.root)}:{line}: {text}")

    def files(self):
        """What belongs to the repository or could be added to it; without git, whatever lies there."""
        try:
            listed = subprocess.run(["git", "-C", self.root, "ls-files", "-z", "-co", "--exclude-standard"],
                                    capture_output=True, check=True).stdout if (self.root / ".git").exists() else None
        except (OSError, subprocess.CalledProcessError):
            listed = None
        if listed is not None:
            paths = sorted({self.root / os.fsdecode(name) for name in listed.split(b"\0") if name})
            yield from (p for p in paths if p.is_file() and not p.is_symlink())
            return
        for folder, names, files in os.walk(self.root):
            names[:] = sorted(n for n in names if n not in SKIP_FOLDERS)
            for name in sorted(files):
                path = Path(folder, name)
                if not path.is_symlink():
                    yield path

    def check(self):
        for path in self.files():
            if path.stat().st_size > MAX_BYTES:
                self.say(path, 1, f"larger than {MAX_BYTES >> 20} MiB: does it belong into the repository?")
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            if "\0" in text:
                continue
            self.words(path, text)
            if path.suffix in {".c", ".h", ".cu", ".cuh"}:
                self.c_file(path, text)
        return self.problems

    def words(self, path, text):
        for pattern, what in WORDS:
            for m in pattern.finditer(text):
                self.say(path, line_of(text, m.start()), f"{what} ({m[0]}): leave it out")

    def c_file(self, path, text):
        top = path.relative_to(self.root).parts
        code = blank(text)
        if top[0] in {"src", "backends"}:
            if (n := text.count("\n")) > MAX_LINES:
                self.say(path, n, f"{n} lines, at most {MAX_LINES}: a file is one idea, split it")
            for m in CALL.finditer(code) if "bench" not in top else ():
                if m[1] == "signal" and IGNORES.match(code, m.end()):
                    continue
                self.say(path, line_of(code, m.start()), f"{m[1]}: {BANNED_CALL[m[1]]}")
        for m in INCLUDE.finditer(text):
            line = line_of(text, m.start())
            if top[0] == "src" and len(top) > 2:
                self.include_of_room(path, line, top[1], m[1] == '"', m[2])
            elif top[0] == "backends" and len(top) > 2:
                self.include_of_backend(path, line, top[1], m[1] == '"', m[2])

    def include_of_room(self, path, line, room, quoted, header):
        if room not in ROOMS:
            self.say(path, line, f"src/{room} is no room of the house: see docs/design.md §4")
            return
        for rooms, pattern, why in ROOM_MUST_NOT:
            if re.fullmatch(rooms, room) and re.fullmatch(pattern, header):
                self.say(path, line, f"{room} must not include {header}: {why}")
        if header == "sconce/backend.h":
            if ROOMS.index(room) < PUBLIC_FROM:
                self.say(path, line, f"{room} stands above the backends and must not know {header}")
            return
        if not quoted:
            return
        other = header.split("/")[0]
        if other not in ROOMS or "/" not in header:
            self.say(path, line, f'"{header}": quotes are for "room/file.h", everything else stands in <>')
        elif ROOMS.index(other) > ROOMS.index(room):
            self.say(path, line, f"{room} must not include {header}: {other} stands below it")

    def include_of_backend(self, path, line, backend, quoted, header):
        own = self.root / "backends" / backend
        if header == "sconce/backend.h" or not quoted:
            if header.split("/")[0] in ROOMS and (self.root / "src" / header).exists() and not quoted:
                self.say(path, line, f"<{header}>: our own headers stand in quotes")
            return
        if any((base / header).exists() for base in (path.parent, own, own.parent)):
            resolved = next(b / header for b in (path.parent, own, own.parent) if (b / header).exists()).resolve()
            if not resolved.is_relative_to(own.resolve()):
                self.say(path, line, f"{backend} must not include {header}: it belongs to another backend")
            return
        if header.split("/")[0] not in BACKEND_MAY | BACKEND_MAY_ALSO.get(backend, set()):
            self.say(path, line, f"a backend includes sconce/backend.h, base/, proto/ and its own files, not {header}")


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent).resolve()
    problems = Checker(root).check()
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} rules of the house broken", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

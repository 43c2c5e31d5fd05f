"""The checker of the house's rules finds what it is there to find, and nothing else."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "tools"))
import check_source  # noqa: E402


def problems(tmp_path, name, text):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return check_source.Checker(tmp_path).check()


@pytest.mark.parametrize("name, text", [
    ("src/base/a.c", '#include "proto/json.h"\n'),
    ("src/model/a.h", '#include "api/route.h"\n'),
    ("src/model/a.c", '#include "proto/http1.h"\n'),
    ("src/proto/a.c", "#include <sys/socket.h>\n"),
    ("src/worker/a.c", "#include <uv.h>\n"),
    ("src/net/a.c", '#include "sconce/backend.h"\n'),
    ("src/net/a.c", '#include "stdio.h"\n'),
    ("src/cellar/a.c", "#include <stdio.h>\n"),
    ("backends/x/a.c", '#include "worker/channel.h"\n'),
    ("src/base/a.c", "void f(char *a) { strcpy(a, \"b\"); }\n"),
    ("backends/x/a.c", "int f(void) { return system(\"ls\"); }\n"),
    ("src/base/a.c", "void f(void) { signal(SIGTERM, handler); }\n"),
    ("src/base/a.c", "int x;\n" * 601),
    ("docs/a.md", "see /" + "work/main\n"),
    ("tools/a.py", "url = 'https://" + "pypi" + ".org/simple'\n"),
])
def test_finds(tmp_path, name, text):
    found = problems(tmp_path, name, text)
    assert len(found) == 1, found
    assert found[0].startswith(f"{name}:")


@pytest.mark.parametrize("name, text", [
    ("src/model/a.c", '#include "model/a.h"\n#include "worker/channel.h"\n#include <stdio.h>\n'),
    ("src/worker/a.c", '#include <sconce/backend.h>\n'),
    ("backends/x/a.c", '#include "base/span.h"\n#include "proto/json_read.h"\n#include "sconce/backend.h"\n#include <oneapi/dnnl/dnnl.h>\n'),
    ("src/base/a.c", '/* strcpy( is banned */ const char *s = "strcpy("; // gets(\n'),
    ("src/base/a.c", "void f(struct x *x) { x->system(x); x.gets(); my_strcpy(x); snprintf(a, 1, b); }\n"),
    ("src/base/a.c", "void f(void) { signal(SIGPIPE, SIG_IGN); signal(i, SIG_DFL); }\n"),
    ("src/base/a.c", "int x;\n" * 600),
    ("build/a.c", "strcpy(\n"),
    ("backends/x/bench/a.c", "int f(char **v) { return atoi(v[1]); }\n"),
    ("docs/a.md", "a path like src/" + "work/x or https://host/" + "work/\n"),
])
def test_leaves_alone(tmp_path, name, text):
    assert problems(tmp_path, name, text) == []


def test_a_backend_may_include_its_own_files_but_not_those_of_another(tmp_path):
    (tmp_path / "backends/y").mkdir(parents=True)
    (tmp_path / "backends/y/y.h").write_text("")
    (tmp_path / "backends/x/cpu").mkdir(parents=True)
    (tmp_path / "backends/x/cpu/gemm.h").write_text("")
    assert problems(tmp_path, "backends/x/a.c", '#include "cpu/gemm.h"\n') == []
    assert len(problems(tmp_path, "backends/x/a.c", '#include "../y/y.h"\n')) == 1

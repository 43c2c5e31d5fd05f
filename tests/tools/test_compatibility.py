"""docs/compatibility.md speaks of all there is: every setting, option, key, metric and route, by the tables of the code."""
import re

from harness import ROOT

PAGE = (ROOT / "docs/compatibility.md").read_text()
TABLES = PAGE[PAGE.index("## Routes"):PAGE.index("## Inventory")]
NAMED = set(re.findall(r"`([^`]+)`", TABLES))


def read(path):
    return (ROOT / path).read_text()


def missing(names):
    return sorted(set(names) - NAMED)


def test_every_setting():
    rows = read("src/model/settings_table.c").partition("keys[] = {")[2]
    names = re.findall(r'^    (?:[A-Z]+\(\s*|\{\.name = )"([A-Za-z_]+)"', rows, re.M)
    assert len(names) > 80 and not missing(names)


def test_every_option_of_torchserves_commands():
    names = [n for f in ("torchserve.c", "archive.c") for row in re.findall(r'\.names = \{([^}]*)\}', read(f"src/cli/{f}"))
             for n in re.findall(r'"(-[^"]+)"', row)]
    assert len(names) > 30 and not missing(names)


def test_every_metric_of_torchserves():
    names = re.findall(r"name: ['\"]?(\w+)", read("backends/python/ts/configs/metrics.yaml"))
    assert len(names) > 20 and not missing(names)


def test_every_key_of_a_models_configuration():
    text = read("src/model/spec_yaml.c")
    theirs = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## model-config.yaml"):PAGE.index("## Metrics")]))
    for name in theirs - {"torchrun"}:
        assert f'"{name}"' in text, f"{name} is told of and not read"
    names = re.findall(r'^    \{"([a-zA-Z]+)", OF_', text, re.M)
    assert len(names) > 15 and not missing(names)

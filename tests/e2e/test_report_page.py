"""The reports of `sconce bench` and `sconce tune` in a real browser, light, dark and in a narrow window: nothing is complained
of, every picture has data that can be told from its ground. Needs Chromium (Debian's package), or SCONCE_CHROMIUM names one."""
import json
import os
import re
import shutil
import subprocess

import pytest

CHROMIUM = os.environ.get("SCONCE_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="there is no browser here: apt-get install chromium, or SCONCE_CHROMIUM names one")

# Put behind the page's end; what it finds is read from the page as it is then.
LOOK = """<script>
const rgb = e => getComputedStyle(e);
const found = [...document.querySelectorAll("svg.sc")].map(s => ({
  title: s.querySelector("title").textContent,
  ground: rgb(s.querySelector(".b")).fill, ink: rgb(s.querySelector(".t")).fill,
  box: s.querySelector(".b").getBBox().width,
  beyond: [...s.querySelectorAll("text")].filter(t => t.getBoundingClientRect().right > s.getBoundingClientRect().right + 1).map(t => t.textContent),
  cells: [...s.querySelectorAll(".v")].map(t => t.textContent).filter(t => t), marked: s.querySelectorAll("rect[style*='--c1']").length,
  lines: [...s.querySelectorAll("polyline")].map(l => ({colour: rgb(l).stroke, points: l.points.length,
    wide: l.getBBox().width, inside: l.getBBox().x >= 0 && l.getBBox().y >= 0 && l.getBBox().y + l.getBBox().height <= 300}))}));
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = JSON.stringify({ground: rgb(document.body).backgroundColor, ink: rgb(document.body).color, pictures: found,
  rows: [...document.querySelectorAll("td:first-child")].map(d => d.getBoundingClientRect().width),
  wider: document.documentElement.scrollWidth > innerWidth});
document.body.append(pre);
</script>"""


def luminance(colour):
    parts = [int(v) / 255 for v in re.findall(r"\d+", colour)[:3]]
    return sum(w * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for w, v in zip((0.2126, 0.7152, 0.0722), parts))


def contrast(a, b):
    """As WCAG 2.2 defines it."""
    dark, light = sorted((luminance(a), luminance(b)))
    return (light + 0.05) / (dark + 0.05)


def looked_at(folder, *command):
    done = subprocess.run([*map(str, command), "--quiet", "--out", str(folder / "out")], capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    path = folder / "looked_at.html"
    path.write_text((folder / "out" / "report.html").read_text() + LOOK)
    return path


@pytest.fixture(scope="module")
def bench(echo, build, tmp_path_factory):
    return looked_at(tmp_path_factory.mktemp("bench"), build / "sconce", "bench", "-c", "4", "-d", "1.2", "--warmup", "0", "--repeat", "2",
                     "-b", "hello", "--echo", echo.url("/predictions/echo"))


@pytest.fixture(scope="module")
def tuned(build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    (folder / "echo").mkdir()
    (folder / "echo" / "model-config.yaml").write_text("backend: identity\n")
    return looked_at(folder, build / "sconce", "tune", "echo", "-b", "hello", "--echo", "--batches", "1,8", "-w", "1,2", "-c", "16",
                     "--budget", "9")


def shown(page, dark, tmp_path, width):
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                           f"--window-size={width},3000", f"--user-data-dir={tmp_path}",
                           f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom", page.as_uri()],
                          capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1].replace("&lt;", "<").replace("&gt;", ">")
                       .replace("&amp;", "&"))
    assert (luminance(found["ground"]) < 0.1) == dark and contrast(found["ground"], found["ink"]) > 7 and not found["wider"]
    for picture in found["pictures"]:
        assert contrast(picture["ground"], picture["ink"]) > 7 and not picture["beyond"], picture
        for line in picture["lines"]:
            assert line["points"] > 1 and line["wide"] > 50 and line["inside"], picture
            assert contrast(picture["ground"], line["colour"]) > 3, picture
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_every_picture_with_data(bench, dark, tmp_path):
    found = shown(bench, dark, tmp_path, 900)
    assert len(found["pictures"]) >= 3
    assert all(p["box"] == 720 and p["lines"] for p in found["pictures"])


@pytest.mark.parametrize("dark,width", [(False, 900), (True, 900), (False, 400)])
def test_a_browser_shows_what_was_tuned(tuned, dark, width, tmp_path):
    found = shown(tuned, dark, tmp_path, width)
    assert [p["title"] for p in found["pictures"]] == ["Latency by throughput", "Throughput by requests at once", "Configurations"]
    curves, cells = found["pictures"][:2], found["pictures"][2]["cells"]
    assert all(p["box"] == 720 and p["lines"] for p in curves)
    assert 2 <= len([c for c in cells if float(c) > 0]) <= 8 and found["pictures"][2]["marked"] == 1
    assert min(found["rows"]) > 60  # a name is not broken into letters

"""The report of `sconce bench` in a real browser, light and dark: nothing is complained of, every picture has data that can
be told from its ground. Needs Chromium (Debian's package), or SCONCE_CHROMIUM names one."""
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
  lines: [...s.querySelectorAll("polyline")].map(l => ({colour: rgb(l).stroke, points: l.points.length,
    wide: l.getBBox().width, inside: l.getBBox().x >= 0 && l.getBBox().y >= 0 && l.getBBox().y + l.getBBox().height <= 300}))}));
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = JSON.stringify({ground: rgb(document.body).backgroundColor, ink: rgb(document.body).color, pictures: found,
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


@pytest.fixture(scope="module")
def page(echo, build, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    done = subprocess.run([build / "sconce", "bench", "--quiet", "-c", "4", "-d", "0.6", "--warmup", "0", "--repeat", "2", "-b", "hello",
                           "--echo", "--out", folder / "out", echo.url("/predictions/echo")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    path = folder / "out" / "looked_at.html"
    path.write_text((folder / "out" / "report.html").read_text() + LOOK)
    return path


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_every_picture_with_data(page, dark, tmp_path):
    done = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=900,3000",
                           f"--user-data-dir={tmp_path}", f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--dump-dom",
                           page.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (luminance(found["ground"]) < 0.1) == dark and contrast(found["ground"], found["ink"]) > 7 and not found["wider"]
    assert len(found["pictures"]) >= 3
    for picture in found["pictures"]:
        assert picture["box"] == 720 and contrast(picture["ground"], picture["ink"]) > 7, picture
        assert picture["lines"], picture
        for line in picture["lines"]:
            assert line["points"] > 1 and line["wide"] > 50 and line["inside"], picture
            assert contrast(picture["ground"], line["colour"]) > 3, picture

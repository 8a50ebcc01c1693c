"""The HTML report in headless Chromium, at the width of a phone."""

from __future__ import annotations

import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from cuready.selftest.findings import findings_of
from cuready.selftest.model import Figure, Report, Series, StageResult, Status
from cuready.selftest.render import render

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (ci/debian.sh installs it)"
)
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture
def page(tmp_path: Path) -> Path:
    sizes = [65536, 1 << 20, 1 << 24, 1 << 27]
    copies = StageResult("copies", "Copies", Status.PASSED, figures=[Figure("device to device", 4012.7, "GB/s", (3600, 4560), "x")],
        series=[Series("bandwidth", "host to device, pinned", sizes, [9, 40, 54, 55.1], "bytes", "GB/s"),
                Series("bandwidth", "device to device", sizes, [90, 900, 3900, 4012], "bytes", "GB/s")])  # fmt: skip
    soak = StageResult("soak", "Soak", Status.FAILED, "the driver reports Xid 79", error={"kind": "xid"},
        series=[Series("over time, °C", "temperature", list(range(30)), [40 + i for i in range(30)], "s", "°C")])  # fmt: skip
    report = Report("long", 0, {"gpu": "NVIDIA H200"}, [copies, soak], seconds=61.0)
    report.findings = findings_of(report)
    path = tmp_path / "report.html"
    path.write_text(render(report, "html"), encoding="utf-8")
    return path


def chromium(tmp_path: Path, *arguments: str) -> str:
    done = subprocess.run([str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *arguments],
                          capture_output=True, text=True, timeout=120, check=True)  # fmt: skip
    return done.stdout


def test_the_page_shows_verdict_finding_and_plots(page: Path, tmp_path: Path) -> None:
    dom = chromium(tmp_path, "--dump-dom", page.as_uri())
    assert '<span id="verdict" class="verdict failed">Failed</span>' in dom
    assert "SELF18" in dom
    assert dom.count("<svg") == 3
    assert 'id="stage-soak" open' in dom


def test_it_fits_a_phone_and_is_not_blank(page: Path, tmp_path: Path) -> None:
    """A frame as wide as a phone reports how wide its page wants to be; the picture has contents."""
    frame = tmp_path / "phone.html"
    frame.write_text(
        f'<iframe id="f" src="{page.name}" width="390" height="800"></iframe><p id="o"></p><script>'
        "f.onload=()=>{o.textContent='width '+f.contentDocument.documentElement.scrollWidth}</script>"
    )
    dom = chromium(tmp_path, "--allow-file-access-from-files", "--virtual-time-budget=3000", "--dump-dom",
                   frame.as_uri())  # fmt: skip
    assert int(dom.split('id="o">width ')[1].split("<")[0]) <= 390
    picture = tmp_path / "phone.png"
    chromium(tmp_path, f"--screenshot={picture}", "--window-size=500,1600", page.as_uri())
    assert len(set(pixels(picture.read_bytes()))) > 20


def pixels(png: bytes) -> bytes:
    """The unpacked rows of a PNG file: many different bytes in a picture, few in a blank one."""
    data, at = b"", 8
    while at < len(png):
        size = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    return zlib.decompress(data)

"""Wheels that own the same paths, with real installs: the fault is found and the fix restores it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cuready import probe
from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Confidence, Finding

pytestmark = pytest.mark.network

# Both bring nvidia/nvtx/lib/libnvToolsExt.so.1.
CU11, CU12 = "nvidia-nvtx-cu11==11.8.86", "nvidia-nvtx-cu12==12.8.90"
SHARED = "nvidia/nvtx/lib/libnvToolsExt.so.1"


class Venv:
    """A virtual environment with pip, whose index is the folders of the downloaded wheels."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
        self.prefix, self.python = folder, folder / "bin/python"
        self.site = next((folder / "lib").glob("python*/site-packages"))
        self.env = {**os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
                    "PIP_FIND_LINKS": " ".join(str(w.parent) for w in wheels),
                    "PIP_CONFIG_FILE": os.devnull}  # fmt: skip

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr

    def pip(self, *arguments: str) -> None:
        self.run(str(self.python), "-m", "pip", "-q", *arguments)

    def findings(self, check_id: str) -> list[Finding]:
        snapshot = probe.take(python=str(self.python), env={"PATH": "/usr/bin:/bin"})
        return [item for item in diagnose(snapshot).findings if item.id == check_id]


@pytest.fixture
def venv(tmp_path: Path, pypi_wheel: Callable[[str], Path]) -> Venv:
    return Venv(tmp_path / "venv", [pypi_wheel(CU11), pypi_wheel(CU12)])


def test_twins_are_found_and_the_fix_leaves_one_whole(venv: Venv) -> None:
    venv.pip("install", "--no-deps", CU12)
    original = (venv.site / SHARED).read_bytes()
    assert venv.findings("LIB02") == []
    venv.pip("install", "--no-deps", CU11)
    assert (venv.site / SHARED).read_bytes() != original, "the second install took the file over"
    (finding,) = venv.findings("LIB02")
    assert SHARED in finding.evidence[0].source
    for command in finding.fix[0].commands:
        venv.run(*shlex.split(command))
    assert (venv.site / SHARED).exists()
    assert venv.findings("LIB02") == venv.findings("LIB01") == []


def test_twins_are_found_when_their_records_give_no_hash(venv: Venv) -> None:
    venv.pip("install", "--no-deps", CU12)
    venv.pip("install", "--no-deps", CU11)
    for path in venv.site.glob("nvidia_nvtx_cu1?-*.dist-info/RECORD"):
        times = path.stat()
        rows = [line.rsplit(",", 2)[0] + ",," for line in path.read_text().splitlines()]
        path.write_text("\n".join(rows) + "\n")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    (finding,) = venv.findings("LIB02")
    assert finding.confidence is Confidence.LIKELY
    assert "nvidia-nvtx-cu11, for it is newer" in finding.evidence[0].detail


def test_uninstalling_one_twin_is_found_and_the_fix_restores_the_file(venv: Venv) -> None:
    venv.pip("install", "--no-deps", CU12)
    original = (venv.site / SHARED).read_bytes()
    venv.pip("install", "--no-deps", CU11)
    venv.pip("uninstall", "-y", "nvidia-nvtx-cu11")
    assert not (venv.site / SHARED).exists(), "pip takes the other's file along"
    (finding,) = venv.findings("LIB01")
    assert finding.subject == "nvidia-nvtx-cu12"
    (command,) = finding.fix[0].commands
    assert shlex.split(command)[0] == str(venv.python)
    venv.run(*shlex.split(command))
    assert (venv.site / SHARED).read_bytes() == original
    assert venv.findings("LIB01") == []

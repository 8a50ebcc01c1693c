"""`cuready fix` on real environments: found, repaired by the environment's own pip, and undone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

LIBRARY = "nvidia/nccl/lib/libnccl.so.2"
TWELVE, THIRTEEN = b"nccl built for CUDA 12" * 10, b"nccl built for CUDA 13, and longer" * 10


def wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> None:
    """A wheel with a true RECORD."""
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    members = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    for path, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}")
    lines.append(f"{info}/RECORD,,")
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, data in members.items():
            archive.writestr(path, data)
        archive.writestr(f"{info}/RECORD", "\n".join(lines) + "\n")


@dataclass(frozen=True)
class Environment:
    """A venv that installs from a folder of wheels and from nowhere else."""

    root: Path
    variables: dict[str, str]

    @property
    def python(self) -> str:
        return str(self.root / "venv/bin/python")

    def pip(self, *arguments: str) -> None:
        command = [self.python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments]
        subprocess.run(command, env=self.variables, check=True, timeout=120)

    def cuready(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "cuready", *arguments, "--python", self.python]
        done = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, timeout=240, check=False
        )
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
        return done.returncode, done.stdout

    def findings(self) -> dict[str, Any]:
        _, out = self.cuready("doctor", "--format", "json", "--only", "LIB")
        return {item["id"]: item for item in json.loads(out)["findings"]}

    def library(self) -> bytes | None:
        path = next(self.root.glob("venv/lib/python3*/site-packages")) / LIBRARY
        return path.read_bytes() if path.exists() else None

    def versions(self) -> dict[str, str]:
        command = [self.python, "-m", "pip", "list", "--format", "json"]
        done = subprocess.run(
            command, env=self.variables, capture_output=True, check=True, timeout=60
        )
        return {
            item["name"]: item["version"]
            for item in json.loads(done.stdout)
            if "nccl" in item["name"]
        }


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "nvidia-nccl-cu12", "2.27.3", {LIBRARY: TWELVE})
    wheel(wheels, "nvidia-nccl-cu13", "2.28.3", {LIBRARY: THIRTEEN})
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    variables = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONPATH": "",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    import cuready

    paths = [str(Path(cuready.__file__).resolve().parents[1])]
    variables["PYTHONPATH"] = os.pathsep.join(paths)
    return Environment(tmp_path, variables)


def test_files_that_a_twin_took_along_come_back(environment: Environment) -> None:
    environment.pip("install", "nvidia-nccl-cu12", "nvidia-nccl-cu13")
    environment.pip("uninstall", "-y", "nvidia-nccl-cu12")
    assert environment.library() is None
    assert set(environment.findings()) == {"LIB01"}
    code, out = environment.cuready("fix")
    assert code == 1 and "nvidia-nccl-cu13==2.28.3" in out
    assert environment.library() is None  # a plan changes nothing

    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 0, out
    assert environment.library() == THIRTEEN
    assert environment.findings() == {}
    code, _ = environment.cuready("fix")
    assert code == 0


def test_a_twin_that_was_removed_comes_back_with_undo(environment: Environment) -> None:
    environment.pip("install", "nvidia-nccl-cu12")
    environment.pip("install", "nvidia-nccl-cu13")
    before = environment.versions()
    assert set(environment.findings()) == {"LIB02"}

    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB02")
    assert code == 0, out
    kept = environment.versions()
    assert len(kept) == 1 and set(kept.items()) < set(before.items())
    assert environment.library() == (THIRTEEN if "nvidia-nccl-cu13" in kept else TWELVE)
    assert environment.findings() == {}

    code, out = environment.cuready("fix", "--undo", "--yes")
    assert code == 0, out
    assert environment.versions() == before


def test_what_the_user_did_after_the_repair_is_not_undone(
    environment: Environment, tmp_path: Path
) -> None:
    """Neither a later install nor an upgrade of what the repair only put back."""
    wheel(tmp_path / "wheels", "nvidia-nccl-cu13", "2.27.0", {LIBRARY: THIRTEEN[:-5]})
    wheel(tmp_path / "wheels", "nccl-later", "1.0", {"later.py": b""})
    environment.pip("install", "nvidia-nccl-cu13==2.27.0")
    next(environment.root.glob(f"venv/lib/python3*/site-packages/{LIBRARY}")).unlink()
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 0, out
    assert environment.library() == THIRTEEN[:-5]
    environment.pip("install", "--upgrade", "nvidia-nccl-cu13", "nccl-later")
    kept = {"nvidia-nccl-cu13": "2.28.3", "nccl-later": "1.0"}
    assert environment.versions() == kept
    code, out = environment.cuready("fix", "--undo", "--yes")
    assert code == 0, out
    assert environment.versions() == kept
    code, _ = environment.cuready("fix", "--undo", "--yes")
    assert code == 2  # it was undone already


def test_what_the_repair_removed_and_the_user_brought_back_is_left(
    environment: Environment, tmp_path: Path
) -> None:
    wheel(tmp_path / "wheels", "nccl-later", "1.0", {"later.py": b""})
    environment.pip("install", "nvidia-nccl-cu12")
    environment.pip("install", "nvidia-nccl-cu13")
    before = environment.versions()
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB02")
    assert code == 0, out
    (gone,) = set(before) - set(environment.versions())
    wheel(tmp_path / "wheels", gone, "2.29.0", {LIBRARY: b"another"})
    environment.pip("install", gone, "nccl-later")
    changed = environment.versions()

    code, out = environment.cuready("fix", "--undo", "--yes", "--format", "json")
    assert code == 0, out
    document = json.loads(out)
    assert document["steps"] == [] and document["restored"] is True
    (line,) = document["left"]
    assert line.startswith(f"{gone}: ") and line.endswith("changed again since: 2.29.0 now")
    assert environment.versions() == changed == {**before, gone: "2.29.0", "nccl-later": "1.0"}


def test_a_step_that_fails_ends_the_repair_and_says_so(environment: Environment) -> None:
    environment.pip("install", "nvidia-nccl-cu12", "nvidia-nccl-cu13")
    environment.pip("uninstall", "-y", "nvidia-nccl-cu12")
    for path in environment.root.glob("wheels/*"):
        path.unlink()
    code, out = environment.cuready(
        "fix", "--apply", "--yes", "--format", "json", "--only", "LIB01"
    )
    assert code == 1
    assert '"failed"' in out
    assert set(environment.findings()) == {"LIB01"}

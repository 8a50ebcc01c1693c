"""`cuready fix` on real environments: found, repaired by their own pip or uv, and undone."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
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
    """A venv that installs from a folder of wheels and from nowhere else.

    One of ``uv`` has no pip in it.
    """

    root: Path
    manager: str
    variables: dict[str, str]

    @property
    def python(self) -> str:
        return str(self.root / "venv/bin/python")

    def _installer(self, *arguments: str) -> list[str]:
        if self.manager == "uv":
            return ["uv", "pip", *arguments, "--python", self.python]
        return [self.python, "-m", "pip", *arguments]

    def install(self, *arguments: str) -> None:
        self._run(self._installer("install", *arguments))

    def uninstall(self, name: str) -> None:
        self._run(self._installer("uninstall", *(["-y"] if self.manager == "pip" else []), name))

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, env=self.variables, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

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
        listed = json.loads(self._run(self._installer("list", "--format", "json")))
        return {item["name"]: item["version"] for item in listed if "nccl" in item["name"]}


def uv() -> str:
    """The uv of the test's own environment, by whatever path it is installed."""
    from uv import find_uv_bin

    return find_uv_bin()


def path_with_uv(folder: Path) -> str:
    """A PATH on which uv is found, whether or not it is on ours."""
    folder.mkdir()
    (folder / "uv").symlink_to(uv())
    return os.pathsep.join((str(folder), os.environ["PATH"]))


def path_without_uv() -> str:
    folders = os.environ["PATH"].split(os.pathsep)
    return os.pathsep.join(item for item in folders if not shutil.which("uv", path=item))


@pytest.fixture(params=["pip", "uv"])
def environment(request: pytest.FixtureRequest, tmp_path: Path) -> Environment:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "nvidia-nccl-cu12", "2.27.3", {LIBRARY: TWELVE})
    wheel(wheels, "nvidia-nccl-cu13", "2.28.3", {LIBRARY: THIRTEEN})
    config = tmp_path / "uv.toml"
    config.write_text(f'no-index = true\nfind-links = ["{wheels}"]\n')
    make = [sys.executable, "-m", "venv"] if request.param == "pip" else [uv(), "venv", "-q"]
    if request.param == "uv":
        make += ["--python", sys.executable, "--no-config"]
    subprocess.run([*make, str(tmp_path / "venv")], check=True, timeout=120)
    variables = {
        **os.environ,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONFIG_FILE": os.devnull,
        "UV_CONFIG_FILE": str(config),
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    variables.pop("PYTHONPATH", None)  # its packages, pip perhaps, would be the venv's as well
    if request.param == "uv":
        variables["PATH"] = path_with_uv(tmp_path / "bin")
    return Environment(tmp_path, request.param, variables)


def test_files_that_a_twin_took_along_come_back(environment: Environment) -> None:
    environment.install("nvidia-nccl-cu12", "nvidia-nccl-cu13")
    environment.uninstall("nvidia-nccl-cu12")
    assert environment.library() is None
    assert set(environment.findings()) == {"LIB01"}
    code, out = environment.cuready("fix")
    assert code == 1 and "nvidia-nccl-cu13==2.28.3" in out
    assert ("$ uv pip install" in out) == (environment.manager == "uv")
    assert environment.library() is None  # a plan changes nothing

    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 0, out
    assert environment.library() == THIRTEEN
    assert environment.findings() == {}
    code, _ = environment.cuready("fix")
    assert code == 0


def test_a_twin_that_was_removed_comes_back_with_undo(environment: Environment) -> None:
    environment.install("nvidia-nccl-cu12")
    environment.install("nvidia-nccl-cu13")
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
    environment.install("nvidia-nccl-cu13==2.27.0")
    next(environment.root.glob(f"venv/lib/python3*/site-packages/{LIBRARY}")).unlink()
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 0, out
    assert environment.library() == THIRTEEN[:-5]
    environment.install("--upgrade", "nvidia-nccl-cu13", "nccl-later")
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
    environment.install("nvidia-nccl-cu12")
    environment.install("nvidia-nccl-cu13")
    before = environment.versions()
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB02")
    assert code == 0, out
    (gone,) = set(before) - set(environment.versions())
    wheel(tmp_path / "wheels", gone, "2.29.0", {LIBRARY: b"another"})
    environment.install(gone, "nccl-later")
    changed = environment.versions()

    code, out = environment.cuready("fix", "--undo", "--yes", "--format", "json")
    assert code == 0, out
    document = json.loads(out)
    assert document["steps"] == [] and document["restored"] is True
    (line,) = document["left"]
    assert line.startswith(f"{gone}: ") and line.endswith("changed again since: 2.29.0 now")
    assert environment.versions() == changed == {**before, gone: "2.29.0", "nccl-later": "1.0"}


def test_a_step_that_fails_ends_the_repair_and_says_so(environment: Environment) -> None:
    environment.install("nvidia-nccl-cu12", "nvidia-nccl-cu13")
    environment.uninstall("nvidia-nccl-cu12")
    for path in environment.root.glob("wheels/*"):
        path.unlink()
    code, out = environment.cuready(
        "fix", "--apply", "--yes", "--format", "json", "--only", "LIB01"
    )
    assert code == 1
    assert '"failed"' in out
    assert set(environment.findings()) == {"LIB01"}


@pytest.mark.parametrize("environment", ["uv"], indirect=True)
def test_without_uv_the_plan_says_what_to_do_and_nothing_is_run(environment: Environment) -> None:
    environment.install("nvidia-nccl-cu12", "nvidia-nccl-cu13")
    environment.uninstall("nvidia-nccl-cu12")
    environment.variables["PATH"] = path_without_uv()
    code, out = environment.cuready("fix", "--only", "LIB01")
    assert code == 1
    told, command, _, end = out.splitlines()
    assert "yours to run: uv is not on PATH: put it there or install it (https://" in told
    assert command.startswith("   $ uv pip install --python ")
    assert end == "Nothing was changed. Every step is yours to run."

    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 1
    assert "manual  uv pip install" in out and "uv is not on PATH" in out
    assert environment.library() is None
    code, _ = environment.cuready("fix", "--undo", "--yes")
    assert code == 2  # nothing was begun


@pytest.mark.parametrize("environment", ["uv"], indirect=True)
def test_without_uv_the_pip_of_the_environment_does_it(
    environment: Environment, tmp_path: Path
) -> None:
    """As in `uv venv --seed`: both read and write the same records."""
    environment.install("nvidia-nccl-cu12")
    environment.install("nvidia-nccl-cu13")
    before = environment.versions()
    subprocess.run(
        [environment.python, "-m", "ensurepip"], check=True, timeout=120, capture_output=True
    )
    with_uv = environment.variables["PATH"]
    environment.variables["PATH"] = path_without_uv()
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB02")
    assert code == 0, out
    environment.variables["PATH"] = with_uv
    assert len(environment.versions()) == 1
    environment.variables["PATH"] = path_without_uv()
    code, out = environment.cuready("fix", "--undo", "--yes")
    assert code == 0, out
    environment.variables["PATH"] = with_uv
    assert environment.versions() == before


@pytest.mark.network
def test_a_real_wheel_comes_back_through_uv(tmp_path: Path) -> None:
    environment = Environment(
        tmp_path,
        "uv",
        {
            **os.environ,
            "PATH": path_with_uv(tmp_path / "bin"),
            "XDG_STATE_HOME": str(tmp_path / "state"),
        },
    )
    subprocess.run(
        [uv(), "venv", "-q", "--python", sys.executable, str(tmp_path / "venv")],
        check=True,
        timeout=120,
    )
    environment.install("nvidia-nvtx-cu12==12.4.127")
    (library,) = tmp_path.glob("venv/lib/python3*/site-packages/nvidia/nvtx/lib/*.so*")
    library.unlink()
    assert set(environment.findings()) == {"LIB01"}
    code, out = environment.cuready("fix", "--apply", "--yes", "--only", "LIB01")
    assert code == 0, out
    assert library.stat().st_size > 0
    assert environment.findings() == {}
    environment.install("six")
    code, out = environment.cuready("fix", "--undo", "--yes")
    assert code == 0, out
    assert library.exists()
    assert list(tmp_path.glob("venv/lib/python3*/site-packages/six.py"))

"""Builds the simulated libraries with CMake, once for each state of their sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "cpp" / "tests" / "sim"
ABI = ROOT / "tests" / "data" / "tensorrt" / "abi.json"


@dataclass(frozen=True)
class SimLibraries:
    """Where the simulated libraries are."""

    folder: Path

    @property
    def driver(self) -> Path:
        """The simulated libcuda.so.1."""
        return self.folder / "libcuda.so.1"

    @property
    def releases(self) -> tuple[str, ...]:
        """The TensorRT releases that were built, oldest first: ``("8.5", "8.6", "10.0", ...)``."""
        names = [path.name.removeprefix("trt-") for path in self.folder.glob("trt-*")]
        return tuple(sorted(names, key=lambda name: tuple(map(int, name.split(".")))))

    def tensorrt(self, release: str = "10.6", kind: str = "full") -> Path:
        """The library of a release ("10.6"); ``kind`` is full, lean or dispatch."""
        major = release.split(".", maxsplit=1)[0]
        suffix = "" if kind == "full" else f"_{kind}"
        return self.folder / f"trt-{release}" / f"libnvinfer{suffix}.so.{major}"

    def plugin(self, release: str = "10.6") -> Path:
        """A plugin library of a user's own: registers MyPlugin, version 2, namespace "mine"."""
        return self.folder / f"trt-{release}" / "libmyplugin.so"

    def environment(self, release: str = "10.6", **more: str) -> dict[str, str]:
        """Environment for a process that shall see a simulated GPU and this TensorRT."""
        return {
            **os.environ,
            "CUREADY_LIBCUDA": str(self.driver),
            "CUREADY_TENSORRT": str(self.tensorrt(release)),
            **more,
        }


def _digest() -> str:
    state = hashlib.sha256()
    for path in sorted(p for p in SOURCES.rglob("*") if p.is_file()):
        state.update(str(path.relative_to(SOURCES)).encode() + b"\0" + path.read_bytes())
    state.update(ABI.read_bytes())
    return state.hexdigest()[:16]


def _tool(name: str) -> str:
    """A build tool from PATH, or from the environment that runs the tests (pip's cmake, ninja)."""
    beside = Path(sys.executable).parent / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        message = f"the simulated libraries need {name}: pip install {name}"
        raise FileNotFoundError(message)
    return found


def build() -> SimLibraries:
    """The simulated libraries: those of $CUREADY_SIM_DIR, else built in the cache (half a minute).

    Raises ``FileNotFoundError`` when a build tool is missing and ``AssertionError`` with the
    compiler's words when the build fails.
    """
    if given := os.environ.get("CUREADY_SIM_DIR"):
        return SimLibraries(Path(given).resolve())
    cache = Path(os.environ.get("CUREADY_TEST_CACHE") or user_cache_path("cuready-tests"))
    target = cache / "sim" / _digest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        done = target / "built"
        if not done.exists():
            shutil.rmtree(target, ignore_errors=True)
            configure = [_tool("cmake"), "-S", str(SOURCES), "-B", str(target), "-G", "Ninja",
                         f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
                         f"-DPython3_EXECUTABLE={sys.executable}",
                         "-DCMAKE_BUILD_TYPE=Release"]  # fmt: skip
            for command in (configure, [_tool("cmake"), "--build", str(target), "-j", "2"]):
                result = subprocess.run(
                    command, capture_output=True, text=True, timeout=900, check=False
                )
                assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
            done.touch()
    return SimLibraries(target / "sim")

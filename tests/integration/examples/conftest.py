"""What the examples need: the simulated GPU and TensorRT, plans for them, and compiled programs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from filelock import FileLock
from runtime_sim import SimLibraries, build, plans
from tests.conftest import DOWNLOADS
from tests.integration.examples.interpreters import ask

import cuready
import cuready.runtime as rt

PYSIDE = ("PySide6-Essentials==6.8.3", "shiboken6==6.8.3")
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
Completed = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def examples() -> Path:
    return EXAMPLES


@pytest.fixture(scope="session")
def libraries() -> SimLibraries:
    return build()


@pytest.fixture
def simulated(libraries: SimLibraries) -> dict[str, str]:
    """Environment of a process with a simulated GPU, TensorRT 10.6, and this cuready."""
    package = str(Path(cuready.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return libraries.environment("10.6", PYTHONPATH=os.pathsep.join(paths), CUREADY_SIM_VERBOSE="1")


@pytest.fixture
def affine_plan(tmp_path: Path) -> Path:
    """y = 2x + 1 over (batch, 4) floats, batch 1 to 8."""
    path = tmp_path / "affine.plan"
    path.write_bytes(plans.affine())
    return path


@pytest.fixture
def run() -> Callable[..., Completed]:
    """Runs a program away from the repository and returns what it said."""

    def run_program(
        command: Iterable[str | Path], env: dict[str, str], cwd: Path, timeout: float = 60
    ) -> Completed:
        return subprocess.run(
            [str(part) for part in command],
            env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return run_program


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``compiled("cpp_pool")``: the program of that example, built once, as a user would build it.

    The sources are copied away first, so that only the installed package can be found: that of
    $cuready_DIR (CMake's own variable) where it is set, else that of the running cuready.
    """
    built: dict[str, Path] = {}
    package = os.environ.get("cuready_DIR") or str(rt.cmake_dir())  # noqa: SIM112  # CMake's name
    beside = Path(sys.executable).parent
    path = os.pathsep.join([str(beside), os.environ["PATH"]])

    def build_example(name: str) -> Path:
        if name in built:
            return built[name]
        folder = tmp_path_factory.mktemp(name)
        for source in sorted((EXAMPLES / name).iterdir()):
            (folder / source.name).write_bytes(source.read_bytes())
        configure = ["cmake", "-S", ".", "-B", "build", "-G", "Ninja", f"-Dcuready_DIR={package}",
                     "-DCMAKE_BUILD_TYPE=Release",
                     "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Wpedantic -Werror"]  # fmt: skip
        for command in (configure, ["cmake", "--build", "build"]):
            done = subprocess.run(
                command, cwd=folder, env={**os.environ, "PATH": path},
                capture_output=True, text=True, timeout=240, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        built[name] = folder / "build" / name
        return built[name]

    return build_example


@pytest.fixture(scope="session")
def pyside() -> Path:
    """A folder with PySide6, installed once per machine: 100 MB that no other test needs."""
    folder = DOWNLOADS / "pyside" / f"{PYSIDE[0].partition('==')[2]}-{sys.implementation.cache_tag}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.is_dir():
            part = Path(f"{folder}.part")
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile",
                 "--only-binary=:all:", "--upgrade", "--target", part, *PYSIDE],
                capture_output=True, text=True, timeout=280, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"pip could not install {PYSIDE}:\n{done.stderr}"
            part.rename(folder)
    return folder


@pytest.fixture(scope="session")
def torch_python() -> str:
    python = os.environ.get("CUREADY_TORCH_PYTHON", "/usr/bin/python3")
    if ask(python, "import torch") is None:
        if "CUREADY_TORCH_PYTHON" in os.environ:
            pytest.fail(f"CUREADY_TORCH_PYTHON={python} cannot import torch")
        pytest.skip(f"{python} has no torch: apt install python3-torch, or CUREADY_TORCH_PYTHON")
    return python

"""The self-test's PTX goes through NVIDIA's own assembler for every generation of GPUs."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import cuready.selftest

pytestmark = pytest.mark.network
KERNELS = Path(cuready.selftest.__file__).parent / "data" / "kernels"
TARGETS = {
    "base": (50, 61, 70, 75, 80, 90, 100, 120),
    "half": (53, 61, 75, 80, 90, 120),
    "tensor_sm70": (70, 75),
    "tensor_sm80": (80, 86, 89, 90, 100, 120),
}


@pytest.fixture
def ptxas(pypi_unpacked: Callable[..., Path]) -> Path:
    site = pypi_unpacked("nvidia-cuda-nvcc-cu12==12.9.86")
    tool = next(site.rglob("ptxas"))
    tool.chmod(0o755)
    return tool


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_kernels_assemble_without_spills(ptxas: Path, tmp_path: Path, name: str) -> None:
    for target in TARGETS[name]:
        done = subprocess.run(
            [ptxas, "-v", f"-arch=sm_{target}", KERNELS / f"{name}.ptx", "-o", tmp_path / "out.cubin"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert all(
            line.split()[0] == "0" for line in done.stderr.splitlines() if "bytes stack" in line
        )


def test_kernels_ask_for_no_newer_driver_than_cuda_11() -> None:
    """PTX ISA 7.0 came with CUDA 11.0: https://docs.nvidia.com/cuda/parallel-thread-execution/#release-notes"""
    for path in KERNELS.glob("*.ptx"):
        version = next(
            line.split()[1] for line in path.read_text().splitlines() if line.startswith(".version")
        )
        assert tuple(map(int, version.split("."))) <= (7, 0)

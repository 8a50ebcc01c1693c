"""The same proof on libraries as their vendors ship them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .workshop import Case, predicted, really

Unpacked = Callable[..., Path]

CUDART = "nvidia-cuda-runtime-cu12==12.9.79"
NVTX = "nvidia-nvtx-cu12==12.9.79"

REAL = [
    ("torchaudio==2.11.0", "torchaudio/lib/_torchaudio.abi3.so", "libc10.so"),
    ("torchaudio==2.11.0", "torchaudio/lib/torchaudio_prefixctc.abi3.so", "libc10.so"),
    ("torchvision==0.29.2", "torchvision/_C_stable.so", ".so"),
    ("torchvision==0.29.2", "torchvision/image_stable.so", ".so"),
    ("tensorrt-cu12-bindings==11.4.0.106", "tensorrt_bindings/tensorrt.so", "libnvonnxparser"),
    ("nvidia-cufile-cu12==1.14.1.1", "nvidia/cufile/lib/libcufile_rdma.so.1", "libmlx5"),
    ("nvidia-cuda-cupti-cu12==12.8.90", "nvidia/cuda_cupti/lib/libpcsamplingutil.so", None),
    ("nvidia-cuda-cupti-cu12==12.8.90", "nvidia/cuda_cupti/lib/libcupti.so.12", None),
    (CUDART, "nvidia/cuda_runtime/lib/libcudart.so.12", None),
    (NVTX, "nvidia/nvtx/lib/libnvtx3interop.so.1", None),
]


@pytest.mark.network
@pytest.mark.parametrize(("requirement", "file", "missing"), REAL, ids=lambda v: str(v)[-30:])
def test_a_vendor_library_loads_or_fails_as_predicted(
    requirement: str, file: str, missing: str | None, pypi_unpacked: Unpacked
) -> None:
    case = Case([("ctypes", pypi_unpacked(requirement, "3.11") / file)])
    answer = really(case)
    assert (answer is None) == (missing is None)
    assert missing is None or (answer is not None and missing in answer)
    assert predicted(case) == answer


@pytest.mark.network
def test_numpy_without_its_own_libraries(pypi_unpacked: Unpacked, tmp_path: Path) -> None:
    shutil.copytree(pypi_unpacked("numpy==2.2.6", "3.11"), tmp_path / "site")
    shutil.rmtree(tmp_path / "site/numpy.libs")
    (library,) = (tmp_path / "site/numpy/_core").glob("_multiarray_umath*.so")
    case = Case([("ctypes", library)])
    answer = really(case)
    assert answer is not None and "openblas" in answer
    assert predicted(case) == answer


@pytest.mark.network
@pytest.mark.parametrize("share", [0.02, 0.2, 0.6, 0.95])
def test_a_vendor_library_cut_short(share: float, pypi_unpacked: Unpacked, tmp_path: Path) -> None:
    library = pypi_unpacked(CUDART, "3.11") / "nvidia/cuda_runtime/lib/libcudart.so.12"
    data = library.read_bytes()
    (tmp_path / "libcudart.so.12").write_bytes(data[: int(len(data) * share)])
    case = Case([("ctypes", tmp_path / "libcudart.so.12")])
    assert predicted(case) == really(case) == "Bus error"


@pytest.mark.network
def test_an_html_page_saved_as_a_vendor_library(pypi_unpacked: Unpacked, tmp_path: Path) -> None:
    source = pypi_unpacked("nvidia-cuda-cupti-cu12==12.8.90", "3.11") / "nvidia/cuda_cupti/lib"
    shutil.copytree(source, tmp_path / "lib")
    (tmp_path / "lib/libcupti.so.12").write_text("<!DOCTYPE html><title>403</title>" * 9)
    case = Case([("ctypes", "libcupti.so.12")], env={"LD_LIBRARY_PATH": str(tmp_path / "lib")})
    assert predicted(case) == really(case) == f"{tmp_path}/lib/libcupti.so.12: invalid ELF header"

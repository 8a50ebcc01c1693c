"""NVIDIA's own libraries from PyPI, without a GPU: found, loaded, versioned, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cuready.runtime as rt
from cuready.errors import EngineVersionError, LibraryNotFound, UnsupportedLibrary

pytestmark = pytest.mark.network

LEAN = {
    "10.16.1.11": "tensorrt-lean-cu13-libs==10.16.1.11",
    "11.4.0.106": "tensorrt-lean-cu13-libs==11.4.0.106",
}
ENGINES = Path(__file__).parents[1] / "data" / "engines"
Unpacked = Callable[..., Path]


def in_child(program: str, *arguments: str, **environment: str) -> dict[str, object]:
    """Runs Python in a process of its own: a vendor library that crashes must not take us along."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("version", LEAN)
def test_a_lean_wheel_is_found_loaded_and_versioned(
    version: str, pypi_unpacked: Unpacked, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = pypi_unpacked(LEAN[version])
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.delenv("CUREADY_TENSORRT", raising=False)
    found = rt.find_libraries(kind="lean")
    assert found, "the wheel on sys.path was not found"
    first = found[0]
    assert first.kind == "lean"
    assert Path(first.path).is_relative_to(site)
    assert "tensorrt_lean_libs" in first.found_by
    library = rt.load(kind="lean", major=int(version.split(".", maxsplit=1)[0]))
    assert str(library.version) == version
    assert library.kind == "lean"


CREATE_RUNTIME = """
import json, sys
import cuready.runtime as rt
from cuready.errors import CureadyError
try:
    rt.Runtime(sys.argv[1])
    answer = {"type": None}
except CureadyError as error:
    answer = {"type": type(error).__name__, "message": str(error), "words": error.messages,
              "hint": error.hint, "details": error.details}
print(json.dumps(answer))
"""


@pytest.mark.parametrize("version", LEAN)
def test_without_a_gpu_a_runtime_fails_with_tensorrt_s_own_words(
    version: str, pypi_unpacked: Unpacked
) -> None:
    """NVIDIA's own Python binding crashes the interpreter here; ours raises."""
    folder = pypi_unpacked(LEAN[version]) / "tensorrt_lean_libs"
    answer = in_child(
        CREATE_RUNTIME, str(folder), CUREADY_LIBCUDA="", CUDA_VISIBLE_DEVICES="",
    )  # fmt: skip
    assert answer["type"] in {"DriverNotFound", "CudaError"}
    words = " ".join(map(str, answer["words"]))  # type: ignore[call-overload]
    assert "CUDA initialization failure with error" in words
    assert answer["hint"]


@pytest.mark.parametrize("version", LEAN)
def test_an_older_plan_is_refused_by_its_header_before_any_gpu_work(
    version: str, pypi_unpacked: Unpacked
) -> None:
    library = rt.load(pypi_unpacked(LEAN[version]) / "tensorrt_lean_libs")
    plan = rt.probe(ENGINES / "8.6" / "affine_native.plan")
    with pytest.raises(EngineVersionError) as caught:
        library.check_plan(plan)
    assert "8.6.0" in str(caught.value)
    assert ".".join(version.split(".")[:2]) in str(caught.value)


@pytest.mark.parametrize("release", ["8.6", "10.6"])
def test_every_real_plan_s_header_is_read(release: str) -> None:
    for path in sorted((ENGINES / release).glob("*.plan")):
        info = rt.probe(path)
        assert info.kind == "tensorrt"
        assert info.built_by is not None
        assert f"{info.built_by.major}.{info.built_by.minor}" == release
        assert info.size == path.stat().st_size
        assert not info.truncated
        cut = rt.probe(path.read_bytes()[:-1])
        assert cut.truncated


def test_both_majors_live_in_one_process(pypi_unpacked: Unpacked) -> None:
    opened = [rt.load(pypi_unpacked(wheel) / "tensorrt_lean_libs") for wheel in LEAN.values()]
    assert [str(library.version) for library in opened] == list(LEAN)
    again = rt.load(opened[0].path)
    assert again.path == opened[0].path


def test_tensorrt_rtx_is_another_product(pypi_unpacked: Unpacked) -> None:
    site = pypi_unpacked("tensorrt-rtx-cu13-libs==1.4.0.76")
    library = site / "tensorrt_rtx_libs" / "libtensorrt_rtx.so.1"
    with pytest.raises(UnsupportedLibrary, match="RTX"):
        rt.load(library)


def test_a_folder_without_a_library_says_so(tmp_path: Path) -> None:
    with pytest.raises(LibraryNotFound) as caught:
        rt.load(tmp_path)
    assert str(tmp_path) in str(caught.value) + " ".join(caught.value.details["searched"])

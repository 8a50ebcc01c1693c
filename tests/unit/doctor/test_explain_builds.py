"""What installers and packages print when a build does not fit: the message shows which cause it is."""

from __future__ import annotations

import pytest

from cuready.doctor.explain import explain_text

NOT_FOUND = "ERROR: Could not find a version that satisfies the requirement"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"{NOT_FOUND} torch==1.12.0 (from versions: 1.13.0, 1.13.1, 2.0.0, 2.3.1)\n"
         "ERROR: No matching distribution found for torch==1.12.0", "pip-only-newer"),
        (f"{NOT_FOUND} torch==2.1.2+cu118 (from versions: 2.2.0, 2.2.0+cu118, 2.2.1)",
         "pip-only-newer"),
        (f"{NOT_FOUND} torch==2.5.1 (from versions: 1.11.0, 1.12.0, 1.13.1, 2.0.0, 2.4.1)",
         "pip-only-older"),
        (f"{NOT_FOUND} torch==2.3.0 (from versions: 1.7.1, 2.2.0, 2.2.1, 2.2.2)\n"
         "ERROR: No matching distribution found for torch==2.3.0", "pip-torch-intel-mac"),
        (f"{NOT_FOUND} torch>=2.4.1 (from versions: 2.2.0, 2.2.1, 2.2.2)", "pip-torch-intel-mac"),
        (f"{NOT_FOUND} torch==2.2.1 (from versions: 2.1.0, 2.2.0, 2.2.2)", "pip-no-such-version"),
        (f"{NOT_FOUND} torch==0.3.1 (from versions: 0.1.2, 0.1.2.post1)", "pip-torch-placeholder"),
        (f"{NOT_FOUND} torch==1.0.1.post2 (from -r requirements.txt (line 6)) (from versions: "
         "0.1.2, 0.1.2.post1, 0.1.2.post2)", "pip-torch-placeholder"),
        (f"{NOT_FOUND} torch==1.9.1+cu111 (from versions: 0.1.2, 0.1.2.post1, 0.1.2.post2)",
         "pip-torch-placeholder"),
        (f"{NOT_FOUND} torch==1.12.1+cu113 (from versions: 1.7.1, 1.8.0, 2.1.0)",
         "pip-local-version"),
        ("ERROR: Ignored the following versions that require a different python version: 1.17.0 "
         "Requires-Python >=3.11; 1.18.0 Requires-Python >=3.12\n"
         f"{NOT_FOUND} scipy==1.18.0 (from versions: 0.8.0, 1.16.3)\n"
         "ERROR: No matching distribution found for scipy==1.18.0", "pip-other-python"),
        (f"{NOT_FOUND} torch (from versions: none)\n"
         "ERROR: No matching distribution found for torch", "net-pip-none"),
        ("ERROR: No matching distribution found for torch==2.0.0", "pip-no-match"),
        ("error: Distribution `torch==2.8.0 @ registry+https://pypi.org/simple` can't be installed "
         "because it doesn't have a source distribution or wheel for the current platform\n\n"
         "hint: You're using CPython 3.14 (`cp314`), but `torch` (v2.8.0) only has wheels with the "
         "following Python ABI tags: `cp312`, `cp313`, `cp313t`", "uv-other-python"),
        ("error: Distribution `torch==2.6.0 @ registry+https://pypi.org/simple` can't be installed "
         "because it doesn't have a source distribution or wheel for the current platform\n\n"
         "hint: You're on macOS (`macosx_14_0_x86_64`), but `torch` (v2.6.0) only has wheels for "
         "the following platforms: `manylinux1_x86_64`", "uv-other-platform"),
        ("error: Distribution `torch==2.5.1 @ registry+https://pypi.org/simple` can't be installed "
         "because it doesn't have a source distribution or wheel for the current platform",
         "uv-no-wheel"),
    ],
)  # fmt: skip
def test_an_installer_that_finds_no_wheel_shows_why(text: str, wanted: str) -> None:
    assert [item.id for item in explain_text(text)] == [wanted]


def test_the_pythons_of_a_release_that_pip_left_out_are_told() -> None:
    text = (
        "ERROR: Ignored the following versions that require a different python version: 1.21.2 "
        "Requires-Python >=3.7,<3.11; 1.21.3 Requires-Python >=3.7,<3.11\n"
        f"{NOT_FOUND} numpy==1.21.3 (from versions: 1.3.0, 1.21.1, 1.22.0)\n"
    )
    (answer,) = explain_text(text)
    told = {"package": "numpy", "wanted": "1.21.3", "python": ">=3.7,<3.11"}
    assert (answer.id, answer.details) == ("pip-other-python", told)


def test_versions_that_another_package_needs_say_nothing_of_this_one() -> None:
    """pip lists what it skipped of every package; none of these is the numba that was wanted."""
    text = (
        "ERROR: Ignored the following versions that require a different python version: 1.21.2 "
        f"Requires-Python >=3.7,<3.11\n{NOT_FOUND} torch==2.1.2 (from versions: 2.2.0, 2.2.1)"
    )
    assert [item.id for item in explain_text(text)] == ["pip-only-newer"]


XFORMERS = "WARNING[XFORMERS]: xFormers can't load C++/CUDA extensions. xFormers was built for:\n"


@pytest.mark.parametrize(
    ("built", "have", "wanted"),
    [
        ("2.2.0+cu121 with CUDA 1201", "2.2.0+cpu", "PY01"),
        ("2.4.0+cu121 with CUDA 1201", "2.3.1+cu121", "LIB08"),
        ("2.1.0+cu121 with CUDA 1201", "2.1.0+cu118", "LIB08"),
        ("2.0.1 with CUDA 1106", "2.0.1", "xformers-same-torch"),
        ("2.6.0+cu118 with CUDA 1107", "2.6.0+cu118", "xformers-same-torch"),
    ],
)
def test_xformers_names_the_torch_that_it_was_built_for(built: str, have: str, wanted: str) -> None:
    text = (
        f"{XFORMERS}    PyTorch {built} (you have {have})\n    Python  3.10.14 (you have 3.10.12)"
    )
    assert [item.id for item in explain_text(text)] == [wanted]


def test_apex_refuses_another_minor_too() -> None:
    text = (
        "RuntimeError: Cuda extensions are being compiled with a version of Cuda that does not "
        "match the version used to compile Pytorch binaries.  Pytorch binaries were compiled with "
        "Cuda 10.2."
    )
    (answer,) = explain_text(text)
    assert (answer.id, answer.details) == ("apex-cuda-version", {"torch": "10.2"})


def test_tensorflow_means_libcudart_when_it_says_drivers() -> None:
    text = (
        "2025-10-28 19:39:53.892312: I external/local_xla/xla/tsl/cuda/cudart_stub.cc:31] Could not "
        "find cuda drivers on your machine, GPU will not be used.\n"
    )
    (answer,) = explain_text(text)
    assert answer.id == "PY20" and "libcudart" in answer.cause
    real = "AssertionError: Torch not compiled with CUDA enabled"
    assert explain_text(text + real)[0].id == "PY01", "it is only what TensorFlow says on its way"


NO_NVINFER = "libnvinfer.so.8: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"Failed to load library libonnxruntime_providers_tensorrt.so with error: {NO_NVINFER}",
         "TRT03"),
        (f"    from .tensorrt import *\nImportError: {NO_NVINFER}", "tensorrt-libraries"),
        (f"./trtexec: error while loading shared libraries: {NO_NVINFER}", "tensorrt-libraries"),
        (f"Could not load dynamic library 'libnvinfer.so.8'; dlerror: {NO_NVINFER}",
         "tf-without-tensorrt"),
    ],
)  # fmt: skip
def test_onnxruntime_is_named_only_where_it_spoke(text: str, wanted: str) -> None:
    (answer,) = explain_text(text)
    assert answer.id == wanted
    told = f"{answer.title} {answer.cause} {' '.join(answer.fix)}"
    assert ("ONNX Runtime" in told) == (wanted == "TRT03")

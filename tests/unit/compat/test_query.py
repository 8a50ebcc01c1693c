"""What fits a driver, a GPU and a Python, for each package of the tables."""

from __future__ import annotations

import pytest
from packaging.version import Version

from cuready.compat.capability import parse_capability
from cuready.compat.packages import PACKAGES, builds_of
from cuready.compat.query import Judged, Question, judge, newest_per_release, package_name
from cuready.compat.tables import as_of, table
from cuready.compat.torch import build_of, pair_of, release_of
from cuready.compat.verdict import Verdict, combine, no, unknown, yes
from cuready.errors import CompatError

PLATFORMS = ("linux_x86_64", "linux_aarch64", "win_amd64")


def newest(
    package: str, driver: str | None = None, gpu: str | None = None, **more: object
) -> Judged:
    question = Question(
        Version(driver) if driver else None,
        parse_capability(gpu) if gpu else None,
        **more,  # type: ignore[arg-type]
    )
    return next(i for i in newest_per_release(list(judge(package, question))) if i.answer.ok)


@pytest.mark.parametrize(
    ("package", "driver", "gpu", "version", "variant"),
    [
        ("torch", "470.57", "8.6", "2.7.1", "cu118"),
        ("torch", "535.104", "8.6", "2.14.1", "cu126"),
        ("torch", "580.95.05", "6.1", "2.14.1", "cu126"),
        ("torch", "580.95.05", "12.0", "2.15.0", "cu132"),
        ("torch", "470.256", "3.7", "2.3.1", "cu118"),
        ("tensorflow", "470.57", "8.6", "2.11.1", ""),
        ("jax", "535.104", "8.6", "0.12.0.1", "jax-cuda12-plugin"),
        ("onnxruntime", "535.104", "8.6", "1.26.0", ""),
        ("onnxruntime", "580.95.05", "6.1", "1.26.0", ""),
        ("tensorrt", "535.104", "8.6", "11.4.0.106", "tensorrt-cu12"),
        ("tensorrt", "580.95.05", "7.0", "10.4.0", "tensorrt-cu12"),
        ("cudnn", "580.95.05", "6.1", "9.10.2.21", "nvidia-cudnn-cu12"),
        ("cuda", "535.104", "6.1", "12.9.1", ""),
        ("cuda", "580.95.05", "8.6", "13.5.0", ""),
    ],
)
def test_newest_build(package: str, driver: str, gpu: str, version: str, variant: str) -> None:
    found = newest(package, driver, gpu).build
    assert (str(found.version), found.variant) == (version, variant)


def test_torch_whose_cudnn_lacks_the_gpu_does_not_fit() -> None:
    """torch 2.4 to 2.7 cu118 has sm_37 code, and a cuDNN that starts at 5.0."""
    question = Question(Version("470.256"), parse_capability("3.7"))
    for item in judge("torch", question):
        if item.build.variant == "cu118" and Version("2.4") <= item.build.version < Version("2.8"):
            assert item.answer.verdict is Verdict.INCOMPATIBLE
            assert "cuDNN" in item.answer.reason


def test_python_without_a_wheel_does_not_fit() -> None:
    assert str(newest("torch", "535.104", "8.6", python="3.8").build.version) == "2.4.1"
    judged = [i for i in judge("torch", Question(python="2.6")) if i.answer.ok]
    assert judged == []


def test_cuda_filter_by_major_and_minor() -> None:
    assert newest("torch", cuda=Version("12")).build.variant == "cu126"
    assert newest("torch", cuda=Version("12.4")).build.variant == "cu124"


@pytest.mark.parametrize("package", PACKAGES)
def test_gpu_newer_than_the_tables_is_unknown(package: str) -> None:
    verdicts = {
        i.answer.verdict for i in judge(package, Question(capability=parse_capability("19.0")))
    }
    assert Verdict.COMPATIBLE not in verdicts
    assert Verdict.UNKNOWN in verdicts


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("package", PACKAGES)
def test_every_build_has_a_source_and_can_be_asked_for(package: str, platform: str) -> None:
    for build in builds_of(package, platform):
        assert build.source
        assert build.requirements or build.note
        assert build.platforms == () or isinstance(build.platforms[0], str)


def test_aarch64_torch_before_the_default_had_cuda_is_not_offered() -> None:
    versions = {b.version for b in builds_of("torch", "linux_aarch64")}
    assert min(versions) == Version("2.11.0")


def test_windows_torch_always_names_its_index() -> None:
    for build in builds_of("torch", "win_amd64"):
        assert build.index_url or build.find_links


def test_default_index_build_needs_no_index_url_on_linux() -> None:
    build = newest("torch", "580.95.05", "8.6").build
    assert build.index_url is None


def test_platform_outside_the_tables_is_named() -> None:
    with pytest.raises(CompatError, match="'osx_arm64'"):
        list(judge("torch", Question(platform="osx_arm64")))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("pytorch", "torch"), ("TF", "tensorflow"), ("onnxruntime_gpu", "onnxruntime")],
)
def test_aliases(typed: str, meant: str) -> None:
    assert package_name(typed) == meant


def test_unknown_package_gets_a_suggestion() -> None:
    with pytest.raises(CompatError) as caught:
        package_name("troch")
    assert "did you mean 'torch'?" in caught.value.hint


def test_build_of_an_installed_torch() -> None:
    tagged = build_of(Version("2.8.0+cu126"), "12.6")
    assert tagged is not None and tagged.tag == "cu126"
    plain = build_of(Version("2.8.0"), "12.8")
    assert plain is not None and plain.default
    assert build_of(Version("99.0"), "12.8") is None
    assert build_of(Version("2.8.0"), None) is None


def test_pairs_of_torch() -> None:
    assert pair_of(Version("2.8.0+cu128")) == {"torchvision": "0.23.0", "torchaudio": "2.8.0"}
    assert pair_of(Version("99.0")) == {}
    release = release_of(Version("2.8.0"))
    assert release is not None and "3.12" in release.python["linux_x86_64"]


def test_one_no_outweighs_and_one_unknown_taints() -> None:
    assert combine([yes("a"), no("b"), unknown("c")]).verdict is Verdict.INCOMPATIBLE
    assert combine([yes("a"), unknown("c")]).reason == "c"
    assert combine([yes("a", "s"), yes("b", "s")]).source == "s"
    assert combine([]).ok


@pytest.mark.parametrize(
    "name",
    ["cuda_driver", "cudnn", "gpu_arch", "jax", "onnxruntime_gpu", "tensorflow", "tensorrt", "torch_builds",
     "wheels_nvidia", "pci_gpus", "derived"],
)  # fmt: skip
def test_every_table_is_dated(name: str) -> None:
    assert as_of(name).startswith("2026-")


def test_every_row_of_the_tables_has_a_source() -> None:
    for name in (
        "cuda_driver",
        "cudnn",
        "gpu_arch",
        "jax",
        "onnxruntime_gpu",
        "tensorflow",
        "tensorrt",
        "torch_builds",
        "derived",
    ):
        for key, value in table(name).items():
            if isinstance(value, list) and value and isinstance(value[0], dict):
                for row in value:
                    assert row.get("source") or row.get("cc_source"), (name, key, row)

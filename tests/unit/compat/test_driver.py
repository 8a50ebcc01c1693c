"""Driver against CUDA: floors, PTX, forward compatibility, and what the tables cannot know."""

from __future__ import annotations

import pytest
from packaging.version import Version

from cuready.compat import driver as rules
from cuready.compat.capability import parse_capability
from cuready.compat.verdict import Verdict


@pytest.mark.parametrize(
    ("driver", "cuda", "platform", "verdict"),
    [
        ("535.104.05", "12.8", "linux_x86_64", "compatible"),
        ("525.60.13", "12.9", "linux_x86_64", "compatible"),
        ("525.60.12", "12.0", "linux_x86_64", "incompatible"),
        ("525", "12.0", "linux_x86_64", "compatible"),
        ("470.57", "11.8", "linux_x86_64", "compatible"),
        ("470.57", "12.0", "linux_x86_64", "incompatible"),
        ("575.57.08", "13.0", "linux_x86_64", "incompatible"),
        ("580.65.06", "13.4", "linux_x86_64", "compatible"),
        ("450.80.01", "11.0", "linux_x86_64", "incompatible"),
        ("527.41", "12.0", "win_amd64", "incompatible"),
        ("528.33", "12.8", "win_amd64", "compatible"),
        ("418.40", "10.1", "linux_x86_64", "compatible"),
        ("418.38", "10.1", "linux_x86_64", "incompatible"),
        ("999.10", "13.0", "linux_x86_64", "compatible"),
        ("999.10", "14.0", "linux_x86_64", "unknown"),
    ],
)
def test_driver_runs_cuda(driver: str, cuda: str, platform: str, verdict: str) -> None:
    assert rules.runs_cuda(Version(driver), Version(cuda), platform).verdict.value == verdict


@pytest.mark.parametrize(
    ("driver", "cuda", "verdict"),
    [
        ("535.183.01", "12.2", "compatible"),
        ("535.183.01", "12.8", "incompatible"),
        ("570.124.06", "12.8", "compatible"),
        ("570.124.06", "12.9", "incompatible"),
        ("580.95.05", "12.9", "compatible"),
        ("999.1", "13.4", "unknown"),
        ("615.10", "13.9", "unknown"),
    ],
)
def test_ptx_needs_a_driver_of_its_toolkit(driver: str, cuda: str, verdict: str) -> None:
    assert rules.compiles_ptx_of(Version(driver), Version(cuda)).verdict.value == verdict


@pytest.mark.parametrize(
    ("driver", "gpu", "verdict"),
    [
        ("580.95.05", "6.1", "compatible"),
        ("590.48.01", "6.1", "incompatible"),
        ("470.256.02", "3.7", "compatible"),
        ("495.44", "3.7", "incompatible"),
        ("550.54.15", "12.0", "incompatible"),
        ("570.26", "12.0", "compatible"),
        ("615.71.09", "8.9", "compatible"),
        ("720.10", "14.0", "unknown"),
    ],
)
def test_driver_supports_gpu(driver: str, gpu: str, verdict: str) -> None:
    assert rules.runs_gpu(Version(driver), parse_capability(gpu)).verdict.value == verdict


def test_forward_compatibility_is_for_data_centres() -> None:
    old, cuda = Version("535.183.01"), Version("13.0")
    assert rules.forward_compat(old, cuda, data_centre=True).ok
    assert rules.forward_compat(old, cuda, data_centre=False).verdict is Verdict.INCOMPATIBLE
    assert rules.forward_compat(old, cuda, data_centre=None).verdict is Verdict.UNKNOWN


def test_forward_compatibility_has_base_branches() -> None:
    answer = rules.forward_compat(Version("545.23.08"), Version("13.0"), data_centre=True)
    assert answer.verdict is Verdict.INCOMPATIBLE
    assert "cuda-compat-13-0" in answer.reason
    unlisted = rules.forward_compat(Version("535.183.01"), Version("12.5"), data_centre=True)
    assert unlisted.verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("driver", "cuda"),
    [("470.57.02", "11.4"), ("535.183.01", "12.2"), ("580.95.05", "13.0"), ("565.57.01", "12.7")],
)
def test_cuda_that_nvidia_smi_prints(driver: str, cuda: str) -> None:
    assert rules.cuda_of_driver(Version(driver)) == Version(cuda)


def test_drivers_outside_the_tables_have_no_cuda() -> None:
    assert rules.cuda_of_driver(Version("999.1")) is None
    assert rules.cuda_of_driver(Version("340.108")) is None


def test_toolkit_driver_is_that_of_its_first_release() -> None:
    assert rules.toolkit_driver(Version("12.8")) == Version("570.26")
    assert rules.toolkit_driver(Version("12.8.1")) == Version("570.124.06")
    assert rules.toolkit_driver(Version("12.8"), "win_amd64") == Version("570.65")
    assert rules.toolkit_driver(Version("99.0")) is None


def test_driver_is_spelt_as_nvidia_does() -> None:
    assert rules.spell(Version("580.95.05")) == "580.95.05"
    assert rules.spell(Version("470.57")) == "470.57"
    assert rules.spell(Version("580.159.04")) == "580.159.04"


def test_every_driver_that_satisfies_a_toolkit_satisfies_its_major() -> None:
    """The floor of a major is never above the driver of one of its toolkits (two tables agree)."""
    from cuready.compat.tables import rows

    for row in rows("cuda_driver", "toolkits"):
        if row["toolkit_driver_linux"] and Version(row["cuda"]) >= Version("11.1"):
            answer = rules.runs_cuda(Version(row["toolkit_driver_linux"]), Version(row["cuda"]))
            assert answer.ok, row["cuda"]

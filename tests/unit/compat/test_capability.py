"""The cubin and PTX rules, the Tegra exceptions, and the suffixes a and f."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from cuready.compat.capability import (
    ComputeCapability,
    code_runs_on,
    parse_arch,
    parse_capability,
    runs_only_by_ptx,
)
from cuready.compat.tables import table
from cuready.compat.verdict import Verdict
from cuready.errors import CompatError

CASES = [
    ("sm_86", "8.9", True),  # what tools that compare sm_89 literally get wrong
    ("sm_86", "8.6", True),
    ("sm_86", "8.0", False),
    ("sm_80", "8.6", True),
    ("sm_80", "9.0", False),
    ("sm_120", "12.1", True),
    ("sm_121", "12.0", False),
    ("sm_80", "8.7", False),  # Orin needs its own
    ("sm_87", "8.7", True),
    ("sm_87", "8.9", False),  # and its own runs nowhere else
    ("sm_70", "7.2", False),
    ("sm_72", "7.5", False),
    ("sm_53", "5.3", True),
    ("sm_50", "5.3", False),
    ("sm_100", "10.1", False),
    ("sm_101", "11.0", True),  # 10.1 was renamed 11.0
    ("sm_110", "10.1", True),
    ("sm_100", "10.3", True),
    ("sm_103", "10.0", False),
    ("sm_90a", "9.0", True),
    ("sm_90a", "10.0", False),
    ("sm_100a", "10.3", False),
    ("sm_100f", "10.3", True),
    ("sm_100f", "12.0", False),
    ("sm_120f", "12.1", True),
    ("compute_90", "12.0", True),
    ("compute_90", "8.9", False),
    ("compute_90a", "9.0", True),
    ("compute_90a", "10.0", False),
    ("compute_100f", "10.3", True),
    ("compute_100f", "12.0", False),
    ("compute_70", "8.7", True),
]


@pytest.mark.parametrize(("code", "gpu", "runs"), CASES)
def test_code_runs_where_the_rules_say(code: str, gpu: str, runs: bool) -> None:
    assert parse_arch(code).runs_on(parse_capability(gpu)) is runs


@pytest.mark.parametrize(
    "code", ["50", "52", "60", "61", "70", "75", "80", "86", "89", "90", "100", "103", "120", "121"]
)
def test_rules_agree_with_the_requirements_that_torch_ships(code: str) -> None:
    """DEVICE_REQUIREMENT of torch 2.15.0, read from the facts as `>=8.6,<9 except 8.7`."""
    text = table("torch_builds")["device_requirement"][code]
    arch = parse_arch(f"sm_{code}")
    for gpu in (ComputeCapability(major, minor) for major in range(5, 13) for minor in range(8)):
        if gpu.major != arch.capability.major:
            continue
        excluded = f"except {gpu}" in text
        allowed = gpu.minor >= arch.capability.minor and not excluded
        if text in ("8.9", "7.5 (same major, minor>=5)") or "x" in text or ">=" in text:
            assert arch.runs_on(gpu) is allowed, (code, str(gpu), text)


def test_newer_toolkits_unify_tegra_with_its_family() -> None:
    orin = parse_capability("8.7")
    assert not parse_arch("sm_80").runs_on(orin, Version("13.0"))
    assert parse_arch("sm_80").runs_on(orin, Version("13.2"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sm_90a", "sm_90a"),
        ("8.6+PTX", "compute_86"),
        ("12.0", "sm_120"),
        ("100f", "sm_100f"),
        ("compute_70", "compute_70"),
    ],
)
def test_spellings_of_an_architecture(text: str, shown: str) -> None:
    assert str(parse_arch(text)) == shown


@pytest.mark.parametrize("text", ["", "ada", "8", "sm_", "sm_9", "8.65", "gfx90a", "-8.6"])
def test_what_is_no_architecture_is_named(text: str) -> None:
    with pytest.raises(CompatError, match="is not a GPU architecture"):
        parse_arch(text)


def test_capability_takes_no_suffix() -> None:
    with pytest.raises(CompatError, match="names code, not a GPU"):
        parse_capability("9.0a")


def test_ptx_alone_is_told_apart() -> None:
    blackwell = parse_capability("12.0")
    assert runs_only_by_ptx(["sm_80"], ["compute_90"], blackwell)
    assert not runs_only_by_ptx(["sm_80", "sm_120"], ["compute_90"], blackwell)
    assert not runs_only_by_ptx(["sm_80"], [], blackwell)


def test_no_list_is_unknown_and_not_a_no() -> None:
    assert code_runs_on([], [], parse_capability("8.6")).verdict is Verdict.UNKNOWN


@given(st.integers(2, 14), st.integers(0, 9), st.integers(2, 14), st.integers(0, 9))
def test_plain_machine_code_never_leaves_its_major(a: int, b: int, c: int, d: int) -> None:
    arch, gpu = parse_arch(f"sm_{a}{b}"), ComputeCapability(c, d)
    if arch.runs_on(gpu):
        assert gpu.major == a or {(a, b), (c, d)} == {(10, 1), (11, 0)}


@given(st.integers(2, 14), st.integers(0, 9))
def test_code_runs_on_the_gpu_it_was_built_for(major: int, minor: int) -> None:
    gpu = ComputeCapability(major, minor)
    for suffix in ("", "a", "f"):
        assert parse_arch(f"{gpu.sm}{suffix}").runs_on(gpu)
        assert parse_arch(f"compute_{major}{minor}{suffix}").runs_on(gpu)

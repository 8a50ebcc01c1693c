"""Every check of section 2d, PY15, PY20 and PY21: one snapshot that fires it, one that must not."""

from __future__ import annotations

import pytest
from tests.unit.loader.snapshots import (
    ADA,
    CASES,
    MORE_FIRING,
    MORE_SILENT,
    PASCAL,
    _torch_code,
    _twins,
    snap,
)

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Confidence, Finding, Severity
from cuready.doctor.registry import Skipped, Unknown, all_checks
from cuready.snapshot import Snapshot

CHECKS = {item.id: item for item in all_checks()}


def found(check_id: str, snapshot: Snapshot) -> list[Finding]:
    """What the one check finds, before anything is merged."""
    outcome = CHECKS[check_id].function(snapshot)
    return [] if isinstance(outcome, Skipped | Unknown) else list(outcome)


@pytest.mark.parametrize("check_id", CASES)
def test_fires(check_id: str) -> None:
    findings = found(check_id, CASES[check_id][0])
    assert [item.id for item in findings] == [check_id]
    assert findings[0].evidence, "a finding says what was read and where"
    assert findings[0].fix, "a finding says what to do"
    assert findings[0].links


@pytest.mark.parametrize("check_id", CASES)
def test_near_miss_stays_silent(check_id: str) -> None:
    assert found(check_id, CASES[check_id][1]) == []


@pytest.mark.parametrize(("check_id", "snapshot"), MORE_FIRING)
def test_fires_in_other_forms(check_id: str, snapshot: Snapshot) -> None:
    assert {item.id for item in found(check_id, snapshot)} == {check_id}


@pytest.mark.parametrize(("check_id", "snapshot"), MORE_SILENT)
def test_stays_silent_in_other_forms(check_id: str, snapshot: Snapshot) -> None:
    assert found(check_id, snapshot) == []


@pytest.mark.parametrize("check_id", CASES)
def test_one_fault_gives_at_most_one_error(check_id: str) -> None:
    errors = [item.id for item in diagnose(CASES[check_id][0]).findings
              if item.severity is Severity.ERROR and item.id.startswith(("LIB", "PY"))]  # fmt: skip
    assert len(errors) <= 1, errors


def test_a_snapshot_without_facts_gives_no_finding() -> None:
    assert all(found(check_id, Snapshot()) == [] for check_id in CASES)


def test_the_twin_of_the_frameworks_family_is_kept() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu13"))
    assert finding.severity is Severity.ERROR
    uninstall, restore = finding.fix[0].commands
    assert "nvidia-cudnn-cu13" in uninstall
    assert "--force-reinstall --no-deps nvidia-cudnn-cu12==9.10.2.21" in restore


def test_twins_with_the_right_file_on_disk_are_a_warning() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu12"))
    assert finding.severity is Severity.WARNING


def test_twins_whose_records_give_no_hash_are_likely_by_the_dates() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu13", proof="dates"))
    assert (finding.severity, finding.confidence) == (Severity.ERROR, Confidence.LIKELY)
    assert "newer than the other's RECORD" in finding.evidence[0].detail


def test_twins_known_by_their_paths_alone_are_a_warning_and_no_more() -> None:
    (finding,) = found("LIB02", _twins(None, proof="paths"))
    assert (finding.severity, finding.confidence) == (Severity.WARNING, Confidence.LIKELY)
    assert "no hash and no size" in finding.evidence[0].detail


def test_of_two_gpus_one_served_is_a_warning() -> None:
    both = _torch_code(ADA, "pip", "8.6")
    from dataclasses import replace

    mixed = replace(both, gpus=(ADA, replace(PASCAL, address="0000:02:00.0")))
    (finding,) = found("LIB11", mixed)
    assert finding.severity is Severity.WARNING
    assert "6.1" in finding.cause


def test_uv_takes_the_place_of_the_general_finding() -> None:
    ids = [item.id for item in diagnose(CASES["PY15"][0]).findings]
    assert "PY15" in ids and "LIB11" not in ids


def test_a_gpu_newer_than_the_tables_is_no_error() -> None:
    assert found("LIB11", snap(gpu_code=())) == []

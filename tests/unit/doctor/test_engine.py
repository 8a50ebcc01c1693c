"""How checks are run: crashes, missing facts, selection, and what becomes of each result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.zoo.base import edit, gpu_box
from tests.zoo.broken_driver import kernel_update_without_module

from cuready.doctor import catalogue
from cuready.doctor.engine import diagnose
from cuready.doctor.finding import CheckStatus, Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.registry import Check, Outcome, Skipped, Unknown, all_checks
from cuready.snapshot import ReaderOutcome, Snapshot


def make(check_id: str, outcome: Outcome | Exception, **more: tuple[str, ...]) -> Check:
    def run(_snapshot: Snapshot) -> Outcome:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return Check(check_id, run, **more)


def found(check_id: str, **more: object) -> Finding:
    facts: dict[str, object] = {
        "cause": "c.",
        "evidence": (Evidence("s", "d"),),
        "fix": (Fix(("x",)),),
    }
    return catalogue.finding(check_id, **{**facts, **more})  # type: ignore[arg-type]


def test_crashing_check_becomes_unknown_with_the_reason() -> None:
    crash = make("DRV01", ZeroDivisionError("boom"))
    result = diagnose(Snapshot(), checks=[crash]).checks[0]
    assert result.status is CheckStatus.UNKNOWN
    assert "ZeroDivisionError: boom" in result.reason


def test_check_that_crashes_halfway_through_its_findings_gives_none_of_them() -> None:
    def run(_snapshot: Snapshot) -> Outcome:
        yield found("DRV01")
        raise RuntimeError("later")

    diagnosis = diagnose(Snapshot(), checks=[Check("DRV01", run)])
    assert diagnosis.findings == ()
    assert diagnosis.unknown == 1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("failed", CheckStatus.UNKNOWN),
        ("timeout", CheckStatus.UNKNOWN),
        ("denied", CheckStatus.UNKNOWN),
        ("skipped", CheckStatus.SKIPPED),
        ("ok", CheckStatus.PASSED),
    ],
)
def test_check_is_answered_only_when_its_reader_was(status: str, expected: CheckStatus) -> None:
    snapshot = edit(Snapshot(), readers=(ReaderOutcome("pci", status, "because"),))
    result = diagnose(snapshot, checks=[make("DRV01", (), needs=("pci",))]).checks[0]
    assert result.status is expected
    assert expected is CheckStatus.PASSED or "because" in result.reason


def test_check_of_another_system_is_skipped() -> None:
    snapshot = edit(Snapshot(), platform__system="Darwin")
    result = diagnose(snapshot, checks=[make("DRV01", [found("DRV01")])]).checks[0]
    assert result.status is CheckStatus.SKIPPED


def test_unknown_and_skipped_keep_their_reason() -> None:
    checks = [make("DRV01", Unknown("no facts")), make("DRV02", Skipped("no GPU"))]
    results = diagnose(Snapshot(), checks=checks).checks
    assert [(r.status.value, r.reason) for r in results] == [
        ("unknown", "no facts"),
        ("skipped", "no GPU"),
    ]


def test_selection_by_id_and_group_leaves_the_others_out() -> None:
    box = kernel_update_without_module()
    assert [f.id for f in diagnose(box, only=["drv"]).findings] == ["DRV01"]
    assert diagnose(box, only=["PY01"]).findings == ()
    assert diagnose(box, skip=["DRV01"]).findings == ()


def test_symptom_is_not_reported_as_cause_when_the_cause_was_not_asked_for() -> None:
    checks = [
        make("DRV01", [found("DRV01", explains=("DRV08",))]),
        make("DRV08", [found("DRV08")]),
    ]
    diagnosis = diagnose(Snapshot(), checks=checks, only=["DRV08"])
    assert diagnosis.findings == ()
    assert "explained by DRV01" in diagnosis.checks[1].reason


def test_finding_of_unknown_confidence_is_no_error() -> None:
    checks = [make("DRV01", [found("DRV01", confidence=Confidence.UNKNOWN)])]
    diagnosis = diagnose(Snapshot(), checks=checks)
    assert diagnosis.summary() == {"errors": 0, "warnings": 0, "infos": 0, "unknown": 1}
    assert not replace(diagnosis, strict=True).failed


def test_strict_fails_for_warnings_only_when_asked() -> None:
    checks = [make("DRV01", [found("DRV01", severity=Severity.WARNING)])]
    diagnosis = diagnose(Snapshot(), checks=checks)
    assert not diagnosis.failed
    assert replace(diagnosis, strict=True).failed


def test_result_says_when_the_finding_was_seen_not_to_be_true() -> None:
    box = edit(gpu_box(), driver__module_loaded=False)
    result = next(item for item in diagnose(box).checks if item.id == "DRV01")
    assert result.status is CheckStatus.PASSED
    assert "listed 1 working device" in result.reason


def test_checks_are_in_the_order_of_the_catalogue() -> None:
    ids = [check.id for check in all_checks()]
    assert ids == sorted(ids, key=catalogue.order)
    assert len(ids) >= 57


def test_checks_need_readers_that_exist() -> None:
    from cuready.probe.registry import READERS

    names = {reader.name for reader in READERS}
    wrong = {c.id: set(c.needs) - names for c in all_checks() if set(c.needs) - names}
    assert wrong == {}

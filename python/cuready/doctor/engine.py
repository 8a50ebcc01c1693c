"""Runs the checks over a Snapshot. A check that crashes becomes a result, never a traceback."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cuready._util import one_line
from cuready.doctor import catalogue
from cuready.doctor.finding import CheckResult, CheckStatus, Confidence, Finding, Severity
from cuready.doctor.managed import checks_for
from cuready.doctor.merge import merge
from cuready.doctor.registry import Check, Skipped, Unknown, all_checks
from cuready.snapshot import Snapshot

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True)
class Diagnosis:
    """What was found, how each check ended, and how long it took (milliseconds).

    ``strict``: warnings make this run fail too.
    """

    findings: tuple[Finding, ...]
    checks: tuple[CheckResult, ...]
    elapsed_ms: float = 0.0
    strict: bool = False

    def count(self, severity: Severity) -> int:
        """Findings of ``severity`` that are not mere doubts (confidence ``unknown``)."""
        return sum(
            1
            for item in self.findings
            if item.severity is severity and item.confidence is not Confidence.UNKNOWN
        )

    @property
    def unknown(self) -> int:
        """Checks without an answer, plus findings that we are not sure of."""
        doubts = sum(1 for item in self.findings if item.confidence is Confidence.UNKNOWN)
        return doubts + sum(1 for item in self.checks if item.status is CheckStatus.UNKNOWN)

    def summary(self) -> dict[str, int]:
        """The counts as they stand in the JSON document."""
        return {
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "infos": self.count(Severity.INFO),
            "unknown": self.unknown,
        }

    def fails(self, item: Finding) -> bool:
        """Whether ``item`` makes the run fail: errors do, with ``strict`` warnings too."""
        failing = (Severity.ERROR, Severity.WARNING) if self.strict else (Severity.ERROR,)
        return item.severity in failing and item.confidence is not Confidence.UNKNOWN

    @property
    def failed(self) -> bool:
        """Whether the run ends with exit code 1."""
        return any(map(self.fails, self.findings))

    @property
    def answered(self) -> bool:
        """Whether at least one of the checks that were asked for had an answer; else the exit code
        of a run that has not failed is 3."""
        statuses = {item.status for item in self.checks}
        return CheckStatus.UNKNOWN not in statuses or bool(
            statuses & {CheckStatus.PASSED, CheckStatus.FOUND}
        )


def diagnose(
    snapshot: Snapshot,
    *,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    checks: Iterable[Check] | None = None,
    strict: bool = False,
) -> Diagnosis:
    """Run ``checks`` (all of ours by default) over ``snapshot`` and merge what they found.

    ``only`` and ``skip`` hold ids or groups (``DRV``). Checks that explain a chosen one are still
    run, so that ``--only PY01`` does not report a symptom as a cause; their findings are left out.
    """
    started = time.perf_counter()
    found: list[Finding] = []
    results: list[CheckResult] = []
    for item in (*all_checks(), *checks_for(snapshot)) if checks is None else checks:
        result, findings = _run_one(item, snapshot)
        results.append(result)
        found.extend(findings)
    merged = merge(found, snapshot)
    results = [
        _settle(result, merged.findings, merged.explained, merged.disproved) for result in results
    ]
    chosen = _chooser(only, skip)
    return Diagnosis(
        findings=tuple(item for item in merged.findings if chosen(item.id)),
        checks=tuple(result if chosen(result.id) else _left_out(result) for result in results),
        elapsed_ms=(time.perf_counter() - started) * 1000,
        strict=strict,
    )


class _chooser:  # noqa: N801 - a predicate, called like a function
    """Whether an id was asked for with ``--only`` and not taken out with ``--skip``."""

    def __init__(self, only: Sequence[str], skip: Sequence[str]) -> None:
        self.only = frozenset(item.upper() for item in only)
        self.skip = frozenset(item.upper() for item in skip)

    def __call__(self, check_id: str) -> bool:
        names = {check_id.upper(), catalogue.group_of(check_id).upper()}
        return not names & self.skip and (not self.only or bool(names & self.only))


def _left_out(result: CheckResult) -> CheckResult:
    return CheckResult(result.id, CheckStatus.SKIPPED, "not asked for")


def _run_one(item: Check, snapshot: Snapshot) -> tuple[CheckResult, tuple[Finding, ...]]:
    started = time.perf_counter()

    def ended(status: CheckStatus, reason: str = "") -> CheckResult:
        return CheckResult(item.id, status, reason, (time.perf_counter() - started) * 1000)

    system = snapshot.platform.system
    if item.systems and system and system not in item.systems:
        return ended(CheckStatus.SKIPPED, f"not a question on {system}"), ()
    missing = _missing_facts(item, snapshot)
    if missing is not None:
        return missing, ()
    try:
        outcome = item.function(snapshot)
        if isinstance(outcome, Unknown):
            return ended(CheckStatus.UNKNOWN, outcome.reason), ()
        if isinstance(outcome, Skipped):
            return ended(CheckStatus.SKIPPED, outcome.reason), ()
        findings = tuple(outcome)
    except Exception as error:
        reason = f"the check itself failed: {type(error).__name__}: {one_line(error)}"
        return ended(CheckStatus.UNKNOWN, reason), ()
    return ended(CheckStatus.FOUND if findings else CheckStatus.PASSED), findings


def _missing_facts(item: Check, snapshot: Snapshot) -> CheckResult | None:
    """The result of a check whose readers have no facts for it; None when it can run."""
    for name in item.needs:
        outcome = snapshot.reader(name)
        if outcome is None or outcome.status == "ok":
            continue
        status = CheckStatus.SKIPPED if outcome.status == "skipped" else CheckStatus.UNKNOWN
        reason = outcome.reason or outcome.status
        return CheckResult(item.id, status, f"reader {name}: {one_line(reason)}")
    return None


def _settle(
    result: CheckResult,
    findings: Sequence[Finding],
    explained: dict[str, str],
    disproved: dict[str, str],
) -> CheckResult:
    """Say in a check's result what became of its finding."""
    if result.status is not CheckStatus.FOUND or any(item.id == result.id for item in findings):
        return result
    if result.id in explained:
        return CheckResult(result.id, CheckStatus.FOUND, explained[result.id], result.ms)
    reason = f"seen to work: {disproved.get(result.id, '')}"
    return CheckResult(result.id, CheckStatus.PASSED, reason, result.ms)

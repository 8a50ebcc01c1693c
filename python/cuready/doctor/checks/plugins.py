"""PLG01, PLG02: plugins that cannot be run, and RAPIDS checks that failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from cuready.doctor import catalogue, plugins
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import Snapshot


@check("PLG01", systems=())
def plugin_cannot_be_run(snapshot: Snapshot) -> Outcome:
    """A plugin that cannot be imported, crashes, takes too long or answers nonsense."""
    items = plugins.outcomes(snapshot)
    if not items:
        return Skipped("no plugin is installed, or none was run")
    return [
        catalogue.finding(
            "PLG01",
            subject=str(item["name"]),
            cause=f"{item['group']} {item['name']} ({item.get('value')}): {reason.rstrip('.')}.",
            evidence=(_where(snapshot, item),),
            fix=plugins.reinstall(snapshot, item),
            confidence=Confidence.UNKNOWN if item["status"] == "timeout" else Confidence.PROVEN,
        )
        for item in items
        if (reason := plugins.unusable(item))
    ]


@check("PLG02", systems=())
def rapids_check_failed(snapshot: Snapshot) -> Outcome:
    """A ``rapids_doctor_check`` function that raised an error, or warned."""
    items = plugins.outcomes(snapshot, "rapids_doctor_check")
    if not items:
        return Skipped("no RAPIDS check is installed, or none was run")
    return [finding for item in items for finding in _rapids(snapshot, item)]


def _rapids(snapshot: Snapshot, item: Mapping[str, Any]) -> Iterator[Finding]:
    about = str(item.get("about") or item["name"])
    if item["status"] == "failed":
        yield _finding(snapshot, item, Severity.ERROR, about, str(item.get("text", "")))
    warnings = item.get("warnings")
    for text in warnings if isinstance(warnings, (list, tuple)) else ():
        yield _finding(snapshot, item, Severity.WARNING, about, str(text))


def _finding(
    snapshot: Snapshot, item: Mapping[str, Any], severity: Severity, about: str, text: str
) -> Finding:
    module = str(item.get("value", "")).partition(":")[0]  # what `rapids doctor` filters by
    word = "failed" if severity is Severity.ERROR else "warns"
    return catalogue.finding(
        "PLG02",
        subject=str(item["name"]),
        title=f"RAPIDS check {item['name']} {word}: {about.rstrip('.')}",
        cause=f"{text.rstrip('.') or 'It gave no reason'}.",
        evidence=(_where(snapshot, item),),
        fix=(Fix((f"rapids doctor --verbose {module}",), "runs it again, with all it says"),),
        severity=severity,
        confidence=Confidence.LIKELY,
    )


def _where(snapshot: Snapshot, item: Mapping[str, Any]) -> Evidence:
    ours = item["group"] != "rapids_doctor_check"
    place = "the Python that runs cuready" if ours else snapshot.python.executable
    return Evidence(
        f"entry point {item['name']} of {item.get('distribution')}",
        f"{item.get('value')}, run by {place or 'the Python under diagnosis'}",
    )

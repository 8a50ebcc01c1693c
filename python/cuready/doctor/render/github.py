"""``--format github``: workflow commands, which GitHub Actions shows as annotations.

Syntax: https://docs.github.com/actions/reference/workflow-commands-for-github-actions.
"""

from __future__ import annotations

from cuready.doctor.engine import Diagnosis
from cuready.doctor.finding import CheckStatus, Confidence, Finding, Severity

__all__ = ["render"]

_COMMAND = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(diagnosis: Diagnosis) -> str:
    """One workflow command a finding, a notice for what stayed open, and the summary as text."""
    lines = [_annotation(item) for item in diagnosis.findings]
    unanswered = [item for item in diagnosis.checks if item.status is CheckStatus.UNKNOWN]
    if unanswered:
        text = "; ".join(f"{item.id}: {item.reason}" for item in unanswered)
        lines.append(f"::notice title=cuready could not find out::{_data(text)}")
    summary = diagnosis.summary()
    counts = ", ".join(f"{count} {name}" for name, count in summary.items())
    return "\n".join([*lines, f"cuready doctor: {counts}"])


def _annotation(item: Finding) -> str:
    command = "notice" if item.confidence is Confidence.UNKNOWN else _COMMAND[item.severity]
    parts = [item.cause]
    parts += [f"Fix: {command_line}" for fix in item.fix[:1] for command_line in fix.commands]
    parts += item.links[:1]
    return f"::{command} title={_property(f'{item.id} {item.title}')}::{_data(chr(10).join(parts))}"


def _data(text: str) -> str:
    """Escape the message of a workflow command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Escape the value of a workflow command's property."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")

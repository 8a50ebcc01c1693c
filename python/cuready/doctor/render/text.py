"""The report for people: one line a group with a mark, and what was found below it.

After `flutter doctor`: a healthy machine is a handful of lines, details come with ``-v``.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

import click

from cuready.doctor import catalogue
from cuready.doctor.engine import Diagnosis
from cuready.doctor.finding import CheckResult, CheckStatus, Confidence, Finding, Fix, Severity

__all__ = ["render"]

_MARK = {
    Severity.ERROR: ("✗", "red"),
    Severity.WARNING: ("!", "yellow"),
    Severity.INFO: ("i", "cyan"),
}
_PASSED, _SKIPPED, _UNKNOWN = ("✓", "green"), ("-", None), ("?", "magenta")
_ASCII = {"✓": "+", "✗": "x"}


def render(
    diagnosis: Diagnosis,
    facts: Iterable[tuple[str, str]] = (),
    *,
    verbose: bool = False,
    width: int = 100,
    unicode: bool = True,
) -> Iterator[str]:
    """The lines of the report. ``facts`` are (label, value) lines about the machine for its head.

    Colours are ANSI codes; click takes them out where stdout is no terminal or NO_COLOR is set.
    """
    for label, value in facts:
        yield f"{click.style(label + ':', bold=True)} {value}"
    groups: dict[str, list[CheckResult]] = {}
    for result in diagnosis.checks:
        groups.setdefault(catalogue.group_of(result.id), []).append(result)
    for group, results in groups.items():
        silent = all(item.status is CheckStatus.SKIPPED for item in results)
        if silent and group in catalogue.QUIET_GROUPS and not verbose:
            continue
        findings = [item for item in diagnosis.findings if catalogue.group_of(item.id) == group]
        yield from _group(group, results, findings, verbose=verbose, width=width, unicode=unicode)
    yield ""
    yield _summary(diagnosis)


def _group(
    group: str,
    results: list[CheckResult],
    findings: list[Finding],
    *,
    verbose: bool,
    width: int,
    unicode: bool,
) -> Iterator[str]:
    title = catalogue.GROUPS[group][0] if group in catalogue.GROUPS else group
    mark = _worst(results, findings)
    shown = [item for item in findings if verbose or item.severity is not Severity.INFO]
    yield f"{_styled(mark, unicode)} {click.style(title, bold=True)}{_aside(results, findings)}"
    for item in shown:
        yield from _finding(item, verbose=verbose, width=width, unicode=unicode)
    if verbose:
        for result in results:
            if result.status is not CheckStatus.FOUND:
                reason = f": {result.reason}" if result.reason else ""
                yield f"    {result.id} {result.status.value}{reason}"


def _worst(results: list[CheckResult], findings: list[Finding]) -> tuple[str, str | None]:
    for severity, mark in _MARK.items():
        if any(item.severity is severity and _sure(item) for item in findings):
            return mark if severity is not Severity.INFO else _PASSED
    if any(item.status is CheckStatus.UNKNOWN for item in results) or findings:
        return _UNKNOWN
    if all(item.status is CheckStatus.SKIPPED for item in results):
        return _SKIPPED
    return _PASSED


def _sure(item: Finding) -> bool:
    return item.confidence is not Confidence.UNKNOWN


def _aside(results: list[CheckResult], findings: list[Finding]) -> str:
    """What stands behind the title of a group: problems, notes, and what could not be answered."""
    counts = [
        (sum(1 for item in findings if item.severity is severity), word)
        for severity, word in (
            (Severity.ERROR, "error"),
            (Severity.WARNING, "warning"),
            (Severity.INFO, "note"),
        )
    ]
    unknown = sum(1 for item in results if item.status is CheckStatus.UNKNOWN)
    parts = [f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts if count]
    parts += [f"{unknown} not answered"] if unknown else []
    if not parts and all(item.status is CheckStatus.SKIPPED for item in results):
        parts = [_common_reason(results)]
    return f" ({', '.join(parts)})" if parts else ""


def _common_reason(results: list[CheckResult]) -> str:
    reasons = {item.reason for item in results}
    return reasons.pop() if len(reasons) == 1 else "nothing to check here"


def _finding(item: Finding, *, verbose: bool, width: int, unicode: bool) -> Iterator[str]:
    mark = _MARK[item.severity] if _sure(item) else _UNKNOWN
    likely = " (likely)" if item.confidence is Confidence.LIKELY else ""
    yield f"    {_styled(mark, unicode)} {click.style(item.id, bold=True)} {item.title}{likely}"
    yield from _wrapped(item.cause, "      ", width)
    if verbose:
        for evidence in item.evidence:
            yield f"      · {evidence.source}: {evidence.detail}"
        if item.explains:
            yield f"      explains {', '.join(item.explains)}"
    for number, fix in enumerate(item.fix if verbose else item.fix[:2]):
        yield from _fix(fix, "or" if number else "fix", width)
    for link in item.links if verbose else item.links[:1]:
        yield f"      see {link}"


def _fix(fix: Fix, word: str, width: int) -> Iterator[str]:
    root = ", as root" if fix.needs_root else ""
    note = f" ({fix.note})" if fix.note else ""
    yield from _wrapped(f"{word}{root}{note}:", "      ", width)
    for command in fix.commands:  # never wrapped: it is there to be pasted
        yield f"        {click.style(command, fg='cyan')}"


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, max(width, 40), initial_indent=indent, subsequent_indent=indent,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _styled(mark: tuple[str, str | None], unicode: bool) -> str:
    sign, colour = mark
    sign = sign if unicode else _ASCII.get(sign, sign)
    return click.style(f"[{sign}]", fg=colour)


def _summary(diagnosis: Diagnosis) -> str:
    counts = diagnosis.summary()
    words = [
        f"{counts[key]} {key[:-1] if counts[key] == 1 else key}" for key in ("errors", "warnings")
    ]
    if counts["infos"]:
        words.append(f"{counts['infos']} note{'s' if counts['infos'] > 1 else ''}")
    if counts["unknown"]:
        words.append(f"{counts['unknown']} not answered")
    if not counts["errors"] and not counts["warnings"]:
        return click.style("No problems found", fg="green") + _details(words[2:], counts)
    return ", ".join(words) + _details([], counts)


def _details(extra: list[str], counts: dict[str, int]) -> str:
    text = f" ({', '.join(extra)})" if extra else ""
    hint = "; -v says more" if counts["infos"] or counts["unknown"] else ""
    return f"{text}{hint}."

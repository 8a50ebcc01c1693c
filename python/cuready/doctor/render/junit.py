"""``--format junit``: JUnit XML, one test case a check, for CI systems that draw such reports.

The dialect is the one that Jenkins and GitLab read (testsuites/testsuite/testcase with failure,
error, skipped and system-out). It agrees with the exit code: a finding that makes the run fail is a
``failure``, one that does not stands in the output of a case that passed. A check without an answer
is ``skipped``, and an ``error`` only where none had an answer, which is exit code 3.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from cuready.doctor import catalogue
from cuready.doctor.engine import Diagnosis
from cuready.doctor.finding import CheckResult, CheckStatus, Confidence, Finding

__all__ = ["render"]

# Characters that XML 1.0 cannot hold, not even escaped (section 2.2 of the standard).
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(diagnosis: Diagnosis) -> str:
    """The answer as one XML document."""
    root = ET.Element("testsuites", name="cuready doctor", time=_seconds(diagnosis.elapsed_ms))
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    groups: dict[str, list[CheckResult]] = {}
    for result in diagnosis.checks:
        groups.setdefault(catalogue.group_of(result.id), []).append(result)
    for group, results in groups.items():
        title = catalogue.GROUPS[group][0] if group in catalogue.GROUPS else group
        suite = ET.SubElement(root, "testsuite", name=title)
        counts = dict.fromkeys(totals, 0)
        for result in results:
            findings = [item for item in diagnosis.findings if item.id == result.id]
            kind = _case(suite, result, findings, diagnosis)
            counts["tests"] += 1
            if kind:
                counts[kind] += 1
        for name, count in counts.items():
            suite.set(name, str(count))
            totals[name] += count
        suite.set("time", _seconds(sum(result.ms for result in results)))
    for name, count in totals.items():
        root.set(name, str(count))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")


def _case(
    suite: ET.Element, result: CheckResult, findings: list[Finding], diagnosis: Diagnosis
) -> str | None:
    """One test case; the attribute of the suite that counts it, or None when it passed."""
    known = catalogue.entries().get(result.id)
    name = f"{result.id} {known.title if known else ''}".strip()
    case = ET.SubElement(
        suite, "testcase", classname="cuready.doctor", name=name, time=_seconds(result.ms)
    )
    failing = [item for item in findings if diagnosis.fails(item)]
    for item in failing:
        _text(case, "failure", item.title, _body(item), item.severity.value)
    kind = "failures" if failing else None
    if not findings and result.status is CheckStatus.UNKNOWN:
        reason = result.reason or "no answer"
        if diagnosis.answered:
            ET.SubElement(case, "skipped", message=_clean(f"not answered: {reason}"))
        else:
            _text(case, "error", reason, "", "unknown")
        kind = "skipped" if diagnosis.answered else "errors"
    elif not findings and result.status is CheckStatus.SKIPPED:
        ET.SubElement(case, "skipped", message=_clean(result.reason))
        kind = "skipped"
    # After them, as the dialect has it; one element a case.
    told = [_told(item) for item in findings if item not in failing]
    if told:
        ET.SubElement(case, "system-out").text = _clean("\n\n".join(told))
    return kind


def _told(item: Finding) -> str:
    doubt = ", not sure" if item.confidence is Confidence.UNKNOWN else ""
    return f"{item.severity.value}{doubt}: {item.title}\n{_body(item)}"


def _body(item: Finding) -> str:
    lines = [item.cause]
    lines += [f"  {evidence.source}: {evidence.detail}" for evidence in item.evidence]
    for fix in item.fix:
        lines += [f"fix: {command}" for command in fix.commands]
    lines += list(item.links)
    return "\n".join(lines)


def _text(parent: ET.Element, tag: str, message: str, body: str, kind: str) -> None:
    element = ET.SubElement(parent, tag, message=_clean(message), type=kind)
    element.text = _clean(body)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.6f}"

"""The self-test's report as JUnit XML: one test case a stage, its figures as properties."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # writes only

from cuready.selftest.model import Report, StageResult, Status
from cuready.selftest.render.text import amount, machine_line, usual_text

__all__ = ["document"]

# What XML 1.0 cannot hold: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def document(report: Report) -> str:
    # What was asked for and could not be tried ends the run with code 3: no test that was left out.
    unanswered = sum(map(_unanswered, report.stages))
    suite = ET.Element(
        "testsuite",
        name="cuready selftest",
        tests=str(len(report.stages)),
        failures=str(report.count(Status.FAILED)),
        errors=str(unanswered),
        skipped=str(report.count(Status.SKIPPED) - unanswered),
        time=f"{report.seconds:.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    _property(properties, "machine", machine_line(report))
    _property(properties, "mode", report.mode)
    for stage in report.stages:
        _case(suite, stage, report)
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode")


def _case(suite: ET.Element, stage: StageResult, report: Report) -> None:
    case = ET.SubElement(
        suite, "testcase", classname="cuready.selftest", name=stage.id,
        time=f"{stage.ms / 1000:.3f}",
    )  # fmt: skip
    if stage.figures:
        properties = ET.SubElement(case, "properties")
        for figure in stage.figures:
            usual = usual_text(figure) or "unknown"
            _property(properties, figure.name, f"{amount(figure)} (usually {usual})")
    if stage.status is Status.FAILED:
        failure = ET.SubElement(case, "failure", message=_clean(stage.reason))
        failure.text = _clean("\n".join(
            f"{item.id} {item.title}: {item.cause}" for item in report.findings
            if item.subject == stage.id
        ))  # fmt: skip
    elif _unanswered(stage):
        ET.SubElement(case, "error", message=_clean(stage.reason))
    elif stage.status is Status.SKIPPED:
        ET.SubElement(case, "skipped", message=_clean(stage.reason))


def _unanswered(stage: StageResult) -> bool:
    return stage.unanswered and stage.status is Status.SKIPPED


def _property(parent: ET.Element, name: str, value: str) -> None:
    ET.SubElement(parent, "property", name=_clean(name), value=_clean(value))


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)

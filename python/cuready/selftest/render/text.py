"""The self-test's report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from cuready._util import one_line
from cuready.doctor.finding import Finding
from cuready.selftest.model import Figure, Report, StageResult, Status

__all__ = ["amount", "lines", "machine_line", "usual_text"]

WORDS = {Status.PASSED: "ok", Status.FAILED: "FAILED", Status.SKIPPED: "skipped"}


def lines(report: Report) -> Iterator[str]:
    """Machine, one line a stage with its figures, findings, a summary."""
    if report.note:
        yield report.note
    machine = machine_line(report)
    if machine:
        yield machine
    yield ""
    for stage in report.stages:
        yield from _stage(stage)
    for item in report.findings:
        yield from _finding(item)
    yield ""
    parts = [f"{report.count(status)} {status.value}" for status in Status]
    yield f"{', '.join(parts)} in {report.seconds:.1f} s"


def machine_line(report: Report) -> str:
    """``NVIDIA H100, compute capability 9.0, driver 580.95, CUDA 13.0, TensorRT 10.6.0``."""
    machine = report.machine
    parts = [machine.get("gpu", "")]
    if machine.get("compute_capability"):
        parts.append(f"compute capability {machine['compute_capability']}")
    if machine.get("driver"):
        parts.append(f"driver {machine['driver']}")
    if machine.get("cuda", {}).get("cuda_version"):
        parts.append(f"CUDA {machine['cuda']['cuda_version']}")
    if machine.get("tensorrt", {}).get("version"):
        parts.append(f"TensorRT {machine['tensorrt']['version']}")
    return ", ".join(part for part in parts if part)


def _stage(stage: StageResult) -> Iterator[str]:
    time = f"{stage.ms / 1000:6.2f} s" if stage.status is not Status.SKIPPED else " " * 8
    reason = f"  {one_line(stage.reason, 400)}" if stage.reason else ""
    yield f"{WORDS[stage.status]:>8}  {stage.title:22} {time}{reason}".rstrip()
    for figure in stage.figures:
        usual = usual_text(figure)
        yield f"{'':10}{figure.name:34} {amount(figure):>14}{usual and '  usually ' + usual}"


def amount(figure: Figure) -> str:
    """A number as people read it: four digits, thousands apart."""
    value = figure.value
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{text} {figure.unit}".strip()


def usual_text(figure: Figure) -> str:
    """``2,475-2,959 GB/s``, or nothing where nobody knows."""
    if figure.usual is None:
        return ""
    low, high = (f"{value:,.4g}" for value in figure.usual)
    return f"{low if low == high else f'{low}-{high}'} {figure.unit}"


def _finding(item: Finding) -> Iterator[str]:
    yield ""
    yield f"{item.id} {item.severity.value}: {item.title}"
    yield f"  {one_line(item.cause, 600)}"
    for evidence in item.evidence[1:]:
        yield f"  {evidence.source}: {one_line(evidence.detail, 300)}"
    for fix in item.fix:
        for command in fix.commands:
            yield f"  fix: {command}"
        if fix.note:
            yield f"  note: {fix.note}"

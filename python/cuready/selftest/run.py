"""One self-test from options to report."""

from __future__ import annotations

import time

from cuready.doctor.finding import Finding, Severity
from cuready.errors import CureadyError, InputError
from cuready.selftest import expected
from cuready.selftest.findings import findings_of
from cuready.selftest.model import Report, Status
from cuready.selftest.stages import OFFLINE, Options, chosen
from cuready.selftest.supervise import Supervisor, Watcher

__all__ = ["selftest"]

DOCTOR_GROUPS = ("DRV", "CTR", "WSL", "VIS", "MIG")


def selftest(options: Options, on_event: Watcher | None = None) -> Report:
    """Run the chosen stages. Never raises for what a GPU, a driver or a library does.

    Raises :class:`~cuready.errors.InputError` for an engine file that cannot be read.
    """
    begin = time.monotonic()
    report = Report(options.mode, options.device)
    if options.engine is not None:
        _check_plan(options)
    stages = chosen(options)
    report.stages = Supervisor(options, on_event).run(stages)
    driver = report.stage("driver")
    _describe(report)
    if driver.unanswered:
        report.note = driver.reason.partition(":")[0]
        _without_gpu(report, options)
    expected.apply(report)
    report.findings = findings_of(report)
    if driver.status is Status.FAILED:
        report.findings += _doctor(report.findings)
    report.seconds = time.monotonic() - begin
    return report


def _check_plan(options: Options) -> None:
    import cuready.runtime as rt
    from cuready.selftest import plans

    assert options.engine is not None  # noqa: S101 - the caller looked
    plan = rt.probe(options.engine)
    if plan.kind == "unknown":
        message = f"--engine {options.engine}: {plan.reason or 'no TensorRT plan'}"
        raise InputError(message, hint="`cuready engine info FILE` says what a file is")
    plans.check(options.engine)  # one that was cut short would fail on the GPU, minutes later


def _describe(report: Report) -> None:
    """The machine, from what the first stages said."""
    for stage in report.stages:
        if stage.id == "driver":
            report.machine["cuda"] = stage.facts.get("driver", {})
            devices = stage.facts.get("devices", [])
            if report.device < len(devices):
                device = devices[report.device]
                report.machine["gpu"] = device.get("name", "")
                report.machine["compute_capability"] = device.get("compute_capability", "")
                report.machine["uuid"] = device.get("uuid", "")
                report.machine["gpus"] = len(devices)
                report.machine.update(expected.nvml_facts(device.get("uuid", "")))
        if stage.id == "tensorrt" and "library" in stage.facts:
            report.machine["tensorrt"] = stage.facts["library"]


def _without_gpu(report: Report, options: Options) -> None:
    """What can be said without a GPU: which TensorRT is here, what the given plan is."""
    import cuready.runtime as rt

    for stage in report.stages:
        if stage.id == "tensorrt":
            (library,) = Supervisor(options).run([OFFLINE])
            stage.reason, stage.facts, stage.error = library.reason, library.facts, library.error
        if stage.id == "engine" and options.engine is not None:
            plan = rt.probe(options.engine)
            stage.facts["plan"] = {"built_by": str(plan.built_by), "size": plan.size}
            stage.reason = f"built by TensorRT {plan.built_by}; not run: no GPU"


def _doctor(known: list[Finding]) -> list[Finding]:
    """What the doctor says of a driver that does not start: its own checks know the root cause."""
    from cuready.doctor.catalogue import group_of
    from cuready.doctor.engine import diagnose
    from cuready.probe import take

    try:
        diagnosis = diagnose(take(total_limit_s=8.0), only=DOCTOR_GROUPS)
    except CureadyError:
        return []
    ids = {item.id for item in known}
    return [
        item for item in diagnosis.findings
        if item.severity is Severity.ERROR and group_of(item.id) in DOCTOR_GROUPS
        and item.id not in ids
    ]  # fmt: skip

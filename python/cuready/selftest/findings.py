"""Turns a failed stage into findings: ids of the doctor's catalogue where they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from cuready._util import data_text, tomllib
from cuready.doctor import catalogue
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.selftest.model import Report, StageResult, Status

__all__ = ["findings_of"]

# CUresult → id of the catalogue. Names: CUDA driver API reference, group__CUDA__TYPES (CUresult).
BY_CODE = {
    34: "DRV14",  # CUDA_ERROR_STUB_LIBRARY
    222: "DRV12",  # CUDA_ERROR_UNSUPPORTED_PTX_VERSION
    802: "DRV10",  # CUDA_ERROR_SYSTEM_NOT_READY
    803: "DRV02",  # CUDA_ERROR_SYSTEM_DRIVER_MISMATCH
    804: "DRV13",  # CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE
}
UNKNOWN_ERROR, DEVICE_UNAVAILABLE, ECC_UNCORRECTABLE = 999, 46, 214
LAUNCH_CODES = {98, 200, 209, 218, 221, 300, 700, 701, 702, 710, 714, 715, 716, 717, 718, 719}
BY_TYPE = {"EngineVersionError": "TRT01", "EnginePlatformError": "TRT02"}
BY_STAGE = {
    "driver": "driver", "context": "context", "memory": "memory", "copies": "copies",
    "compute": "launch", "pattern": "memory", "overlap": "launch", "events": "launch",
    "tensorrt": "tensorrt", "engine": "engine", "peers": "peers", "soak": "soak",
}  # fmt: skip
KINDS = {"peer_corrupt": "peers", "trt_build": "tensorrt", "engine_unstable": "engine",
         "soak_wrong": "soak"}  # fmt: skip


@cache
def own() -> dict[str, dict[str, Any]]:
    """The own findings by kind."""
    text = data_text("cuready.selftest", "data/findings.toml")
    return dict(tomllib.loads(text)["kind"])


def findings_of(report: Report) -> list[Finding]:
    """One finding for each failed stage, one for figures that are far too low."""
    found: list[Finding] = []
    for stage in report.stages:
        if stage.status is Status.FAILED:
            found.append(_of_failure(stage))
        found.extend(_slow(stage))
        stage.findings = [item.id for item in found if item.subject == stage.id]
    return found


def _of_failure(stage: StageResult) -> Finding:
    error = stage.error
    code = int(error.get("details", {}).get("cuda", {}).get("code", 0) or 0)
    evidence = [Evidence(f"selftest {stage.id}", stage.reason)]
    evidence += [Evidence("the library's words", text) for text in error.get("messages", ())]
    known = _catalogue_id(stage.id, code, error)
    if known is not None:
        hint = error.get("hint", "")
        return catalogue.finding(
            known,
            cause=f"{stage.title}: {stage.reason}",
            evidence=evidence,
            fix=_fixes([], hint) if hint else (),
            subject=stage.id,
            confidence=Confidence.LIKELY if code == UNKNOWN_ERROR else Confidence.PROVEN,
        )
    return _own(_kind(stage.id, code, error), stage, evidence, hint=error.get("hint", ""))


def _catalogue_id(stage: str, code: int, error: Mapping[str, Any]) -> str | None:
    if error.get("kind") == "hang":
        return "DRV16"
    if error.get("type") in BY_TYPE:
        return BY_TYPE[str(error["type"])]
    if code == UNKNOWN_ERROR:
        # At the start: nvidia_uvm. Once a context worked: the GPU went away under it.
        return "DRV08" if stage in ("driver", "context") else "DRV15"
    if code == DEVICE_UNAVAILABLE and stage != "context":
        return "DRV15"
    return BY_CODE.get(code)


def _kind(stage: str, code: int, error: Mapping[str, Any]) -> str:
    kind = str(error.get("kind", ""))
    kind = KINDS.get(kind, kind)
    if kind in own():
        return kind
    if code == ECC_UNCORRECTABLE:
        return "ecc"
    if code in LAUNCH_CODES and stage not in ("tensorrt", "engine"):
        return "launch"
    return BY_STAGE[stage]


def _own(kind: str, stage: StageResult, evidence: list[Evidence], *, hint: str = "") -> Finding:
    entry = own()[kind]
    slow = kind == "slow"
    return Finding(
        id=entry["id"],
        severity=Severity.WARNING if slow else Severity.ERROR,
        title=entry["title"],
        cause=stage.reason if not slow else evidence[0].detail,
        confidence=Confidence.LIKELY if slow else Confidence.PROVEN,
        evidence=tuple(evidence),
        fix=tuple(_fixes(entry["fix"], " ".join(filter(None, (entry.get("note"), hint))))),
        links=tuple(entry.get("links", ())),
        subject=stage.id,
    )


def _fixes(commands: list[str], note: str) -> tuple[Fix, ...]:
    if not commands and not note:
        return ()
    return (Fix(tuple(commands), note, needs_root=any("sudo" in item for item in commands)),)


def _slow(stage: StageResult) -> Iterator[Finding]:
    low = [figure for figure in stage.figures if figure.low]
    if not low:
        return
    text = "; ".join(
        f"{figure.name}: {figure.value:.4g} {figure.unit}, usually from {figure.usual[0]:.4g}"
        for figure in low
        if figure.usual is not None
    )
    sources = ", ".join(dict.fromkeys(figure.source for figure in low))
    yield _own("slow", stage, [Evidence(f"selftest {stage.id}", text), Evidence(sources, text)])

"""What a plan file says of itself, and what the libraries here would do with it; no GPU needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cuready.runtime as rt
from cuready._util import format_bytes
from cuready.errors import CureadyError, InputError, LibraryNotFound

__all__ = ["BUILD_HINT", "check", "describe", "info_lines"]

RTX_TAGS = (b"vtrt",)
RTX_LIBRARY = {
    True: "cuready does not drive TensorRT for RTX; a program that does may take this plan",
    False: "TensorRT for RTX runs plans of its own alone",
}

BUILD_HINT = "`cuready engine build` makes a plan from an ONNX model"
UNKNOWN_HINT = (
    "not a TensorRT plan that cuready knows: TensorRT for RTX, ONNX and TorchScript files look so"
)


def describe(path: Path, library: Path | None = None) -> dict[str, Any]:
    """Header, size, builder's version, and whether the installed TensorRT can load it.

    Raises InputError for what cannot be read and PlanInvalid for what is no plan at all.
    """
    plan = rt.probe(path)
    facts: dict[str, Any] = {
        "path": str(path),
        "size": plan.size,
        "kind": plan.kind,
        "tag": plan.tag,
        "built_by": str(plan.built_by) if plan.built_by else None,
        "declared_size": plan.declared_size,
        "truncated": plan.truncated,
        "compute_capability": plan.compute_capability,
        "hardware_compatibility": plan.hardware_compatibility,
        "has_host_code": plan.has_host_code,
        "reason": plan.reason,
        "library": str(library) if library else None,
    }
    rtx = rtx_version(path)
    if rtx is not None:
        facts |= {"kind": "tensorrt-rtx", "built_by": rtx}
    facts["libraries"] = [
        _judge(info, plan, rtx is not None)
        for info in rt.find_libraries(library)
        if not info.problem or library is not None  # the one that was named is judged all the same
    ]
    facts["loads_here"] = next(
        (entry["path"] for entry in facts["libraries"] if entry["loads"]), None
    )
    return facts


def check(path: Path) -> None:
    """Refuse by name what no TensorRT could load, by its header alone.

    Raises InputError for a file that cannot be read, is no plan, or is cut short. A plan of
    TensorRT for RTX is one; which library takes it is the runtime's to say.
    """
    plan = rt.probe(path)
    if rtx_version(path) is not None:
        return
    if plan.kind == "unknown":
        raise InputError(f"{path}: {plan.reason or 'no TensorRT plan'}", hint=BUILD_HINT)
    if plan.truncated:
        message = f"{path}: cut short: {plan.size} of {plan.declared_size} bytes"
        raise InputError(message, hint="copy or download it again")


def rtx_version(path: Path) -> str | None:
    """The version of TensorRT for RTX that built a plan, or None for a plan of another product.

    Its header has TensorRT's layout with its own tag (seen in plans that 1.7.1.116 built):
    major, minor, patch and build are the bytes 24 to 27.
    """
    with path.open("rb") as file:
        header = file.read(32)
    if len(header) < 32 or header[:4] not in RTX_TAGS:
        return None
    major, minor, patch, build = header[24:28]
    return f"{major}.{minor}.{patch}.{build}"


def _judge(info: rt.LibraryInfo, plan: rt.PlanInfo, is_rtx: bool) -> dict[str, Any]:
    """One library: its version, and what it says to the plan by the header alone."""
    entry: dict[str, Any] = {"path": info.path, "kind": info.kind, "loads": False}
    if info.problem:
        return entry | {"why": info.problem}
    if info.kind == "rtx":
        entry["why"] = RTX_LIBRARY[is_rtx]
        return entry
    try:
        library = rt.load(info.path)
        entry["version"] = str(library.version)
        if is_rtx:
            entry["why"] = "a plan of TensorRT for RTX runs on TensorRT for RTX alone"
            return entry
        library.check_plan(plan)
    except LibraryNotFound as error:
        entry["why"] = error.message
    except CureadyError as error:
        entry["why"] = error.message
        if error.hint:
            entry["hint"] = error.hint
    else:
        entry["loads"] = True
    return entry


def info_lines(facts: dict[str, Any]) -> list[str]:
    """The same for people."""
    product = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT for RTX"}.get(facts["kind"])
    lines = [f"{facts['path']}: {format_bytes(facts['size'])}"]
    if product is None:
        lines.append(f"  {facts['reason'] or UNKNOWN_HINT}")
        return lines
    lines.append(f"  built by {product} {facts['built_by'] or 'of an unknown version'}")
    if facts["truncated"]:
        lines.append(
            f"  cut short: its header says {format_bytes(facts['declared_size'])}; copy it again"
        )
    if facts["compute_capability"]:
        lines.append(f"  for compute capability {facts['compute_capability']}")
    if facts["hardware_compatibility"]:
        lines.append(f"  hardware compatibility: {facts['hardware_compatibility']}")
    if facts["has_host_code"]:
        lines.append("  holds code for the host: load it only when you trust where it is from")
    if not facts["libraries"]:
        asked = facts["library"]
        where = f"at {asked}" if asked else "is installed here"
        lines.append(f"  no TensorRT library {where}")
    for entry in facts["libraries"]:
        verdict = "can load it" if entry["loads"] else f"cannot: {entry['why']}"
        name = f"{entry['kind']} {entry.get('version', '')}".rstrip()
        lines.append(f"  {name} at {entry['path']}: {verdict}")
    return lines

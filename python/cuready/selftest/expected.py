"""What was measured on such a GPU or link before: published numbers, each with its source."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

from cuready._util import data_text
from cuready.selftest.model import Figure, Report

__all__ = ["apply", "nvml_facts", "usual"]

Range = tuple[float, float]


@cache
def table() -> dict[str, Any]:
    text = data_text("cuready.selftest", "data/measured.json")
    return dict(json.loads(text))


def usual(figure: str, gpu: str, facts: dict[str, Any]) -> tuple[Range, str] | None:
    """(lowest, highest) that was measured, in GB/s, and where; None when nobody published any.

    ``gpu`` is its name as the driver gives it; ``facts`` are those of :func:`nvml_facts`.
    """
    rows: list[dict[str, Any]] = []
    if figure == "device to device":
        rows = [row for row in table()["device_to_device"] if re.search(row["name"], gpu)]
    elif figure.endswith(", pinned"):
        link = ("pcie_generation", "pcie_lanes")
        rows = [row for row in table()["pinned"] if all(row[key] == facts.get(key) for key in link)]
    if not rows:
        return None
    low, high = rows[0]["gbs"]
    return (low, high), f"{', '.join(rows[0]['source'])} ({rows[0]['as_of']})"


def nvml_facts(uuid: str) -> dict[str, Any]:
    """PCIe generation, PCIe lanes and driver, where NVML tells them. Never raises."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except Exception:
        return {}
    questions: dict[str, Callable[[], Any]] = {
        "pcie_generation": lambda: pynvml.nvmlDeviceGetMaxPcieLinkGeneration(handle),
        "pcie_lanes": lambda: pynvml.nvmlDeviceGetMaxPcieLinkWidth(handle),
        "driver": lambda: _text(pynvml.nvmlSystemGetDriverVersion()),
    }
    facts = {}
    for name, question in questions.items():
        try:
            facts[name] = question()
        except Exception:  # noqa: S112 - a virtual or old GPU does not tell it
            continue
    pynvml.nvmlShutdown()
    return facts


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def apply(report: Report) -> None:
    """Put what others measured beside each figure."""
    gpu = str(report.machine.get("gpu", ""))
    for stage in report.stages:
        stage.figures = [_with_usual(figure, gpu, report.machine) for figure in stage.figures]


def _with_usual(figure: Figure, gpu: str, facts: dict[str, Any]) -> Figure:
    known = usual(figure.name, gpu, facts)
    if known is None:
        return figure
    return Figure(figure.name, figure.value, figure.unit, *known)

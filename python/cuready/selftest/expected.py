"""What a GPU of this name usually gives: from data sheets, else from its own clocks and widths."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

from cuready.selftest.model import Figure, Report

__all__ = ["apply", "nvml_facts", "usual"]

Range = tuple[float, float]


@cache
def table() -> dict[str, Any]:
    text = resources.files("cuready.selftest").joinpath("data/gpus.json").read_text("utf-8")
    return dict(json.loads(text))


def usual(figure: str, gpu: str, facts: dict[str, Any]) -> tuple[Range, str] | None:
    """(lowest, highest) usual value and its source, or None when it is not known."""
    if figure == "device to device":
        return _memory(gpu, facts)
    if "host, pinned" in figure or figure == "host to device, pinned":
        return _link(facts)
    return None


def _memory(gpu: str, facts: dict[str, Any]) -> tuple[Range, str] | None:
    low, high = table()["copy_share"]
    for row in table()["gpus"]:
        if re.search(row["name"], gpu):
            return (low * row["memory_gbs"], high * row["memory_gbs"]), row["source"]
    clock, width = facts.get("memory_clock_mhz"), facts.get("memory_bus_bits")
    if clock and width:
        peak = 2 * clock * width / 8 / 1000  # two transfers a clock
        return (low * peak, high * peak), f"{clock} MHz and {width} bits, as NVML says"
    return None


def _link(facts: dict[str, Any]) -> tuple[Range, str] | None:
    lane = table()["pcie"]["gbs_per_lane"].get(str(facts.get("pcie_generation")))
    lanes = facts.get("pcie_lanes")
    if lane is None or not lanes:
        return None
    low, high = table()["pcie"]["copy_share"]
    where = f"PCIe {facts['pcie_generation']} x{lanes}, as NVML says"
    return (low * lane * lanes, high * lane * lanes), where


def nvml_facts(uuid: str) -> dict[str, Any]:
    """Memory clock and width, PCIe generation and lanes, where NVML tells them. Never raises."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
    except Exception:
        return {}
    questions: dict[str, Callable[[], Any]] = {
        "memory_clock_mhz": lambda: pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM),
        "memory_bus_bits": lambda: pynvml.nvmlDeviceGetMemoryBusWidth(handle),
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
    """Put what is usual beside each measured figure."""
    gpu = str(report.machine.get("gpu", ""))
    for stage in report.stages:
        stage.figures = [_with_usual(figure, gpu, report.machine) for figure in stage.figures]


def _with_usual(figure: Figure, gpu: str, facts: dict[str, Any]) -> Figure:
    known = usual(figure.name, gpu, facts)
    if known is None:
        return figure
    return Figure(figure.name, figure.value, figure.unit, *known)

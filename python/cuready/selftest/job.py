"""What a stage works with: options, the device, and where it puts what it measures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import cuready.runtime as rt

__all__ = ["Job", "StageFailedError", "StageSkippedError"]


class StageFailedError(Exception):
    """The GPU did something wrong. ``kind`` chooses the finding; ``details`` go into the report."""

    def __init__(self, reason: str, *, kind: str, **details: Any) -> None:
        super().__init__(reason)
        self.kind = kind
        self.details = details


class StageSkippedError(Exception):
    """The stage cannot prove anything here. ``unanswered``: it was asked for all the same."""

    def __init__(self, reason: str, *, unanswered: bool = False) -> None:
        super().__init__(reason)
        self.unanswered = unanswered


class Job:
    """One stage's run. ``session`` is shared by the stages of one process: device, modules."""

    def __init__(
        self,
        stage: str,
        options: Mapping[str, Any],
        session: dict[str, Any],
        say: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self.stage = stage
        self.options = options
        self.session = session
        self.say = say
        self.figures: list[dict[str, Any]] = []
        self.series: list[dict[str, Any]] = []
        self.facts: dict[str, Any] = {}
        self.reason = ""

    @property
    def quick(self) -> bool:
        return bool(self.options["mode"] == "quick")

    @cached_property
    def device(self) -> rt.Device:
        import cuready.runtime as rt

        if "device" not in self.session:
            self.session["device"] = rt.Device(int(self.options["device"]))
        device: rt.Device = self.session["device"]
        return device

    @cached_property
    def compute_capability(self) -> tuple[int, int]:
        major, minor = self.device.describe()["compute_capability"].split(".")
        return int(major), int(minor)

    def stream(self) -> rt.Stream:
        import cuready.runtime as rt

        return rt.Stream(self.device)

    def kernel(self, file: str, name: str, signature: str) -> rt.Kernel:
        """A kernel of ``data/kernels/FILE.ptx``, compiled by the driver once a process."""
        import cuready.runtime as rt

        modules: dict[str, rt.Module] = self.session.setdefault("modules", {})
        if file not in modules:
            path = resources.files("cuready.selftest").joinpath(f"data/kernels/{file}.ptx")
            modules[file] = rt.Module(path.read_text("utf-8"), device=self.device)
        return modules[file].kernel(name, signature)

    def figure(self, name: str, value: float, unit: str) -> None:
        self.figures.append({"name": name, "value": value, "unit": unit})

    def line(
        self, plot: str, name: str, x: Sequence[float], y: Sequence[float], units: tuple[str, str]
    ) -> None:
        self.series.append(
            {"plot": plot, "name": name, "x": list(x), "y": list(y),
             "x_unit": units[0], "y_unit": units[1]}
        )  # fmt: skip

    def fact(self, name: str, value: Any) -> None:
        self.facts[name] = value

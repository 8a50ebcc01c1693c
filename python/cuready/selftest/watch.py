"""Watches a GPU through NVML while it works: clocks, heat, power, throttling, ECC errors, Xids."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Problem", "Watch"]

# nvmlClocksEventReason…: https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html
THROTTLE = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "hot (software)",
    0x40: "hot (hardware)",
    0x80: "power brake",
}
HARD = 0x8 | 0x40 | 0x80
CURVES = (("temperature", "°C"), ("SM clock", "MHz"), ("memory clock", "MHz"), ("power", "W"))


@dataclass(frozen=True)
class Problem:
    """Something that ends a soak."""

    kind: str
    text: str
    details: dict[str, Any] = field(default_factory=dict)


class Watch:
    """A GPU by its UUID. Without NVML, or for what a GPU does not tell, the values are missing."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.missing = ""
        self.samples: list[tuple[float, dict[str, float]]] = []
        self.reasons = 0
        self.xids: list[int] = []
        self._begin = time.monotonic()
        self._nvml: Any = None
        self._handle: Any = None
        self._events: Any = None
        self._ecc_before: int | None = None
        self._ecc_now: int | None = None

    def __enter__(self) -> Watch:
        try:
            import pynvml

            pynvml.nvmlInit()
            self._nvml = pynvml
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(self.uuid)
        except Exception as error:  # no library, no permission, an old driver: the load still runs
            self.missing = f"NVML does not answer: {error}"
            self._handle = None
            return self
        self._ecc_before = self._ecc()
        self._ecc_now = self._ecc_before
        self._listen()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._nvml is None:
            return
        if self._events is not None:
            self._ask(lambda: self._nvml.nvmlEventSetFree(self._events))
        self._ask(self._nvml.nvmlShutdown)

    def _ask(self, question: Callable[[], Any]) -> Any:
        """The answer, or None where this GPU or driver has none."""
        try:
            return question()
        except Exception:
            return None

    def _ecc(self) -> int | None:
        """Uncorrected errors since the driver was loaded."""
        nvml = self._nvml
        answer = self._ask(
            lambda: nvml.nvmlDeviceGetTotalEccErrors(
                self._handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
            )
        )
        return int(answer) if answer is not None else None

    def _listen(self) -> None:
        nvml = self._nvml
        events = self._ask(nvml.nvmlEventSetCreate)
        if events is None:
            return
        kind = nvml.nvmlEventTypeXidCriticalError
        if self._ask(lambda: nvml.nvmlDeviceRegisterEvents(self._handle, kind, events) or True):
            self._events = events

    def sample(self) -> dict[str, float]:
        """Read everything once. The keys are those of `CURVES`, as far as they are known."""
        if self._handle is None:
            return {}
        nvml, handle = self._nvml, self._handle
        watts = self._ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        raw = {
            "temperature": self._ask(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            "SM clock": self._ask(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            "memory clock": self._ask(
                lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)
            ),
            "power": watts / 1000 if watts is not None else None,
        }
        now = {name: float(value) for name, value in raw.items() if value is not None}
        self.samples.append((time.monotonic() - self._begin, now))
        reasons = self._ask(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
        self.reasons |= int(reasons or 0)
        self._ecc_now = self._ecc()
        self._drain()
        return now

    def _drain(self) -> None:
        """Xids since the last look; NVML raises a timeout when there are none."""
        while self._events is not None:
            event = self._ask(lambda: self._nvml.nvmlEventSetWait_v2(self._events, 0))
            if event is None:
                return
            self.xids.append(int(event.eventData))

    def problem(self) -> Problem | None:
        if self.xids:
            numbers = ", ".join(map(str, sorted(set(self.xids))))
            return Problem("xid", f"the driver reports Xid {numbers}", {"xids": self.xids})
        if self.ecc_errors:
            text = f"{self.ecc_errors} uncorrected ECC errors during the run"
            return Problem("ecc", text, {"ecc": self.ecc_errors})
        return None

    @property
    def ecc_errors(self) -> int:
        """Uncorrected errors since the watch began."""
        if self._ecc_before is None or self._ecc_now is None:
            return 0
        return self._ecc_now - self._ecc_before

    @property
    def throttled(self) -> list[str]:
        """Why the clocks were held down at some time, in words."""
        return [text for bit, text in THROTTLE.items() if self.reasons & bit]

    def remark(self) -> str:
        if self.missing:
            return f"; {self.missing}"
        return f"; clocks were held down: {', '.join(self.throttled)}" if self.throttled else ""

    def curves(self) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
        """(name, unit, [(seconds, value), …]) of what this GPU tells."""
        for name, unit in CURVES:
            values = [(at, sample[name]) for at, sample in self.samples if name in sample]
            if values:
                yield name, unit, values

    def summary(self) -> dict[str, Any]:
        return {
            "missing": self.missing,
            "throttled": self.throttled,
            "hardware_throttled": bool(self.reasons & HARD),
            "ecc_uncorrected": self.ecc_errors,
            "ecc_known": self._ecc_before is not None,
            "xids": self.xids,
            "xids_watched": self._events is not None,
        }

"""What NVML says during a soak: Xids and ECC errors end it, throttling is a remark."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from cuready.selftest.watch import Watch


class FakeNvml(types.ModuleType):
    """As much of pynvml as the watch asks; `ecc`, `xids` and `reasons` are what it answers."""

    NVML_TEMPERATURE_GPU, NVML_CLOCK_SM, NVML_CLOCK_MEM = 0, 1, 2
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC = 1, 0
    nvmlEventTypeXidCriticalError = 8

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.ecc, self.xids, self.reasons = 3, [], 0

    def nvmlEventSetWait_v2(self, _events: object, _ms: int) -> Any:
        if not self.xids:
            raise RuntimeError("Timeout")
        return types.SimpleNamespace(eventData=self.xids.pop())

    def __getattr__(self, name: str) -> Any:
        answers = {"nvmlDeviceGetTotalEccErrors": lambda *_: self.ecc,
                   "nvmlDeviceGetPowerUsage": lambda _h: 350_500,
                   "nvmlDeviceGetTemperature": lambda *_: 61,
                   "nvmlDeviceGetClockInfo": lambda _h, kind: 1980 if kind == 1 else 2619,
                   "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _h: self.reasons}  # fmt: skip
        if name.startswith("nvml"):
            return answers.get(name, lambda *_: object())
        raise AttributeError(name)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def test_samples_become_curves(nvml: FakeNvml) -> None:
    with Watch("GPU-1") as watch:
        watch.sample()
        assert watch.problem() is None
    curves = {name: [value for _, value in values] for name, _, values in watch.curves()}
    assert curves == {
        "temperature": [61],
        "SM clock": [1980],
        "memory clock": [2619],
        "power": [350.5],
    }


def test_an_xid_is_a_problem(nvml: FakeNvml) -> None:
    with Watch("GPU-1") as watch:
        nvml.xids = [79]
        watch.sample()
        problem = watch.problem()
    assert problem is not None
    assert (problem.kind, problem.text) == ("xid", "the driver reports Xid 79")


def test_ecc_errors_from_before_do_not_count(nvml: FakeNvml) -> None:
    with Watch("GPU-1") as watch:
        watch.sample()
        assert watch.problem() is None
        nvml.ecc = 5
        watch.sample()
        problem = watch.problem()
    assert problem is not None
    assert (problem.kind, problem.details) == ("ecc", {"ecc": 2})


def test_throttling_is_named(nvml: FakeNvml) -> None:
    nvml.reasons = 0x4 | 0x40
    with Watch("GPU-1") as watch:
        watch.sample()
    assert watch.remark() == "; clocks were held down: power cap, hot (hardware)"


def test_without_nvml_the_watch_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with Watch("GPU-1") as watch:
        assert watch.sample() == {}
    assert "NVML does not answer" in watch.remark()

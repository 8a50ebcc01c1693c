"""The self-test on the simulated driver and TensorRT, as a person runs it: in child processes."""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime_sim import SimLibraries, build, plans

from cuready.selftest.model import Report
from cuready.selftest.run import selftest
from cuready.selftest.stages import Options

Run = Callable[..., Report]


@pytest.fixture(scope="session")
def libraries() -> SimLibraries:
    return build()


@pytest.fixture(scope="session")
def own_plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of self-test plans that the simulated TensorRT 10.6 runs; `wrong` lies."""
    folder = tmp_path_factory.mktemp("plans")
    for name, bias in (("right", 1.0), ("wrong", 2.0)):
        plans.for_selftest(folder / name, bias=bias)
    return folder


@pytest.fixture
def run(libraries: SimLibraries, own_plans: Path) -> Run:
    """``run("op.h2d@1=corrupt", only=("copies",))`` → the report of a quick self-test."""

    def start(faults: str = "", *, release: str = "10.6", environment: dict[str, str] | None = None,
              gpus: str = "Simulated H100:9.0:256;Simulated A10:8.6:256", **options: object) -> Report:  # fmt: skip
        given = {
            "CUREADY_LIBCUDA": str(libraries.driver),
            "CUREADY_TENSORRT": str(libraries.tensorrt(release)),
            "CUREADY_SIM_DEVICES": gpus,
            "CUREADY_SIM_FAULTS": faults,
            "CUREADY_SELFTEST_PLANS": str(own_plans / "right"),
            **(environment or {}),
        }
        options = {"mode": "quick", "memory_share": 0.1, **options}
        return selftest(Options(environment=given, **options))  # type: ignore[arg-type]

    return start


def half(value: float) -> bytes:
    return struct.pack("<e", value)

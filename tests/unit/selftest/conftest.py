"""The self-test on the simulated driver and TensorRT, as a person runs it: in child processes."""

from __future__ import annotations

import json
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
    x = [float(i) for i in range(8)]
    for name, bias in (("right", 1.0), ("wrong", 2.0)):
        target = folder / name
        target.mkdir()
        (target / "a.plan").write_bytes(plans.affine(bias=bias))
        answers = {
            "inputs": {"x": {"shape": [2, 4], "values": x}},
            "outputs": {"y": {"shape": [2, 4], "values": [2 * value + 1 for value in x]}},
        }
        (target / "a.json").write_text(json.dumps(answers))
        row = {"file": "a.plan", "expected": "a.json", "built_by": "10.6.0", "tolerance": 0,
               "minimum_compute_capability": "8.0", "about": "y = 2x + 1"}  # fmt: skip
        (target / "manifest.json").write_text(json.dumps({"plans": [row]}))
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

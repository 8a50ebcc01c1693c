"""The Python runtime on the simulated driver and TensorRT, in this process."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime_sim import SimDriver, SimLibraries, SimTensorRT, build

import cuready.runtime as rt

Loader = Callable[..., rt.Engine]


@pytest.fixture(scope="session")
def libraries() -> SimLibraries:
    return build()


@pytest.fixture(scope="session")
def _driver(libraries: SimLibraries) -> SimDriver:
    """The simulated driver becomes this process's driver, without staying in its environment."""
    patch = pytest.MonkeyPatch()
    driver = SimDriver(libraries.driver)
    driver.set_devices("Simulated H100:9.0:4096;Simulated A10:8.6:1024")
    patch.setenv("CUREADY_LIBCUDA", str(libraries.driver))
    assert rt.device_count() == 2
    patch.undo()
    assert "CUREADY_LIBCUDA" not in os.environ
    return driver


@pytest.fixture
def driver(_driver: SimDriver) -> Iterator[SimDriver]:
    """The simulated driver; afterwards nothing may have been misused."""
    _driver.clear_violations()
    _driver.clear_faults()
    _driver.make_current()
    yield _driver
    _driver.clear_faults()
    _driver.set_delay("kernel", 0)
    _driver.set_delay("copy", 0)
    _driver.set_delay("launch", 0)
    gc.collect()
    assert _driver.violations() == []


@pytest.fixture
def tensorrt(libraries: SimLibraries) -> Iterator[SimTensorRT]:
    """The simulated TensorRT 10.6."""
    control = SimTensorRT(libraries.tensorrt("10.6"))
    control.clear_faults()
    yield control
    control.clear_faults()
    control.clear_plugins()


@pytest.fixture
def load(libraries: SimLibraries, driver: SimDriver) -> Loader:
    """``load(plan, release="10.6")`` → an engine of the simulated TensorRT."""

    def load_plan(plan: bytes, release: str = "10.6", **options: object) -> rt.Engine:
        runtime = rt.Runtime(rt.load(libraries.tensorrt(release)))
        return runtime.load(plan, **options)  # type: ignore[arg-type]

    return load_plan

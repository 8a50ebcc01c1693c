"""The simulated CUDA driver and TensorRT for Python tests: build, write plans, control.

    libraries = build()                      # compiled once per source state, or $CUREADY_SIM_DIR
    plan = plans.affine(version="10.6.0")    # bytes that the simulated TensorRT 10.6 runs
    env = libraries.environment("10.6")      # for a subprocess: CUREADY_LIBCUDA, CUREADY_TENSORRT

The C++ side and the fault points are described in cpp/tests/sim/README.md.
"""

from __future__ import annotations

from runtime_sim import plans
from runtime_sim.control import SimDriver, SimTensorRT
from runtime_sim.libraries import SimLibraries, build

__all__ = ["SimDriver", "SimLibraries", "SimTensorRT", "build", "plans"]

"""The simulation itself: what it must notice, it notices. Each case runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from runtime_sim import SimLibraries, build, plans

PRELUDE = """
import ctypes as C, sys
sys.path.insert(0, {tests!r})
from runtime_sim import SimDriver, SimTensorRT
sim = SimDriver({driver!r}); sim.make_current()
P = C.c_void_p
def slot(obj, number, restype, *types):
    impl = C.cast(obj, C.POINTER(P))[1]
    vptr = C.cast(impl, C.POINTER(P))[0]
    function = C.CFUNCTYPE(restype, P, *types)(C.cast(vptr, C.POINTER(P))[number])
    return lambda *arguments: function(impl, *arguments)
"""
LOGGER = """
LOG = C.CFUNCTYPE(None, P, C.c_int, C.c_char_p)(lambda me, severity, text: None)
NOTHING = C.CFUNCTYPE(None, P)(lambda me: None)
table = (P * 3)(C.cast(LOG, P), C.cast(NOTHING, P), C.cast(NOTHING, P))
logger = (P * 1)(C.addressof(table))
trt = C.CDLL({tensorrt!r})
trt.createInferRuntime_INTERNAL.restype = P
runtime = trt.createInferRuntime_INTERNAL(logger, 0)
"""


@pytest.fixture(scope="module")
def libraries() -> SimLibraries:
    return build()


def run(
    libraries: SimLibraries, code: str, release: str = "10.6"
) -> subprocess.CompletedProcess[str]:
    tests = str(Path(__file__).parent)
    names = {
        "tests": tests,
        "driver": str(libraries.driver),
        "tensorrt": str(libraries.tensorrt(release)),
    }
    program = PRELUDE.format(**names) + code.replace("LOGGER()", LOGGER.format(**names))
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("a = sim.alloc(64); sim.free(a); sim._library.cuMemFree_v2(C.c_uint64(a))", "double free"),
        ("a = sim.alloc(64); sim._library.cuMemcpyHtoD_v2(C.c_uint64(a), b'x' * 65, C.c_size_t(65))",
         "out of bounds"),
        ("a = sim.alloc(64); sim.free(a)\n"
         "sim._library.cuMemcpyHtoD_v2(C.c_uint64(a), b'x', C.c_size_t(1))", "use after free"),
        ("s = sim.stream(); sim.destroy_stream(s); sim._library.cuStreamSynchronize(P(s))",
         "a stream that does not exist"),
        ("e = P(); sim._library.cuEventCreate(C.byref(e), 0); sim._library.cuEventDestroy_v2(e)\n"
         "sim._library.cuEventDestroy_v2(e)", "destroyed twice"),
        ("h = P(); sim._library.cuMemHostAlloc(C.byref(h), C.c_size_t(64), 0); s = sim.stream()\n"
         "a = sim.alloc(64); sim.set_delay('copy', 20000)\n"
         "sim._library.cuMemcpyHtoDAsync_v2(C.c_uint64(a), h, C.c_size_t(64), P(s))\n"
         "sim._library.cuMemFreeHost(h)", "while queued work still uses it"),
    ],
)  # fmt: skip
def test_misuse_of_the_driver_is_recorded(libraries: SimLibraries, code: str, words: str) -> None:
    done = run(libraries, f"{code}\nprint(sim.violations())")
    assert words in done.stdout, done.stderr


def test_host_code_that_reads_a_device_pointer_crashes(libraries: SimLibraries) -> None:
    done = run(libraries, "a = sim.alloc(64); C.string_at(a, 1)")
    assert done.returncode == -11


def test_leaks_are_listed(libraries: SimLibraries) -> None:
    done = run(libraries, "sim.alloc(64); sim.stream(); print(sim.live())")
    assert "device memory 64 bytes" in done.stdout
    assert "1 streams" in done.stdout


def test_work_without_a_wait_is_not_done_yet(libraries: SimLibraries) -> None:
    code = """
a = sim.alloc(4); s = sim.stream()
sim.produce(s, a, 1, 5.0, 200000)
import struct; print(struct.unpack('f', sim.read(a, 4))[0] == 5.0)
sim.synchronize(s); print(struct.unpack('f', sim.read(a, 4))[0] == 5.0)
"""
    assert run(libraries, code).stdout.split() == ["False", "True"]


def test_unversioned_names_of_the_32_bit_interface_are_traps(libraries: SimLibraries) -> None:
    done = run(libraries, "sim._library.cuMemAlloc(None, 4)")
    assert done.returncode == -6
    assert "look up cuMemAlloc_v2" in done.stderr


@pytest.mark.parametrize(
    ("release", "number", "words"),
    [
        ("10.6", 23, "VRuntime slot 23 (deserializeCudaEngineV2) does not exist in 10.6.0"),
        ("10.6", 20, "VRuntime slot 20 (loadRuntime) was called, which the simulation"),
        ("10.6", 24, "past the end of a vtable"),
        ("10.6", 1, "destroyed through the complete destructor"),
        ("8.5", 16, "VRuntime slot 16 (getPImpl) does not exist in 8.5.3, it came with 8.6.0"),
    ],
)
def test_a_wrong_slot_is_named(
    libraries: SimLibraries, release: str, number: int, words: str
) -> None:
    done = run(libraries, f"LOGGER()\nslot(runtime, {number}, P)()", release)
    assert done.returncode == -6
    assert words in done.stderr


def test_a_right_slot_answers(libraries: SimLibraries) -> None:
    plan = plans.affine(version="10.6.0")
    code = f"""LOGGER()
plan = {plan!r}
engine = slot(runtime, 3, P, C.c_char_p, C.c_size_t)(plan, len(plan))
print(slot(engine, 30, C.c_int)(), slot(engine, 31, C.c_char_p, C.c_int)(1))
"""
    assert run(libraries, code).stdout.split() == ["2", "b'y'"]


def test_plans_have_the_header_of_real_ones() -> None:
    plan = plans.affine(version="10.6.0.26")
    assert plan[:4] == b"ftrt"
    assert int.from_bytes(plan[16:24], "little") == len(plan)
    assert tuple(plan[24:28]) == (10, 6, 0, 26)
    real = Path(__file__).resolve().parents[1] / "data" / "engines" / "10.6" / "affine.plan"
    assert int.from_bytes(real.read_bytes()[16:24], "little") == real.stat().st_size

"""Runs the self-test on a GPU and holds its numbers against plain C++ loops."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUT = Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="cuready-selftest-"))
ENGINES = ROOT / "tests" / "data" / "engines" / "10.6"
PLANS = ("negate_scalar", "mlp", "cnn")
GIB = 1 << 30
QUICK_S, COPY_SHARE, GPU_SHARE, ENQUEUE_SHARE = 10.0, 0.05, 0.01, 0.05
ROUNDS, RUNS = 9, 2000

Row = dict[str, Any]


def cuready(*arguments: str) -> tuple[int, str, float]:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cuready", *arguments], capture_output=True,
                          text=True, timeout=560, check=False)  # fmt: skip
    print(f"$ cuready {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-1500:]}")
    return done.returncode, done.stdout, time.monotonic() - begin


def plain_library() -> ctypes.CDLL:
    target = Path(tempfile.mkdtemp(prefix="cuready-plain-")) / "plain.so"
    source = ROOT / "benchmarks" / "native" / "plain.cpp"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O3", "-fPIC", "-shared",
                    str(source), "-o", str(target), "-ldl"], check=True)  # fmt: skip
    library = ctypes.CDLL(str(target))
    address, size = ctypes.c_uint64, ctypes.c_size_t
    library.plain_copies.argtypes = [address, address, size, ctypes.c_int, ctypes.c_void_p]
    library.plain_copies.restype = ctypes.c_float
    numbers = ctypes.POINTER(ctypes.c_double)
    library.plain_engine.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                     ctypes.c_int, numbers, numbers]  # fmt: skip
    return library


def library_option(arguments: argparse.Namespace) -> list[str]:
    return ["--library", str(arguments.library)] if arguments.library else []


def step_quick(arguments: argparse.Namespace) -> list[Row]:
    """Every stage, timed from outside; the second run has the driver's caches warm."""
    rows = []
    for label in ("first", "second"):
        code, text, seconds = cuready("selftest", "--quick", "--format", "json",
                                      *library_option(arguments))  # fmt: skip
        report = json.loads(text)
        (OUT / f"selftest-quick-{label}.json").write_text(text)
        bad = [f"{s['id']}: {s['reason']}" for s in report["stages"] if s["status"] == "failed"]
        words = ", ".join(f"{s['id']} {s['ms'] / 1000:.2f}" for s in report["stages"])
        rows.append({"what": f"selftest --quick, {label}", "result": f"{seconds:.2f} s ({words})",
                     "limit": f"{QUICK_S} s", "met": seconds <= QUICK_S and code == 0,
                     "problems": bad})  # fmt: skip
    return rows


def step_copies(_arguments: argparse.Namespace) -> list[Row]:
    """Device to device: the self-test's figure and a loop of cuMemcpyDtoDAsync."""
    import cuready.runtime as rt

    library = plain_library()
    device, size = rt.Device(0), GIB
    size = min(size, device.memory[0] // 8)
    source, target = (rt.DeviceBuffer(size, device=device) for _ in range(2))
    stream = rt.Stream(device)
    stream.record().synchronize()
    ours, plain = [], []
    rt.time_copies(target, source, size, 2, stream=stream)
    make_current(device)
    for _ in range(ROUNDS):
        ours.append(2 * size * 20 / rt.time_copies(target, source, size, 20, stream=stream) / 1e6)
        ms = library.plain_copies(target.ptr, source.ptr, size, 20, stream.handle)
        if ms <= 0:
            raise RuntimeError(f"the plain loop gave {ms}")
        plain.append(2 * size * 20 / ms / 1e6)
    peer = statistics.median(plain)
    rows = [row("device to device, same process", statistics.median(ours), peer, COPY_SHARE,
                "GB/s")]  # fmt: skip
    del source, target
    _, text, _ = cuready("selftest", "--quick", "--only", "copies", "--format", "json")
    stage = next(s for s in json.loads(text)["stages"] if s["id"] == "copies")
    for figure in stage["figures"]:
        if figure["name"] == "device to device":
            rows.append(row("device to device, selftest's figure", figure["value"], peer,
                            COPY_SHARE, "GB/s"))  # fmt: skip
    return rows


def make_current(device: Any) -> None:
    """The plain loop needs the primary context on this thread, as any CUDA program has it."""
    cuda = ctypes.CDLL(os.environ.get("CUREADY_LIBCUDA") or "libcuda.so.1")
    context = ctypes.c_void_p()
    assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device.ordinal) == 0
    assert cuda.cuCtxSetCurrent(context) == 0


def row(what: str, ours: float, peer: float, share: float, unit: str) -> Row:
    off = abs(ours / peer - 1)
    return {"what": what, "ours": f"{ours:.5g} {unit}", "peer": f"{peer:.5g} {unit}",
            "result": f"{100 * (ours / peer - 1):+.2f} %", "limit": f"{100 * share:g} %",
            "met": off <= share}  # fmt: skip


def step_bench(arguments: argparse.Namespace) -> list[Row]:
    """`engine bench` and the plain loop over the same plan, in turn, in one process."""
    import cuready.runtime as rt

    library = plain_library()
    runtime = rt.Runtime(arguments.library)
    make_current(runtime.device)
    rows = []
    for path in arguments.plan or [ENGINES / f"{name}.plan" for name in PLANS]:
        engine = runtime.load(path)
        context = engine.create_context(profile=0)
        stream = rt.Stream(engine.device)
        opt = engine.profiles[0].opt
        feeds = {name: rt.DeviceBuffer(opt.get(name, info.shape), info.dtype)
                 for name, info in engine.inputs.items()}  # fmt: skip
        for buffer in feeds.values():
            rt.fill(buffer, 0, stream=stream)
        shapes = context.shapes({name: buffer.shape for name, buffer in feeds.items()})
        outputs = {name: rt.DeviceBuffer(shapes[name], info.dtype)
                   for name, info in engine.outputs.items()}  # fmt: skip
        context.run(feeds, outputs, stream=stream)  # binds what the plain loop runs on
        stream.synchronize()
        object_, function = context._native_handle()
        ours: dict[str, list[float]] = {"gpu": [], "enqueue": []}
        peer: dict[str, list[float]] = {"gpu": [], "enqueue": []}
        seconds = 0.3 if not arguments.simulated else 0.05
        runs = RUNS if not arguments.simulated else 50
        for number in range(ROUNDS):
            turns: list[Callable[[], None]] = [
                lambda: ours_once(engine, seconds, ours),  # noqa: B023 - called in this round
                lambda: plain_once(library, object_, function, stream, runs, peer),  # noqa: B023
            ]
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn()
        for figure, share in (("gpu", GPU_SHARE), ("enqueue", ENQUEUE_SHARE)):
            values = [1000 * statistics.median(side[figure]) for side in (ours, peer)]
            rows.append(row(f"{path.stem}, {figure}", *values, share, "µs"))
    return rows


def ours_once(engine: Any, seconds: float, into: dict[str, list[float]]) -> None:
    report = engine.benchmark(duration=seconds, warmup=0.05, transfers=False)
    into["gpu"].append(report.gpu.median)
    into["enqueue"].append(report.enqueue.median)


def plain_once(
    library: ctypes.CDLL, object_: int, function: int, stream: Any, runs: int,
    into: dict[str, list[float]],
) -> None:  # fmt: skip
    enqueue, gpu = ((ctypes.c_double * runs)() for _ in range(2))
    code = library.plain_engine(object_, function, stream.handle, runs, enqueue, gpu)
    if code != 0:
        raise RuntimeError(f"the plain loop gave {code}")
    into["gpu"].append(statistics.median(gpu))
    into["enqueue"].append(statistics.median(enqueue))


def step_reports(arguments: argparse.Namespace) -> list[Row]:
    """The default self-test with a plan of one's own, as HTML; JUnit and JSON of a quick one."""
    plan = (arguments.plan or [ENGINES / "cnn.plan"])[0]
    page = OUT / "selftest.html"
    code, text, seconds = cuready("selftest", "--engine", str(plan), "--output", str(page),
                                  *library_option(arguments))  # fmt: skip
    print(text[-6000:])
    rows = [{"what": "selftest, HTML", "result": f"exit {code} in {seconds:.1f} s",
             "met": code == 0 and page.is_file()}]  # fmt: skip
    for name in ("selftest.xml", "selftest.json"):
        code, _, _ = cuready("selftest", "--quick", "--output", str(OUT / name),
                             *library_option(arguments))  # fmt: skip
        rows.append({"what": name, "result": f"exit {code}", "met": (OUT / name).is_file()})
    code, text, _ = cuready("engine", "bench", str(plan), "--duration", "1", "--cuda-graph",
                            *library_option(arguments))  # fmt: skip
    print(text)
    rows.append({"what": "engine bench", "result": f"exit {code}", "met": code == 0})
    return rows


def step_soak(arguments: argparse.Namespace) -> list[Row]:
    page = OUT / "selftest-long.html"
    minutes = "0.5" if not arguments.simulated else "0.02"
    code, text, _ = cuready("selftest", "--long", minutes, "--only", "soak", "--output", str(page))
    print(text[-3000:])
    return [{"what": f"selftest --long {minutes}", "result": f"exit {code}", "met": code == 0}]


STEPS = {"quick": step_quick, "copies": step_copies, "bench": step_bench,
         "reports": step_reports, "soak": step_soak}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="ci/gpu_selftest.sh")
    parser.add_argument("--library", type=Path, help="the TensorRT library")
    parser.add_argument("--plan", type=Path, action="append", help="a plan to time")
    parser.add_argument("--simulated", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    arguments = parser.parse_args()
    prepared = Path(os.environ.get("CUREADY_GPU_WORK", "/tmp/cuready-gpu")) / "libraries" / "10.6"
    if arguments.library is None and (prepared / "libnvinfer.so.10").is_file():
        arguments.library = prepared / "libnvinfer.so.10"
    OUT.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in arguments.steps or STEPS:
        try:
            rows += STEPS[name](arguments)
        except Exception as error:
            rows.append({"what": name, "result": f"{type(error).__name__}: {error}", "met": False})
        (OUT / "gpu-selftest.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print("| what | ours | plain C++ | result | limit | ok |\n|---|---|---|---|---|---|")
    for one in rows:
        cells = [str(one.get(key, "")) for key in ("what", "ours", "peer", "result", "limit")]
        print(f"| {' | '.join(cells)} | {'yes' if one['met'] else '**no**'} |")
        for problem in one.get("problems", ()):
            print(f"|  · {problem} |||||")
    return 0 if all(one["met"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs the self-test on a GPU and holds its numbers against plain C++ loops."""

from __future__ import annotations

import argparse
import ctypes
import json
import lzma
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
PLANS = ("negate_scalar", "mlp", "cnn", "busy")
WORK = Path(os.environ.get("CUREADY_GPU_WORK", "/tmp/cuready-gpu"))
GIB = 1 << 30
QUICK_S, COPY_SHARE, GPU_SHARE, ENQUEUE_SHARE = 10.0, 0.05, 0.01, 0.05
ROUNDS = 9
# A plan takes BENCH_ROUNDS × 3 turns of WARMUP_S + TURN_S.
BENCH_ROUNDS, TURN_S, WARMUP_S, MOST_RUNS = 18, 0.15, 0.05, 200_000

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
                    str(source), "-o", str(target), "-ldl", "-pthread"], check=True)  # fmt: skip
    library = ctypes.CDLL(str(target))
    address, size = ctypes.c_uint64, ctypes.c_size_t
    library.plain_copies.argtypes = [address, address, size, ctypes.c_int, ctypes.c_void_p]
    library.plain_copies.restype = ctypes.c_float
    numbers = ctypes.POINTER(ctypes.c_double)
    library.plain_engine.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                                     ctypes.c_double, ctypes.c_double, ctypes.c_int,
                                     numbers, numbers]  # fmt: skip
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


class Bench:
    """One plan, timed in turns by `engine bench`'s own loop and by the plain one.

    Both do the same: a context, buffers, a stream and events made for the turn, a thread with the
    device current, a warm-up, two runs in flight, a blocking wait. The plain loop runs twice in
    each round: what it differs from itself is the noise below which nothing can be told.
    """

    def __init__(self, runtime: Any, path: Path, library: ctypes.CDLL, seconds: float) -> None:
        self.engine = runtime.load(plan_bytes(path))
        self.library, self.seconds = library, seconds
        self.name = path.name.partition(".")[0]

    def ours(self) -> dict[str, float]:
        report = self.engine.benchmark(duration=self.seconds, warmup=WARMUP_S, transfers=False)
        return {"gpu": report.gpu.median, "enqueue": report.enqueue.median}

    def plain(self) -> dict[str, float]:
        import cuready.runtime as rt

        context, stream = self.engine.create_context(profile=0), rt.Stream(self.engine.device)
        opt = self.engine.profiles[0].opt
        feeds = {name: rt.DeviceBuffer(opt.get(name, info.shape), info.dtype)
                 for name, info in self.engine.inputs.items()}  # fmt: skip
        for buffer in feeds.values():
            rt.fill(buffer, 0, stream=stream)
        shapes = context.shapes({name: buffer.shape for name, buffer in feeds.items()})
        outputs = {name: rt.DeviceBuffer(shapes[name], info.dtype)
                   for name, info in self.engine.outputs.items()}  # fmt: skip
        context.run(feeds, outputs, stream=stream)  # binds what the plain loop runs on
        stream.synchronize()
        object_, function = context._native_handle()
        enqueue, gpu = ((ctypes.c_double * MOST_RUNS)() for _ in range(2))
        runs = self.library.plain_engine(object_, function, stream.handle, WARMUP_S, self.seconds,
                                         MOST_RUNS, enqueue, gpu)  # fmt: skip
        if runs <= 0:
            raise RuntimeError(f"the plain loop gave {runs}")
        return {"gpu": statistics.median(gpu[:runs]), "enqueue": statistics.median(enqueue[:runs])}

    def rows(self, rounds: int) -> list[Row]:
        """The median of the ratios inside a round, which has all three loops in changing order."""
        turns: list[tuple[str, Callable[[], dict[str, float]]]] = [
            ("ours", self.ours), ("plain", self.plain), ("again", self.plain)]  # fmt: skip
        kept = []
        for number in range(rounds):
            order = turns[number % 3 :] + turns[: number % 3]
            kept.append({name: turn() for name, turn in (order, order[::-1])[number % 2]})
        made = []
        for figure, share in (("gpu", GPU_SHARE), ("enqueue", ENQUEUE_SHARE)):
            ours, plain, again = ([one[side][figure] for one in kept]
                                  for side in ("ours", "plain", "again"))  # fmt: skip
            peers = [(a + b) / 2 for a, b in zip(plain, again, strict=True)]
            off = paired(ours, peers)
            noise = paired(again, plain)
            made.append({
                "what": f"{self.name}, {figure}",
                "ours": f"{1000 * statistics.median(ours):.5g} µs",
                "peer": f"{1000 * statistics.median(peers):.5g} µs",
                "result": f"{100 * off:+.2f} % (plain against itself {100 * noise:+.2f} %)",
                "limit": f"{100 * share:g} %", "met": abs(off) <= share,
                "rounds": [{"ours": a, "plain": b, "again": c}
                           for a, b, c in zip(ours, plain, again, strict=True)],
            })  # fmt: skip
        return made


def paired(ours: list[float], peers: list[float]) -> float:
    """How far the median of the ratios of what was measured side by side is from 1."""
    return statistics.median(a / b for a, b in zip(ours, peers, strict=True)) - 1


def plan_bytes(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def bench_plans(arguments: argparse.Namespace) -> list[Path]:
    """The plans of the repository, and the large one where `ci/gpu.sh prepare` was given it."""
    if arguments.plan:
        return list(arguments.plan)
    large = sorted((WORK / "engines" / "10.6").glob("resnet50_fp16.plan*"))[:1]
    return [*(ENGINES / f"{name}.plan" for name in PLANS), *large]


def step_bench(arguments: argparse.Namespace) -> list[Row]:
    """`engine bench` and the plain loop over the same plan, in turns, in one process."""
    import cuready.runtime as rt

    library = plain_library()
    runtime = rt.Runtime(arguments.library)
    make_current(runtime.device)
    seconds, rounds = (TURN_S, BENCH_ROUNDS) if not arguments.simulated else (0.05, 3)
    rows = []
    for path in bench_plans(arguments):
        rows += Bench(runtime, path, library, seconds).rows(rounds)
    return rows


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


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu_selftest.sh")
    parser.add_argument("--library", type=Path, help="the TensorRT library")
    parser.add_argument("--plan", type=Path, action="append", help="a plan to time")
    parser.add_argument("--simulated", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP")
    arguments = parser.parse_args()
    prepared = WORK / "libraries" / "10.6"
    if arguments.library is None and (prepared / "libnvinfer.so.10").is_file():
        arguments.library = prepared / "libnvinfer.so.10"
    return arguments


def main() -> int:
    arguments = parse()
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

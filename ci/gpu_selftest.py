"""Runs the self-test on a GPU and holds its numbers against plain C++ loops."""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_bench import bench_rows, plan_name
from gpu_peers import peer_rows
from gpu_plain import ROOT, Row, compared, make_current, plain_library

OUT = Path(os.environ.get("OUT") or tempfile.mkdtemp(prefix="cuready-selftest-"))
ENGINES = ROOT / "tests" / "data" / "engines" / "10.6"
PLANS = ("negate_scalar", "mlp", "cnn", "busy")
WORK = Path(os.environ.get("CUREADY_GPU_WORK", "/tmp/cuready-gpu"))
GIB = 1 << 30
QUICK_S, COPY_SHARE = 10.0, 0.05
ROUNDS = 9


def cuready(*arguments: str) -> tuple[int, str, float]:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cuready", *arguments], capture_output=True,
                          text=True, timeout=560, check=False)  # fmt: skip
    print(f"$ cuready {' '.join(arguments)}: exit {done.returncode}\n{done.stderr[-1500:]}")
    return done.returncode, done.stdout, time.monotonic() - begin


def failure(what: str, error: Exception) -> Row:
    return {"what": what, "result": f"{type(error).__name__}: {error}", "met": False}


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
        ms = plain_library().plain_copies(target.ptr, source.ptr, size, 20, stream.handle)
        if ms <= 0:
            raise RuntimeError(f"the plain loop gave {ms}")
        plain.append(2 * size * 20 / ms / 1e6)
    peer = statistics.median(plain)
    rows = [compared("device to device, same process", statistics.median(ours), peer, COPY_SHARE,
                "GB/s")]  # fmt: skip
    del source, target
    _, text, _ = cuready("selftest", "--quick", "--only", "copies", "--format", "json")
    stage = next(s for s in json.loads(text)["stages"] if s["id"] == "copies")
    for figure in stage["figures"]:
        if figure["name"] == "device to device":
            rows.append(compared("device to device, selftest's figure", figure["value"], peer,
                            COPY_SHARE, "GB/s"))  # fmt: skip
    return rows


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

    runtime = rt.Runtime(arguments.library)
    make_current(runtime.device)
    rows: list[Row] = []
    for path in bench_plans(arguments):
        name = plan_name(path)
        try:
            engine = runtime.load(plan_bytes(path))
            rows += bench_rows(engine, name, brief=arguments.simulated)
        except Exception as error:  # the other plans' rows are worth having
            rows.append(failure(name, error))
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


def step_peers(arguments: argparse.Namespace) -> list[Row]:
    """Every GPU by itself, the ways between them, and engines on two of them at once."""
    return peer_rows(cuready, library_option(arguments), arguments.library,
                     (arguments.plan or [ENGINES / "cnn.plan"])[0], OUT)  # fmt: skip


STEPS = {"quick": step_quick, "copies": step_copies, "bench": step_bench,
         "reports": step_reports, "soak": step_soak, "peers": step_peers}  # fmt: skip


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
            rows.append(failure(name, error))
        (OUT / "gpu-selftest.json").write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    print("| what | ours | plain C++ | result | limit | ok |\n|---|---|---|---|---|---|")
    for one in rows:
        cells = [str(one.get(key, "")) for key in ("what", "ours", "peer", "result", "limit")]
        verdict = {True: "yes", False: "**no**", None: "not judged"}[one["met"]]
        print(f"| {' | '.join(cells)} | {verdict} |")
        for problem in one.get("problems", ()):
            print(f"|  · {problem} |||||")
    return 1 if any(one["met"] is False for one in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs benchmarks/asgi.py on a GPU: a minute of 200 clients for each server. See ci/gpu_web.sh."""

from __future__ import annotations

import argparse
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from gpu_prepare import ROOT, Workplace, prepare

LOADS = ("all", "all-4", "rate", "rate-granian", "resnet50")
ENGINES = ROOT / "tests" / "data" / "engines" / "10.6"


def cmake_package(work: Workplace, environment: dict[str, str]) -> Path:
    """The C++ side of the cuready under test: of its wheel, else built and installed from here."""
    asked = subprocess.run([sys.executable, "-m", "cuready", "--cmake-dir"], env=environment,
                           capture_output=True, text=True, check=False)  # fmt: skip
    if asked.returncode == 0:
        return Path(asked.stdout.strip())
    build, prefix = work.folder / "cpp", work.folder / "cpp-installed"
    for command in (
        ["cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release",
         f"-DCMAKE_INSTALL_PREFIX={prefix}"],
        ["cmake", "--build", str(build), "--parallel", str(min(16, os.cpu_count() or 1))],
        ["cmake", "--install", str(build)],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}:\n{(done.stdout + done.stderr)[-2000:]}")
    return next(prefix.rglob("cuready-config.cmake")).parent


def unpacked(work: Workplace, name: str) -> Path | None:
    """A plan that was prepared, plain or packed; None where it was not given."""
    plain = work.engines / "10.6" / name
    packed = plain.with_name(f"{name}.xz")
    if not plain.is_file() and packed.is_file():
        target = work.folder / name
        if not target.is_file():
            target.write_bytes(lzma.decompress(packed.read_bytes()))
        return target
    return plain if plain.is_file() else None


def scenarios(work: Workplace, arguments: argparse.Namespace) -> list[list[str]]:
    """Arguments of benchmarks/asgi.py: ``--first`` for the whole time, the others for a while.

    ``all``: all clients wait for a small network all the time. ``all-4``: with four processes of
    each server. ``resnet50``: the same for a network whose time the GPU spends. ``rate``: 500
    requests a second of the small network, so that most clients are idle at any moment; uvicorn
    answers such load sooner, granian more of the other.
    """
    cnn, resnet = str(ENGINES / "cnn.plan"), unpacked(work, "resnet50_fp16.plan")
    known = {"all": [cnn, "--rate", "0"], "all-4": [cnn, "--rate", "0", "--processes", "4"],
             "rate": [cnn, "--rate", "500", "--server", "uvicorn"],
             "rate-granian": [cnn, "--rate", "500", "--server", "granian"]}  # fmt: skip
    if resnet is not None:
        known["resnet50"] = [str(resnet), "--rate", "0"]
    first = arguments.first
    if first not in known:
        sys.exit(f"--first {first}: its plan was not given")
    wanted = [name for name in arguments.loads or known if name != first]
    if missing := [name for name in wanted if name not in known]:
        sys.exit(f"--loads {missing[0]}: its plan was not given")
    share = ["--native-share", str(arguments.native_share)]
    long = [*known[first], "--seconds", str(arguments.seconds), "--turns", "6", *share]
    short = arguments.short or arguments.seconds / 10
    # How much of it is the HTTP server's is asked where the GPU is idle for most of the time.
    others = [[*known[name], "--seconds", str(short), "--turns", "3"] for name in wanted]
    for name, other in zip(wanted, others, strict=True):
        if not name.startswith("rate"):
            other.append("--no-floor")
    return [long, *others]


def simulated_environment(work: Workplace) -> tuple[dict[str, str], Path]:
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    from runtime_sim import build, plans  # type: ignore[import-not-found]

    plan = work.folder / "affine.plan"
    plan.write_bytes(plans.affine())
    return build().environment("10.6"), plan


def loads(text: str) -> list[str]:
    names = text.split(",")
    if wrong := [name for name in names if name not in LOADS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(LOADS)}")
    return names


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu_web.sh", description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, help="folder of wheels and libraries")
    work = os.environ.get("CUREADY_GPU_WORK", "/tmp/cuready-gpu")
    parser.add_argument("--work", type=Path, default=Path(work))
    parser.add_argument("--library", type=Path, help="the TensorRT library")
    parser.add_argument("--seconds", type=float, default=60, help="for each server")
    parser.add_argument("--first", default="all", choices=LOADS,
                        help="the load that gets the whole time")  # fmt: skip
    parser.add_argument("--loads", type=loads, default=[], metavar="LOAD,LOAD",
                        help="those that are tried; all of them by default")  # fmt: skip
    parser.add_argument("--short", type=float, help="seconds of the loads that are not the first")
    parser.add_argument("--native-share", type=float, default=1.0,
                        help="of the first load's time, for the C++ server")  # fmt: skip
    parser.add_argument("--installed", action="store_true", help="use the installed cuready")
    parser.add_argument("--simulated", action="store_true", help="try the script without a GPU")
    arguments = parser.parse_args()
    if arguments.source is not None and not arguments.source.is_dir():
        parser.error(f"{arguments.source} is no folder")
    return arguments


def main() -> int:
    arguments = parse()
    work = Workplace(arguments.work)
    installed = arguments.installed or arguments.simulated
    for problem in prepare(work, arguments.source, installed=installed):
        print(f"prepare: {problem}", file=sys.stderr)
    if arguments.simulated:
        environment, plan = simulated_environment(work)
        runs = [[str(plan), "--seconds", str(arguments.seconds), "--turns", "2",
                 "--native-share", str(arguments.native_share)]]  # fmt: skip
    else:
        library = arguments.library or work.library("10.6")
        if library is None:
            sys.exit("TensorRT 10.6 was not given: --from DIR or --library FILE")
        environment = {**os.environ, "CUREADY_TENSORRT": str(library)}
        runs = scenarios(work, arguments)
    path = [str(work.site), *filter(None, [os.environ.get("PYTHONPATH")])]
    if not installed:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    environment["cuready_DIR"] = str(cmake_package(work, environment))
    reports: list[dict[str, Any]] = []
    for run in runs:
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "asgi.py"), *run],
            env=environment, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode not in (0, 1) or not done.stdout.startswith("{"):
            print(f"benchmarks/asgi.py {' '.join(run)}: exit {done.returncode}", file=sys.stderr)
            print(done.stdout, file=sys.stderr)
            continue
        reports.append(json.loads(done.stdout))
    met = bool(reports) and bool(reports[0]["met"])
    text = json.dumps({"met": met, "runs": reports})
    if out := os.environ.get("OUT"):
        (Path(out) / "gpu-web.json").write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

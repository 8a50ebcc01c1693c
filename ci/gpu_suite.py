"""Runs the steps of the GPU suite and prints one table. Called by ci/gpu.sh; see there."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET  # our own pytest's output
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).resolve().parent))
import gpu_stand_ins as stand_ins
from gpu_examples import RELEASE, examples
from gpu_prepare import ROOT, Workplace, prepare

STEPS = ("prepare", "build", "correctness", "refusals", "examples", "benchmark")
FULL = ("10.6", "8.6")
LEAN = ("lean-10.16", "lean-11.4")
SECONDS_PER_STEP = 460
TESTS = ROOT / "tests" / "gpu"

Result = dict[str, Any]


class Suite:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.work = Workplace(arguments.work)
        self.source: Path | None = arguments.source
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{self.work.site}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
        }
        self.simulated: dict[str, Path] = {}

    @property
    def engines(self) -> list[Path]:
        """The folders of plans that are there; simulated ones stand alone."""
        folders = [self.work.engines]
        if not self.arguments.simulated:
            folders += [self.work.built, ROOT / "tests" / "data" / "engines"]
        return [path for path in folders if (path / "manifest.json").is_file()]

    def library(self, release: str) -> Path | None:
        return self.simulated.get(release) or self.work.library(release)

    def prepare(self) -> Result:
        installed = self.arguments.installed or self.arguments.simulated
        problems = prepare(self.work, self.source, installed=installed)
        if self.arguments.simulated:
            self.enter_simulation()
        folders = sorted(path.name for path in self.work.libraries.iterdir())
        there = [name for name in dict.fromkeys((*FULL, *LEAN, *folders)) if self.library(name)]
        return {
            "ok": not problems,
            "summary": "; ".join(problems) or f"TensorRT {', '.join(there) or 'none'}",
        }

    def enter_simulation(self) -> None:
        sys.path.insert(0, str(ROOT / "tests" / "unit"))
        from runtime_sim import build  # type: ignore[import-not-found]

        libraries = build()
        self.simulated = {name: libraries.tensorrt(name) for name in FULL}
        for name in LEAN:
            self.simulated[name] = libraries.tensorrt(name.removeprefix("lean-"), "lean")
        self.environment["CUREADY_LIBCUDA"] = str(libraries.driver)
        target = self.work.folder / "simulated"
        subprocess.run([sys.executable, str(TESTS / "simulated_engines.py"), str(target)],
                       check=True, env=self.environment)  # fmt: skip
        shutil.copytree(target, self.work.engines, dirs_exist_ok=True)

    def pytest(self, name: str, release: str, *arguments: str, seconds: int) -> Result:
        """Runs part of tests/gpu on one library; counts come from its JUnit file."""
        library = self.library(release)
        if library is None:
            return {"ok": None, "summary": "this library was not given"}
        report = self.work.results / f"{name}.xml"
        report.unlink(missing_ok=True)
        ini = self.work.folder / "pytest.ini"
        ini.write_text("[pytest]\nmarkers =\n    gpu: needs a GPU\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ini), "--rootdir", str(TESTS),
                   "--confcutdir", str(TESTS), "-p", "no:cacheprovider", "-ra",
                   f"--junitxml={report}", *arguments]  # fmt: skip
        environment = {
            **self.environment,
            "CUREADY_GPU_LIBRARY": str(library),
            "CUREADY_GPU_ENGINES": ":".join(map(str, self.engines)),
        }
        code, seconds_taken = self.run(name, command, environment, seconds)
        counts = junit_counts(report)
        if counts is None:
            return {"ok": False, "summary": f"pytest ended with {code} and no report"}
        words = ", ".join(f"{number} {what}" for what, number in counts.items() if number)
        return {
            "ok": code == 0 and counts["passed"] > 0,
            "summary": f"{words} in {seconds_taken:.0f} s",
            "counts": counts,
        }

    def run(
        self, name: str, command: list[str], environment: dict[str, str], seconds: int,
        *, live: bool = False,
    ) -> tuple[int, float]:  # fmt: skip
        """One process, its output in a log and on the screen; 124 when its time was over.

        ``live``: every line on the screen as it comes, but for a builder's verbose ones.
        """
        begin = time.monotonic()
        path = self.work.results / f"{name}.log"
        with (
            path.open("w", encoding="utf-8") as log,
            path.open(encoding="utf-8", errors="replace") as written,
        ):
            process = subprocess.Popen(
                command, env=environment, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            try:
                while process.poll() is None and time.monotonic() - begin < max(10, seconds):
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=1)
                    if live:
                        show_new(written)
                code = process.poll()
            finally:  # also what it started
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if live:
                show_new(written)
        code = 124 if code is None else code
        tail = "" if live else path.read_text(encoding="utf-8", errors="replace")[-2500:]
        print(f"--- {name}: exit {code}\n{tail}")
        return code, time.monotonic() - begin

    def build(self) -> dict[str, Result]:
        """Plans of our own, by ``cuready engine build`` with each builder that was given."""
        given = sorted(path.parent.name for path in self.work.builder.glob("*/site"))
        given = [one for one in given if one in (self.arguments.builder or given)]
        if self.arguments.simulated or not given:
            return {"build": {"ok": None, "summary": "a builder was not given"}}
        results: dict[str, Result] = {}
        for release in given:
            results.update(self.build_with(release))
        return results

    def build_with(self, release: str) -> dict[str, Result]:
        """Build with one release, then load and run what it built with our own runtime."""
        name, library = f"build {release}", self.library(release)
        if library is None:
            return {name: {"ok": None, "summary": "its libnvinfer was not given"}}
        extra = self.work.folder / "stand-ins" / release
        shutil.rmtree(extra, ignore_errors=True)
        extra.mkdir(parents=True)
        notes = ["an empty libnvinfer_plugin"] if stand_ins.plugins(library, extra) else []
        results = {name: self.run_builder(name, release, (library.parent, extra))}
        if not results[name]["ok"] and stand_ins.kernels(library, extra, capabilities()):
            # What it says without its kernels for this GPU is worth a row of its own.
            results[f"{name} as it came"] = {**results[name], "ok": None}
            notes.append("PTX in place of this GPU's kernels")
            # The driver compiles each kernel that the builder tries: as few as can be.
            results[name] = self.run_builder(
                f"{name} with PTX", release, (library.parent, extra), "--watch",
                "--optimization", "0",
                seconds=max(SECONDS_PER_STEP, self.arguments.seconds + 60),
            )  # fmt: skip
        if notes:
            results[name]["summary"] += f" (with {', '.join(notes)})"
        plans = sorted(path.stem for path in (self.work.built / release).glob("*.plan"))
        if plans:
            results[f"run what {release} built"] = self.pytest(
                f"built-{release}", release, str(TESTS / "test_outputs.py"), "-k",
                " or ".join(plans), seconds=SECONDS_PER_STEP // 4,
            )  # fmt: skip
        return results

    def run_builder(
        self, name: str, release: str, libraries: Sequence[Path], *options: str, seconds: int = 300
    ) -> Result:
        """``engine build`` in this Python, or in the one that came with the binding."""
        folder = self.work.builder / release
        own = next(iter(sorted(folder.glob("bin/python3*"))), None)
        cuready = str(ROOT / "python") if own else self.environment["PYTHONPATH"]
        command = [sys.executable, str(ROOT / "ci" / "gpu_builder.py"), "--release", release,
                   "--python", str(own or sys.executable), "--path", f"{folder / 'site'}:{cuready}",
                   "--libraries", ":".join(map(str, libraries)),
                   "--seconds", str(self.arguments.seconds), *options,
                   str(self.work.built)]  # fmt: skip
        name = name.replace(" ", "-")
        code, taken = self.run(name, command, self.environment, seconds, live=True)
        log = (self.work.results / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        lines = log.splitlines()
        failed = [line for line in lines if line.startswith("FAILED: ")]
        summary = f"exit {code} in {taken:.0f} s"
        return {"ok": code == 0, "summary": ". ".join((summary, *failed[:1]))[:600]}

    def correctness(self) -> dict[str, Result]:
        results = {}
        for release in FULL:
            results[f"correctness {release}"] = self.pytest(
                f"correctness-{release}", release, str(TESTS), "--deselect",
                f"{TESTS}/test_refusals.py", seconds=SECONDS_PER_STEP // 2,
            )  # fmt: skip
        return results

    def refusals(self) -> dict[str, Result]:
        return {
            f"refusals {release}": self.pytest(
                f"refusals-{release}", release, str(TESTS / "test_refusals.py"), seconds=110
            )
            for release in (*LEAN, *FULL)
        }

    def examples(self) -> dict[str, Result]:
        library = self.library(RELEASE)
        if library is None:
            return {"examples": {"ok": None, "summary": f"TensorRT {RELEASE} was not given"}}
        return {
            "examples": examples(self.work, self.environment, library, self.engines,
                                 simulated=self.arguments.simulated)
        }  # fmt: skip

    def benchmark(self) -> dict[str, Result]:
        library = self.library("10.6")
        if library is None:
            return {"benchmark": {"ok": None, "summary": "TensorRT 10.6 was not given"}}
        out = self.work.results / "benchmark.json"
        out.unlink(missing_ok=True)
        command = [sys.executable, str(ROOT / "benchmarks" / "runtime.py"), "--library",
                   str(library), "--native", str(self.work.native), "--out", str(out),
                   "--engines", *map(str, self.engines)]  # fmt: skip
        if (self.work.b1 / "tensorrt_lean_bindings").is_dir():
            command += ["--b1", str(self.work.b1)]
        if self.arguments.simulated:
            command.append("--quick")
        code, _ = self.run("benchmark", command, self.environment, SECONDS_PER_STEP)
        if not out.is_file():
            return {"benchmark": {"ok": False, "summary": f"exit {code} and no numbers"}}
        rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
        missed = [row["what"] for row in rows if row["met"] is False]
        return {
            "benchmark": {
                "ok": not missed,
                "summary": f"{len(rows)} rows, {len(missed)} below what is asked",
                "rows": rows,
            }
        }


def show_new(written: TextIO) -> None:
    """What was added to a log since the last call, without what TensorRT calls verbose."""
    for line in written.readlines():
        if " VERBOSE " not in line:
            print(line.rstrip()[:400], flush=True)


def capabilities() -> list[str]:
    """The compute capability of each GPU, as nvidia-smi says it: ["9.0"]."""
    done = subprocess.run(
        ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout.split()


def junit_counts(report: Path) -> dict[str, int] | None:
    if not report.is_file():
        return None
    suites = ET.parse(report).getroot().iter("testsuite")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for suite in suites:
        number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        bad = number["failures"] + number["errors"]
        counts["failed"] += bad
        counts["skipped"] += number["skipped"]
        counts["passed"] += number["tests"] - bad - number["skipped"]
    return counts


def show(results: dict[str, Result]) -> str:
    lines = ["| step | result | ok |", "|---|---|---|"]
    mark = {True: "yes", False: "**no**", None: "n/a"}
    for name, result in results.items():
        lines.append(f"| {name} | {result['summary']} | {mark[result['ok']]} |")
        for row in result.get("rows", ()):
            cells = [str(row.get(key, "")) for key in ("ours", "peer", "result", "limit")]
            text = ", ".join(cell for cell in cells if cell)
            lines.append(f"| · {row['what']} | {text} | {mark[row.get('met')]} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ci/gpu.sh", description=__doc__)
    parser.add_argument("--from", dest="source", type=Path, help="folder of wheels and libraries")
    parser.add_argument("--work", type=Path, default=Path("/tmp/cuready-gpu"))
    parser.add_argument(
        "--installed", action="store_true", help="use the cuready that is installed"
    )
    parser.add_argument(
        "--builder", action="append", metavar="RELEASE", help="only this one; can be repeated"
    )
    parser.add_argument("--seconds", type=int, default=150, help="for one model of `build`")
    parser.add_argument("--simulated", action="store_true", help="try the suite without a GPU")
    parser.add_argument("steps", nargs="+", choices=(*STEPS, "all"))
    arguments = parser.parse_args()
    if arguments.source is not None and not arguments.source.is_dir():
        parser.error(f"{arguments.source} is no folder")
    return arguments


def main() -> int:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs is ended, too
    suite = Suite(arguments)
    state = suite.work.results / "suite.json"
    results: dict[str, Result] = {}
    if state.is_file():
        results = json.loads(state.read_text(encoding="utf-8"))
    steps = STEPS if "all" in arguments.steps else ("prepare", *arguments.steps)
    for step in dict.fromkeys(steps):
        try:
            made = getattr(suite, step)()
            results.update({"prepare": made} if step == "prepare" else made)
        except Exception as error:
            results[step] = {"ok": False, "summary": f"{type(error).__name__}: {error}"[:300]}
        state.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if out := os.environ.get("OUT"):
        for path in sorted(suite.work.results.glob("*.json")):
            shutil.copy(path, out)
        logs = "".join(
            f"=== {path.stem}\n{path.read_text(encoding='utf-8', errors='replace')}\n"
            for path in sorted(suite.work.results.glob("*.log"))
        )
        (Path(out) / "gpu-suite.log").write_text(logs, encoding="utf-8")
    print(show(results))
    return 0 if all(result["ok"] is not False for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""`cuready doctor` beside `python -m torch.utils.collect_env`, in the same environment.

    python benchmarks/doctor.py --python .venv/bin/python

The environment needs torch; with cuready in it, both run on its interpreter, otherwise the doctor
runs on this one and is told of it with --python. Runs alternate, so that a machine that slows down
slows both, and the first of each is not counted: it fills the page cache, and a folder of compiled
modules that both have for themselves, as an installed package has, whatever PYTHONDONTWRITEBYTECODE
says. Prints medians, the median of the pairs' ratios, and what the project promises of it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

TIME_RATIO, MEMORY_MB, HELP_S = 0.2, 60, 0.15

MODULES = (
    "import sys, io, contextlib\n"
    "from cuready.cli.main import main\n"
    "with contextlib.redirect_stdout(io.StringIO()):\n"
    "    main(sys.argv[1:])\n"
    "print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
)


@dataclass
class Runs:
    """Wall seconds and peak resident kilobytes of each run of one command."""

    command: list[str]
    env: dict[str, str]
    seconds: list[float] = field(default_factory=list)
    kilobytes: list[int] = field(default_factory=list)
    code: int = 0

    def once(self, *, counted: bool = True) -> None:
        started = time.perf_counter()
        child = subprocess.Popen(
            self.command, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        spent = time.perf_counter() - started
        self.code = child.returncode = os.waitstatus_to_exitcode(status)
        if counted:
            self.seconds.append(spent)
            self.kilobytes.append(usage.ru_maxrss)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def megabytes(self) -> float:
        return max(self.kilobytes) / 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="interpreter with torch installed")
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each command")
    options = parser.parse_args()
    packages = installed(options.python)
    if "torch" not in packages:
        sys.exit(f"{options.python}: no torch is installed there")
    doctor, start = commands(options.python, "cuready" in packages)
    with tempfile.TemporaryDirectory() as compiled:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        collect = Runs([options.python, "-m", "torch.utils.collect_env"], env)
        ours, usage = Runs(doctor, env), Runs([*start, "--help"], env)
        for number in range(options.runs + 1):
            for command in (collect, ours, usage):
                command.once(counted=number > 0)
    if collect.code != 0:
        sys.exit(f"collect_env ended with {collect.code}: nothing to compare with")
    report(collect, ours, usage, packages, modules_of(doctor))
    return 0


def installed(python: str) -> set[str]:
    """Names of the distributions in the environment."""
    code = (
        "import json, importlib.metadata as m;"
        "print(json.dumps([d.metadata['Name'].lower() for d in m.distributions()]))"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def commands(python: str, has_cuready: bool) -> tuple[list[str], list[str]]:
    """The doctor's command line, and what starts cuready."""
    if has_cuready:
        start = [python, "-m", "cuready"]
        return [*start, "doctor", "--format", "json"], start
    start = [sys.executable, "-m", "cuready"]
    return [*start, "doctor", "--format", "json", "--python", python], start


def modules_of(doctor: list[str]) -> set[str]:
    """Top-level modules in the doctor's process when it has answered."""
    place = doctor.index("-m")
    command = [*doctor[:place], "-c", MODULES, *doctor[place + 2 :]]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def report(collect: Runs, ours: Runs, usage: Runs, packages: set[str], modules: set[str]) -> None:
    pairs = [own / theirs for own, theirs in zip(ours.seconds, collect.seconds, strict=True)]
    ratio, memory = statistics.median(pairs), ours.megabytes / collect.megabytes
    imported = modules & {"torch", "tensorflow", "jax", "numpy"}
    print(
        f"{len(packages)} distributions, median of {len(ours.seconds)} runs, {os.cpu_count()} CPUs"
    )
    print(f"{'':28}{'seconds':>9}{'peak MB':>9}")
    for name, runs in (
        ("torch.utils.collect_env", collect), ("cuready doctor", ours), ("cuready --help", usage),
    ):  # fmt: skip
        print(f"{name:28}{runs.median:9.3f}{runs.megabytes:9.1f}")
    print(f"time    {ratio:6.3f} of collect_env's    (promised: at most {TIME_RATIO})")
    print(f"        {min(pairs):6.3f} to {max(pairs):.3f} in single pairs")
    print(f"memory  {memory:6.3f} of collect_env's    (promised: under {MEMORY_MB} MB)")
    print(f"--help  {usage.median:6.3f} s                  (promised: {HELP_S} s)")
    print(f"imported of what it diagnoses: {', '.join(sorted(imported)) or 'nothing'}")
    print(f"the doctor's exit code: {ours.code}")


if __name__ == "__main__":
    raise SystemExit(main())

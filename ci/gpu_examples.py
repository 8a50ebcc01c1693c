"""The examples on the GPU, as their pages say: the torch project, zero copy, the C++ programs.

Each row of the table is one thing that ran, with its own numbers. Without a GPU (``simulated``)
what needs none runs: training and export where torch is, and the rest on the simulated libraries.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import gpu_stand_ins as stand_ins
from gpu_prepare import ROOT, Workplace

SECONDS = 240.0  # for all of them
RELEASE = "10.6"
EPOCHS, RESUMED = 6, 12  # as in the project's README
LEAST_ACCURACY = 0.95  # six epochs give 1.000 on a CPU
# A resumed run goes on "as if it had never stopped": its losses, which are printed with 4 digits.
MOST_LOSS_OFF = 0.002
BOUNDS = ("--min", "x=1x16", "--opt", "x=32x16", "--max", "x=256x16")
EPOCH = re.compile(r"epoch (\d+): loss ([\d.]+), accuracy ([\d.]+)")
WHERE = (
    "import torch; print(torch.__version__, 'on', torch.cuda.get_device_name(0) "
    "if torch.cuda.is_available() else 'the CPU')"
)

Row = dict[str, Any]


class FailedError(Exception):
    """What ran did not do what it should; the message is the row's result."""


class MissingError(Exception):
    """Something that the row needs is not on this machine."""


@dataclass
class Examples:
    """Runs every example and keeps what it printed."""

    work: Workplace
    environment: dict[str, str]
    library: Path
    plans: list[Path]
    """Folders with ``10.6/NAME.plan``."""
    simulated: bool
    end: float = field(default_factory=lambda: time.monotonic() + SECONDS)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.work.folder / "examples"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(ROOT / "examples", self.folder)
        self.environment = {**self.environment, "CUREADY_TENSORRT": str(self.library)}

    def rows(self) -> list[Row]:
        """Three groups side by side: nothing here is timed, and importing torch takes its time."""
        with ThreadPoolExecutor() as pool:
            groups = list(pool.map(lambda group: group(), (self.torch, self.zero_copy, self.cpp)))
        return [row for rows in groups for row in rows]

    def run(self, *command: str | Path, cwd: Path, **environment: str) -> str:
        """What a program prints; raises FailedError with its last words."""
        words = [str(word) for word in command]
        left, begin = self.end - time.monotonic(), time.monotonic()
        if left <= 0:
            message = f"not run: {SECONDS:g} s were over"
            raise FailedError(message)
        try:
            done = subprocess.run(words, cwd=cwd, env={**self.environment, **environment},
                                  capture_output=True, text=True, timeout=left,
                                  check=False)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            told = [(one or b"").decode(errors="replace") for one in (error.stdout, error.stderr)]
            self.log.append(f"$ {' '.join(words)}: stopped after {left:.0f} s\n{''.join(told)}")
            message = f"{words[:4]} ran {left:.0f} s, to the end of the step's {SECONDS:g} s"
            raise FailedError(message) from error
        told = f"{done.stdout}{done.stderr}"
        self.log.append(f"$ {' '.join(words)}: exit {done.returncode} in "
                        f"{time.monotonic() - begin:.1f} s\n{told}")  # fmt: skip
        if done.returncode != 0:
            message = f"exit {done.returncode}: {' '.join(told.split())[-400:]}"
            raise FailedError(message)
        return done.stdout

    def plan(self, name: str) -> Path:
        for folder in self.plans:
            if (path := folder / RELEASE / f"{name}.plan").is_file():
                return path
        message = f"there is no {name}.plan"
        raise MissingError(message)

    def imports(self, module: str) -> None:
        try:
            self.run(sys.executable, "-c", f"import {module}", cwd=self.folder)
        except FailedError as error:
            if f"No module named '{module}'" not in str(error):
                raise
            message = f"{module} is not installed"
            raise MissingError(message) from error

    # --- the torch project --------------------------------------------------------------------

    def torch(self) -> list[Row]:
        steps = {"training": self.train, "export": self.export, "engine build": self.build,
                 "the plan against torch": self.compare, "a resumed run": self.resumed}  # fmt: skip
        rows: list[Row] = []
        for name, step in steps.items():
            # Each needs what the one before it wrote.
            if rows and rows[-1]["met"] is not True and name != "a resumed run":
                rows.append({"what": f"torch_project, {name}", "met": rows[-1]["met"],
                             "result": "not run: needs what the step before it makes"})  # fmt: skip
            else:
                rows.append(row(f"torch_project, {name}", step))
        return rows

    def project(self, *arguments: str) -> str:
        return self.run(sys.executable, *arguments, cwd=self.folder / "torch_project")

    def train(self) -> str:
        self.imports("torch")
        where = self.project("-c", WHERE).strip()
        first = epochs(self.project("train.py", "--epochs", str(EPOCHS)))
        rest = epochs(self.project("train.py", "--epochs", str(RESUMED), "--resume"))
        numbers = [number for number, *_ in (*first, *rest)]
        accuracy = [one[-1][2] if one else 0.0 for one in (first, rest)]
        told = (f"torch {where}: accuracy {accuracy[0]:.3f} after {EPOCHS} epochs, "
                f"{accuracy[1]:.3f} after {RESUMED}, resumed")  # fmt: skip
        fine = min(accuracy) >= LEAST_ACCURACY and (self.simulated or "the CPU" not in where)
        return judged(told, fine and numbers == list(range(1, RESUMED + 1)))

    def resumed(self) -> str:
        """The losses of a run that was resumed, and of one that never stopped."""
        self.imports("torch")
        whole = epochs(self.project("train.py", "--epochs", str(RESUMED), "--folder", "whole"))
        self.project("train.py", "--epochs", str(EPOCHS), "--folder", "parts")
        rest = epochs(
            self.project("train.py", "--epochs", str(RESUMED), "--folder", "parts", "--resume")
        )
        off = [abs(a[1] - b[1]) for a, b in zip(whole[EPOCHS:], rest, strict=True)]
        told = f"loss at most {max(off):.4f} from that of a run that never stopped"
        return judged(told, max(off) <= MOST_LOSS_OFF)

    def export(self) -> str:
        self.project("export.py")
        path = self.folder / "torch_project" / "runs" / "model.onnx"
        told = f"{sum(one.stat().st_size for one in path.parent.glob('model.onnx*'))} bytes"
        try:
            self.imports("onnx")
        except MissingError as error:
            return f"{told}; not checked: {error}"
        program = (
            "import sys, onnx; onnx.checker.check_model(sys.argv[1], full_check=True); "
            "m = onnx.load(sys.argv[1]); print('opset', m.opset_import[0].version, 'IR', "
            "m.ir_version, 'batch', m.graph.input[0].type.tensor_type.shape.dim[0].dim_param)"
        )
        told += f", {self.project('-c', program, str(path)).strip()}"
        return judged(told, bool(re.search(r"batch \S", told)))

    def build(self) -> str:
        site = self.work.builder / RELEASE / "site"
        if self.simulated or not site.is_dir():
            message = f"a builder of {RELEASE} was not given"
            raise MissingError(message)
        beside = self.folder / "stand-ins"
        beside.mkdir()
        stand_ins.plugins(self.library, beside)
        libraries = (self.library.parent, beside, self.environment.get("LD_LIBRARY_PATH"))
        told = self.run(
            sys.executable, "-m", "cuready", "engine", "build", "runs/model.onnx",
            "-o", "runs/model.plan", *BOUNDS, "--timeout", "150", cwd=self.folder / "torch_project",
            PYTHONPATH=f"{site}:{self.environment['PYTHONPATH']}",
            LD_LIBRARY_PATH=":".join(str(one) for one in libraries if one),
        )  # fmt: skip
        return told.strip()

    def compare(self) -> str:
        return self.project("compare.py").strip()

    # --- arrays of torch and cupy -------------------------------------------------------------

    def zero_copy(self) -> list[Row]:
        libraries = ("cuready",) if self.simulated else ("torch", "cupy")
        return [row(f"zero_copy, {name}", partial(self.arrays, name))
                for name in libraries]  # fmt: skip

    def arrays(self, library: str) -> str:
        self.imports(library)
        told = self.run(sys.executable, "zero_copy.py", self.plan("affine"), "--library", library,
                        cwd=self.folder / "zero_copy")  # fmt: skip
        checks = told.splitlines()
        good = sum(line.endswith(": yes") for line in checks)
        return judged(f"{good} of {len(checks)} checks hold", good == len(checks) > 0)

    # --- programs through find_package --------------------------------------------------------

    def cpp(self) -> list[Row]:
        return [row("cpp_embed through find_package", self.embed),
                row("cpp_pool through find_package", self.pool)]  # fmt: skip

    def embed(self) -> str:
        program = self.compiled("cpp_embed")
        told = self.run(program, self.plan("affine"), self.library, cwd=self.folder)
        values = [float(line) for line in told.splitlines() if line.startswith("  ")]
        # Its input is zeros, and the plan computes 2x + 1.
        return judged(" ".join(told.split()), bool(values) and set(values) == {1.0})

    def pool(self) -> str:
        told = self.run(self.compiled("cpp_pool"), self.plan("cnn"), "16", "100", cwd=self.folder)
        return judged(told.strip(), told.startswith("1600 requests of 16 clients, 0 wrong, "))

    def compiled(self, name: str) -> Path:
        source, build = self.folder / name, self.folder / name / "build"
        self.run("cmake", "-S", source, "-B", build, f"-Dcuready_DIR={self.cmake_dir()}",
                 "-DCMAKE_BUILD_TYPE=Release", cwd=source)  # fmt: skip
        self.run("cmake", "--build", build, cwd=source)
        return build / name

    def cmake_dir(self) -> str:
        """The installed package's; where the suite built cuready itself, that of this build."""
        told = self.run(sys.executable, "-m", "cuready", "--cmake-dir", cwd=self.folder).strip()
        if Path(told, "cuready-config.cmake").is_file():
            return told
        prefix = self.folder / "sdk"
        self.run("cmake", "--install", self.work.folder / "build", "--component", "cuready_sdk",
                 "--prefix", prefix, cwd=self.folder)  # fmt: skip
        return str(next(prefix.rglob("cuready-config.cmake")).parent)


def row(what: str, run: Callable[[], str]) -> Row:
    """A row whose result is what ``run`` tells; what it lacks on this machine is not judged."""
    begin = time.monotonic()
    try:
        told, met = run(), True
    except MissingError as error:
        return {"what": what, "result": str(error), "met": None}
    except Exception as error:  # the other rows are worth having
        name = "" if isinstance(error, FailedError) else f"{type(error).__name__}: "
        told, met = f"{name}{error}", False
    return {"what": what, "result": f"{told} ({time.monotonic() - begin:.0f} s)", "met": met}


def judged(told: str, fine: bool) -> str:
    """``told``; raises FailedError with it where it is not what it should be."""
    if not fine:
        raise FailedError(told)
    return told


def epochs(text: str) -> list[tuple[int, float, float]]:
    """Number, loss and accuracy of each line that train.py printed."""
    return [(int(number), float(loss), float(accuracy))
            for number, loss, accuracy in EPOCH.findall(text)]  # fmt: skip


def examples(
    work: Workplace,
    environment: dict[str, str],
    library: Path,
    plans: list[Path],
    *,
    simulated: bool,
) -> Row:
    """The result of the suite's step; what every program printed goes to examples.log."""
    begin = time.monotonic()
    runs = Examples(work, {**os.environ, **environment}, library, plans, simulated)
    rows = runs.rows()
    (work.results / "examples.log").write_text("\n".join(runs.log), encoding="utf-8")
    failed, missing = (sum(one["met"] is met for one in rows) for met in (False, None))
    return {
        "ok": not failed,
        "summary": f"{len(rows) - failed - missing} of {len(rows)} work, {failed} do not, "
                   f"{missing} could not be tried, in {time.monotonic() - begin:.0f} s",
        "rows": rows,
    }  # fmt: skip

"""Does an environment do what its recipe promises? Imports and proofs, run by its own Python.

Each runs in a child process of its own, with the recipe's variables and time limit, in an empty
folder, with the environment activated. A proof that needs a GPU where none can be seen is skipped
and said to be: it has not passed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuready.doctor.engine import Diagnosis
from cuready.doctor.explain import Explanation, explain_text
from cuready.env.activate import paths_of, variables_of
from cuready.env.prefix import State, python_of
from cuready.env.recipe import Proof, Recipe

__all__ = ["Outcome", "Verification", "explained", "unseen_gpu", "verify"]

KEPT_OUTPUT = 20_000

# Set outside, they would make a child look at other files than the environment's.
DROPPED = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "VIRTUAL_ENV",
           "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "LD_PRELOAD")  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How one check ended.

    Attributes:
        status: passed, failed, timeout or skipped.
        reason: one line, empty when it passed.
        output: what it printed, the end of it when it is long.
        causes: what the doctor's rules make of the output of a failure.
    """

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    output: str = ""
    causes: tuple[Explanation, ...] = ()

    @property
    def failed(self) -> bool:
        """True for what should have worked and did not."""
        return self.status in ("failed", "timeout")

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "output": self.output,
            "causes": [cause.to_dict() for cause in self.causes],
        }


@dataclass(frozen=True)
class Verification:
    """The outcomes in order."""

    outcomes: tuple[Outcome, ...]

    @property
    def failed(self) -> bool:
        """Whether anything that ran did not work."""
        return any(outcome.failed for outcome in self.outcomes)

    def count(self, status: str) -> int:
        """How many ended with ``status``."""
        return sum(1 for outcome in self.outcomes if outcome.status == status)

    def to_dict(self) -> dict[str, Any]:
        """For JSON output and the done marker."""
        return {
            "passed": self.count("passed"),
            "failed": self.count("failed") + self.count("timeout"),
            "skipped": self.count("skipped"),
            "outcomes": [outcome.to_dict() for outcome in self.outcomes],
        }


def checks_of(recipe: Recipe) -> tuple[Proof, ...]:
    """The imports of a recipe, then its proofs."""
    imports = [Proof(f"import {name}", f"import {name}\n") for name in recipe.imports]
    return (*imports, *recipe.proofs)


def unseen_gpu(snapshot: Any) -> str:
    """Why no proof can run on a GPU here; empty when one was seen to work."""
    for probe in (snapshot.cuda, snapshot.nvml):
        if probe.status == "ok" and any(not device.error for device in probe.devices):
            return ""
    if snapshot.cuda.status == "ok":
        return "the CUDA driver lists no working GPU"
    return "no GPU can be seen here (`cuready doctor` says why)"


def verify(
    recipe: Recipe,
    prefix: Path,
    state: State,
    *,
    no_gpu: str = "",
    on_check: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Run every check of ``recipe`` in the environment at ``prefix``.

    ``no_gpu`` is the reason to skip what needs a GPU; empty runs it.
    """
    outcomes = []
    for check in checks_of(recipe):
        if check.gpu and no_gpu:
            outcomes.append(Outcome(check.name, "skipped", reason=no_gpu))
            continue
        on_check(check.name)
        outcomes.append(run_check(check, prefix, environment(prefix, state, check.variables)))
    return Verification(tuple(outcomes))


def environment(prefix: Path, state: State, extra: Mapping[str, str]) -> dict[str, str]:
    """The variables of a process in the activated environment."""
    kept = {name: value for name, value in os.environ.items() if name not in DROPPED}
    path = os.pathsep.join((*paths_of(prefix, state.kind), kept.get("PATH", os.defpath)))
    own = variables_of(prefix, state)
    fixed = {"PATH": path, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    return {**kept, **own, **fixed, "PYTHONFAULTHANDLER": "1", **extra}


def run_check(check: Proof, prefix: Path, env: Mapping[str, str]) -> Outcome:
    """Run one check and everything it starts, at most its time limit long."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cuready-proof-") as folder:
        script = Path(folder) / "proof.py"
        script.write_text(check.code.lstrip("\n"), "utf-8")
        with (Path(folder) / "output").open("w+b") as stream:
            try:
                process = subprocess.Popen(
                    [str(python_of(prefix)), str(script)],
                    cwd=folder,
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                reason = f"{python_of(prefix)} does not start: {error.strerror or error}"
                return Outcome(check.name, "failed", 0.0, reason, reason)
            try:
                code = process.wait(check.timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            seconds = time.monotonic() - began
            output = _tail(stream)
    return _outcome(check, code, seconds, output)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a child and all that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _tail(stream: Any) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - KEPT_OUTPUT))
    return str(stream.read().decode("utf-8", "replace")).strip()


def _outcome(check: Proof, code: int | None, seconds: float, output: str) -> Outcome:
    if code == 0:
        return Outcome(check.name, "passed", seconds, output=output)
    if code is None:
        reason = f"no end within its {check.timeout:g} s"
        return Outcome(check.name, "timeout", seconds, reason, output)
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    reason = lines[-1] if lines else f"ended with {code}"
    if code < 0:
        try:
            reason = f"ended by {signal.Signals(-code).name}"
        except ValueError:
            reason = f"ended by signal {-code}"
    return Outcome(check.name, "failed", seconds, reason, output)


def explained(verification: Verification, diagnosis: Diagnosis | None) -> Verification:
    """The same with the causes that each failure's own words name, those found here first."""
    import dataclasses

    return Verification(
        tuple(
            dataclasses.replace(outcome, causes=explain_text(outcome.output, diagnosis))
            if outcome.failed
            else outcome
            for outcome in verification.outcomes
        )
    )

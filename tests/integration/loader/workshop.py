"""Builds small shared libraries with gcc, and asks the real loader and ours about them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cuready.probe.context import Context
from cuready.probe.loader import Process

CHILD = """
import ctypes, importlib.util, json, os, sys
plan = json.loads(sys.argv[1])
answers = []
for how, path in plan:
    try:
        if how == "import":
            name = os.path.basename(path).split(".")[0]
            spec = importlib.util.spec_from_file_location(name, path)
            importlib.util.module_from_spec(spec)
        else:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL if how == "global" else ctypes.RTLD_LOCAL)
        answers.append(None)
    except (ImportError, OSError) as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@dataclass
class Case:
    """What to open, in order; only the last one is asked about. ``how``: ctypes, global, import."""

    opens: Sequence[tuple[str, Path | str]]
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


def opened(path: Path | str, **kwargs: object) -> Case:
    """A case with one library."""
    return Case([("ctypes", path)], **kwargs)  # type: ignore[arg-type]


class Workshop:
    """A folder in which libraries are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def dir(self, name: str) -> Path:
        """A folder below, created."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def lib(
        self,
        name: str,
        code: str = "int nothing(void){return 0;}",
        *,
        into: str = "",
        needs: Sequence[Path] = (),
        rpath: str | None = None,
        runpath: str | None = None,
        versions: str | None = None,
        soname: str | None = None,
        flags: Sequence[str] = (),
        language: str = "c",
    ) -> Path:
        """Compile ``code`` to ``into/name`` with DT_SONAME ``name`` and these dependencies."""
        target = self.dir(into or ".") / name
        source = self.dir("src") / f"{into.replace('/', '_')}_{name}.{language}"
        source.write_text(code)
        command = ["g++" if language == "cc" else "gcc", "-shared", "-fPIC", "-O1", "-o", target]
        command += [source, f"-Wl,-soname,{soname or name}", "-Wl,--no-as-needed"]
        command += ["-Wl,--allow-shlib-undefined", *needs]
        if rpath is not None:
            command += ["-Wl,--disable-new-dtags", f"-Wl,-rpath,{rpath}"]
        if runpath is not None:
            command += ["-Wl,--enable-new-dtags", f"-Wl,-rpath,{runpath}"]
        if versions is not None:
            script = source.with_suffix(".map")
            script.write_text(versions)
            command += [f"-Wl,--version-script={script}"]
        run([*command, *flags])
        return target

    def program(self, name: str, *flags: str) -> Path:
        """An executable that does nothing."""
        source = self.dir("src") / f"{name}.c"
        source.write_text("int main(void){return 0;}")
        run(["gcc", "-o", self.folder / name, source, *flags])
        return self.folder / name

    def move(self, path: Path, into: str) -> Path:
        """Move a library to another folder after something was linked against it."""
        return Path(shutil.move(path, self.dir(into) / path.name))


def run(command: Sequence[object]) -> str:
    """Run a tool that must succeed."""
    done = subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    return done.stdout


def patch(path: Path, offset: int, data: bytes) -> None:
    """Overwrite bytes of a file."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def environment(case: Case) -> dict[str, str]:
    """The child's environment: a plain one, so that nothing of ours leaks into the loader."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "PYTHON"))}
    return {**kept, "PYTHONNOUSERSITE": "1", **case.env}


def really(case: Case, python: str = sys.executable) -> str | None:
    """What the loader says in a child process: None when it loads, ``Bus error`` when it dies."""
    plan = json.dumps([(how, str(path)) for how, path in case.opens])
    done = subprocess.run(
        [python, "-S", "-c", CHILD, plan], capture_output=True, text=True, timeout=60,
        env=environment(case), cwd=case.cwd, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        return {signal.SIGBUS: "Bus error"}.get(-done.returncode, f"signal {-done.returncode}")
    assert done.returncode == 0, done.stderr
    answers: list[str | None] = json.loads(done.stdout)
    return answers[-1]


def predicted(case: Case, python: str = sys.executable) -> str | None:
    """What we say, from files alone."""
    context = Context(env=environment(case), cwd=str(case.cwd or Path.cwd()))
    process = Process(context, executable=python)
    import _ctypes

    opener = process.dlopen(_ctypes.__file__).map if hasattr(_ctypes, "__file__") else None
    answer = None
    for how, path in case.opens:
        if how == "import":
            from cuready.probe.loader.extension import import_extension

            answer = import_extension(process, str(path)).error
        else:
            answer = process.dlopen(str(path), caller=opener, to_global=how == "global").error
    return answer

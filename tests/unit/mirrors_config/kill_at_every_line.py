"""Child process of test_crash: do an edit again and again, and die at another line each time.

A trace function counts the lines that run in the modules which write, and ends the process with
SIGKILL at the chosen one: no handler, no ``finally``, no buffer is flushed. Prints one JSON list
with what the files held after each death.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from cuready.mirrors import atomic, catalogue, config, journal

# What a killed process has written is in the kernel's hands: flushing it to the disk guards against
# a loss of power, which no test here can cause, and takes most of the time.
os.fsync = lambda descriptor: None  # type: ignore[assignment]

WATCHED = {module.__file__ for module in (atomic, config, journal)}


def run_and_die_at(line: int, work: Callable[[], object]) -> int:
    """Run ``work`` in a fork that dies at the ``line``-th line; the lines counted, 0 if it died."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        count = 0

        def on_line(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal count
            if event == "line":
                count += 1
                if count == line:
                    os.kill(os.getpid(), signal.SIGKILL)
            return on_line

        def on_call(frame: FrameType, event: str, arg: Any) -> Any:
            return on_line if frame.f_code.co_filename in WATCHED else None

        sys.settrace(on_call)
        work()
        sys.settrace(None)
        os.write(writer, str(count).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return int(said or 0)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "absent"


def main(folder: Path, step: str) -> None:
    known = catalogue.load(Path("/nonexistent"))
    condarc, pip_conf = folder / ".condarc", folder / "pip.conf"
    before = {
        condarc: b"channels: [conda-forge]\n# mine\n",
        pip_conf: b"[global]\r\ntimeout = 9\r\n",
    }
    targets: Any = {"conda": condarc, "pip": pip_conf}
    mirrors: Any = {"conda": known.get("tuna"), "pip": known.get("tuna")}
    root = folder / "journal"

    def reset() -> None:
        shutil.rmtree(root, ignore_errors=True)
        for path, data in before.items():
            path.write_bytes(data)
        if step == "restore":
            use()

    def use() -> None:
        plans = config.plan_use(targets, mirrors, known)
        config.apply(plans, "use tuna", journal.Journal(root))

    def restore() -> None:
        book = journal.Journal(root)
        found = config.plan_restore(["conda", "pip"], book)
        assert found is not None
        config.restore(found, book)

    work = use if step == "use" else restore
    seen = []
    line = 0
    while True:
        line += 1
        reset()
        finished = run_and_die_at(line, work)
        after_death = {path.name: digest(path) for path in before}
        # Whoever runs it next: the same command once more, then back to the start.
        if step == "use":
            use()
        again = {path.name: digest(path) for path in before}
        book = journal.Journal(root)
        while (found := config.plan_restore(["conda", "pip"], book)) is not None:
            config.restore(found, book)
        end = {path.name: digest(path) for path in before}
        litter = [entry.name for entry in folder.iterdir() if "cuready-" in entry.name]
        seen.append(
            {"line": line, "died": not finished, "files": after_death, "again": again, "end": end,
             "litter": litter}
        )  # fmt: skip
        if finished:
            break
    original = {path.name: hashlib.sha256(data).hexdigest() for path, data in before.items()}
    json.dump({"before": original, "runs": seen}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

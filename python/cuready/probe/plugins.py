"""Plugins: entry points of installed packages that add facts and checks to a diagnosis.

Three groups. ``cuready.readers`` and ``cuready.checks`` extend cuready and are taken from the
environment that cuready itself runs in. ``rapids_doctor_check`` is the group of ``rapids doctor``:
such a function proves its own environment, so the interpreter under diagnosis runs it. All run in
child processes with a time limit, because they import what may be broken; finding them costs one
small read for each installed distribution.
Protocol of the last: https://github.com/rapidsai/rapids-cli (docs/source/plugin_development.rst).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cuready._codec import to_json
from cuready._util import one_line, parse_json
from cuready.probe import children
from cuready.probe.context import Context, Facts, Skip
from cuready.snapshot import Snapshot

__all__ = ["CHECKS", "OUTCOMES", "RAPIDS", "READERS", "EntryPoint", "find", "listed", "own",
           "read", "run_checks"]  # fmt: skip

READERS, CHECKS, RAPIDS = "cuready.readers", "cuready.checks", "rapids_doctor_check"
OUTCOMES = "cuready.plugins"
"""Key of ``Snapshot.plugin_facts`` under which it stands how each plugin ended."""

TIME_LIMIT_S = 6.0
_FILE_LIMIT = 256 << 10
_MOST = 50  # entry points of one environment: far more than any has


@dataclass(frozen=True)
class EntryPoint:
    """One line of an ``entry_points.txt``, and the distribution that it belongs to."""

    group: str
    name: str
    value: str  # "package.module:function"
    distribution: str


def read(context: Context) -> Facts:
    """Facts of the reader plugins, and how they and the environment's RAPIDS checks ended."""
    extending = [item for item in own() if item.group == READERS]
    proving = _of_target(context)
    if not extending and not proving:
        raise Skip("no plugin is installed")
    facts: dict[str, Any] = {}
    outcomes: list[dict[str, Any]] = []
    deadline = time.monotonic() + TIME_LIMIT_S
    for item in extending:
        outcome = _run_own(item, context.so_far, deadline)
        found = outcome.pop("answer", None)
        if outcome["status"] == "passed" and isinstance(found, dict):
            facts[item.name] = found
        elif outcome["status"] == "passed":
            outcome.update(status="failed", text=f"gave {type(found).__name__}, not a dict")
        outcomes.append(outcome)
    outcomes += _run_rapids(context, proving, deadline)
    return {"plugin_facts": {**facts, OUTCOMES: outcomes}}


def own() -> list[EntryPoint]:
    """Plugins of the environment that cuready runs in."""
    return find(Context(), [entry for entry in sys.path if entry])


def listed(**where: Any) -> list[EntryPoint]:
    """What a diagnosis of ``where`` (arguments of :func:`cuready.probe.take`) would run."""
    from cuready.probe import take
    from cuready.probe.registry import Reader
    from cuready.probe.scope import make_context

    python = take(**where, readers=[Reader("python", "python_env:read")]).python
    found = [item for item in own() if item.group != RAPIDS]
    context = make_context(**where)
    return found + [x for x in find(context, python.sys_path) if x.group == RAPIDS]


def _of_target(context: Context) -> list[EntryPoint]:
    """RAPIDS checks of the environment under diagnosis, when its interpreter may be started."""
    interpreter = context.interpreter
    live = context.native and not context.rooted and context.prefix is None
    if not live or interpreter is None or interpreter.executable is None:
        return []
    return [x for x in find(context, context.so_far.python.sys_path) if x.group == RAPIDS]


def find(context: Context, folders: Iterable[str]) -> list[EntryPoint]:
    """The entry points of our three groups in ``folders``, in the order of the search path."""
    found: dict[tuple[str, str], EntryPoint] = {}
    for folder in dict.fromkeys(folders):
        try:
            names = context.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                for item in _entry_points(context, f"{folder}/{name}"):
                    found.setdefault((item.group, item.name), item)
    return list(found.values())[:_MOST]


def _entry_points(context: Context, path: str) -> Iterator[EntryPoint]:
    try:
        data = context.read_bytes(f"{path}/entry_points.txt", _FILE_LIMIT)
    except OSError:
        return
    if data is None or (b"cuready." not in data and RAPIDS.encode() not in data):
        return
    distribution = os.path.basename(path).partition("-")[0].replace("_", "-")
    group = ""
    for line in map(str.strip, data.decode("utf-8", "replace").splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif group in (READERS, CHECKS, RAPIDS) and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            value = value.partition("[")[0].strip()  # extras say nothing about the function
            yield EntryPoint(group, name.strip(), value, distribution)


# --- running them --------------------------------------------------------------------------------


def run_checks(snapshot: Snapshot, limit_s: float = TIME_LIMIT_S) -> list[dict[str, Any]]:
    """What each ``cuready.checks`` function makes of ``snapshot``: findings as JSON under
    ``answer``, or why it has none. All of them together get ``limit_s`` seconds."""
    deadline = time.monotonic() + min(limit_s, TIME_LIMIT_S)
    try:
        return [_run_own(item, snapshot, deadline) for item in own() if item.group == CHECKS]
    finally:
        children.kill_all()


def _run_own(item: EntryPoint, snapshot: Snapshot, deadline: float) -> dict[str, Any]:
    argument = {"value": item.value, "snapshot": to_json(snapshot)}
    left = deadline - time.monotonic()
    if left <= 0:
        return _outcome(item, "timeout", "what ran before it took all the time there was")
    answer = children.call("plugin", argument, limit_s=left)
    if answer.status != "ok":
        return _outcome(item, answer.status, answer.reason)
    document = answer.document
    return {**_outcome(item, document["status"], document.get("text", "")),
            "answer": document.get("answer")}  # fmt: skip


def _run_rapids(
    context: Context, items: list[EntryPoint], deadline: float
) -> Iterator[dict[str, Any]]:
    """One process for all: they share what takes long, the import of RAPIDS itself."""
    if not items or context.interpreter is None or context.interpreter.executable is None:
        return
    command = [context.interpreter.executable, "-c", _RAPIDS_RUNNER]
    argument = json.dumps([item.value for item in items]).encode()
    left = max(0.1, deadline - time.monotonic())
    ended = children.run(command, argument, limit_s=left, env=context.env)
    answers = list(_lines(ended.output))
    for item, said in zip(items, answers, strict=False):
        yield {**_outcome(item, said["status"], said["text"]),
               "warnings": said["warnings"], "about": said["about"]}  # fmt: skip
    for number, item in enumerate(items[len(answers) :]):
        reason = ended.reason or f"ended with {ended.code} before it answered"
        if ended.timed_out:
            yield _outcome(item, "timeout", reason if number == 0 else "not reached in time")
        else:
            yield _outcome(item, "crashed", reason if number == 0 else "not reached: a crash")


def _lines(output: bytes) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        try:
            said = parse_json(line)
        except ValueError:
            continue
        if isinstance(said, dict) and {"status", "text", "warnings", "about"} <= set(said):
            yield said


def _outcome(item: EntryPoint, status: str, text: str = "") -> dict[str, Any]:
    return {**asdict(item), "status": status, "text": one_line(text, 1000)}


# Runs in the interpreter under diagnosis, any Python from 3.6 on; standard library only. stdout is
# kept for the answers: checks print. The function is called as `rapids doctor` calls it.
_RAPIDS_RUNNER = """
import importlib, json, os, sys, warnings
sys.path[:1] = []
values = json.loads(sys.stdin.read())
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
def words(error):
    return (type(error).__name__ + ": " + str(error))[:2000]
def attempt(value):
    said = {"status": "cannot-load", "text": "", "warnings": [], "about": ""}
    try:
        module, _, attribute = value.partition(":")
        function = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            function = getattr(function, part)
    except BaseException as error:
        said["text"] = words(error)
        return said
    said["about"] = ((getattr(function, "__doc__", None) or "").strip() + "\\n").splitlines()[0]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(verbose=True)
            said["status"] = "passed"
            said["text"] = result[:2000] if isinstance(result, str) else ""
        except BaseException as error:
            said["status"], said["text"] = "failed", words(error)
    ours = [w for w in caught if not issubclass(w.category, (DeprecationWarning, ImportWarning))]
    said["warnings"] = [str(w.message)[:500] for w in ours][:20]
    return said
for value in values:
    out.write(json.dumps(attempt(value)) + "\\n")
    out.flush()
os._exit(0)
"""

"""Plugins: entry points of installed packages that add facts and checks to a diagnosis.

Three groups. ``cuready.readers`` and ``cuready.checks`` extend cuready and are taken from the
environment that cuready itself runs in. ``rapids_doctor_check`` is the group of ``rapids doctor``:
such a function proves its own environment, so the interpreter under diagnosis runs it. All run in
child processes with a time limit, because they import what may be broken, and side by side, so that
one that hangs takes no time of the others; finding them costs one small read for each installed
distribution.
Protocol of the last: https://github.com/rapidsai/rapids-cli (docs/source/plugin_development.rst).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cuready._codec import to_json
from cuready._util import one_line, parse_json
from cuready.probe import children, fairly
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
    # Half a second less than the run gives: its own time is up when that of the plugins is.
    left = TIME_LIMIT_S if context.until is None else context.until - time.monotonic() - 0.5
    limit_s = max(0.1, min(TIME_LIMIT_S, left))

    def group(name: str, seconds: float) -> list[dict[str, Any]]:
        if name == READERS:
            return _run_own(extending, context.so_far, seconds)
        return _run_rapids(context, proving, seconds)

    both = fairly.run((READERS, RAPIDS), group, limit_s=limit_s)
    outcomes = [outcome for ended in both for outcome in ended]
    for outcome in outcomes:
        if outcome["group"] != READERS:
            continue
        found = outcome.pop("answer", None)
        if outcome["status"] == "passed" and isinstance(found, dict):
            facts[outcome["name"]] = found
        elif outcome["status"] == "passed":
            outcome.update(status="failed", text=f"gave {type(found).__name__}, not a dict")
    return {"plugin_facts": {**facts, OUTCOMES: outcomes}}


def own() -> list[EntryPoint]:
    """Plugins of the environment that cuready runs in."""
    return find(Context(), _own_path())


def _own_path() -> list[str]:
    return [entry for entry in sys.path if entry]


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
    items = [item for item in own() if item.group == CHECKS]
    try:
        return _run_own(items, snapshot, min(limit_s, TIME_LIMIT_S))
    finally:
        children.kill_all()


def _run_own(
    items: Sequence[EntryPoint], snapshot: Snapshot, limit_s: float
) -> list[dict[str, Any]]:
    """Each in a process of its own."""
    document = to_json(snapshot) if items else None

    def one(item: EntryPoint, seconds: float) -> dict[str, Any]:
        if seconds <= 0:
            return _outcome(item, "timeout", "reading the machine took all the time there was")
        argument = {"value": item.value, "snapshot": document, "path": _own_path()}
        answer = children.call("plugin", argument, limit_s=seconds)
        if answer.status != "ok":
            return _outcome(item, answer.status, answer.reason)
        said = answer.document
        if not isinstance(said, dict) or "status" not in said:
            return _outcome(item, "crashed", "its process gave no answer of ours")
        return {**_outcome(item, said["status"], said.get("text", "")),
                "answer": said.get("answer")}  # fmt: skip

    return fairly.run(items, one, limit_s=limit_s)


def _run_rapids(
    context: Context, items: Sequence[EntryPoint], limit_s: float
) -> list[dict[str, Any]]:
    """One process for all, because they share what takes long, the import of RAPIDS itself.

    When it has not ended after half of the time, or has crashed, those that it has not reached run
    side by side in processes of their own. It goes on meanwhile: whoever answers first is heard.
    """
    if not items or context.interpreter is None or context.interpreter.executable is None:
        return []
    command = [context.interpreter.executable, "-c", _RAPIDS_RUNNER]
    end = time.monotonic() + limit_s
    said: dict[int, dict[str, Any]] = {}
    ended: list[children.Ended] = []
    answers = iter(range(len(items)))

    def tell(line: bytes) -> None:
        if (answer := _answer(line)) is not None and (place := next(answers, None)) is not None:
            said.setdefault(place, answer)

    def together() -> None:
        values = json.dumps([item.value for item in items]).encode()
        ended.append(children.watch(command, values, tell, limit_s=limit_s, env=context.env))

    first = threading.Thread(target=together, name="RAPIDS checks", daemon=True)
    first.start()
    first.join(limit_s / 2)
    missing = [place for place in range(len(items)) if place not in said]
    # The first of them is the one that it was at, which stays with it: slow, hanging or crashed.
    alone = fairly.run(
        missing[1:],
        lambda place, seconds: _rapids_alone(command, context.env, items[place], seconds),
        limit_s=max(0.0, end - time.monotonic()),
    )
    outcomes = dict(zip(missing[1:], alone, strict=True))
    late = [x for x in missing if x not in outcomes or outcomes[x]["status"] == "timeout"]
    if any(place not in said for place in late):
        first.join(max(0.0, end - time.monotonic()) + 2 * children.GRACE_S)
    if missing:
        how = ended[0] if ended else children.Ended(timed_out=True)
        outcomes[missing[0]] = _without_answer(items[missing[0]], how, limit_s)
    return [
        _said(item, said[place]) if place in said else outcomes[place]
        for place, item in enumerate(items)
    ]


def _rapids_alone(
    command: list[str], env: Mapping[str, str], item: EntryPoint, seconds: float
) -> dict[str, Any]:
    if seconds <= 0:
        return _without_answer(item, children.Ended(timed_out=True), seconds)
    values = json.dumps([item.value]).encode()
    ended = children.run(command, values, limit_s=seconds, env=env)
    found = [answer for line in ended.output.splitlines() if (answer := _answer(line)) is not None]
    return _said(item, found[0]) if found else _without_answer(item, ended, seconds)


def _without_answer(item: EntryPoint, ended: children.Ended, seconds: float) -> dict[str, Any]:
    if ended.timed_out:
        return _outcome(item, "timeout", ended.reason or f"no answer within {seconds:.1f} s")
    return _outcome(item, "crashed", ended.reason or f"ended with {ended.code} before it answered")


def _said(item: EntryPoint, said: Mapping[str, Any]) -> dict[str, Any]:
    return {**_outcome(item, said["status"], said["text"]),
            "warnings": said["warnings"], "about": said["about"]}  # fmt: skip


def _answer(line: bytes) -> dict[str, Any] | None:
    """One line of the runner below; None for what is none."""
    try:
        said = parse_json(line)
    except ValueError:
        return None
    whole = isinstance(said, dict) and {"status", "text", "warnings", "about"} <= set(said)
    return said if whole else None


def _outcome(item: EntryPoint, status: str, text: str = "") -> dict[str, Any]:
    return {**asdict(item), "status": status, "text": one_line(text, 1000)}


# Runs in the interpreter under diagnosis, any Python from 3.6 on; standard library only. stdout is
# kept for the answers: checks print. The function is called as `rapids doctor` calls it.
_RAPIDS_RUNNER = """
import importlib, json, os, signal, sys, warnings
sys.path[:1] = []
if hasattr(signal, "alarm"):
    signal.alarm(15)  # should the parent be killed, nobody else ends a check that hangs
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

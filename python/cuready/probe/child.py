"""The child's side: asks a vendor library or runs one reader, and writes the answer as JSON.

Started by :mod:`cuready.probe.children`; imports as little as it can.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main"]

LIFETIME_S = 15  # should the parent be killed, nobody else ends a child that hangs


def main() -> None:
    """Read the argument on stdin, do ``sys.argv[2]``, write one JSON document to stdout."""
    out = _private_stdout()
    if hasattr(os, "fork"):
        import signal

        signal.alarm(LIFETIME_S)
    argument = json.loads(sys.stdin.buffer.read() or b"null")
    document = _JOBS[sys.argv[2]](argument)
    with os.fdopen(out, "wb") as stream:
        stream.write(json.dumps(document).encode())
        stream.flush()
        # A vendor library's exit handlers may hang or crash; the answer is given, so skip them.
        os._exit(0)


def _private_stdout() -> int:
    """Keep stdout for the answer alone: libraries print to it."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def _nvml(_: Any) -> Any:
    from cuready.probe.nvml import ask

    return ask()


def _cuda(_: Any) -> Any:
    from cuready.probe.cuda_driver import ask

    return ask()


def _reader(argument: Any) -> Any:
    from cuready.probe import assemble
    from cuready.probe.context import Context, Denied, Incomplete, Skip
    from cuready.probe.registry import READERS
    from cuready.snapshot import Snapshot

    name = argument.pop("reader")
    reader = next(reader for reader in READERS if reader.name == name)
    try:
        facts = reader.load()(Context(**argument))
    except Skip as skip:
        return {"ended": "skipped", "reason": str(skip)}
    except (Denied, PermissionError) as error:
        return {"ended": "denied", "reason": str(error)}
    except Incomplete as partial:
        snapshot = assemble.overlay(Snapshot(), [partial.facts])
        return {"ended": "incomplete", "reason": str(partial), "keys": list(partial.facts),
                "snapshot": snapshot.to_dict()}  # fmt: skip
    snapshot = assemble.overlay(Snapshot(), [facts])
    return {"ended": "ok", "keys": list(facts), "snapshot": snapshot.to_dict()}


def _plugin(argument: Any) -> Any:
    """Call a plugin's function with the Snapshot; JSON types, and findings as their JSON form."""
    import importlib

    from cuready.snapshot import Snapshot

    # Where it was found, PYTHONPATH too, but behind what this process has: it may shadow nothing.
    sys.path += [entry for entry in argument["path"] if entry not in sys.path]
    try:
        module, _, attribute = argument["value"].partition(":")
        function: Any = importlib.import_module(module)
        for part in filter(None, attribute.split(".")):
            function = getattr(function, part)
    except Exception as error:
        return {"status": "cannot-load", "text": f"{type(error).__name__}: {error}"}
    try:
        found = function(Snapshot.from_dict(argument["snapshot"] | {"schema_version": 1}))
        if not isinstance(found, dict):
            found = [item.to_dict() if hasattr(item, "to_dict") else item for item in found]
        json.dumps(found)
    except Exception as error:
        return {"status": "failed", "text": f"{type(error).__name__}: {error}"}
    return {"status": "passed", "answer": found}


_JOBS = {"nvml": _nvml, "cuda": _cuda, "plugin": _plugin, "reader": _reader}

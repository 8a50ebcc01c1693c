"""Snapshots, recipes, lists of packages, locks and indexes that somebody else wrote."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from types import ModuleType
from typing import Any

from tests.fuzz.targets._support import Target, bounded_reading, memory_file, scratch

from cuready import snapshot as snapshots
from cuready.doctor import render
from cuready.doctor.diff import compare
from cuready.doctor.engine import Diagnosis, diagnose
from cuready.doctor.redact import Identity, Redactor
from cuready.doctor.render import text
from cuready.env import recipe
from cuready.env.importing import modernise, read, write
from cuready.env.importing.request import Request
from cuready.env.pip import lock as pip_lock
from cuready.errors import InputError, RecipeError, SnapshotError
from cuready.snapshot import Snapshot

__all__ = ["TARGETS"]


def snapshot(data: bytes) -> None:
    """`--from FILE`: read and diagnosed, then used in one of the ways that there are."""
    path = scratch("snapshot") / "machine.json"
    path.write_bytes(data)
    with suppress(SnapshotError), bounded_reading():
        machine = snapshots.load(path)
        diagnosis = diagnose(machine)
        _no_check_failed(diagnosis)
        uses = (_rendered, _compared, _redacted, _written)  # one each: a diagnosis costs enough
        uses[zlib.crc32(data) % len(uses)](machine, diagnosis)


def _rendered(_: Snapshot, diagnosis: Diagnosis) -> None:
    for name in render.FORMATS:
        assert render.renderer(name)(diagnosis)
    assert list(text.render(diagnosis))


def _compared(machine: Snapshot, _: Diagnosis) -> None:
    assert not compare(machine, machine).changes
    compare(machine, Snapshot())


def _redacted(machine: Snapshot, diagnosis: Diagnosis) -> None:
    redactor = Redactor(Identity(("alice",), ("/home/alice",), ("pc",)))
    redactor.document(machine.to_dict())
    redactor.text("\n".join(text.render(diagnosis)))


def _written(machine: Snapshot, _: Diagnosis) -> None:
    again = Snapshot.from_dict(json.loads(machine.dumps()))
    assert again.to_dict() == machine.to_dict()


def _no_check_failed(diagnosis: Diagnosis) -> None:
    broken = [x for x in diagnosis.checks if x.reason.startswith("the check itself failed")]
    assert not broken, f"{broken[0].id}: {broken[0].reason}"


def recipes(data: bytes) -> None:
    """A recipe; one that is accepted can be written as the other tools' files."""
    with suppress(RecipeError):
        found = recipe.loads(data.decode("utf-8", "replace"))
        for export in write.EXPORTS.values():
            assert export(found)


def _imported(read_one: Callable[[str], Request]) -> Target:
    def run(data: bytes) -> None:
        with suppress(RecipeError):
            request = read_one(data.decode("utf-8", "replace"))
            modern = modernise.modernise(request)
            document = write.recipe_document(request, modern, "fuzz")
            written = write.recipe_toml(document)
            recipe.from_document(document, text=written)
            assert recipe.loads(written).name == document["name"]

    return run


def pip_locks(data: bytes) -> None:
    """pylock.NAME.toml; what was read is written so that it reads the same."""
    with suppress(InputError):
        found = pip_lock.loads(data.decode("utf-8", "replace"))
        if found.platform_tag in ("linux_x86_64", "win_amd64"):
            assert pip_lock.loads(pip_lock.dumps(found)).pins == tuple(
                sorted(found.pins, key=lambda pin: pin.name)
            )


# --- what rattler reads for us -------------------------------------------------------------------


@cache
def _operations() -> ModuleType:
    from cuready.env.conda import operations

    return operations


def _engine(name: str, **arguments: str) -> Any:
    """One operation as the engine's child runs it: a failure must be one that we know."""
    operations = _operations()
    try:
        return asyncio.run(operations.OPERATIONS[name](**arguments))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a Rust panic is a BaseException
        described = operations.describe(error)
        assert described["kind"] in ("content", "input"), described
        return None


def repodata(data: bytes) -> None:
    """An index as a mirror sent it: plain, .zst or .bz2, maybe cut short."""
    folder = scratch("repodata")
    with memory_file(data) as path:
        found = _engine("unpack_index", source=path, target=str(folder / "repodata.json"))
    assert found is None or found["size"] > 0
    assert {path.name for path in folder.iterdir()} <= {"repodata.json"}, (
        "something was left behind"
    )


def conda_lock(data: bytes) -> None:
    """A lock in rattler's format, whoever wrote it."""
    path = scratch("lock") / "fuzz.lock"
    path.write_bytes(data)
    found = _engine("read_lock", path=str(path))
    for platform in (found or {"platforms": {}})["platforms"].values():
        assert all(isinstance(record["name"], str) for record in platform["records"])


TARGETS: dict[str, Target] = {
    "snapshot": snapshot,
    "recipe": recipes,
    "environment_yml": _imported(read.read_environment_yml),
    "requirements": _imported(read.read_requirements),
    "pixi": _imported(read.read_pixi),
    "install_line": _imported(read.read_command),
    "pip_lock": pip_locks,
    "conda_lock": conda_lock,
    "repodata": repodata,
}

"""The editors of .condarc, pip.conf, uv.toml and rattler's config.toml, and what lints them.

An edit that is refused says so with the editor's own error and writes nothing. One that is made
gives a file that the editor reads again, and on which the same edit changes nothing more; taken
back, it leaves the bytes that were there before.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tests.fuzz.targets._support import Target, part, scratch

from cuready.errors import ConfigError
from cuready.mirrors import catalogue, config, lint
from cuready.mirrors.catalogue import Catalogue
from cuready.mirrors.journal import Journal
from cuready.mirrors.locations import Tool

__all__ = ["TARGETS"]

_NAMES: dict[Tool, str] = {
    "conda": ".condarc", "pip": "pip.conf", "uv": "uv.toml", "rattler": "config.toml",
}  # fmt: skip


@cache
def _catalogue() -> Catalogue:
    return catalogue.load(Path("/nonexistent/mirrors.toml"))


def _editor(tool: Tool) -> Target:
    def run(data: bytes) -> None:
        which, content = part(data, 3)
        folder = scratch("config")
        path = folder / _NAMES[tool]
        path.write_bytes(content)
        try:
            for fault in lint.check_bytes(content, path, tool, _catalogue()):
                assert fault.line >= 0
            _edit_and_undo(tool, which, path, content)
        finally:
            path.unlink(missing_ok=True)

    return run


def _edit_and_undo(tool: Tool, which: int, path: Path, content: bytes) -> None:
    try:
        plan = _plan(tool, which, path)
    except ConfigError:
        assert path.read_bytes() == content
        return
    assert plan.diff() or not plan.changes
    journal = Journal(scratch("journal"))
    operation = config.apply([plan], "fuzz", journal)
    if operation is None:
        assert path.read_bytes() == content
        return
    try:
        assert not _plan(tool, which, path).changes, "the same edit, made twice, changes more"
        found = config.plan_restore([tool], journal)
        assert found is not None
        config.restore(found, journal)
        assert path.read_bytes() == content, "taken back, it is not what it was"
    finally:
        kept = journal.root / operation.id
        for file in kept.iterdir():
            file.unlink()
        kept.rmdir()


def _plan(tool: Tool, which: int, path: Path) -> config.Plan:
    known = _catalogue()
    if which == 0:
        mirror = next(item for item in known.for_use(config.USE_OF[tool]) if not item.official)
        return config.plan_use({tool: path}, {tool: mirror}, known)[0]
    if which == 1:
        return config.plan_defaults({tool: path}, known)[0]
    return config.plan_remove("https://mirrors.example.org/a", {tool: path})[0]


TARGETS: dict[str, Target] = {
    "condarc": _editor("conda"),
    "pip_conf": _editor("pip"),
    "uv_toml": _editor("uv"),
    "rattler_toml": _editor("rattler"),
}

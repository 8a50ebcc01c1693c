"""Facts of many readers, laid over each other into one Snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from cuready.probe.context import Facts
from cuready.snapshot import Snapshot

__all__ = ["UnknownFactError", "check", "overlay"]


class UnknownFactError(Exception):
    """A reader returned a key that the Snapshot has no field for."""


def _fields(model: Any) -> set[str]:
    return {field.name for field in dataclasses.fields(model)}


def check(facts: Facts) -> None:
    """Raise :class:`UnknownFactError` for a key that no field of Snapshot or a section has."""
    blank = Snapshot()
    sections = _fields(blank)
    for key in facts:
        section, _, name = key.partition(".")
        if section not in sections:
            raise UnknownFactError(key)
        if not name:
            continue
        part = getattr(blank, section)
        if not dataclasses.is_dataclass(part) or name not in _fields(part):
            raise UnknownFactError(key)


def overlay(base: Snapshot, parts: Iterable[Facts]) -> Snapshot:
    """``base`` with all ``parts`` laid over it; where two name one field, the later one counts."""
    whole: dict[str, Any] = {}
    sections: dict[str, dict[str, Any]] = {}
    for facts in parts:
        for key, value in facts.items():
            section, _, name = key.partition(".")
            if name:
                sections.setdefault(section, {})[name] = value
            else:
                whole[section] = value
    for section, values in sections.items():
        whole[section] = dataclasses.replace(whole.get(section, getattr(base, section)), **values)
    return dataclasses.replace(base, **whole)

"""What `cuready engine build` needs around the builder: profiles from options, progress lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cuready.errors import InputError
from cuready.selftest.feeds import parse_shape

__all__ = ["profiles_from", "show_progress"]

Bounds = list[list[int]]


def profiles_from(
    low: Sequence[str], best: Sequence[str], high: Sequence[str]
) -> list[dict[str, Bounds]]:
    """``--min x=1x8 --opt x=4x8 --max x=16x8`` → one profile; repeated for a name: more of them.

    ``--opt`` alone makes a profile for exactly that shape.
    """
    words = [_by_name(words, option) for words, option in
             ((low, "--min"), (best, "--opt"), (high, "--max"))]  # fmt: skip
    count = max((len(shapes) for table in words for shapes in table.values()), default=0)
    profiles: list[dict[str, Bounds]] = []
    for number in range(count):
        profile: dict[str, Bounds] = {}
        for name in dict.fromkeys(name for table in words for name in table):
            profile[name] = _bounds(name, [_nth(table, name, number) for table in words])
        profiles.append(profile)
    return profiles


def _by_name(words: Sequence[str], option: str) -> dict[str, list[list[int]]]:
    table: dict[str, list[list[int]]] = {}
    for word in words:
        name, sign, text = word.partition("=")
        if not sign or not name:
            message = f"{option} {word!r}: NAME=1x3x224x224 is needed"
            raise InputError(message)
        table.setdefault(name, []).append(list(parse_shape(text, f"{option} {name}")))
    return table


def _nth(table: Mapping[str, list[list[int]]], name: str, number: int) -> list[int] | None:
    shapes = table.get(name)
    return None if not shapes else shapes[min(number, len(shapes) - 1)]


def _bounds(name: str, given: list[list[int] | None]) -> Bounds:
    low, best, high = given
    best = best or high or low
    assert best is not None  # noqa: S101 - a name comes from one of the three
    made = [low or best, best, high or best]
    for small, large in (made[:2], made[1:]):
        if len(small) != len(large) or any(a > b for a, b in zip(small, large, strict=True)):
            shown = ", ".join("x".join(map(str, shape)) for shape in made)
            message = f"{name}: min, opt and max must grow, not {shown}"
            raise InputError(message)
    return made


def show_progress() -> Callable[[Mapping[str, Any]], None] | None:
    """The builder's phases on a terminal's stderr, the outermost one; quiet elsewhere."""
    if not sys.stderr.isatty():
        return None

    def show(message: Mapping[str, Any]) -> None:
        if message.get("parent"):
            return
        total = message.get("total") or 0
        share = f" {100 * message['done'] // total} %" if total else ""
        sys.stderr.write(f"\r\x1b[K{message['phase']}{share}")
        sys.stderr.flush()

    return show

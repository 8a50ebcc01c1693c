"""The order in which the loader relocates objects, which decides the error that is seen first.

glibc 2.35 and later sort by depth-first search, earlier ones by their original rule.
Source of both rules: elf/dl-sort-maps.c of glibc.
"""

from __future__ import annotations

from collections.abc import Sequence

from cuready.probe.loader.linkmap import LinkMap

__all__ = ["sort_maps"]


def sort_maps(maps: Sequence[LinkMap], glibc: tuple[int, int] | None) -> list[LinkMap]:
    """``maps`` (breadth first, the opened object first) with every user before what it uses.

    The first one keeps its place. ``glibc`` None means a recent one.
    """
    if len(maps) < 2:
        return list(maps)
    if glibc is None or glibc >= (2, 35):
        return _depth_first(maps)
    return [maps[0], *_original(list(maps[1:]))]


def _dependencies(item: LinkMap) -> list[LinkMap]:
    """``l_initfini``: the object and what it needs, or its whole sorted list once it has one."""
    return item.ordered or [item, *(item.needed or [])]


def _depth_first(maps: Sequence[LinkMap]) -> list[LinkMap]:
    """Reverse post-order, from the last object to the first. Without recursion: chains are long."""
    first, seen, finished = maps[0], set[int](), list[LinkMap]()
    for start in reversed(maps):
        if id(start) in seen:
            continue
        seen.add(id(start))
        # The object that is being opened has no list of its own yet.
        stack = [(start, iter(_dependencies(start) if start is not first else []))]
        while stack:
            item, following = stack[-1]
            for other in following:
                if id(other) not in seen and other.kind != "main":
                    seen.add(id(other))
                    deeper = _dependencies(other) if other is not first else []
                    stack.append((other, iter(deeper)))
                    break
            else:
                finished.append(item)
                stack.pop()
    finished.reverse()
    members = {id(item) for item in maps}
    ordered = [item for item in finished if id(item) in members]
    ordered.remove(first)
    return [first, *ordered]


def _original(maps: list[LinkMap]) -> list[LinkMap]:
    """Move each object behind the last one that depends on it, until nothing moves."""
    count, place = len(maps), 0
    seen = [0] * count
    while place < count:
        seen[place] += 1
        item = maps[place]
        user = next(
            (k for k in range(count - 1, place, -1)
             if any(other is item for other in _dependencies(maps[k]))), None
        )  # fmt: skip
        if user is None:
            place += 1
            seen[place:] = [0] * (count - place)
            continue
        maps[place : user + 1] = [*maps[place + 1 : user + 1], item]
        if seen[place + 1] > count - place:
            place += 1
            seen[place:] = [0] * (count - place)
            continue
        seen[place : user + 1] = [*seen[place + 1 : user + 1], seen[place]]
    return maps

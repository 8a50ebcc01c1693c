"""Change one value of a TOML file and leave every other byte alone.

tomlkit keeps a document's form, but places a new key or a removed table where it sees fit. So it
is only asked where a value stands: a marker is put there, and the text around the marker is the
text around the value. Every operation ends with a parse, which must give the intended data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import tomlkit
import tomlkit.exceptions
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.items import AoT, Table

from cuready._util import one_line, parse_toml, tomllib
from cuready.mirrors.editors.text import ConfigSyntaxError, line_of, splice

__all__ = [
    "Path",
    "Places",
    "append_block",
    "delete",
    "insert_first",
    "insert_first_key",
    "insert_key",
    "load",
    "position",
    "quote",
    "set_value",
]

Path = tuple[str | int, ...]

_MARKER = "cuready\N{SECTION SIGN}marker"
_MARKED = re.compile(rf'"{_MARKER}(\d+)"')
_MOST_TRIALS = 20  # a parse each; a layout that needs more is nobody's
_AT_LINE = re.compile(r"\(at line (\d+), column \d+\)")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def load(body: str) -> dict[str, Any]:
    """The file's data. Raises ConfigSyntaxError with the line, also for a key that stands twice."""
    try:
        return parse_toml(body)
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        place = _AT_LINE.search(text)
        line = int(place.group(1)) if place else len(body.splitlines())
        reason = _AT_LINE.sub("", text).replace("(at end of document)", "at the end of the file")
        raise ConfigSyntaxError(max(line, 1), one_line(reason)) from None
    except ValueError as error:  # too deep, or an integer that is too long
        raise ConfigSyntaxError(1, one_line(error)) from None


def position(body: str, path: Path) -> int:
    """The line, from 1, of the value at ``path``; of a table, that of its first value."""
    return Places(body).line(path)


class Places:
    """Where the values of one file stand, for a lint that asks for many of them."""

    def __init__(self, body: str) -> None:
        self._body = body
        self._data = load(body)
        self._trials = _trials()

    def line(self, path: Path) -> int:
        """The line, from 1, of the value at ``path``; of a table, that of its first value.

        1 where nobody can tell: a layout that is read by trial is so only for the first values.
        """
        value = _get(self._data, path)
        while isinstance(value, Mapping) and value:
            path = (*path, next(iter(value)))
            value = value[path[-1]]
        found = _spans(self._body, len(path)).get(path)
        if found is None and isinstance(value, (str, int, float)):
            found = _span_by_trial(self._body, path, self._trials)
        return line_of(self._body, found[0]) if found else 1


def quote(value: str | Sequence[str], mark: str = '"') -> str:
    """A string or a list of strings in TOML."""
    if not isinstance(value, str):
        return f"[{', '.join(quote(item) for item in value)}]"
    if mark == "'" and "'" not in value and value.isprintable():
        return f"'{value}'"
    text = tomlkit.item(value).as_string()
    return str(text)


def set_value(body: str, path: Path, value: str | Sequence[str]) -> str:
    """Replace the value at ``path``; a string keeps the kind of quotes it had."""
    start, end = _span(body, path)
    mark = "'" if body[start:end].startswith("'") and not body.startswith("'''", start) else '"'
    new = splice(body, start, end, quote(value, mark))
    return _verified(body, new, lambda data: _assign(data, path, _plain(value)))


def insert_key(
    body: str, table: Path, key: str, value: str | Sequence[str], newline: str = "\n"
) -> str:
    """Add ``key`` behind the last key of ``table``, which must exist."""
    parts = [str(step) for step in table]
    name = key if _BARE.fullmatch(key) else quote(key)
    pair = f"{name} = {quote(value)}"
    dotted = ".".join([*parts, pair]) if parts else pair
    candidates = [*_behind_last(body, table, pair, dotted, newline)]
    candidates += _behind_header(body, parts, pair, newline)
    return _first_verified(
        body, candidates, lambda data: _assign(data, (*table, key), _plain(value))
    )


def append_block(body: str, block: str, change: Callable[[Any], None], newline: str = "\n") -> str:
    """Add ``block``, which starts with a table header, at the end of the file."""
    text = block.replace("\n", newline)
    if not body.strip():
        new = body + text + newline
    elif body[-1] in "\r\n":
        new = body + newline + text + newline
    else:
        new = body + newline + newline + text
    return _verified(body, new, change)


def insert_first_key(body: str, key: str, value: str, newline: str = "\n") -> str:
    """Add a top-level key; it has to stand before the first table."""
    pair = f"{key} = {quote(value)}"
    header = re.search(r"^[ \t]*\[", body, re.MULTILINE)
    candidates = list(_behind_last(body, (), pair, pair, newline))
    at = _line_start(body, header.start()) if header else 0
    candidates.append(splice(body, at, at, pair + newline))
    candidates.append(pair + newline + body)
    return _first_verified(body, candidates, lambda data: _assign(data, (key,), value))


def insert_first(body: str, path: Path, value: str, newline: str = "\n") -> str:
    """Put ``value`` before the first element of the array at ``path``."""

    def change(data: Any) -> None:
        _get(data, path).insert(0, value)

    if not _get(load(body), path):
        return set_value(body, path, [value])
    start, _ = _span(body, (*path, 0))
    line_start = max(body.rfind("\n", 0, start), body.rfind("\r", 0, start)) + 1
    indent = body[line_start:start]
    gap = newline + indent if not indent.strip() else " "
    return _verified(body, splice(body, start, start, f"{quote(value)},{gap}"), change)


def delete(body: str, path: Path) -> str:
    """Remove the key, array element or ``[[table]]`` at ``path`` with its lines."""
    target = _get(load(body), path)
    parent = _get(load(body), path[:-1])
    if isinstance(target, Mapping):
        candidates = _cut_table(body, path, target)
    elif isinstance(parent, list):
        candidates = _cut_element(body, path, len(parent))
    else:
        candidates = _cut_key(body, path)

    def change(data: Any) -> None:
        del _get(data, path[:-1])[path[-1]]

    def change_last_table(data: Any) -> None:
        del _get(data, path[:-2])[path[-2]]

    if isinstance(parent, list) and len(parent) == 1 and isinstance(target, Mapping):
        # The last [[table]] takes its array with it; `name = [{…}]` leaves an empty one.
        candidates = list(candidates)
        try:
            return _first_verified(body, candidates, change_last_table)
        except ConfigSyntaxError:
            return _first_verified(body, candidates, change)
    return _first_verified(body, candidates, change)


# --- finding places ------------------------------------------------------------------------


def _span(body: str, path: Path) -> tuple[int, int]:
    """Start and end of the value at ``path``."""
    found = _spans(body, len(path)).get(path) or _span_by_trial(body, path, _trials())
    if found is None:
        raise _hopeless(1)
    return found


def _trials() -> Iterator[int]:
    return iter(range(_MOST_TRIALS))


@lru_cache(maxsize=8)
def _spans(body: str, steps: int) -> dict[Path, tuple[int, int]]:
    """The spans of all values that are ``steps`` keys deep, as far as tomlkit leaves them in place.

    All at once: a lint asks for hundreds, and each question would be a parse of the whole file.
    """
    try:
        document: Any = tomlkit.parse(body)
        places = list(_places(document, steps))
        texts = []
        for number, (holder, path) in enumerate(places):
            texts.append(tomlkit.item(holder[path[-1]]).as_string())  # a bool comes as Python's own
            holder[path[-1]] = f"{_MARKER}{number}"
        pieces = _MARKED.split(tomlkit.dumps(document))
    except (tomlkit.exceptions.TOMLKitError, LookupError, TypeError, AttributeError):
        return {}
    except RecursionError:  # tomlkit copies what it reads: it is at its end sooner than tomllib
        return {}
    found = {}
    end = 0
    for before, number in zip(pieces[:-1:2], map(int, pieces[1::2]), strict=True):
        start = end + len(before)
        end = start + len(texts[number])
        if body[start - len(before) : end] != before + texts[number]:
            return {}
        found[places[number][1]] = (start, end)
    return found if body[end:] == pieces[-1] else {}


def _places(holder: Any, steps: int, path: Path = ()) -> Iterator[tuple[Any, Path]]:
    """``(holder, path)`` of every value ``steps`` keys below ``holder`` that is no table."""
    keys = holder if isinstance(holder, Mapping) else range(len(holder))
    for key in list(keys):
        value = holder[key]
        if steps == 1:
            if not isinstance(value, (Table, AoT, OutOfOrderTableProxy)):
                yield holder, (*path, key)
        elif isinstance(value, (Mapping, list)):
            yield from _places(value, steps - 1, (*path, key))


def _span_by_trial(body: str, path: Path, trials: Iterator[int]) -> tuple[int, int] | None:
    """The same where tomlkit moves things: ``[[index]]`` tables with another table in between.

    Each place that spells the value is tried: at the right one a marker changes only ``path``.
    """
    if next(trials, None) is None:
        return None
    expected = load(body)
    value = _get(expected, path)
    _assign(expected, path, _MARKER)
    if isinstance(value, bool):
        spelled = [str(value).lower()]
    elif isinstance(value, str):
        spelled = [f'"{value}"', f"'{value}'", quote(value)]
    else:
        spelled = [str(value)] if isinstance(value, (int, float)) else []
    for text in spelled:
        for place, _ in zip(re.finditer(re.escape(text), body), trials, strict=False):
            try:
                marked = load(splice(body, place.start(), place.end(), f'"{_MARKER}"'))
            except ConfigSyntaxError:
                continue
            if marked == expected:
                return place.span()
    return None


def _line_start(body: str, index: int) -> int:
    return max(body.rfind("\n", 0, index), body.rfind("\r", 0, index)) + 1


def _line_end(body: str, index: int) -> int:
    found = re.compile(r"[\r\n]|\Z").search(body, index)
    return found.start() if found else len(body)


def _hopeless(line: int) -> ConfigSyntaxError:
    return ConfigSyntaxError(
        line, "this layout cannot be changed line by line", hint="edit the file by hand"
    )


# --- candidates, of which the first that parses as intended is taken ------------------------


def _behind_last(body: str, table: Path, pair: str, dotted: str, newline: str) -> Iterable[str]:
    data = _get(load(body), table)
    for key in reversed(list(data)):
        if isinstance(data[key], Mapping):
            continue
        try:
            start, end = _span(body, (*table, key))
        except ConfigSyntaxError:
            continue
        at, line_start = _line_end(body, end), _line_start(body, start)
        indent = body[line_start : len(body) - len(body[line_start:].lstrip(" \t"))]
        yield splice(body, at, at, f"{newline}{indent}{pair}")
        yield splice(body, at, at, f"{newline}{indent}{dotted}")
        yield splice(body, end, end, f", {pair}")


def _behind_header(body: str, parts: list[str], pair: str, newline: str) -> Iterable[str]:
    name = r"\s*\.\s*".join(rf"[\"']?{re.escape(part)}[\"']?" for part in parts)
    for header in re.finditer(rf"^[ \t]*\[\s*{name}\s*\][^\r\n]*", body, re.MULTILINE):
        yield splice(body, header.end(), header.end(), newline + pair)
    for empty in re.finditer(rf"{name}\s*=\s*\{{\s*\}}", body):
        yield splice(body, empty.end() - 1, empty.end(), f"{pair}}}")


def _cut_lines(body: str, start: int, end: int) -> str:
    first, last = _line_start(body, start), _line_end(body, end)
    if last < len(body):
        last += 2 if body.startswith("\r\n", last) else 1
    elif first:
        first -= 2 if body[first - 2 : first] == "\r\n" else 1
    return splice(body, first, last, "")


def _cut_key(body: str, path: Path) -> Iterable[str]:
    start, end = _span(body, path)
    yield _cut_lines(body, start, end)
    key = re.compile(r"[^,{]*=\s*$").search(body, _line_start(body, start), start)
    if key:  # inside an inline table
        comma = re.compile(r"\s*,\s*").match(body, end)
        yield splice(body, key.start(), comma.end() if comma else end, " " if comma else "")
        before = re.compile(r",\s*$").search(body, 0, key.start())
        if before:
            yield splice(body, before.start(), end, "")


def _cut_element(body: str, path: Path, count: int) -> Iterable[str]:
    index = path[-1]
    assert isinstance(index, int)  # noqa: S101 - the caller looked at the parent
    start, end = _span(body, path)
    line = body[_line_start(body, start) : _line_end(body, end)]
    if line.strip().rstrip(",") == body[start:end]:
        yield _cut_lines(body, start, end)
    if index + 1 < count:
        following, _ = _span(body, (*path[:-1], index + 1))
        yield splice(body, start, following, "")
    elif index:
        _, previous = _span(body, (*path[:-1], index - 1))
        yield splice(body, previous, end, "")
    comma = re.compile(r"\s*,").match(body, end)
    yield splice(body, start, comma.end() if comma else end, "")


def _cut_table(body: str, path: Path, table: Mapping[str, Any]) -> Iterable[str]:
    spans = [_span(body, (*path, key)) for key in table if not isinstance(table[key], Mapping)]
    if not spans:
        return
    first, last = min(spans)[0], max(end for _, end in spans)
    headers = list(re.finditer(r"^[ \t]*\[[^\r\n]*", body[:first], re.MULTILINE))
    if headers:
        cut = _cut_lines(body, headers[-1].start(), last)
        yield _joined(cut, headers[-1].start())
        yield cut
    yield _cut_lines(body, first, last)  # `table.key = value` lines
    opening = body.rfind("{", 0, first)
    closing = body.find("}", last) + 1
    if opening >= 0 and closing:
        comma = re.compile(r"\s*,\s*").match(body, closing)
        yield splice(body, opening, comma.end() if comma else closing, "")
        before = re.compile(r",\s*$").search(body, 0, opening)
        if before:
            yield splice(body, before.start(), closing, "")
        yield _cut_lines(body, opening, closing)


def _joined(body: str, index: int) -> str:
    """Take away the blank line that stood before a table that was removed."""
    blank = re.compile(r"(\r\n|\n)(?=(\r\n|\n)|\Z)").match(
        body, max(_line_start(body, index) - 1, 0)
    )
    before = re.compile(r"(?:\r\n|\n)(\r\n|\n)$").search(body, 0, index)
    if before and (blank or index >= len(body)):
        return splice(body, before.start(1), before.end(1), "")
    return body


# --- checking ------------------------------------------------------------------------------


def _first_verified(body: str, candidates: Iterable[str], change: Callable[[Any], None]) -> str:
    for candidate in candidates:
        try:
            return _verified(body, candidate, change)
        except ConfigSyntaxError:
            continue
    raise _hopeless(1)


def _verified(before: str, after: str, change: Callable[[Any], None]) -> str:
    expected = load(before)
    change(expected)
    if load(after) != expected:
        raise _hopeless(1)
    return after


def _get(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _assign(data: Any, path: Path, value: Any) -> None:
    _get(data, path[:-1])[path[-1]] = value


def _plain(value: str | Sequence[str]) -> str | list[str]:
    return value if isinstance(value, str) else list(value)

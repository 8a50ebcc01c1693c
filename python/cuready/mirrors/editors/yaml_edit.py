"""Change one value of a YAML file and leave every other byte alone.

PyYAML's node positions say where a value stands; the text is spliced there. A round trip through a
YAML writer would reflow indentation, quotes and blank lines, so none is used. Every operation ends
with a parse of the result, which must be the intended data and nothing else.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import yaml

from cuready._util import one_line
from cuready.mirrors.editors.text import ConfigSyntaxError, line_of, splice

__all__ = [
    "Path",
    "Value",
    "append_item",
    "compose",
    "delete",
    "insert_pair",
    "load",
    "position",
    "set_item",
]

Path = tuple[str | int, ...]
Value = str | Sequence[str] | Mapping[str, str]

_PLAIN = re.compile(r"[A-Za-z0-9._/\-][A-Za-z0-9._/:@%+=~\-]*")
_MOST_NODES = 100_000
_PROPERTIES = re.compile(r"(?:[&!]\S*[ \t]+)*")


@lru_cache(maxsize=4)  # an edit looks at the same text a dozen times, and PyYAML takes its time
def compose(body: str) -> yaml.Node | None:
    """The node tree, None for a file without content. Raises ConfigSyntaxError with the line.

    It is everybody's: constructing data from it would change it.
    """
    try:
        node = yaml.compose(body, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigSyntaxError(line, one_line(error.problem or "not YAML")) from None
    except yaml.YAMLError as error:
        index = getattr(error, "position", 0)
        raise ConfigSyntaxError(line_of(body, index), one_line(error)) from None
    except RecursionError:
        raise ConfigSyntaxError(1, "nested too deeply") from None
    if node is not None and not isinstance(node, yaml.MappingNode):
        raise ConfigSyntaxError(node.start_mark.line + 1, "the file is not a mapping of keys")
    if node is not None:
        _check_tree(node, frozenset(), {})
    return node


def load(body: str) -> dict[str, Any]:
    """The file's data. Raises ConfigSyntaxError, also for a key that stands twice."""
    return copy.deepcopy(_loaded(body))


@lru_cache(maxsize=4)
def _loaded(body: str) -> dict[str, Any]:
    compose(body)
    try:
        found: dict[str, Any] = yaml.safe_load(body) or {}
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark is not None else 1
        raise ConfigSyntaxError(line, one_line(error.problem or "not YAML")) from None
    except (ValueError, TypeError) as error:
        raise ConfigSyntaxError(1, one_line(error)) from None


def position(body: str, path: Path, *, key: bool = False) -> int:
    """The line, from 1, of the value at ``path`` (of its key with ``key``)."""
    node = _node(body, path[:-1])
    last = path[-1]
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == last:
                return int((name if key else value).start_mark.line) + 1
    if isinstance(node, yaml.SequenceNode) and isinstance(last, int):
        return int(node.value[last].start_mark.line) + 1
    return int(node.start_mark.line) + 1  # it came by a merge or an alias


def set_item(body: str, path: Path, value: str) -> str:
    """Replace the scalar at ``path``, keeping its quotes and what stands around it."""
    node = _node(body, path)
    start, end = _span(body, node)
    style = getattr(node, "style", None)
    new = splice(body, start, end, _scalar(value, style if style in ("'", '"') else None))
    return _verified(body, new, lambda data: _assign(data, path, value))


def insert_pair(body: str, path: Path, key: str, value: Value, newline: str = "\n") -> str:
    """Add ``key`` to the mapping at ``path``; the root is ``()``."""
    plain: Value = value
    if not isinstance(value, str):
        plain = dict(value) if isinstance(value, Mapping) else list(value)
    root = compose(body)
    if root is None:
        new = _append_lines(body, _block_pair(key, plain, "", newline), newline)
        return _verified(body, new, lambda data: _assign(data, (*path, key), plain))
    node = _node(body, path)
    if isinstance(node, yaml.ScalarNode):
        new = _fill_empty(body, path, key, plain, newline)
    elif _is_flow(node):
        new = _insert_flow(body, node, _flow_pair(key, plain, _key_quote(node)))
    elif path == ():
        indent = " " * node.start_mark.column
        new = _append_key(body, node, _block_pair(key, plain, indent, newline), newline)
    else:
        indent = " " * node.start_mark.column
        new = _insert_after(body, node, _block_pair(key, plain, indent, newline), newline)

    def change(data: Any) -> None:
        if _get(data, path) is None:
            _assign(data, path, {})
        _assign(data, (*path, key), plain)

    return _verified(body, new, change)


def append_item(body: str, path: Path, value: str, newline: str = "\n") -> str:
    """Add a scalar at the end of the list at ``path``."""
    node = _node(body, path)
    if isinstance(node, yaml.ScalarNode):
        start, end = _span(body, node)
        new = splice(body, start, end, f"{'' if end > start else ' '}[{_scalar(value)}]")
    elif _is_flow(node):
        new = _insert_flow(body, node, _scalar(value))
    else:
        indent = " " * node.start_mark.column
        new = _insert_after(body, node, f"{indent}- {_scalar(value)}", newline)
    return _verified(
        body, new, lambda data: _assign(data, path, [*(_get(data, path) or ()), value])
    )


def delete(body: str, path: Path) -> str:
    """Remove the key or list item at ``path`` with its lines; comments above it stay."""
    parent = _node(body, path[:-1])
    children = _children(parent)
    index = _index(parent, path[-1])
    start, end = children[index]
    flow = _is_flow(parent)
    new = _cut_flow(body, children, index) if flow else _cut_lines(body, start, end)

    def change(data: Any) -> None:
        del _get(data, path[:-1])[path[-1]]

    return _verified(body, new, change)


# --- finding places ------------------------------------------------------------------------


def _node(body: str, path: Path) -> yaml.Node:
    node = compose(body)
    if node is None:
        raise KeyError(path)
    for step in path:
        try:
            node = _child(node, step)
        except (KeyError, IndexError):
            line = node.start_mark.line + 1
            raise ConfigSyntaxError(
                line, f"{step} comes from a YAML merge or alias", hint="edit the file by hand"
            ) from None
    return node


def _child(node: yaml.Node, step: str | int) -> yaml.Node:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                child: yaml.Node = value
                return child
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        item: yaml.Node = node.value[step]
        return item
    raise KeyError(step)


def _index(parent: yaml.Node, step: str | int) -> int:
    if isinstance(parent, yaml.MappingNode):
        names = [key.value for key, _ in parent.value]
        if step not in names:
            line = parent.start_mark.line + 1
            raise ConfigSyntaxError(
                line, f"{step} comes from a YAML merge or alias", hint="edit the file by hand"
            )
        return names.index(step)
    return int(step)


def _children(parent: yaml.Node) -> list[tuple[int, int]]:
    """Start and end of each pair or item; an item's dash is not part of it."""
    if isinstance(parent, yaml.MappingNode):
        return [(key.start_mark.index, _pair_end(key, value)) for key, value in parent.value]
    return [(item.start_mark.index, _content_end(item)) for item in parent.value]


def _is_flow(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and bool(node.flow_style)


def _content_end(node: yaml.Node) -> int:
    """Where the node's own text ends: a block collection's mark lies behind trailing comments."""
    if isinstance(node, yaml.ScalarNode) or _is_flow(node):
        return int(node.end_mark.index)
    if not node.value:
        return int(node.start_mark.index)
    last = node.value[-1]
    return _pair_end(*last) if isinstance(node, yaml.MappingNode) else _content_end(last)


def _pair_end(key: yaml.Node, value: yaml.Node) -> int:
    """An alias's node stands at its anchor, before the key; the alias is on the key's line."""
    return max(int(key.end_mark.index), _content_end(value))


def _span(body: str, node: yaml.Node) -> tuple[int, int]:
    """The scalar's text without anchor and tag."""
    if not isinstance(node, yaml.ScalarNode):
        line = node.start_mark.line + 1
        raise ConfigSyntaxError(line, "expected one value here, found a list or a mapping")
    start, end = node.start_mark.index, node.end_mark.index
    properties = _PROPERTIES.match(body, start, end)
    return (properties.end() if properties else start), end


def _line_start(body: str, index: int) -> int:
    return max(body.rfind("\n", 0, index), body.rfind("\r", 0, index)) + 1


def _line_end(body: str, index: int) -> int:
    """Index of the line's end mark, or of the end of the file."""
    if index and body[index - 1] in "\r\n" and index > 0:
        # A block scalar's end mark is at the start of the next line.
        index -= 2 if body[index - 2 : index] == "\r\n" else 1
    found = re.compile(r"[\r\n]|\Z").search(body, index)
    return found.start() if found else len(body)


def _after_newline(body: str, index: int) -> int:
    if body.startswith("\r\n", index):
        return index + 2
    return index + 1 if index < len(body) else index


# --- changing the text ----------------------------------------------------------------------


def _scalar(value: str, style: str | None = None) -> str:
    if style == "'" or (style is None and not _is_plain(value)):
        return "'" + value.replace("'", "''") + "'"
    if style == '"':
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value


def _is_plain(value: str) -> bool:
    if not _PLAIN.fullmatch(value) or value.endswith(":"):
        return False
    return bool(yaml.safe_load(value) == value)


def _block_pair(key: str, value: Value, indent: str, newline: str) -> str:
    head = f"{indent}{_scalar(key)}:"
    if isinstance(value, str):
        return f"{head} {_scalar(value)}"
    if isinstance(value, Mapping):
        below = [f"{indent}  {_scalar(name)}: {_scalar(item)}" for name, item in value.items()]
    else:
        below = [f"{indent}  - {_scalar(item)}" for item in value]
    return newline.join([head, *below])


def _flow_pair(key: str, value: Value, quote: str | None = None) -> str:
    """``key: value`` on one line; with ``quote`` all is quoted, for a file that is JSON."""
    if isinstance(value, str):
        return f"{_scalar(key, quote)}: {_scalar(value, quote)}"
    if isinstance(value, Mapping):
        inner = ", ".join(_flow_pair(name, item, quote) for name, item in value.items())
        return f"{_scalar(key, quote)}: {{{inner}}}"
    items = ", ".join(_scalar(item, quote) for item in value)
    return f"{_scalar(key, quote)}: [{items}]"


def _key_quote(node: yaml.Node) -> str | None:
    """The quotes of the mapping's own keys."""
    keys = [key for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
    return '"' if keys and all(getattr(key, "style", None) == '"' for key in keys) else None


def _fill_empty(body: str, path: Path, key: str, value: Value, newline: str) -> str:
    """Give ``name:`` without a value, or with ``null``, its first entry."""
    start, end = _span(body, _node(body, path))
    flow = f"{{{_flow_pair(key, value)}}}"
    if end > start:
        return splice(body, start, end, flow)
    parent = _node(body, path[:-1])
    if _is_flow(parent):
        return splice(body, start, end, f" {flow}")
    at = _line_end(body, end)
    indent = " " * (parent.start_mark.column + 2)
    return splice(body, at, at, newline + _block_pair(key, value, indent, newline))


def _insert_flow(body: str, node: yaml.Node, text: str) -> str:
    children = _children(node)
    if children:
        return splice(body, children[-1][1], children[-1][1], f", {text}")
    at = body.index("{" if isinstance(node, yaml.MappingNode) else "[", node.start_mark.index) + 1
    return splice(body, at, at, text)


def _insert_after(body: str, node: yaml.Node, line: str, newline: str) -> str:
    at = _line_end(body, _content_end(node))
    return splice(body, at, at, newline + line)


def _append_key(body: str, root: yaml.Node, line: str, newline: str) -> str:
    """A new top-level key goes to the end of the file, or before a document end mark."""
    end = root.end_mark.index
    if body[end:].strip():
        at = _line_start(body, end)
        return splice(body, at, at, line + newline)
    return _append_lines(body, line, newline)


def _append_lines(body: str, line: str, newline: str) -> str:
    """At the end of the file, which keeps its habit of ending with or without a newline."""
    if not body or body[-1] in "\r\n":
        return body + line + newline
    return body + newline + line


def _cut_lines(body: str, start: int, end: int) -> str:
    first, last = _line_start(body, start), _line_end(body, end)
    stop = _after_newline(body, last)
    if stop == last and first > 0:  # the last line, without a newline: take the one before
        first -= 2 if body[first - 2 : first] == "\r\n" else 1
    return splice(body, first, stop, "")


def _cut_flow(body: str, children: list[tuple[int, int]], index: int) -> str:
    start, end = children[index]
    if index + 1 < len(children):
        return splice(body, start, children[index + 1][0], "")
    if index > 0:
        return splice(body, children[index - 1][1], end, "")
    comma = re.compile(r"[ \t]*,").match(body, end)
    return splice(body, start, comma.end() if comma else end, "")


# --- checking ------------------------------------------------------------------------------


def _verified(before: str, after: str, change: Callable[[Any], None]) -> str:
    """``after``, when it parses to exactly ``before`` with ``change`` applied."""
    expected = load(before)
    change(expected)
    try:
        actual: Any = load(after)
    except ConfigSyntaxError:
        actual = None
    if actual != expected:
        line = next(
            number for number, (old, new) in enumerate(_pairs(before, after), start=1) if old != new
        )
        raise ConfigSyntaxError(
            line, "this layout cannot be changed line by line", hint="edit the file by hand"
        )
    return after


def _pairs(before: str, after: str) -> Iterator[tuple[str, str]]:
    old, new = before.splitlines(), after.splitlines()
    size = max(len(old), len(new)) + 1
    old += [""] * (size - len(old))
    new += ["\0"] * (size - len(new))
    return zip(old, new, strict=True)


def _get(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data


def _assign(data: Any, path: Path, value: Any) -> None:
    _get(data, path[:-1])[path[-1]] = value


def _check_tree(node: yaml.Node, below: frozenset[int], sizes: dict[int, int]) -> int:
    """How many nodes ``node`` stands for with its aliases expanded.

    Raises ConfigSyntaxError for a key that stands twice, an alias inside itself, and aliases that
    expand to more than any configuration holds.
    """
    line = node.start_mark.line + 1
    if id(node) in below:
        raise ConfigSyntaxError(line, "an alias that contains itself")
    if id(node) in sizes:
        return sizes[id(node)]
    below |= {id(node)}
    size = 1
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in first:
                    at = key.start_mark.line + 1
                    raise DuplicateKeyError(at, key.value, first[key.value])
                first[key.value] = key.start_mark.line + 1
            size += 1 + _check_tree(value, below, sizes)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check_tree(item, below, sizes) for item in node.value)
    if size > _MOST_NODES:
        raise ConfigSyntaxError(line, "its aliases expand to more than a configuration holds")
    sizes[id(node)] = size
    return size


class DuplicateKeyError(ConfigSyntaxError):
    """A key stands twice; conda stops with DuplicateKeyError on such a file."""

    def __init__(self, line: int, key: str, first: int) -> None:
        super().__init__(line, f"key {key!r} stands twice, first on line {first}")
        self.key = key
        self.first = first


def typed(data: Mapping[str, Any], key: str, kind: type, name: str, body: str) -> Any:
    """``data[key]`` if it is a ``kind``, None when it is absent or null.

    Raises ConfigSyntaxError with the line when conda would refuse the value's type.
    """
    value = data.get(key)
    if value is None or isinstance(value, kind):
        return value
    found = type(value).__name__
    raise ConfigSyntaxError(position(body, (key,)), f"{key} is {found}; conda wants {name}")

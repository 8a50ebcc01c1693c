"""Change one option of a pip.conf and leave every other byte alone.

The scanner follows the rules by which ``configparser.RawConfigParser`` reads a file (section
headers, ``=`` or ``:``, continuation lines, comments), and its answer has to agree with that
parser's, which is the one that pip uses: https://pip.pypa.io/en/stable/topics/configuration/
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Callable
from dataclasses import dataclass

from cuready._util import one_line, read_ini
from cuready.mirrors.editors.text import ConfigSyntaxError, lines, splice

__all__ = ["Option", "Sections", "delete", "load", "normalise", "options", "set_option"]

Sections = dict[str, dict[str, str]]

_SECTION = re.compile(r"\[(?P<header>.+)\]")
_OPTION = re.compile(r"(?P<option>.*?)\s*(?:(?P<delimiter>[=:])\s*(?P<value>.*))$", re.DOTALL)


@dataclass(frozen=True)
class Option:
    """Where an option stands: its value's span, and its lines from the first to behind the last."""

    section: str
    key: str
    line: int
    value: str
    value_start: int
    value_end: int
    start: int
    end: int


@dataclass(frozen=True)
class _Header:
    section: str
    end: int  # index behind the header's line


class _PipParser(configparser.RawConfigParser):
    """The parser of pip: no interpolation, and names in one spelling."""

    def optionxform(self, optionstr: str) -> str:
        return normalise(optionstr)


def normalise(name: str) -> str:
    """``--Index_URL`` → ``index-url``: the spelling in which pip compares names."""
    name = name.lower().replace("_", "-")
    return name[2:] if name.startswith("--") else name


def load(body: str) -> Sections:
    """Section → option → value, as pip reads them. Raises ConfigSyntaxError with the line."""
    parser = _PipParser()
    try:
        read_ini(parser, body)
    except configparser.DuplicateSectionError as error:
        raise ConfigSyntaxError(
            error.lineno or 1, f"section [{error.section}] stands twice"
        ) from None
    except configparser.DuplicateOptionError as error:
        raise ConfigSyntaxError(
            error.lineno or 1, f"{error.option} stands twice in [{error.section}]"
        ) from None
    except configparser.MissingSectionHeaderError as error:
        raise ConfigSyntaxError(error.lineno, "no [section] before the first option") from None
    except configparser.ParsingError as error:
        line, text = error.errors[0] if error.errors else (getattr(error, "lineno", 1), "")
        raise ConfigSyntaxError(line, f"not an option: {one_line(text, 60)}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def options(body: str) -> list[Option]:
    """Every option of the file in its order."""
    return _scan(body)[0]


def set_option(body: str, section: str, key: str, value: str, newline: str = "\n") -> str:
    """Give ``key`` in ``section`` the one-line value; the section is added when it is missing."""
    found, headers = _scan(body)
    place = next((o for o in found if (o.section, o.key) == (section, key)), None)
    if place is not None:
        empty = not place.value.split("\n", 1)[0]  # nothing on the first line: make room
        gap = " " if empty and body[place.value_start - 1] in "=:" else ""
        new = splice(body, place.value_start, place.value_end, gap + value)
    else:
        line = f"{key}{_delimiter(body, found)}{value}"
        header = next((h for h in headers if h.section == section), None)
        new = _insert(body, header, section, line, newline)
    return _verified(body, new, lambda data: data.setdefault(section, {}).update({key: value}))


def delete(body: str, section: str, key: str) -> str:
    """Remove an option with its continuation lines; its section header stays."""
    place = next(o for o in options(body) if (o.section, o.key) == (section, key))
    start, end = place.start, place.end
    if end == len(body) and body[-1] not in "\r\n" and start:
        start -= 2 if body[start - 2 : start] == "\r\n" else 1

    def change(data: Sections) -> None:
        del data[section][key]

    return _verified(body, splice(body, start, end, ""), change)


def _insert(body: str, header: _Header | None, section: str, line: str, newline: str) -> str:
    if header is not None and header.end and body[header.end - 1] in "\r\n":
        return splice(body, header.end, header.end, line + newline)
    if header is not None:  # the header is the last line, without a newline
        return body + newline + line
    block = f"[{section}]{newline}{line}"
    if not body:
        return block + newline
    if body[-1] in "\r\n":
        return body + (newline if body.strip() else "") + block + newline
    return body + newline + newline + block


def _delimiter(body: str, found: list[Option]) -> str:
    """The file's own way of writing ``key = value``."""
    for option in found:
        head = re.match(r"[^=:]*?([ \t]*[=:][ \t]*)\S", body[option.start : option.value_start + 1])
        if head:
            return head.group(1)
    return " = "


def _scan(body: str) -> tuple[list[Option], list[_Header]]:
    data = load(body)  # before any pattern sees a line that only a parser's limits hold off
    found: list[Option] = []
    headers: list[_Header] = []
    section = ""
    current: Option | None = None
    indent = index = 0
    for number, line in enumerate(lines(body), start=1):
        start, index = index, index + len(line)
        text = line.strip()
        if not text or text.startswith(("#", ";")):
            continue  # neither ends a value nor starts one
        level = len(line) - len(line.lstrip())
        if current is not None and level > indent:
            current = _continued(current, start, line, index)
            found[-1] = current
            continue
        indent = level
        header = _SECTION.match(text)
        if header:
            section, current = header.group("header"), None
            headers.append(_Header(section, index))
            continue
        current = _option(section, number, start, line, index)
        if current is not None:
            found.append(current)
    _agree(data, found)
    return found, headers


def _option(section: str, number: int, start: int, line: str, end: int) -> Option | None:
    text = line.strip()
    match = _OPTION.match(text)
    if match is None:
        return None
    offset = start + line.index(text)
    value_start = offset + match.start("value")
    return Option(
        section=section,
        key=normalise(match.group("option").rstrip()),
        line=number,
        value=match.group("value"),
        value_start=value_start,
        value_end=offset + len(text),
        start=start,
        end=end,
    )


def _continued(option: Option, start: int, line: str, end: int) -> Option:
    text = line.strip()
    return Option(
        section=option.section,
        key=option.key,
        line=option.line,
        value=f"{option.value}\n{text}",
        value_start=option.value_start,
        value_end=start + line.index(text) + len(text),
        start=option.start,
        end=end,
    )


def _agree(data: Sections, found: list[Option]) -> None:
    """The scanner and configparser must name the same options on every line."""
    read = {(section, key) for section, values in data.items() for key in values}
    # [DEFAULT] gives its options to every section; pip's files have no use for it.
    if "DEFAULT" in {option.section for option in found}:
        line = next(option.line for option in found if option.section == "DEFAULT")
        raise ConfigSyntaxError(line, "a [DEFAULT] section", hint="edit the file by hand")
    scanned = {(option.section, option.key) for option in found}
    if read != scanned:
        odd = min((o.line for o in found if (o.section, o.key) not in read), default=1)
        raise ConfigSyntaxError(
            odd, "this layout cannot be changed line by line", hint="edit the file by hand"
        )


def _verified(before: str, after: str, change: Callable[[Sections], None]) -> str:
    expected = load(before)
    change(expected)
    if load(after) != expected:
        raise ConfigSyntaxError(
            1, "this layout cannot be changed line by line", hint="edit the file by hand"
        )
    return after

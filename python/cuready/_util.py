"""Small things that every layer may use: TOML on Python 3.10, byte sizes, safe text."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import configparser

    from packaging.specifiers import SpecifierSet

    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

__all__ = [
    "READ_LIMIT",
    "bounded",
    "check_numbers",
    "data_text",
    "expand_user",
    "format_bytes",
    "normalize",
    "one_line",
    "parse_json",
    "parse_toml",
    "read_at_most",
    "read_ini",
    "tomllib",
    "write_atomically",
]


READ_LIMIT = 64_000_000
"""Bytes that a parser of foreign bytes may read for one answer, whatever a file says of itself."""


def __getattr__(name: str) -> Any:
    """``tomllib``, imported by whoever wants it: most processes of ours read no TOML."""
    if name != "tomllib":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")


def format_bytes(count: float) -> str:
    """``1536`` → ``1.5 KiB``. Binary units, one decimal from KiB on."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    size = float(count)
    for unit in units[:-1]:
        if abs(size) < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} {units[-1]}"


def one_line(text: object, limit: int = 300) -> str:
    """Fold ``text`` into one printable line of at most ``limit`` characters, for error messages."""
    folded = " ".join(str(text).split())
    printable = "".join(ch if ch.isprintable() else "\N{REPLACEMENT CHARACTER}" for ch in folded)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"


def expand_user(path: str | Path) -> Path:
    """``path`` with ``~`` expanded. Raises InputError for the home of nobody."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        from cuready.errors import InputError

        raise InputError(
            f"{path}: there is no home folder of that user", hint="write the path in full"
        ) from None


def normalize(name: str) -> str:
    """``Flash_Attn`` → ``flash-attn``: a project's name as PEP 503 compares it.

    ``packaging.utils`` has it too, with wheel tags, logging and ``platform`` in its wake.
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def check_numbers(wanted: SpecifierSet) -> None:
    """Raise ValueError where a number in ``wanted`` has more digits than Python takes.

    Otherwise it would be raised by whichever comparison reaches that number first: a set of
    specifiers stops at the first one that does not hold.
    """
    from packaging.version import InvalidVersion, Version  # not for `--version`

    for item in wanted:
        try:
            Version(item.version.removesuffix(".*"))
        except InvalidVersion:
            if item.operator != "===":  # whose right side is any text
                raise


def data_text(package: str, path: str) -> str:
    """A data file that came with ``package``, as text. Raises OSError when it is not there.

    ``importlib.resources`` would import tempfile, shutil and zipfile first.
    """
    import pkgutil

    data = pkgutil.get_data(package, path)
    assert data is not None  # noqa: S101 - only loaders that cannot read files give None
    return data.decode("utf-8")


def read_at_most(path: Path, most: int) -> bytes | None:
    """All that is in ``path``, or None when that is more than ``most`` bytes. Raises OSError.

    The size that a device or a pipe says of itself is 0, so it is not asked.
    """
    with path.open("rb") as stream:
        data = stream.read(most + 1)
    return data if len(data) <= most else None


def parse_json(data: str | bytes) -> Any:
    """The document in ``data``. Raises ValueError, also for one that is nested beyond measure."""
    import json  # not for `--version`

    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None


_MOST_VALUES = 100_000  # aliases of aliases make a small file large
_MOST_LEVELS = 100  # no file that means anything nests deeper, and every walk over it recurses
_BITS = 64  # what TOML promises; Python refuses to print an integer of 4300 digits
_TOO_LONG = f"an integer of more than {_BITS} bits"
_DOTTED_KEY = re.compile(
    r"""(?:(?:(?<![A-Za-z0-9_-])[A-Za-z0-9_-]+"""
    r"""|"(?:[^"\\\n]|\\.){0,1000}"|'[^'\n]{0,1000}')[ \t]*\.[ \t]*)+"""
)
_MANY_BLANKS = re.compile(r"\S[^\S\n]{1000}")


def bounded(document: Any, most: int = _MOST_VALUES) -> Any:
    """``document`` of a foreign file, when whoever walks over it comes back.

    Raises ValueError when it is nested deeper than any walk can follow, has more than ``most``
    values once YAML's aliases are written out, or an integer that cannot be printed.
    """
    pending = [(document, 0)]
    seen = 0
    while pending:
        value, level = pending.pop()
        if isinstance(value, (dict, list, tuple, set)):
            if level == _MOST_LEVELS:
                raise ValueError("nested too deeply")
            seen += len(value)
            if seen > most:
                raise ValueError(f"more than {most} values")
            items = value.values() if isinstance(value, dict) else value
            pending.extend((item, level + 1) for item in items)
        elif isinstance(value, int) and value.bit_length() > _BITS:
            raise ValueError(_TOO_LONG)
    return document


def parse_toml(text: str) -> dict[str, Any]:
    """The document in ``text``, whoever wrote it: :func:`bounded`, and within a time like its size.

    Raises ValueError, which is a ``tomllib.TOMLDecodeError`` where the grammar was broken.
    """
    from cuready._util import tomllib  # not for `--version`

    # The parser's time grows with the square of a dotted key's parts.
    if text.count(".") > _MOST_LEVELS and any(
        found[0].count(".") > _MOST_LEVELS for found in _DOTTED_KEY.finditer(text)
    ):
        raise ValueError("nested too deeply")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:  # of int(): more than 4300 digits
        raise ValueError(_TOO_LONG) from None
    bounded(document, len(text))
    return document


def read_ini(parser: configparser.RawConfigParser, text: str) -> None:
    """``parser.read_string(text)``, within a time like its size. Raises ``configparser.Error``.

    The standard library's pattern of an option takes the square of the blanks before its ``=``.
    """
    import configparser  # most machines have no pip.conf

    found = _MANY_BLANKS.search(text)
    if found is not None:
        error = configparser.ParsingError("<string>")
        error.append(text.count("\n", 0, found.start()) + 1, "more than 1000 blanks in a row")
        raise error
    parser.read_string(text)


def write_atomically(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace ``path`` by ``data`` so that a reader or a crash sees the old bytes or the new ones.

    A symbolic link is followed, so that a dotfile kept elsewhere stays a link. The file keeps its
    permissions unless ``mode`` is given. A pipe or a device is written to: in its place root would
    put a file, and nobody's ``/dev/null`` would be one any more. Raises OSError.
    """
    if not path.is_file() and not path.is_dir() and path.exists():
        with path.open("wb") as stream:
            stream.write(data)
        return
    import tempfile  # it brings shutil and random: a tenth of the start-up of every command

    target = path.resolve()
    if mode is None and target.exists():
        mode = target.stat().st_mode & 0o7777
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644 if mode is None else mode)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

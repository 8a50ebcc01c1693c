"""A configuration file's bytes as text, and back without losing BOM, line ends or odd bytes."""

from __future__ import annotations

import bisect
import codecs
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cuready.errors import ConfigError

__all__ = ["Change", "ConfigSyntaxError", "Text", "line_of", "lines", "splice"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_WIDE = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}


class ConfigSyntaxError(ConfigError):
    """The tool that reads this file cannot parse it; ``line`` is where, counted from 1."""

    def __init__(self, line: int, reason: str, *, hint: str = "") -> None:
        super().__init__(f"line {line}: {reason}", hint=hint)
        self.line = line
        self.reason = reason

    def at(self, path: Path) -> ConfigError:
        """The same error with the file's name before the line."""
        hint = self.hint or "correct that line, then run the command again; nothing was changed"
        error = ConfigError(f"{path}:{self.line}: {self.reason}", hint=hint)
        error.details.update(path=str(path), line=self.line)
        return error


@dataclass(frozen=True)
class Change:
    """The new text of a file, and what the reader should know: what was left alone, and why."""

    body: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """Decoded bytes. ``body`` has no BOM; ``newline`` is what a new line of this file ends with."""

    body: str
    bom: bool = False
    newline: str = "\n"

    @classmethod
    def decode(cls, data: bytes, *, exact: bool = True) -> Text:
        """Read UTF-8 with or without BOM. Raises ConfigSyntaxError naming the line of a bad byte.

        With ``exact`` off, bytes that are not UTF-8 are carried through unchanged: pip reads its
        files in the locale's encoding, which on a Chinese Windows is GBK.
        """
        for mark, name in _WIDE.items():
            if data.startswith(mark):
                raise ConfigSyntaxError(1, f"the file is {name}", hint="save it as UTF-8")
        bom = data.startswith(codecs.BOM_UTF8)
        raw = data[len(codecs.BOM_UTF8) :] if bom else data
        if b"\0" in raw:
            line = raw.count(b"\n", 0, raw.index(b"\0")) + 1
            raise ConfigSyntaxError(line, "a NUL byte: this is not a text file")
        try:
            body = raw.decode("utf-8", errors="strict" if exact else "surrogateescape")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ConfigSyntaxError(
                line, f"byte 0x{raw[error.start]:02x} is not UTF-8", hint="save the file as UTF-8"
            ) from None
        return cls(body, bom, _newline(body))

    def encode(self, body: str) -> bytes:
        """The bytes of ``body`` in this file's form."""
        raw = body.encode("utf-8", errors="surrogateescape")
        return codecs.BOM_UTF8 + raw if self.bom else raw


def _newline(body: str) -> str:
    first = re.search(r"\r\n|\n|\r", body)
    return first.group() if first else "\n"


def lines(body: str) -> list[str]:
    """The lines with their ends; only CR, LF and CRLF end a line, unlike ``str.splitlines``."""
    return _LINE.findall(body)


def line_of(body: str, index: int) -> int:
    """The number, from 1, of the line that holds ``body[index]``."""
    return bisect.bisect_right(_line_ends(body), index) + 1


@lru_cache(maxsize=2)
def _line_ends(body: str) -> list[int]:
    return [end.end() for end in re.finditer(r"\r\n|\r|\n", body)]


def splice(body: str, start: int, end: int, new: str) -> str:
    """``body`` with ``[start, end)`` replaced by ``new``."""
    return body[:start] + new + body[end:]

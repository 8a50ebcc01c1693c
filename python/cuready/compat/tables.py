"""The version facts in ``data/``, each file read when it is first asked for.

Every file starts with a ``meta`` that states the rule its rows obey; every row has its source.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from packaging.version import Version

from cuready._util import data_text
from cuready.errors import CompatError

__all__ = ["as_of", "parse_version", "rows", "table"]


@cache
def table(name: str) -> dict[str, Any]:
    """The whole document of ``data/<name>.json``."""
    text = data_text("cuready.compat", f"data/{name}.json")
    document = json.loads(text)
    assert isinstance(document, dict)  # noqa: S101 - our own files
    return document


def rows(name: str, key: str) -> list[dict[str, Any]]:
    """The list ``key`` of ``data/<name>.json``."""
    found = table(name)[key]
    assert isinstance(found, list)  # noqa: S101 - our own files
    return found


def as_of(name: str) -> str:
    """The date on which the facts of ``data/<name>.json`` were collected."""
    return str(table(name)["meta"]["generated"])


def parse_version(text: str, what: str) -> Version:
    """``text`` as a version. Raises :class:`CompatError` that names ``what`` was given."""
    try:
        return Version(text.strip().lstrip("vVrR"))
    except ValueError:  # InvalidVersion, and what int() says to thousands of digits
        raise CompatError(f"{what} {text!r} is not a version", hint="give it like 12.4") from None

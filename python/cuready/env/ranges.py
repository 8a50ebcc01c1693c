"""Ranges of versions as a recipe writes them (PEP 440), read once and refused in one line."""

from __future__ import annotations

from packaging.specifiers import SpecifierSet

from cuready._util import check_numbers, one_line
from cuready.errors import RecipeError

__all__ = ["version_range"]


def version_range(text: str, field: str, *, like: str) -> SpecifierSet:
    """The range that ``text`` is. Raises RecipeError that names ``field`` where it is none."""
    try:
        wanted = SpecifierSet(text)
        check_numbers(wanted)
    except ValueError:  # InvalidSpecifier, and what int() says to thousands of digits
        raise RecipeError(
            f"{field}: {one_line(text, 60)!r} is not a range of versions",
            hint=f"write it like {like}",
        ) from None
    return wanted

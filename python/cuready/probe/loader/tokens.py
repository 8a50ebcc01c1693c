"""``$ORIGIN``, ``$LIB`` and ``$PLATFORM`` in RPATH, RUNPATH, NEEDED and LD_LIBRARY_PATH."""

from __future__ import annotations

import re

__all__ = ["expand", "has_tokens", "search_dirs"]

_TOKEN = re.compile(r"\$(?:\{(ORIGIN|LIB|PLATFORM)\}|(ORIGIN|LIB|PLATFORM)(?![A-Za-z0-9_]))")


def has_tokens(text: str) -> bool:
    """Whether ``text`` holds a token that the loader would expand."""
    return bool(_TOKEN.search(text))


def expand(text: str, *, origin: str | None, lib: str, platform: str) -> str | None:
    """``text`` with its tokens replaced; None when it needs an origin that is not known.

    As ``_dl_dst_substitute``: a name in braces, or one that ends where an identifier would end.
    """
    values = {"ORIGIN": origin, "LIB": lib, "PLATFORM": platform}
    if any(values[match[1] or match[2]] is None for match in _TOKEN.finditer(text)):
        return None
    return _TOKEN.sub(lambda match: values[match[1] or match[2]] or "", text)


def search_dirs(
    text: str, separators: str, *, origin: str | None, lib: str, platform: str
) -> list[tuple[str, str]]:
    """(folder with one slash at its end, entry as written) for each entry of a search path.

    As ``fillin_rpath``: an empty entry is the working folder and gives ``""``; an entry that
    expands to nothing, or was named before, is left out.
    """
    found: dict[str, str] = {}
    for entry in re.split(f"[{separators}]", text):
        if entry:
            folder = expand(entry, origin=origin, lib=lib, platform=platform)
            if not folder:
                continue
            folder = folder.rstrip("/") + "/"
        else:
            folder = ""
        found.setdefault(folder, entry)
    return list(found.items())

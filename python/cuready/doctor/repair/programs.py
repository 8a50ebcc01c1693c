"""Whether the installer that a command starts is here, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuready.snapshot import Snapshot

__all__ = ["Lacking", "lacking_in", "nothing"]

# The words of a command → what it lacks and what to do about it, in one line; empty: it can start.
Lacking = Callable[[Sequence[str]], str]

_INSTALLERS = ("uv", "conda", "mamba", "micromamba", "pixi")
# Where those who make it say how to get it.
_GET = {"uv": " or install it (https://docs.astral.sh/uv/getting-started/installation/)"}


def nothing(_words: Sequence[str]) -> str:
    """A :data:`Lacking` for a plan that is made for another machine."""
    return ""


def lacking_in(snapshot: Snapshot, which: Callable[[str], str | None]) -> Lacking:
    """A :data:`Lacking` for the machine of ``snapshot``; ``which`` finds a program on its PATH.

    An environment without pip is seen in the snapshot; where nobody looked, it is taken to have it.
    """
    available = snapshot.packaging.available
    python = snapshot.python.executable

    def lacking(words: Sequence[str]) -> str:
        if words[0] in _INSTALLERS and which(words[0]) is None:
            get = _GET.get(words[0], "")
            return f"{words[0]} is not on PATH: put it there{get} and run this again"
        if available and "pip" not in available and list(words[:3]) == [python, "-m", "pip"]:
            get = f"put uv on PATH, or run `{python} -m ensurepip`"
            return f"this environment has no pip: {get}, and run this again"
        return ""

    return lacking

"""Was an environment moved or copied since it was made?

The ``#!`` lines of its scripts, ``bin/activate`` and what conda writes into its packages' files
name the folder that it was made in. Elsewhere its Python may start, so that imports and proofs
pass, while its programs are not found, or are those of the environment that it was copied from.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from cuready.env.prefix import FOLDER, STATE, State
from cuready.errors import EnvError

__all__ = ["moved", "moved_from", "require_in_place"]


def moved_from(prefix: Path, state: State) -> str:
    """The folder that the environment was made in, when ``prefix`` is another one; else empty.

    Links and mounts that lead to one folder by several paths are no move. Nothing is known of an
    environment that an older cuready made.
    """
    made = state.prefix
    try:
        if not made or os.path.realpath(made) == os.path.realpath(prefix):
            return ""
        return "" if Path(made).samefile(prefix) else made
    except OSError:  # nothing is there any more
        return made
    except (TypeError, ValueError):  # not what we wrote
        return ""


def moved(prefix: Path, state: State) -> EnvError | None:
    """What to tell of an environment that was moved; None when it is where it was made."""
    made = moved_from(prefix, state)
    if not made:
        return None
    command = f"cuready env clone {shlex.quote(str(prefix))} --name NEW"
    clone = f"`{command}` makes it anew from its locks"
    if (Path(made) / FOLDER / STATE).is_file():
        return EnvError(
            f"{prefix} is a copy of {made}, and its scripts lead there",
            hint=f"use {made}; {clone}",
            details={"moved_from": made},
        )
    return EnvError(
        f"{prefix} was moved here from {made}, and its scripts still lead there",
        hint=f"move it back to {made}; or {clone}",
        details={"moved_from": made},
    )


def require_in_place(prefix: Path, state: State) -> None:
    """See that an environment can be used and changed at ``prefix``. Raises EnvError."""
    error = moved(prefix, state)
    if error is not None:
        raise error

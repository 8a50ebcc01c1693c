"""Which Python is under diagnosis, and where it looks: asked of the interpreter, or read as files.

Another interpreter is started once, isolated and without ``site`` (``-I -S``), so that no
``.pth`` file and no package of the environment runs; what ``site`` would have added is worked out
from files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cuready._util import one_line, parse_json
from cuready.errors import IncompleteError, InputError

if TYPE_CHECKING:
    import subprocess

__all__ = ["Interpreter", "ask", "choose", "own"]

ASK_LIMIT_S = 5.0

# Runs in the other interpreter, which may be any Python from 3.6 on. Standard library only.
_QUESTION = """
import json, os, struct, sys, site, sysconfig
prefix = os.path.dirname(os.path.dirname(sys.executable))
if not os.path.isfile(os.path.join(prefix, "pyvenv.cfg")):
    prefix = sys.prefix  # without site, a venv's Python before 3.14 says its base's prefix
print(json.dumps({
 "executable": sys.executable, "version": ".".join(map(str, sys.version_info[:3])),
 "implementation": sys.implementation.name, "bits": struct.calcsize("P") * 8,
 "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
 "prefix": prefix, "base_prefix": sys.base_prefix, "stdlib": sys.path,
 "stdlib_dir": sysconfig.get_paths()["stdlib"],
 "sites": site.getsitepackages([prefix]), "base_sites": site.getsitepackages([sys.base_prefix]),
}))
"""

# Where pipx, `uv tool install` and uvx keep the environments of tools.
_TOOL_HOME = re.compile(
    r"[/\\](?:pipx[/\\]venvs|uv[/\\](?:tools|archive-v\d+|environments-v\d+|builds-v\d+))[/\\]"
)


@dataclass(frozen=True)
class Interpreter:
    """What an interpreter says of itself. ``path``: its search path, where it is the one we run."""

    executable: str | None
    version: str
    prefix: str
    base_prefix: str
    implementation: str = "cpython"
    bits: int | None = 64
    free_threaded: bool = False
    stdlib: tuple[str, ...] = ()
    stdlib_dir: str | None = None
    sites: tuple[str, ...] = ()  # site-packages of the prefix, in site's order
    base_sites: tuple[str, ...] = ()
    path: tuple[str, ...] = field(default=())

    @property
    def minor(self) -> str:
        """``3.12`` of ``3.12.4``."""
        return ".".join(self.version.split(".")[:2])


def choose(env: Mapping[str, str]) -> str | None:
    """The interpreter to diagnose when none was named; None for the one that runs us.

    ``python -m cuready`` means that Python. The ``cuready`` script means the activated environment,
    and, when it was installed as a tool of its own (pipx, uv tool, uvx), the ``python`` on PATH.
    """
    if Path(sys.argv[0]).name in ("__main__.py", "-m", "-c"):
        return None
    own_prefix = os.path.realpath(sys.prefix)
    is_tool = _TOOL_HOME.search(own_prefix + os.sep) is not None
    active = [env.get("VIRTUAL_ENV")]
    if is_tool or env.get("CONDA_DEFAULT_ENV") not in (None, "base"):
        active.append(env.get("CONDA_PREFIX"))
    for prefix in filter(None, active):
        if os.path.realpath(prefix) == own_prefix:
            return None
        for name in ("bin/python", "Scripts/python.exe", "python.exe"):
            if os.path.lexists(os.path.join(prefix, name)):  # also a link that leads nowhere
                return os.path.join(prefix, name)
    if is_tool:
        import shutil

        found = (shutil.which(name, path=env.get("PATH")) for name in ("python", "python3"))
        return next(filter(None, found), None)
    return None


def own() -> Interpreter:
    """The interpreter that runs us, whose search path needs no working out."""
    import site
    import struct
    import sysconfig

    return Interpreter(
        executable=sys.executable,
        version=".".join(map(str, sys.version_info[:3])),
        prefix=sys.prefix,
        base_prefix=sys.base_prefix,
        implementation=sys.implementation.name,
        bits=struct.calcsize("P") * 8,
        free_threaded=bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        stdlib_dir=os.path.dirname(os.__file__),
        sites=tuple(site.getsitepackages()),
        path=_own_path(),
    )


def _own_path() -> tuple[str, ...]:
    """sys.path without the entry that stands for our own script, which a user's would replace."""
    entries = list(sys.path)
    script = os.path.dirname(os.path.abspath(sys.argv[0])) if sys.argv[0] else ""
    safe = getattr(sys.flags, "safe_path", False) or sys.flags.isolated
    if entries and not safe and (entries[0] in ("", script) or entries[0] == _cwd()):
        del entries[0]
    return tuple(entry for entry in entries if entry)


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # the working folder was removed
        return ""


def ask(python: str) -> Interpreter:
    """Start ``python`` and ask it. A name without a slash is looked up on PATH.

    Raises :class:`InputError` when it does not exist or is no Python, :class:`IncompleteError` when
    it does not answer within five seconds.
    """
    import subprocess

    path = _executable(python)
    command = [path, "-I", "-S", "-c", _QUESTION]
    # A session of its own: what the interpreter may have started ends with it.
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise InputError(
            f"{python}: cannot be run: {error.strerror or error}", hint=_HINT
        ) from None
    try:
        out, err = child.communicate(timeout=ASK_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise IncompleteError(
            f"{python}: no answer within {ASK_LIMIT_S:.0f} s",
            hint="is it a Python interpreter? To read its files without running it, use --prefix",
        ) from None
    finally:
        _kill(child)
    return _parse(python, child.returncode, out, err)


_HINT = "--python takes the path of a Python interpreter, such as .venv/bin/python"


def _executable(python: str) -> str:
    import shutil

    if os.path.isdir(python):
        raise InputError(
            f"{python}: is a folder; read an environment's folder with --prefix", hint=_HINT
        )
    found = shutil.which(python)
    if found:
        return os.path.abspath(found)
    if os.path.exists(python):
        raise InputError(f"{python}: is not executable", hint=_HINT)
    raise InputError(f"{python}: no such file", hint=_HINT)


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End the child's whole session without waiting for it longer than a moment."""
    import subprocess

    if child.poll() is not None:
        return
    try:
        if os.name == "posix":
            os.killpg(child.pid, 9)
        else:
            child.kill()
        child.wait(0.5)
    except (OSError, subprocess.TimeoutExpired):
        pass  # it hangs in the kernel; nobody can end it, and we do not wait for it


def _parse(python: str, code: int, out: bytes, err: bytes) -> Interpreter:
    try:
        answer = parse_json(out.decode("utf-8", "replace").strip().splitlines()[-1])
        return Interpreter(
            executable=answer["executable"] or python,
            version=answer["version"],
            prefix=answer["prefix"],
            base_prefix=answer["base_prefix"],
            implementation=answer["implementation"],
            bits=answer["bits"],
            free_threaded=answer["free_threaded"],
            stdlib=tuple(entry for entry in answer["stdlib"] if entry),
            stdlib_dir=answer["stdlib_dir"],
            sites=tuple(answer["sites"]),
            base_sites=tuple(answer["base_sites"]),
        )
    except (ValueError, KeyError, IndexError, TypeError):
        said = one_line((err or out).decode("utf-8", "replace"), 160)
        told = f"it ended with {code} and said: {said}" if said else f"it ended with {code}"
        raise InputError(f"{python}: is not a Python interpreter ({told})", hint=_HINT) from None

"""The place under diagnosis: options of the command line in, the readers' Context out."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from datetime import datetime, timezone

from cuready import __version__
from cuready.errors import IncompleteError, InputError
from cuready.probe import prefix as prefix_files
from cuready.probe import target
from cuready.probe.container import container
from cuready.probe.context import Context
from cuready.snapshot import Scope, Snapshot

__all__ = ["make_context"]

# What a login shell of a distribution starts with; an image's own PATH stands in its metadata.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_context(
    *,
    root: str | None = None,
    prefix: str | None = None,
    python: str | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    deep: bool = False,
) -> Context:
    """The context that :func:`cuready.probe.take` hands to the readers. Raises like it."""
    _refuse_contradictions(root, prefix, python)
    context = Context(
        root=_real_root(root),
        env=dict(os.environ if env is None and root is None else env or {}),
        cwd=cwd or (_cwd() if root is None else "/"),
        home=os.path.expanduser("~") if root is None else "/root",
        system=_system_of(root) if root is not None else platform.system(),
        prefix=prefix,
        deep=deep,
        native=root is None,
    )
    if root is not None and env is None:
        context = dataclasses.replace(context, env=_recorded_env(context))
    context = _with_python(context, prefix, python)
    scope = Scope(
        kind="root" if root is not None else "prefix" if prefix is not None else "host",
        root=root,
        prefix=prefix,
        python=context.interpreter.executable if context.interpreter else None,
        cwd=context.cwd,
        deep=deep,
    )
    blank = Snapshot(
        tool_version=__version__,
        taken_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        scope=scope,
    )
    return dataclasses.replace(context, so_far=blank)


def _refuse_contradictions(root: str | None, prefix: str | None, python: str | None) -> None:
    for option, value in (("--root", root), ("--prefix", prefix), ("--python", python)):
        if value is not None and not value.strip():
            raise InputError(f"{option}: the path is empty", hint="is a variable unset?")
    if python is not None and (root is not None or prefix is not None):
        other = "--root" if root is not None else "--prefix"
        raise InputError(
            f"--python and {other} exclude each other",
            hint=f"--python starts an interpreter; {other} only reads files",
        )


def _real_root(root: str | None) -> str:
    if root is None:
        return "/"
    if not os.path.isdir(root):
        what = "not a folder" if os.path.exists(root) else "no such folder"
        raise InputError(f"{root}: {what}", hint="--root takes the folder that stands for /")
    # Not realpath: /proc/<pid>/root is a link that reads "/" and leads into the container.
    return os.path.abspath(root)


def _system_of(root: str) -> str:
    """The operating system whose files lie below ``root``: a mounted disk need not be Linux's."""
    if os.path.isdir(os.path.join(root, "Windows", "System32")):
        return "Windows"
    if os.path.isdir(os.path.join(root, "System", "Library", "CoreServices")):
        return "Darwin"
    return "Linux"


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:  # the working folder was removed under us
        return "/"


def _recorded_env(context: Context) -> dict[str, str]:
    """Variables of a machine that is only files: /etc/environment, a container's first process."""
    found = {"PATH": _DEFAULT_PATH}
    try:
        text = context.read_text("/etc/environment") or ""
        first = context.read_bytes("/proc/1/environ") if container(context) else None
    except OSError:
        return found
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key] = value.strip("\"'")
    for item in (first or b"").decode("utf-8", "replace").split("\0"):
        key, equals, value = item.partition("=")
        if equals:
            found[key] = value
    return found


def _with_python(context: Context, prefix: str | None, python: str | None) -> Context:
    """Settle which Python is meant, and start the one of ``--python``."""
    if prefix is None and context.rooted:
        prefix = prefix_files.find(context)
        if prefix is None:
            return context
    if prefix is not None:
        return _with_prefix(context, prefix)
    if python is not None:
        return dataclasses.replace(context, interpreter=target.ask(python))
    named = target.choose(context.env)
    interpreter = _ask_or_read(context, named) if named else target.own()
    return dataclasses.replace(context, interpreter=interpreter)


def _ask_or_read(context: Context, named: str) -> target.Interpreter:
    """The activated environment's Python; its files alone where that Python is broken.

    A venv whose base Python was removed or upgraded away is a thing to diagnose, not to stop at.
    """
    try:
        return target.ask(named)
    except (InputError, IncompleteError):
        found = prefix_files.describe(context, os.path.dirname(os.path.dirname(named)))
        if found is None:
            raise
        return found


def _with_prefix(context: Context, prefix: str) -> Context:
    path = prefix if context.rooted else os.path.abspath(os.path.expanduser(prefix))
    hint = "--prefix takes the folder of a venv or conda environment, such as .venv"
    if not context.is_dir(path):
        what = "not a folder" if context.exists(path) else "no such folder"
        raise InputError(f"{prefix}: {what}", hint=hint)
    interpreter = prefix_files.describe(context, path.rstrip("/") or "/")
    if interpreter is None and not context.is_dir(f"{path}/conda-meta"):
        raise InputError(
            f"{prefix}: no environment: neither pyvenv.cfg, conda-meta nor lib/python3.*", hint=hint
        )
    return dataclasses.replace(context, prefix=path, interpreter=interpreter)

"""An environment that `cuready env` made: its recipe and lock, and what has changed since.

Names, versions and the digests of RECORD files are compared; `cuready env repair --dry-run`
compares every file.
"""

from __future__ import annotations

from typing import Any

from cuready._util import READ_LIMIT, normalize, parse_json
from cuready.probe.context import Context, Facts, Skip

__all__ = ["read"]

MAX_STATE = 32 << 20
MAX_RECORD = READ_LIMIT


def read(context: Context) -> Facts:
    """``Snapshot.managed``. Skipped where there is no ``.cuready`` folder."""
    interpreter = context.interpreter
    prefix = context.prefix or (interpreter.prefix if interpreter is not None else None)
    if prefix is None:
        raise Skip("no environment to look into")
    folder = f"{prefix}/.cuready"
    state = _json(context, f"{folder}/env.json")
    journal = _json(context, f"{folder}/journal.json")
    if state is None and journal is None:
        raise Skip("not an environment that cuready made")
    if state is None:
        return {"managed": {"prefix": prefix, "finished": False}}
    packages, verified = _table(state, "packages"), _table(state, "verified")
    locked: dict[str, Any] = {
        kind: _table(packages, kind) for kind in ("pip", "conda") if kind in packages
    }
    managed = {
        "prefix": prefix,
        "finished": journal is None,
        "name": state.get("name"),
        "kind": state.get("kind"),
        "recipe": state.get("recipe"),
        "created": state.get("created"),
        "changed": state.get("changed"),
        "made_at": _made_at(state),
        "made_here": _leads_to(context, _made_at(state), prefix),
        "packages": locked,
        "proofs": {
            key: verified[key] for key in ("passed", "failed", "skipped") if key in verified
        },
        "drift": _drift(context, prefix, locked, _table(state, "records")),
    }
    return {"managed": managed}


def _made_at(state: dict[str, Any]) -> str:
    """The folder that its scripts name; empty where an older cuready made it."""
    path = state.get("prefix")
    return path if isinstance(path, str) else ""


def _leads_to(context: Context, path: str, prefix: str) -> bool | None:
    """Whether ``path`` is another name of ``prefix``; None when there is no path to look at."""
    if not path:
        return None
    try:
        if context.realpath(path) == context.realpath(prefix):
            return True
        one, other = context.stat(path), context.stat(prefix)
    except (OSError, ValueError):
        return None
    if one is None or other is None:
        return False
    return (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)


def _json(context: Context, path: str) -> dict[str, Any] | None:
    try:
        document = parse_json(context.read_text(path, MAX_STATE) or "")
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _table(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _drift(
    context: Context, prefix: str, locked: dict[str, Any], records: dict[str, Any]
) -> dict[str, list[str]]:
    """What differs from the lock, one line a package, by kind of difference."""
    found: dict[str, list[str]] = {"missing": [], "replaced": [], "changed": [], "added": []}
    pip, conda = _pip(context, prefix), _conda(context, prefix)
    for name, version in (locked.get("pip") or {}).items():
        if name not in pip:
            found["missing"].append(f"{name} {version}")
            continue
        there, folder = pip[name]
        if there != version:
            found["replaced"].append(f"{name} {version} by {there}")
        elif records.get(name) and records[name] != _digest(context, f"{folder}/RECORD"):
            found["changed"].append(f"{name} {version}")
    for name, version in (locked.get("conda") or {}).items():
        if name not in conda:
            found["missing"].append(f"{name} {version}")
        elif conda[name] != version:
            found["replaced"].append(f"{name} {version} by {conda[name]}")
    # pip and setuptools come with the venv itself, and conda's own packages have a dist-info too.
    known = {"pip", "setuptools", "wheel", *(locked.get("pip") or {})}
    if not locked.get("conda"):
        found["added"] += [f"{n} {v}" for n, (v, _) in sorted(pip.items()) if n not in known]
    else:
        found["added"] += [f"{n} {v}" for n, v in sorted(conda.items()) if n not in locked["conda"]]
    return {kind: items for kind, items in found.items() if items}


def _pip(context: Context, prefix: str) -> dict[str, tuple[str, str]]:
    """Canonical name → (version, folder) of each ``.dist-info``."""
    sites = [f"{prefix}/Lib/site-packages"]
    sites += [
        f"{prefix}/lib/{name}/site-packages"
        for name in context.listdir(f"{prefix}/lib")
        if name.startswith("python3.")
    ]
    found = {}
    for site in sites:
        for entry in context.listdir(site):
            name, dash, version = entry.removesuffix(".dist-info").partition("-")
            if dash and entry.endswith(".dist-info"):
                found[normalize(name)] = (version, f"{site}/{entry}")
    return found


def _conda(context: Context, prefix: str) -> dict[str, str]:
    """Name → ``version build``, from the names of the files in ``conda-meta``."""
    found = {}
    for entry in context.listdir(f"{prefix}/conda-meta"):
        parts = entry.removesuffix(".json").rsplit("-", 2)
        if entry.endswith(".json") and len(parts) == 3:
            found[parts[0]] = f"{parts[1]} {parts[2]}"
    return found


def _digest(context: Context, path: str) -> str:
    try:
        import hashlib  # it brings OpenSSL along, and few environments are ours

        return hashlib.sha256(context.read_bytes(path, MAX_RECORD) or b"").hexdigest()
    except OSError:
        return ""

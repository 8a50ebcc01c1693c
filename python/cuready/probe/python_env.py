"""The Python under diagnosis: its version, its prefix, who installs there, and its search path."""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator

from cuready.probe import prefix as prefix_files
from cuready.probe.context import Context, Facts, Skip
from cuready.probe.target import Interpreter

__all__ = ["editable_mapping", "pth_folders", "read"]

PTH_LIMIT = 64 << 10


def read(context: Context) -> Facts:
    """PythonEnv without what is installed in it."""
    interpreter = context.interpreter
    if interpreter is None:
        if context.prefix is not None:  # a conda prefix with libraries and no Python
            return {"python.prefix": context.prefix, **_kind(context, context.prefix)}
        raise Skip("no Python found below the root")
    user_site, user_enabled = _user_site(context, interpreter)
    path = _search_path(context, interpreter, user_site if user_enabled else None)
    sites = [entry for entry in path if _is_site(entry, interpreter)]
    return {
        "python.executable": interpreter.executable,
        "python.version": interpreter.version,
        "python.implementation": interpreter.implementation,
        "python.free_threaded": interpreter.free_threaded,
        "python.bits": interpreter.bits,
        "python.prefix": interpreter.prefix,
        "python.base_prefix": interpreter.base_prefix,
        "python.externally_managed": _externally_managed(context, interpreter),
        "python.sys_path": tuple(path),
        "python.site_packages": tuple(sites),
        "python.user_site": user_site,
        "python.user_site_enabled": user_enabled,
        **_kind(context, interpreter.prefix),
    }


def _is_site(entry: str, interpreter: Interpreter) -> bool:
    name = posixpath.basename(entry.replace("\\", "/").rstrip("/"))
    return name in ("site-packages", "dist-packages") or entry in interpreter.sites


def _kind(context: Context, prefix: str) -> Facts:
    """What made the environment, and whose commands change it."""
    config = prefix_files.pyvenv_cfg(context, prefix)
    if context.is_dir(f"{prefix}/conda-meta"):
        pixi = context.exists(f"{prefix}/conda-meta/pixi") or "/.pixi/envs/" in prefix
        if pixi:
            return {"python.kind": "pixi", "python.manager": "pixi"}
        return {"python.kind": "conda", "python.manager": _conda_command(context, prefix)}
    if config:
        kind = "uv" if "uv" in config else "venv"
        return {"python.kind": kind, "python.manager": "uv" if kind == "uv" else "pip"}
    managed = context.interpreter and _externally_managed(context, context.interpreter)
    apt = bool(managed) and context.exists("/var/lib/dpkg/status")
    return {"python.kind": "system", "python.manager": "apt" if apt else "pip"}


def _conda_command(context: Context, prefix: str) -> str:
    """The last command that changed the prefix: ``# cmd: /opt/conda/bin/mamba install pytorch``."""
    text = context.read_text(f"{prefix}/conda-meta/history") or ""
    commands = re.findall(r"^# cmd: (\S+)", text, re.M)
    name = posixpath.basename(commands[-1].replace("\\", "/")) if commands else ""
    return name if name in ("mamba", "micromamba") else "conda"


def _externally_managed(context: Context, interpreter: Interpreter) -> bool | None:
    """PEP 668: a marker file beside the standard library, which venvs do not have."""
    if interpreter.prefix != interpreter.base_prefix:
        return False
    if interpreter.stdlib_dir is None:
        return None
    return context.exists(f"{interpreter.stdlib_dir}/EXTERNALLY-MANAGED")


# --- the search path ---------------------------------------------------------------------------


def _user_site(context: Context, interpreter: Interpreter) -> tuple[str | None, bool | None]:
    """The user's own site-packages, and whether this interpreter searches it (PEP 370)."""
    if interpreter.path:
        import site

        return site.getusersitepackages(), site.ENABLE_USER_SITE
    if context.system == "Windows":
        return None, None
    base = context.env.get("PYTHONUSERBASE") or f"{context.home}/.local"
    tag = "t" if interpreter.free_threaded else ""
    folder = f"{base}/lib/python{interpreter.minor}{tag}/site-packages"
    enabled = not context.env.get("PYTHONNOUSERSITE")
    if interpreter.prefix != interpreter.base_prefix:
        enabled = enabled and _sees_system(context, interpreter)
    return folder, enabled


def _sees_system(context: Context, interpreter: Interpreter) -> bool:
    config = prefix_files.pyvenv_cfg(context, interpreter.prefix)
    return config.get("include-system-site-packages", "false").lower() == "true"


def _search_path(context: Context, interpreter: Interpreter, user_site: str | None) -> list[str]:
    """sys.path of ``python script.py`` in the working folder: the folder itself comes first."""
    entries = [] if context.env.get("PYTHONSAFEPATH") else [context.cwd]
    if interpreter.path:
        return list(dict.fromkeys((*entries, *interpreter.path)))
    separator = ";" if context.system == "Windows" else ":"
    told = context.env.get("PYTHONPATH", "")
    entries += [posixpath.join(context.cwd, p) for p in told.split(separator)] if told else []
    entries += interpreter.stdlib
    sites = [user_site] if user_site and context.is_dir(user_site) else []
    sites += [site for site in interpreter.sites if context.is_dir(site)]
    if interpreter.prefix != interpreter.base_prefix and _sees_system(context, interpreter):
        sites += [site for site in interpreter.base_sites if context.is_dir(site)]
    for site in sites:
        entries.append(site)
        entries += pth_folders(context, site)
    return list(dict.fromkeys(entries))


def pth_folders(context: Context, site: str) -> Iterator[str]:
    """Folders that the ``.pth`` files of ``site`` add. Lines that hold code are not run."""
    for name in context.listdir(site):
        if not name.endswith(".pth") or name.startswith("."):
            continue
        text = context.read_text(f"{site}/{name}", PTH_LIMIT) or ""
        for line in map(str.strip, text.lstrip("\ufeff").splitlines()):
            if line and not line.startswith(("#", "import ", "import\t")):
                folder = posixpath.normpath(posixpath.join(site, line))
                if context.exists(folder):
                    yield folder


def editable_mapping(context: Context, site: str, names: frozenset[str]) -> dict[str, str]:
    """Package → folder of setuptools' editable installs: MAPPING of their finder modules."""
    found: dict[str, str] = {}
    for name in context.listdir(site):
        if not (name.startswith("__editable___") and name.endswith("_finder.py")):
            continue
        try:
            tree = ast.parse(context.read_text(f"{site}/{name}", PTH_LIMIT) or "")
            found.update(_mapping(tree))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return {name: path for name, path in found.items() if name in names}


def _mapping(tree: ast.Module) -> dict[str, str]:
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id == "MAPPING" and value is not None:
            literal = ast.literal_eval(value)
            if isinstance(literal, dict):
                return {str(key): str(path) for key, path in literal.items()}
    return {}

"""The installers that can be run here, and the configuration files that they read."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cuready._util import bounded, one_line, parse_toml, read_ini
from cuready.probe import variables
from cuready.probe.context import Context, Facts
from cuready.snapshot import Config, ConfigFile, Packaging

__all__ = ["read_available", "read_config"]

_COMMANDS = ("uv", "conda", "mamba", "micromamba", "pixi", "apt-get", "dnf", "yum", "zypper",
             "pacman", "apk", "poetry", "pipx", "nix-env")  # fmt: skip


def read_available(context: Context) -> Facts:
    """Installers on PATH; pip counts when the diagnosed Python has it."""
    python = context.so_far.python
    found = [name for name in _COMMANDS if context.which(name)]
    if any(context.is_dir(f"{site}/pip") for site in python.site_packages):
        found.insert(0, "pip")
    root = _conda_root(context)
    if root and "conda" not in found and context.exists(f"{root}/bin/conda"):
        found.append("conda")
    return {"packaging": Packaging(available=tuple(found), conda_root=root)}


def _conda_root(context: Context) -> str | None:
    told = context.env.get("CONDA_EXE") or context.which("conda") or ""
    for command in (told, context.realpath(told) if told else ""):
        prefix = posixpath.dirname(posixpath.dirname(command))
        if prefix and context.is_dir(f"{prefix}/conda-meta"):
            return prefix
    return None


# --- configuration -------------------------------------------------------------------------------

_Parser = Callable[[str], Mapping[str, Any]]
_TEXT_LIMIT = 1 << 20
_VARIABLES = re.compile(r"(?:PIP|UV|CONDA|MAMBA|PIXI|RATTLER)_")


def read_config(context: Context) -> Facts:
    """Files of pip, uv, conda, mamba and pixi that exist here, lowest precedence first."""
    files = []
    for tool, path, parser in _files(context):
        try:
            text = context.read_text(path, _TEXT_LIMIT)
        except OSError as error:
            if context.exists(path):  # else nobody knows: its folder is closed to us
                files.append(ConfigFile(tool, path, error=error.strerror or str(error)))
            continue
        if text is not None:
            files.append(_config_file(tool, path, parser, text))
    environment = {
        key: context.env[key]
        for key in sorted(context.env)
        if _VARIABLES.match(key) and not variables.is_secret(key)
    }
    return {"config": Config(files=tuple(files), environment=environment)}


def _config_file(tool: str, path: str, parser: _Parser, text: str) -> ConfigFile:
    try:
        return ConfigFile(tool, path, parser(text))
    except Exception as error:  # each format's parser has its own tree of errors
        return ConfigFile(tool, path, error=one_line(error), line=_line_of(error))


def _line_of(error: Exception) -> int | None:
    """The line of the first mistake, counted from 1, as the three parsers report it."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        return int(mark.line) + 1
    for name in ("lineno",):
        if isinstance(getattr(error, name, None), int):
            return int(getattr(error, name))
    errors = getattr(error, "errors", None)
    if errors:
        return int(errors[0][0])
    found = re.search(r"at line (\d+)", str(error))
    return int(found[1]) if found else None


def _files(context: Context) -> Iterator[tuple[str, str, _Parser]]:
    seen: set[str] = set()
    for tool, paths, parser in (
        ("pip", _pip_files(context), _ini),
        ("uv", _uv_files(context), parse_toml),
        ("conda", _conda_files(context), _yaml),
        ("mamba", _mamba_files(context), _yaml),
        ("pixi", _pixi_files(context), parse_toml),
    ):
        for path in paths:
            if path not in seen and not path.startswith("/dev/"):
                seen.add(path)
                yield tool, path, parser
    project = f"{context.cwd}/pyproject.toml"
    yield "uv", project, _tool_uv


def _ini(text: str) -> Mapping[str, Any]:
    """``{"global.index-url": "…"}``, as ``pip config list`` names the settings."""
    import configparser  # most machines have no pip.conf

    parser = configparser.RawConfigParser()
    read_ini(parser, text)
    return {f"{s}.{key}": value for s in parser.sections() for key, value in parser.items(s)}


def _tool_uv(text: str) -> Mapping[str, Any]:
    found = parse_toml(text).get("tool", {}).get("uv", {})
    return found if isinstance(found, dict) else {}


def _yaml(text: str) -> Mapping[str, Any]:
    import yaml

    document = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError(f"expected a mapping, got {type(document).__name__}")
    bounded(document)
    return {str(key): value for key, value in document.items()}


def _xdg(context: Context) -> str:
    return context.env.get("XDG_CONFIG_HOME") or f"{context.home}/.config"


def _pip_files(context: Context) -> list[str]:
    """https://pip.pypa.io/en/stable/topics/configuration/#location"""
    if context.system == "Windows":
        base = context.env.get("APPDATA", context.home)
        paths = ["C:/ProgramData/pip/pip.ini", f"{context.home}/pip/pip.ini"]
        paths.append(f"{base}/pip/pip.ini")
        name = "pip.ini"
    else:
        folders = context.env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")
        paths = [f"{folder}/pip/pip.conf" for folder in reversed(folders)] + ["/etc/pip.conf"]
        if context.system == "Darwin":
            paths = ["/Library/Application Support/pip/pip.conf"]
            paths.append(f"{context.home}/Library/Application Support/pip/pip.conf")
        paths += [f"{context.home}/.pip/pip.conf", f"{_xdg(context)}/pip/pip.conf"]
        name = "pip.conf"
    if context.so_far.python.prefix:
        paths.append(f"{context.so_far.python.prefix}/{name}")
    told = context.env.get("PIP_CONFIG_FILE")
    return [*paths, told] if told else paths


def _uv_files(context: Context) -> list[str]:
    """https://docs.astral.sh/uv/concepts/configuration-files/"""
    told = context.env.get("UV_CONFIG_FILE")
    if told:
        return [told]
    if context.env.get("UV_NO_CONFIG"):
        return []
    if context.system == "Windows":
        return [f"{context.env.get('APPDATA', context.home)}/uv/uv.toml", f"{context.cwd}/uv.toml"]
    return ["/etc/xdg/uv/uv.toml", "/etc/uv/uv.toml", f"{_xdg(context)}/uv/uv.toml",
            f"{context.cwd}/uv.toml"]  # fmt: skip


def _conda_files(context: Context) -> list[str]:
    """https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/use-condarc.html"""
    root, prefix = _conda_root(context), context.so_far.python.prefix
    folders = ["/etc/conda", "/var/lib/conda", *([root] if root else []), f"{_xdg(context)}/conda",
               f"{context.home}/.config/conda", f"{context.home}/.conda"]  # fmt: skip
    paths: list[str] = []
    for folder in folders:
        paths += _conda_folder(context, folder)
    paths.append(f"{context.home}/.condarc")
    if prefix and context.is_dir(f"{prefix}/conda-meta") and prefix != root:
        paths += _conda_folder(context, prefix)
    told = context.env.get("CONDARC")
    return [*paths, told] if told else paths


def _conda_folder(context: Context, folder: str) -> list[str]:
    dropped = [f"{folder}/condarc.d/{name}" for name in _listed(context, f"{folder}/condarc.d")]
    dropped = [path for path in dropped if path.endswith((".yml", ".yaml"))]
    return [f"{folder}/.condarc", f"{folder}/condarc", *dropped]


def _listed(context: Context, folder: str) -> list[str]:
    try:
        return context.listdir(folder)
    except PermissionError:
        return []


def _mamba_files(context: Context) -> list[str]:
    paths = [f"{context.home}/.mambarc"]
    told = context.env.get("MAMBARC")
    return [*paths, told] if told else paths


def _pixi_files(context: Context) -> list[str]:
    """https://pixi.sh/latest/reference/pixi_configuration/"""
    home = context.env.get("PIXI_HOME") or f"{context.home}/.pixi"
    return ["/etc/pixi/config.toml", f"{_xdg(context)}/pixi/config.toml", f"{home}/config.toml",
            f"{context.cwd}/.pixi/config.toml"]  # fmt: skip

"""Which configuration files conda, rattler, pip and uv read on a machine, weakest first.

Sources, read on 2026-11-23: conda/base/constants.py (SEARCH_PATH) of conda 26.9.dev;
pip/_internal/configuration.py of pip 26.3; uv's concepts/configuration-files page;
crates/rattler_config/src/locations.rs of rattler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from cuready._util import expand_user
from cuready.errors import InputError

__all__ = ["SCOPES", "TOOLS", "Layer", "Machine", "Scope", "Tool", "layers", "target"]

Tool = Literal["conda", "rattler", "pip", "uv"]
Scope = Literal["user", "env", "system"]
TOOLS: tuple[Tool, ...] = get_args(Tool)
SCOPES: tuple[Scope, ...] = get_args(Scope)

_YAML_SUFFIXES = (".yml", ".yaml")


@dataclass(frozen=True)
class Machine:
    """What the search for files depends on. ``root`` is ``/`` but in tests."""

    home: Path
    environ: Mapping[str, str]
    platform: str
    root: Path = Path("/")
    prefix: Path | None = None
    folder: Path | None = None

    @classmethod
    def current(cls, prefix: Path | None = None) -> Machine:
        """This machine; ``prefix`` is an environment's folder, by default the activated one."""
        active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")
        if prefix is None and active:
            prefix = Path(active)
        if prefix is not None:
            prefix = Path.cwd() / expand_user(prefix)
        return cls(Path.home(), dict(os.environ), sys.platform, prefix=prefix, folder=Path.cwd())

    @property
    def windows(self) -> bool:
        """Whether the tools use their Windows places."""
        return self.platform == "win32"

    def variable(self, name: str) -> Path | None:
        """The path that an environment variable holds, ``~`` expanded; None when unset or empty."""
        value = self.environ.get(name)
        if not value:
            return None
        return self.home / value[2:] if value.startswith("~/") else Path(value)

    def system(self, *parts: str) -> Path:
        """A path below the root of the file system."""
        return self.root.joinpath(*parts)

    @property
    def program_data(self) -> Path:
        """``C:\\ProgramData``, where Windows keeps what is for all users."""
        return self.variable("PROGRAMDATA") or self.system("ProgramData")

    @property
    def config_home(self) -> Path:
        """The user's configuration folder by the XDG rules, ``%APPDATA%`` on Windows."""
        if self.windows:
            return self.variable("APPDATA") or self.home / "AppData" / "Roaming"
        return self.variable("XDG_CONFIG_HOME") or self.home / ".config"

    @property
    def config_dirs(self) -> list[Path]:
        """``$XDG_CONFIG_DIRS``, strongest first."""
        named = self.environ.get("XDG_CONFIG_DIRS", "")
        found = [Path(entry) for entry in named.split(":") if entry.startswith("/")]
        return found or [self.system("etc", "xdg")]


@dataclass(frozen=True)
class Layer:
    """One file that a tool reads. ``why`` says what makes it read, when that is not obvious."""

    tool: Tool
    path: Path
    scope: str
    why: str = ""

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.is_file()


def layers(tool: Tool, machine: Machine) -> list[Layer]:
    """Every file that ``tool`` may read here, weakest first, whether it exists or not."""
    return {"conda": _conda, "rattler": _rattler, "pip": _pip, "uv": _uv}[tool](machine)


def target(tool: Tool, scope: Scope, machine: Machine) -> Path:
    """The file to change for ``scope``: one that exists wins over the usual place.

    Raises InputError when the tool has no such scope, or when the environment makes it read none.
    """
    if scope == "env":
        return _env_target(tool, machine)
    if scope == "system":
        return _system_target(tool, machine)
    named = {"pip": "PIP_CONFIG_FILE", "uv": "UV_CONFIG_FILE", "conda": "CONDARC"}.get(tool, "")
    forced = machine.variable(named) if named else None
    if forced is not None:
        if str(forced) == os.devnull:
            raise InputError(f"{named} is {forced}: {tool} reads no file", hint=f"unset {named}")
        return forced
    candidates = [layer.path for layer in layers(tool, machine) if layer.scope == "user"]
    if not candidates:
        raise InputError(f"UV_NO_CONFIG is set: {tool} reads no file", hint="unset UV_NO_CONFIG")
    usual = machine.home / ".condarc" if tool == "conda" else candidates[-1]
    existing = [path for path in candidates if path.is_file()]
    return existing[-1] if existing else usual


def _env_target(tool: Tool, machine: Machine) -> Path:
    if tool in ("uv", "rattler"):
        raise InputError(f"{tool} has no configuration file of an environment")
    if machine.prefix is None:
        raise InputError(
            "no environment is active", hint="activate one, or name it with --prefix DIR"
        )
    if not machine.prefix.is_dir():
        raise InputError(f"{machine.prefix}: no such environment")
    name = ".condarc" if tool == "conda" else _pip_name(machine)
    return machine.prefix / name


def _system_target(tool: Tool, machine: Machine) -> Path:
    candidates = [layer.path for layer in layers(tool, machine) if layer.scope == "system"]
    existing = [path for path in candidates if path.is_file()]
    if existing:
        return existing[-1]
    if not candidates:
        raise InputError(f"the environment makes {tool} read no file")
    if tool == "conda":
        base = machine.program_data if machine.windows else machine.system("etc")
        return base / "conda" / ".condarc"
    if tool == "uv" and not machine.windows:
        return machine.system("etc", "uv", "uv.toml")
    return candidates[-1]


def _conda(machine: Machine) -> list[Layer]:
    found: list[Layer] = []

    def folder(path: Path, scope: str, why: str = "", *, plain: bool = True) -> None:
        found.append(Layer("conda", path / ".condarc", scope, why))
        found.append(Layer("conda", path / "condarc", scope, why))
        if plain and (path / "condarc.d").is_dir():
            parts = sorted((path / "condarc.d").iterdir())
            found.extend(
                Layer("conda", part, scope, why) for part in parts if part.suffix in _YAML_SUFFIXES
            )

    if machine.windows:
        folder(machine.program_data / "conda", "system")
    else:
        folder(machine.system("etc", "conda"), "system")
        folder(machine.system("var", "lib", "conda"), "system")
    root = _conda_root(machine)
    if root is not None:
        folder(root, "root", "conda's own installation")
    xdg = machine.variable("XDG_CONFIG_HOME")
    if xdg is not None:
        folder(xdg / "conda", "user")
    folder(machine.home / ".config" / "conda", "user")
    folder(machine.home / ".conda", "user")
    found.append(Layer("conda", machine.home / ".condarc", "user"))
    prefix = machine.variable("CONDA_PREFIX") or machine.prefix
    if prefix is not None:
        folder(prefix, "env")
    named = machine.variable("CONDARC")
    if named is not None:
        found.append(Layer("conda", named, "user", "CONDARC names it"))
    return _last_of_each(found)


def _conda_root(machine: Machine) -> Path | None:
    """conda sets CONDA_ROOT for itself; outside of it, CONDA_EXE shows where it is installed."""
    root, program = machine.variable("CONDA_ROOT"), machine.variable("CONDA_EXE")
    if root is not None:
        return root
    return program.parent.parent if program is not None else None


def _pip_name(machine: Machine) -> str:
    return "pip.ini" if machine.windows else "pip.conf"


def _pip(machine: Machine) -> list[Layer]:
    name, named = _pip_name(machine), machine.variable("PIP_CONFIG_FILE")
    if named is not None and str(named) == os.devnull:
        return []
    if machine.windows:
        system = [machine.program_data / "pip" / name]
        user = [machine.home / "pip" / name, machine.config_home / "pip" / name]
    elif machine.platform == "darwin":
        support = machine.home / "Library" / "Application Support" / "pip"
        system = [machine.system("Library", "Application Support", "pip", name)]
        current = support if support.is_dir() else machine.home / ".config" / "pip"
        user = [machine.home / ".pip" / name, current / name]
    else:
        system = [folder / "pip" / name for folder in machine.config_dirs]
        system.append(machine.system("etc", name))
        user = [machine.home / ".pip" / name, machine.config_home / "pip" / name]
    found = [Layer("pip", path, "system") for path in system]
    if named is None or not named.is_file():
        found += [Layer("pip", path, "user") for path in user]
    if machine.prefix is not None:
        found.append(Layer("pip", machine.prefix / name, "env"))
    if named is not None:
        found.append(Layer("pip", named, "user", "PIP_CONFIG_FILE names it"))
    return found


def _uv(machine: Machine) -> list[Layer]:
    if machine.environ.get("UV_NO_CONFIG"):
        return []
    named = machine.variable("UV_CONFIG_FILE")
    if named is not None:
        return [Layer("uv", named, "user", "UV_CONFIG_FILE names it, and no other is read")]
    if machine.windows:
        system = [machine.program_data / "uv" / "uv.toml"]
    else:
        folders = machine.config_dirs
        system = [*(folder / "uv" / "uv.toml" for folder in folders)]
        system.append(machine.system("etc", "uv", "uv.toml"))
        # uv reads the first that exists.
        system = [path for path in system if path.is_file()][:1] or system[-1:]
    found = [Layer("uv", path, "system") for path in system]
    found.append(Layer("uv", machine.config_home / "uv" / "uv.toml", "user"))
    project = _uv_project(machine)
    return [*found, project] if project is not None else found


def _uv_project(machine: Machine) -> Layer | None:
    if machine.folder is None:
        return None
    for folder in (machine.folder, *machine.folder.parents):
        if (folder / "uv.toml").is_file():
            return Layer("uv", folder / "uv.toml", "project")
    return None


def _rattler(machine: Machine) -> list[Layer]:
    """The shared files, and pixi's own, which override them for pixi."""
    base = machine.program_data if machine.windows else machine.system("etc")
    user = machine.config_home
    places = []
    if machine.platform == "darwin":
        named = machine.variable("XDG_CONFIG_HOME")
        places = [named] if named is not None else []
        user = machine.home / "Library" / "Application Support"
    places.append(user)
    found = [Layer("rattler", base / "rattler" / "config.toml", "system")]
    found.append(Layer("rattler", base / "pixi" / "config.toml", "pixi", "pixi alone reads it"))
    found += [Layer("rattler", place / "rattler" / "config.toml", "user") for place in places]
    home = machine.variable("RATTLER_HOME")
    if home is not None:
        found.append(Layer("rattler", home / "config.toml", "user", "RATTLER_HOME names it"))
    pixi_home = machine.variable("PIXI_HOME") or machine.home / ".pixi"
    for place in [*(place / "pixi" for place in places), pixi_home]:
        found.append(Layer("rattler", place / "config.toml", "pixi", "pixi alone reads it"))
    return found


def _last_of_each(found: list[Layer]) -> list[Layer]:
    """A path that comes up twice counts where it is strongest."""
    last = {layer.path: number for number, layer in enumerate(found)}
    return [layer for number, layer in enumerate(found) if last[layer.path] == number]

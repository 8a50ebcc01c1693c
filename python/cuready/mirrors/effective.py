"""What conda, pip, uv and rattler tools will use here: all files and variables taken together.

It is read back from the disk after every edit: writing a file helps nobody when a stronger file or
an environment variable says something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuready.errors import ConfigError
from cuready.mirrors import atomic, urls
from cuready.mirrors.editors import condarc, pip_conf, rattler_toml, uv_toml
from cuready.mirrors.editors.text import ConfigSyntaxError, Text
from cuready.mirrors.locations import Layer, Machine, Tool, layers

__all__ = ["VARIABLES", "Effective", "Origin", "channel_url", "parse_file", "read"]

OFFICIAL_INDEX = "https://pypi.org/simple"

# Variables that override the files, by tool; conda spells every parameter CONDA_<NAME>, pip every
# option PIP_<NAME> (https://pip.pypa.io/en/stable/topics/configuration/#environment-variables).
VARIABLES: dict[Tool, tuple[str, ...]] = {
    "conda": (
        "CONDA_CHANNELS",
        "CONDA_CHANNEL_ALIAS",
        "CONDA_DEFAULT_CHANNELS",
        "CONDA_SSL_VERIFY",
    ),
    "pip": ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "PIP_FIND_LINKS"),
    "uv": (
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "UV_INDEX",
        "UV_EXTRA_INDEX_URL",
        "UV_NO_INDEX",
        "UV_FIND_LINKS",
    ),
    "rattler": (),
}


@dataclass(frozen=True)
class Origin:
    """A value and who sets it: a file, ``$VARIABLE``, or ``built in``."""

    value: Any
    source: str


@dataclass
class Effective:
    """One tool's view. ``errors``: files that it cannot read; ``variables``: those that are set."""

    tool: Tool
    files: list[Layer] = field(default_factory=list)
    values: dict[str, Origin] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """JSON form; addresses without credentials."""
        return {
            "tool": self.tool,
            "files": [
                {"path": str(layer.path), "scope": layer.scope, "note": layer.why}
                for layer in self.files
            ],
            "values": {
                key: {"value": _redacted(origin.value), "source": origin.source}
                for key, origin in self.values.items()
            },
            "variables": {name: urls.redact(value) for name, value in self.variables.items()},
            "errors": self.errors,
        }


def read(tool: Tool, machine: Machine) -> Effective:
    """Merge what ``tool`` reads by its own rules of precedence."""
    view = Effective(tool)
    data: list[tuple[str, Any]] = []
    for layer in layers(tool, machine):
        if not layer.exists:
            continue
        view.files.append(layer)
        try:
            data.append((str(layer.path), parse_file(tool, layer.path)))
        except ConfigError as error:
            view.errors.append(error.message)
    view.variables = {
        name: machine.environ[name] for name in VARIABLES[tool] if machine.environ.get(name)
    }
    merge: Callable[[Effective, list[tuple[str, Any]]], None] = {
        "conda": _merge_conda,
        "rattler": _merge_rattler,
        "pip": _merge_pip,
        "uv": _merge_uv,
    }[tool]
    merge(view, data)
    return view


def parse_file(tool: Tool, path: Path) -> Any:
    """The data of one file. Raises ConfigError naming file and line."""
    state = atomic.read(path)
    try:
        text = Text.decode(state.data or b"", exact=tool != "pip")
        if tool == "pip" and text.bom:
            raise ConfigSyntaxError(
                1,
                "pip cannot read a file that starts with a byte order mark",
                hint="save it as UTF-8 without BOM",
            )
        parse: Callable[[str], Any] = {
            "conda": condarc.parse,
            "rattler": rattler_toml.parse,
            "pip": pip_conf.parse,
            "uv": uv_toml.parse,
        }[tool]
        return parse(text.body)
    except ConfigSyntaxError as error:
        raise error.at(path) from None


def channel_url(channel: str, values: Mapping[str, Origin]) -> str:
    """The address that conda makes of a channel's name, by custom_channels and channel_alias."""
    if urls.is_url(channel):
        return channel
    custom = values["custom_channels"].value
    base = custom.get(channel, values["channel_alias"].value)
    return f"{str(base).rstrip('/')}/{channel}"


def _merge_conda(view: Effective, data: list[tuple[str, Any]]) -> None:
    """Lists are joined, the strongest file's entries first; mappings are merged key by key."""
    custom: dict[str, str] = {}
    sources = []
    for source, document in data:
        entries = document.get("custom_channels") or {}
        custom.update({str(name): str(base) for name, base in entries.items()})
        if entries:
            sources.append(source)
    for key, built_in in (("channels", ["defaults"]), ("default_channels", [])):
        view.values[key] = _joined(view, data, key, built_in)
    alias = Origin(condarc.OFFICIAL_ALIAS, "built in")
    for source, document in data:
        if document.get("channel_alias"):
            alias = Origin(document["channel_alias"], source)
    if "CONDA_CHANNEL_ALIAS" in view.variables:
        alias = Origin(view.variables["CONDA_CHANNEL_ALIAS"], "$CONDA_CHANNEL_ALIAS")
    view.values["channel_alias"] = alias
    view.values["custom_channels"] = Origin(custom, ", ".join(sources) or "built in")
    names = [name for name in view.values["channels"].value if name not in condarc.SPECIAL]
    addresses = {name: channel_url(name, view.values) for name in dict.fromkeys(names)}
    view.values["addresses"] = Origin(addresses, "what conda makes of the above")


def _joined(view: Effective, data: list[tuple[str, Any]], key: str, built_in: list[str]) -> Origin:
    entries: list[str] = []
    sources: list[str] = []
    variable = f"CONDA_{key.upper()}"
    if variable in view.variables:
        entries += [entry.strip() for entry in view.variables[variable].split(",")]
        sources.append(f"${variable}")
    for source, document in reversed(data):
        found = list(document.get(key) or ())
        if key == "channels":
            found += list(document.get("channel") or ())
        entries += found
        sources += [source] if found else []
    if not entries:
        return Origin(built_in, "built in")
    return Origin(list(dict.fromkeys(entries)), ", ".join(sources))


def _merge_rattler(view: Effective, data: list[tuple[str, Any]]) -> None:
    mirrors: dict[str, list[str]] = {}
    sources = []
    for source, document in data:
        mirrors.update(document.get("mirrors", {}))
        if document.get("mirrors"):
            sources.append(source)
    view.values["mirrors"] = Origin(mirrors, ", ".join(sources) or "built in")


def _merge_pip(view: Effective, data: list[tuple[str, Any]]) -> None:
    """A later file wins key by key; then ``[install]`` beats ``[global]`` wherever it stands."""
    merged: dict[tuple[str, str], Origin] = {}
    for source, document in data:
        for section, options in document.items():
            for key, value in options.items():
                merged[section, key] = Origin(value, source)
    index = Origin(OFFICIAL_INDEX, "built in")
    for section in ("global", "install"):
        for key in pip_conf.INDEX_KEYS:
            index = merged.get((section, key), index)
    if "PIP_INDEX_URL" in view.variables:
        index = Origin(view.variables["PIP_INDEX_URL"], "$PIP_INDEX_URL")
    view.values["index-url"] = index
    for key in ("extra-index-url", "find-links", "no-index", "trusted-host"):
        origin = merged.get(("install", key), merged.get(("global", key)))
        if origin is not None:
            view.values[key] = origin


def _merge_uv(view: Effective, data: list[tuple[str, Any]]) -> None:
    """Stronger files come first in lists; ``[[index]] default`` beats ``index-url``."""
    view.values["default-index"] = _uv_default(view, data)
    others = [
        item["url"]
        for _, document in reversed(data)
        for item in document.get("index", [])
        if item.get("default") is not True
    ]
    if others:
        view.values["index"] = Origin(others, "asked before the default index")


def _uv_default(view: Effective, data: list[tuple[str, Any]]) -> Origin:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if name in view.variables:
            # NAME=URL is allowed for an index.
            return Origin(view.variables[name].split("=", 1)[-1], f"${name}")
    for source, document in reversed(data):
        for item in document.get("index", []):
            if item.get("default") is True:
                return Origin(item["url"], source)
    for source, document in reversed(data):
        if "index-url" in document:
            return Origin(document["index-url"], source)
    return Origin(OFFICIAL_INDEX, "built in")


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return urls.redact(value)
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    if isinstance(value, dict):
        return {urls.redact(str(key)): _redacted(item) for key, item in value.items()}
    return value

"""What a foreign file or install line asks for, before anything is changed about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from cuready._util import normalize
from cuready.errors import RecipeError

__all__ = ["CondaSpec", "Request", "parse_conda_spec", "require_name", "requirement_name"]

_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_CONDA_SPEC = re.compile(
    rf"^(?:(?P<channel>[^\s:\[\]]+)::)?(?P<name>{_NAME})\s*"
    r"(?:\[(?P<bracket>[^\]]*)\])?(?P<rest>.*)$",
    re.DOTALL,  # the rest always fits: nothing is tried twice
)
_REQUIREMENT = re.compile(r"^\s*(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


@dataclass(frozen=True)
class CondaSpec:
    """A conda match spec in its parts. ``version`` and ``build`` as conda writes them."""

    name: str
    version: str = ""
    build: str = ""
    channel: str = ""

    def __str__(self) -> str:
        """``name version build``: the form that every solver reads alike."""
        version = self.version or ("*" if self.build else "")
        return " ".join(part for part in (self.name, version, self.build) if part)


@dataclass
class Request:
    """Everything that was asked for, in the order it was written."""

    origin: str  # "environment.yml", "requirements.txt", "pixi.toml", "conda", "pip"
    name: str = ""
    channels: list[str] = field(default_factory=list)
    only_channels: bool = False  # nothing stands behind those that are named
    conda: list[CondaSpec] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    index_urls: list[str] = field(default_factory=list)
    extra_index_urls: list[str] = field(default_factory=list)
    find_links: list[str] = field(default_factory=list)
    python: str = ""
    driver_cuda: str = ""
    variables: dict[str, str] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)


def parse_conda_spec(text: str) -> CondaSpec:
    """``pytorch=1.12=*cuda*``, ``numpy >=1.2,<2``, ``conda-forge::jax`` in their parts.

    Raises :class:`RecipeError` naming what cannot be read.
    """
    cleaned = text.split("#", maxsplit=1)[0].strip()
    match = _CONDA_SPEC.match(cleaned)
    if match is None or "\n" in cleaned:
        raise RecipeError(f"not a conda spec: {text.strip()!r}")
    version, build = _version_and_build(match["rest"].strip())
    for pair in filter(None, (match["bracket"] or "").split(",")):
        key, _, value = pair.partition("=")
        value = value.strip().strip("'\"")
        if key.strip() == "version":
            version = value
        elif key.strip() in ("build", "build_string"):
            build = value
    return CondaSpec(match["name"].lower(), version, build, match["channel"] or "")


def _version_and_build(rest: str) -> tuple[str, str]:
    if not rest:
        return "", ""
    if rest[0] == "=" and not rest.startswith("=="):
        # conda's own short form: one `=` is "starts with", a second one begins the build.
        version, _, build = rest[1:].partition("=")
        return _starts_with(version.strip()), build.strip()
    words = re.sub(r" ?([<>=!~,|]+) ?", r"\1", " ".join(rest.split())).split()
    version = words[0] if words else ""
    if version.startswith("=="):
        exact, _, build = version[2:].partition("=")
        return f"=={exact}", build or " ".join(words[1:])
    return version, " ".join(words[1:])


def _starts_with(version: str) -> str:
    """``3.8`` → ``3.8.*``: what conda's single ``=`` means."""
    return version if not version or version.endswith("*") else f"{version}.*"


def require_name(name: str, where: str) -> str:
    """``name``, when it can be that of a package of conda or PyPI. Raises :class:`RecipeError`."""
    if re.fullmatch(_NAME, name) is None:
        raise RecipeError(f"{where}: not a package's name: {name!r}")
    return name


def requirement_name(requirement: str) -> str:
    """The canonical name of a pip requirement; empty when it has none (a path, an option)."""
    match = _REQUIREMENT.match(requirement)
    if match is None or requirement.lstrip().startswith(("-", ".", "/")):
        return ""
    return normalize(match["name"])

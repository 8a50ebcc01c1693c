"""Which mirrors exist, what each carries, and which of them go down together.

The facts are TOML files in ``data/``, each entry with its sources and the date of the newest one.
A user's own mirrors stand in ``mirrors.toml`` in cuready's configuration folder, in the same form.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from cuready._util import data_text, one_line, parse_toml, tomllib
from cuready.errors import ConfigError, InputError
from cuready.mirrors.urls import split_url

__all__ = [
    "MAX_AGE",
    "Catalogue",
    "CondaUse",
    "Mirror",
    "Pasted",
    "PypiUse",
    "Status",
    "TorchUse",
    "Use",
    "load",
    "user_file",
]

Use = Literal["conda", "pypi", "torch"]
USES: tuple[Use, ...] = get_args(Use)

# A list of mirrors is wrong within weeks (TUNA dropped and restored Anaconda inside nine days of
# August 2026), so an entry that nobody looked at for a quarter is worth a warning.
MAX_AGE = datetime.timedelta(days=90)


@dataclass(frozen=True)
class CondaUse:
    """Conda channels: ``{cloud}/{name}``, and ``{base}/pkgs/{part}`` for those of ``defaults``."""

    base: str
    cloud: str
    channels: tuple[str, ...] = ()
    any_channel: bool = False
    pkgs: tuple[str, ...] = ()
    shards: bool = False
    channel_bases: Mapping[str, str] = field(default_factory=dict)

    def channel_base(self, channel: str) -> str | None:
        """What ``custom_channels`` wants for ``channel``, or None when it is not carried.

        conda appends the channel's name itself, so the base must not end with it.
        """
        if channel in self.channel_bases:
            return self.channel_bases[channel]
        if self.any_channel or channel in self.channels:
            return self.cloud
        return None

    def channel_url(self, channel: str) -> str | None:
        """The channel's full URL, or None when it is not carried."""
        base = self.channel_base(channel)
        return None if base is None else f"{base}/{channel}"

    def pkgs_url(self, part: str) -> str | None:
        """The URL of ``main``, ``r`` or ``msys2``, or None when it is not believed to answer."""
        return f"{self.base}/pkgs/{part}" if part in self.pkgs else None


@dataclass(frozen=True)
class PypiUse:
    """PyPI: a PEP 503 index, and other addresses of the same one."""

    index_url: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class TorchUse:
    """PyTorch's wheels. ``find-links`` is a flat directory: ``pip -f URL``, never an index."""

    url_template: str
    layout: Literal["index", "find-links"]

    def url(self, tag: str) -> str:
        """The address for a build tag such as ``cu130`` or ``cpu``."""
        return self.url_template.replace("{tag}", tag)


@dataclass(frozen=True)
class Status:
    """Where the site publishes how fresh its copies are: ``mirrorz`` or ``tunasync`` JSON."""

    url: str
    format: Literal["mirrorz", "tunasync"]


@dataclass(frozen=True)
class Mirror:
    """One operator. ``as_of`` is the date of the newest source, not of a visit."""

    name: str
    title: str
    country: str
    home: str
    hosts: tuple[str, ...]
    failure_domain: str
    as_of: datetime.date
    sources: tuple[str, ...]
    conda: CondaUse | None = None
    pypi: PypiUse | None = None
    torch: TorchUse | None = None
    status: Status | None = None
    falls_back_to: tuple[str, ...] = ()
    official: bool = False
    notes: str = ""

    @property
    def uses(self) -> tuple[Use, ...]:
        """What it mirrors, in the order conda, pypi, torch."""
        return tuple(use for use in USES if getattr(self, use) is not None)

    @property
    def fate(self) -> frozenset[str]:
        """The failure domains that it needs: its own and those that its misses go to."""
        return frozenset({self.failure_domain, *self.falls_back_to})

    def independent_of(self, other: Mirror) -> bool:
        """Whether this mirror is a second choice that survives what takes ``other`` down."""
        return self.fate.isdisjoint(other.fate)

    def is_stale(self, today: datetime.date) -> bool:
        """Whether the entry is older than :data:`MAX_AGE`."""
        return today - self.as_of > MAX_AGE


@dataclass(frozen=True)
class Pasted:
    """An address from old posts that should not be used, and what to use instead."""

    kind: Literal["dead", "stale", "never", "renamed"]
    state: str
    instead: str
    as_of: datetime.date
    sources: tuple[str, ...]
    host: str = ""
    path: str = ""

    def matches(self, url: str, mirror_hosts: frozenset[str]) -> bool:
        """Whether ``url`` is such an address; a rule without host holds for every mirror's."""
        parts = split_url(url)
        host = (parts.hostname or "").lower()
        if self.host not in ("", "*") and host != self.host:
            return False
        if not self.host and host not in mirror_hosts:
            return False
        return not self.path or re.match(self.path, parts.path) is not None


@dataclass(frozen=True)
class Catalogue:
    """All mirrors that cuready knows, the user's own first."""

    mirrors: tuple[Mirror, ...]
    pasted: tuple[Pasted, ...]

    def get(self, name: str) -> Mirror:
        """The mirror called ``name``. Raises InputError that lists the names there are."""
        for mirror in self.mirrors:
            if mirror.name == name.lower():
                return mirror
        known = ", ".join(mirror.name for mirror in self.mirrors)
        raise InputError(f"no mirror is called {one_line(name, 60)!r}", hint=f"known: {known}")

    def for_use(self, use: Use) -> tuple[Mirror, ...]:
        """The mirrors that carry ``use``."""
        return tuple(mirror for mirror in self.mirrors if use in mirror.uses)

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that some mirror answers on, the official ones left out."""
        return frozenset(
            host for mirror in self.mirrors if not mirror.official for host in mirror.hosts
        )

    def owner_of(self, url: str) -> Mirror | None:
        """The mirror that ``url`` belongs to, by its host and port."""
        netloc = _netloc(url)
        for mirror in self.mirrors:
            if netloc in mirror.hosts:
                return mirror
        return None

    def pasted_rule(self, url: str) -> Pasted | None:
        """Why ``url`` should not be used, if something is known against it."""
        return next((rule for rule in self.pasted if rule.matches(url, self.hosts)), None)

    def stale(self, today: datetime.date) -> tuple[Mirror, ...]:
        """The entries that are older than :data:`MAX_AGE`."""
        return tuple(mirror for mirror in self.mirrors if mirror.is_stale(today))


def user_file() -> Path:
    """Where a user's own mirrors are described: ``mirrors.toml`` in the configuration folder."""
    import platformdirs

    return Path(platformdirs.user_config_dir("cuready", appauthor=False)) / "mirrors.toml"


def load(own: Path | None = None) -> Catalogue:
    """The shipped catalogue and, before it, the user's own file ``own`` (default: user_file()).

    An own entry replaces the shipped one of the same name; ``shipped = false`` at the top of the
    own file leaves all shipped ones out, for networks where only one's own may be asked. Raises
    ConfigError, which names the file and the entry, when the own file is not valid.
    """
    shipped = _shipped()
    path = user_file() if own is None else own
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return shipped
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {one_line(error)}") from None
    try:
        document = parse_toml(text)
        mine = _mirrors(document, _channel_sets())
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"{path}: {_reason(error)}",
            hint="docs/how-to/mirrors.md shows an entry of one's own",
        ) from None
    names = {mirror.name for mirror in mine}
    wanted = shipped.mirrors if document.get("shipped", True) else ()
    rest = tuple(mirror for mirror in wanted if mirror.name not in names)
    return Catalogue((*mine, *rest), shipped.pasted)


@cache
def _shipped() -> Catalogue:
    rules = tuple(_pasted(entry) for entry in _data("pasted.toml")["pasted"])
    return Catalogue(_mirrors(_data("operators.toml"), _channel_sets()), rules)


@cache
def _channel_sets() -> Mapping[str, tuple[str, ...]]:
    sets = _data("channels.toml")["sets"]
    return {name: tuple(entry["channels"]) for name, entry in sets.items()}


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads(data_text("cuready.mirrors", f"data/{name}"))


def _mirrors(
    document: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]]
) -> tuple[Mirror, ...]:
    mirrors = tuple(_mirror(entry, sets) for entry in document.get("mirror", []))
    names = [mirror.name for mirror in mirrors]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"mirror {twice[0]!r} is described twice")
    return mirrors


def _mirror(entry: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]]) -> Mirror:
    name = str(entry["name"]).lower()
    try:
        uses: dict[str, Any] = {use: entry[use] for use in USES if use in entry}
        if not uses:
            raise ValueError("has no [mirror.conda], [mirror.pypi] or [mirror.torch]")
        status = entry.get("status")
        return Mirror(
            name=name,
            title=str(entry.get("title", name)),
            country=str(entry.get("country", "")),
            home=str(entry.get("home", "")),
            hosts=_hosts(entry, uses),
            failure_domain=str(entry.get("failure_domain", name)),
            as_of=_date(entry["as_of"]),
            sources=_strings(entry.get("sources", [])),
            conda=_conda(uses["conda"], sets) if "conda" in uses else None,
            pypi=_pypi(uses["pypi"]) if "pypi" in uses else None,
            torch=_torch(uses["torch"]) if "torch" in uses else None,
            status=None if status is None else Status(status["url"], status["format"]),
            falls_back_to=_strings(entry.get("falls_back_to", [])),
            official=bool(entry.get("official", False)),
            notes=str(entry.get("notes", "")),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"mirror {name!r}: {_reason(error)}") from None


def _conda(entry: Mapping[str, Any], sets: Mapping[str, tuple[str, ...]]) -> CondaUse:
    base = _url(entry["base"])
    channels = _strings(entry.get("channels", []))
    if "channel_set" in entry:
        channels = (*sets[entry["channel_set"]], *channels)
    return CondaUse(
        base=base,
        cloud=_url(entry.get("cloud", f"{base}/cloud")),
        channels=tuple(dict.fromkeys(channels)),
        any_channel=bool(entry.get("any_channel", False)),
        pkgs=_strings(entry.get("pkgs", [])),
        shards=bool(entry.get("shards", False)),
        channel_bases={
            str(name): _url(base) for name, base in entry.get("channel_bases", {}).items()
        },
    )


def _pypi(entry: Mapping[str, Any]) -> PypiUse:
    aliases = tuple(_url(alias) for alias in entry.get("aliases", []))
    return PypiUse(_url(entry["index_url"]), aliases)


def _torch(entry: Mapping[str, Any]) -> TorchUse:
    layout = entry["layout"]
    if layout not in ("index", "find-links"):
        raise ValueError(f"torch.layout is {layout!r}; it is 'index' or 'find-links'")
    if "{tag}" not in entry["url"]:
        raise ValueError("torch.url has no {tag}")
    slash = "/" if layout == "find-links" else ""
    return TorchUse(_url(entry["url"]) + slash, layout)


def _pasted(entry: Mapping[str, Any]) -> Pasted:
    return Pasted(
        kind=entry["kind"],
        state=entry["state"],
        instead=entry["instead"],
        as_of=_date(entry["as_of"]),
        sources=_strings(entry["sources"]),
        host=entry.get("host", ""),
        path=entry.get("path", ""),
    )


def _hosts(entry: Mapping[str, Any], uses: Mapping[str, Any]) -> tuple[str, ...]:
    """The hosts named, and those of the addresses, each with its port where it has one."""
    urls = [
        value
        for use in uses.values()
        for key, value in use.items()
        if key in ("base", "cloud", "index_url", "url") and isinstance(value, str)
    ]
    named = [host.lower() for host in _strings(entry.get("hosts", []))]
    return tuple(dict.fromkeys([*named, *map(_netloc, urls)]))


def _netloc(url: str) -> str:
    parts = split_url(url)
    host = (parts.hostname or "").lower()
    try:
        port = parts.port
    except ValueError:
        return host
    return host if port in (None, 80, 443) else f"{host}:{port}"


def _url(value: Any) -> str:
    if not isinstance(value, str) or split_url(value).scheme not in ("http", "https"):
        raise ValueError(f"{value!r} is not an http(s) URL")
    return value.rstrip("/")


def _strings(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise TypeError(f"expected a list of strings, got {value!r}")
    return tuple(str(item) for item in value)


def _date(value: Any) -> datetime.date:
    if not isinstance(value, datetime.date) or isinstance(value, datetime.datetime):
        raise TypeError(f"as_of is {value!r}; it is a date such as 2026-09-14")
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing or unknown"
    return one_line(error)


def names(mirrors: Iterable[Mirror]) -> str:
    """Mirror names for a message: ``tuna, ustc``."""
    return ", ".join(mirror.name for mirror in mirrors)

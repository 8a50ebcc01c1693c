"""Canonical addresses of channels, and the mirrors that serve the same files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cuready.errors import InputError
from cuready.mirrors import urls

# An environment from a warm cache asks no mirror: it must not wait for their modules.
if TYPE_CHECKING:
    from cuready.env.conda.session import CondaSession
    from cuready.mirrors.catalogue import Catalogue, Mirror
    from cuready.mirrors.net.request import Source

__all__ = ["canonical_channel", "channel_urls", "sources_of"]

# https://github.com/conda/conda/blob/main/conda/base/constants.py (DEFAULT_CHANNEL_ALIAS).
CLOUD = "https://conda.anaconda.org"
PKGS = "https://repo.anaconda.com/pkgs"
_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*\Z")


def canonical_channel(channel: str) -> str:
    """``conda-forge`` → ``https://conda.anaconda.org/conda-forge``; a URL stays what it is.

    Raises InputError for what is neither a name nor an http(s) URL.
    """
    text = channel.strip().rstrip("/")
    if urls.is_url(text):
        if urlsplit(text).scheme not in ("http", "https"):
            raise InputError(f"a channel is a name or an http(s) URL, not {channel!r}")
        return text
    if not _NAME.match(text):
        raise InputError(f"not a channel: {channel!r}", hint="write its name, such as conda-forge")
    if text.startswith("pkgs/"):
        return f"{PKGS}/{text.removeprefix('pkgs/')}"
    return f"{CLOUD}/{text}"


def _name_of(channel: str) -> tuple[str, str]:
    """(``cloud`` or ``pkgs``, name) of a canonical address; empty strings for somebody's own."""
    if channel.startswith(f"{PKGS}/"):
        return "pkgs", channel.removeprefix(f"{PKGS}/")
    if channel.startswith(f"{CLOUD}/"):
        return "cloud", channel.removeprefix(f"{CLOUD}/")
    return "", ""


def channel_urls(channel: str, session: CondaSession) -> list[tuple[str, str]]:
    """(address, name of the mirror) of every place that has ``channel``, the wanted ones first.

    Then what conda or a rattler tool is configured to use here, then Anaconda itself, then
    the rest of the catalogue, those first that do not share a fate with one before.
    """
    found: dict[str, str] = {}
    for url, name in _in_order(channel, session):
        found.setdefault(url.rstrip("/"), name)
    return list(found.items())


def sources_of(channel: str, path: str, session: CondaSession) -> tuple[Source, ...]:
    """Where ``path`` (``linux-64/x.conda``) can be had from, in order of preference."""
    from cuready.mirrors.net.request import Source

    return tuple(
        Source(f"{url}/{path}", mirror=name) for url, name in channel_urls(channel, session)
    )


def _in_order(channel: str, session: CondaSession) -> Iterator[tuple[str, str]]:
    family, name = _name_of(channel)
    for wanted in session.options.mirrors:
        yield from _wanted(wanted, channel, family, name, session.mirrors)
    if session.options.only_mirrors and session.options.mirrors:
        return
    if not family:
        yield channel, ""
        return
    for url in _configured(channel, name):
        owner = session.mirrors.owner_of(url)
        yield url, owner.name if owner else ""
    for mirror, url in _by_fate(session.mirrors, family, name):
        yield url, mirror.name


def _by_fate(known: Catalogue, family: str, name: str) -> list[tuple[Mirror, str]]:
    """The official place, then mirrors that do not go down with one before, then the others."""
    groups: tuple[list[tuple[Mirror, str]], ...] = ([], [], [])
    seen: set[str] = set()
    for mirror in known.for_use("conda"):
        address = _url(mirror, family, name)
        if address is None:
            continue
        group = 0 if mirror.official else 2 if mirror.fate & seen else 1
        groups[group].append((mirror, address))
        seen |= set() if mirror.official else mirror.fate
    return [item for group in groups for item in group]


def _wanted(
    wanted: str, channel: str, family: str, name: str, known: Catalogue
) -> Iterator[tuple[str, str]]:
    if urls.is_url(wanted):
        base = wanted.rstrip("/")
        last = name or channel.rsplit("/", 1)[-1]
        yield (base if base.endswith(f"/{last}") else f"{base}/{last}"), ""
        return
    mirror = known.get(wanted)
    url = _url(mirror, family, name) if family else None
    if url is not None:
        yield url, mirror.name


def _url(mirror: Mirror, family: str, name: str) -> str | None:
    if mirror.conda is None:
        return None
    return mirror.conda.pkgs_url(name) if family == "pkgs" else mirror.conda.channel_url(name)


def _configured(channel: str, name: str) -> Iterator[str]:
    """What rattler's and conda's own configuration says; files that are broken say nothing."""
    from cuready.mirrors import effective
    from cuready.mirrors.locations import Machine

    machine = Machine.current()
    mirrors = effective.read("rattler", machine).values["mirrors"].value
    for url in (
        item for key, value in mirrors.items() if urls.same(key, channel) for item in value
    ):
        if urlsplit(url).scheme in ("http", "https"):
            yield url
    custom = effective.read("conda", machine).values
    if name in custom["custom_channels"].value:
        url = effective.channel_url(name, custom)
        if urlsplit(url).scheme in ("http", "https"):
            yield url

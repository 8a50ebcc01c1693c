"""Lint of uv.toml and of rattler's config.toml."""

from __future__ import annotations

from typing import Any

from cuready.mirrors import urls
from cuready.mirrors.editors import rattler_toml, toml_edit, uv_toml
from cuready.mirrors.editors.text import ConfigSyntaxError
from cuready.mirrors.lint.finding import Report, known_keys, mirror_of
from cuready.mirrors.lint.pip_conf import index_address

__all__ = ["check_rattler", "check_uv"]


def check_uv(body: str, report: Report) -> None:
    """Add the faults of a uv.toml's text to ``report``."""
    data = _parsed(body, report, "uv", uv_toml.parse)
    if not data:
        return
    places = toml_edit.Places(body)
    for key in data:
        if key not in known_keys()["uv"]:
            report.unknown(key, places.line((key,)), "uv", fatal=True)
    for path, url in uv_toml.addresses(data):
        line = places.line(path)
        if "find-links" in path:
            report.address(url, line)
        else:
            index_address(url, line, report)
        if "extra-index-url" in path:
            report.warning(
                "extra-index", line,
                "extra-index-url is no backup: uv asks it before the default index",
                "keep one default index; `cuready mirror test` says which",
                "https://docs.astral.sh/uv/concepts/indexes/",
            )  # fmt: skip
    for place in uv_toml.default_places(data)[1:]:
        if place[0] != "pip":
            report.warning(
                "order", places.line(place),
                "a second default index: uv takes the first one and never asks this one",
                "keep one default index",
            )  # fmt: skip
    _insecure(places, data, report)


def check_rattler(body: str, report: Report) -> None:
    """Add the faults of a rattler config.toml's text to ``report``."""
    data = _parsed(body, report, "rattler", rattler_toml.parse)
    if not data:
        return
    places = toml_edit.Places(body)
    for key in data:
        if key not in known_keys()["rattler"]:
            report.unknown(key, places.line((key,)), "rattler")
    for channel, entries in data.get("mirrors", {}).items():
        for index, url in enumerate(entries):
            line = places.line(("mirrors", channel, index))
            if urls.is_url(url) and not report.address(url, line):
                _names_channel(channel, url, line, report)
        _order(places, channel, entries, report)
    for name in ("tls-no-verify", "tls_no_verify"):
        if data.get(name) is True:
            report.error(
                "ssl-off", places.line((name,)),
                f"{name} = true hides a wrong clock, a proxy, or an attack", "take it out",
            )  # fmt: skip


def _parsed(body: str, report: Report, tool: str, parse: Any) -> dict[str, Any]:
    try:
        data: dict[str, Any] = parse(body)
    except ConfigSyntaxError as error:
        twice = "overwrite" in error.reason or "twice" in error.reason
        report.error(
            "duplicate-key" if twice else "unreadable",
            error.line,
            f"{error.reason}: {tool} stops at it",
            "keep one of the two" if twice else "correct the line",
        )
        return {}
    return data


def _names_channel(channel: str, url: str, line: int, report: Report) -> None:
    """A mirror's address is the channel's, not the base of all channels."""
    name = urls.cloud_channel(channel) or channel.rstrip("/").rsplit("/", 1)[-1]
    mirror = mirror_of(url, report.catalogue)
    if mirror is None or mirror.conda is None:
        return
    if urls.same(url, mirror.conda.cloud):
        report.error(
            "wrong-path", line, f"{url}: rattler appends no channel's name",
            f"{url.rstrip('/')}/{name}",
        )  # fmt: skip
    elif mirror.conda.channel_base(name) is None:
        report.warning(
            "not-carried", line, f"{name}: {mirror.name} is not known to carry it", "take it out",
            *mirror.sources,
        )  # fmt: skip


def _order(places: toml_edit.Places, channel: str, entries: list[str], report: Report) -> None:
    own = next((index for index, url in enumerate(entries) if urls.same(url, channel)), None)
    if own is not None and own < len(entries) - 1:
        report.warning(
            "order", places.line(("mirrors", channel, own)),
            f"{channel} stands before its mirrors, which are asked only when it fails",
            "put it last",
        )  # fmt: skip


def _insecure(places: toml_edit.Places, data: dict[str, Any], report: Report) -> None:
    hosts = data.get("allow-insecure-host")
    for index, host in enumerate(hosts if isinstance(hosts, list) else []):
        if isinstance(host, str) and report.catalogue.owner_of(f"https://{host}") is not None:
            report.error(
                "ssl-off", places.line(("allow-insecure-host", index)),
                f"allow-insecure-host {host}: its certificate is not checked",
                "take it out; the mirror has a valid certificate",
            )  # fmt: skip

"""What ``cuready mirror`` changes in rattler's shared config.toml: ``[mirrors]``.

pixi, rattler-build and cuready's own engine read this file. A channel's address maps to a list of
addresses that are tried in their order; the channel itself is repeated at the end, because a list
replaces it: https://pixi.sh/latest/reference/pixi_configuration/#mirrors
"""

from __future__ import annotations

from typing import Any

from cuready.mirrors import urls
from cuready.mirrors.catalogue import Catalogue, Mirror
from cuready.mirrors.editors import toml_edit
from cuready.mirrors.editors.text import Change, ConfigSyntaxError

__all__ = ["UPSTREAM", "defaults", "parse", "remove", "use"]

UPSTREAM = "https://conda.anaconda.org"


def parse(body: str) -> dict[str, Any]:
    """The file's data, with ``[mirrors]`` checked. Raises ConfigSyntaxError."""
    data = toml_edit.load(body)
    mirrors = data.get("mirrors", {})
    if not isinstance(mirrors, dict):
        raise ConfigSyntaxError(toml_edit.position(body, ("mirrors",)), "mirrors is no table")
    for key, value in mirrors.items():
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            line = toml_edit.position(body, ("mirrors", key))
            raise ConfigSyntaxError(line, f"mirrors.{key!r} is no list of addresses")
    return data


def use(body: str, mirror: Mirror, catalogue: Catalogue, newline: str = "\n") -> Change:
    """Try ``mirror`` first for every channel of the table that it carries, and for conda-forge."""
    if mirror.conda is None:
        raise ValueError(f"{mirror.name} carries no conda channels")
    notes = []
    table = parse(body).get("mirrors", {})
    known = {urls.cloud_channel(key): key for key in table if key.startswith(UPSTREAM)}
    for channel in dict.fromkeys(["conda-forge", *(name for name in known if name)]):
        target = mirror.conda.channel_url(channel)
        key = known.get(channel)
        if target is None:
            notes.append(f"{channel} left alone: {mirror.name} does not carry it")
        elif key is None:
            body = _add(body, f"{UPSTREAM}/{channel}", target, newline)
        else:
            body = _put_first(body, key, target, catalogue, newline)
    return Change(body, tuple(notes))


def defaults(body: str, catalogue: Catalogue) -> Change:
    """Take out the addresses of mirrors; a list that holds the channel alone goes too."""
    for key, entries in reversed(list(parse(body).get("mirrors", {}).items())):
        own = [entry for entry in entries if not _is_mirror(entry, catalogue)]
        if len(own) == len(entries):
            continue
        if all(urls.same(entry, key) for entry in own):
            body = _cut_key(body, key)
            continue
        for index, entry in reversed(list(enumerate(entries))):
            if _is_mirror(entry, catalogue):
                body = toml_edit.delete(body, ("mirrors", key, index))
    return Change(body)


def remove(body: str, url: str) -> Change:
    """Take out every place that names ``url``."""
    for key, entries in reversed(list(parse(body).get("mirrors", {}).items())):
        matching = [index for index, entry in enumerate(entries) if urls.same(entry, url)]
        rest = [entry for entry in entries if not urls.same(entry, url)]
        if matching and all(urls.same(entry, key) for entry in rest):
            body = _cut_key(body, key)
            continue
        for index in reversed(matching):
            body = toml_edit.delete(body, ("mirrors", key, index))
    return Change(body)


def _is_mirror(url: str, catalogue: Catalogue) -> bool:
    owner = catalogue.owner_of(url)
    if owner is not None:
        return not owner.official
    return catalogue.pasted_rule(url) is not None


def _add(body: str, key: str, target: str, newline: str) -> str:
    value = [target, key]
    if "mirrors" in parse(body):
        return toml_edit.insert_key(body, ("mirrors",), key, value, newline)

    def change(data: Any) -> None:
        data["mirrors"] = {key: value}

    block = f"[mirrors]\n{toml_edit.quote(key)} = {toml_edit.quote(value)}"
    return toml_edit.append_block(body, block, change, newline)


def _put_first(body: str, key: str, target: str, catalogue: Catalogue, newline: str) -> str:
    entries = parse(body)["mirrors"][key]
    if not entries:
        return toml_edit.set_value(body, ("mirrors", key), [target, key])
    if urls.same(entries[0], target):
        return body
    for index in reversed(range(len(entries))):  # not twice in one list
        if urls.same(entries[index], target):
            body = toml_edit.delete(body, ("mirrors", key, index))
    entries = parse(body)["mirrors"][key]
    if entries and _is_mirror(entries[0], catalogue):
        return toml_edit.set_value(body, ("mirrors", key, 0), target)
    return toml_edit.insert_first(body, ("mirrors", key), target, newline)


def _cut_key(body: str, key: str) -> str:
    """Remove one channel, and ``[mirrors]`` with it when it was the last."""
    if len(parse(body)["mirrors"]) == 1:
        return toml_edit.delete(body, ("mirrors",))
    return toml_edit.delete(body, ("mirrors", key))

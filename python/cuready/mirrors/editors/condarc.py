"""What ``cuready mirror`` changes in a .condarc: custom_channels, default_channels, channel URLs.

``channel_alias`` is never written: it sends every name to the mirror, also those that it does not
carry, such as nvidia. ``custom_channels`` takes the base without the channel's name, which conda
appends: https://docs.conda.io/projects/conda/en/stable/user-guide/configuration/custom-channels.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cuready.mirrors import urls
from cuready.mirrors.catalogue import Catalogue, CondaUse, Mirror
from cuready.mirrors.editors import yaml_edit
from cuready.mirrors.editors.text import Change, ConfigSyntaxError
from cuready.mirrors.editors.yaml_edit import Path, typed

__all__ = ["CHANNEL_KEYS", "OFFICIAL_ALIAS", "defaults", "parse", "remove", "use"]

OFFICIAL_ALIAS = "https://conda.anaconda.org"
OFFICIAL_REPO = "https://repo.anaconda.com"
# Names that stand for something else than a channel of that name.
SPECIAL = frozenset({"defaults", "nodefaults", "local", "multi"})
CHANNEL_KEYS = ("channels", "channel")


def parse(body: str) -> dict[str, Any]:
    """The file's data, with the types that conda insists on. Raises ConfigSyntaxError."""
    data = yaml_edit.load(body)
    for key in (*CHANNEL_KEYS, "default_channels"):
        for index, item in enumerate(typed(data, key, list, "a list", body) or ()):
            if not isinstance(item, str):
                line = yaml_edit.position(body, (key, index))
                raise ConfigSyntaxError(line, f"{key} holds {item!r}; conda wants channel names")
    for key in ("custom_channels", "custom_multichannels"):
        typed(data, key, dict, "a mapping", body)
    typed(data, "channel_alias", str, "one address", body)
    return data


def use(body: str, mirror: Mirror, catalogue: Catalogue, newline: str = "\n") -> Change:
    """Fetch through ``mirror`` every channel of the file that it carries, and conda-forge."""
    if mirror.conda is None:
        raise ValueError(f"{mirror.name} carries no conda channels")
    editor = _Editor(body, catalogue, newline)
    editor.add_channels()
    editor.use_for_addresses(mirror, mirror.conda)
    editor.use_for_names(mirror, mirror.conda)
    editor.use_for_defaults(mirror, mirror.conda)
    editor.explain_alias()
    editor.explain_mamba(mirror)
    return editor.change()


def defaults(body: str, catalogue: Catalogue, newline: str = "\n") -> Change:
    """Back to Anaconda.org: take out what points to a mirror, give channels by name again."""
    editor = _Editor(body, catalogue, newline)
    editor.name_channels_again()
    for name, url in reversed(list(editor.custom().items())):
        if editor.is_mirror(url):
            editor.cut(("custom_channels", name))
    for index, url in reversed(list(enumerate(editor.entries("default_channels")))):
        if editor.is_mirror(url):
            editor.cut(("default_channels", index))
    alias = editor.data.get("channel_alias")
    if isinstance(alias, str) and editor.is_mirror(alias):
        editor.cut(("channel_alias",))
    return editor.change()


def remove(body: str, url: str, newline: str = "\n") -> Change:
    """Take out every place that names ``url``: an address, a channel's name, or a custom base."""
    editor = _Editor(body, Catalogue((), ()), newline)
    for key in (*CHANNEL_KEYS, "default_channels"):
        for index, entry in reversed(list(enumerate(editor.entries(key)))):
            if entry == url or urls.same(entry, url):
                editor.cut((key, index))
    for name, base in reversed(list(editor.custom().items())):
        if isinstance(base, str) and (
            urls.same(base, url) or urls.same(f"{base.rstrip('/')}/{name}", url)
        ):
            editor.cut(("custom_channels", name))
    for key in ("custom_multichannels", "mirrored_channels"):
        lists = editor.data.get(key)
        for name, entries in reversed(list((lists if isinstance(lists, dict) else {}).items())):
            for index, entry in reversed(list(enumerate(_list(entries)))):
                if isinstance(entry, str) and (entry == url or urls.same(entry, url)):
                    editor.cut((key, name, index))
    alias = editor.data.get("channel_alias")
    if isinstance(alias, str) and urls.same(alias, url):
        editor.cut(("channel_alias",))
    return editor.change()


@dataclass
class _Editor:
    """The text under change; every step leaves it parsable."""

    body: str
    catalogue: Catalogue
    newline: str
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.data = parse(self.body)

    def change(self) -> Change:
        return Change(self.body, tuple(self.notes))

    # --- what the file holds

    def entries(self, key: str) -> list[str]:
        return list(self.data.get(key) or ())

    def channels(self) -> list[tuple[Path, str]]:
        """Every entry of ``channels`` (or its alias ``channel``) with its path."""
        return [
            ((key, index), entry)
            for key in CHANNEL_KEYS
            for index, entry in enumerate(self.entries(key))
        ]

    def custom(self) -> dict[str, Any]:
        entries = self.data.get("custom_channels") or {}
        return {name: base for name, base in entries.items() if isinstance(name, str)}

    def is_mirror(self, url: object) -> bool:
        """Whether ``url`` is on a host that the catalogue knows as a mirror, alive or dead."""
        if not isinstance(url, str) or not urls.is_url(url):
            return False
        owner = self.catalogue.owner_of(url)
        if owner is not None:
            return not owner.official
        return self.catalogue.pasted_rule(url) is not None

    def is_known(self, url: object) -> bool:
        """A mirror's address, or an official one."""
        return isinstance(url, str) and (
            self.is_mirror(url) or self.catalogue.owner_of(url) is not None
        )

    # --- steps of a change

    def replace(self, path: Path, old: str, new: str) -> None:
        """Set another address, with a last slash if the old one had it."""
        if urls.same(old, new):
            return
        value = f"{new}/" if old.endswith("/") else new
        self.body = yaml_edit.set_item(self.body, path, value)
        self.data = parse(self.body)

    def cut(self, path: Path) -> None:
        """Remove an item; a list or mapping that gets empty goes with its key."""
        while len(path) > 1 and len(self.at(path[:-1])) == 1:
            path = path[:-1]
        self.body = yaml_edit.delete(self.body, path)
        self.data = parse(self.body)

    def at(self, path: Path) -> Any:
        """The value at ``path``."""
        value: Any = self.data
        for step in path:
            value = value[step]
        return value

    def insert(self, path: Path, key: str, value: yaml_edit.Value) -> None:
        self.body = yaml_edit.insert_pair(self.body, path, key, value, self.newline)
        self.data = parse(self.body)

    # --- use

    def add_channels(self) -> None:
        """A file without channels means `defaults`; ours is conda-forge alone."""
        if self.channels():
            return
        if "channels" in self.data:
            self.body = yaml_edit.append_item(self.body, ("channels",), "conda-forge", self.newline)
            self.data = parse(self.body)
        else:
            self.insert((), "channels", ["conda-forge"])

    def use_for_addresses(self, mirror: Mirror, conda: CondaUse) -> None:
        """Channels and default channels that are given as addresses of some known site."""
        default = [
            (("default_channels", i), u) for i, u in enumerate(self.entries("default_channels"))
        ]
        for path, entry in [*self.channels(), *default]:
            if not self.is_known(entry):
                continue
            channel, part = urls.cloud_channel(entry), urls.pkgs_part(entry)
            target = conda.pkgs_url(part) if part else conda.channel_url(channel or "")
            if target is None:
                what = f"pkgs/{part}" if part else channel or "this address"
                self.notes.append(
                    f"{path[0]}: {urls.redact(entry)} left alone, {mirror.name} has no {what}"
                )
            else:
                self.replace(path, entry, target)

    def use_for_names(self, mirror: Mirror, conda: CondaUse) -> None:
        """``custom_channels`` for each channel that is given by its name."""
        given = [entry for _, entry in self.channels() if not urls.is_url(entry)]
        several = self.data.get("custom_multichannels") or {}
        named = [name for name in given if name not in SPECIAL and name not in several]
        for name in dict.fromkeys(["conda-forge", *named, *self.custom()]):
            base, current = conda.channel_base(name), self.custom().get(name)
            if base is None and isinstance(current, str) and not self.is_known(current):
                continue  # a channel of one's own
            if base is None:
                source = urls.redact(current if isinstance(current, str) else OFFICIAL_ALIAS)
                self.notes.append(
                    f"{name} keeps coming from {source}: {mirror.name} does not carry it"
                )
            elif current is None and name not in self.custom():
                self.add_custom(name, base)
            elif self.is_known(current):
                self.replace(("custom_channels", name), str(current), base)
            else:
                self.notes.append(
                    f"custom_channels.{name} left alone: {urls.redact(str(current))} "
                    "is no mirror of the catalogue"
                )

    def add_custom(self, name: str, base: str) -> None:
        if "custom_channels" in self.data:
            self.insert(("custom_channels",), name, base)
        else:
            self.insert((), "custom_channels", {name: base})

    def use_for_defaults(self, mirror: Mirror, conda: CondaUse) -> None:
        """Where `defaults` comes from, when the file asks for it."""
        asked = any(entry == "defaults" for _, entry in self.channels())
        if not asked or self.entries("default_channels"):
            return
        addresses = [url for url in map(conda.pkgs_url, conda.pkgs) if url is not None]
        if addresses and "default_channels" not in self.data:
            self.insert((), "default_channels", addresses)
        else:
            self.notes.append(
                f"defaults keeps coming from {OFFICIAL_REPO}: "
                f"{mirror.name} does not carry pkgs/main"
            )

    def explain_alias(self) -> None:
        alias = self.data.get("channel_alias")
        if isinstance(alias, str) and self.is_mirror(alias):
            self.notes.append(
                f"channel_alias still sends every other name to {urls.redact(alias)}; "
                f"`cuready mirror remove {urls.redact(alias)}` takes it out"
            )

    def explain_mamba(self, mirror: Mirror) -> None:
        """mamba prefers ``mirrored_channels``, which Miniforge's own .condarc has since 2025-09."""
        mirrored = self.data.get("mirrored_channels")
        for name, addresses in (mirrored if isinstance(mirrored, dict) else {}).items():
            first = addresses[0] if isinstance(addresses, list) and addresses else None
            if isinstance(first, str) and self.catalogue.owner_of(first) is not mirror:
                self.notes.append(
                    f"mirrored_channels.{name} left alone: mamba will use {urls.redact(first)}"
                )

    # --- defaults

    def name_channels_again(self) -> None:
        """``https://mirror/…/cloud/x`` → ``x``, ``…/pkgs/main`` → ``defaults``; each once."""
        for path, entry in reversed(self.channels()):
            if not self.is_mirror(entry):
                continue
            channel, part = urls.cloud_channel(entry), urls.pkgs_part(entry)
            name = "defaults" if part in ("main", "r", "msys2") else None if part else channel
            others = [other for place, other in self.channels() if place != path]
            if name is None or name in others:
                self.cut(path)
            else:
                self.body = yaml_edit.set_item(self.body, path, name)
                self.data = parse(self.body)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []

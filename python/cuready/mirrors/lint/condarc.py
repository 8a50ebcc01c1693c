"""Lint of a .condarc, on the parser's nodes: a file with one fault is still read to its end."""

from __future__ import annotations

from typing import Any

import yaml

from cuready.mirrors import urls
from cuready.mirrors.editors import yaml_edit
from cuready.mirrors.editors.condarc import CHANNEL_KEYS
from cuready.mirrors.editors.text import ConfigSyntaxError, lines
from cuready.mirrors.lint.finding import Report, known_keys, mirror_of

__all__ = ["check"]

_FALSE = frozenset({"false", "no", "off"})
_TRUE = frozenset({"true", "yes", "on"})


def check(body: str, report: Report) -> None:
    """Add the faults of a .condarc's text to ``report``."""
    root = _tree(body, report)
    if root is None:
        return
    for key, value in root.value:
        if isinstance(key, yaml.ScalarNode):
            _Checker(report, root).key(key.value, _line(key), value)


def _tree(body: str, report: Report) -> yaml.MappingNode | None:
    """The node tree; of a repaired copy when tabs or keys that stand twice are in the way."""
    try:
        yaml_edit.compose(body)
    except yaml_edit.DuplicateKeyError as error:
        _duplicates(body, report)
        return _compose(body, error)
    except ConfigSyntaxError as error:
        line = _tab_line(body, error.line)
        if line is None:
            report.error(
                "unreadable", error.line, f"{error.reason}: conda ignores the whole file",
                "correct the line; until then none of its settings is in force",
            )  # fmt: skip
            return None
        report.error(
            "tab", line, "a tab: conda ignores the whole file, without failing",
            "indent with spaces", "https://yaml.org/spec/1.2.2/#61-indentation-spaces",
        )  # fmt: skip
        return _compose(body.replace("\t", "  "), error)
    return _compose(body, None)


def _compose(body: str, error: ConfigSyntaxError | None) -> yaml.MappingNode | None:
    try:
        node = yaml.compose(body, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    if error is not None and not isinstance(node, yaml.MappingNode):
        return None
    return node if isinstance(node, yaml.MappingNode) else None


def _tab_line(body: str, near: int) -> int | None:
    """The line with the tab that the parser stumbled over, at or just before line ``near``."""
    texts = lines(body)
    for number in range(min(near, len(texts)), 0, -1):
        if "\t" in texts[number - 1]:
            return number
        if texts[number - 1].strip() and number < near:
            break
    return None


def _duplicates(body: str, report: Report) -> None:
    def walk(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            seen: dict[Any, int] = {}
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode):
                    if key.value in seen:
                        report.error(
                            "duplicate-key", _line(key),
                            f"{key.value}: stands twice, first on line {seen[key.value]}; "
                            "conda stops with DuplicateKeyError",
                            "merge the two, keep one",
                        )  # fmt: skip
                    seen.setdefault(key.value, _line(key))
                walk(value)

    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is not None:
        walk(node)


class _Checker:
    """Checks of one top-level key."""

    def __init__(self, report: Report, root: yaml.MappingNode) -> None:
        self.report = report
        self.root = root

    def key(self, name: str, line: int, value: yaml.Node) -> None:
        keys = known_keys()
        if name in keys["mamba"]:
            self.report.warning(
                "unknown-key", line, f"{name}: mamba alone reads it; conda drops it silently",
                "for conda, use custom_channels", "https://github.com/ustclug/mirrorhelp",
            )  # fmt: skip
        elif name not in keys["conda"]:
            self.report.unknown(name, line, "conda")
        if name in CHANNEL_KEYS:
            self.channels(value)
        elif name == "default_channels":
            self.addresses(value)
        elif name == "custom_channels":
            self.custom(value)
        elif name == "channel_alias":
            self.alias(value)
        elif name == "use_only_tar_bz2" and _text(value) in _TRUE:
            self.report.warning(
                "only-tar-bz2", line,
                "use_only_tar_bz2: mirrors drop .tar.bz2 files that have a .conda twin",
                "take the line out; conda 4.7 and later read .conda",
                "https://github.com/tuna/issues/issues/2050",
            )  # fmt: skip
        elif name in ("ssl_verify", "verify_ssl") and _text(value) in _FALSE:
            self.report.error(
                "ssl-off", line, f"{name}: false hides a wrong clock, a proxy, or an attack",
                f"take it out, or `{name}: truststore`, or the path of your proxy's CA file",
            )  # fmt: skip

    def channels(self, value: yaml.Node) -> None:
        names: list[str] = []
        lines_of: dict[str, int] = {}
        for text, line in _items(value):
            if text == "nodefaults":
                self.report.error(
                    "nodefaults", line,
                    "nodefaults: in a .condarc conda asks https://conda.anaconda.org/nodefaults",
                    "`cuready mirror remove nodefaults`: only an environment.yml knows the word",
                )  # fmt: skip
            if urls.is_url(text):
                self.report.address(text, line)
            name = urls.cloud_channel(text) or text if urls.is_url(text) else text
            names.append("defaults" if urls.pkgs_part(text) == "main" else name)
            lines_of.setdefault(names[-1], line)
        if {"defaults", "conda-forge"} <= set(names) and (
            names.index("defaults") < names.index("conda-forge")
        ):
            self.report.warning(
                "order", lines_of["defaults"],
                "defaults stands above conda-forge and outranks it",
                "put conda-forge first (`conda config --add` turns an order round), "
                "or take defaults out",
                "https://conda-forge.org/docs/user/tipsandtricks/",
            )  # fmt: skip

    def addresses(self, value: yaml.Node) -> None:
        for text, line in _items(value):
            if urls.is_url(text):
                self.report.address(text, line)

    def custom(self, value: yaml.Node) -> None:
        if not isinstance(value, yaml.MappingNode):
            return
        for key, node in value.value:
            name, base, line = str(key.value), str(node.value), _line(node)
            if not isinstance(node, yaml.ScalarNode):
                continue
            if base.rstrip("/").endswith(f"/{name}"):
                self.report.error(
                    "doubled-path", line,
                    f"custom_channels.{name}: conda appends the name, so it asks "
                    f"{base.rstrip('/')}/{name}",
                    f"{name}: {base.rstrip('/')[: -len(name) - 1]}",
                )  # fmt: skip
                self.report.address(base, line)
            elif not self.report.address(f"{base.rstrip('/')}/{name}", line):
                self.carried(name, base, line)

    def carried(self, name: str, base: str, line: int) -> None:
        mirror = mirror_of(base, self.report.catalogue)
        if mirror is None or mirror.conda is None or mirror.conda.channel_base(name):
            return
        others = [
            other.name
            for other in self.report.catalogue.for_use("conda")
            if other.conda and not other.official and other.conda.channel_base(name)
        ]
        repair = f"a mirror that carries it: {', '.join(others)}" if others else "take it out"
        self.report.warning(
            "not-carried", line, f"{name}: {mirror.name} is not known to carry it", repair,
            *mirror.sources,
        )  # fmt: skip

    def alias(self, value: yaml.Node) -> None:
        if not isinstance(value, yaml.ScalarNode):
            return
        alias, line = str(value.value), _line(value)
        self.report.address(alias, line)
        mirror = mirror_of(alias, self.report.catalogue)
        if mirror is None or mirror.conda is None:
            return
        conda = mirror.conda
        lost = [name for name in self.names() if conda.channel_base(name) is None]
        say = self.report.error if lost else self.report.warning
        names = ", ".join(lost or ["nvidia"])
        say(
            "alias-swallows", line,
            f"channel_alias sends every name to {mirror.name}, also {names}, which it has not",
            f"take it out; custom_channels: {{conda-forge: {conda.cloud}}}",
            "https://github.com/tuna/issues/issues/2110",
        )  # fmt: skip

    def names(self) -> list[str]:
        """Channels of the file that are given by name and not mapped by custom_channels."""
        mapped: set[str] = set()
        given: list[str] = []
        for key, value in self.root.value:
            if key.value == "custom_channels" and isinstance(value, yaml.MappingNode):
                mapped |= {str(name.value) for name, _ in value.value}
            if key.value in CHANNEL_KEYS:
                given += [text for text, _ in _items(value) if not urls.is_url(text)]
        special = {"defaults", "nodefaults", "local"}
        return [name for name in given if name not in mapped | special]


def _items(node: yaml.Node) -> list[tuple[str, int]]:
    if not isinstance(node, yaml.SequenceNode):
        return []
    return [
        (str(item.value), _line(item)) for item in node.value if isinstance(item, yaml.ScalarNode)
    ]


def _text(node: yaml.Node) -> str:
    return str(node.value).lower() if isinstance(node, yaml.ScalarNode) else ""


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1

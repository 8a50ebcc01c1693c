"""What lint says: one fault, its line, and the repair."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from cuready._util import data_text, tomllib
from cuready.mirrors import urls
from cuready.mirrors.catalogue import Catalogue, Mirror
from cuready.mirrors.urls import split_url

__all__ = ["KINDS", "Fault", "Report", "close_key", "known_keys", "mirror_of"]

Severity = Literal["error", "warning"]

# Stable ids, which scripts may compare, and what each is about.
KINDS: dict[str, str] = {
    "doubled-path": "an address in which a channel's name or a folder stands twice",
    "nodefaults": "nodefaults in a .condarc, where conda takes it for a channel",
    "dead-host": "a host that is gone, renamed, or serves old content",
    "plain-http": "an address without TLS",
    "order": "the wrong one of two sources comes first",
    "unknown-key": "a key that the tool does not know",
    "tab": "a tab where the file may hold only spaces",
    "duplicate-key": "a key that stands twice",
    "alias-swallows": "channel_alias sends names to a mirror that does not carry them",
    "wrong-path": "a path that never existed at that mirror, or is no index",
    "only-tar-bz2": "use_only_tar_bz2, which mirrors no longer serve",
    "ssl-off": "certificates are not checked",
    "extra-index": "a second index meant as a backup",
    "env-override": "an environment variable that overrides the file",
    "not-carried": "a channel that the mirror does not carry",
    "unreadable": "the tool cannot read the file",
}


@dataclass(frozen=True)
class Fault:
    """One finding. ``line`` counts from 1; ``sources`` are the facts that it rests on."""

    kind: str
    severity: Severity
    path: Path
    line: int
    message: str
    repair: str
    sources: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """JSON form; addresses without credentials."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "path": str(self.path),
            "line": self.line,
            "message": urls.redact_text(self.message),
            "repair": urls.redact_text(self.repair),
            "sources": list(self.sources),
        }


_MOST_SUGGESTIONS = 100  # a search through all keys each; a file with more faults is another's


class Report:
    """Collects the faults of one file; knows the checks that hold for any address."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self.path = path
        self.catalogue = catalogue
        self.faults: list[Fault] = []

    def error(self, kind: str, line: int, message: str, repair: str, *sources: str) -> None:
        """A fault that breaks something."""
        self.faults.append(Fault(kind, "error", self.path, line, message, repair, sources))

    def warning(self, kind: str, line: int, message: str, repair: str, *sources: str) -> None:
        """A fault that costs something, now or on a bad day."""
        self.faults.append(Fault(kind, "warning", self.path, line, message, repair, sources))

    def address(self, url: str, line: int, *, refused: bool = False) -> bool:
        """Checks of one address, whichever tool reads it; True when something was found.

        ``refused`` says that the tool refuses plain http, instead of only being open to attack.
        """
        before = len(self.faults)
        self._pasted(url, line)
        if url.lower().startswith("http://") and not _is_local(url):
            say = self.error if refused else self.warning
            why = "the tool refuses it" if refused else "anybody on the way can change packages"
            say(
                "plain-http", line, f"{url}: without TLS, {why}", f"https://{url[len('http://') :]}"
            )
        twice = _doubled(url)
        if twice:
            self.error(
                "doubled-path", line, f"{url}: {twice} stands twice in the path",
                url.replace(f"/{twice}/{twice}", f"/{twice}"),
            )  # fmt: skip
        return len(self.faults) > before

    def _pasted(self, url: str, line: int) -> None:
        rule = self.catalogue.pasted_rule(url)
        if rule is None:
            return
        kind = "wrong-path" if rule.kind == "never" else "dead-host"
        say = self.error if rule.kind in ("dead", "never") else self.warning
        say(kind, line, f"{url}: {rule.state}", f"use {rule.instead}", *rule.sources)

    def unknown(self, key: str, line: int, tool: str, *, fatal: bool = False) -> None:
        """A key that ``tool`` does not know, with the one that may have been meant."""
        near = len(self.faults) < _MOST_SUGGESTIONS
        close = close_key(key, known_keys()[tool]) if near else None
        say = self.error if fatal else self.warning
        effect = f"{tool} stops at it" if fatal else f"{tool} ignores it"
        repair = f"{close}" if close else "take the line out"
        say("unknown-key", line, f"{key}: not a key that {tool} knows; {effect}", repair)


def mirror_of(url: str, catalogue: Catalogue) -> Mirror | None:
    """The mirror, not an official site, that ``url`` is on."""
    owner = catalogue.owner_of(url)
    return None if owner is None or owner.official else owner


@cache
def known_keys() -> Mapping[str, frozenset[str]]:
    """Tool → its keys, from ``data/keys.toml``."""
    document = tomllib.loads(data_text("cuready.mirrors", "data/keys.toml"))
    return {tool: frozenset(entry["keys"]) for tool, entry in document.items()}


def close_key(key: str, keys: frozenset[str]) -> str | None:
    """The known key that ``key`` looks like."""
    near = difflib.get_close_matches(key, sorted(keys), n=1, cutoff=0.75)
    return near[0] if near else None


def _doubled(url: str) -> str | None:
    steps = [step for step in url.split("://", 1)[-1].split("/")[1:] if step]
    for one, other in itertools.pairwise(steps):
        if one == other:
            return one
    return None


def _is_local(url: str) -> bool:
    host = split_url(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")

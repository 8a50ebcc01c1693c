"""Symbol versions and undefined symbols: what the loader checks once all files are mapped.

Source of the rules and of the texts: elf/dl-version.c, dl-reloc.c and dl-lookup.c of glibc.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from cuready.probe.elf import ElfError, ElfFile
from cuready.probe.elf_symbols import Wanted, gnu_hash
from cuready.probe.loader.linkmap import LinkMap, LoadFailure

__all__ = ["SymbolFailure", "SymbolFilter", "VersionFailure", "check_relocations", "check_versions"]

SymbolFilter = Callable[[LinkMap, Wanted], bool]
"""Which undefined symbols of an object are looked up; the others are taken to be there."""


class VersionFailure(LoadFailure):
    """A version that ``provider`` does not define."""

    def __init__(self, text: str, *, version: str, wanted_by: str, provider: str) -> None:
        super().__init__(text, kind="version", name=version, wanted_by=wanted_by)
        self.provider = provider


class SymbolFailure(LoadFailure):
    """A symbol that no object in scope defines. ``provider``: the file that should have had it."""

    def __init__(self, text: str, *, symbol: Wanted, wanted_by: str, provider: str | None) -> None:
        super().__init__(text, kind="symbol", name=symbol.text, wanted_by=wanted_by)
        self.symbol = symbol
        self.provider = provider


def check_versions(
    fresh: Sequence[LinkMap], maps: Sequence[LinkMap], _filter: SymbolFilter | None = None
) -> list[LoadFailure]:
    """DT_VERNEED of each object of ``fresh`` against DT_VERDEF of what answers to the name."""
    failures: list[LoadFailure] = []
    by_name: dict[str, LinkMap] = {}
    for known in maps:
        for name in (known.name, *known.names):
            by_name.setdefault(name, known)
    for item in fresh:
        try:
            failures.extend(_versions_of(item, by_name))
        except ElfError as error:
            failures.append(LoadFailure(f"{item.shown}: {error}", kind="damaged", name=item.path))
    return failures


def _versions_of(item: LinkMap, by_name: Mapping[str, LinkMap]) -> list[LoadFailure]:
    failures: list[LoadFailure] = []
    for need in item.file.version_needs:
        provider = by_name.get(need.file)
        if provider is None or need.weak or provider.file.version_definitions is None:
            continue
        if need.name not in provider.file.defined_version_names:
            text = f"{provider.shown}: version `{need.name}' not found (required by {item.shown})"
            failures.append(VersionFailure(text, version=need.name, wanted_by=item.path,
                                           provider=provider.path))  # fmt: skip
    return failures


def check_relocations(
    pending: Sequence[LinkMap],
    scope: Sequence[LinkMap],
    local: Sequence[LinkMap],
    wanted: SymbolFilter | None = None,
) -> list[LoadFailure]:
    """Undefined symbols of ``pending``, in the order in which the loader relocates.

    ``scope`` is the global scope and ``local`` that of the opened object; each symbol is looked
    for in both, in that order. Weak references may stay undefined.
    """
    lookup = _Lookup([*scope, *(item for item in local if item not in scope)])
    failures: list[LoadFailure] = []
    for item in pending:
        try:
            failures.extend(_unresolved(item, lookup, wanted))
        except ElfError as error:
            failures.append(LoadFailure(f"{item.shown}: {error}", kind="damaged", name=item.path))
    return failures


def _unresolved(item: LinkMap, lookup: _Lookup, wanted: SymbolFilter | None) -> list[LoadFailure]:
    references = item.references
    enough = references.satisfied.get((item.path, wanted))
    if enough is not None and enough <= lookup.files:
        return []  # seen before, in another process that has the same providers
    missing: dict[int, Wanted] = {}
    providers: set[ElfFile] = set()
    for index, symbol in references.undefined.items():
        if symbol.weak or not (wanted is None or wanted(item, symbol)):
            continue
        provider = lookup.provider(symbol)
        if provider is None:
            missing[index] = symbol
        else:
            providers.add(provider.file)
    if not missing:
        references.satisfied[item.path, wanted] = frozenset(providers)
        return []
    order = dict.fromkeys(index for index in references.relocated if index in missing)
    return [_failure(item, missing[index], lookup) for index in order]


def _failure(item: LinkMap, symbol: Wanted, lookup: _Lookup) -> SymbolFailure:
    version = f", version {symbol.version}" if symbol.version else ""
    provider = lookup.named_by(symbol)
    return SymbolFailure(
        f"{item.shown}: undefined symbol: {symbol.text}{version}",
        symbol=symbol,
        wanted_by=item.path,
        provider=provider.path if provider else None,
    )


class _Lookup:
    """Searches a list of objects, and remembers what it found."""

    def __init__(self, scope: Sequence[LinkMap]) -> None:
        self.scope = scope
        self.files = frozenset(item.file for item in scope)
        self._known: dict[Wanted, LinkMap | None] = {}
        self._last: dict[str | None, LinkMap] = {}

    def provider(self, symbol: Wanted) -> LinkMap | None:
        """An object in scope that defines ``symbol``; None when nobody does."""
        try:
            return self._known[symbol]
        except KeyError:
            known = self._known[symbol] = self._search(symbol)
            return known

    def _search(self, symbol: Wanted) -> LinkMap | None:
        value = gnu_hash(symbol.name)
        # Where a version names its file, that file nearly always has it; and asking whether any
        # object has it does not depend on the order.
        likely = self._last.get(symbol.version_file)
        if likely is not None and likely.provider.defines(symbol, value):
            return likely
        for item in self.scope:
            if item is not likely and item.provider.defines(symbol, value):
                self._last[symbol.version_file] = item
                return item
        return None

    def named_by(self, symbol: Wanted) -> LinkMap | None:
        """The object in scope that the symbol's version names."""
        if symbol.version_file is None:
            return None
        name = symbol.version_file
        return next((item for item in self.scope if item.needs_map(name)), None)

"""Symbol versions and undefined symbols: what the loader checks once all files are mapped.

Source of the rules and of the texts: elf/dl-version.c, dl-reloc.c and dl-lookup.c of glibc.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cuready.probe.elf import ElfError
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
    for item in fresh:
        try:
            failures.extend(_versions_of(item, maps))
        except ElfError as error:
            failures.append(LoadFailure(f"{item.shown}: {error}", kind="damaged", name=item.path))
    return failures


def _versions_of(item: LinkMap, maps: Sequence[LinkMap]) -> list[LoadFailure]:
    failures: list[LoadFailure] = []
    providers: dict[str, LinkMap | None] = {}
    for need in item.file.version_needs:
        if need.file not in providers:
            providers[need.file] = next((m for m in maps if m.answers_to(need.file)), None)
        provider = providers[need.file]
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
    missing = {
        index: symbol
        for index, symbol in references.undefined.items()
        if not symbol.weak and (wanted is None or wanted(item, symbol)) and not lookup.has(symbol)
    }
    if not missing:
        return []
    order = dict.fromkeys(index for index in references.relocated if index in missing)
    return [_failure(item, missing[index], lookup) for index in order]


def _failure(item: LinkMap, symbol: Wanted, lookup: _Lookup) -> SymbolFailure:
    version = f", version {symbol.version}" if symbol.version else ""
    provider = lookup.provider_of(symbol)
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
        self._known: dict[Wanted, bool] = {}
        self._last: dict[str | None, LinkMap] = {}

    def has(self, symbol: Wanted) -> bool:
        known = self._known.get(symbol)
        if known is None:
            known = self._known[symbol] = self._search(symbol)
        return known

    def _search(self, symbol: Wanted) -> bool:
        value = gnu_hash(symbol.name)
        # Where a version names its file, that file nearly always has it; and asking whether any
        # object has it does not depend on the order.
        likely = self._last.get(symbol.version_file)
        if likely is not None and likely.provider.defines(symbol, value):
            return True
        for item in self.scope:
            if item is not likely and item.provider.defines(symbol, value):
                self._last[symbol.version_file] = item
                return True
        return False

    def provider_of(self, symbol: Wanted) -> LinkMap | None:
        """The object in scope that the symbol's version names."""
        if symbol.version_file is None:
            return None
        name = symbol.version_file
        return next((item for item in self.scope if item.needs_map(name)), None)

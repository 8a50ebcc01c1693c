"""One object of the simulated process: the loader's ``struct link_map``, as far as we need it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from cuready.probe.elf import ElfFile
from cuready.probe.elf_symbols import Provider, References

__all__ = ["LinkMap", "LoadFailure"]


class LoadFailure(Exception):  # noqa: N818 - the loader's error, caught inside
    """What ``dlerror`` would say. ``kind``: missing, file, class, version, symbol, crash."""

    def __init__(self, text: str, *, kind: str, name: str = "", wanted_by: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind
        self.name = name
        self.wanted_by = wanted_by


@dataclass(eq=False)
class LinkMap:
    """An object in the process. ``name`` is the path as the loader built it (``l_name``).

    ``names`` are the names that it answers to, ``loader`` the object whose NEEDED brought it in
    (None for what was opened by path), ``rule`` and ``entry`` how it was found.
    """

    name: str
    file: ElfFile
    path: str
    names: set[str] = field(default_factory=set)
    kind: str = "loaded"  # "main", "library" (there since start-up) or "loaded" (dlopen)
    loader: LinkMap | None = None
    rule: str = ""
    entry: str | None = None
    shadows: tuple[str, ...] = ()
    origin: str | None = None
    needed: list[LinkMap] | None = None
    searchlist: list[LinkMap] | None = None
    ordered: list[LinkMap] = field(default_factory=list)
    versions_checked: bool = False
    relocated: bool = False
    linked: list[tuple[str, LinkMap | None]] = field(default_factory=list)
    """(NEEDED name, what answered it), for the printed tree."""

    @cached_property
    def references(self) -> References:
        """Undefined symbols of its relocations."""
        return self.file.view(References)

    @cached_property
    def provider(self) -> Provider:
        """Its definitions."""
        return self.file.view(Provider)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: the loader takes two paths to one file for one object."""
        return self.file.stat.st_dev, self.file.stat.st_ino

    @property
    def shown(self) -> str:
        """Its name in error texts; the program's is as it was called."""
        return self.name or self.path

    def answers_to(self, name: str) -> bool:
        """glibc's ``_dl_name_match_p``."""
        return name == self.name or name in self.names

    def needs_map(self, name: str) -> bool:
        """Whether a NEEDED ``name`` is satisfied by this object without any search."""
        return self.answers_to(name) or self.file.soname == name

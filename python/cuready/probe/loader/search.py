"""Where the loader looks for a library, in its order, and how it judges each file that it finds.

Source of the rules: elf/dl-load.c of glibc (``_dl_map_object``, ``open_path``, ``open_verify``) and
ld.so(8), https://man7.org/linux/man-pages/man8/ld.so.8.html.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from cuready.probe import elf_format as elf
from cuready.probe.context import Context
from cuready.probe.elf import ElfError, ElfFile
from cuready.probe.loader.linkmap import LinkMap, LoadFailure
from cuready.probe.loader.machine import Interpreter
from cuready.probe.loader.tokens import expand, has_tokens, search_dirs

__all__ = ["Found", "Search"]

_OSABI_SYSV, _OSABI_GNU = 0, 3
_PASSABLE = (0, errno.ENOENT, errno.EACCES, errno.ENOTDIR)


@dataclass(frozen=True)
class Found:
    """A file that the loader accepts: its name as the loader builds it, and what led there."""

    name: str
    file: ElfFile
    path: str
    rule: str
    entry: str | None


@dataclass(frozen=True)
class _Place:
    """One folder of the search order. ``group``: what an odd errno ends."""

    rule: str
    folder: str
    entry: str
    group: int


class Search:
    """Finds libraries as one process would: its environment, its loader, its working folder."""

    def __init__(self, context: Context, interpreter: Interpreter) -> None:
        self.context = context
        self.interpreter = interpreter
        self.env = context.env
        self._open: dict[str, ElfFile] = {}
        self._split: dict[tuple[str, str, str | None], list[tuple[str, str]]] = {}
        self._absent: dict[str, int] = {}  # path -> errno: a process asks for most of them again
        self._folders: dict[str, bool] = {}

    # --- the order ---------------------------------------------------------------------------

    def library_path(self, main: LinkMap | None) -> list[tuple[str, str]]:
        """LD_LIBRARY_PATH as (folder, entry); an empty variable counts as unset."""
        text = self.env.get("LD_LIBRARY_PATH", "")
        return self._dirs(text, ":;", main) if text else []

    def _dirs(self, text: str, separators: str, owner: LinkMap | None) -> list[tuple[str, str]]:
        origin = owner.origin if owner else None
        key = (text, separators, origin)
        if key not in self._split:
            self._split[key] = search_dirs(
                text,
                separators,
                origin=origin,
                lib=self.interpreter.lib,
                platform=self.interpreter.platform,
            )
        return self._split[key]

    def _places(self, loader: LinkMap | None, main: LinkMap | None) -> Iterator[_Place | None]:
        """Folders in order; None stands for a look into ld.so.cache."""
        group = 0
        for rule, text, separators, owner in self._lists(loader, main):
            if rule == "ld.so.cache":
                yield None
                continue
            group += 1
            if text is None:
                yield from (_Place(rule, d, d.rstrip("/"), group)
                            for d in self.interpreter.default_dirs)  # fmt: skip
            else:
                yield from (_Place(rule, d, entry, group)
                            for d, entry in self._dirs(text, separators, owner))  # fmt: skip

    def _lists(
        self, loader: LinkMap | None, main: LinkMap | None
    ) -> Iterator[tuple[str, str | None, str, LinkMap | None]]:
        if loader is None or loader.file.runpath is None:
            yield from self._rpaths(loader, main)
        if self.env.get("LD_LIBRARY_PATH"):
            yield "LD_LIBRARY_PATH", self.env["LD_LIBRARY_PATH"], ":;", main
        if loader is not None and loader.file.runpath:
            yield f"RUNPATH of {loader.path}", loader.file.runpath, ":", loader
        yield "ld.so.cache", None, "", None
        asking = loader or main
        if asking is None or not asking.file.flags_1 & elf.DF_1_NODEFLIB:
            yield "default", None, "", None

    def _rpaths(
        self, loader: LinkMap | None, main: LinkMap | None
    ) -> Iterator[tuple[str, str | None, str, LinkMap | None]]:
        """RPATH is inherited: that of the asking object, of what loaded it, …, of the program."""
        chain: list[LinkMap] = []
        item = loader
        while item is not None:
            chain.append(item)
            item = item.loader
        if main is not None and main not in chain:
            chain.append(main)
        for item in chain:
            if item.file.rpath:
                yield f"RPATH of {item.path}", item.file.rpath, ":", item

    # --- looking -------------------------------------------------------------------------------

    def find(self, name: str, loader: LinkMap | None, main: LinkMap | None) -> Found:
        """The file for ``name``. Raises :class:`LoadFailure` with the loader's own text."""
        state = _State()
        found = (
            self._by_path(name, loader, state) if "/" in name
            else next(self._candidates(name, loader, main, state), None)
        )  # fmt: skip
        if found is not None:
            return found
        if state.other_class:
            other = 64 if self.interpreter.bits == 32 else 32
            raise LoadFailure(f"{name}: wrong ELF class: ELFCLASS{other}", kind="class", name=name)
        text = f"{name}: cannot open shared object file"
        if state.errno:  # none when there was no place to look in at all
            text += f": {os.strerror(state.errno)}"
        raise LoadFailure(text, kind="missing", name=name)

    def shadowed(self, name: str, loader: LinkMap | None, main: LinkMap | None, taken: Found
                 ) -> tuple[str, ...]:  # fmt: skip
        """Other files that later places would have given for ``name``, in search order."""
        found: list[str] = []
        seen = {(taken.file.stat.st_dev, taken.file.stat.st_ino)}
        try:
            for other in self._candidates(name, loader, main, _State()):
                key = (other.file.stat.st_dev, other.file.stat.st_ino)
                if key not in seen:
                    seen.add(key)
                    found.append(other.path)
        except LoadFailure:
            pass  # a broken copy further down the order hurts nobody
        return tuple(found)

    def _by_path(self, name: str, loader: LinkMap | None, state: _State) -> Found | None:
        real = name
        if loader is not None and has_tokens(name):
            real = expand(name, origin=loader.origin, lib=self.interpreter.lib,
                          platform=self.interpreter.platform) or ""  # fmt: skip
        file = self.verify(real, state)
        return Found(real, file, self._absolute(real), "path", None) if file else None

    def _candidates(
        self, name: str, loader: LinkMap | None, main: LinkMap | None, state: _State
    ) -> Iterator[Found]:
        ended = 0
        for place in self._places(loader, main):
            if place is None:
                found = self._in_cache(name, loader or main, state)
                if found is not None:
                    yield found
                continue
            if place.group == ended:
                continue
            here = False
            for subdir in self.interpreter.subdirs:
                folder = place.folder + subdir
                if subdir and not self._is_folder(folder):
                    continue
                here = here or self._is_folder(folder)
                file = self.verify(folder + name, state)
                if file is not None:
                    path = self._tidy(folder + name, file)
                    yield Found(folder + name, file, path, place.rule, place.entry)
                    break
            if here and state.errno not in _PASSABLE:
                ended = place.group

    def _in_cache(self, name: str, asking: LinkMap | None, state: _State) -> Found | None:
        path = self.interpreter.cached(name)
        if path is None:
            return None
        if asking is not None and asking.file.flags_1 & elf.DF_1_NODEFLIB and path.startswith(
            self.interpreter.default_dirs
        ):  # fmt: skip
            return None
        file = self.verify(path, state)
        return Found(path, file, path, "ld.so.cache", None) if file else None

    def _absolute(self, name: str) -> str:
        return name if name.startswith("/") else posixpath.join(self.context.cwd, name)

    def _tidy(self, name: str, file: ElfFile) -> str:
        """``name`` as an absolute path without ``..``, where that is the same file.

        The loader's texts keep ``torch/lib/../../nvidia``; people and checks want the short form.
        """
        path = self._absolute(name)
        if "/../" not in path:
            return path
        short = posixpath.normpath(path)
        try:
            found = self.context.stat(short)
        except OSError:
            return path
        same = found is not None and (found.st_dev, found.st_ino) == (
            file.stat.st_dev,
            file.stat.st_ino,
        )
        return short if same else path

    def _is_folder(self, folder: str) -> bool:
        if not folder.startswith("/"):
            return True  # glibc never writes off a relative folder
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self.context.is_dir(folder)
        return known

    # --- judging one file ------------------------------------------------------------------------

    def verify(self, name: str, state: _State) -> ElfFile | None:
        """The file ``name`` if the loader takes it, None if it goes on looking.

        Raises :class:`LoadFailure` where the loader gives up instead (``open_verify`` and the
        checks of ``_dl_map_object_from_fd``).
        """
        path = self._absolute(name)
        if path in self._open:
            return self._open[path]
        if path in self._absent:
            state.errno = self._absent[path]
            return None
        head = self._head(path, name, state)
        if head is None or not self._same_kind(head, name, state):
            return None
        real = self.context.path(path)
        try:
            file = ElfFile(real)
        except ElfError as error:
            raise LoadFailure(f"{name}: {error}", kind="damaged", name=name) from None
        self._mappable(file, name)
        self._open[path] = file
        return file

    def _head(self, path: str, name: str, state: _State) -> bytes | None:
        """The first 64 bytes; None, with errno set, when the file cannot be opened."""
        try:
            descriptor = os.open(
                self.context.path(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except OSError as error:
            state.errno = self._absent[path] = error.errno or errno.ENOENT
            return None
        except ValueError:
            state.errno = errno.ENOENT
            return None
        try:
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                raise LoadFailure(f"{name}: a FIFO would be waited for", kind="damaged", name=name)
            return os.read(descriptor, 64)
        except OSError as error:
            text = f"{name}: cannot read file data: {os.strerror(error.errno or errno.EIO)}"
            raise LoadFailure(text, kind="file", name=name) from None
        finally:
            os.close(descriptor)

    def _same_kind(self, head: bytes, name: str, state: _State) -> bool:
        """Whether class, byte order and machine are the loader's. Raises for what it rejects."""

        def fail(text: str) -> LoadFailure:
            return LoadFailure(f"{name}: {text}", kind="file", name=name)

        ours = self.interpreter
        if len(head) < (64 if ours.bits == 64 else 52):
            raise fail("file too short")
        if head[:4] != elf.MAGIC:
            raise fail("invalid ELF header")
        if head[4] != (elf.CLASS64 if ours.bits == 64 else elf.CLASS32):
            state.other_class = True
            state.errno = errno.ENOENT
            return False
        little = ours.order == "<"
        if head[5] != (elf.LITTLE if little else elf.BIG):
            raise fail(f"ELF file data encoding not {'little' if little else 'big'}-endian")
        if head[6] != 1:
            raise fail("ELF file version ident does not match current one")
        if head[7] not in (_OSABI_SYSV, _OSABI_GNU):
            raise fail("ELF file OS ABI invalid")
        if head[8] != 0 and not (head[7] == _OSABI_GNU and head[8] <= 3):
            raise fail("ELF file ABI version invalid")
        if any(head[9:16]):
            raise fail("nonzero padding in e_ident")
        if int.from_bytes(head[20:24], "little" if little else "big") != 1:
            raise fail("ELF file version does not match current one")
        header = elf.parse_header(head)
        if header.machine != ours.machine:
            state.errno = errno.ENOENT
            return False
        if header.type not in (elf.ET_DYN, elf.ET_EXEC):
            raise fail("only ET_DYN and ET_EXEC can be loaded")
        if header.phentsize != (56 if ours.bits == 64 else 32):
            raise fail("ELF file's phentsize not the expected size")
        return True

    def _mappable(self, file: ElfFile, name: str) -> None:
        """The checks that glibc makes when it maps the segments of an object."""

        def fail(text: str) -> LoadFailure:
            file.close()
            return LoadFailure(f"{name}: {text}", kind="file", name=name)

        loads = [segment for segment in file.segments if segment.type == elf.PT_LOAD]
        if any((segment.vaddr - segment.offset) & 0xFFF for segment in loads):
            raise fail("ELF load command address/offset not page-aligned")
        if not loads:
            raise fail("object file has no loadable segments")
        dynamic = file.segment(elf.PT_DYNAMIC)
        if file.header.type == elf.ET_DYN and (dynamic is None or dynamic.filesz == 0):
            raise fail("object file has no dynamic section")


@dataclass
class _State:
    """What a search remembers: the last errno, and a file of the other word size."""

    errno: int = 0
    other_class: bool = False

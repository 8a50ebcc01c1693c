"""What the phases of one command share: options, folders, the engine, the download layer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cuready.env.conda.engine import Engine

# Whatever is imported here stands between the start of cuready and that of the engine, so this
# module brings no more than it must: the rest is imported while the engine starts.
if TYPE_CHECKING:
    from cuready.env.conda.model import Record
    from cuready.mirrors.catalogue import Catalogue
    from cuready.mirrors.net import Fetcher, NetOptions, ProgressEvent
    from cuready.mirrors.net.cache import Cache

__all__ = ["BACKENDS", "CondaOptions", "CondaSession", "PackageStore"]

BACKENDS = ("rattler", "conda", "mamba", "micromamba")


@dataclass(frozen=True)
class CondaOptions:
    """How to work, never what to install.

    Attributes:
        mirrors: asked before all others, in this order: names of the catalogue, or URLs. A URL
            stands for the channel itself when it ends in the channel's name, else for the folder
            that the channels lie in.
        only_mirrors: ask no others.
        offline: use what is in the cache; never the network.
        refresh: renew indexes now.
        index_ttl: seconds for which an index counts as fresh.
        cache_dir: root of the cache; default ``$CUREADY_CACHE_DIR`` or the platform's folder.
        backend: who solves and links: ``rattler``, or an installed conda, mamba or micromamba.
        on_progress: events of downloads (``TerminalProgress`` is one such callable).
        on_step: one line for people: ``linking 3/40 numpy``.
        net: limits of the download layer.
        known_mirrors: the catalogue; default the shipped one and the user's own.
    """

    mirrors: tuple[str, ...] = ()
    only_mirrors: bool = False
    offline: bool = False
    refresh: bool = False
    index_ttl: float = 3600.0
    cache_dir: Path | None = None
    backend: str = "rattler"
    on_progress: Callable[[ProgressEvent], None] | None = None
    on_step: Callable[[str], None] | None = None
    net: NetOptions | None = None
    known_mirrors: Catalogue | None = None


class PackageStore:
    """Extracted packages by the sha256 of their archives, so that channels cannot mix them up."""

    def __init__(self, root: Path) -> None:
        self.root, self._root = root, str(root)

    def folder(self, record: Record) -> Path:
        """Where the package lies, or would: complete whenever it is there."""
        return self.root / record.sha256[:2] / record.sha256

    def has(self, record: Record) -> bool:
        """Whether the package is there, extracted."""
        digest = record.sha256  # asked several times for each package: no Path is made
        return bool(digest) and os.path.isdir(f"{self._root}/{digest[:2]}/{digest}")  # noqa: PTH112


class CondaSession:
    """Use as a context manager: the engine ends and connections close with it."""

    def __init__(self, options: CondaOptions | None = None, engine: Engine | None = None) -> None:
        self.options = options or CondaOptions()
        self.engine = engine or Engine()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> CondaSession:
        if self.options.backend == "rattler" and self.engine.available():
            self.engine.start()  # it imports its packages while we still read recipe and cache
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.engine.close()
        else:
            self.engine.kill()
        self._stack.close()

    @cached_property
    def base(self) -> Path:
        """Root of the cache."""
        base = self.options.cache_dir
        if base is None:
            from cuready.mirrors.net.cache import default_cache_dir

            base = default_cache_dir().parent
        return base.expanduser().absolute()

    @cached_property
    def cache(self) -> Cache:
        """Archives, by digest."""
        from cuready.mirrors.net.cache import Cache

        return Cache(self.base / "downloads")

    @cached_property
    def store(self) -> PackageStore:
        """Extracted packages."""
        return PackageStore(self.base / "conda" / "packages")

    @cached_property
    def fetcher(self) -> Fetcher:
        """The download layer, opened at the first use; offline commands never open it."""
        from cuready.mirrors.net import Fetcher, HttpClient

        client = self._stack.enter_context(HttpClient(self.options.net))
        return Fetcher(client, self.cache, on_progress=self.options.on_progress)

    @cached_property
    def mirrors(self) -> Catalogue:
        """The mirrors there are."""
        from cuready.mirrors import catalogue

        return self.options.known_mirrors or catalogue.load()

    def view_of(self, prefix: Path) -> Path:
        """Where the packages of one environment have their names; see ``link``."""
        return self.base / "conda" / "views" / _key(os.fsencode(prefix), 16)

    def step(self, text: str) -> None:
        """Tell people what is being done."""
        if self.options.on_step is not None:
            self.options.on_step(text)

    def index_folder(self, channel: str, subdir: str) -> Path:
        """Where the index of one part of a channel is kept."""
        return self.base / "conda" / "indexes" / _key(f"{channel}/{subdir}".encode(), 24)


def _key(data: bytes, length: int) -> str:
    """A folder's name for what has no name of its own."""
    import hashlib

    return hashlib.sha256(data).hexdigest()[:length]

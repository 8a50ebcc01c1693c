"""What the phases of one command share: options, folders, the engine, the download layer."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cuready.env.conda.engine import Engine
from cuready.env.conda.model import Record
from cuready.mirrors import catalogue

if TYPE_CHECKING:
    from cuready.mirrors.net import Fetcher, NetOptions, ProgressEvent

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
    known_mirrors: catalogue.Catalogue | None = None


class PackageStore:
    """Extracted packages by the sha256 of their archives, so that channels cannot mix them up."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, record: Record) -> Path:
        """Where the package lies, or would: complete whenever it is there."""
        return self.root / record.sha256[:2] / record.sha256

    def has(self, record: Record) -> bool:
        """Whether the package is there, extracted."""
        return bool(record.sha256) and self.folder(record).is_dir()


class CondaSession:
    """Use as a context manager: the engine ends and connections close with it."""

    def __init__(self, options: CondaOptions | None = None) -> None:
        from cuready.mirrors.net.cache import Cache, default_cache_dir

        self.options = options or CondaOptions()
        base = self.options.cache_dir or default_cache_dir().parent
        self.base = base.expanduser().absolute()
        self.cache = Cache(self.base / "downloads")
        self.index_dir = self.base / "conda" / "indexes"
        self.store = PackageStore(self.base / "conda" / "packages")
        self.view_dir = self.base / "conda" / "views"
        self.engine = Engine()
        self._stack = contextlib.ExitStack()
        self._fetcher: Fetcher | None = None
        self._catalogue: catalogue.Catalogue | None = self.options.known_mirrors

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

    @property
    def fetcher(self) -> Fetcher:
        """The download layer, opened at the first use; offline commands never open it."""
        if self._fetcher is None:
            from cuready.mirrors.net import Fetcher, HttpClient

            client = self._stack.enter_context(HttpClient(self.options.net))
            self._fetcher = Fetcher(client, self.cache, on_progress=self.options.on_progress)
        return self._fetcher

    @property
    def mirrors(self) -> catalogue.Catalogue:
        """The mirrors there are."""
        if self._catalogue is None:
            self._catalogue = catalogue.load()
        return self._catalogue

    def view_of(self, prefix: Path) -> Path:
        """Where the packages of one environment have their names; see ``link``."""
        return self.view_dir / hashlib.sha256(os.fsencode(prefix)).hexdigest()[:16]

    def step(self, text: str) -> None:
        """Tell people what is being done."""
        if self.options.on_step is not None:
            self.options.on_step(text)

    def index_folder(self, channel: str, subdir: str) -> Path:
        """Where the index of one part of a channel is kept."""
        key = hashlib.sha256(f"{channel}/{subdir}".encode()).hexdigest()[:24]
        return self.index_dir / key

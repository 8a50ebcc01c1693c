"""Which indexes are asked, in which order, and what a file's address is whatever mirror has it.

A mirror is transport: a lock holds the addresses of PyPI's and PyTorch's own file hosts, and the
mirrors' are made from those. PyPI's files lie at ``packages/xx/yy/<60 hex digits>/name`` on every
copy of it (the digits are the file's BLAKE2b hash, https://docs.pypi.org/api/index-api/).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cuready.env.pip.model import Pin
from cuready.errors import EnvError
from cuready.mirrors import effective
from cuready.mirrors.catalogue import Mirror, load
from cuready.mirrors.locations import Machine
from cuready.mirrors.net.request import DownloadRequest, FileKind, Source
from cuready.mirrors.urls import redact, split_url

__all__ = ["PYPI", "Way", "canonical", "request_of", "ways"]

PYPI = "https://pypi.org/simple"
PYPI_FILES = "https://files.pythonhosted.org/packages/"
TORCH = "https://download.pytorch.org/whl/"
NO_FILE = Path("/nonexistent/mirrors.toml")

_PYPI_PATH = re.compile(r"/packages/([0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}/[^/?#]+)")
_TORCH_PATH = re.compile(r"/((?:cu\d+|cpu|rocm[\d.]+|xpu)/[^/?#]+)\Z")


@dataclass(frozen=True)
class Way:
    """One way to ask: through which copy of PyPI, and of PyTorch's index where one is needed.

    ``extra``: indexes of the recipe itself, which have no mirrors.
    """

    name: str
    pypi: str
    torch: str = ""
    extra: tuple[str, ...] = field(default=())

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts of the copies."""
        return frozenset(split_url(url).netloc for url in (self.pypi, self.torch) if url)


def ways(
    named: Sequence[str] = (),
    *,
    torch_index: str = "",
    extra: Sequence[str] = (),
    machine: Machine | None = None,
) -> tuple[Way, ...]:
    """The ways in order: mirrors that were ``named``, pip's own configuration, the user's mirrors
    (``mirrors.toml``), PyPI and PyTorch themselves, then the rest of the catalogue.

    A mirror without torch wheels leads to PyTorch's own. Raises InputError for a name that no
    mirror has, EnvError for one that has no PyPI.
    """
    catalogue = load()
    shipped = load(NO_FILE).mirrors
    own = [mirror for mirror in catalogue.mirrors if mirror not in shipped]
    chosen: list[Mirror] = []
    for name in named:
        mirror = catalogue.get(name)
        if mirror.pypi is None:
            raise EnvError(f"the mirror {name} has no PyPI", hint="`cuready mirror list` says who")
        chosen.append(mirror)
    found = [_way(mirror, torch_index) for mirror in chosen]
    found += _configured(torch_index, machine or Machine.current())
    found += [_way(mirror, torch_index) for mirror in own if mirror.pypi]
    found += [_way(m, torch_index) for m in catalogue.mirrors if m.official and m.pypi]
    found += [_way(mirror, torch_index) for mirror in catalogue.mirrors if mirror.pypi]
    unique: dict[tuple[str, str], Way] = {}
    for way in found:
        unique.setdefault((way.pypi, way.torch), way)
    return tuple(Way(way.name, way.pypi, way.torch, tuple(extra)) for way in unique.values())


def _way(mirror: Mirror, torch_index: str) -> Way:
    assert mirror.pypi is not None  # noqa: S101 - asked by every caller
    torch = torch_index
    if torch_index and mirror.torch is not None and mirror.torch.layout == "index":
        torch = mirror.torch.url(torch_index.rstrip("/").rsplit("/", 1)[-1])
    return Way(mirror.name, mirror.pypi.index_url, torch)


def _configured(torch_index: str, machine: Machine) -> list[Way]:
    """The index that pip is set to here, unless it is PyPI."""
    origin = effective.read("pip", machine).values.get("index-url")
    url = str(origin.value).rstrip("/") if origin is not None else ""
    if not url.startswith(("http://", "https://")) or url == PYPI:
        return []
    return [Way("pip's index", url, torch_index)]


def canonical(url: str, way: Way) -> str:
    """The address of a file that ``way`` led to, without the mirror.

    Raises EnvError when the file is on a mirror under a path that PyPI and PyTorch do not have.
    """
    plain = url.partition("#")[0]
    match = _PYPI_PATH.search(plain)
    if match:
        return PYPI_FILES + match[1]
    host = split_url(plain).netloc
    official = {split_url(PYPI).netloc, split_url(TORCH).netloc}
    if host not in way.hosts or host in official:
        return plain
    match = _TORCH_PATH.search(split_url(plain).path)
    if match and way.torch and plain.startswith(way.torch.rsplit("/", 1)[0]):
        return TORCH + match[1]
    raise EnvError(
        f"{way.name} serves {redact(plain)}, an address that PyPI does not have: "
        "it cannot stand in a lock",
        hint="use another mirror: `cuready mirror test --for pypi`",
    )


def request_of(pin: Pin, every: Sequence[Way]) -> DownloadRequest:
    """How to fetch ``pin``: each way's own address of the file, in the order of the ways."""
    sources: dict[str, Source] = {}
    for way in every:
        url = _address(pin.url, way)
        if url:
            sources.setdefault(url, Source(url, way.name))
    if not sources:  # a file of the recipe's own index, or one that no mirror copies
        sources[pin.url] = Source(pin.url)
    return DownloadRequest(
        tuple(sources.values()),
        sha256=pin.sha256,
        size=pin.size,
        kind=FileKind.WHEEL if pin.is_wheel else FileKind.SDIST,
        canonical_url=pin.url,
        name=pin.file_name,
    )


def _address(url: str, way: Way) -> str:
    if url.startswith(PYPI_FILES):
        if way.pypi == PYPI:
            return url
        return f"{way.pypi.removesuffix('/simple')}/packages/{url.removeprefix(PYPI_FILES)}"
    match = _TORCH_PATH.search(split_url(url).path)
    if url.startswith(TORCH) and match and way.torch:
        return f"{way.torch.rsplit('/', 1)[0]}/{match[1]}"
    return ""

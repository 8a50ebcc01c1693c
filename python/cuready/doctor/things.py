"""Names for what findings are about: copies of packages, files, GPUs, variables.

One id can fire for several things that have nothing to do with each other: two pairs of wheels that
overwrite each other, two GPUs of which one is too old. A root cause takes a symptom away only where
it reaches the thing in question (``Finding.about`` and ``Finding.reach``), so both sides have to
call it the same. Nobody reads these names.
"""

from __future__ import annotations

from collections.abc import Iterable

from cuready._util import normalize
from cuready.doctor import facts
from cuready.snapshot import Distribution, LibraryFile, PciGpu, RecordProblem, Snapshot

__all__ = ["DRIVER", "copies", "copy", "each", "files", "gpu", "gpus", "owner", "within"]

DRIVER = "driver"
"""What a finding is about that names a package, but would be gone with a newer driver too."""

Things = frozenset[str]


def copy(item: Distribution) -> str:
    """One copy of a package: the same name in another site-packages is another thing."""
    return f"{item.location}/{normalize(item.name)}"


def copies(snapshot: Snapshot, *names: str) -> Things:
    """Every copy of the packages ``names``."""
    wanted = {normalize(name) for name in names}
    return frozenset(copy(item) for name, item in facts.distributions(snapshot) if name in wanted)


def within(snapshot: Snapshot, folder: str) -> Things:
    """Every copy of a package whose files lie in ``folder`` itself, an entry of ``sys.path``."""
    wanted = _plain(folder)
    found = (item for _, item in facts.distributions(snapshot) if _plain(item.location) == wanted)
    return frozenset(map(copy, found))


def _plain(folder: str) -> str:
    return folder.replace("\\", "/").rstrip("/")


def owner(snapshot: Snapshot, library: LibraryFile) -> Things:
    """A library and the copy of the package that it belongs to."""
    name = library.owner.partition(" ")[0]
    found = (
        copy(item)
        for item in facts.installed(snapshot, name)
        if library.path.startswith(f"{item.location}/")
    )
    return frozenset((library.path, *(found if name else ())))


def files(item: Distribution, problems: Iterable[RecordProblem]) -> Things:
    """Files of a distribution; by the bare name too when the loader will not find them."""
    found = set()
    for problem in problems:
        found.add(f"{item.location}/{problem.path}")
        if problem.kind in ("missing", "altered"):
            found.add(problem.path.rpartition("/")[2])
    return frozenset(found)


def gpu(address: str) -> str:
    """A GPU by its PCI address: NVML writes eight digits of the domain, sysfs four."""
    return f"GPU {address.lower().lstrip('0')}"


def gpus(snapshot: Snapshot, found: Iterable[PciGpu]) -> Things:
    """What these GPUs reach: themselves, or the whole machine (empty) when it has no others."""
    hit = frozenset(gpu(item.address) for item in found)
    everyone = {gpu(item.address) for item in snapshot.gpus}
    return frozenset() if everyone <= hit else hit


def each(names: Iterable[str], *more: Iterable[str]) -> tuple[Things, ...]:
    """One thing for each of ``names``; each of them may also come from any of ``more``."""
    others = frozenset().union(*more)
    return tuple(frozenset((name,)) | others for name in names)

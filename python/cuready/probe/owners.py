"""Which package a file belongs to: a wheel (RECORD), a conda package, or the system's own."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from functools import cached_property

from cuready.probe import records
from cuready.probe.context import Context
from cuready.probe.records import RECORD_LIMIT
from cuready.snapshot import Distribution

__all__ = ["Owners"]

_CONDA_LIMIT = 32 << 20
_DPKG = "/var/lib/dpkg/info"


class Owners:
    """Looks paths up in the lists that installers keep; each list is read at most once."""

    def __init__(self, context: Context, *, system: bool = False) -> None:
        self.context = context
        self.system = system
        self._records: dict[str, bytes] = {}
        self._conda: list[tuple[str, bytes]] | None = None
        self._dpkg: list[tuple[str, bytes]] | None = None
        self._known: dict[str, str] = {}

    def of(self, path: str) -> str:
        """``name version`` of the package that owns ``path``, ``""`` when no list has it."""
        if path not in self._known:
            self._known[path] = self._find(posixpath.normpath(path))
        return self._known[path]

    def distribution(self, path: str) -> Distribution | None:
        """The wheel that owns ``path``: one of a framework's, before any other that has it too."""
        path = posixpath.normpath(path)
        known = self._libraries.get(path)
        if known is not None:
            return known
        for item in self.context.so_far.python.distributions:
            if item.record_present and path.startswith(item.location + "/"):
                relative = path[len(item.location) + 1 :].encode()
                record = self._record(item)
                if record.startswith(relative + b",") or b"\n" + relative + b"," in record:
                    return item
        return None

    @cached_property
    def _libraries(self) -> dict[str, Distribution]:
        """The shared libraries of the frameworks' wheels, of which most questions are."""
        found: dict[str, Distribution] = {}
        for item in filter(records.checked, self.context.so_far.python.distributions):
            try:
                entries = records.payload(self.context, item)
            except (OSError, records.RecordError):
                continue
            for entry in entries:
                path = f"{item.location}/{entry.path}"
                found.setdefault(posixpath.normpath(path) if "/." in path else path, item)
        return found

    def _find(self, path: str) -> str:
        owner = self.distribution(path)
        if owner is not None:
            return f"{owner.name} {owner.version}"
        real = self.context.realpath(path)
        return next((name for name in self._others(path, real) if name), "")

    def _others(self, path: str, real: str) -> Iterator[str]:
        prefix = self.context.so_far.python.prefix
        if prefix and path.startswith(prefix + "/"):
            yield self._of_conda(path[len(prefix) + 1 :])
        if self.system:
            for candidate in dict.fromkeys((path, real, *_merged(path), *_merged(real))):
                yield self._of_dpkg(candidate)

    def _record(self, item: Distribution) -> bytes:
        data = self._records.get(item.metadata_path)
        if data is None:
            try:
                data = self.context.read_bytes(f"{item.metadata_path}/RECORD", RECORD_LIMIT) or b""
            except OSError:
                data = b""
            self._records[item.metadata_path] = data
        return data

    def _of_conda(self, relative: str) -> str:
        if self._conda is None:
            prefix = self.context.so_far.python.prefix
            self._conda = list(self._files(f"{prefix}/conda-meta", ".json", _CONDA_LIMIT))
        needle = f'"{relative}"'.encode()
        return next((name for name, data in self._conda if needle in data), "")

    def _of_dpkg(self, path: str) -> str:
        if self._dpkg is None:
            self._dpkg = list(self._files(_DPKG, ".list", RECORD_LIMIT))
        needle = f"\n{path}\n".encode()
        name = next((name for name, data in self._dpkg if needle in data), "")
        return f"{name} (apt)" if name else ""

    def _files(self, folder: str, ending: str, limit: int) -> Iterator[tuple[str, bytes]]:
        try:
            names = self.context.listdir(folder)
        except OSError:
            return
        for name in names:
            if not name.endswith(ending):
                continue
            try:
                data = self.context.read_bytes(f"{folder}/{name}", limit)
            except OSError:
                continue
            if data:
                yield name[: -len(ending)], data


def _merged(path: str) -> tuple[str, ...]:
    """The other name of a file where ``/lib`` is a link to ``/usr/lib``."""
    if path.startswith("/usr/"):
        return (path[len("/usr") :],)
    return (f"/usr{path}",) if path.startswith(("/lib", "/bin", "/sbin")) else ()

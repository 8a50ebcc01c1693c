"""Does an environment still hold what was put there? Every file against its digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuready._util import parse_json
from cuready.env.pip import records
from cuready.env.pip.lock import loads
from cuready.env.prefix import State, require_python
from cuready.mirrors.net.cache import hash_file

__all__ = ["Damage", "damage"]


@dataclass(frozen=True)
class Damage:
    """One package that is not as it was installed.

    Attributes:
        kind: ``pip`` or ``conda``.
        what: ``gone``, ``version`` (another one is there), ``files``.
        files: the files that are missing or differ, relative; empty for ``gone``.
    """

    name: str
    kind: str
    what: str
    detail: str = ""
    files: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For JSON output."""
        return {
            "name": self.name,
            "kind": self.kind,
            "what": self.what,
            "detail": self.detail,
            "files": list(self.files),
        }


def damage(prefix: Path, state: State) -> list[Damage]:
    """Every package of the locks that is gone, was replaced, or has other bytes. Reads it all.

    Raises EnvError for a venv whose Python is gone: no package brings it back.
    """
    if state.kind == "venv":
        require_python(prefix)
    return [*_pip(prefix, state), *_conda(prefix)]


def _pip(prefix: Path, state: State) -> Iterator[Damage]:
    if not state.pip_lock:
        return
    there = records.installed(prefix)
    for pin in loads(state.pip_lock, f"the lock of {state.name}").pins:
        found = there.get(pin.name)
        if found is None:
            yield Damage(pin.name, "pip", "gone", f"{pin.version} was installed")
        elif found.version != pin.version:
            yield Damage(pin.name, "pip", "version", f"{found.version} instead of {pin.version}")
        else:
            drift = records.check(found)
            files = (*drift.missing, *drift.changed)
            if files or records.record_digest(found) != state.records.get(pin.name):
                detail = f"{len(drift.missing)} missing, {len(drift.changed)} changed"
                yield Damage(pin.name, "pip", "files", detail, files)


def _conda(prefix: Path) -> Iterator[Damage]:
    """Packages whose files differ from what ``conda-meta`` says (``paths_data``)."""
    for path in sorted((prefix / "conda-meta").glob("*.json")):
        try:
            raw = parse_json(path.read_bytes())
            name = str(raw["name"])
            entries = raw.get("paths_data", {}).get("paths", ())
            bad = [str(entry["_path"]) for entry in entries if not _whole(prefix, entry)]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            yield Damage(path.stem.rsplit("-", 2)[0], "conda", "files", f"{path.name} is damaged")
            continue
        if bad:
            yield Damage(name, "conda", "files", f"{len(bad)} missing or changed", tuple(bad))


def _whole(prefix: Path, entry: dict[str, Any]) -> bool:
    file = prefix / str(entry["_path"])
    if str(entry["_path"]).endswith(".pyc"):
        return True  # compiled anew by whoever imports it
    if file.is_symlink():
        return True
    if not file.is_file():
        return entry.get("path_type") == "directory" and file.is_dir()
    wanted = entry.get("sha256_in_prefix") or entry.get("sha256")
    if not wanted or (entry.get("prefix_placeholder") and not entry.get("sha256_in_prefix")):
        return True
    return hash_file(file) == str(wanted)

"""Locks of the pip phase: PEP 751 ``pylock.toml`` with one file a package and its sha256.

The file is what other tools read too (seen with ``uv pip sync`` of uv 0.13 and ``pip install -r``
of pip 26.3). What only cuready asks stands under ``[tool.cuready]``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cuready import __version__
from cuready._util import one_line, parse_toml, read_at_most
from cuready.env.pip.model import Pin, PipLock
from cuready.errors import EnvError, InputError

__all__ = ["dumps", "loads", "lock_name", "read_lock"]

MAX_BYTES = 16 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")

# platform_tag → (sys_platform, platform_machine) of the environment marker
_MARKERS = {
    "linux_x86_64": ("linux", "x86_64"),
    "linux_aarch64": ("linux", "aarch64"),
    "win_amd64": ("win32", "AMD64"),
    "macosx_x86_64": ("darwin", "x86_64"),
    "macosx_arm64": ("darwin", "arm64"),
}


def lock_name(name: str) -> str:
    """``pylock.NAME.toml``; PEP 751 allows no dot in the name."""
    return f"pylock.{name.replace('.', '-')}.toml"


def dumps(lock: PipLock) -> str:
    """The lock as TOML, in an order that depends on its content alone."""
    import tomlkit

    document = tomlkit.document()
    document.add("lock-version", "1.0")
    system, machine = _MARKERS[lock.platform_tag]
    marker = f"sys_platform == '{system}' and platform_machine == '{machine}'"
    document.add("environments", [f"{marker} and python_version == '{lock.python}'"])
    document.add("requires-python", f"=={lock.python}.*")
    document.add("created-by", "cuready")
    packages = tomlkit.aot()
    for pin in sorted(lock.pins, key=lambda item: item.name):
        packages.append(_package(pin))
    document.add("packages", packages)
    ours = tomlkit.table()
    ours.add("version", __version__)
    ours.add("recipe", lock.recipe)
    ours.add("requirements", list(lock.requirements))
    ours.add("platform", lock.platform_tag)
    if lock.torch_index:
        ours.add("torch-index", lock.torch_index)
    document.add("tool", {"cuready": ours})
    return tomlkit.dumps(document)


def _package(pin: Pin) -> Any:
    import tomlkit

    if not pin.sha256:
        raise EnvError(f"{pin.file_name}: no sha256 is known, so it cannot be locked")
    file = tomlkit.inline_table()
    file.update({"name": pin.file_name, "url": pin.url})
    if pin.size is not None:
        file.update({"size": pin.size})
    file.update({"hashes": {"sha256": pin.sha256}})
    table = tomlkit.table()
    table.add("name", pin.name)
    table.add("version", pin.version)
    if pin.is_wheel:
        files = tomlkit.array()
        files.append(file)
        table.add("wheels", files)
    else:
        table.add("sdist", file)
    return table


def read_lock(path: Path) -> PipLock:
    """Read a lock of one platform. Raises InputError naming the file and what is wrong."""
    try:
        data = read_at_most(path, MAX_BYTES)
        if data is None:
            raise InputError(f"{path}: too large for a lock (over 16 MiB)")
        return loads(data.decode(), str(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from None


def loads(text: str, path: str = "the lock") -> PipLock:
    """A lock from TOML text; ``path`` is how errors name it."""
    try:
        document = parse_toml(text)
    except ValueError as error:
        raise InputError(f"{path}: not TOML: {one_line(error)}") from None
    try:
        if str(document["lock-version"]).split(".")[0] != "1":
            raise InputError(f"{path}: lock-version {document['lock-version']} is not known")
        ours = document["tool"]["cuready"]
        return PipLock(
            pins=tuple(_pin(table) for table in document.get("packages", ())),
            python=str(document["requires-python"]).removeprefix("==").removesuffix(".*"),
            platform_tag=str(ours["platform"]),
            recipe=str(ours["recipe"]),
            requirements=tuple(str(item) for item in ours["requirements"]),
            torch_index=str(ours.get("torch-index", "")),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else one_line(error)
        raise InputError(
            f"{path}: not a lock of cuready: {reason}",
            hint="make it again with `cuready env lock`",
        ) from None


def _pin(table: Mapping[str, Any]) -> Pin:
    file = next(iter(table.get("wheels") or [table["sdist"]]))
    sha256 = str(file["hashes"]["sha256"]).lower()
    if not _SHA256.match(sha256):
        raise ValueError(f"{table['name']}: {sha256!r} is not a sha256")
    url = str(file["url"])
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{table['name']}: {url!r} is not an address")
    size = file.get("size")
    if size is not None and (not isinstance(size, int) or size < 0):
        raise ValueError(f"{table['name']}: {size!r} is not a size")
    return Pin(str(table["name"]), str(table["version"]), url, sha256, size)

"""What the engine can do. Runs in the child only: the one module that imports py-rattler."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import rattler
from rattler import package_streaming
from rattler.exceptions import SolverError
from rattler.networking import MirrorMiddleware, RetryMiddleware

from cuready._util import one_line
from cuready.env.conda.faults import armed, kill_point

__all__ = ["OPERATIONS", "TELLING", "describe", "get_ready"]

# What this process has solved, by address: as JSON, and as rattler has it.
_solved: dict[str, tuple[dict[str, Any], Any]] = {}

Tell = Callable[[dict[str, Any]], None]
EXTRACT_THREADS = 4
TELL_EVERY_S = 0.05  # a line for each package would wake the other process as often
CHUNK = 1 << 20
# conda-forge's largest index is a few hundred MB; a few KB of zstd can stand for any length.
INDEX_LIMIT = 4 << 30


class EngineError(Exception):
    """Something with a name for the other side: ``kind`` chooses the error class there."""

    def __init__(self, kind: str, message: str, lines: Sequence[str] = (), hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.message, self.lines, self.hint = kind, message, list(lines), hint


def describe(error: BaseException) -> dict[str, Any]:
    """Any exception as the other side wants it."""
    if isinstance(error, EngineError):
        return {
            "kind": error.kind,
            "message": error.message,
            "lines": error.lines,
            "hint": error.hint,
        }
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return {"kind": "disk", "message": f"{where}{error.strerror or error}"}
    if type(error).__module__.startswith(("rattler", "exceptions")):
        first, *rest = str(error).splitlines() or [type(error).__name__]
        return {"kind": "link", "message": one_line(first), "lines": rest}
    message = f"{type(error).__name__}: {one_line(error)}"
    return {"kind": "engine", "message": f"the package engine failed: {message}"}


# --- indexes -----------------------------------------------------------------------------------


async def unpack_index(*, source: str, target: str) -> dict[str, Any]:
    """Decompress a fetched ``repodata.json[.zst|.bz2]`` and see that it is whole.

    A mirror that was cut off while it synced serves half an index with an honest length.
    """
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".index-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as out, Path(source).open("rb") as raw:
            _decompress(raw, out)
        _check_index(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return {"size": path.stat().st_size}


def _decompress(raw: Any, out: Any) -> None:
    import bz2

    import zstandard

    head = raw.read(4)
    raw.seek(0)
    try:
        if head == b"\x28\xb5\x2f\xfd":
            whole = zstandard.ZstdDecompressor(max_window_size=2**31)
            stream = whole.stream_reader(raw)
            _copy(stream, out)
            return
        if head[:3] == b"BZh":
            with bz2.BZ2File(raw) as plain:
                _copy(plain, out)
            return
    except (zstandard.ZstdError, EOFError, OSError) as error:
        raise EngineError("content", f"cannot be decompressed: {one_line(error)}") from None
    _copy(raw, out)


def _copy(source: Any, out: Any) -> None:
    """Everything in ``source``, unless it is no index at that length."""
    written = 0
    while data := source.read(CHUNK):
        written += len(data)
        if written > INDEX_LIMIT:
            raise EngineError("content", f"an index of more than {INDEX_LIMIT >> 30} GiB")
        out.write(data)


def _check_index(path: Path) -> None:
    """An object from brace to brace, that rattler can find the packages in."""
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 64))
        tail = stream.read().rstrip()
    if not tail.endswith(b"}"):
        raise EngineError("content", "the index is cut short: it does not end in a brace")
    sparse = None
    try:
        sparse = rattler.SparseRepoData(_channel("https://example.invalid/check"), "noarch", path)
        sparse.package_names()
    except Exception as error:
        raise EngineError("content", f"not an index: {one_line(error)}") from None
    finally:
        if sparse is not None:
            sparse.close()


def _channel(url: str) -> rattler.Channel:
    return rattler.Channel(url)


def _match_specs(texts: Sequence[str]) -> list[rattler.MatchSpec]:
    specs = []
    for text in texts:
        try:
            specs.append(rattler.MatchSpec(text))
        except Exception as error:
            raise EngineError("input", f"not a conda spec: {text!r}: {one_line(error)}") from None
    return specs


# --- solving -----------------------------------------------------------------------------------


async def solve(
    *,
    indexes: list[list[str]],
    specs: list[str],
    constraints: list[str],
    virtual: dict[str, str],
    subdir: str,
    locked: list[dict[str, Any]],
    pinned: list[str],
) -> list[dict[str, Any]]:
    """Records in the order in which they can be linked. ``indexes``: channel, subdir, file."""
    with ThreadPoolExecutor(len(indexes) or 1) as pool:  # rattler reads without the interpreter
        sources = list(pool.map(_open_index, indexes))
    kept = _records(locked)
    packages = [
        rattler.GenericVirtualPackage(
            rattler.PackageName(name), rattler.Version(version), rattler.BuildString("0")
        )
        for name, version in virtual.items()
    ]
    try:
        found = await rattler.solve(
            sources=sources,
            specs=_match_specs(specs),
            constraints=_match_specs(constraints),
            platforms=[rattler.Subdir(subdir), rattler.Subdir("noarch")],
            virtual_packages=packages,
            locked_packages=kept,
            pinned_packages=[record for record in kept if record.name.normalized in pinned],
        )
    except SolverError as error:
        raise _unsolvable(error, sources) from None
    ordered = _sorted(found)
    answer = [_json(record) for record in ordered]
    for item, record in zip(answer, ordered, strict=True):
        _solved[item["url"]] = (item, record)
    return answer


def _open_index(index: Sequence[str]) -> Any:
    channel, part, path = index
    return rattler.SparseRepoData(_channel(channel), part, Path(path))


def _sorted(records: Sequence[Any]) -> list[Any]:
    """What a package needs comes before it."""
    return list(rattler.PackageRecord.sort_topologically(list(records)))


def _json(record: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(record.to_json())
    return document


def _unsolvable(error: SolverError, sources: Sequence[Any]) -> EngineError:
    """The solver's own tree of reasons, and names that were perhaps meant."""
    import difflib

    text = str(error)
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    hint = ""
    for name in re.findall(r"No candidates were found for ([A-Za-z0-9._-]+)", text):
        known = {known for source in sources for known in source.package_names()}
        if name in known or name.startswith("__"):
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        hint = f"no package is called {name} in these channels" + (
            f"; did you mean {close[0]}?" if close else "; perhaps it is on PyPI only"
        )
    first = lines[0].removeprefix("Cannot solve the request because of: ") if lines else text
    return EngineError("solve", first, lines[1:], hint)


def _records(raw: Sequence[dict[str, Any]]) -> list[Any]:
    """Typed records from their JSON, by way of a small index: rattler parses no single record."""
    known = [_solved.get(item["url"], ({}, None)) for item in raw]
    if all(
        item == one and item.get("arch") is None and item.get("platform") is None
        for item, (one, _) in zip(raw, known, strict=True)
    ):
        return [record for _, record in known]
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for item in raw:
        channel, subdir, name = item["url"].rsplit("/", 2)
        # A lock gives them back where the index had none: conda-meta must not depend on it.
        plain = {key: value for key, value in item.items() if key not in ("arch", "platform")}
        groups.setdefault((channel, subdir), {})[name] = plain
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, ((channel, subdir), items) in enumerate(groups.items()):
            path = Path(folder) / f"{number}.json"
            index: dict[str, Any] = {"info": {"subdir": subdir}, "packages": {}}
            index["packages.conda"] = {}
            for name, item in items.items():
                key = "packages.conda" if name.endswith(".conda") else "packages"
                index[key][name] = item
            path.write_text(json.dumps(index), encoding="utf-8")
            sparse = rattler.SparseRepoData(_channel(channel), subdir, path)
            both = rattler.PackageFormatSelection.BOTH
            found += sparse.load_all_records(both)
            sparse.close()
    order = {item["url"]: number for number, item in enumerate(raw)}
    return sorted(found, key=lambda record: order[record.url])


# --- packages ----------------------------------------------------------------------------------


async def extract(*, packages: list[dict[str, str]], tell: Tell) -> None:
    """Extract archives into the content-keyed store. ``packages``: archive, sha256, target."""
    with ThreadPoolExecutor(EXTRACT_THREADS) as pool:
        for done, _ in enumerate(pool.map(_extract_one, packages), 1):
            tell({"extracted": done, "of": len(packages)})


def _extract_one(package: dict[str, str]) -> None:
    from filelock import FileLock

    target = Path(package["target"])
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock")):
        temporary = target.with_name(target.name + ".part")
        if target.is_dir() and package.get("again") != "yes":
            return
        if temporary.exists():  # we hold the lock: whoever made it is dead
            shutil.rmtree(temporary)
        kill_point("extract-begun", engine=True)
        named = _with_its_ending(Path(package["archive"]), target, package["name"])
        try:
            sha256, _ = package_streaming.extract(named, temporary)
        except Exception as error:
            raise EngineError("content", f"{package['name']}: {one_line(error)}") from None
        finally:
            named.unlink(missing_ok=True)
        if sha256.hex() != package["sha256"]:
            raise EngineError(
                "content", f"{package['name']}: the cached archive has changed; run it again"
            )
        kill_point("extracted", engine=True)
        if target.is_dir():
            shutil.rmtree(target)
        temporary.replace(target)
        kill_point("extract-published", engine=True)


def _with_its_ending(archive: Path, target: Path, name: str) -> Path:
    """rattler tells the two formats apart by the name; in the cache a file is only its digest."""
    named = target.with_name(target.name + (".conda" if name.endswith(".conda") else ".tar.bz2"))
    named.unlink(missing_ok=True)
    named.symlink_to(archive)
    return named


class _Reporter:
    """Counts linked packages for the progress of the other side. Called from rattler's threads."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done, self._names = tell, total, 0, [""]
        self._told = 0.0

    def on_link_start(self, operation: int, package_name: str) -> int:
        self._names.append(package_name)
        return len(self._names) - 1

    def on_link_complete(self, index: int) -> None:
        self._done += 1
        now = time.monotonic()
        if now - self._told >= TELL_EVERY_S or self._done == self._total:
            self._told = now
            self._tell({"linked": self._done, "of": self._total, "name": self._names[index]})
        kill_point("package-linked", engine=True)

    def __getattr__(self, name: str) -> Callable[..., int]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: 0


@cache
def _to_nowhere(channels: tuple[str, ...]) -> rattler.Client:
    nowhere = {channel: ["http://127.0.0.1:9/"] for channel in channels}
    return rattler.Client([RetryMiddleware(0), MirrorMiddleware(nowhere)], timeout=1)


def get_ready(operation: str, args: dict[str, Any]) -> None:
    """Make what the next operation will want, while the other side works out its plan."""
    if operation == "solve":
        with contextlib.suppress(Exception):  # it is told when it is wanted
            _to_nowhere(tuple(sorted({channel for channel, _, _ in args["indexes"]})))


async def link(
    *,
    records: list[dict[str, Any]],
    staging: str,
    prefix: str,
    cache: str,
    subdir: str,
    specs: list[str],
    to_link: int,
    watched: bool,
    tell: Tell,
) -> None:
    """Link extracted packages into ``staging``, with ``prefix`` written into scripts.

    Progress is told only when it is ``watched``: every event stops rattler's threads for us. The
    client cannot reach anything: a package that is missing is an error, never a download.
    """
    client = _to_nowhere(tuple(sorted({record["url"].rsplit("/", 2)[0] for record in records})))
    kill_point("link-begun", engine=True)
    wanted = [spec._match_spec for spec in _match_specs(specs)]
    await rattler.install(
        _records(records),
        staging,
        cache_dir=Path(cache),
        client=client,
        show_progress=False,
        platform=rattler.Subdir(subdir),
        requested_specs=wanted,
        reporter=_Reporter(tell, to_link) if watched or armed() else None,  # type: ignore[arg-type]
        alternative_target_prefix=prefix,
        execute_link_scripts=False,
    )
    kill_point("link-done", engine=True)


# --- locks -------------------------------------------------------------------------------------


async def write_lock(
    *,
    path: str,
    channels: list[str],
    subdir: str,
    virtual: dict[str, str],
    records: list[dict[str, Any]],
) -> None:
    """A lock file in rattler's format, one environment ``default`` for one platform."""
    names = [f"{name}={version}" for name, version in sorted(virtual.items())]
    platform = rattler.LockPlatform(subdir, virtual_packages=names)
    lock = rattler.LockFile([platform])
    lock.set_channels("default", [rattler.LockChannel(channel) for channel in channels])
    for record in _records(records):
        lock.add_conda_package("default", platform, record)
    lock.to_path(Path(path))


async def read_lock(*, path: str) -> dict[str, Any]:
    """Platforms, channels and records of a lock file, whoever wrote it."""
    try:
        lock = rattler.LockFile.from_path(Path(path))
        environment = lock.environment("default")  # default_environment() wraps even none
    except BaseException as error:
        # Some text makes rattler panic, a name such as "numpy." does: pyo3 makes that no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise EngineError("input", f"{path}: not a lock file: {one_line(error)}") from None
    if environment is None:
        raise EngineError("input", f"{path}: has no environment called default")
    found: dict[str, Any] = {"channels": [], "platforms": {}}
    found["channels"] = [str(channel).rstrip("/") for channel in environment.channels()]
    for platform in environment.platforms():
        records = environment.conda_repodata_records_for_platform(platform) or []
        found["platforms"][str(platform.subdir)] = {
            "virtual": dict(item.partition("=")[::2] for item in platform.virtual_packages),
            "records": [_json(record) for record in _sorted(records)],
        }
    return found


async def unmet(*, demands: list[list[str]], virtual: dict[str, str]) -> list[str]:
    """Which demands on virtual packages a machine does not meet, one readable line each.

    ``demands``: package, match spec, and ``depends`` or ``constrains``; a constraint binds only
    what is there.
    """
    there = {
        name: rattler.PackageRecord(name, version, rattler.BuildString("0"), 0, "noarch")
        for name, version in virtual.items()
    }
    lines = []
    for package, text, kind in demands:
        name = text.split()[0]
        record = there.get(re.split(r"[<>=!~ ]", name, maxsplit=1)[0])
        if record is None and kind == "depends":
            lines.append(f"{package} needs {text}, which is not there")
        elif record is not None and not rattler.MatchSpec(text).matches(record):
            lines.append(f"{package} needs {text}, and it is {record.version}")
    return lines


# Those that say how far they are while they work.
TELLING = frozenset({"extract", "link"})

OPERATIONS: dict[str, Callable[..., Any]] = {
    "unpack_index": unpack_index,
    "solve": solve,
    "extract": extract,
    "link": link,
    "write_lock": write_lock,
    "read_lock": read_lock,
    "unmet": unmet,
}

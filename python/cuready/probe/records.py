"""RECORD against the disk: payload that is missing, altered, or claimed by two distributions.

Wheels for different CUDA majors own the same paths (``nvidia-cudnn-cu12`` and ``-cu13`` both bring
``nvidia/cudnn/lib/libcudnn.so.9``), and so do opencv's, onnxruntime's and CuPy's variants: the one
installed last wins, and removing either takes the other's file along. Only shared libraries are
looked at, by size; contents are hashed when sizes cannot tell two owners apart, or with ``--deep``.
A RECORD may leave out hashes and sizes (other installers' do); then that two projects claim one
path is itself the sign, and the times of the files say who came last.
Format: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from cuready._util import READ_LIMIT, normalize
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.snapshot import Distribution, RecordProblem

__all__ = ["Entry", "RecordError", "checked", "parse_payload", "payload", "read"]

RECORD_LIMIT = 16 << 20  # torch's is 1.5 MB
MODULES = frozenset({"torch", "torchvision", "torchaudio", "triton", "tensorflow", "jax", "jaxlib"})
"""Distributions whose module has their own name, and whose ``__init__.py`` is compared too."""
HASH_LIMIT = READ_LIMIT  # bytes that a default run may hash to tell the owners of a file apart
_CHECKED = re.compile(
    r"^(?:torch|triton|nvidia|cuda|cupy|jax|tensorflow|onnxruntime|ort[-_]|tensorrt|opencv|vllm"
    r"|flash|xformers|bitsandbytes|faiss|numpy$|cudf|rmm|cuml|deepspeed|libcu|librmm)",
    re.IGNORECASE,
)
# From the end of the path on: most lines of a RECORD end otherwise, and cost nothing this way.
_PAYLOAD = re.compile(
    rb"\.(?:so|pyd|dll)(?:\.[0-9.]+)?,([^,\r\n]*),([0-9]{0,19})\r?$", re.MULTILINE
)
_NOT_PLAIN = re.compile(rb'[,"\r]')
_SIZE = re.compile(r"[0-9]{1,19}")
_QUOTED = re.compile(rb'^"[^\r\n]*$', re.MULTILINE)


class RecordError(ValueError):
    """A RECORD that is not CSV."""


@dataclass(frozen=True)
class Entry:
    """One line: path as written, ``sha256=…`` (empty when not given), size in bytes or None."""

    path: str
    digest: str
    size: int | None


def parse_payload(data: bytes) -> list[Entry]:
    """The shared libraries that a RECORD lists. Raises :class:`RecordError`."""
    rows = []
    for found in _PAYLOAD.finditer(data):
        path = data[data.rfind(b"\n", 0, found.start()) + 1 : found.start(1) - 1]
        if not _NOT_PLAIN.search(path):
            rows.append((path.decode("utf-8", "replace"), found[1].decode("ascii", "replace"),
                         found[2]))  # fmt: skip
    if data.startswith(b'"') or b'\n"' in data:
        rows.extend(_quoted(b"\n".join(_QUOTED.findall(data))))
    return [Entry(path, digest, int(size) if size else None) for path, digest, size in rows]


@dataclass(frozen=True)
class _Listed:
    """What a RECORD lists: the shared libraries, and ``torch/__init__.py`` of torch."""

    libraries: list[Entry]
    package: Entry | None


def _listed(context: Context, item: Distribution) -> _Listed:
    """Three readers ask for torch's RECORD, which is over a megabyte: it is parsed once."""
    key = f"{item.metadata_path}/RECORD"
    found: _Listed | None = context.memory.get(key)
    if found is None:
        data = context.read_bytes(key, RECORD_LIMIT) or b""
        package = f"{normalize(item.name).replace('-', '_')}/__init__.py"
        found = context.memory[key] = _Listed(parse_payload(data), _line_of(data, package))
    return found


def _line_of(data: bytes, path: str) -> Entry | None:
    """The entry of one plain path that has a size."""
    start = (b"\n" + data).find(b"\n%s," % path.encode())
    if start < 0:
        return None
    fields = data[start:].split(b"\n", 1)[0].rstrip(b"\r").split(b",")
    if len(fields) != 3 or not re.fullmatch(rb"[0-9]{1,19}", fields[2]):
        return None
    return Entry(path, fields[1].decode("ascii", "replace"), int(fields[2]))


def payload(context: Context, item: Distribution) -> list[Entry]:
    """The shared libraries of a distribution. Raises OSError and :class:`RecordError`."""
    return _listed(context, item).libraries


def checked(item: Distribution) -> bool:
    """Whether a default run compares the distribution's libraries with its RECORD."""
    return bool(item.record_present and _CHECKED.match(item.name))


def _quoted(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Lines whose path holds a comma or a quote."""
    import csv
    import io

    try:
        for row in csv.reader(io.StringIO(data.decode("utf-8", "replace"))):
            if len(row) == 3 and re.search(r"\.(?:so|pyd|dll)(?:\.[0-9.]+)?$", row[0]):
                yield row[0], row[1], row[2].encode() if _SIZE.fullmatch(row[2]) else b""
    except csv.Error as error:
        raise RecordError(str(error)) from None


def read(context: Context) -> Facts:
    """The distributions once more, each with what is wrong with its files."""
    distributions = context.so_far.python.distributions
    if not distributions:
        raise Skip("no distributions to compare with their files")
    owners: dict[str, list[tuple[Distribution, Entry]]] = {}
    failed: list[str] = []
    for item in distributions:
        if checked(item):
            try:
                for entry in payload(context, item):
                    path = f"{item.location}/{entry.path}"
                    owners.setdefault(path, []).append((item, entry))
            except (OSError, RecordError) as error:
                failed.append(f"{item.metadata_path}/RECORD: {error}")
    problems: dict[str, list[RecordProblem]] = {}
    for item in distributions:
        changed = _changed_package(context, item) if item.name in MODULES else None
        if changed is not None:
            problems.setdefault(item.metadata_path, []).append(changed)
    for path, claims in owners.items():
        for item, problem in _compare(context, path, claims):
            problems.setdefault(item.metadata_path, []).append(problem)
    facts: Facts = {"python.distributions": tuple(_with_problems(distributions, problems))}
    if failed:
        raise Incomplete("; ".join(failed), facts)
    return facts


def _changed_package(context: Context, item: Distribution) -> RecordProblem | None:
    """The package's ``__init__.py`` when it is gone or of another size: edited, or cut short."""
    try:
        entry = _listed(context, item).package if checked(item) else None
    except (OSError, RecordError):
        return None  # said already, for its libraries
    if entry is None or item.installer == "conda":  # conda writes its prefix into files
        return None
    path = f"{item.location}/{entry.path}"
    found = context.stat(path)
    same = found is not None and found.st_size == entry.size
    if same and context.deep and entry.digest:
        same = _has(context, path, entry.digest)
    if same:
        return None
    kind, size = ("missing", None) if found is None else ("altered", found.st_size)
    return RecordProblem(kind, entry.path, (), None, entry.size, size)


def _with_problems(
    distributions: Iterable[Distribution], problems: Mapping[str, list[RecordProblem]]
) -> Iterator[Distribution]:
    for item in distributions:
        found = problems.get(item.metadata_path)
        yield dataclasses.replace(item, problems=tuple(found)) if found else item


def _compare(
    context: Context, path: str, claims: list[tuple[Distribution, Entry]]
) -> Iterator[tuple[Distribution, RecordProblem]]:
    """What each owner of ``path`` has to complain about."""
    found = context.stat(path)
    if found is None:
        for item, entry in claims:
            others = tuple(other.name for other, _ in claims if other is not item)
            yield item, RecordProblem("missing", entry.path, others, expected_size=entry.size)
        return
    proof = _two_files(claims)
    if proof:
        matches = _who(context, path, found.st_size, claims)
        if matches is None and proof == "paths":
            matches = _last_installed(context, found.st_mtime_ns, claims)
            proof = "dates" if matches else proof
        for item, entry in claims:
            others = tuple(other.name for other, _ in claims if other is not item)
            yield item, RecordProblem("shared", entry.path, others, matches,
                                      entry.size, found.st_size, proof)  # fmt: skip
        return
    item, entry = claims[0]
    wrong_size = entry.size is not None and entry.size != found.st_size
    if wrong_size or (context.deep and entry.digest and not _has(context, path, entry.digest)):
        for owner, own in claims:
            yield owner, RecordProblem("altered", own.path, (), None, own.size, found.st_size)


def _two_files(claims: list[tuple[Distribution, Entry]]) -> str:
    """What says that the owners of a path mean different files; empty when nothing does.

    Hashes decide where all give one, then sizes: two libraries of the same length under one name
    are taken for the same file. Without either, two projects that claim a path are two files.
    """
    digests = {entry.digest for _, entry in claims}
    if "" not in digests:
        return "content" if len(digests) > 1 else ""
    sizes = {entry.size for _, entry in claims}
    if None not in sizes:
        return "content" if len(sizes) > 1 else ""
    return "paths" if len({normalize(item.name) for item, _ in claims}) > 1 else ""


def _last_installed(
    context: Context, mtime_ns: int, claims: list[tuple[Distribution, Entry]]
) -> str | None:
    """The one owner whose RECORD is not older than the file: installers write it last.

    None where more than one is: the file was hard-linked from a cache, or all was copied at once.
    """
    fitting = []
    for item, _ in claims:
        written = context.stat(f"{item.metadata_path}/RECORD")
        if written is not None and written.st_mtime_ns >= mtime_ns:
            fitting.append(item.name)
    return fitting[0] if len(fitting) == 1 else None


def _who(
    context: Context, path: str, size: int, claims: list[tuple[Distribution, Entry]]
) -> str | None:
    """The owner whose file lies on disk: by size where that decides, else by hash."""
    fitting = [(item, entry) for item, entry in claims if entry.size in (None, size)]
    if len(fitting) == 1 and fitting[0][1].size is not None and not context.deep:
        return fitting[0][0].name
    algorithms = {entry.digest.partition("=")[0] for _, entry in fitting if entry.digest}
    if size * len(algorithms) > HASH_LIMIT and not context.deep:
        return None
    hashes = {name: _hash_of(context, path, name) for name in algorithms}  # one reading for each
    for item, entry in fitting:
        algorithm, _, wanted = entry.digest.partition("=")
        if entry.digest and hashes[algorithm] in (None, wanted):
            return item.name
    return None


def _has(context: Context, path: str, digest: str) -> bool:
    """Whether the file has ``sha256=<urlsafe base64 without padding>``; unknown algorithms pass."""
    algorithm, _, wanted = digest.partition("=")
    return _hash_of(context, path, algorithm) in (None, wanted)


def _hash_of(context: Context, path: str, algorithm: str) -> str | None:
    """The file's hash as a RECORD writes it, None for an algorithm that Python does not have."""
    import base64  # hashlib brings OpenSSL along, and a default run seldom hashes
    import hashlib

    if algorithm not in hashlib.algorithms_guaranteed or algorithm.startswith("shake"):
        return None
    state = hashlib.new(algorithm)
    with open(context.path(path), "rb") as stream:
        for piece in iter(lambda: stream.read(1 << 20), b""):
            state.update(piece)
    return base64.urlsafe_b64encode(state.digest()).rstrip(b"=").decode()

"""Section 2d, wheels that overwrite each other: LIB01 and LIB02."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from cuready._util import normalize
from cuready.doctor import catalogue, facts, things
from cuready.doctor.checks.environments import FRAMEWORKS
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.installers import for_package, reinstall
from cuready.doctor.registry import Outcome, check
from cuready.snapshot import Distribution, RecordProblem, Snapshot

_SHOWN = 4
_OTHERS_ID = ("onnxruntime", "cupy", "torch", "tensorflow")
"""Twins of these families have ids of their own (PY11, PY16, PY17)."""


def _of_kind(item: Distribution, kind: str) -> list[RecordProblem]:
    """Problems of its libraries; those of Python files are PY10's."""
    return [x for x in item.problems if x.kind == kind and not x.path.endswith(".py")]


@check("LIB01", needs=("distributions", "records"), systems=())
def payload_is_gone(snapshot: Snapshot) -> Outcome:
    """An installed wheel lists libraries that are not there, or not as it brought them."""
    found = []
    for name, item in facts.distributions(snapshot):
        missing = _of_kind(item, "missing") if name not in FRAMEWORKS else []
        altered = _of_kind(item, "altered")
        if missing or altered:
            found.append(_gone(snapshot, item, missing, altered))
    return found


def _gone(
    snapshot: Snapshot,
    item: Distribution,
    missing: list[RecordProblem],
    altered: list[RecordProblem],
) -> Finding:
    twins = sorted({other for problem in missing for other in problem.others})
    count = f"{len(missing)} of its libraries {_are(missing)} not there" if missing else ""
    changed = (
        f"{len(altered)} of its libraries {_are(altered)} not as it brought them" if altered else ""
    )
    facts_text = " and ".join(text for text in (count, changed) if text)
    history = (
        f" They were shared with {', '.join(twins)}." if twins
        else " Another package that owned the same paths was removed, or an install was cut short."
        if missing else ""
    )  # fmt: skip
    harmless = not missing and not _fails_because_of(snapshot, altered)
    return catalogue.finding(
        "LIB01",
        subject=item.name,
        title=None if missing else "A library of an installed wheel was changed or cut short",
        severity=Severity.WARNING if harmless else None,
        cause=f"{item.name} {item.version} counts as installed, but {facts_text}.{history}",
        evidence=[_evidence(item, problem) for problem in (missing + altered)[:_SHOWN]],
        explains=("LIB03", "LIB04", "LIB05", "LIB06", "LIB07", "LIB08", "LIB10", "PY20", "TRT03"),
        about=things.each([things.copy(item)]),
        reach=things.files(item, missing + altered) | {things.copy(item)},
        fix=(Fix((reinstall(snapshot, item),), "puts its own files back"),),
    )


def _are(problems: list[RecordProblem]) -> str:
    return "is" if len(problems) == 1 else "are"


def _fails_because_of(snapshot: Snapshot, altered: list[RecordProblem]) -> bool:
    """Whether a library that cannot be loaded is one of those that were changed."""
    names = {problem.path.rpartition("/")[2] for problem in altered}
    return any(
        library.error_text is not None
        and any(name in library.error_text or library.path.endswith("/" + name) for name in names)
        for library in snapshot.libraries
    ) or any(library.error_text == "Bus error" for library in snapshot.libraries)


def _evidence(item: Distribution, problem: RecordProblem) -> Evidence:
    if problem.kind == "missing":
        return Evidence(f"{item.metadata_path}/RECORD", f"{problem.path}: no such file")
    sizes = f"{problem.expected_size} bytes in RECORD, {problem.actual_size} on disk"
    return Evidence(f"{item.metadata_path}/RECORD", f"{problem.path}: {sizes}")


@check("LIB02", needs=("distributions", "records"), systems=())
def overwritten_by_a_twin(snapshot: Snapshot) -> Outcome:
    """Two distributions own the same library, and the other one's lies on disk."""
    return list(_pairs(snapshot))


def _pairs(snapshot: Snapshot) -> Iterator[Finding]:
    seen: set[tuple[str, str]] = set()
    for name, item in facts.distributions(snapshot):
        if name.startswith(_OTHERS_ID):
            continue
        shared = sorted(_of_kind(item, "shared"), key=lambda problem: problem.others)
        for others, group in groupby(shared, key=lambda problem: problem.others):
            problems = list(group)
            for other in map(normalize, others):
                key = (min(name, other), max(name, other))
                if key not in seen and other != name and facts.installed(snapshot, other):
                    seen.add(key)
                    yield _overlap(snapshot, item, other, problems)


def _overlap(
    snapshot: Snapshot, item: Distribution, other_name: str, problems: list[RecordProblem]
) -> Finding:
    other = facts.installed(snapshot, other_name)[0]
    keep, drop, sure = _which(snapshot, item, other)
    on_disk = {problem.matches for problem in problems}
    harmed = sure and any(owner != keep.name for owner in on_disk)
    whose = next(iter(on_disk)) if len(on_disk) == 1 else None
    sure_of_it = all(problem.proof == "content" for problem in problems)
    if not sure_of_it and on_disk == {None}:
        harmed = False  # that both own the path is all that is known
    return catalogue.finding(
        "LIB02",
        subject=f"{keep.name}, {drop.name}",
        severity=None if harmed else Severity.WARNING,
        title=None if keep.name.startswith("nvidia") else "Two wheels own the same libraries",
        confidence=Confidence.PROVEN if sure_of_it else Confidence.LIKELY,
        cause=f"{keep.name} {keep.version} and {drop.name} {drop.version} both own "
        f"{len(problems)} {'library' if len(problems) == 1 else 'libraries'}; on disk "
        f"{_whose(whose, problems)}. Removing either deletes the other's files.",
        evidence=[_shared(problem) for problem in problems[:_SHOWN]],
        explains=("LIB03", "LIB04", "LIB05", "LIB10", "LIB13", "LIB14"),
        about=things.each([things.copy(keep), things.copy(drop)]),
        reach=things.files(item, problems) | {things.copy(keep), things.copy(drop)},
        fix=(
            Fix(
                (
                    for_package(snapshot, drop.name).uninstall([drop.name]),
                    reinstall(snapshot, keep),
                ),
                f"keeps {keep.name}; the second command restores what the first takes along",
            ),
        ),
    )


def _whose(owner: str | None, problems: list[RecordProblem]) -> str:
    if owner is not None:
        return f"lies what {owner} brought"
    if len({problem.matches for problem in problems}) > 1:
        return "lies now the one's, now the other's"
    return "lies neither's" if problems[0].proof == "content" else "lies that of one of them"


_UNKNOWN_OWNER = {
    "content": "neither's, by size and hash",
    "paths": "that of one of them; their RECORDs give no hash and no size to tell by",
}
_KNOWN_BY = {"dates": ", for it is newer than the other's RECORD"}


def _shared(problem: RecordProblem) -> Evidence:
    if problem.matches is None:
        return Evidence(problem.path, f"on disk: {_UNKNOWN_OWNER.get(problem.proof, '?')}")
    return Evidence(
        problem.path, f"on disk: that of {problem.matches}{_KNOWN_BY.get(problem.proof, '')}"
    )


def _which(
    snapshot: Snapshot, one: Distribution, two: Distribution
) -> tuple[Distribution, Distribution, bool]:
    """(the one to keep, the other, whether that is known): the family of the frameworks here."""
    wanted = {found.major for found in facts.cuda_packages(snapshot).values()}
    families = [facts.cuda_family(item.name) or _plain_family(item) for item in (one, two)]
    fits = [family in wanted for family in families]
    if fits == [True, False]:
        return one, two, True
    if fits == [False, True]:
        return two, one, True
    newer = (one.mtime or 0) >= (two.mtime or 0)
    return (one, two, False) if newer else (two, one, False)


def _plain_family(item: Distribution) -> int | None:
    """CUDA major of a wheel whose name does not say it: ``nvidia-nvtx 13.5.25``."""
    first = item.version.partition(".")[0]
    return int(first) if item.name.startswith("nvidia") and first in ("11", "12", "13") else None


def gone_from_record(snapshot: Snapshot) -> set[str]:
    """Names of libraries of which LIB01 says already why they are not found."""
    return {
        problem.path.rpartition("/")[2]
        for item in snapshot.python.distributions
        for problem in item.problems
        if problem.kind in ("missing", "altered")
    }

"""Section 2c, second part: two of a kind, half of one, or another environment's."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from packaging.version import Version

from cuready._util import normalize
from cuready.doctor import catalogue, facts, things
from cuready.doctor.finding import Confidence, Evidence, Finding, Fix, Severity
from cuready.doctor.installers import (
    can_be_run,
    for_environment,
    for_package,
    join,
    reinstall,
    reinstall_fitting,
)
from cuready.doctor.registry import Outcome, Skipped, check
from cuready.snapshot import (
    Distribution,
    LibraryFile,
    ModuleOrigin,
    RecordProblem,
    Snapshot,
)

FRAMEWORKS = (
    "torch", "torchvision", "torchaudio", "tensorflow", "jax", "jaxlib", "numpy", "onnxruntime",
    "onnxruntime-gpu", "tensorrt", "triton",
)  # fmt: skip
CONDA_TORCH = ("pytorch", "libtorch", "pytorch-gpu", "pytorch-cpu")


def _below(path: str | None, folder: str | None) -> bool:
    """Whether ``path`` is ``folder`` or in it, by name alone."""
    if not path or not folder:
        return False
    path, folder = path.replace("\\", "/").rstrip("/"), folder.replace("\\", "/").rstrip("/")
    return path == folder or path.startswith(folder + "/")


@check("PY07", needs=("distributions", "conda"))
def pip_over_conda(snapshot: Snapshot) -> Outcome:
    """One torch from conda and one from pip in the same environment."""
    conda = [item for item in snapshot.python.conda_packages if item.name in CONDA_TORCH]
    if not conda:
        return Skipped("no conda torch here")
    foreign = [
        item for item in facts.installed(snapshot, "torch") if item.installer in ("pip", "uv")
    ]
    if not foreign:
        return ()
    item = foreign[0]
    owner = for_environment(snapshot)
    # Not conda, which owns the other one.
    pip = can_be_run(snapshot, replace(owner, manager=item.installer or "pip"))
    return [
        catalogue.finding(
            "PY07",
            cause=f"conda installed {conda[0].name} {conda[0].version}, and {item.installer} "
            "installed "
            f"torch {item.version} over it.",
            evidence=(
                Evidence(f"conda-meta/{conda[0].name}", f"{conda[0].version} {conda[0].build}"),
                Evidence(
                    item.metadata_path or item.location, f"{item.version} by {item.installer}"
                ),
            ),
            # Wheels that overwrite each other do so whichever torch stays: LIB02 is not of these.
            explains=("PY10", "PY11", "PY12", "LIB01", "LIB03", "LIB08", "LIB09"),
            reach=things.copies(snapshot, "torch"),
            fix=(
                Fix(
                    (
                        pip.uninstall(["torch"]),
                        owner.install([f"{conda[0].name}=={conda[0].version}"], reinstall=True),
                    ),
                    "keeps conda's; a new environment with only one of them is cleaner",
                ),
            ),
        )
    ]


@check("PY08", needs=("modules",), systems=())
def from_user_site(snapshot: Snapshot) -> Outcome:
    """A copy in ~/.local or on PYTHONPATH comes before that of the environment."""
    python = snapshot.python
    if python.kind in (None, "system"):
        return Skipped("no virtual or conda environment")
    leaked: dict[str, list[ModuleOrigin]] = {}
    for origin in python.origins:
        if origin.path is not None and normalize(origin.name) in FRAMEWORKS:
            source = _outside(snapshot, origin.path)
            if source is not None:
                leaked.setdefault(source, []).append(origin)
    return [_leaked(snapshot, source, found) for source, found in leaked.items()]


def _outside(snapshot: Snapshot, path: str) -> str | None:
    """The user's site-packages or the entry of PYTHONPATH that a module comes from, if any."""
    user_site = snapshot.python.user_site
    if _below(path, user_site):
        return user_site
    separator = ";" if snapshot.platform.system == "Windows" else ":"
    added = snapshot.environment.get("PYTHONPATH", "").split(separator)
    source = next((entry for entry in added if entry and _below(path, entry)), None)
    return None if source is None or _below(source, snapshot.scope.cwd) else source


def _leaked(snapshot: Snapshot, source: str, origins: list[ModuleOrigin]) -> Finding:
    """One finding for each source: what to do is about the source, not about the packages."""
    names = [origin.name for origin in origins]
    fix: tuple[Fix, ...]
    if source == snapshot.python.user_site:
        where = "the user's site-packages"
        python = snapshot.python.executable or "python"
        remove = join([python, "-m", "pip", "uninstall", "-y", *names])
        fix = (  # one or the other: with the variable set, pip would not see the user's copies
            Fix(("export PYTHONNOUSERSITE=1",), "and where your shell sets its variables"),
            Fix((remove,), "pip removes the copies that are found first: the user's"),
        )
    else:
        where, fix = f"PYTHONPATH ({source})", (Fix(("unset PYTHONPATH",)),)
    first, paths = origins[0], [origin.path or origin.name for origin in origins]
    hides = f", and hides {first.shadowed[0]}" if first.shadowed else ""
    also = f" The same goes for {', '.join(names[1:])}." if names[1:] else ""
    return catalogue.finding(
        "PY08",
        subject=", ".join(names),
        severity=None if any(o.shadowed for o in origins) else Severity.WARNING,
        cause=f"`import {first.name}` takes {first.path} from {where}{hides}.{also}",
        evidence=[
            *(Evidence(o.entry or where, f"comes first for {o.name}: {o.path}") for o in origins),
            *(Evidence(item, "hidden by it") for o in origins for item in o.shadowed),
        ],
        explains=("PY10", "PY11", "PY12", "PY13", "LIB01", "LIB02", "LIB03", "LIB08"),
        about=things.each(paths),
        reach=things.within(snapshot, source).union(paths),
        fix=fix,
    )


@check("PY09", needs=("modules",), systems=())
def shadowed_by_working_folder(snapshot: Snapshot) -> Outcome:
    """A file or folder in the working folder has the framework's name."""
    cwd, python = snapshot.scope.cwd, snapshot.python
    if not cwd:
        return Skipped("the working folder is not known")
    found = []
    for origin in python.origins:
        if origin.path is None or normalize(origin.name) not in FRAMEWORKS:
            continue
        local = origin.entry in ("", cwd) or _local_file(origin, cwd)
        if not local or any(_below(origin.path, site) for site in python.site_packages):
            continue
        found.append(
            catalogue.finding(
                "PY09",
                subject=origin.name,
                confidence=Confidence.LIKELY,
                cause=f"`import {origin.name}` in this folder takes {origin.path}, not the "
                "package.",
                evidence=[
                    Evidence(
                        origin.path, f"found first, through {origin.entry or 'the working folder'}"
                    ),
                    *(Evidence(item, "hidden by it") for item in origin.shadowed),
                ],
                explains=("PY08", "PY12"),
                reach=things.within(snapshot, cwd) | {origin.path},
                fix=(
                    Fix(
                        (join(["mv", origin.path, f"{origin.path}.renamed"]),),
                        "or start Python from another folder",
                    ),
                ),
            )
        )
    return found


def _local_file(origin: ModuleOrigin, cwd: str) -> bool:
    path = PurePosixPath((origin.path or "").replace("\\", "/"))
    names = (f"{origin.name}.py", origin.name)
    return str(path.parent) == cwd.rstrip("/") and path.name in names


@check("PY10", needs=("distributions",), systems=())
def interrupted_install(snapshot: Snapshot) -> Outcome:
    """Left over from an upgrade that was cut short: `~orch`, no RECORD, missing files."""
    leftover = snapshot.python.invalid_distributions
    broken = [
        item
        for name, item in facts.distributions(snapshot)
        if name in FRAMEWORKS and item.installer != "conda" and _incomplete(item)
    ]
    changed = _changed(snapshot, {item.name for item in broken})
    return [_cut_short(snapshot, leftover, broken), *changed] if leftover or broken else changed


def _cut_short(
    snapshot: Snapshot, leftover: Sequence[str], broken: Sequence[Distribution]
) -> Finding:
    evidence = [Evidence(name, "left over by pip") for name in leftover]
    commands = [_remove(snapshot, name) for name in leftover]
    for item in broken:
        missing = [p.path for p in item.problems if p.kind == "missing"]
        detail = f"{len(missing)} files missing, {missing[0]}" if missing else "no RECORD"
        evidence.append(Evidence(item.metadata_path or item.name, detail))
    fixes = [Fix(tuple(commands))] if commands else []
    for item in broken:
        fixes.extend(_again(snapshot, item))
    what = ", ".join([*(item.name for item in broken), *leftover])
    about = things.each(map(things.copy, broken))
    about += tuple(_belonging_to(snapshot, name) for name in leftover)
    return catalogue.finding(
        "PY10",
        severity=None if broken else Severity.WARNING,
        subject=what,
        cause=f"An install or upgrade was cut short and left {what}.",
        evidence=evidence,
        explains=("PY11",),
        about=about,
        reach=frozenset().union(*about),
        fix=fixes,
    )


def _belonging_to(snapshot: Snapshot, leftover: str) -> frozenset[str]:
    """The leftover, and the packages that it may be of: pip writes ``~`` over the first letter."""
    stem = normalize(re.split(r"[/\\]", leftover)[-1].removeprefix("~").partition("-")[0])
    same = [item for name, item in facts.distributions(snapshot) if name[1:] == stem]
    return frozenset((leftover, *map(things.copy, same)))


def _changed(snapshot: Snapshot, told: Container[str]) -> list[Finding]:
    """A framework whose ``__init__.py`` is not the installed one, or fails when it is imported.

    Those that are ``told`` of already have lost files, which says it all.
    """
    found = []
    for name, item in facts.distributions(snapshot):
        altered = next((p for p in item.problems if p.kind == "altered" and _is_python(p)), None)
        error = _import_error(snapshot) if name == "torch" else None
        if name not in FRAMEWORKS or item.name in told or (altered is None and error is None):
            continue
        evidence = [Evidence(error.path, error.error_text or "")] if error else []
        if altered:
            sizes = f"{altered.expected_size} bytes in RECORD, {altered.actual_size} on disk"
            evidence.append(Evidence(f"{item.metadata_path}/RECORD", f"{altered.path}: {sizes}"))
        cause = f"{name}/__init__.py is not the file that {item.name} {item.version} brought"
        if error:
            cause = f"{name} cannot be imported: {error.error_text}" + (
                f"; {name}/__init__.py is not the file that was installed" if altered else ""
            )
        found.append(
            catalogue.finding(
                "PY10",
                severity=None if error else Severity.WARNING,
                subject=item.name,
                title=f"{name} was changed after its installation",
                cause=f"{cause}.",
                evidence=evidence,
                explains=("LIB07", "LIB08") if error else (),  # what is built on it fails with it
                about=things.each([things.copy(item)]),
                reach=[things.copy(item)],
                fix=(Fix((reinstall(snapshot, item),), "puts its own files back"),),
            )
        )
    return found


def _is_python(problem: RecordProblem) -> bool:
    return problem.path.endswith(".py")


def _import_error(snapshot: Snapshot) -> LibraryFile | None:
    """What `import torch` says before any library fails."""
    return next(
        (item for item in snapshot.libraries
         if item.role == "torch" and item.error_text and item.path.endswith("/__init__.py")), None
    )  # fmt: skip


def _again(snapshot: Snapshot, item: Distribution) -> tuple[Fix, ...]:
    """The same release once more, from the index that has its build."""
    release = item.version.partition("+")[0]
    if item.name == "torch":
        fitting = reinstall_fitting(snapshot, "torch", keep=release)
        if fitting:
            return fitting
    return (Fix((reinstall(snapshot, item),)),)


def _incomplete(item: Distribution) -> bool:
    if item.record_present is False and item.metadata_path.endswith("dist-info"):
        return True
    return any(problem.kind == "missing" for problem in item.problems)


def _remove(snapshot: Snapshot, name: str) -> str:
    folder = snapshot.python.site_packages[0] if snapshot.python.site_packages else ""
    path = name if "/" in name or "\\" in name or not folder else f"{folder}/{name}"
    if snapshot.platform.system == "Windows":
        return join(["rmdir", "/s", "/q", path.replace("/", "\\")], "Windows")
    return join(["rm", "-r", path])


@check("PY11", needs=("distributions",), systems=())
def twice_installed(snapshot: Snapshot) -> Outcome:
    """Two dist-info folders of one name in one site-packages."""
    groups: dict[tuple[str, str], list[Distribution]] = {}
    for name, item in facts.distributions(snapshot):
        groups.setdefault((name, item.location), []).append(item)
    found = []
    for (name, location), items in groups.items():
        versions = sorted({item.version for item in items}, key=_by_release)
        if len(items) < 2 or len({item.metadata_path for item in items}) < 2:
            continue
        owner = for_package(snapshot, name)
        newest = next(item for item in items if item.version == versions[-1])
        release = newest.version.partition("+")[0]
        fitting = reinstall_fitting(snapshot, "torch", keep=release) if name == "torch" else ()
        remove = owner.uninstall([name])
        commands = fitting[0].commands if fitting else (reinstall(snapshot, newest),)
        found.append(
            catalogue.finding(
                "PY11",
                subject=name,
                severity=None if name in FRAMEWORKS else Severity.WARNING,
                cause=f"{location} says that {name} is installed as {' and as '.join(versions)}.",
                evidence=[
                    Evidence(item.metadata_path or item.location, item.version) for item in items
                ],
                explains=("PY10", "PY12"),
                about=things.each([f"{location}/{name}"]),
                reach=[f"{location}/{name}"],
                fix=(Fix((remove, remove, *commands), "uninstall once for each copy"),),
            )
        )
    return found


def _by_release(text: str) -> tuple[bool, Version | str]:
    """Newest last; what is no version comes before all that are one."""
    found = facts.version(text)
    return (found is not None, text if found is None else found)


@check("PY14", needs=("kernelspecs",), systems=())
def kernel_of_another_python(snapshot: Snapshot) -> Outcome:
    """The default Jupyter kernel starts another interpreter, or one that is gone."""
    python = snapshot.python
    if not python.kernelspecs or not facts.installed(snapshot, "ipykernel"):
        return Skipped("no Jupyter kernel in this environment")
    install = join(
        [python.executable or "python", "-m", "ipykernel", "install", "--sys-prefix", "--name",
         "python3"],
        snapshot.platform.system,
    )  # fmt: skip
    found = []
    for spec in python.kernelspecs:
        program = spec.argv[0] if spec.argv else ""
        absolute = "/" in program or "\\" in program
        gone = spec.interpreter_exists is False
        elsewhere = absolute and spec.name == "python3" and not _below(program, python.prefix)
        if not gone and not elsewhere:
            continue
        reason = "does not exist any more" if gone else f"is not in {python.prefix}"
        found.append(
            catalogue.finding(
                "PY14",
                subject=spec.name,
                cause=f"The Jupyter kernel {spec.name} starts {program}, which {reason}.",
                evidence=(Evidence(spec.path, " ".join(spec.argv)),),
                fix=(Fix((install,)),),
            )
        )
    return found

"""An installed conda, mamba or micromamba as solver and linker, under the same plan.

It is given our indexes as a local channel and our verified archives as its package cache, so that
it downloads nothing; what it chooses becomes records with canonical addresses, and the plan is
checked, shown and fetched as every other. It writes into the prefix itself, perhaps also into files
that are there, so the way back is a copy of the whole that ``recover`` puts in place again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from cuready._util import one_line
from cuready.env.conda.clone import clone_tree
from cuready.env.conda.faults import kill_point
from cuready.env.conda.metadata import Index
from cuready.env.conda.model import Applied, Plan, Record, SolveRequest
from cuready.env.conda.plan import installed_records
from cuready.env.conda.session import CondaSession
from cuready.env.conda.transaction import Transaction
from cuready.errors import EnvError, MissingExtra, SolveError

__all__ = ["Program", "apply_with", "find_program", "solve_with"]

SOLVE_TIMEOUT_S = 900
LINK_TIMEOUT_S = 3600
VERSION_TIMEOUT_S = 60
# Virtual packages that conda reads from its environment when it should not look for itself:
# https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-virtual.html
OVERRIDES = {"__cuda": "CONDA_OVERRIDE_CUDA", "__glibc": "CONDA_OVERRIDE_GLIBC"}
# These mambas give every file the digest of the first: they delete our archives as corrupt, and
# write wrong digests into conda-meta (https://github.com/mamba-org/mamba/issues/4031).
STICKY_DIGESTS = SpecifierSet(">=2.0.0,<2.3.2", prereleases=True)


@dataclass(frozen=True)
class Program:
    """One of the three, where it is."""

    name: str
    path: str

    def version(self) -> str:
        """What ``--version`` prints, without the program's name; mamba 1 tells conda's below it.

        Raises EnvError when it cannot be run, or prints something else.
        """
        done = self._call(["--version"], {}, VERSION_TIMEOUT_S)
        words = done.stdout.decode("utf-8", "replace").partition("\n")[0].split()
        try:
            return str(Version(words[-1]))
        except (IndexError, InvalidVersion):
            raise EnvError(f"{self.path} --version says no version") from None

    def run(self, args: Sequence[str], variables: Mapping[str, str], timeout: float) -> Any:
        """Run with ``--json`` and return the document; empty where it prints none.

        A real conda says nothing about a link from an explicit list that went well. Raises
        SolveError when it says that nothing fits, EnvError for everything else.
        """
        done = self._call(args, variables, timeout)
        document = _document(done.stdout)
        if done.returncode == 0 and (isinstance(document, dict) or not done.stdout.strip()):
            return document or {}
        raise self._failure(args[0], done, document)

    def _call(
        self, args: Sequence[str], variables: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        command = [self.path, *args]
        environment = {**os.environ, **variables}
        try:
            return subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EnvError(f"{self.name} {args[0]} did not end in {timeout:.0f} s") from None
        except OSError as error:
            raise EnvError(f"{self.path}: cannot be run: {error.strerror or error}") from None

    def _failure(
        self, what: str, done: subprocess.CompletedProcess[bytes], document: Any
    ) -> Exception:
        said = document if isinstance(document, dict) else {}
        kind = str(said.get("exception_name") or "")
        problems = said.get("solver_problems") or []
        text = said.get("message") or said.get("error") or done.stderr.decode("utf-8", "replace")
        lines = [line.rstrip() for line in str(text).splitlines() if line.strip()]
        lines += [str(item) for item in problems]
        first = one_line(lines[0]) if lines else f"exit code {done.returncode}"
        unsolved = problems or kind in (
            "UnsatisfiableError",
            "LibMambaUnsatisfiableError",
            "PackagesNotFoundError",
            "PackagesNotFoundInChannelsError",
            "ResolvePackageNotFound",
        )
        error = SolveError if unsolved else EnvError
        return error(f"{self.name}: {first}", operation=f"{self.name} {what}", messages=lines[1:20])


def _document(data: bytes) -> Any:
    """The JSON that it prints; mamba 1 prints other lines before it."""
    text = data.decode("utf-8", "replace")
    start = text.find("{")
    try:
        return json.loads(text[start:]) if start >= 0 else None
    except ValueError:
        return None


def find_program(name: str) -> Program:
    """The program called ``name`` on the PATH, or where it says itself that it is.

    conda and mamba are often shell functions, with the file in ``$CONDA_EXE`` and ``$MAMBA_EXE``.
    Raises MissingExtra, and EnvError for a mamba whose digests are wrong.
    """
    program = _located(name)
    if name != "conda" and (version := program.version()) in STICKY_DIGESTS:
        raise EnvError(
            f"{name} {version} computes wrong digests: it would take our archives for corrupt",
            hint=f"{name} 2.3.2 or newer; or leave --backend out: the built-in engine needs none",
        )
    return program


def _located(name: str) -> Program:
    said = {"conda": "CONDA_EXE", "mamba": "MAMBA_EXE", "micromamba": "MAMBA_EXE"}[name]
    told = os.environ.get(said, "")
    if told and Path(told).name.removesuffix(".exe") == name and Path(told).is_file():
        return Program(name, told)
    path = shutil.which(name)
    if path is None:
        raise MissingExtra(
            f"--backend {name}: there is no {name} on the PATH",
            hint="leave --backend out: the built-in engine needs no conda",
        )
    return Program(name, path)


# --- solving -----------------------------------------------------------------------------------


def solve_with(
    request: SolveRequest, known: Sequence[Index], session: CondaSession
) -> list[Record]:
    """What the program would install into an empty prefix, as canonical records."""
    program = find_program(session.options.backend)
    session.step(f"{program.name} solves")
    with tempfile.TemporaryDirectory(prefix="cuready-") as name:
        folder = Path(name)
        channels = _local_channels(request, known, folder)
        args = ["create", "--prefix", str(folder / "none"), "--dry-run", "--json", "--yes"]
        args += ["--override-channels"]
        for url in channels:
            args += ["--channel", url]
        # conda knows no "only if it is there": what would bind nothing must not be asked for.
        wanted = [spec for spec in request.constraints if _named(spec, request.specs)]
        specs = [*request.specs, *wanted]
        args += specs if program.name == "conda" else map(_without_pip, specs)
        variables = _variables(request, folder / "packages")
        document = program.run(args, variables, SOLVE_TIMEOUT_S)
        return _chosen(document, channels, program)


def _without_pip(spec: str) -> str:
    """The same spec; one of python is written so that it brings no pip with it.

    mamba 2.6 and newer ask for pip too when a spec begins with the word ``python``, whatever the
    setting: https://github.com/mamba-org/mamba/blob/2.8.1/libmamba/src/api/install.cpp
    """
    rest = spec.removeprefix("python")
    if rest == spec or rest[:1] not in ("", " ", *"<>=!~"):
        return spec
    version, build, *more = (*rest.split(), "*", "*")
    if len(more) > 2 or re.search(r"[<>=!~,|]$|[\w*]=", version):  # "python >= 3", "python=3=0"
        return spec
    return f"python[version='{version}',build='{build}']"


def _named(constraint: str, specs: Sequence[str]) -> bool:
    """``cuda-version`` counts as named: every CUDA build needs it."""
    name = constraint.split(maxsplit=1)[0].partition("=")[0]
    return name == "cuda-version" or any(spec.split(maxsplit=1)[0] == name for spec in specs)


def _local_channels(request: SolveRequest, known: Sequence[Index], folder: Path) -> dict[str, str]:
    """``file://`` address → canonical one; the indexes are links to those in our cache."""
    channels = {}
    for number, channel in enumerate(request.channels):
        base = folder / str(number) / channel.rsplit("/", 1)[-1]
        for index in known:
            if index.channel != channel:
                continue
            part = base / index.subdir
            part.mkdir(parents=True, exist_ok=True)
            if index.path is not None:
                (part / "repodata.json").symlink_to(index.path)
            else:
                (part / "repodata.json").write_text('{"packages": {}, "packages.conda": {}}')
        channels[base.as_uri()] = channel
    return channels


def _variables(request: SolveRequest, packages: Path) -> dict[str, str]:
    packages.mkdir(parents=True, exist_ok=True)
    variables = {
        "CONDA_PKGS_DIRS": str(packages),
        "CONDA_SUBDIR": request.subdir,
        "CONDA_CHANNEL_PRIORITY": "strict",
        "CONDA_ALWAYS_YES": "true",
        # conda and mamba add pip to every python: the plan would have what nobody asked for.
        "CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY": "false",
        # mamba reads its own names for all but the cache and the platform:
        # https://github.com/mamba-org/mamba/blob/2.1.1/libmamba/src/api/configuration.cpp
        "MAMBA_CHANNEL_PRIORITY": "strict",
        "MAMBA_ALWAYS_YES": "true",
        "MAMBA_ADD_PIP_AS_PYTHON_DEPENDENCY": "false",
    }
    for name, variable in OVERRIDES.items():
        variables[variable] = request.virtual_packages.get(name, "")
    return variables


def _chosen(
    document: Mapping[str, Any], channels: Mapping[str, str], program: Program
) -> list[Record]:
    actions = document.get("actions")
    if actions is None:
        raise EnvError(f"{program.name} does not say what it chose")
    if isinstance(actions, list):  # conda 4.x had one entry a prefix
        actions = actions[0] if actions else {}
    whole = {
        (item["name"], item["version"], item.get("build") or item.get("build_string")): item
        for item in actions.get("FETCH", ())
        if isinstance(item, dict)
    }
    records = []
    for item in actions.get("LINK", ()):
        key = (item["name"], item["version"], item.get("build_string") or item.get("build"))
        # mamba writes what a record lacks as null or "": rattler takes that for a broken record.
        known = whole.get(key) or item
        raw = {name: value for name, value in known.items() if value not in (None, "")}
        raw.setdefault("depends", [])
        url = str(raw.get("url") or "")
        for local, channel in channels.items():
            if url.startswith(f"{local}/"):
                raw["url"] = channel + url[len(local) :]
                raw["channel"] = channel
        raw.setdefault("build", key[2])
        raw.setdefault("fn", str(raw.get("url", "")).rsplit("/", 1)[-1])
        if not raw.get("url") or str(raw["url"]).startswith("file:"):
            raise EnvError(f"{program.name} chose {item['name']} from a channel of its own")
        records.append(Record.from_json(raw))
    return records


# --- linking -----------------------------------------------------------------------------------


def apply_with(plan: Plan, session: CondaSession, keep_previous: bool) -> Applied:
    """Let the program make the prefix what ``plan`` says, from verified archives and offline."""
    program = find_program(session.options.backend)
    transaction = Transaction.begin(plan.prefix, existed=plan.exists, keep=keep_previous)
    try:
        if plan.exists:
            clone_tree(plan.prefix, transaction.old, copy=True)
        transaction.set_state("foreign")
        kill_point("journal-foreign")
        _run(program, plan, session, transaction.work)
        _check_linked(program, plan)
    except BaseException:
        transaction.roll_back()
        raise
    transaction.set_state("kept" if keep_previous else "swapped")
    previous = transaction.old if keep_previous and plan.exists else None
    if keep_previous:
        transaction.release()
    else:
        transaction.finish()
    return Applied(plan.prefix, len(plan.to_link), len(plan.to_unlink), previous)


def _run(program: Program, plan: Plan, session: CondaSession, work: Path) -> None:
    packages = work / "packages"
    packages.mkdir()
    lines = ["@EXPLICIT"]
    for record in plan.to_link:  # mamba links again what is there and on the list
        lines.append(f"{record.url}#{record.md5}" if record.md5 else record.url)
    for record in plan.to_link:
        session.cache.place(record.sha256, packages / record.file_name, link=True)
    # conda takes an archive from its cache when urls.txt names the address that it came from.
    urls = "".join(f"{record.url}\n" for record in plan.to_link)
    (packages / "urls.txt").write_text(urls, encoding="utf-8")
    (packages / "urls").write_text("", encoding="utf-8")
    explicit = work / "explicit.txt"
    explicit.write_text("\n".join(lines) + "\n", encoding="utf-8")
    removed = [record.name for record in plan.to_unlink]
    if program.name == "conda":  # mamba puts a new version beside the old one
        kept = {record.name for record in plan.solution.records}
        removed = [name for name in removed if name not in kept]
    variables = _variables(plan.solution.request, packages) | {"CONDA_OFFLINE": "true"}
    common = ["--prefix", str(plan.prefix), "--json", "--yes", "--offline"]
    session.step(f"{program.name} links {len(plan.to_link)} packages")
    if removed:
        program.run(["remove", *common, "--force", *removed], variables, LINK_TIMEOUT_S)
    if plan.to_link:
        verb = "install" if plan.exists else "create"
        program.run([verb, *common, "--file", str(explicit)], variables, LINK_TIMEOUT_S)


def _check_linked(program: Program, plan: Plan) -> None:
    """See that the prefix holds what was planned, whatever the program said."""
    there = {record.dist for record in installed_records(plan.prefix)}
    wanted = {record.dist for record in plan.solution.records}
    if there != wanted:
        raise EnvError(
            f"{program.name} linked something else than was planned",
            messages=[*(f"missing: {dist}" for dist in sorted(wanted - there)),
                      *(f"not asked for: {dist}" for dist in sorted(there - wanted))],
        )  # fmt: skip

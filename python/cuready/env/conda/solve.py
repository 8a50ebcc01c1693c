"""From a recipe and a machine to exact packages, the builds checked before anything is fetched."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cuready.env.conda.faults import kill_point
from cuready.env.conda.metadata import Index, indexes
from cuready.env.conda.model import Record, Solution, SolveRequest
from cuready.env.conda.session import CondaSession
from cuready.env.conda.sources import canonical_channel
from cuready.errors import EnvError, SolveError

if TYPE_CHECKING:
    from cuready.env.recipe import Recipe
    from cuready.env.target import Decision, Target

__all__ = ["check_builds", "request_of", "solve", "solve_recipe"]


def request_of(
    recipe: Recipe, target: Target, decision: Decision, *, locked: Sequence[Record] = ()
) -> SolveRequest:
    """What the solver is asked for ``recipe`` on ``target``. Pure."""
    return SolveRequest(
        channels=tuple(canonical_channel(channel) for channel in recipe.channels),
        specs=recipe.all_specs(),
        subdir=target.subdir,
        constraints=decision.constraints or recipe.constraints,
        virtual_packages=target.virtual_packages(),
        locked=tuple(locked),
    )


def solve_recipe(
    recipe: Recipe,
    target: Target,
    decision: Decision,
    *,
    session: CondaSession,
    locked: Sequence[Record] = (),
) -> Solution:
    """Solve ``recipe``; ``decision`` is what ``decide(recipe, target)`` said.

    ``locked`` are records to be kept where they still fit. Raises SolveError with the solver's
    reasons, EnvError when what it chose is not the build that the recipe expects, MirrorError
    when no mirror gives an index.
    """
    request = request_of(recipe, target, decision, locked=locked)
    solution = replace(solve(request, session), name=recipe.name)
    notes = (*decision.reasons, *solution.notes)
    check_builds(recipe, target, solution, session)
    return replace(solution, notes=tuple(dict.fromkeys(notes)))


def solve(request: SolveRequest, session: CondaSession) -> Solution:
    """Solve a request as it stands; see :func:`solve_recipe` for the errors."""
    known = indexes(request.channels, request.subdir, session)
    if session.options.backend == "rattler":
        records = _by_rattler(request, known, session)
    else:
        from cuready.env.conda.backends import solve_with

        records = solve_with(request, known, session)
    for record in records:
        if not record.sha256:
            raise EnvError(
                f"the index has no sha256 for {record.file_name}: it could not be verified",
                details={"url": record.url},
            )
    kill_point("solved")
    notes = tuple(index.note for index in known if index.note)
    return Solution("", request, tuple(records), notes)


def _by_rattler(
    request: SolveRequest, known: Sequence[Index], session: CondaSession
) -> list[Record]:
    session.step("solving")
    answer = session.engine.ask(
        "solve",
        indexes=[
            [index.channel, index.subdir, str(index.path)]
            for index in known
            if index.path is not None
        ],
        specs=list(request.specs),
        constraints=list(request.constraints),
        virtual=dict(request.virtual_packages),
        subdir=request.subdir,
        locked=[dict(record.raw) for record in request.locked],
        pinned=sorted(request.pinned),
    )
    importlib.import_module("cuready.env.conda.link")  # what comes next, while the engine solves
    try:
        found = answer(None)
    except SolveError as error:
        raise explained(error, request) from None
    return [Record.from_json(item) for item in found]


def explained(error: SolveError, request: SolveRequest) -> SolveError:
    """The same error with a hint, where the reason is one of the machine's own facts."""
    said = "\n".join((error.message, *error.messages))
    hint = error.hint
    if "__cuda" in said:
        cuda = request.virtual_packages.get("__cuda")
        hint = (
            f"the driver here speaks CUDA {cuda}; a newer driver, or --cuda for another machine"
            if cuda
            else "no NVIDIA driver was seen; say what it will run on, such as --cuda 12.9"
        )
    elif "__glibc" in said:
        glibc = request.virtual_packages.get("__glibc", "none")
        hint = f"glibc here is {glibc}; --glibc says that of the machine it will run on"
    return SolveError(
        f"no set of packages fits: {error.message}",
        operation="solve",
        messages=error.messages,
        hint=hint,
        details={
            "specs": list(request.specs),
            "constraints": list(request.constraints),
            "virtual_packages": dict(request.virtual_packages),
        },
    )


def check_builds(recipe: Recipe, target: Target, solution: Solution, session: CondaSession) -> None:
    """See that the solver chose the builds that the recipe expects.

    Raises EnvError otherwise, with the solver's own reason why the expected build does not fit:
    this is how a CPU build is caught that nobody asked for.
    """
    for name, pattern in recipe.expect.items():
        record = solution.get(name)
        if record is None:
            raise EnvError(
                f"{recipe.name} expects a build of {name}, and the solution has none",
                hint=f"add {name} to [conda] specs, or take it out of [build] expect",
            )
        if fnmatchcase(record.build, pattern):
            continue
        request = solution.request
        wanted = replace(request, specs=(*request.specs, f"{name} * {pattern}"))
        messages, hint = _why_not(wanted, target, session)
        raise EnvError(
            f"{recipe.name} needs {name} with a build like {pattern}, "
            f"and only {record.version} {record.build} fits this machine",
            operation="check builds",
            messages=messages,
            hint=hint,
            details={"package": record.to_dict(), "expected": pattern},
        )


def _why_not(
    wanted: SolveRequest, target: Target, session: CondaSession
) -> tuple[tuple[str, ...], str]:
    machine = f"this machine: driver for CUDA {target.cuda}" if target.cuda else "no NVIDIA driver"
    hint = f"{machine}; --cuda and --capability describe another one"
    try:
        solve(wanted, session)
    except SolveError as error:
        return (error.message, *error.messages), error.hint or hint
    return (), "write the build into [conda] specs: the solver takes another one by itself"

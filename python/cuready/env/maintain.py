"""What is done with an environment later: repair, clone, remove, export."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from cuready.env import prefix as files
from cuready.env import recipe as recipes
from cuready.env import registry
from cuready.env.conda.history import withdraw
from cuready.env.create import Made, Proofs, carry_out
from cuready.env.drift import Damage, damage
from cuready.env.moved import require_in_place
from cuready.env.pip.lock import loads
from cuready.env.plan import EnvPlan, LockFiles, Settings, plan_environment, target_from
from cuready.env.prefix import State
from cuready.env.recipe import Recipe
from cuready.errors import EnvError, InputError

__all__ = ["EXPORTS", "clone", "exported", "locks_of", "recipe_of", "remove", "repair", "state_of"]

EXPORTS = ("environment.yml", "requirements.txt", "pylock.toml", "conda.lock", "recipe.toml")


def state_of(prefix: Path) -> State:
    """The state of an environment of ours. Raises EnvError when it is none, or not finished."""
    state = files.read_state(prefix)
    if state is not None:
        return state
    files.require_readable(prefix)
    if files.read_journal(prefix) is not None:
        raise EnvError(
            f"{prefix} was not finished", hint="`cuready env create` again, or `cuready env remove`"
        )
    if not prefix.exists():
        raise EnvError(
            f"there is no environment at {prefix}",
            hint="where it was moved it is found by its path; `cuready env list` names the others",
        )
    raise EnvError(f"{prefix} was not made by cuready", hint="`cuready env list` says what was")


def recipe_of(state: State) -> Recipe:
    """The recipe that an environment was made from, as it was then."""
    return recipes.loads(state.recipe_text, f"the recipe of {state.name}")


@contextlib.contextmanager
def locks_of(state: State) -> Iterator[LockFiles]:
    """An environment's own locks as files, for the length of a ``with`` block."""
    with tempfile.TemporaryDirectory(prefix="cuready-") as folder:
        found = LockFiles.beside(Path(folder), state.name)
        if state.conda_lock:
            found.conda.write_text(state.conda_lock, "utf-8")
        if state.pip_lock:
            found.pip.write_text(state.pip_lock, "utf-8")
        yield found


def repair(prefix: Path, settings: Settings, proofs: Proofs) -> tuple[list[Damage], Made | None]:
    """Put every damaged package back as the lock says; what is whole is not touched.

    Returns what was found, and what was done (None when there was nothing to do). The caller
    holds the prefix and has settled it.
    """
    state = state_of(prefix)
    require_in_place(prefix, state)
    found = damage(prefix, state)
    if not found:
        return found, None
    relink = [item.name for item in found if item.kind == "conda"]
    again = [item.name for item in found if item.kind == "pip"]
    return found, _again(state, prefix, settings, proofs, relink=relink, reinstall=again)


def clone(source: Path, target: Path, name: str, settings: Settings, proofs: Proofs) -> Made:
    """A second environment from the same locks: the same files, at another path."""
    return _again(state_of(source), target, settings, proofs, name=name)


def _again(
    state: State,
    prefix: Path,
    settings: Settings,
    proofs: Proofs,
    *,
    name: str = "",
    relink: Sequence[str] = (),
    reinstall: Sequence[str] = (),
) -> Made:
    recipe = recipe_of(state)
    target = target_from(state.target)
    with contextlib.ExitStack() as stack:
        locks = stack.enter_context(locks_of(state))
        session = stack.enter_context(settings.conda()) if recipe.uses_conda else None
        plan: EnvPlan = plan_environment(
            recipe,
            target,
            prefix,
            settings,
            name=name or state.name,
            locks=locks,
            session=session,
            relink=relink,
        )
        return carry_out(plan, settings, proofs, session=session, reinstall=reinstall)


def remove(prefix: Path) -> None:
    """Delete an environment that cuready made, whole or not. Raises EnvError for any other."""
    real = prefix.resolve()  # behind a link there is more to remove than the link
    if prefix.is_dir():
        if not files.marked(prefix) and files.read_journal(prefix) is None:
            raise EnvError(
                f"{prefix} was not made by cuready", hint="whoever made it can remove it"
            )
        _require_alone(real)
    files.remove_tree(real)
    with contextlib.suppress(OSError, UnicodeDecodeError):
        withdraw(real)
    if prefix.is_symlink():
        prefix.unlink()
    for place in (real, prefix):  # it may have been made before there was a link
        registry.forget(place)


def _require_alone(prefix: Path) -> None:
    """Raise EnvError when another environment of ours lies in this one: it would go too."""
    inside = [
        entry.prefix
        for entry in registry.everything()
        if entry.status not in ("missing", "foreign") and prefix in entry.prefix.resolve().parents
    ]
    if inside:
        raise EnvError(
            f"{prefix} holds another environment: {inside[0]}",
            hint=f"`cuready env remove {shlex.quote(str(inside[0]))}` first, or move it away",
        )


# --- export --------------------------------------------------------------------------------------


def exported(prefix: Path, target: str) -> str:
    """The environment's exact packages as another tool's file. Raises InputError."""
    state = state_of(prefix)
    if target == "recipe.toml":
        return state.recipe_text
    if target == "pylock.toml":
        return _some(state.pip_lock, state, "pip packages")
    if target == "conda.lock":
        return _some(state.conda_lock, state, "conda packages")
    if target == "requirements.txt":
        return _requirements(state)
    return _environment_yml(prefix, state)


def _some(text: str, state: State, what: str) -> str:
    if not text:
        raise InputError(f"{state.name} has no {what}")
    return text


def _pins(state: State) -> list[str]:
    lock = loads(_some(state.pip_lock, state, "pip packages"), f"the lock of {state.name}")
    return [f"{pin.name}=={pin.version} --hash=sha256:{pin.sha256}" for pin in lock.pins]


def _requirements(state: State) -> str:
    if state.kind == "conda":
        raise InputError(
            f"{state.name} has conda packages, which requirements.txt cannot name",
            hint="--to environment.yml",
        )
    head = [f"# {state.name}: pip install --require-hashes --no-deps -r requirements.txt"]
    index = loads(state.pip_lock).torch_index
    extra = recipe_of(state).extra_indexes
    head += [f"--extra-index-url {url}" for url in (index, *extra) if url]
    return "\n".join((*head, *_pins(state))) + "\n"


def _environment_yml(prefix: Path, state: State) -> str:
    from cuready.env.conda import installed_records

    recipe = recipe_of(state)
    lines = [f"name: {state.name}", "channels:", *(f"  - {name}" for name in recipe.channels)]
    lines += ["  - nodefaults", "dependencies:"]
    if state.kind == "conda":
        found = installed_records(prefix)
        lines += [f"  - {item.name}={item.version}={item.build}" for item in found]
    else:
        lines += [f"  - python={state.python}", "  - pip"]
    if state.pip_lock:
        pins = [text.split(" --hash")[0] for text in _pins(state)]
        index = loads(state.pip_lock).torch_index
        urls = [url for url in (index, *recipe.extra_indexes) if url]
        lines += ["  - pip:", *(f"      - --extra-index-url {url}" for url in urls)]
        lines += [f"      - {pin}" for pin in pins]
    if state.variables:
        quoted = {key: value.replace("'", "''") for key, value in state.variables.items()}
        lines += ["variables:", *(f"  {key}: '{value}'" for key, value in quoted.items())]
    return "\n".join(lines) + "\n"

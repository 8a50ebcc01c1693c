"""``cuready env``: environments from recipes, made, proved, kept and removed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cuready.cli import _common, _env_more, _env_output, _env_work
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.env.plan import EnvPlan

__all__ = ["env"]


@click.group()
def env() -> None:
    """Environments from recipes: plan, fetch through mirrors, link, and prove what was promised."""


@env.command()
@click.argument("recipe")
@click.option(
    "--name",
    "-n",
    callback=_common.not_empty,
    help="Name of the environment; by default the recipe's.",
)
@click.option(
    "--prefix", "-p", callback=_common.not_empty, metavar="DIR", help="Make it in this folder."
)
@click.option("--locked", is_flag=True, help="Install exactly what the lock says.")
@click.option(
    "--lock-dir", callback=_common.not_empty, metavar="DIR", help="Where the lock files are."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_env_work.target_options()
@_env_work.transport_options()
@_env_work.verify_options()
@_common.format_option()
def create(
    recipe: str,
    name: str | None,
    prefix: str | None,
    locked: bool,
    lock_dir: str | None,
    dry_run: bool,
    yes: bool,
    cuda: str | None,
    capability: str | None,
    glibc: str | None,
    subdir: str | None,
    mirrors: tuple[str, ...],
    offline: bool,
    backend: str,
    no_verify: bool,
    output_format: str,
) -> int:
    """Make the environment of RECIPE and prove that it works.

    RECIPE is one of `cuready recipe list`, or a file. Everything is fetched and verified before
    anything is made; what cannot be finished is removed.
    """
    from cuready.env.create import carry_out
    from cuready.env.plan import plan_environment
    from cuready.env.prefix import check_place
    from cuready.env.recipe import find

    if lock_dir and not locked:
        raise click.UsageError("--lock-dir goes with --locked")
    wanted = find(recipe)
    title, path = _env_work.place(wanted, name, prefix)
    locks = _env_work.lock_files(wanted, title, lock_dir) if locked else None
    with contextlib.ExitStack() as stack:
        if not dry_run:
            stack.enter_context(_env_work.held_and_settled(path))
            check_place(path)
        settings = stack.enter_context(_env_work.working(mirrors, offline, backend))
        # The engine starts while the machine is read.
        session = stack.enter_context(settings.conda()) if wanted.uses_conda else None
        snapshot = _env_work.read_machine()
        target = _env_work.target_for(snapshot, cuda, capability, glibc, subdir)
        settings.say("planning")
        plan = plan_environment(
            wanted, target, path, settings, name=title, locks=locks, session=session
        )
        if dry_run or not _agreed(plan, yes):
            return _print_plan(plan, output_format)
        proofs = _env_work.proofs_for(snapshot, not no_verify)
        made = carry_out(plan, settings, proofs, session=session)
    return _env_output.print_made(made, output_format, "made")


def _agreed(plan: EnvPlan, yes: bool) -> bool:
    """Ask a person; a script has said what it wants."""
    if yes or not _env_output.may_ask():
        return True
    for line in _env_output.plan_lines(plan):
        click.echo(line, err=True)
    if not click.confirm("go on?", default=True, err=True):
        raise click.Abort
    return True


def _print_plan(plan: EnvPlan, output_format: str) -> int:
    if output_format == "json":
        _common.emit_json(_common.document({"plan": plan.to_dict()}))
    else:
        for line in _env_output.plan_lines(plan):
            click.echo(line)
    return _common.EXIT_OK


@env.command("list")
@_common.format_option()
def list_environments(output_format: str) -> int:
    """List the environments of cuready, and those that conda knows."""
    from cuready.env.registry import everything

    found = everything()
    if output_format == "json":
        _common.emit_json(_common.document({"environments": [item.to_dict() for item in found]}))
        return _common.EXIT_OK
    width = max((len(item.name) for item in found), default=0)
    for item in found:
        what = item.recipe if item.status == "ready" else item.status
        origin = f"  (moved from {item.moved_from})" if item.moved_from else ""
        click.echo(f"{item.name:<{width}}  {what:<12}  {item.prefix}{origin}")
    if not found:
        click.echo("no environments yet: `cuready env create RECIPE` makes one", err=True)
    return _common.EXIT_OK


@env.command()
@click.argument("environment")
@_common.format_option()
def show(environment: str, output_format: str) -> int:
    """Show what ENVIRONMENT holds and how it was proved.

    ENVIRONMENT is a name, or a folder.
    """
    from cuready.env.moved import moved
    from cuready.env.pip.records import installed

    path, state = _env_work.found_state(environment)
    packages = installed(path)
    wrong = moved(path, state)
    code = _common.EXIT_OK if wrong is None else wrong.exit_code
    if output_format == "json":
        listed = [{"name": item.name, "version": item.version} for item in packages.values()]
        place = {"prefix": str(path), "moved_from": wrong.details["moved_from"] if wrong else ""}
        body = {"environment": {**state.to_dict(), **place}, "packages": listed}
        _common.emit_json(_common.document(body))
        return code
    click.echo(f"{state.name}: recipe {state.recipe}, {state.kind}, Python {state.python}")
    click.echo(f"at {path}, made {state.created}, changed {state.changed}")
    for reason in state.decision.get("reasons", ()):
        click.echo(f"because {reason}")
    for name, value in state.variables.items():
        click.echo(f"sets {name}={value}")
    proof = state.verified
    counts = ", ".join(f"{proof[key]} {key}" for key in ("passed", "failed", "skipped") if proof)
    click.echo(f"proofs: {counts or 'none were run'}")
    for item in packages.values():
        click.echo(f"  {item.name} {item.version}")
    if wrong is not None:
        raise wrong
    return _common.EXIT_OK


@env.command()
@click.argument("recipe")
@click.option(
    "--output", "-o", callback=_common.not_empty, metavar="DIR", help="Folder for the lock files."
)
@_env_work.target_options()
@_env_work.transport_options()
@_common.format_option()
def lock(
    recipe: str,
    output: str | None,
    cuda: str | None,
    capability: str | None,
    glibc: str | None,
    subdir: str | None,
    mirrors: tuple[str, ...],
    offline: bool,
    backend: str,
    output_format: str,
) -> int:
    """Write the locks of RECIPE.

    They are NAME.lock (conda) and pylock.NAME.toml (pip).
    """
    from cuready.env.pip.fetch import fetch_pins
    from cuready.env.plan import LockFiles, lock_texts, plan_environment, save_locks
    from cuready.env.prefix import default_prefix
    from cuready.env.recipe import find, shipped_dir
    from cuready.mirrors.net.cache import Cache

    wanted = find(recipe)
    beside = Path(wanted.path).resolve().parent
    folder = Path(output) if output else Path() if beside == shipped_dir().resolve() else beside
    snapshot = _env_work.read_machine()
    target = _env_work.target_for(snapshot, cuda, capability, glibc, subdir)
    files = LockFiles.beside(folder, wanted.name)
    with contextlib.ExitStack() as stack:
        settings = stack.enter_context(_env_work.working(mirrors, offline, backend))
        session = stack.enter_context(settings.conda()) if wanted.uses_conda else None
        place = default_prefix(f"{wanted.name}.lock")
        plan = plan_environment(wanted, target, place, settings, session=session)
        bare = [pin for pin in plan.pip.pins if not pin.sha256]  # an index that gives no digest
        full = {
            pin.url: pin
            for pin in fetch_pins(bare, plan.every_way, Cache(), on_progress=settings.on_progress)
        }
        pins = [full.get(pin.url, pin) for pin in plan.pip.pins]
        made = save_locks(files, *lock_texts(plan, pins, session))
    if output_format == "json":
        _common.emit_json(_common.document({"locks": [str(path) for path in made]}))
    else:
        for path in made:
            click.echo(f"wrote {path}")
    return _common.EXIT_OK


@env.command()
@click.argument("environment")
@click.option(
    "--recipe",
    metavar="RECIPE",
    callback=_common.not_empty,
    help="Another recipe; by default the one it was made of.",
)
@click.option("--locked", is_flag=True, help="Install exactly what the lock says.")
@click.option(
    "--lock-dir", callback=_common.not_empty, metavar="DIR", help="Where the lock files are."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_env_work.target_options()
@_env_work.transport_options()
@_env_work.verify_options()
@_common.format_option()
def update(
    environment: str,
    recipe: str | None,
    locked: bool,
    lock_dir: str | None,
    dry_run: bool,
    yes: bool,
    cuda: str | None,
    capability: str | None,
    glibc: str | None,
    subdir: str | None,
    mirrors: tuple[str, ...],
    offline: bool,
    backend: str,
    no_verify: bool,
    output_format: str,
) -> int:
    """Bring ENVIRONMENT to the newest packages of its recipe.

    The new one is proved before the old one goes; when a proof fails the old one comes back.
    """
    from cuready.env.create import carry_out
    from cuready.env.maintain import recipe_of
    from cuready.env.plan import plan_environment
    from cuready.env.recipe import find
    from cuready.env.registry import find as find_environment

    path = find_environment(environment).prefix
    with contextlib.ExitStack() as stack:
        stack.enter_context(_env_work.held_and_settled(path))
        path, state = _env_work.found_state(str(path), in_place=True)
        source = recipe or state.recipe_path
        wanted = find(source) if recipe or Path(source).is_file() else recipe_of(state)
        if wanted.uses_conda != (state.kind == "conda"):
            raise InputError(f"{wanted.name} makes another kind of environment than {state.kind}")
        snapshot = _env_work.read_machine()
        said = {name: state.target.get(name) for name in state.target.get("said", ())}
        target = _env_work.target_for(
            snapshot,
            cuda or said.get("cuda"),
            capability or said.get("capability"),
            glibc or said.get("glibc"),
            subdir or state.target.get("subdir"),
        )
        locks = _env_work.lock_files(wanted, state.name, lock_dir) if locked else None
        settings = stack.enter_context(_env_work.working(mirrors, offline, backend))
        session = stack.enter_context(settings.conda()) if wanted.uses_conda else None
        minor = None if wanted.uses_conda else state.python
        plan = plan_environment(
            wanted, target, path, settings, name=state.name, locks=locks, python=minor,
            session=session,
        )  # fmt: skip
        if dry_run or not _agreed(plan, yes):
            return _print_plan(plan, output_format)
        proofs = _env_work.proofs_for(snapshot, not no_verify)
        made = carry_out(plan, settings, proofs, session=session)
    return _env_output.print_made(made, output_format, "updated")


for _command in _env_more.COMMANDS:
    env.add_command(_command)

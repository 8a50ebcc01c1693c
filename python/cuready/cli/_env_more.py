"""The commands of `cuready env` that begin with an environment: verify, repair, clone …"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click

from cuready.cli import _common, _env_output, _env_work
from cuready.errors import InputError

__all__ = ["COMMANDS"]

EXPORTS = ("environment.yml", "requirements.txt", "pylock.toml", "conda.lock", "recipe.toml")
SHELLS = ("bash", "zsh", "fish", "powershell", "cmd")


@click.command()
@click.argument("environment")
@click.option("-v", "--verbose", is_flag=True, help="Show what each proof printed.")
@_common.format_option()
def verify(environment: str, verbose: bool, output_format: str) -> int:
    """Run the imports and proofs of ENVIRONMENT.

    A failure is told with its cause and fix.
    """
    from cuready.env import verify as proving
    from cuready.env.maintain import recipe_of

    path, state = _env_work.found_state(environment, in_place=True)
    proofs = _env_work.proofs_for(_env_work.read_machine(), wanted=True)
    with _env_output.StatusLine() as status:
        found = proving.verify(
            recipe_of(state),
            path,
            state,
            no_gpu=proofs.no_gpu,
            on_check=lambda name: status(f"proving: {name}"),
        )
        if found.failed:
            found = proving.explained(found, proofs.diagnose(path))
    if output_format == "json":
        body = {"environment": state.name, "prefix": str(path), "verification": found.to_dict()}
        _common.emit_json(_common.document(body))
    else:
        for line in _env_output.verification_lines(found, verbose=verbose):
            click.echo(line)
    return _common.EXIT_FAILED if found.failed else _common.EXIT_OK


@click.command()
@click.argument("environment")
@click.option("--dry-run", is_flag=True, help="Only say what is damaged; exit 1 when something is.")
@_env_work.transport_options()
@_env_work.verify_options()
@_common.format_option()
def repair(
    environment: str,
    dry_run: bool,
    mirrors: tuple[str, ...],
    offline: bool,
    backend: str,
    no_verify: bool,
    output_format: str,
) -> int:
    """Put back what differs from what was installed.

    Every file of ENVIRONMENT is compared with its digest.
    """
    from cuready.env import drift, maintain
    from cuready.env.moved import require_in_place
    from cuready.env.registry import find

    path = find(environment).prefix
    with contextlib.ExitStack() as stack:
        stack.enter_context(_env_work.held_and_settled(path))
        state = maintain.state_of(path)
        require_in_place(path, state)
        if dry_run:
            found, made = drift.damage(path, state), None
        else:
            settings = stack.enter_context(_env_work.working(mirrors, offline, backend))
            proofs = _env_work.proofs_for(_env_work.read_machine(), not no_verify)
            found, made = maintain.repair(path, settings, proofs)
    proof = made.verification if made is not None else None
    proofs_failed = _env_output.failed_proofs(proof)
    failed = (dry_run and bool(found)) or bool(proofs_failed)
    if output_format == "json":
        body = {
            "environment": state.name,
            "damaged": [item.to_dict() for item in found],
            "repaired": made is not None and not made.restored,
            "failed_proofs": proofs_failed,
            "verification": proof.to_dict() if proof is not None else None,
        }
        _common.emit_json(_common.document(body))
        return _common.EXIT_FAILED if failed else _common.EXIT_OK
    for item in found:
        click.echo(f"{item.name} ({item.kind}): {item.what}: {item.detail}")
        for name in item.files[:5]:
            click.echo(f"  {name}")
    if proof is not None:
        for line in _env_output.verification_lines(proof):
            click.echo(line)
    if not found:
        click.echo(f"{state.name} is as it was installed")
    elif made is not None and made.restored:
        names = ", ".join(proofs_failed)
        click.echo(f"put back as it was before: repaired, it failed its proofs: {names}")
        click.echo("--no-verify keeps what is repaired, whatever it proves")
    elif made is not None:
        told = f", but its proofs fail: {', '.join(proofs_failed)}" if proofs_failed else ""
        click.echo(f"repaired {state.name}{told}")
    return _common.EXIT_FAILED if failed else _common.EXIT_OK


@click.command()
@click.argument("environment")
@click.option(
    "--to",
    "target",
    type=click.Choice(EXPORTS),
    default="environment.yml",
    show_default=True,
    help="Which file.",
)
@click.option("--output", "-o", callback=_common.not_empty, metavar="FILE", help="Write it here.")
@_common.format_option()
def export(environment: str, target: str, output: str | None, output_format: str) -> int:
    """Write the exact packages of ENVIRONMENT as another tool's file."""
    from cuready._util import write_atomically
    from cuready.env.maintain import exported

    path, _ = _env_work.found_state(environment)
    text = exported(path, target)
    if output is not None:
        try:
            write_atomically(Path(output), text.encode())
        except OSError as error:
            raise InputError(f"{output}: {error.strerror or error}") from None
        click.echo(f"wrote {output}", err=True)
    if output_format == "json":
        _common.emit_json(_common.document({"file": target, "text": text}))
    elif output is None:
        click.echo(text, nl=False)
    return _common.EXIT_OK


@click.command()
@click.argument("environment")
@click.option("--name", "-n", callback=_common.not_empty, help="Name of the new environment.")
@click.option(
    "--prefix", "-p", callback=_common.not_empty, metavar="DIR", help="Make it in this folder."
)
@_env_work.transport_options()
@_env_work.verify_options()
@_common.format_option()
def clone(
    environment: str,
    name: str | None,
    prefix: str | None,
    mirrors: tuple[str, ...],
    offline: bool,
    backend: str,
    no_verify: bool,
    output_format: str,
) -> int:
    """Make a second environment with exactly the same packages.

    They are those in the locks of ENVIRONMENT.
    """
    from cuready.env import maintain
    from cuready.env.prefix import check_place

    if not name and not prefix:
        raise click.UsageError("a clone needs --name or --prefix")
    source, state = _env_work.found_state(environment)
    title, path = _env_work.place(maintain.recipe_of(state), name, prefix)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_env_work.held_and_settled(path))
        check_place(path)
        settings = stack.enter_context(_env_work.working(mirrors, offline, backend))
        proofs = _env_work.proofs_for(_env_work.read_machine(), not no_verify)
        made = maintain.clone(source, path, title, settings, proofs)
    return _env_output.print_made(made, output_format, "made")


@click.command()
@click.argument("environment")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@_common.format_option()
def remove(environment: str, yes: bool, output_format: str) -> int:
    """Remove ENVIRONMENT. Its locks are kept, so that --locked makes it again."""
    from cuready.env.maintain import remove as remove_environment
    from cuready.env.prefix import held
    from cuready.env.registry import find

    entry = find(environment)
    if not yes:
        if not _env_output.may_ask():
            raise click.UsageError("say --yes: nobody can be asked here")
        if not click.confirm(f"remove {entry.prefix}?", err=True):
            raise click.Abort
    with held(entry.prefix):
        remove_environment(entry.prefix)
    if output_format == "json":
        _common.emit_json(_common.document({"removed": str(entry.prefix)}))
    else:
        click.echo(f"removed {entry.prefix}")
    return _common.EXIT_OK


@click.command()
@click.argument("environment")
@click.option("--shell", type=click.Choice(SHELLS), help="Whose script; by default that of $SHELL.")
@_common.format_option()
def activate(environment: str, shell: str | None, output_format: str) -> int:
    """Print the script that activates ENVIRONMENT.

    \b
    eval "$(cuready env activate NAME)"

    `cuready_deactivate` then puts everything back.
    """
    from cuready.env.activate import activation_script, guess_shell

    path, state = _env_work.found_state(environment, in_place=True)
    chosen = shell or guess_shell()
    text = activation_script(path, state, chosen)
    if output_format == "json":
        _common.emit_json(_common.document({"shell": chosen, "script": text}))
        return _common.EXIT_OK
    click.echo(text, nl=False)
    if sys.stdout.isatty():
        click.echo(f'# run it: eval "$(cuready env activate {environment})"', err=True)
    return _common.EXIT_OK


COMMANDS = (verify, repair, export, clone, remove, activate)

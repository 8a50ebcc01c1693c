"""``cuready recipe``: list, show, lint, import and export recipes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cuready.cli import _common
from cuready.errors import InputError

if TYPE_CHECKING:
    from cuready.env.recipe import Recipe


@click.group()
def recipe() -> None:
    """Recipes: what an environment holds, where it may run, and how it proves itself."""


@recipe.command("list")
@_common.format_option()
def list_recipes(output_format: str) -> int:
    """List the recipes that come with cuready."""
    from cuready.env.recipe import shipped

    recipes = shipped()
    if output_format == "json":
        body = [{"name": item.name, "summary": item.summary, "path": item.path} for item in recipes]
        _common.emit_json(_common.document({"recipes": body}))
    else:
        width = max(len(item.name) for item in recipes)
        for item in recipes:
            click.echo(f"{item.name:<{width}}  {item.summary}")
    return _common.EXIT_OK


@recipe.command()
@click.argument("name")
@_common.format_option()
def show(name: str, output_format: str) -> int:
    """Print the recipe NAME, or the one in that file."""
    from cuready._util import tomllib
    from cuready.env.recipe import find

    found = find(name)
    if output_format == "json":
        _common.emit_json(_common.document({"recipe": tomllib.loads(found.text)}))
    else:
        click.echo(found.text, nl=False)
    return _common.EXIT_OK


@recipe.command()
@click.argument("names", nargs=-1)
@_common.format_option()
def lint(names: tuple[str, ...], output_format: str) -> int:
    """Check recipes against their schema and the tables.

    By default all that are shipped.
    """
    from cuready.env.lint import lint_file
    from cuready.env.recipe import find, shipped_dir

    paths = [Path(name) if _is_path(name) else Path(find(name).path) for name in names]
    problems = [
        problem
        for path in paths or sorted(shipped_dir().glob("*.toml"))
        for problem in lint_file(path)
    ]
    if output_format == "json":
        body = {"problems": [problem.to_dict() for problem in problems]}
        _common.emit_json(_common.document(body))
    else:
        for problem in problems:
            click.echo(f"{problem.severity}: {problem.where}: {problem.message}")
        if not problems:
            click.echo("nothing to change")
    failed = any(problem.severity == "error" for problem in problems)
    return _common.EXIT_FAILED if failed else _common.EXIT_OK


def _is_path(name: str) -> bool:
    return name.endswith(".toml") or "/" in name or "\\" in name


@recipe.command("import")
@click.argument("source", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", default="", help="Name of the recipe.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write the recipe here.")
@_common.format_option()
def import_recipe(
    source: tuple[str, ...], name: str, output: Path | None, output_format: str
) -> int:
    """Make a recipe from another tool's file or an install line.

    SOURCE is environment.yml, requirements.txt, pixi.toml, or a quoted install line. What is not
    right any more is brought up to date, and each change is told with its reason.
    """
    from cuready.env.importing.modernise import modernise
    from cuready.env.importing.read import read_any
    from cuready.env.importing.write import recipe_document, recipe_toml
    from cuready.env.recipe import from_document

    request = read_any(" ".join(source))
    modern = modernise(request)
    document = recipe_document(request, modern, name)
    text = recipe_toml(document)
    from_document(document, path="the imported recipe", text=text)
    changes = [change.to_dict() for change in modern.changes]
    if output is not None:
        _write(output, text)
    if output_format == "json":
        _common.emit_json(_common.document({"recipe": document, "changes": changes}))
        return _common.EXIT_OK
    if output is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"wrote {output}", err=True)
    for change in changes:
        arrow = f"{change['was'] or 'added'} → {change['now'] or 'left out'}"
        click.echo(f"changed: {arrow}: {change['why']}", err=True)
    return _common.EXIT_OK


@recipe.command()
@click.argument("name")
@click.option(
    "--to",
    "target",
    type=click.Choice(["environment.yml", "requirements.txt", "pixi.toml"]),
    default="environment.yml",
    show_default=True,
    help="The other tool's file.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write it here.")
@_common.format_option()
def export(name: str, target: str, output: Path | None, output_format: str) -> int:
    """Write the recipe NAME as another tool's file.

    What that file cannot say stands in its comments.
    """
    from cuready.env.importing.write import EXPORTS
    from cuready.env.recipe import find

    found: Recipe = find(name)
    text = EXPORTS[target](found)
    if output is not None:
        _write(output, text)
        click.echo(f"wrote {output}", err=True)
    if output_format == "json":
        body: dict[str, Any] = {"file": target, "text": text}
        _common.emit_json(_common.document(body))
    elif output is None:
        click.echo(text, nl=False)
    return _common.EXIT_OK


def _write(path: Path, text: str) -> None:
    from cuready._util import write_atomically

    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None

"""What `--help` prints fits a terminal of 80 columns, and no line of it is cut off."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from cuready.cli.main import COMMANDS, cli


def commands() -> Iterator[tuple[str, ...]]:
    """The words of every command and subcommand."""
    yield ()
    for name, (module, attribute, _) in COMMANDS.items():
        yield (name,)
        command = getattr(importlib.import_module(f"cuready.cli.{module}"), attribute)
        if isinstance(command, click.Group):
            yield from ((name, below) for below in command.commands)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_help_fits_80_columns_and_says_every_sentence_to_its_end(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(cli, [*words, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    usage, *lines = shown.output.splitlines()
    assert len(usage) <= 80
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line.endswith("...")] == []


def test_the_command_that_activates_stands_on_one_line() -> None:
    shown = CliRunner().invoke(cli, ["env", "activate", "--help"], terminal_width=80)
    assert '  eval "$(cuready env activate NAME)"' in shown.output.splitlines()

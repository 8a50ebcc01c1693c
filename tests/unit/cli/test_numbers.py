"""Every option that takes a number refuses what is none, or out of its range, as wrong usage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cuready.cli._common import FiniteRange
from cuready.cli.main import cli, main

NOT_FINITE = ("nan", "inf", "-inf", "1e400")
# Whole numbers that have no upper end: Python's own, which no library of C is asked about.
OPEN = {("compat", "--limit"), ("engine", "run", "--seed")}


def options(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.ParamType]]:
    """Each option with a number, as the words that lead to it."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options(inner, (*path, name))
    for parameter in command.params:
        if "float" in parameter.type.name or "integer" in parameter.type.name:
            yield (*path, parameter.opts[0]), parameter.type


NUMBERS = dict(options(cli))


def outside(kind: click.ParamType) -> Iterator[str]:
    """Values that are no number, no finite one, or just beyond either end."""
    yield from (*NOT_FINITE, "one", "", "9" * 5000)
    assert isinstance(kind, FiniteRange | click.IntRange)
    if kind.min is not None:
        yield repr(kind.min if kind.min_open else kind.min - 1)
    if kind.max is not None:
        yield from (repr(kind.max + 1), "1" + "0" * 30)


def test_the_options_are_found() -> None:
    assert len(NUMBERS) > 12
    assert ("selftest", "--memory-share") in NUMBERS


@pytest.mark.parametrize("words", NUMBERS, ids=" ".join)
def test_a_number_has_a_range(words: tuple[str, ...]) -> None:
    kind = NUMBERS[words]
    assert isinstance(kind, FiniteRange | click.IntRange)
    assert kind.min is not None
    assert (kind.max is None) == (words in OPEN)


@pytest.mark.parametrize("words", NUMBERS, ids=" ".join)
def test_what_is_out_of_range_is_wrong_usage(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for value in outside(NUMBERS[words]):
        if words in OPEN and value == "9" * 5000:
            continue
        assert main([*words[:-1], f"{words[-1]}={value}"]) == 2, value
        out, err = capsys.readouterr()
        error, hint = err.splitlines()
        assert error.startswith(f"cuready: error: Invalid value for '{words[-1]}'"), value
        assert hint.startswith("  hint: see `cuready ") and out == ""


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--mean", "nan"),
        ("--mean", "0.4,inf"),
        ("--mean", ""),
        ("--std", "-inf"),
    ],
)
def test_numbers_by_channel_are_finite(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "a.plan"
    plan.write_bytes(b"")
    assert main(["engine", "run", str(plan), option, value]) == 2
    out, err = capsys.readouterr()
    assert err.startswith(f"cuready: error: {option} {value!r}: ")
    assert len(err.splitlines()) == 1 and out == ""

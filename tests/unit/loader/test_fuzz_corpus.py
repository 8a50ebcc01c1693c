"""A short, repeatable part of the fuzzing: the kept corpus, and simple damage done to it."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz.targets import MODULES, load
from tests.hang import no_hang

TESTS = Path(__file__).parents[2]
CORPUS = TESTS / "data/fuzz"
ROUNDS = 40
TARGETS = tuple(name for names in MODULES.values() for name in names)


def seeds(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def damaged(data: bytes, randomly: random.Random) -> Iterator[bytes]:
    """The same bytes cut short, with some of them changed, with large numbers in them."""
    for _ in range(ROUNDS):
        copy = bytearray(data)
        for _ in range(randomly.randint(1, 8)):
            place = randomly.randrange(len(copy))
            copy[place : place + 1] = randomly.choice(
                [bytes([randomly.randrange(256)]), b"\xff\xff\xff\xff", bytes(8), b""]
            )
            if not copy:
                break
        yield bytes(copy)
        yield data[: randomly.randrange(len(data))]


@pytest.mark.parametrize("target", TARGETS)
def test_valid_input_and_damaged_input_raise_nothing_but_the_parsers_own_error(target: str) -> None:
    randomly = random.Random(20261123)
    run = load(target)
    run(b"")
    for seed in seeds(target):
        run(seed)
        for data in damaged(seed, randomly):
            run(data)


def long(piece: str, before: str = "", after: str = "") -> str:
    return before + piece * ((LONG - len(before) - len(after)) // len(piece)) + after


LONG = 64_000  # characters, about what a run of the fuzzer makes at most
# What took a parser minutes, or more levels than Python's stack has. A corpus would be too large.
HARD: tuple[tuple[str, str], ...] = (
    ("redact", "-token"),
    ("explain", "CondaHTTPError: HTTP 500 for url <a"),
    ("address", long("a", after="://")),
    ("question", long("-N")),
    ("pip_lock", long("a.", after="a = 1")),
    ("pixi", long("{a = ", before="a = ")),
    ("recipe", long("9", before="a = ")),
    ("requirements", "\n".join(f"p{number}==1" for number in range(7000))),
    ("requirements", long(" ", before="a --has", after="x")),
    ("environment_yml", long(" ", before="dependencies:\n- 'a 1", after="b'")),
    ("environment_yml", long(" ", before='dependencies:\n- "a', after='b\\nc"')),
    ("environment_yml", long("[")),
    ("install_line", long("'a ' ", before="conda install ")),
    ("pip_conf", long(" ", before="\1[a]\nb", after="c")),
    ("uv_toml", "\1" + "\n".join(f"k{number} = 1" for number in range(7000))),
    ("uv_toml", "\1" + "\n".join(f"[k{number}]" for number in range(7000))),
    ("rattler_toml", "\1" + long("a.", after="a = 1")),
    ("condarc", "\0" + "\n".join(f"k{number}: x" for number in range(7000))),
    ("project", long(" ", before="\2torch", after="x")),
    ("environment", long("a/", before="\1")),
)


@pytest.mark.parametrize(
    ("target", "text"), HARD, ids=[f"{name}-{number}" for number, (name, _) in enumerate(HARD)]
)
def test_a_long_input_is_read_to_its_end(target: str, text: str) -> None:
    with no_hang():
        load(target)(text.encode())


@pytest.mark.parametrize("module", MODULES)
def test_the_table_of_modules_names_every_target(module: str) -> None:
    found = importlib.import_module(f"tests.fuzz.targets.{module}").TARGETS
    assert set(found) == set(MODULES[module])


def test_every_target_has_a_corpus_and_it_is_small() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 320 * 1024


def test_the_record_of_hours_knows_every_target_and_no_other() -> None:
    record = json.loads((TESTS / "fuzz/hours.json").read_text())
    assert set(record["targets"]) == set(TARGETS)
    assert all(row["seconds"] > 0 and row["inputs"] > 0 for row in record["targets"].values())

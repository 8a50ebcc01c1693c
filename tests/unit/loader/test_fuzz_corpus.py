"""A short, repeatable part of the fuzzing: the kept corpus, and simple damage done to it."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fuzz.targets import MODULES, load

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

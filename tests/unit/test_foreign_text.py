"""TOML, INI and documents that somebody else wrote: what is refused before anything walks over it."""

from __future__ import annotations

import configparser
import sys

import pytest

from cuready._util import bounded, parse_toml, read_ini, tomllib


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a = " + "[" * 5000, "nested too deeply"),
        ("a = " + "{b = " * 5000, "nested too deeply"),
        ("a." * 5000 + "a = 1", "nested too deeply"),
        ("a . " * 5000 + "a = 1", "nested too deeply"),
        ('"/".' * 5000 + "a = 1", "nested too deeply"),
        ('"\\"".' * 5000 + "a = 1", "nested too deeply"),
        ("'.'." * 5000 + "a = 1", "nested too deeply"),
        ("[" + "a." * 5000 + "a]", "nested too deeply"),
        ("x = {y = \"\"\"\n'\"\"\", " + "a." * 5000 + "a = 1}", "nested too deeply"),
        ("a = " + "9" * 5000, "64 bits"),
        ("a = 0x" + "f" * 5000, "64 bits"),
    ],
    ids=["arrays", "inline tables", "dotted key", "blanks between", "quoted", "escaped", "literal",
         "header", "behind a text of lines", "decimal", "hexadecimal"],
)  # fmt: skip
def test_toml_that_nobody_can_walk_over_or_print_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_toml(text)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50 + "a = 1",
        f"a = '{'1.2.3 ' * 1000}'",
        f"a = [{'{b = 1.5, c.d = 2},' * 200}]",
        f"# {'.' * 1000}\na = '{'.' * 1000}'",
        "a = -9223372036854775808\nb = 18446744073709551615",
    ],
    ids=["a deep key", "many dots", "many short keys", "dots alone", "64 bits"],
)
def test_toml_that_is_only_long_is_read(text: str) -> None:
    assert parse_toml(text) == tomllib.loads(text)


def test_broken_toml_says_where() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="line 2"):
        parse_toml("a = 1\nb\n")


def test_a_document_is_counted_with_what_its_aliases_stand_for() -> None:
    document: list[object] = ["x"]
    for _ in range(20):
        document = [document] * 3
    with pytest.raises(ValueError, match="more than 1000 values"):
        bounded(document, 1000)
    itself: list[object] = []
    itself.append(itself)
    with pytest.raises(ValueError, match="nested too deeply"):
        bounded(itself, sys.maxsize)
    assert bounded({"a": [1, "x", None]}, 4) == {"a": [1, "x", None]}


@pytest.mark.parametrize("rest", ["x", "x = 1", "\n"])
def test_an_ini_line_of_blanks_is_refused_by_its_line(rest: str) -> None:
    with pytest.raises(configparser.ParsingError) as caught:
        read_ini(configparser.RawConfigParser(), f"[a]\nb = 1\nc{' ' * 60_000}{rest}")
    assert caught.value.errors[0][0] == 3


def test_an_ini_file_with_usual_blanks_is_read() -> None:
    parser = configparser.RawConfigParser()
    read_ini(parser, f"[a]\nb{' ' * 100}= 1\n{' ' * 2000}\n\n    \n")
    assert dict(parser.items("a")) == {"b": "1"}

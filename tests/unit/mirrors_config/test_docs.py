"""What docs/how-to/mirrors.md promises is there: kinds of lint, commands, an entry of one's own."""

from __future__ import annotations

import re
from pathlib import Path

from cuready.cli.mirror import mirror
from cuready.mirrors import catalogue, lint

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "mirrors.md"


def test_the_page_names_every_kind_of_fault() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)`", PAGE.read_text(encoding="utf-8")))
    assert set(lint.KINDS) <= named


def test_the_page_calls_only_commands_and_options_that_exist() -> None:
    text = PAGE.read_text(encoding="utf-8")
    calls = re.findall(r"cuready mirror ([a-z]+)([^`#\n|]*)", text)
    assert len(calls) >= 12
    for name, rest in calls:
        command = mirror.commands[name]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, (name, rest)


def test_the_pages_own_mirror_is_one_that_the_catalogue_takes(tmp_path: Path) -> None:
    block = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    path = tmp_path / "mirrors.toml"
    path.write_text(block.group(1), encoding="utf-8")
    lab = catalogue.load(path).get("lab")
    assert lab.uses == ("conda", "pypi", "torch")

"""An environment that was moved or copied: its scripts name the folder that it was made in."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.integration.env_pip.conftest import Program

from cuready._util import parse_json
from cuready.env.state import State


@pytest.fixture
def made(program: Program) -> Path:
    """The small environment in a folder of its own."""
    prefix = program.home / "here" / "env"
    program("env", "create", program.recipe(), "--prefix", str(prefix), "--no-verify")
    return prefix


def change_state(environment: Path, **fields: object) -> None:
    file = environment / ".cuready/env.json"
    document = parse_json(file.read_bytes())
    kept = {key: value for key, value in {**document, **fields}.items() if value is not None}
    file.write_text(json.dumps(kept))


def test_a_moved_environment_is_said_to_be_and_neither_run_nor_changed(
    program: Program, made: Path
) -> None:
    there = program.home / "there dir"
    made.rename(there)
    for command in (
        ("verify",),
        ("activate",),
        ("update", "--yes"),
        ("repair", "--dry-run"),
        ("repair",),
    ):
        name, *more = command
        error = program.json("env", name, str(there), *more, code=1)["error"]
        assert error["type"] == "EnvError"
        assert f"{there} was moved here from {made}" in error["message"]
        assert str(made) in error["hint"] and "cuready env clone" in error["hint"]
        assert error["details"] == {"moved_from": str(made)}
    done = program("env", "activate", str(there), code=1)
    assert done.stdout == "" and done.stderr.count("\n") == 2


def test_a_moved_environment_is_listed_shown_and_found_by_the_doctor(
    program: Program, made: Path
) -> None:
    there = program.prefix("there")
    there.parent.mkdir(parents=True)
    made.rename(there)
    shown = program("env", "show", str(there), code=1)
    assert "hello 2.0" in shown.stdout
    assert f"was moved here from {made}" in shown.stderr
    document = program.json("env", "show", str(there), code=1)
    assert document["environment"]["moved_from"] == str(made)
    assert f"moved from {made}" in program("env", "list").stdout
    listed = program.json("env", "list")["environments"]
    entry = next(item for item in listed if item["prefix"] == str(there))
    assert entry["status"] == "moved" and entry["moved_from"] == str(made)
    found = program.json("doctor", "--prefix", str(there), "--only", "ENV", code=1)["findings"]
    assert [item["id"] for item in found] == ["ENV04"]
    assert str(made) in found[0]["cause"] and str(there) in found[0]["fix"][0]["commands"][0]


def test_what_the_message_says_mends_it(program: Program, made: Path) -> None:
    there = program.home / "there dir"
    made.rename(there)
    hint = program.json("env", "verify", str(there), code=1)["error"]["hint"]
    command = hint.partition("`cuready ")[2].partition("`")[0].replace("NEW", "anew")
    assert program.json(*shlex.split(command))["verification"]["failed"] == 0
    there.rename(made)
    assert program.json("env", "verify", str(made))["verification"]["passed"] == 2


def test_a_copy_is_said_to_be_one_and_the_first_is_as_it_was(program: Program, made: Path) -> None:
    copy = program.home / "copy"
    shutil.copytree(made, copy, symlinks=True)
    error = program.json("env", "verify", str(copy), code=1)["error"]
    assert f"{copy} is a copy of {made}" in error["message"]
    program("env", "verify", str(made))
    program("env", "remove", str(copy), "--yes")
    assert made.is_dir() and not copy.exists()


def test_its_packages_can_still_be_exported_and_it_can_be_removed(
    program: Program, made: Path
) -> None:
    there = program.home / "there"
    made.rename(there)
    assert "hello==2.0" in program("env", "export", str(there), "--to", "requirements.txt").stdout
    program("env", "remove", str(there), "--yes")
    assert not there.exists()


def test_another_way_to_the_same_folder_is_no_move(program: Program, made: Path) -> None:
    link = program.home / "link"
    link.symlink_to(made.parent)
    for way in (link / "env", made / "../env", Path(f"{made}/")):
        program("env", "verify", str(way))
        program("env", "show", str(way))
    # Moved to another disk, with a link in its old place: all its paths still lead there.
    disk = program.home / "disk"
    made.rename(disk)
    made.symlink_to(disk)
    for way in (made, disk):
        program("env", "verify", str(way))
    found = program.json("doctor", "--prefix", str(disk), "--only", "ENV")["findings"]
    assert found == []
    said = subprocess.run([disk / "bin/hello"], check=True, capture_output=True, text=True)
    assert said.stdout == "hello 2.0\n"


@pytest.mark.parametrize("value", [None, "", "a\0b"], ids=["older", "empty", "a null"])
def test_a_state_without_a_usable_place_is_read_as_before(
    program: Program, made: Path, value: object
) -> None:
    change_state(made, prefix=value)
    there = program.home / "there"
    made.rename(there)
    program("env", "show", str(there))
    program.json("doctor", "--prefix", str(there), "--only", "ENV")


def test_an_update_that_was_cut_short_is_settled_where_the_environment_is_now(
    program: Program,
) -> None:
    """The folder above was moved, with the work folder beside the environment."""
    prefix = program.home / "here" / "env"
    program("env", "create", program.recipe("==1.0", "1.0"), "-p", str(prefix), "--no-verify")
    program.recipe()
    kill = {"CUREADY_ENV_KILL_AT": "journal-swapped"}
    assert program("env", "update", str(prefix), "--yes", code=None, **kill).returncode == -9
    there = program.home / "there"
    prefix.parent.rename(there)
    told = program("env", "repair", str(there / "env"), code=1)
    assert "rolled back" in told.stderr and f"was moved here from {prefix}" in told.stderr
    assert [item.name for item in there.iterdir()] == ["env"]
    shown = program.json("env", "show", str(there / "env"), code=1)
    assert {item["name"]: item["version"] for item in shown["packages"]}["hello"] == "1.0"


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"name": 5}', b"\0"])
def test_a_marker_that_cannot_be_read_is_named_and_the_environment_can_be_removed(
    program: Program, made: Path, damage: bytes
) -> None:
    marker = made / ".cuready/env.json"
    marker.write_bytes(damage)
    for command in (("show",), ("verify",), ("update", "--yes"), ("repair",)):
        name, *more = command
        error = program.json("env", name, str(made), *more, code=1)["error"]
        assert str(marker) in error["message"] and "cannot be read" in error["message"]
        assert "cuready env remove" in error["hint"]
    entry = program.json("env", "list")["environments"][0]
    assert (entry["name"], entry["status"]) == ("env", "damaged")
    refused = program("env", "create", program.recipe(), "--prefix", str(made), code=1)
    assert str(marker) in refused.stderr
    program("env", "remove", str(made), "--yes")
    assert not made.exists()


def test_a_link_in_place_of_an_environment_stays_one_when_it_is_changed(program: Program) -> None:
    """As after a move to a larger disk: the environment must not come back to the small one."""
    program("env", "create", program.recipe("==1.0", "1.0"), "--no-verify")
    disk = program.home / "disk" / "env"
    disk.parent.mkdir()
    program.prefix().rename(disk)
    program.prefix().symlink_to(disk)
    program.recipe()
    assert program.json("env", "update", "small", "--yes")["changed"] == ["hello 2.0"]
    next(disk.glob("lib/python3.*/site-packages/helper.py")).unlink()
    assert program.json("env", "repair", "small")["repaired"] is True
    assert program.prefix().is_symlink() and program.prefix().resolve() == disk
    assert [item.name for item in disk.parent.iterdir()] == ["env"]
    said = subprocess.run([disk / "bin/hello"], check=True, capture_output=True, text=True)
    assert said.stdout == "hello 2.0\n"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"variables": {"A": 5}},
        {"variables": {"A; reboot": "x"}},
        {"target": {}},
        {"target": {"subdir": "linux-64", "said": 5}},
        {"decision": {"reasons": 5}},
        {"verified": {"passed": "x"}},
        {"records": {"hello": 5}},
    ],
    ids=str,
)
def test_a_marker_with_values_of_other_kinds_cannot_be_read(change: dict[str, Any]) -> None:
    whole = {
        "name": "x", "kind": "venv", "recipe": "x", "recipe_text": "", "python": "3.12",
        "created": "", "changed": "", "target": {"subdir": "linux-64", "said": [], "cuda": None},
        "verified": {"passed": 1, "failed": 0, "skipped": 0}, "variables": {"A_1": "b"},
    }  # fmt: skip
    assert State.from_dict(whole).kind == "venv"
    with pytest.raises((TypeError, ValueError), match=next(iter(change))):
        State.from_dict({**whole, **change})

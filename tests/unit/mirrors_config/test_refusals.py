"""What must not be touched is not touched; the message names the file, the line and the cure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cuready.errors import ConfigError, CureadyError, IncompleteError, InputError
from cuready.mirrors import atomic, config
from cuready.mirrors.catalogue import Catalogue, Mirror
from cuready.mirrors.journal import Journal
from cuready.mirrors.locations import Tool

BROKEN: list[tuple[Tool, str, bytes, int, str]] = [
    ("conda", "tab", b"channels:\n\t- conda-forge\n", 2, "\\t"),
    ("conda", "duplicate key", b"channels: [a]\n\nchannels: [b]\n", 3, "stands twice"),
    ("conda", "nested duplicate", b"custom_channels:\n  a: http://x\n  a: http://y\n", 3, "twice"),
    ("conda", "channels is text", b"always_yes: true\nchannels: conda-forge\n", 2, "a list"),
    ("conda", "channels holds a number", b"channels:\n  - 3\n", 2, "channel names"),
    ("conda", "a list at the top", b"- channels\n", 1, "mapping"),
    ("conda", "unclosed", b"channels: [a,\n  b\n", 3, "expected"),
    ("conda", "unknown alias", b"channels: *c\n", 1, "undefined alias"),
    ("conda", "utf-16", "channels: [a]\n".encode("utf-16"), 1, "UTF-16"),
    ("conda", "latin-1", b"channels: [a]\n# caf\xe9\n", 2, "UTF-8"),
    ("conda", "binary", b"channels: [a]\n\0\0", 2, "NUL"),
    ("conda", "python tag", b"channels: !!python/object:os.system []\n", 1, "tag"),
    ("conda", "alias bomb", b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((c + 1,) * 2 + (c,) * 9)
        for c in range(ord("a"), ord("i"))), 6, "expand"),
    ("conda", "alias in itself", b"a: &a [*a]\n", 1, "itself"),
    ("pip", "section twice", b"[global]\ntimeout = 1\n[global]\ntimeout = 2\n", 3, "twice"),
    ("pip", "option twice", b"[global]\nindex-url = a\nIndex_URL = b\n", 3, "twice"),
    ("pip", "no section", b"index-url = https://x/simple\n", 1, "section"),
    ("pip", "no option", b"[global]\njust words\n", 2, "not an option"),
    ("pip", "default section", b"[DEFAULT]\nindex-url = a\n", 2, "DEFAULT"),
    ("uv", "not toml", b"index-url = \n", 1, "value"),
    ("pip", "a line of blanks", b"[global]\nindex-url" + b" " * 60_000 + b"x\n", 2, "blanks"),
    ("uv", "a deep key", b"a." * 5000 + b"a = 1\n", 1, "nested"),
    ("uv", "deep arrays", b"a = " + b"[" * 5000, 1, "nested"),
    ("uv", "a long integer", b"a = " + b"9" * 5000 + b"\n", 1, "64 bits"),
    ("rattler", "a long integer", b"a = 0x" + b"f" * 5000 + b"\n", 1, "64 bits"),
    ("uv", "key twice", b"offline = true\noffline = false\n", 2, "overwrite"),
    ("uv", "index is text", b"index = 'x'\n", 1, "[[index]]"),
    ("uv", "index without url", b"offline = true\n[[index]]\nname = 'x'\n", 3, "without url"),
    ("rattler", "mirrors is text", b"\nmirrors = 'x'\n", 2, "table"),
    ("rattler", "mirror is no list", b"[mirrors]\n'https://a' = 'https://b'\n", 2, "no list"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "data", "line", "word"),
    [(tool, data, line, word) for tool, _, data, line, word in BROKEN],
    ids=[f"{tool}-{name}" for tool, name, *_ in BROKEN],
)
def test_a_file_that_the_tool_cannot_read_is_refused_by_line_and_stays(
    tool: Tool, data: bytes, line: int, word: str, tmp_path: Path, tuna: Mirror, known: Catalogue
) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        config.plan_use({tool: path}, {tool: tuna}, known)
    message = caught.value.message
    assert message.startswith(f"{path}:{line}: ")
    assert word in message
    assert "\n" not in message
    assert caught.value.hint
    assert path.read_bytes() == data


def test_a_value_that_comes_by_a_yaml_merge_is_left_to_the_user(
    tmp_path: Path, tuna: Mirror, known: Catalogue
) -> None:
    path = tmp_path / ".condarc"
    body = (
        "base: &b {conda-forge: https://mirrors.ustc.edu.cn/anaconda/cloud}\n"
        "custom_channels:\n  <<: *b\n  bioconda: https://mirrors.ustc.edu.cn/anaconda/cloud\n"
    )
    path.write_text(body)
    with pytest.raises(ConfigError, match=r":3: .*merge or alias") as caught:
        config.plan_use({"conda": path}, {"conda": tuna}, known)
    assert "by hand" in caught.value.hint
    plan = config.plan_defaults({"conda": path}, known)[0]
    assert b"custom_channels" not in (plan.after or b"")


def test_names_that_yaml_takes_for_numbers_are_nobodys_channels(
    tmp_path: Path, tuna: Mirror, known: Catalogue
) -> None:
    path = tmp_path / ".condarc"
    path.write_text("custom_channels:\n  1.5: https://x.example\n  yes: https://y.example\n")
    plan = config.plan_use({"conda": path}, {"conda": tuna}, known)[0]
    assert b"  conda-forge: https://mirrors.tuna" in (plan.after or b"")
    assert config.plan_defaults({"conda": path}, known)[0].changes is False


def planned(path: Path, tuna: Mirror, known: Catalogue) -> list[config.Plan]:
    return config.plan_use({"pip": path}, {"pip": tuna}, known)


def test_a_file_that_changed_after_the_plan_is_left_alone(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    plans = planned(path, tuna, known)
    path.write_text("[global]\ntimeout = 1\n")
    with pytest.raises(ConfigError, match="changed by another program"):
        config.apply(plans, "use tuna", journal)
    assert path.read_text() == "[global]\ntimeout = 1\n"


def test_a_file_that_appeared_after_the_plan_is_left_alone(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    plans = planned(path, tuna, known)
    path.write_text("[global]\n")
    with pytest.raises(ConfigError, match="changed by another program"):
        config.apply(plans, "use tuna", journal)
    assert path.read_text() == "[global]\n"


def test_restore_refuses_a_file_that_was_edited_since_and_says_where_the_bytes_are(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    config.apply(planned(path, tuna, known), "use tuna", journal)
    edited = path.read_text() + "timeout = 1\n"
    path.write_text(edited)
    with pytest.raises(ConfigError, match="was changed since") as caught:
        config.plan_restore(["pip"], journal)
    assert str(journal.root) in caught.value.hint
    assert path.read_text() == edited


def test_a_read_only_file_is_respected(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="read-only") as caught:
        config.apply(planned(path, tuna, known), "use tuna", journal)
    assert "chmod" in caught.value.hint
    assert caught.value.exit_code == 1
    assert path.read_text() == "[global]\n"
    assert journal.operations() == []


def test_one_read_only_file_of_two_leaves_both_alone(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    one, two = tmp_path / "pip.conf", tmp_path / "uv.toml"
    one.write_text("[global]\n")
    two.write_text("offline = false\n")
    two.chmod(0o400)
    plans = config.plan_use({"pip": one, "uv": two}, {"pip": tuna, "uv": tuna}, known)
    with pytest.raises(ConfigError, match="read-only"):
        config.apply(plans, "use tuna", journal)
    assert one.read_text() == "[global]\n"


def test_a_write_that_fails_takes_the_earlier_ones_back(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, two = tmp_path / "pip.conf", tmp_path / "uv.toml"
    one.write_text("[global]\n")
    plans = config.plan_use({"pip": one, "uv": two}, {"pip": tuna, "uv": tuna}, known)
    real = atomic.write

    def full_disk(state: atomic.FileState, data: bytes, *, mode: int | None = None) -> None:
        if state.path == two:
            raise ConfigError(f"{two}: cannot be written: No space left on device")
        real(state, data, mode=mode)

    monkeypatch.setattr(atomic, "write", full_disk)
    with pytest.raises(ConfigError, match="No space left"):
        config.apply(plans, "use tuna", journal)
    assert one.read_text() == "[global]\n"
    assert not two.exists()
    assert config.plan_restore(["pip", "uv"], journal) is None


def test_a_symbolic_link_stays_a_link_and_its_file_is_replaced(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    real = tmp_path / "dotfiles" / "pip.conf"
    real.parent.mkdir()
    real.write_text("[global]\n")
    link = tmp_path / "pip.conf"
    link.symlink_to("dotfiles/pip.conf")
    config.apply(planned(link, tuna, known), "use tuna", journal)
    assert link.is_symlink()
    assert "tuna" in real.read_text()
    found = config.plan_restore(["pip"], journal)
    assert found is not None
    config.restore(found, journal)
    assert link.is_symlink()
    assert real.read_text() == "[global]\n"


def test_a_dangling_link_gets_the_file_that_it_points_to(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    link = tmp_path / "pip.conf"
    link.symlink_to(tmp_path / "later" / "pip.conf")
    config.apply(planned(link, tuna, known), "use tuna", journal)
    assert link.is_symlink()
    assert "tuna" in (tmp_path / "later" / "pip.conf").read_text()


@pytest.mark.parametrize("kind", ["folder", "pipe", "link loop", "too large"])
def test_what_is_no_configuration_file_is_refused(
    kind: str, tmp_path: Path, tuna: Mirror, known: Catalogue
) -> None:
    path = tmp_path / "pip.conf"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"#" * (atomic.MAX_BYTES + 1))
    with pytest.raises(ConfigError, match=r"pip\.conf"):
        planned(path, tuna, known)


def test_a_name_that_is_a_file_on_the_way_is_refused(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    (tmp_path / "pip").write_text("a file where a folder should be")
    path = tmp_path / "pip" / "pip.conf"
    with pytest.raises(ConfigError, match=r"pip\.conf"):
        config.apply(planned(path, tuna, known), "use tuna", journal)


def test_extended_attributes_and_rights_stay(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    path.chmod(0o604)
    try:
        os.setxattr(path, "user.note", b"mine")
        attributes = True
    except OSError:  # a file system without them: the rights are still checked
        attributes = False
    config.apply(planned(path, tuna, known), "use tuna", journal)
    assert path.stat().st_mode & 0o777 == 0o604
    if attributes:
        assert os.getxattr(path, "user.note") == b"mine"


def test_a_backup_is_for_its_owner_alone_because_it_may_hold_a_token(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\nindex-url = https://me:secret@pypi.corp.example/simple\n")
    config.apply(planned(path, tuna, known), "use tuna", journal)
    for folder in journal.root.iterdir():
        if folder.is_dir():
            assert folder.stat().st_mode & 0o777 == 0o700
            for entry in folder.iterdir():
                assert entry.stat().st_mode & 0o777 == 0o600


def test_a_damaged_backup_is_noticed_before_anything_changes(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    operation = config.apply(planned(path, tuna, known), "use tuna", journal)
    assert operation is not None
    (journal.root / operation.id / "before-0").write_text("[else]\n")
    written = path.read_text()
    with pytest.raises(ConfigError, match="damaged"):
        config.plan_restore(["pip"], journal)
    assert path.read_text() == written


def test_a_journal_entry_that_is_no_json_is_named(journal: Journal) -> None:
    (journal.root / "x").mkdir(parents=True)
    (journal.root / "x" / "operation.json").write_text("{")
    with pytest.raises(ConfigError, match=r"x/operation\.json: not a journal entry"):
        journal.operations()


def test_two_commands_at_once_do_not_mix(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    import filelock

    monkeypatch.setattr("cuready.mirrors.journal.LOCK_SECONDS", 0.05)
    path = tmp_path / "pip.conf"
    plans = planned(path, tuna, known)
    journal.root.mkdir()
    with (
        filelock.FileLock(journal.root / "lock"),
        pytest.raises(IncompleteError, match="another cuready"),
    ):
        config.apply(plans, "use tuna", journal)
    assert not path.exists()


def test_restores_go_back_one_operation_at_a_time(
    tmp_path: Path, known: Catalogue, journal: Journal
) -> None:
    path = tmp_path / "pip.conf"
    path.write_text("[global]\n")
    history = [path.read_bytes()]
    for name in ("tuna", "aliyun", "ustc"):
        config.apply(
            config.plan_use({"pip": path}, {"pip": known.get(name)}, known), f"use {name}", journal
        )
        history.append(path.read_bytes())
    for expected in reversed(history[:-1]):
        found = config.plan_restore(["pip"], journal)
        assert found is not None
        config.restore(found, journal)
        assert path.read_bytes() == expected
    assert config.plan_restore(["pip"], journal) is None


def test_restore_for_one_tool_leaves_the_others_in_force(
    tmp_path: Path, tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    one, two = tmp_path / "pip.conf", tmp_path / "uv.toml"
    plans = config.plan_use({"pip": one, "uv": two}, {"pip": tuna, "uv": tuna}, known)
    config.apply(plans, "use tuna", journal)
    found = config.plan_restore(["uv"], journal)
    assert found is not None
    config.restore(found, journal)
    assert one.exists()
    assert not two.exists()


def test_a_mirror_without_that_use_is_a_programming_error_not_a_silent_success(
    tmp_path: Path, known: Catalogue
) -> None:
    with pytest.raises(ValueError, match="carries no conda channels"):
        config.plan_use({"conda": tmp_path / "x"}, {"conda": known.get("hust")}, known)


def test_an_unknown_mirror_is_named_with_those_there_are(known: Catalogue) -> None:
    with pytest.raises(InputError, match="no mirror is called 'tsinghua'") as caught:
        known.get("tsinghua")
    assert "tuna" in caught.value.hint


def test_every_refusal_is_an_error_of_ours() -> None:
    assert issubclass(ConfigError, CureadyError)

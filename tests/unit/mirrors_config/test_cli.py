"""`cuready mirror` as a person or a script calls it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cuready.cli.main import main

CONDARC = "# mine\r\nchannels:\r\n  - conda-forge   # first\r\n"


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = main(["mirror", *argv, "--format", "json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    return code, document


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below the home but the journal."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".local" not in path.parts
    }


def test_list_shows_every_operator_and_warns_of_old_entries(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", "list"]) == 0
    said = capsys.readouterr()
    for name in ("tuna", "ustc", "aliyun", "find-links"):
        assert name in said.out
    assert "older than 90 days" in said.err
    code, document = run_json(capsys, "list", "--for", "torch")
    assert code == 0
    assert {item["name"] for item in document["mirrors"]} == {"official", "sjtug", "nju", "aliyun"}
    assert len(document["pasted"]) >= 15


def test_list_of_pasted_addresses_says_what_to_use_instead(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", "list", "--pasted"]) == 0
    assert "pypi.douban.com" in capsys.readouterr().out


def test_use_show_restore_go_round_byte_for_byte(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".condarc").write_bytes(CONDARC.encode())
    before = everything(home)
    code, document = run_json(capsys, "use", "tuna")
    assert code == 0
    assert [item["changed"] for item in document["files"]] == [True] * 4
    assert document["operation"]
    assert b"# first\r\n" in (home / ".condarc").read_bytes()
    code, shown = run_json(capsys, "show")
    values = {view["tool"]: view["values"] for view in shown["tools"]}
    assert values["pip"]["index-url"]["value"] == "https://pypi.tuna.tsinghua.edu.cn/simple"
    assert values["uv"]["default-index"]["value"] == "https://pypi.tuna.tsinghua.edu.cn/simple"
    addresses = values["conda"]["addresses"]["value"]
    assert addresses["conda-forge"].startswith(
        "https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud"
    )
    assert main(["mirror", "restore"]) == 0
    assert everything(home) == before


def test_a_dry_run_shows_a_diff_and_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".condarc").write_text("channels: [conda-forge]\n")
    before = everything(home)
    assert main(["mirror", "use", "ustc", "--for", "conda", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "+  conda-forge: https://mirrors.ustc.edu.cn/anaconda/cloud" in said
    assert "\x1b" not in said
    assert everything(home) == before
    assert not (home / ".local").exists()


def test_a_diff_hides_passwords(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[global]\nextra-index-url = https://me:secret@x.example/simple\n")
    assert main(["mirror", "use", "ustc", "--for", "pip", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "secret" not in said.out + said.err
    assert "***@x.example" in said.out


def test_official_takes_the_mirrors_out_again(home: Path) -> None:
    (home / ".condarc").write_text("channels: [conda-forge]\nalways_yes: true\n")
    main(["mirror", "use", "tuna"])
    main(["mirror", "use", "ustc"])
    assert main(["mirror", "use", "official"]) == 0
    assert (home / ".condarc").read_text() == "channels: [conda-forge]\nalways_yes: true\n"
    assert "mirrors" not in (home / ".config/rattler/config.toml").read_text()
    assert main(["mirror", "restore"]) == 0
    assert "ustc" in (home / ".condarc").read_text()


def test_restore_defaults_does_the_same(home: Path) -> None:
    main(["mirror", "use", "tuna"])
    assert main(["mirror", "restore", "--defaults", "--for", "pip"]) == 0
    assert (home / ".config/pip/pip.conf").read_text() == "[global]\n"
    assert "tuna" in (home / ".config/uv/uv.toml").read_text()


def test_remove_takes_out_one_channel(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://mirrors.tuna.tsinghua.edu.cn/anaconda/pkgs/free"
    (home / ".condarc").write_text(f"channels:\n  - conda-forge\n  # old\n  - {url}/ # slow\n")
    assert main(["mirror", "remove", url]) == 0
    assert (home / ".condarc").read_text() == "channels:\n  - conda-forge\n  # old\n"
    capsys.readouterr()
    assert main(["mirror", "remove", url]) == 2
    assert "stands in none of" in capsys.readouterr().err


def test_an_environment_has_files_of_its_own(home: Path, tmp_path: Path) -> None:
    (tmp_path / "env").mkdir()
    assert main(["mirror", "use", "tuna", "--scope", "env", "--prefix", "../env"]) == 0
    assert sorted(path.name for path in (tmp_path / "env").iterdir()) == [".condarc", "pip.conf"]
    assert everything(home) == {}
    assert main(["mirror", "restore"]) == 0
    assert list((tmp_path / "env").iterdir()) == []


def test_a_variable_that_wins_is_named_after_use(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert main(["mirror", "use", "tuna", "--for", "pip"]) == 0
    said = capsys.readouterr().err
    assert "pip will still use https://other.example/simple, set by $PIP_INDEX_URL" in said


def test_a_byte_order_mark_that_pip_cannot_read_is_kept_and_named(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / ".config" / "pip" / "pip.conf"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xef\xbb\xbf[global]\n")
    assert main(["mirror", "use", "tuna", "--for", "pip"]) == 0
    assert path.read_bytes().startswith(b"\xef\xbb\xbf[global]\nindex-url")
    assert "byte order mark" in capsys.readouterr().err


def test_a_broken_file_stops_everything_before_anything_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".condarc").write_text("channels:\n\t- conda-forge\n")
    before = everything(home)
    assert main(["mirror", "use", "tuna"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"cuready: error: {home}/.condarc:2: ")
    assert "Traceback" not in said
    assert everything(home) == before


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["use", "nowhere"], "no mirror is called"),
        (["use", "hust", "--for", "conda"], "carries nothing for conda"),
        (["use", "tuna", "--scope", "env"], "no environment is active"),
        (["use", "tuna", "--scope", "env", "--prefix", "missing"], "no such environment"),
        (["use", "tuna", "--for", "uv", "--scope", "env"], "no configuration file"),
        (["use", "tuna", "--for", "npm"], "npm"),
        (["test", "hust", "--for", "conda"], "none carries conda"),
        (["lint", "missing/.condarc"], "no such file"),
        (["lint", "setup.cfg"], "no tool reads"),
    ],
)
def test_wrong_usage_ends_with_2_and_one_clear_line(
    argv: list[str], word: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", *argv]) == 2
    said = capsys.readouterr().err
    assert word in said
    assert len(said.splitlines()) <= 2


def test_an_operator_without_conda_leaves_conda_alone_when_all_is_meant(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", "use", "hust"]) == 0
    assert "conda left alone: hust carries nothing for it" in capsys.readouterr().err
    assert sorted(everything(home)) == [".config/pip/pip.conf", ".config/uv/uv.toml"]


def test_lint_ends_with_1_for_errors_and_with_0_for_warnings(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".condarc").write_text("channels: [conda-forge, nodefaults]\n")
    code, document = run_json(capsys, "lint")
    assert code == 1
    finding = document["findings"][0]
    assert (finding["kind"], finding["line"]) == ("nodefaults", 1)
    assert main(["mirror", "lint"]) == 1
    assert f"{home}/.condarc:1: error: nodefaults" in capsys.readouterr().out
    (home / ".condarc").write_text("channels: [defaults, conda-forge]\n")
    assert main(["mirror", "lint"]) == 0
    assert main(["mirror", "lint", "--strict"]) == 1
    (home / ".condarc").write_text("channels: [conda-forge]\n")
    assert main(["mirror", "lint", "--strict"]) == 0


def test_lint_reads_named_files_of_any_name(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "ci.conf"
    path.write_text("[global]\nindex-url = http://pypi.douban.com/simple\n")
    assert main(["mirror", "lint", str(path), "--as", "pip"]) == 1


def test_restore_without_anything_to_restore_says_so(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mirror", "restore"]) == 0
    assert "nothing to restore" in capsys.readouterr().out

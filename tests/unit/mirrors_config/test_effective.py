"""What each tool will use, by its own rules of precedence over files and variables."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuready.errors import InputError
from cuready.mirrors import effective
from cuready.mirrors.locations import Machine, Scope, Tool, layers, target


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def with_(machine: Machine, **environ: str) -> Machine:
    return dataclasses.replace(machine, environ=environ)


def value(tool: Tool, key: str, machine: Machine) -> tuple[object, str]:
    origin = effective.read(tool, machine).values[key]
    return origin.value, origin.source


def test_pip_takes_the_users_file_before_the_machines(machine: Machine) -> None:
    put(machine.root / "etc/pip.conf", "[global]\nindex-url = https://system/simple\n")
    user = put(machine.home / ".config/pip/pip.conf", "[global]\nindex-url = https://user/simple\n")
    assert value("pip", "index-url", machine) == ("https://user/simple", str(user))


def test_pip_takes_the_install_section_wherever_it_stands(machine: Machine) -> None:
    low = put(machine.root / "etc/pip.conf", "[install]\nindex_url: https://system/simple\n")
    put(machine.home / ".config/pip/pip.conf", "[global]\nindex-url = https://user/simple\n")
    assert value("pip", "index-url", machine) == ("https://system/simple", str(low))


def test_pip_variables_beat_every_file(machine: Machine) -> None:
    put(machine.home / ".pip/pip.conf", "[install]\nindex-url = https://user/simple\n")
    there = with_(machine, PIP_INDEX_URL="https://env/simple")
    assert value("pip", "index-url", there) == ("https://env/simple", "$PIP_INDEX_URL")


def test_pip_config_file_replaces_the_users_files(machine: Machine, tmp_path: Path) -> None:
    put(machine.home / ".config/pip/pip.conf", "[global]\nindex-url = https://user/simple\n")
    own = put(tmp_path / "own.conf", "[global]\ntimeout = 3\n")
    there = with_(machine, PIP_CONFIG_FILE=str(own))
    assert value("pip", "index-url", there) == ("https://pypi.org/simple", "built in")
    assert target("pip", "user", there) == own


@pytest.mark.parametrize("section", ["global", "install"])
@pytest.mark.parametrize("variable", [None, "https://env.example/simple"])
def test_pip_itself_agrees(section: str, variable: str | None, machine: Machine) -> None:
    put(machine.home / ".pip/pip.conf", "[global]\nindex-url = https://legacy.example/simple\n")
    put(machine.home / ".config/pip/pip.conf", f"[{section}]\nindex-url = https://user.example/s\n")
    environ = {"HOME": str(machine.home), "XDG_CONFIG_DIRS": str(machine.root / "etc/xdg"),
               "PATH": os.environ["PATH"]}  # fmt: skip
    if variable:
        environ["PIP_INDEX_URL"] = variable
    order = (":env:.index-url", "install.index-url", "global.index-url")
    answers = [
        subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", key],
            env=environ, capture_output=True, text=True, timeout=60, check=False,
        )
        for key in order
    ]  # fmt: skip
    expected = next(answer.stdout.strip() for answer in answers if answer.returncode == 0)
    assert value("pip", "index-url", with_(machine, **environ))[0] == expected


def test_conda_joins_channels_and_merges_custom_channels_by_key(machine: Machine) -> None:
    put(
        machine.root / "etc/conda/.condarc",
        "channels: [corp]\ncustom_channels: {a: https://x, b: https://y}\n",
    )
    put(
        machine.home / ".condarc",
        "channels: [conda-forge]\ncustom_channels: {a: https://z/cloud/}\n",
    )
    view = effective.read("conda", machine)
    assert view.values["channels"].value == ["conda-forge", "corp"]
    assert view.values["custom_channels"].value == {"a": "https://z/cloud/", "b": "https://y"}
    assert effective.channel_url("a", view.values) == "https://z/cloud/a"
    assert effective.channel_url("conda-forge", view.values) == (
        "https://conda.anaconda.org/conda-forge"
    )


def test_conda_reads_condarc_d_and_what_condarc_names_last(
    machine: Machine, tmp_path: Path
) -> None:
    put(machine.home / ".conda/condarc.d/10.yml", "channel_alias: https://d.example\n")
    put(machine.home / ".conda/condarc.d/README", "channel_alias: https://no.example\n")
    assert value("conda", "channel_alias", machine)[0] == "https://d.example"
    own = put(tmp_path / "own", "channel_alias: https://own.example\n")
    there = with_(machine, CONDARC=str(own))
    assert value("conda", "channel_alias", there) == ("https://own.example", str(own))
    assert target("conda", "user", there) == own


def test_conda_without_any_file_uses_defaults(machine: Machine) -> None:
    assert value("conda", "channels", machine) == (["defaults"], "built in")


def test_uv_takes_the_first_default_index_then_index_url(machine: Machine) -> None:
    put(machine.root / "etc/uv/uv.toml", "[[index]]\nurl = 'https://s/simple'\ndefault = true\n")
    user = machine.home / ".config/uv/uv.toml"
    put(user, "index-url = 'https://user/simple'\n")
    assert value("uv", "default-index", machine)[0] == "https://s/simple"
    put(user, "[[index]]\nurl = 'https://user/simple'\ndefault = true\n")
    assert value("uv", "default-index", machine) == ("https://user/simple", str(user))
    there = with_(machine, UV_DEFAULT_INDEX="name=https://env/simple")
    assert value("uv", "default-index", there) == ("https://env/simple", "$UV_DEFAULT_INDEX")


def test_uv_config_file_is_read_alone(machine: Machine, tmp_path: Path) -> None:
    put(machine.home / ".config/uv/uv.toml", "index-url = 'https://user/simple'\n")
    own = put(tmp_path / "own.toml", "offline = false\n")
    there = with_(machine, UV_CONFIG_FILE=str(own))
    assert [layer.path for layer in layers("uv", there)] == [own]
    assert value("uv", "default-index", there)[0] == "https://pypi.org/simple"


def test_rattler_merges_mirrors_by_channel(machine: Machine) -> None:
    put(
        machine.root / "etc/rattler/config.toml",
        "[mirrors]\n'https://c/a' = ['https://1']\n'https://c/b' = ['https://2']\n",
    )
    put(machine.home / ".config/rattler/config.toml", "[mirrors]\n'https://c/a' = ['https://3']\n")
    assert value("rattler", "mirrors", machine)[0] == {
        "https://c/a": ["https://3"], "https://c/b": ["https://2"],
    }  # fmt: skip


def test_a_file_that_cannot_be_read_is_an_error_of_the_view_not_its_end(machine: Machine) -> None:
    path = put(machine.home / ".condarc", "channels:\n\t- a\n")
    view = effective.read("conda", machine)
    assert view.errors == [f"{path}:2: found character '\\t' that cannot start any token"]
    assert view.values["channels"].value == ["defaults"]


def test_passwords_are_not_in_the_json_form(machine: Machine) -> None:
    put(machine.home / ".config/pip/pip.conf", "[global]\nindex-url = https://me:secret@x/simple\n")
    put(machine.home / ".condarc", "channels: [https://x/t/tk-123-secret/corp]\n")
    for tool in ("pip", "conda"):
        assert "secret" not in str(effective.read(tool, machine).document())


@pytest.mark.parametrize(
    ("tool", "scope", "platform", "expected"),
    [
        ("conda", "user", "linux", "home/.condarc"),
        ("conda", "system", "linux", "root/etc/conda/.condarc"),
        ("conda", "env", "linux", "prefix/.condarc"),
        ("pip", "user", "linux", "home/.config/pip/pip.conf"),
        ("pip", "system", "linux", "root/etc/pip.conf"),
        ("pip", "env", "linux", "prefix/pip.conf"),
        ("pip", "user", "darwin", "home/.config/pip/pip.conf"),
        ("pip", "system", "darwin", "root/Library/Application Support/pip/pip.conf"),
        ("pip", "user", "win32", "home/AppData/Roaming/pip/pip.ini"),
        ("pip", "env", "win32", "prefix/pip.ini"),
        ("uv", "user", "linux", "home/.config/uv/uv.toml"),
        ("uv", "system", "linux", "root/etc/uv/uv.toml"),
        ("uv", "user", "win32", "home/AppData/Roaming/uv/uv.toml"),
        ("uv", "system", "win32", "root/ProgramData/uv/uv.toml"),
        ("rattler", "user", "linux", "home/.config/rattler/config.toml"),
        ("rattler", "system", "linux", "root/etc/rattler/config.toml"),
        ("rattler", "user", "darwin", "home/Library/Application Support/rattler/config.toml"),
    ],
)
def test_the_usual_place_of_each_tool_scope_and_system(
    tool: Tool, scope: Scope, platform: str, expected: str, machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "prefix").mkdir()
    there = dataclasses.replace(machine, platform=platform, prefix=tmp_path / "prefix")
    assert target(tool, scope, there) == tmp_path / expected


def test_a_file_that_exists_is_preferred_to_the_usual_place(machine: Machine) -> None:
    legacy = put(machine.home / ".pip/pip.conf", "")
    assert target("pip", "user", machine) == legacy
    elsewhere = put(machine.home / ".config/conda/condarc", "")
    assert target("conda", "user", machine) == elsewhere


@pytest.mark.parametrize(
    ("tool", "scope", "environ", "word"),
    [
        ("uv", "env", {}, "no configuration file of an environment"),
        ("pip", "env", {}, "no environment is active"),
        ("pip", "user", {"PIP_CONFIG_FILE": os.devnull}, "reads no file"),
        ("uv", "user", {"UV_NO_CONFIG": "1"}, "reads no file"),
    ],
)
def test_a_place_that_does_not_exist_is_refused_with_the_reason(
    tool: Tool, scope: Scope, environ: dict[str, str], word: str, machine: Machine
) -> None:
    with pytest.raises(InputError, match=word):
        target(tool, scope, with_(machine, **environ))

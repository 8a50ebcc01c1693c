"""What a fix tells to install: a name for each package manager, and the commands that take it."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from cuready._util import tomllib
from cuready.doctor.installers import install_driver, install_packages, system_packages
from cuready.snapshot import Platform, Snapshot

ROWS = [
    (purpose, manager, row)
    for purpose, rows in tomllib.loads(
        resources.files("cuready.doctor").joinpath("data/system_packages.toml").read_text("utf-8")
    ).items()
    for manager, row in rows.items()
]


@pytest.mark.parametrize(("purpose", "manager", "row"), ROWS)
def test_every_name_says_where_it_is_from_and_when(
    purpose: str, manager: str, row: dict[str, object]
) -> None:
    assert manager in ("apt", "dnf", "zypper", "pacman")
    assert row["source"]
    assert re.fullmatch(r"20\d\d-\d\d", str(row["as_of"]))
    assert set(row) <= {"packages", "needs", "from", "source", "as_of"}


@pytest.mark.parametrize(
    ("distro", "flavour", "command"),
    [
        ("ubuntu", "open", "sudo apt-get install -y nvidia-driver-580-open"),
        ("fedora", "open", "sudo dnf install -y akmod-nvidia"),
        ("fedora", "proprietary", "sudo dnf install -y akmod-nvidia-580xx"),
        ("opensuse-leap", "open",
         "sudo zypper --non-interactive install nvidia-open-driver-G07-signed-kmp-meta"),
        ("opensuse-leap", "proprietary",
         "sudo zypper --non-interactive install nvidia-driver-G06-kmp-meta"),
        ("arch", "open", "sudo pacman -S --needed --noconfirm nvidia-open-dkms"),
    ],
)  # fmt: skip
def test_the_driver_of_each_distribution(distro: str, flavour: str, command: str) -> None:
    fix = install_driver(Snapshot(platform=Platform(distro_id=distro)), 580, flavour=flavour)
    assert fix.commands[0] == command


def test_a_package_of_the_aur_is_built_and_not_asked_of_pacman() -> None:
    arch = Platform(distro_id="arch")
    commands = install_packages(arch, system_packages("driver-proprietary", arch, branch=580))
    assert commands == (
        "git clone https://aur.archlinux.org/nvidia-580xx-utils.git",
        "sh -c 'cd nvidia-580xx-utils && makepkg -si'",
    )
    fix = install_driver(Snapshot(platform=arch), 580, flavour="proprietary")
    assert "AUR" in fix.note


def test_a_distribution_without_a_row_gets_what_the_default_one_has() -> None:
    found = system_packages(
        "fabric-manager", Platform(distro_id="arch"), branch=580, version="580.1"
    )
    assert found.names == ("nvidia-fabricmanager-580",)


def test_the_driver_for_windows_is_had_from_nvidia_and_from_no_winget_package() -> None:
    from tests.zoo.broken_visibility import wsl_without_windows_driver

    from cuready.doctor.engine import diagnose

    (found,) = [f for f in diagnose(wsl_without_windows_driver()).findings if f.id == "WSL01"]
    row = tomllib.loads(
        resources.files("cuready.doctor").joinpath("data/windows_driver.toml").read_text("utf-8")
    )
    assert row["source"] and re.fullmatch(r"20\d\d-\d\d", row["as_of"])
    (fix,) = found.fix
    assert not any("winget" in command for command in fix.commands)
    assert row["page"] in fix.note and row["page"] in found.links

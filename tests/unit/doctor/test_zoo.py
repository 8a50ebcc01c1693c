"""Every machine of the zoo gets the diagnosis that it should, and every finding can be acted upon."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.zoo import Exhibit, exhibits
from tests.zoo.__main__ import verdict

from cuready.doctor.engine import Diagnosis, diagnose
from cuready.doctor.finding import Severity
from cuready.doctor.installers import join
from cuready.doctor.registry import all_checks
from cuready.snapshot import NativeProbe, Snapshot, load

ALL = [item for kind in ("healthy", "fault", "near miss") for item in exhibits(kind)]
FILES = sorted((Path(__file__).parents[2] / "data" / "zoo").glob("*.json"))


def by_name(item: Exhibit) -> str:
    return f"{item.kind}-{item.id}-{item.name}".replace(" ", "_")


@pytest.mark.parametrize("item", ALL, ids=by_name)
def test_machine_gets_its_diagnosis(item: Exhibit) -> None:
    assert verdict(item, diagnose(item.build())) is None


def test_at_least_thirty_machines_are_healthy() -> None:
    assert len(exhibits("healthy")) >= 30


@pytest.mark.parametrize("kind", ["fault", "near miss"])
def test_every_check_has_an_exhibit(kind: str) -> None:
    covered = {item.id for item in exhibits(kind)}
    missing = [check.id for check in all_checks() if check.id not in covered]
    assert missing == []


CATALOGUE = frozenset(
    f"{group}{number:02}"
    for group, count in {"DRV": 16, "CTR": 6, "WSL": 2, "VIS": 4, "MIG": 1, "PY": 21, "LIB": 16,
                         "BLD": 5, "TRT": 5}.items()
    for number in range(1, count + 1)
)  # fmt: skip
"""The ids that were promised; more may come, none may go."""


def test_the_catalogue_keeps_its_promise() -> None:
    assert len(CATALOGUE) == 76
    assert {check.id for check in all_checks()} >= CATALOGUE


def test_most_faults_are_found_from_files_alone() -> None:
    """With neither NVML nor libcuda asked; at least 60 of the 76."""
    fires = set()
    for item in exhibits("fault"):
        files = dataclasses.replace(item.build(), nvml=NativeProbe(), cuda=NativeProbe())
        fires |= {found.id for found in diagnose(files).findings if found.id == item.id}
    assert CATALOGUE - fires == {"DRV16", "MIG01", "VIS03"}


@pytest.mark.parametrize("item", exhibits("near miss"), ids=by_name)
def test_near_miss_is_looked_at(item: Exhibit) -> None:
    """A check without its facts, or of another system, is silent whatever it would say."""
    result = next(r for r in diagnose(item.build()).checks if r.id == item.id)
    if item.id == "MAC01":  # fires on every Mac, so that only another system is close
        assert result.reason == "not a question on Linux"
    else:
        assert not result.reason.startswith(("reader ", "not a question on", "the check itself"))


@pytest.mark.parametrize("item", exhibits("fault"), ids=by_name)
def test_error_or_warning_has_cause_fix_and_link(item: Exhibit) -> None:
    for found in diagnose(item.build()).findings:
        if found.severity is Severity.INFO:
            continue
        assert found.title and found.cause.endswith("."), found
        assert found.evidence and all(e.source and e.detail for e in found.evidence), found
        assert found.links and all(urlsplit(link).scheme == "https" for link in found.links)
        assert found.fix and all(fix.commands for fix in found.fix), f"{found.id} has no command"
        for fix in found.fix:
            for command in fix.commands:
                assert "None" not in command.split(), command
                if "\\" not in command:
                    assert shlex.split(command.replace("$", "")), command


def of(name: str) -> Diagnosis:
    return diagnose(next(item for item in ALL if item.name == name).build())


def commands(name: str) -> str:
    return "\n".join(c for f in of(name).findings for fix in f.fix for c in fix.commands)


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("cpu_wheel_on_gpu_box", "/home/u/proj/.venv/bin/python -m pip install --force-reinstall"),
        ("cpu_wheel_in_distribution_python", "/usr/bin/python3 -m venv .venv"),
        (
            "lock_file_says_cuda",
            "uv pip install --python /home/u/proj/.venv/bin/python --reinstall",
        ),
        ("solved_on_a_login_node", "conda install -y -p /home/u/miniforge3/envs/dl -c conda-forge"),
        ("solved_without_gpu_by_pixi", "pixi add pytorch-gpu"),
        ("windows_default_index", '"C:\\my proj\\.venv\\Scripts\\python.exe" -m pip install'),
        # conda's own torch is kept, and pip takes its own out
        (
            "pip_install_over_conda",
            "/home/u/miniforge3/envs/dl/bin/python -m pip uninstall -y torch",
        ),
        ("two_dist_infos", "--force-reinstall torch==2.8.0"),
        ("kernel_update_without_module", "sudo apt-get install -y linux-headers-6.8.0-51-generic"),
        ("pascal_on_595", "sudo apt-get install -y nvidia-driver-580"),
        ("blackwell_with_proprietary_module", "nvidia-driver-580-open"),
    ],
)
def test_fix_is_written_for_the_owner(machine: str, expected: str) -> None:
    assert expected in commands(machine)


def test_the_user_sites_copy_is_hidden_or_removed_but_not_both() -> None:
    """With PYTHONNOUSERSITE set, pip would remove the environment's copy instead."""
    (found,) = of("leaks_from_user_site").findings
    assert [len(fix.commands) for fix in found.fix] == [1, 1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["pip", "install", "torch>=2.4.1"], 'pip install "torch>=2.4.1"'),
        (["C:\\my tools\\pip.exe", "a&b"], '"C:\\my tools\\pip.exe" "a&b"'),
        (["C:\\Program Files (x86)\\pip.exe", "x"], '"C:\\Program Files (x86)\\pip.exe" x'),
    ],
)
def test_a_command_for_windows_keeps_what_cmd_would_take_for_its_own(
    words: list[str], line: str
) -> None:
    assert join(words, "Windows") == line


@pytest.mark.parametrize("distro", ["fedora", "opensuse-leap", "arch"])
def test_driver_fix_follows_the_distribution(distro: str) -> None:
    from tests.zoo.base import edit
    from tests.zoo.broken_driver import blackwell_with_proprietary_module

    manager = {"fedora": "dnf", "opensuse-leap": "zypper", "arch": "pacman"}[distro]
    box = edit(
        blackwell_with_proprietary_module(), platform__distro_id=distro, platform__distro_like=()
    )
    found = diagnose(box).findings[0]
    assert found.fix[0].commands[0].startswith(f"sudo {manager} ")
    assert found.fix[0].needs_root


def test_cpu_torch_is_replaced_by_the_same_release_for_this_gpu() -> None:
    text = commands("cpu_wheel_on_gpu_box")
    assert "torch==2.8.0" in text
    assert re.search(r"--index-url https://download\.pytorch\.org/whl/cu12\d|torch==2\.8\.0 ", text)


@pytest.mark.parametrize("item", ALL, ids=by_name)
def test_snapshot_survives_json_with_the_same_findings(item: Exhibit) -> None:
    snapshot = item.build()
    again = Snapshot.from_dict(json.loads(snapshot.dumps()))
    assert diagnose(again).findings == diagnose(snapshot).findings


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_recorded_snapshot_replays(path: Path) -> None:
    kind, _, name = path.stem.partition("-")
    expected = [] if kind == "healthy" else [name.split("-")[0].upper()]
    errors = [f.id for f in diagnose(load(path)).findings if f.severity is Severity.ERROR]
    assert errors == expected


def test_recorded_snapshots_are_there() -> None:
    assert len(FILES) >= 6

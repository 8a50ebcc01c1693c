"""Windows and macOS from recorded trees: what their readers read, and what the doctor says."""

from __future__ import annotations

import dataclasses
import plistlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.doctor_depth.pe_files import dll

from cuready.doctor.engine import diagnose
from cuready.probe import pe, take, windows
from cuready.probe.context import Context, Skip
from cuready.snapshot import PythonEnv, Snapshot, TorchBuild

STORE = "Windows/System32/DriverStore/FileRepository"


def write(root: Path, path: str, data: bytes) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The disk of a Windows machine with one NVIDIA driver."""
    write(tmp_path, "Windows/System32/nvcuda.dll", dll("32.0.15.7652"))
    write(tmp_path, "Windows/System32/vcruntime140.dll", dll("14.44.35211.0"))
    write(tmp_path, "Windows/System32/lxss/lib/libcuda.so.1", b"\x7fELF")
    write(tmp_path, f"{STORE}/nv_dispi.inf_amd64_0123/nvcuda64.dll", dll("32.0.15.7652"))
    return tmp_path


def test_a_mounted_windows_disk_is_recognised_and_read(disk: Path) -> None:
    snapshot = take(root=str(disk))
    assert snapshot.platform.system == "Windows"
    assert snapshot.platform.windows_driver_version == "576.52"
    assert snapshot.platform.vc_runtime_version == "14.44.35211.0"
    assert {x.soname: x.rule for x in snapshot.driver.libraries} == {
        "nvcuda.dll": "System32",
        "libcuda.so.1": "WSL",
    }
    assert diagnose(snapshot).findings == ()


def test_nvcuda_of_another_driver_is_found(disk: Path) -> None:
    write(disk, "Windows/System32/nvcuda.dll", dll("31.0.15.5222"))
    (found,) = diagnose(take(root=str(disk))).findings
    assert found.id == "WIN01"
    assert "552.22" in found.cause and "576.52" in found.cause


def test_an_old_driver_may_stay_in_the_store(disk: Path) -> None:
    write(disk, f"{STORE}/nv_dispi.inf_amd64_9999/nvcuda64.dll", dll("31.0.15.5222"))
    assert diagnose(take(root=str(disk))).findings == ()


@pytest.mark.parametrize(
    ("version", "driver"),
    [
        ("32.0.15.7652", "576.52"),
        ("27.21.14.5671", "456.71"),
        ("31.0.15.522", "505.22"),
        ("10.0.1", None),
        (None, None),
    ],
)
def test_drivers_number_is_the_last_five_digits(version: str | None, driver: str | None) -> None:
    assert windows.driver_of(version) == driver


@pytest.mark.parametrize(
    "data", [b"", b"MZ", b"not a program", dll("")[:500], dll("")], ids=range(5)
)
def test_a_dll_without_a_version_has_none(tmp_path: Path, data: bytes) -> None:
    write(tmp_path, "x.dll", data)
    assert windows.file_version(Context(root=str(tmp_path)), "/x.dll") is None


def test_torchs_toolset_and_its_missing_dll_are_read(disk: Path) -> None:
    site = "venv/Lib/site-packages"
    write(
        disk,
        f"{site}/torch/lib/torch_cpu.dll",
        dll(linker=(14, 29), imports=("KERNEL32.dll", "uv.dll")),
    )
    write(disk, "Windows/System32/KERNEL32.dll", dll())
    python = PythonEnv(
        prefix="/venv",
        sys_path=(f"/{site}",),
        site_packages=(f"/{site}",),
        torch=TorchBuild("2.8.0", "12.8", path=f"/{site}/torch"),
    )
    so_far = dataclasses.replace(Snapshot(), python=dataclasses.replace(python, origins=()))
    context = Context(root=str(disk), system="Windows", so_far=so_far)
    assert windows.toolset(context, f"/{site}/torch/lib/torch_cpu.dll") == "14.29"
    assert pe.imports((disk / site / "torch/lib/torch_cpu.dll").read_bytes()) == [
        "KERNEL32.dll",
        "uv.dll",
    ]


def test_other_systems_skip_the_windows_reader() -> None:
    with pytest.raises(Skip):
        windows.read(Context())


def test_a_mac_is_healthy_and_told_that_it_has_no_cuda(tmp_path: Path) -> None:
    document = {"ProductName": "macOS", "ProductVersion": "15.5"}
    write(tmp_path, "System/Library/CoreServices/SystemVersion.plist", plistlib.dumps(document))
    snapshot = take(root=str(tmp_path))
    assert snapshot.platform.distro_name == "macOS 15.5"
    diagnosis = diagnose(snapshot)
    assert [item.id for item in diagnosis.findings] == ["MAC01"]
    assert not replace(diagnosis, strict=True).failed


def test_a_damaged_property_list_costs_its_reader_alone(tmp_path: Path) -> None:
    write(tmp_path, "System/Library/CoreServices/SystemVersion.plist", b"<plist><dict>")
    snapshot = take(root=str(tmp_path))
    outcome = snapshot.reader("macos")
    assert outcome is not None and outcome.status == "ok"  # it is a Mac, and that much is known
    assert [item.id for item in diagnose(snapshot).findings] == ["MAC01"]


def test_the_commands_import_without_modules_that_windows_lacks() -> None:
    code = (
        "import sys\n"
        "for name in ('fcntl', 'pwd', 'grp', 'termios', 'resource', 'pty', 'posix_ipc'):\n"
        "    sys.modules[name] = None\n"
        "import importlib\n"
        "from cuready.cli.main import COMMANDS\n"
        "from cuready.probe.registry import READERS\n"
        "bad = ('engine', 'selftest')\n"  # these drive the native core, which has no Windows build
        "for name, (module, _, _) in COMMANDS.items():\n"
        "    if name not in bad: importlib.import_module('cuready.cli.' + module)\n"
        "[reader.load() for reader in READERS]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr

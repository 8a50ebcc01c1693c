"""A Windows disk of real DLLs: Microsoft's own C++ runtime and torch's wheel, as they are on PyPI."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.doctor_depth.pe_files import dll

from cuready.doctor.engine import diagnose
from cuready.probe import pe, take
from cuready.probe.context import Context
from cuready.snapshot import Snapshot

WINDOWS = ("win_amd64",)
BASE = "Program Files/Python312"
SITE = f"{BASE}/Lib/site-packages"
# Windows' own, which nobody may hand on: their names are enough for the search.
SYSTEM = ("advapi32", "dbghelp", "iphlpapi", "kernel32", "psapi", "user32", "userenv", "ws2_32")
OPENMP = "libomp140.x86_64.dll"

Fetch = Callable[..., Path]


@pytest.fixture(scope="module")
def disk(pypi_wheel: Fetch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python 3.12 with torch 2.4.0's CPU wheel and the Visual C++ runtime 14.51."""
    root = tmp_path_factory.mktemp("windows")
    system = root / "Windows/System32"
    system.mkdir(parents=True)
    for name in SYSTEM:
        (system / f"{name}.dll").write_bytes(dll())
    runtime = pypi_wheel("msvc-runtime==14.51.36231", platforms=WINDOWS)
    with zipfile.ZipFile(runtime) as archive:
        for member in archive.namelist():
            if "/Scripts/" in member and member.endswith(".dll"):
                (system / Path(member).name).write_bytes(archive.read(member))
    with zipfile.ZipFile(pypi_wheel("torch==2.4.0", platforms=WINDOWS)) as archive:
        archive.extractall(root / SITE, [
            name for name in archive.namelist()
            if name.startswith("torch-2.4.0") or name == "torch/version.py"
            or (name.startswith("torch/lib/") and name.endswith(".dll"))
        ])  # fmt: skip
    (root / BASE / "python312.dll").write_bytes(dll())
    return root


def seen(disk: Path) -> Snapshot:
    return take(root=str(disk), prefix=f"/{BASE}", env={})


@pytest.mark.network
def test_the_runtimes_version_is_read_from_microsofts_own_dll(disk: Path) -> None:
    assert seen(disk).platform.vc_runtime_version == "14.51.36247.0"


@pytest.mark.network
def test_a_venvs_base_is_the_folder_that_its_home_names(disk: Path) -> None:
    venv = disk / "project/.venv"
    (venv / "Lib/site-packages").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = C:\\Program Files\\Python312\nversion = 3.12.10\n")
    python = take(root=str(disk), prefix="/project/.venv", env={}).python
    assert (python.version, python.base_prefix) == ("3.12.10", f"/{BASE}")
    assert seen(disk).python.version == "3.12"


@pytest.mark.network
def test_imports_behind_a_hundred_megabytes_of_code_are_read(disk: Path) -> None:
    path = f"/{SITE}/torch/lib/torch_cpu.dll"
    assert (disk / path[1:]).stat().st_size > 200 * 2**20
    with pe.mapped(Context(root=str(disk)), path) as data:
        names = {name.lower() for name in pe.imports(data)}
        assert {"c10.dll", "fbgemm.dll", "vcruntime140.dll", OPENMP} <= names


@pytest.mark.network
def test_torch_2_4_0_lacks_the_openmp_of_visual_studio(disk: Path) -> None:
    """What pytorch#131662 reports: WinError 126 about fbgemm.dll, which is there."""
    snapshot = seen(disk)
    lacking = {
        Path(library.path).name: [missing.soname for missing in library.missing]
        for library in snapshot.libraries
        if library.missing
    }
    assert lacking == {"fbgemm.dll": [OPENMP], "torch_cpu.dll": [OPENMP]}
    assert [library.path for library in snapshot.libraries if library.unknown] == []
    (found,) = (item for item in diagnose(snapshot).findings if item.id == "LIB15")
    assert OPENMP in found.cause
    assert any("torch>=2.4.1" in command for fix in found.fix for command in fix.commands)


@pytest.mark.network
def test_with_visual_studios_openmp_all_of_torchs_dlls_are_complete(disk: Path) -> None:
    library = disk / "Windows/System32" / OPENMP
    library.write_bytes(dll())
    try:
        snapshot = seen(disk)
    finally:
        library.unlink()
    assert len(snapshot.libraries) == 11
    assert not [item for item in snapshot.libraries if item.missing or item.unknown]
    assert "LIB15" not in [item.id for item in diagnose(snapshot).findings]

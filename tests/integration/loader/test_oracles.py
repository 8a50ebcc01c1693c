"""Our readers against others' on real files: pyelftools for ELF, NVIDIA's cuobjdump for GPU code."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection

from cuready.probe.elf import ElfFile
from cuready.probe.elf_symbols import Provider, References, Wanted
from cuready.probe.fatbin import scan_file

Unpacked = Callable[..., Path]


def shared_libraries() -> list[Path]:
    """Libraries of this interpreter and of the system, of many linkers and ages."""
    found: list[Path] = []
    for folder in (sysconfig.get_path("platlib"), "/usr/lib/x86_64-linux-gnu", "/lib64",
                   sysconfig.get_config_var("DESTSHARED") or ""):  # fmt: skip
        if folder and Path(folder).is_dir():
            found += sorted(p for p in Path(folder).rglob("*.so*") if p.is_file())[:400]
    unique = {p.resolve(): p for p in found if p.open("rb").read(4) == b"\x7fELF"}
    return list(unique.values())[::4][:120]


LIBRARIES = shared_libraries()


@pytest.mark.parametrize("path", LIBRARIES, ids=lambda p: p.name[:40])
def test_we_read_what_pyelftools_reads(path: Path) -> None:
    with path.open("rb") as stream, ElfFile(path) as ours:
        theirs = ELFFile(stream)
        tags = [tag for s in theirs.iter_sections() if isinstance(s, DynamicSection)
                for tag in s.iter_tags()]  # fmt: skip
        by_name: dict[str, list[str]] = {}
        for tag in tags:
            for kind in ("needed", "soname", "rpath", "runpath"):
                if tag.entry.d_tag == f"DT_{kind.upper()}":
                    by_name.setdefault(kind, []).append(getattr(tag, kind))
        assert list(ours.needed) == by_name.get("needed", [])
        assert ours.soname == by_name.get("soname", [None])[-1]
        assert ours.runpath == by_name.get("runpath", [None])[-1]
        if "runpath" not in by_name:
            assert ours.rpath == by_name.get("rpath", [None])[-1]
        _same_versions(theirs, ours)
        _same_symbols(theirs, ours)


def _same_versions(theirs: ELFFile, ours: ElfFile) -> None:
    needs, defines = [], []
    for section in theirs.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for need, versions in section.iter_versions():
                needs += [(need.name, version.name) for version in versions]
        if isinstance(section, GNUVerDefSection):
            for _, versions in section.iter_versions():
                defines.append(next(iter(versions)).name)
    assert [(need.file, need.name) for need in ours.version_needs] == needs
    assert ours.defined_version_names == frozenset(defines)


def _same_symbols(theirs: ELFFile, ours: ElfFile) -> None:
    table = theirs.get_section_by_name(".dynsym")
    if table is None:
        return
    symbols = list(table.iter_symbols())
    undefined = {s.name for s in symbols if s["st_shndx"] == "SHN_UNDEF" and s.name}
    assert {w.text for w in References(ours).undefined.values()} <= undefined
    provider = Provider(ours)
    wanted = [s for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_value"]
              and s["st_info"].bind in ("STB_GLOBAL", "STB_WEAK")
              and s["st_other"].visibility == "STV_DEFAULT"
              and s["st_info"].type in ("STT_FUNC", "STT_OBJECT")]  # fmt: skip
    if ours.version_definitions:
        return  # each of these has a version, which the loader's own tests cover
    for item in wanted[::7]:
        assert provider.defines(Wanted(item.name.encode())), item.name
    assert not provider.defines(Wanted(b"there_is_no_such_symbol"))


def test_there_are_enough_libraries_to_compare() -> None:
    assert len(LIBRARIES) >= 40


# --- GPU code ------------------------------------------------------------------------------------

WHEELS = [
    ("nvidia-nvjpeg-cu12==12.4.0.76", "nvidia/nvjpeg/lib/libnvjpeg.so.12"),
    ("torchvision==0.29.2", "torchvision/_C_stable.so"),
    ("torchaudio==2.11.0", "torchaudio/lib/libtorchaudio.abi3.so"),
    ("torchaudio==2.11.0", "torchaudio/lib/torchaudio_prefixctc.abi3.so"),
]


@pytest.mark.network
@pytest.mark.parametrize(("requirement", "file"), WHEELS, ids=lambda v: v[-24:])
def test_gpu_code_is_what_cuobjdump_lists(
    requirement: str, file: str, pypi_unpacked: Unpacked, tmp_path: Path
) -> None:
    tool = pypi_unpacked("nvidia-cuda-cuobjdump==13.5.37") / "nvidia/cu13/bin/cuobjdump"
    tool.chmod(0o755)
    path = pypi_unpacked(requirement, "3.11") / file
    listed = subprocess.run([tool, "--list-elf", "--list-ptx", path], capture_output=True,
                            text=True, timeout=120, check=True).stdout  # fmt: skip
    names = set(re.findall(r"\.sm_(\d+)([af]?)\.(cubin|ptx)", listed))
    assert names, listed[:300]
    expected = {f"{int(n) // 10}.{int(n) % 10}{s}" for n, s, kind in names if kind == "cubin"}
    portable = {f"{int(n) // 10}.{int(n) % 10}{s}" for n, s, kind in names if kind == "ptx"}
    found = scan_file(path)
    assert set(found.sass) == expected
    assert set(found.ptx) == portable

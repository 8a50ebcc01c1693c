"""Small rules of the loader, each on its own: tokens, hashes, order, PE imports, init functions."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.hang import no_hang

from cuready.probe.context import Context
from cuready.probe.elf_symbols import gnu_hash, sysv_hash
from cuready.probe.loader import machine
from cuready.probe.loader.extension import init_function
from cuready.probe.loader.linkmap import LinkMap
from cuready.probe.loader.order import sort_maps
from cuready.probe.loader.tokens import expand, search_dirs
from cuready.probe.loader.torch import preload_table
from cuready.probe.pe import PeError, imports

HERE = {"origin": "/opt/lib", "lib": "lib64", "platform": "x86_64"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$ORIGIN/../x", "/opt/lib/../x"),
        ("${ORIGIN}x", "/opt/libx"),
        ("$ORIGINAL", "$ORIGINAL"),
        ("/usr/$LIB/$PLATFORM", "/usr/lib64/x86_64"),
        ("${LIBRARY}", "${LIBRARY}"),
        ("plain", "plain"),
    ],
)
def test_tokens_end_where_a_name_ends(text: str, expected: str) -> None:
    assert expand(text, **HERE) == expected


def test_a_path_with_an_unknown_origin_is_dropped() -> None:
    assert expand("$ORIGIN/x", origin=None, lib="lib", platform="x") is None


@pytest.mark.parametrize(
    ("text", "folders"),
    [
        (b"x\0/lib64/\0/usr/lib64/\0y", ("/lib64/", "/usr/lib64/")),
        (b"x/lib/\0/usr/lib/\0/y/\0", ("/lib/", "/usr/lib/")),
        (b"/lib/\0 /lib/a/\0/lib/b/\0", ("/lib/a/", "/lib/b/")),
        (b"/lib/\0/etc/\0", ()),
        (b"/lib/\0x/lib/\0", ()),
        (b"/lib/", ()),
    ],
)
def test_the_loaders_own_folders_stand_behind_each_other(
    text: bytes, folders: tuple[str, ...]
) -> None:
    assert machine._system_dirs(text) == folders


@pytest.mark.parametrize("piece", [b"/", b"/lib", b"a", b"/lib/\0a", b"ld.so (", b"\0lib/a"])
def test_a_loader_of_one_repeated_piece_is_read_to_its_end(piece: bytes, tmp_path: Path) -> None:
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, *[0] * 10)
    (tmp_path / "ld.so").write_bytes(header + piece * (4_000_000 // len(piece)))
    with no_hang():
        found = machine.read_interpreter(Context(root=str(tmp_path)), "/ld.so")
    assert found.default_dirs == ("/lib64/", "/usr/lib64/")


def test_search_path_entries() -> None:
    found = search_dirs("/a//:/b:$ORIGIN:/a::;/c", ":;", **HERE)
    assert [folder for folder, _ in found] == ["/a/", "/b/", "/opt/lib/", "", "/c/"]


def test_known_hash_values() -> None:
    assert gnu_hash(b"printf") == 0x156B2BB8
    assert sysv_hash(b"printf") == 0x077905A6
    assert sysv_hash(b"GLIBC_2.2.5") == 0x09691A75


def chain(*edges: tuple[str, str]) -> dict[str, LinkMap]:
    names = dict.fromkeys(name for edge in edges for name in edge)
    maps = {name: LinkMap(name, None, name) for name in names}  # type: ignore[arg-type]
    for item in maps.values():
        item.needed = []
    for user, used in edges:
        needed = maps[user].needed
        assert needed is not None
        needed.append(maps[used])
    return maps


@pytest.mark.parametrize("glibc", [(2, 31), (2, 35), None])
def test_users_come_before_what_they_use(glibc: tuple[int, int] | None) -> None:
    maps = chain(("top", "a"), ("top", "b"), ("a", "c"), ("b", "a"))
    ordered = sort_maps([maps[n] for n in ("top", "a", "b", "c")], glibc)
    assert [item.name for item in ordered] == ["top", "b", "a", "c"]


@pytest.mark.parametrize("glibc", [(2, 31), (2, 35)])
def test_cycles_end(glibc: tuple[int, int]) -> None:
    maps = chain(("top", "a"), ("a", "b"), ("b", "a"), ("b", "top"))
    ordered = sort_maps([maps[n] for n in ("top", "a", "b")], glibc)
    assert ordered[0].name == "top"
    assert {item.name for item in ordered} == {"top", "a", "b"}


def test_a_chain_of_thousands_needs_no_recursion() -> None:
    maps = chain(*[(f"n{i}", f"n{i + 1}") for i in range(3000)])
    assert len(sort_maps(list(maps.values()), (2, 36))) == 3001


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/x/torch/_C.cpython-312-x86_64-linux-gnu.so", "PyInit__C"),
        ("/x/flash.abi3.so", "PyInit_flash"),
        ("/x/größe.so", "PyInitU_gre_6ka8i"),
    ],
)
def test_init_functions(path: str, name: str) -> None:
    assert init_function(path) == name


def test_the_table_of_torch_in_its_two_forms() -> None:
    as_dict = (
        'cuda_libs: dict[str, str] = {"cublas": "libcublas.so.*[0-9]", "nccl": "libnccl.so.*"}'
    )
    as_list = 'cuda_libs = [("cublas", "libcublas.so.*[0-9]"), ("nccl", "libnccl.so.*")]'
    expected = [("cublas", "libcublas.so.*[0-9]"), ("nccl", "libnccl.so.*")]
    assert preload_table(as_dict) == preload_table(as_list) == expected
    assert preload_table("nothing of the kind") == []


# --- PE --------------------------------------------------------------------------------------------


def dll(*names: str, plus: bool = True) -> bytes:
    """A DLL of one section that imports ``names``."""
    base, raw = 0x1000, 0x400
    rows, text = b"", b""
    text_at = base + 20 * (len(names) + 1)
    for name in names:
        rows += struct.pack("<IIIII", 1, 0, 0, text_at + len(text), 1)
        text += name.encode() + b"\0"
    section = rows + bytes(20) + text
    optional = struct.pack("<H", 0x20B if plus else 0x10B).ljust(108 if plus else 92, b"\0")
    optional += struct.pack("<I", 16) + bytes(8) + struct.pack("<II", base, 20) + bytes(14 * 8)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    head += b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, len(optional), 0x2022)
    head += optional + struct.pack("<8sIIII", b".rdata", len(section), base, len(section), raw)
    return head.ljust(raw, b"\0") + section


@pytest.mark.parametrize("plus", [True, False])
def test_imports_of_a_dll(plus: bool) -> None:
    names = ["KERNEL32.dll", "libomp140.x86_64.dll", "c10.dll"]
    assert imports(dll(*names, plus=plus)) == names


@pytest.mark.parametrize(
    "data", [b"", b"MZ", b"MZ".ljust(64, b"\xff"), dll("a.dll")[:0x410], b"\x7fELF" + bytes(99)]
)
def test_what_is_no_dll_is_an_error_of_its_own(data: bytes) -> None:
    with pytest.raises(PeError):
        imports(data)

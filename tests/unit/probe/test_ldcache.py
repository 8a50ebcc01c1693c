"""The loader's cache, its configuration and its search order."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuready.probe import ldcache
from cuready.probe.context import Context

from .roots import LIB, ld_cache, link, make_root, write

ENTRIES = [("libcuda.so.1", "/usr/lib/libcuda.so.1"), ("libc.so.6", "/lib/libc.so.6")]


@pytest.mark.parametrize("old", [False, True])
def test_entries_come_out_as_they_went_in(old: bool) -> None:
    entries = ldcache.parse(ld_cache(ENTRIES, old=old))
    assert [(entry.soname, entry.path) for entry in entries] == ENTRIES


def test_this_machines_cache_knows_its_libc() -> None:
    if not Path(ldcache.CACHE_PATH).exists():
        assert ldcache.cached_paths(Context()) is None
        return
    cache = ldcache.cached_paths(Context())
    assert cache is not None
    assert all(Path(path).exists() for path in cache[str(ctypes.util.find_library("c"))])


def test_libraries_of_another_architecture_are_left_out(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root, "/etc/ld.so.cache", ld_cache(ENTRIES, flags=0x0003))
    assert ldcache.cached_paths(Context(root=str(root))) == {}


@pytest.mark.parametrize("data", [b"", b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1", b"\x7fELF" * 99])
def test_what_is_no_cache_says_so(data: bytes) -> None:
    with pytest.raises(ldcache.CacheError):
        ldcache.parse(data)


@given(st.data())
def test_damaged_caches_never_raise_anything_else(data: st.DataObject) -> None:
    good = bytearray(ld_cache(ENTRIES, old=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(good[: data.draw(st.integers(0, len(good)))])
    try:
        entries = ldcache.parse(cut)
    except ldcache.CacheError:
        return
    assert all(isinstance(entry.path, str) for entry in entries)


def test_conf_follows_includes_in_their_place(tmp_path: Path) -> None:
    root = tmp_path
    write(root, "/etc/ld.so.conf", "/first # note\ninclude ld.so.conf.d/*.conf\n/last\n")
    write(root, "/etc/ld.so.conf.d/b.conf", "/b/lib:/c/lib\n")
    write(root, "/etc/ld.so.conf.d/a.conf", "hwcap 0 nosegneg\n/a/lib/\n")
    folders = ldcache.conf_dirs(Context(root=str(root)))
    assert set(folders) == {"/first", "/a/lib", "/b/lib", "/c/lib", "/last"}
    assert folders.index("/a/lib") < folders.index("/b/lib")


def test_includes_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, "/etc/ld.so.conf", "include /etc/ld.so.conf\n/lib/x\n")
    assert ldcache.conf_dirs(Context(root=str(tmp_path))) == ("/lib/x",)


def test_ld_library_path_beats_the_cache_which_beats_the_defaults(tmp_path: Path) -> None:
    root = make_root(tmp_path, gpus=["RTX 4090"], driver="580.95.05")
    write(root, "/opt/other/libcuda.so.1", b"\x7fELF")

    def found(env: dict[str, str], *, cache: bool = True) -> tuple[str, str] | None:
        context = Context(root=str(root), env=env)
        table = ldcache.cached_paths(context) if cache else {}
        return ldcache.find_library(context, "libcuda.so.1", table)

    path = f"/{LIB}/libcuda.so.1"
    assert found({"LD_LIBRARY_PATH": "/nowhere:/opt/other"}) == (
        "/opt/other/libcuda.so.1",
        "LD_LIBRARY_PATH",
    )
    assert found({}) == (path, "ld.so.cache")
    assert found({}, cache=False) == (path, "default")


def test_a_cached_library_whose_file_is_gone_is_not_found(tmp_path: Path) -> None:
    root = make_root(tmp_path, driver="580.95.05")
    link(root, f"/{LIB}/libcuda.so.1", "gone")
    context = Context(root=str(root))
    assert ldcache.find_library(context, "libcuda.so.1", ldcache.cached_paths(context)) is None

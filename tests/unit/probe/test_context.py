"""Paths below another root: links stay inside, foreign things are not opened."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.hang import no_hang

from cuready.probe.context import Context


@pytest.fixture
def rooted(tmp_path: Path) -> Context:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/hostname").write_text("inside\n")
    return Context(root=str(tmp_path))


def test_an_absolute_link_stays_inside_the_root(rooted: Context) -> None:
    Path(f"{rooted.root}/name").symlink_to("/etc/hostname")
    assert rooted.read_text("/name") == "inside\n"
    assert rooted.realpath("/name") == "/etc/hostname"


def test_dots_cannot_climb_out_of_the_root(rooted: Context) -> None:
    Path(f"{rooted.root}/etc/up").symlink_to("../../../../../../etc/hostname")
    assert rooted.read_text("/etc/up") == "inside\n"
    assert rooted.read_text("/../../etc/hostname") == "inside\n"


def test_a_linked_folder_in_the_middle_is_resolved_inside(rooted: Context) -> None:
    Path(f"{rooted.root}/config").symlink_to("/etc")
    assert rooted.listdir("/config") == ["hostname"]
    assert rooted.glob("/con*/host*") == ["/config/hostname"]


def test_a_loop_of_links_is_nothing_not_a_hang(rooted: Context) -> None:
    Path(f"{rooted.root}/a").symlink_to("/b")
    Path(f"{rooted.root}/b").symlink_to("/a")
    assert not rooted.exists("/a")
    assert not rooted.is_dir("/a")
    assert rooted.first_line("/a") is None


def test_a_path_longer_than_any_is_followed_no_further_than_the_kernel_would(
    rooted: Context,
) -> None:
    with no_hang():
        assert not rooted.exists("/a" * 32_000)
        assert rooted.realpath("/a" * 32_000 + "/..") == "/a" * 31_999
    Path(f"{rooted.root}/name").symlink_to("/etc/hostname")
    assert rooted.realpath("/etc/../" * 3000 + "name") == "/etc/hostname"


def test_a_fifo_is_not_opened_for_reading(rooted: Context) -> None:
    os.mkfifo(f"{rooted.root}/pipe")
    assert rooted.read_bytes("/pipe") is None


def test_reading_stops_at_the_limit(rooted: Context) -> None:
    Path(f"{rooted.root}/long").write_bytes(b"x" * 5000)
    assert rooted.read_bytes("/long", 100) == b"x" * 100


def test_bytes_that_are_no_utf8_are_replaced(rooted: Context) -> None:
    Path(f"{rooted.root}/text").write_bytes(b"a\xffb")
    assert rooted.read_text("/text") == "a\ufffdb"


def test_names_seen_are_the_diagnosed_machines(rooted: Context) -> None:
    assert rooted.seen(rooted.path("/etc/hostname")) == "/etc/hostname"
    assert Context().seen("/etc/hostname") == "/etc/hostname"


def test_a_path_with_a_null_byte_does_not_exist(rooted: Context) -> None:
    assert not rooted.exists("/etc/\0")
    assert rooted.read_bytes("/etc/\0") is None
    assert Context().read_bytes("/etc/\0") is None


def test_which_follows_the_machines_own_path(rooted: Context) -> None:
    tool = Path(f"{rooted.root}/opt/bin/nvcc")
    tool.parent.mkdir(parents=True)
    tool.write_text("")
    context = Context(root=rooted.root, env={"PATH": "/usr/bin:/opt/bin"})
    assert context.which("nvcc") is None
    tool.chmod(0o755)
    assert context.which("nvcc") == "/opt/bin/nvcc"

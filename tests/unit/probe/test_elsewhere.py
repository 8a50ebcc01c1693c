"""What no recorded root can show: other systems, refusals of the kernel, a missing cwd."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

import pytest

from cuready.probe import device_nodes, take
from cuready.probe.context import Context


@pytest.mark.parametrize("system", ["Windows", "Darwin"])
def test_no_reader_fails_on_another_system(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    found = take()
    assert found.platform.system == system
    assert not [r for r in found.readers if r.status in ("failed", "timeout")], found.readers
    assert found.gpus == () and found.device_nodes == ()
    assert found.python.distributions


def test_a_device_that_the_cgroup_denies_says_eperm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mode 0666, and still: that is what runc leaves behind after a daemon-reload."""

    def deny(*_: object, **__: object) -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(os, "open", deny)
    node = device_nodes._node(Context(), "/dev/null")
    assert (node.exists, node.mode, node.open_error) == (True, "crw-rw-rw-", "EPERM")
    assert node.readable is False and node.writable is False


def test_a_device_that_may_be_opened_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise AssertionError("opening /dev/nvidia0 can start a GPU")

    monkeypatch.setattr(os, "open", refuse)
    node = device_nodes._node(Context(), "/dev/null")
    assert (node.readable, node.writable, node.open_error) == (True, True, None)


def test_the_machine_is_read_where_the_working_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    found = take()
    assert not [r for r in found.readers if r.status in ("failed", "timeout")], found.readers


def test_this_machine_has_no_reader_that_fails() -> None:
    found = take()
    assert not [r for r in found.readers if r.status == "failed"], found.readers
    assert found.platform.memory_bytes and found.platform.cpu_count
    assert found.python.executable

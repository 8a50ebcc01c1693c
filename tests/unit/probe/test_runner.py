"""A reader that crashes, hangs or is refused costs its own facts, never the run."""

from __future__ import annotations

import threading
import time

import pytest

from cuready.probe import runner
from cuready.probe.context import Context, Denied, Facts, Incomplete, Skip
from cuready.probe.registry import READERS, Reader
from cuready.snapshot import PciGpu, Snapshot


def outcome(snapshot: Snapshot, name: str) -> tuple[str, str]:
    found = snapshot.reader(name)
    assert found is not None
    return found.status, found.reason


def test_every_registered_reader_resolves_to_a_function() -> None:
    names = [reader.name for reader in READERS]
    assert len(names) == len(set(names))
    for reader in READERS:
        assert callable(reader.load())
        assert set(reader.after) <= set(names)


def test_facts_of_all_readers_end_up_in_one_snapshot() -> None:
    readers = [
        Reader("libc", lambda _: {"platform.libc": "glibc"}),
        Reader("kernel", lambda _: {"platform.kernel_release": "6.8"}),
        Reader("gpus", lambda _: {"gpus": (PciGpu("0000:01:00.0", "0x2684"),)}),
    ]
    snapshot = runner.run(Context(), readers)
    assert (snapshot.platform.libc, snapshot.platform.kernel_release) == ("glibc", "6.8")
    assert snapshot.gpus[0].device_id == "0x2684"
    assert [entry.name for entry in snapshot.readers] == ["libc", "kernel", "gpus"]


def test_a_crash_becomes_that_readers_outcome() -> None:
    def crash(_: Context) -> Facts:
        raise RuntimeError("boom\nwith a second line")

    snapshot = runner.run(
        Context(), [Reader("bad", crash), Reader("good", lambda _: {"platform.libc": "musl"})]
    )
    assert outcome(snapshot, "bad") == ("failed", "RuntimeError: boom with a second line")
    assert snapshot.platform.libc == "musl"


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError(), RecursionError()])
def test_not_even_exit_or_memory_errors_end_the_run(error: BaseException) -> None:
    def crash(_: Context) -> Facts:
        raise error

    assert outcome(runner.run(Context(), [Reader("bad", crash)]), "bad")[0] == "failed"


def test_a_module_that_cannot_be_imported_costs_its_reader_alone() -> None:
    snapshot = runner.run(Context(), [Reader("gone", "no_such_module:read")])
    assert outcome(snapshot, "gone")[0] == "failed"
    assert "no_such_module" in outcome(snapshot, "gone")[1]


def test_a_hanging_reader_costs_its_own_limit_and_the_others_go_on() -> None:
    release = threading.Event()

    def hang(_: Context) -> Facts:
        release.wait(60)
        return {"platform.libc": "too late"}

    started = time.monotonic()
    snapshot = runner.run(
        Context(),
        [
            Reader("slow", hang, limit_s=0.2),
            Reader("good", lambda _: {"platform.kernel_release": "6.8"}),
            Reader("next", lambda context: {"platform.distro_id": "x"}, after=("slow",)),
        ],
    )
    assert time.monotonic() - started < 10
    release.set()
    status, reason = outcome(snapshot, "slow")
    assert status == "timeout" and "no answer within" in reason
    assert snapshot.platform.libc is None
    assert (snapshot.platform.kernel_release, snapshot.platform.distro_id) == ("6.8", "x")


def test_the_whole_run_has_a_limit_that_no_reader_can_extend() -> None:
    release = threading.Event()

    def hang(_: Context) -> Facts:
        release.wait(60)
        return {}

    readers = [
        Reader(f"slow{n}", hang, limit_s=60, after=after)
        for n, after in enumerate([(), ("slow0",), ("slow1",)])
    ]
    snapshot = runner.run(Context(), readers, total_limit_s=0.3)
    release.set()
    assert [entry.status for entry in snapshot.readers] == ["timeout"] * 3


def test_skips_denials_and_part_answers_keep_their_reasons() -> None:
    def skip(_: Context) -> Facts:
        raise Skip("no NVIDIA device")

    def denied(_: Context) -> Facts:
        raise Denied("/dev/kmsg: Operation not permitted")

    def refused(_: Context) -> Facts:
        raise PermissionError(13, "Permission denied", "/root")

    def partly(_: Context) -> Facts:
        raise Incomplete("one file is broken", {"platform.libc": "glibc"})

    readers = [Reader("a", skip), Reader("b", denied), Reader("c", refused), Reader("d", partly)]
    snapshot = runner.run(Context(), readers)
    assert outcome(snapshot, "a") == ("skipped", "no NVIDIA device")
    assert outcome(snapshot, "b")[0] == "denied"
    assert outcome(snapshot, "c") == ("denied", "[Errno 13] Permission denied: '/root'")
    assert outcome(snapshot, "d") == ("ok", "one file is broken")
    assert snapshot.platform.libc == "glibc"


def test_a_reader_sees_the_facts_of_those_it_waits_for() -> None:
    def second(context: Context) -> Facts:
        return {"platform.libc_version": f"after {context.so_far.platform.libc}"}

    readers = [
        Reader("second", second, after=("first",)),
        Reader("first", lambda _: {"platform.libc": "glibc"}),
    ]
    assert runner.run(Context(), readers).platform.libc_version == "after glibc"


def test_readers_that_wait_for_each_other_are_reported_not_waited_for() -> None:
    readers = [
        Reader("a", lambda _: {}, after=("b",)),
        Reader("b", lambda _: {}, after=("a",)),
        Reader("c", lambda _: {"platform.libc": "glibc"}),
    ]
    snapshot = runner.run(Context(), readers)
    assert outcome(snapshot, "a")[0] == outcome(snapshot, "b")[0] == "failed"
    assert snapshot.platform.libc == "glibc"


@pytest.mark.parametrize("key", ["nonsense", "platform.nonsense", "gpus.first", ""])
def test_a_fact_without_a_field_is_the_readers_fault(key: str) -> None:
    snapshot = runner.run(Context(), [Reader("bad", lambda _: {key: 1})])
    assert outcome(snapshot, "bad")[0] == "failed"

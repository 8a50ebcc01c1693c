"""Fuzzes many targets for long, several at a time, in slices that go on where the last one ended.

``ci/fuzz.sh`` starts it. What was found stays in ``build/fuzz``: ``TARGET/`` is the grown corpus,
``TARGET-broken-*`` inputs that broke a parser, ``ledger.json`` how long each target has run there.
``tests/fuzz/hours.json`` adds the ledgers of all machines up, and ``--rest`` goes on from it. Seconds
are the processor's: a machine that does other things at the same time fuzzes for less. A campaign
that gets SIGTERM ends its slices, and what they did until then counts.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from tests.fuzz.targets._support import MEMORY, SCRATCH

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build/fuzz"
CORPUS = ROOT / "tests/data/fuzz"
HOURS = ROOT / "tests/fuzz/hours.json"
RSS_MB, INPUT_S, MAX_BYTES = 1024, 10, 65536
AGAIN_S = 600
TIMEOUT = 70  # libFuzzer's exit status for an input that took longer than -timeout, by the clock
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)")


class Ledger:
    """Seconds, inputs, coverage and findings of each target, over all runs of this checkout."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.rows: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self.rows = json.loads(path.read_text())

    def add(self, target: str, seconds: float, log: str, broken: Sequence[str]) -> dict[str, Any]:
        """Count one slice. ``broken``: names of the inputs that it found."""
        inputs = re.search(r"stat::number_of_executed_units: *(\d+)", log)
        peak = re.search(r"stat::peak_rss_mb: *(\d+)", log)
        covered = _COVERAGE.findall(log)
        with self._lock:
            row = self.rows.setdefault(
                target, {"seconds": 0.0, "inputs": 0, "coverage": 0, "corpus": 0, "peak_mb": 0,
                         "findings": []},
            )  # fmt: skip
            row["seconds"] = round(row["seconds"] + seconds, 1)
            row["inputs"] += int(inputs[1]) if inputs else 0
            row["peak_mb"] = max(row["peak_mb"], int(peak[1]) if peak else 0)
            if covered:
                row["coverage"] = max(row["coverage"], int(covered[-1][0]))
                row["corpus"] = int(covered[-1][2])
            row["findings"] = sorted({*row["findings"], *broken})
            self.path.write_text(json.dumps(self.rows, indent=1, sort_keys=True))
            return dict(row)


class Fuzzers:
    """The fuzzing processes that run now. libFuzzer ends in good order when it gets SIGUSR1."""

    def __init__(self) -> None:
        self.stopped = False
        self._running: set[int] = set()

    def begin(self, process: int) -> None:
        self._running.add(process)
        if self.stopped:
            self.stop()

    def end(self, process: int) -> None:
        self._running.discard(process)

    def stop(self, *_: Any) -> None:
        """End them all; none is to be started any more."""
        self.stopped = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR1)


FUZZERS = Fuzzers()


class Slice(NamedTuple):
    """One run of one target: processor seconds, what it printed, the inputs that broke the target.

    ``false_alarm``: it ended before its time, and nothing was wrong.
    """

    seconds: float
    log: str
    broken: list[str]
    false_alarm: bool


def run_slice(target: str, seconds: int, python: str, number: int, runs: int) -> Slice:
    """Fuzz ``target`` once. ``number`` names the log: no two that run at once have the same.

    With ``runs``, that many inputs of a fixed seed, however long they take.
    """
    limit = [f"-runs={runs}", "-seed=1"] if runs else [f"-max_total_time={seconds}"]
    folder = WORK / target
    folder.mkdir(parents=True, exist_ok=True)
    log = WORK / f"{target}.{number}.log"
    # Its own folder: several slices of one target may run at once, and what one of them found must
    # neither be judged by another nor hide that another found the same.
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as scratch,
        tempfile.TemporaryDirectory(dir=WORK, prefix=f"{target}-found-") as found,
    ):
        command = [
            python, str(ROOT / "tests/fuzz/fuzz.py"), target, *limit,
            f"-timeout={INPUT_S}", f"-rss_limit_mb={RSS_MB}", f"-max_len={MAX_BYTES}", "-reload=30",
            "-print_final_stats=1", f"-artifact_prefix={found}/{target}-broken-",
            str(folder), str(CORPUS / target),
        ]  # fmt: skip
        env = {**os.environ, SCRATCH: scratch, "PYTHONHASHSEED": "0" if runs else "random"}
        code, spent = _processor_seconds(command, env, log, FUZZERS)
        text = log.read_text(errors="replace")
        inputs = sorted(Path(found).iterdir())
        verdicts = {path: _verdict(target, path, python, env) for path in inputs}
        broken = [f"{path.name}{told}" for path, told in verdicts.items() if told is not None]
        for path, told in verdicts.items():
            if told is not None:
                path.replace(WORK / path.name)
    false_alarm = code == TIMEOUT and bool(inputs) and not broken
    too_soon = FUZZERS.stopped and code == -signal.SIGUSR1  # libFuzzer was not there yet
    if code and not broken and not false_alarm and not too_soon:
        broken = [f"exit {code}, see {log.name}"]
    return Slice(spent, text, broken, false_alarm)


def _processor_seconds(
    command: list[str], env: dict[str, str], log: Path, fuzzers: Fuzzers | None = None
) -> tuple[int, float]:
    """Run ``command``; its exit code and the processor time that it took, without its imports."""
    with log.open("wb") as stream:
        child = subprocess.Popen(command, env=env, stdout=stream, stderr=stream)
        if fuzzers:
            fuzzers.begin(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        if fuzzers:
            fuzzers.end(child.pid)
    child.returncode = os.waitstatus_to_exitcode(status)
    spent = usage.ru_utime + usage.ru_stime
    ready = re.search(rb"^fuzz: ready after ([0-9.]+) s$", log.read_bytes(), re.MULTILINE)
    return child.returncode, max(0.0, spent - (float(ready[1]) if ready else spent))


def _verdict(target: str, path: Path, python: str, env: dict[str, str]) -> str | None:
    """None when an input is no finding, else what there is to say of it besides its name.

    libFuzzer's limits are wall time, and a machine may be busy, or stop a process for minutes. So
    the input is run again: what then keeps within the limit by the processor's time is none. A run
    that the clock ended before the processor had done so much was stopped itself, or waits for
    something; once is no proof of either.
    """
    by_the_clock = re.search("-broken-(timeout|slow-unit)-", path.name) is not None
    command = [
        python, str(ROOT / "tests/fuzz/fuzz.py"), target, f"-timeout={AGAIN_S}",
        f"-rss_limit_mb={RSS_MB}", str(path),
    ]  # fmt: skip
    for _ in range(3):
        code, spent = _processor_seconds(command, env, path.with_name(f"{path.name}.log"))
        if spent >= INPUT_S:
            return ""
        if code == 0:
            return None if by_the_clock else " (not when run again)"
        if code != TIMEOUT:
            return ""
    return " (waits for something)"


def slices(wanted: Mapping[str, int], slice_s: int) -> Iterator[tuple[str, int]]:
    """(target, seconds) round-robin, until every target had the seconds that ``wanted`` names."""
    for done in range(0, max(wanted.values(), default=0), slice_s):
        for target, each in wanted.items():
            if each > done:
                yield target, min(slice_s, each - done)


def kept_hours() -> dict[str, dict[str, Any]]:
    """What each target has had on all machines, as ``tests/fuzz/hours.json`` keeps it."""
    rows: dict[str, dict[str, Any]] = json.loads(HOURS.read_text())["targets"]
    return rows


def record(ledgers: Sequence[Path]) -> None:
    """Add ``ledgers`` to the kept record, and say what is still missing from an hour each."""
    rows = kept_hours() if HOURS.is_file() else {}
    for ledger in ledgers:
        for target, row in json.loads(ledger.read_text()).items():
            kept = rows.setdefault(target, {"seconds": 0, "inputs": 0, "coverage": 0})
            kept["seconds"] += round(row["seconds"])
            kept["inputs"] += row["inputs"]
            kept["coverage"] = max(kept["coverage"], row["coverage"])
    about = "processor seconds, inputs and best coverage of each target of ci/fuzz.sh, all runs"
    text = {"about": about, "as_of": datetime.date.today().isoformat(), "targets": rows}
    HOURS.write_text(json.dumps(text, indent=1, sort_keys=True) + "\n")
    short = {target: row["seconds"] for target, row in rows.items() if row["seconds"] < 3600}
    total = sum(row["seconds"] for row in rows.values())
    print(
        f"fuzz: {total / 3600:.1f} hours in all; {len(short)} of {len(rows)} targets below one hour"
    )


def run(
    wanted: Mapping[str, int], slice_s: int, jobs: int, python: str, until: float, runs: int = 0
) -> bool:  # fmt: skip
    """Run all slices, ``jobs`` at a time, none beyond ``until`` (monotonic). True: nothing broke."""
    WORK.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(WORK / "ledger.json")
    pending: SimpleQueue[tuple[str, int]] = SimpleQueue()
    for item in slices(wanted, slice_s):
        pending.put(item)
    broke: list[str] = []

    def work(number: int) -> None:
        while True:
            try:
                target, seconds = pending.get_nowait()
            except Empty:
                return
            left = int(until - time.monotonic())
            if left < 1 or FUZZERS.stopped:
                return
            done = run_slice(target, min(seconds, left), python, number, runs)
            row = ledger.add(target, done.seconds, done.log, done.broken)
            print(f"fuzz: {target:15} {done.seconds:6.0f} s (all runs {row['seconds']:7.0f} s), "
                  f"{row['inputs']:10} inputs, coverage {row['coverage']:5}, {row['peak_mb']:4} MB"
                  f"{', ended by a false alarm' if done.false_alarm else ''}"
                  f"{''.join(f', BROKE: {name}' for name in done.broken)}",
                  flush=True)  # fmt: skip
            rest = seconds - max(1, math.ceil(done.seconds))
            if done.false_alarm and rest > 0 and not runs:
                pending.put((target, rest))
            if done.broken:
                broke.append(target)
                print("\n".join(done.log.splitlines()[-30:]), file=sys.stderr, flush=True)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return not broke


def sow(targets: Sequence[str]) -> None:
    """Lay the many seeds of :func:`tests.fuzz.seeds.plenty` into the corpora of a long run."""
    import hashlib

    from tests.fuzz.seeds import plenty

    for target in targets:
        folder = WORK / target
        folder.mkdir(parents=True, exist_ok=True)
        for data in plenty(target):
            (folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()).write_bytes(data)


def main() -> int:
    """The command line of ``ci/fuzz.sh``."""
    parser = argparse.ArgumentParser(prog="ci/fuzz.sh", description=__doc__)
    parser.add_argument("words", nargs="*", metavar="SECONDS TARGET", help="as above")
    parser.add_argument("--each", type=int, help="seconds for each target instead")
    parser.add_argument("--runs", type=int, default=0,
                        help="so many inputs for each target instead, the same every time")  # fmt: skip
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--slice", type=int, default=0, help="seconds of one process; 0: --each")
    parser.add_argument("--until", type=float, default=0, help="stop after so many seconds")
    parser.add_argument("--rest", action="store_true",
                        help="with --each: only what tests/fuzz/hours.json still lacks of it")  # fmt: skip
    parser.add_argument("--record", type=Path, nargs="+", metavar="LEDGER",
                        help="fuzz nothing: add these ledgers to tests/fuzz/hours.json")  # fmt: skip
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return 0
    words = list(options.words)
    seconds = int(words.pop(0)) if words and words[0].isdigit() else 90
    known = sorted(path.name for path in CORPUS.iterdir())
    targets = words or known
    unknown = sorted(set(targets) - set(known))
    if unknown:
        parser.error(f"no target is called {unknown[0]}; there are {', '.join(known)}")
    each = options.each or max(1, seconds // len(targets))
    if options.each:
        sow(targets)
    until = time.monotonic() + (options.until or 10**9)
    had = {target: row["seconds"] for target, row in kept_hours().items()} if options.rest else {}
    wanted = {target: max(0, each - had.get(target, 0)) for target in targets}
    slice_s = each if options.runs else options.slice or each
    signal.signal(signal.SIGTERM, FUZZERS.stop)
    fine = run(wanted, slice_s, options.jobs, sys.executable, until, options.runs)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

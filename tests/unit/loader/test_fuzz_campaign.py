"""What a long run of the fuzzers takes for a finding, and what for the machine's doing.

A program of ours plays libFuzzer: it leaves inputs behind, and does with an input what it says.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from tests.fuzz import campaign

PLAYER = f"""#!{sys.executable}
import pathlib, signal, sys, time
target, last = sys.argv[2], sys.argv[-1]
print("fuzz: ready after 0.0 s", file=sys.stderr)
folder = pathlib.Path(__file__).parent

def use_up(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

if any(word.startswith("-artifact_prefix=") for word in sys.argv):
    prefix = next(word for word in sys.argv if word.startswith("-artifact_prefix="))[17:]
    play = folder / f"{{target}}.play"
    lines = play.read_text().splitlines()
    play.write_text("\\n".join(lines[1:]))
    code, *inputs = lines[0].split() if lines else ["0"]
    if code == "endless":
        signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
        (folder / f"{{target}}.runs").touch()
        use_up(60)
    for item in inputs:
        kind, content = item.split("=")
        pathlib.Path(f"{{prefix}}{{kind}}").write_text(content)
    print(f"slice of {{target}}: {{lines[:1]}}", file=sys.stderr)
    sys.exit(int(code))
content = pathlib.Path(last).read_text()
if content == "slow":
    use_up(1.5)
if content.startswith("stopped"):  # so many times
    times = int(content[7:])
    if times:
        pathlib.Path(last).write_text(f"stopped{{times - 1}}")
        sys.exit(70)
sys.exit(77 if content == "crash" else 0)
"""


class Machine:
    """A folder to fuzz in, and what the fuzzer will do there, a line a slice."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "build"
        self.python = folder / "python"
        self.python.write_text(PLAYER)
        self.python.chmod(0o755)
        self.work.mkdir()

    def plays(self, target: str, *slices: str) -> None:
        (self.python.parent / f"{target}.play").write_text("\n".join(slices))

    def slice(self) -> campaign.Slice:
        return campaign.run_slice("elf", 5, str(self.python), 0, 0)

    def kept(self) -> list[str]:
        return sorted(path.name for path in self.work.glob("*-broken-*"))


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine(tmp_path)
    monkeypatch.setattr(campaign, "WORK", found.work)
    monkeypatch.setattr(campaign, "INPUT_S", 1)
    return found


@pytest.mark.parametrize("content", ["quick", "stopped1", "stopped2"])
@pytest.mark.parametrize("kind", ["timeout", "slow-unit"])
def test_what_was_slow_by_the_clock_alone_is_no_finding(
    machine: Machine, kind: str, content: str
) -> None:
    code = 70 if kind == "timeout" else 0
    machine.plays("elf", f"{code} {kind}-1234={content}")
    done = machine.slice()
    assert (done.broken, done.false_alarm, machine.kept()) == ([], kind == "timeout", [])
    assert not list(machine.work.glob("*-found-*"))


def test_what_is_slow_by_the_processor_is_one(machine: Machine) -> None:
    machine.plays("elf", "70 timeout-1234=slow")
    done = machine.slice()
    assert (done.broken, done.false_alarm) == (["elf-broken-timeout-1234"], False)
    assert machine.kept() == done.broken


def test_what_never_ends_and_uses_no_processor_is_one(machine: Machine) -> None:
    machine.plays("elf", "70 timeout-1234=stopped9")
    assert machine.slice().broken == ["elf-broken-timeout-1234 (waits for something)"]
    assert machine.kept() == ["elf-broken-timeout-1234"]


@pytest.mark.parametrize(("content", "told"), [("crash", ""), ("fine", " (not when run again)")])
def test_a_crash_is_one_and_whether_it_comes_again_is_said(
    machine: Machine, content: str, told: str
) -> None:
    machine.plays("elf", f"77 slow-unit-1=quick crash-1234={content}")
    assert machine.slice().broken == [f"elf-broken-crash-1234{told}"]
    assert machine.kept() == ["elf-broken-crash-1234"]


def test_an_end_that_left_no_input_names_the_log(machine: Machine) -> None:
    machine.plays("elf", "77 slow-unit-1=quick", "70")
    assert machine.slice().broken == ["exit 77, see elf.0.log"]
    assert machine.slice().broken == ["exit 70, see elf.0.log"]


def test_what_another_slice_found_is_not_judged_and_hides_nothing(machine: Machine) -> None:
    other = machine.work / "elf-broken-timeout-1234"
    other.write_text("slow")  # a slice beside this one is about to judge it
    machine.plays("elf", "70 timeout-1234=quick", "0")
    assert machine.slice() == campaign.Slice(
        pytest.approx(0, abs=1), machine_log(machine), [], True
    )
    assert machine.slice().broken == []
    assert other.read_text() == "slow"


def machine_log(machine: Machine) -> str:
    return (machine.work / "elf.0.log").read_text()


def test_the_rest_of_a_slice_that_a_false_alarm_ended_is_run(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.plays("elf", "70 timeout-1=quick", "70 timeout-2=quick", "0", "0")
    assert campaign.run({"elf": 5}, 5, 1, str(machine.python), time.monotonic() + 60)
    told = capsys.readouterr().out.splitlines()
    assert ["false alarm" in line for line in told] == [True, True, False]


def test_slices_of_one_target_that_run_at_once_have_a_log_each(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[tuple[str, int]] = []
    twice = []

    def run_slice(target: str, seconds: int, python: str, number: int, runs: int) -> campaign.Slice:
        if (target, number) in running:
            twice.append(target)
        running.append((target, number))
        time.sleep(0.01 * (2 + number))  # no two end together
        running.remove((target, number))
        return campaign.Slice(1.0, "", [], False)

    monkeypatch.setattr(campaign, "run_slice", run_slice)
    assert campaign.run({"elf": 9, "pe": 9}, 1, 4, "python", time.monotonic() + 60)
    assert not twice


def test_a_campaign_that_is_stopped_counts_what_it_did(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fuzzers = campaign.Fuzzers()
    monkeypatch.setattr(campaign, "FUZZERS", fuzzers)
    machine.plays("elf", "endless", "0", "0")

    def stop() -> None:
        while not (tmp_path / "elf.runs").exists():
            time.sleep(0.01)
        time.sleep(0.3)
        fuzzers.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    assert campaign.run({"elf": 90}, 30, 1, str(machine.python), time.monotonic() + 60)
    thread.join()
    row = campaign.Ledger(machine.work / "ledger.json").rows["elf"]
    assert 0.1 < row["seconds"] < 30
    assert row["findings"] == []
    assert (tmp_path / "elf.play").read_text().count("0") == 2, "another slice was started"


def test_a_fuzzer_that_was_stopped_before_it_was_ready_is_no_finding(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fuzzers = campaign.Fuzzers()
    fuzzers.stop()
    monkeypatch.setattr(campaign, "FUZZERS", fuzzers)
    machine.plays("elf", "0")
    assert machine.slice().broken == []

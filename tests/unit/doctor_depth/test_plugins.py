"""Plugins: found by a cheap scan, run apart, and whatever they do becomes a finding."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import venv
from pathlib import Path
from typing import Any

import pytest

import cuready
from cuready.doctor import plugins
from cuready.doctor.engine import diagnose
from cuready.doctor.registry import all_checks
from cuready.probe import children, fairly, take
from cuready.probe import plugins as runner
from cuready.probe.context import Context
from cuready.probe.plugins import find
from cuready.snapshot import Snapshot

PACKAGE = Path(cuready.__file__).resolve().parents[1]
ENTRY_POINTS = """\
[console_scripts]
acme = acme:main
[cuready.checks]
acme = acme:check
wrong = acme:wrong_ids
[cuready.readers]
acme_facts = acme:facts
[rapids_doctor_check]
good = acme:good [extra]
bad = acme:bad
gone = acme_gone.part:check
"""
MODULE = '''\
import os, warnings
from cuready.doctor.finding import Evidence, Finding, Fix, Severity

def check(snapshot):
    cause = f"{snapshot.platform.system} and {snapshot.plugin_facts['acme_facts']['answer']}."
    yield Finding("ACME01", Severity.WARNING, "Acme is unhappy", cause, explains=("PY11",))

def wrong_ids(snapshot):
    yield Finding("DRV01", Severity.ERROR, "Pretends to be ours", "It is not.")

def facts(snapshot):
    print("noise on stdout")
    return {"answer": 42}

def good(verbose=False, **kwargs):
    """Acme works."""
    print("noise on stdout")
    return "all right"

def bad(verbose=False, **kwargs):
    """Acme has memory."""
    warnings.warn("only a little")
    raise ValueError("not enough memory: install more")

def crash(verbose=False, **kwargs):
    os.abort()

def hang(verbose=False, **kwargs):
    import time
    time.sleep(60)
'''


def install(site: Path, entry_points: str, module: str = MODULE) -> None:
    folder = site / "acme_tools-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.0\n")
    (folder / "RECORD").write_text("")
    (folder / "entry_points.txt").write_text(entry_points)
    (site / "acme.py").write_text(module)


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A venv that sees cuready and what it needs."""
    venv.create(tmp_path / "v", symlinks=True)
    site = next((tmp_path / "v").glob("lib/python3*/site-packages"))
    paths = [str(PACKAGE), *(p for p in sys.path if p.endswith("site-packages"))]
    (site / "cuready-under-test.pth").write_text("\n".join(paths))
    return tmp_path / "v"


def site_of(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def doctor(environment: Path, *options: str) -> dict[str, Any]:
    command = [
        str(environment / "bin/python"),
        "-m",
        "cuready",
        "doctor",
        "--format",
        "json",
        *options,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_only_our_groups_are_found_and_extras_are_left_out(tmp_path: Path) -> None:
    install(tmp_path, ENTRY_POINTS)
    found = find(Context(), [str(tmp_path), "/does/not/exist"])
    assert [(item.group, item.name) for item in found] == [
        ("cuready.checks", "acme"), ("cuready.checks", "wrong"), ("cuready.readers", "acme_facts"),
        ("rapids_doctor_check", "good"), ("rapids_doctor_check", "bad"), ("rapids_doctor_check", "gone"),
    ]  # fmt: skip
    assert found[3].value == "acme:good"
    assert {item.distribution for item in found} == {"acme-tools"}


def test_each_plugin_ends_as_a_finding_or_says_nothing(environment: Path) -> None:
    install(site_of(environment), ENTRY_POINTS)
    found = {(f["id"], f["subject"], f["severity"]): f for f in doctor(environment)["findings"]}
    assert found["ACME01", "", "warning"]["cause"] == "Linux and 42."
    assert "not enough memory" in found["PLG02", "bad", "error"]["cause"]
    assert found["PLG02", "bad", "warning"]["cause"] == "only a little."
    assert "acme_gone" in found["PLG01", "gone", "warning"]["cause"]
    assert "DRV01 is cuready's own" in found["PLG01", "wrong", "warning"]["cause"]
    assert not any(subject == "good" for _, subject, _ in found)


def test_a_plugin_on_pythonpath_runs_where_it_was_found(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "modules", ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    found = {(f["id"], f["subject"]): f for f in doctor(environment)["findings"]}
    assert found["ACME01", ""]["cause"] == "Linux and 42."


def test_no_plugins_runs_none(environment: Path) -> None:
    install(site_of(environment), ENTRY_POINTS)
    ids = {f["id"] for f in doctor(environment, "--no-plugins")["findings"]}
    assert not ids & {"ACME01", "PLG01", "PLG02"}


def test_list_names_them_and_runs_nothing(environment: Path) -> None:
    install(site_of(environment), ENTRY_POINTS, "raise SystemExit('imported')")
    listed = doctor(environment, "--list")["plugins"]
    assert {item["name"] for item in listed} == {
        "acme",
        "wrong",
        "acme_facts",
        "good",
        "bad",
        "gone",
    }


@pytest.mark.parametrize(("function", "status"), [("crash", "crashed"), ("hang", "timeout")])
def test_one_that_crashes_or_hangs_costs_nobody_else_its_answer(
    environment: Path, function: str, status: str
) -> None:
    lines = [
        "good = acme:good",
        *(f"worse{n} = acme:{function}\nlater{n} = acme:bad" for n in "12"),
    ]
    install(site_of(environment), "[rapids_doctor_check]\n" + "\n".join(lines) + "\n")
    snapshot = take(python=str(environment / "bin/python"))
    ended = {item["name"]: item["status"] for item in plugins.outcomes(snapshot)}
    assert ended == {
        "good": "passed", "worse1": status, "later1": "failed", "worse2": status, "later2": "failed",
    }  # fmt: skip
    named = {f.subject for f in diagnose(snapshot).findings if f.id == "PLG01"}
    assert named == {"worse1", "worse2"}
    (later,) = [item for item in plugins.outcomes(snapshot) if item["name"] == "later2"]
    assert later["warnings"] == ["only a little"] and later["about"] == "Acme has memory."


def test_a_slow_check_keeps_its_process_and_all_of_the_time(environment: Path) -> None:
    """It is slower than half of the time, as an import of RAPIDS may be, and is not asked twice."""
    log = environment / "log"
    slow = f"""
def slow(verbose=False, **kwargs):
    import time
    open({str(log)!r}, "a").write("slow ")
    time.sleep(3.2)

def quick(verbose=False, **kwargs):
    open({str(log)!r}, "a").write("quick ")
"""
    text = "[rapids_doctor_check]\nslow = acme:slow\nquick = acme:quick\n"
    install(site_of(environment), text, slow)
    snapshot = take(python=str(environment / "bin/python"))
    ended = {item["name"]: item["status"] for item in plugins.outcomes(snapshot)}
    assert ended == {"slow": "passed", "quick": "passed"}
    assert log.read_text().split().count("slow") == 1


OWN = """\
import time
from cuready.doctor.finding import Finding, Severity

def hang(snapshot):
    time.sleep(60)

def busy(snapshot):
    while True:
        pass

def facts(snapshot):
    return {"answer": 42}

def check(snapshot):
    yield Finding("ACME01", Severity.WARNING, "Acme is unhappy", "It is.")
"""


def test_a_reader_or_check_that_hangs_starves_none_of_another_kind(environment: Path) -> None:
    lines = [
        "[cuready.readers]", "a_hang = acme:hang", "b_facts = acme:facts",
        "[cuready.checks]", "a_busy = acme:busy", "b_check = acme:check",
        "[rapids_doctor_check]", "rapids = acme:check",
    ]  # fmt: skip
    install(site_of(environment), "\n".join(lines) + "\n", OWN)
    found = doctor(environment)["findings"]
    hanging = [(f["subject"], f["confidence"]) for f in found if f["id"] == "PLG01"]
    assert sorted(hanging) == [("a_busy", "unknown"), ("a_hang", "unknown")]
    assert [f["cause"] for f in found if f["id"] == "ACME01"] == ["It is."]
    # `check(verbose=True)` is none of RAPIDS' functions: that it was called is what counts.
    assert [f["subject"] for f in found if f["id"] == "PLG02"] == ["rapids"]


def outcome(**more: Any) -> Snapshot:
    item = {
        "group": "cuready.checks",
        "name": "acme",
        "value": "acme:check",
        "status": "passed",
        **more,
    }
    return Snapshot(plugin_facts={plugins.OUTCOMES: [item]})


@pytest.mark.parametrize(
    "answer",
    ["text", {"id": "acme"}, {"id": "ACME01"}, {"id": "ACME01", "title": "t", "cause": "c", "severity": "loud"},
     {"id": "ACME01", "title": "t", "cause": "c", "fix": [{"command": "x"}]}, {"id": "PY01", "title": "t", "cause": "c"}],
    ids=range(6),
)  # fmt: skip
def test_an_answer_that_is_no_finding_is_said_to_be_none(answer: Any) -> None:
    snapshot = outcome(answer=[answer])
    assert plugins.checks_of(snapshot) == ()
    assert [f.id for f in diagnose(snapshot, checks=all_checks()).findings] == ["PLG01"]


@pytest.mark.parametrize("facts", [None, "x", [1, {}], [{"group": 1}]], ids=range(4))
def test_damaged_outcomes_in_a_file_are_left_out(facts: Any) -> None:
    snapshot = Snapshot(plugin_facts={plugins.OUTCOMES: facts})
    assert plugins.outcomes(snapshot) == []
    assert diagnose(snapshot).findings == ()


def test_what_a_plugin_says_is_one_printable_line() -> None:
    answer = {"id": "ACME01", "title": "a\ud800b", "cause": "x \x1b[31mred\x00 \n y",
              "fix": [{"commands": ["echo \x1b]0;title\x07"]}]}  # fmt: skip
    (check,) = plugins.checks_of(outcome(answer=[answer]))
    (finding,) = check.function(Snapshot())
    for text in (finding.title, finding.cause, *finding.fix[0].commands):
        assert text.isprintable()


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def own_checks(monkeypatch: pytest.MonkeyPatch, count: int) -> list[float]:
    """Plugins that all hang for as long as they may; the limits that they were given."""
    given: list[float] = []
    all_there = threading.Barrier(count)

    def hang(job: str, argument: Any, *, limit_s: float, env: Any = None) -> children.Answer:
        all_there.wait(20)  # nobody ends before everybody has begun
        given.append(limit_s)
        return children.Answer("timeout", "no answer")

    entry = runner.EntryPoint(runner.CHECKS, "slow", "acme:hang", "acme")
    monkeypatch.setattr(runner, "own", lambda: [entry] * count)
    monkeypatch.setattr(runner.children, "call", hang)
    return given


def test_plugins_that_hang_hang_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    given = own_checks(monkeypatch, 3)
    found = runner.run_checks(Snapshot(), 20.0)
    assert len(given) == 3 and max(given) <= runner.TIME_LIMIT_S
    assert [item["status"] for item in found] == ["timeout"] * 3


def test_without_any_time_no_plugin_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    given = own_checks(monkeypatch, 2)
    found = runner.run_checks(Snapshot(), 0.0)
    assert given == []
    assert [item["status"] for item in found] == ["timeout"] * 2


def test_a_whole_run_keeps_its_promise_when_reading_and_plugins_both_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from click.testing import CliRunner

    from cuready.cli import doctor as command
    from cuready.probe import runner as readers

    clock = Clock()

    def slow_reading(*_: Any, **__: Any) -> Snapshot:
        clock.now += readers.TOTAL_LIMIT_S
        return Snapshot()

    given = own_checks(monkeypatch, 2)
    monkeypatch.setattr(command, "_snapshot", slow_reading)
    budget = readers.Budget.of(readers.ANSWER_LIMIT_S, clock)
    monkeypatch.setattr(readers.Budget, "of", lambda *_: budget)
    CliRunner().invoke(command.doctor, ["--format", "json"])
    left = readers.ANSWER_LIMIT_S - readers.TOTAL_LIMIT_S
    assert len(given) == 2 and 0 < min(given) <= max(given) <= left
    assert readers.ANSWER_LIMIT_S < 10


def test_a_budget_is_never_negative() -> None:
    from cuready.probe.runner import Budget

    clock = Clock()
    budget = Budget.of(2.0, clock)
    clock.now += 5
    assert budget.left() == 0.0


# --- fair shares ---------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_items() -> None:
    assert fairly.run(list("abc"), lambda item, _: item.upper(), limit_s=5) == ["A", "B", "C"]
    assert fairly.run([], lambda item, _: item, limit_s=5) == []


def test_where_there_are_more_than_places_everybody_gets_a_share() -> None:
    clock = Clock()
    given: list[float] = []

    def hang(_: int, seconds: float) -> None:
        given.append(seconds)
        clock.now += seconds

    fairly.run(range(4), hang, limit_s=8.0, width=1, clock=clock)
    assert given == [2.0, 2.0, 2.0, 2.0]


def test_what_a_quick_one_leaves_goes_to_those_that_wait() -> None:
    clock = Clock()
    given: list[float] = []

    def quick_at_first(item: int, seconds: float) -> None:
        given.append(seconds)
        clock.now += 0.0 if item == 0 else seconds

    fairly.run(range(3), quick_at_first, limit_s=6.0, width=1, clock=clock)
    assert given == [2.0, 3.0, 3.0]


def test_what_is_raised_is_raised_again_and_nothing_new_is_started() -> None:
    begun: list[int] = []

    def fail(item: int, _: float) -> None:
        begun.append(item)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fairly.run(range(9), fail, limit_s=5, width=1)


# --- a process whose lines are heard at once -----------------------------------------------------


def test_lines_are_told_before_the_process_ends() -> None:
    heard: list[bytes] = []
    code = "import sys, time; print(sys.stdin.read(), flush=True); time.sleep(60)"
    ended = children.watch([sys.executable, "-c", code], b"hello", heard.append, limit_s=2.0)
    assert (heard, ended.timed_out) == ([b"hello\n"], True)


def test_a_process_that_ends_by_itself_says_why() -> None:
    heard: list[bytes] = []
    code = "import sys; print(1); sys.exit('because')"
    ended = children.watch([sys.executable, "-c", code], b"", heard.append, limit_s=30.0)
    assert (heard, ended.code, ended.timed_out) == ([b"1\n"], 1, False)
    assert ended.errors == b"because\n"


def test_a_program_that_is_not_there_is_no_traceback() -> None:
    ended = children.watch(["/does/not/exist"], b"", lambda _: None, limit_s=1.0)
    assert ended.code is None and "cannot start" in ended.reason


def test_plugins_end_before_their_reader_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where little time is left, one that hangs still costs nobody else its facts."""
    from cuready.probe.registry import Reader
    from cuready.probe.runner import run

    site = tmp_path / "site-packages"
    install(site, "[cuready.readers]\na_hang = acme:hang\nb_facts = acme:facts\n", OWN)
    monkeypatch.syspath_prepend(str(site))
    snapshot = run(Context(), [Reader("plugins", runner.read, limit_s=4.0)])
    (reader,) = snapshot.readers
    assert (reader.status, reader.reason) == ("ok", "")
    assert snapshot.plugin_facts["b_facts"] == {"answer": 42}
    ended = {item["name"]: item["status"] for item in plugins.outcomes(snapshot)}
    assert ended == {"a_hang": "timeout", "b_facts": "passed"}

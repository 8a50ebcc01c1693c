"""Plugins: found by a cheap scan, run apart, and whatever they do becomes a finding."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import cuready
from cuready.doctor import plugins
from cuready.doctor.engine import diagnose
from cuready.doctor.registry import all_checks
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
def test_one_that_crashes_or_hangs_costs_the_ones_after_it_alone(
    environment: Path, function: str, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cuready.probe import plugins as runner
    from cuready.probe import take

    monkeypatch.setattr(runner, "TIME_LIMIT_S", 1.5)
    text = f"[rapids_doctor_check]\ngood = acme:good\nworse = acme:{function}\nlater = acme:good\n"
    install(site_of(environment), text)
    snapshot = take(python=str(environment / "bin/python"))
    ended = {item["name"]: item["status"] for item in plugins.outcomes(snapshot)}
    assert ended == {"good": "passed", "worse": status, "later": status}
    assert {f.id for f in diagnose(snapshot).findings} >= {"PLG01"}


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


def own_checks(monkeypatch: pytest.MonkeyPatch, count: int, clock: Clock) -> list[float]:
    """Plugins that all hang for as long as they may; the limits that they were given."""
    from cuready.probe import children
    from cuready.probe import plugins as runner

    given: list[float] = []

    def hang(job: str, argument: Any, *, limit_s: float, env: Any = None) -> children.Answer:
        given.append(limit_s)
        clock.now += limit_s
        return children.Answer("timeout", "no answer")

    entry = runner.EntryPoint(runner.CHECKS, "slow", "acme:hang", "acme")
    monkeypatch.setattr(runner, "own", lambda: [entry] * count)
    monkeypatch.setattr(runner.children, "call", hang)
    monkeypatch.setattr(runner.time, "monotonic", clock)
    return given


def test_plugins_that_hang_share_one_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuready.probe import plugins as runner

    clock = Clock()
    given = own_checks(monkeypatch, 3, clock)
    found = runner.run_checks(Snapshot(), 1.5)
    assert given == [1.5]
    assert [item["status"] for item in found] == ["timeout"] * 3


def test_a_whole_run_keeps_its_promise_when_reading_and_plugins_both_hang(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from click.testing import CliRunner

    from cuready.cli import doctor as command
    from cuready.probe import runner

    clock = Clock()

    def slow_reading(*_: Any, **__: Any) -> Snapshot:
        clock.now += runner.TOTAL_LIMIT_S
        return Snapshot()

    started = clock.now
    given = own_checks(monkeypatch, 2, clock)
    monkeypatch.setattr(command, "_snapshot", slow_reading)
    budget = runner.Budget.of(runner.ANSWER_LIMIT_S, clock)
    monkeypatch.setattr(runner.Budget, "of", lambda *_: budget)
    CliRunner().invoke(command.doctor, ["--format", "json"])
    assert given == [runner.ANSWER_LIMIT_S - runner.TOTAL_LIMIT_S]
    assert clock.now - started == runner.ANSWER_LIMIT_S < 10


def test_a_budget_is_never_negative() -> None:
    from cuready.probe.runner import Budget

    clock = Clock()
    budget = Budget.of(2.0, clock)
    clock.now += 5
    assert budget.left() == 0.0

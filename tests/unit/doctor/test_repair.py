"""A repair is planned, run step by step, remembered, and can be undone."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from cuready.doctor.checks.environments import pip_over_conda
from cuready.doctor.finding import Finding, Fix, Risk, Severity
from cuready.doctor.repair import journal
from cuready.doctor.repair.plan import Step, plan_repair
from cuready.doctor.repair.programs import lacking_in
from cuready.doctor.repair.run import run_steps
from cuready.errors import InputError
from cuready.snapshot import CondaPackage, Distribution, Packaging, PythonEnv, Snapshot


def finding(
    check_id: str, *commands: str, severity: Severity = Severity.ERROR, **fix: object
) -> Finding:
    return Finding(check_id, severity, "title", "cause", fix=(Fix(commands, **fix),))  # type: ignore[arg-type]


def dist(name: str, version: str, installer: str = "pip", url: str | None = None) -> Distribution:
    return Distribution(name, version, "/env/site", installer=installer, direct_url=url)


def environment(*distributions: Distribution) -> Snapshot:
    python = PythonEnv(executable="/env/bin/python", prefix="/env", distributions=distributions)
    return Snapshot(taken_at="2026-01-02T03:04:05Z", python=python)


def test_a_command_that_repairs_two_findings_is_one_step() -> None:
    steps = plan_repair([finding("PY01", "pip install a"), finding("PY12", "pip install a", "x y")])
    assert [(step.command, step.finding_ids) for step in steps] == [
        ("pip install a", ("PY01", "PY12")),
        ("x y", ("PY12",)),
    ]


def test_infos_are_left_alone_unless_asked_for_by_id() -> None:
    info = finding("VIS04", "env", severity=Severity.INFO)
    assert plan_repair([info]) == ()
    assert len(plan_repair([info], only=["vis04"])) == 1
    assert plan_repair([finding("PY01", "a")], only=["PY02"]) == ()


@pytest.mark.parametrize(
    "command",
    ["unset LD_PRELOAD", "export A=b", "sudo reboot", "wsl --shutdown", "run <image>", "a 'b"],
)
def test_what_only_a_person_can_do_is_said_to_be_theirs(command: str) -> None:
    (step,) = plan_repair([finding("LIB04", command)])
    assert step.manual


@pytest.mark.parametrize("command", ["/env/bin/python -m pip install 'numpy<2'", "uv pip sync a"])
def test_an_installer_can_be_run_for_them(command: str) -> None:
    (step,) = plan_repair([finding("PY13", command)])
    assert not step.manual


@pytest.mark.parametrize(
    ("command", "available", "said"),
    [
        ("uv pip install a", (), "uv is not on PATH"),
        ("conda install a", ("conda",), "conda is not on PATH"),  # only its own prefix has it
        ("/env/bin/python -m pip install a", ("apt-get",), "this environment has no pip"),
        ("/env/bin/python -m pip install a", ("pip",), ""),
        ("/env/bin/python -m pip install a", (), ""),  # nobody looked
        (".venv/bin/python -m pip install a", ("apt-get",), ""),  # a step before it makes it
        ("rm -r a", (), ""),
    ],
)
def test_an_installer_that_is_not_here_is_named(
    command: str, available: tuple[str, ...], said: str
) -> None:
    here = replace(environment(), packaging=Packaging(available=available))
    lacking = lacking_in(here, lambda name: None)
    (step,) = plan_repair([finding("PY13", command)], lacking=lacking)
    assert step.manual.startswith(said) and bool(step.manual) == bool(said)
    assert "\n" not in step.manual


def run(steps: list[Step], **options: object) -> list[tuple[str, int | None]]:
    settings: dict[str, object] = {
        "record": None,
        "confirm": lambda step: True,
        "allow_root": False,
        "tell": lambda line: None,
    }
    outcomes = run_steps(steps, **{**settings, **options})  # type: ignore[arg-type]
    return [(outcome.status, outcome.exit_code) for outcome in outcomes]


def test_steps_run_in_order_and_stop_at_the_first_that_fails(tmp_path: Path) -> None:
    made = tmp_path / "made"
    steps = [Step(f"echo one > '{made}'"), Step("exit 7"), Step(f"rm '{made}'")]
    assert run(steps) == [("done", 0), ("failed", 7), ("not reached", None)]
    assert made.read_text() == "one\n"


def test_root_and_declined_and_manual_steps_are_not_run() -> None:
    steps = [Step("exit 1", needs_root=True, risk=Risk.HIGH), Step("exit 1", manual="yours")]
    assert run(steps) == [("refused", None), ("manual", None)]
    assert run([Step("exit 1")], confirm=lambda step: False) == [("declined", None)]
    assert run([Step("true", needs_root=True)], allow_root=True) == [("done", 0)]


def test_the_record_is_there_before_the_first_step_and_follows_each(tmp_path: Path) -> None:
    before = environment(dist("torch", "2.5.1"))
    record = journal.start(before, ["true", "exit 3"])
    path = Path(record.path)
    assert json.loads(path.read_bytes())["before"][0]["version"] == "2.5.1"
    assert path.stat().st_mode & 0o077 == 0
    copy = tmp_path / "while it ran"
    seen: list[str] = []

    def confirm(step: Step) -> bool:
        document = json.loads(path.read_bytes())
        seen.append(document["steps"][0].get("status", "pending"))
        return True

    steps = [Step(f"cp '{path}' '{copy}'"), Step("unset X", manual="yours"), Step("exit 3")]
    run(steps, record=record, confirm=confirm, look=lambda: environment(dist("torch", "2.6.0")))
    assert seen == ["pending", "done"]
    during = json.loads(copy.read_bytes())
    assert during["steps"][0]["status"] == "running" and "after" not in during
    last = journal.latest()
    assert [(step.status, step.exit_code) for step in last.steps] == [("done", 0), ("failed", 3)]
    assert last.before[0].name == "torch"
    assert last.after is not None and last.after[0].version == "2.6.0"


def test_a_repair_that_was_killed_in_its_first_command_can_be_taken_back() -> None:
    journal.start(environment(dist("torch", "2.5.1")), ["true"]).mark(0, "running")
    assert journal.latest().after is None


def test_an_interrupted_command_ends_before_what_is_there_is_written_down(tmp_path: Path) -> None:
    """As after Ctrl-C: the installer tidies up, and its changes are known afterwards."""
    record = journal.start(environment(dist("torch", "2.5.1")), ["true"])
    tidied = tmp_path / "tidied"
    parent = os.getpid()
    step = Step(f"trap '' INT; sleep 0.5; kill -INT {parent}; sleep 1; touch '{tidied}'")

    def look() -> Snapshot:
        assert tidied.exists()
        return environment()

    with pytest.raises(KeyboardInterrupt):
        run([step], record=record, look=look)
    last = journal.latest()
    assert last.steps[0].status == "interrupted" and last.after == ()


def test_the_repair_of_a_named_environment_is_the_one_that_is_undone() -> None:
    """The last one of all may be of another project."""
    for stamp, prefix in (("2026-01-01", "/one"), ("2026-01-02", "/other")):
        python = replace(environment(dist("a", "1")).python, prefix=prefix)
        started = journal.start(Snapshot(taken_at=stamp, python=python), ["true"])
        started.mark(0, "done", 0)
    assert journal.latest().prefix == "/other"
    assert journal.latest("/one").prefix == "/one"
    with pytest.raises(InputError, match="no repair to undo in /third"):
        journal.latest("/third")


def test_without_a_repair_there_is_nothing_to_undo() -> None:
    with pytest.raises(InputError, match="no repair to undo"):
        journal.latest()


def test_a_state_folder_that_cannot_be_written_stops_the_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    with pytest.raises(InputError, match="file"):
        journal.start(environment(), ["true"])


@pytest.mark.parametrize(
    ("available", "start"),
    [
        (("pip", "uv"), "uv pip uninstall"),
        (("pip",), "/env/bin/python -m pip uninstall"),
        ((), "uv pip uninstall"),  # nobody looked
    ],
)
def test_what_uv_put_over_condas_goes_with_what_is_here(
    available: tuple[str, ...], start: str
) -> None:
    conda = replace(
        environment(dist("torch", "2.6.0", "uv")).python,
        kind="conda",
        manager="conda",
        conda_packages=(CondaPackage("pytorch", "2.5.1", "cuda126_py312_h1", "conda-forge"),),
    )
    snapshot = Snapshot(python=conda, packaging=Packaging(available=available))
    (found,) = pip_over_conda(snapshot)
    assert found.fix[0].commands[0].startswith(start)

"""Ids that plugins give: those that they are named for are known unasked, others when found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuready.snapshot import Snapshot

MODULE = """\
from cuready.doctor.finding import Finding, Fix, Severity

def check(snapshot):
    if snapshot.plugin_facts.get("broken"):
        fix = (Fix(("acme mend",)),)
        yield Finding("ACME01", Severity.ERROR, "Acme is unhappy", "It is old.", fix=fix)

def crash(snapshot):
    raise SystemExit("no")
"""


class Machine:
    """A folder on PYTHONPATH with a plugin, and snapshots of a machine with and without a fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "modules"
        self.healthy, self.broken = folder / "healthy.json", folder / "broken.json"
        self.healthy.write_text(json.dumps(Snapshot().to_dict()))
        faulty = Snapshot(plugin_facts={"broken": {"yes": True}})
        self.broken.write_text(json.dumps(faulty.to_dict()))

    def plugin(self, line: str) -> None:
        info = self.site / "acme_tools-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-tools\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[cuready.checks]\n{line}\n")
        (self.site / "acme.py").write_text(MODULE)

    def run(self, *words: str | Path) -> tuple[int, str, str]:
        env = {**os.environ, "PYTHONPATH": str(self.site), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "cuready", *map(str, words)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, check=False, env=env
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("name", ["ACME01", "acme"])
@pytest.mark.parametrize("word", ["ACME01", "acme"])
def test_a_plugin_is_known_by_the_id_or_group_that_it_is_named_for(
    machine: Machine, name: str, word: str
) -> None:
    machine.plugin(f"{name} = acme:check")
    code, out, err = machine.run("doctor", "--from", machine.broken, "--only", word)
    assert (code, err) == (1, "") and "It is old." in out
    code, out, err = machine.run("doctor", "--from", machine.healthy, "--only", word)
    assert (code, err) == (0, "")


def test_an_id_that_no_plugin_is_named_for_is_known_when_it_is_found(machine: Machine) -> None:
    machine.plugin("tools = acme:check")
    code, out, err = machine.run("doctor", "--from", machine.broken, "--only", "ACME01")
    assert (code, err) == (1, "") and "It is old." in out
    code, _, err = machine.run("doctor", "--from", machine.healthy, "--only", "ACME01")
    assert code == 0
    assert "ACME01" in err and "tools" in err and "only when" in err and err.count("\n") == 1


def test_a_plugin_that_gave_no_answer_leaves_its_id_unknown(machine: Machine) -> None:
    machine.plugin("ACME01 = acme:crash")
    code, out, _ = machine.run(
        "doctor", "--from", machine.healthy, "--only", "ACME01", "--format", "json"
    )
    (result,) = [item for item in json.loads(out)["checks"] if item["id"] == "ACME01"]
    assert (code, result["status"]) == (3, "unknown")
    assert "ACME01" in result["reason"]


@pytest.mark.parametrize("word", ["ACME01", "DRV99", "DRV1", "SOMETHINGLONGER01"])
def test_without_plugins_or_in_a_group_of_ours_an_unknown_id_is_refused(
    machine: Machine, word: str
) -> None:
    code, _, err = machine.run("doctor", "--from", machine.healthy, "--only", word)
    assert code == 2 and f"no check is called {word!r}" in err
    machine.plugin("tools = acme:check")
    more = ["--no-plugins"] if word == "ACME01" else []
    code, _, err = machine.run("doctor", "--from", machine.healthy, "--only", word, *more)
    assert code == 2 and repr(word) in err
    assert ("--no-plugins" in err) == bool(more)


def test_explain_knows_what_a_plugin_is_named_for(machine: Machine) -> None:
    machine.plugin("acme = acme:check")
    code, out, _ = machine.run("explain", "acme01")
    assert code == 0
    assert out.startswith("ACME01") and "acme-tools" in out
    assert "cuready doctor --only ACME01" in out
    code, out, _ = machine.run("explain", "ACME01", "--from", machine.broken, "--format", "json")
    (answer,) = json.loads(out)["explanations"]
    assert (code, answer["title"], answer["cause"]) == (0, "Acme is unhappy", "It is old.")
    assert answer["here"]["fix"][0]["commands"] == ["acme mend"]


def test_explain_says_when_an_id_of_a_plugin_is_known(machine: Machine) -> None:
    code, out, _ = machine.run("explain", "ACME01")
    assert code == 1 and "plugin" not in out
    machine.plugin("tools = acme:check")
    code, out, _ = machine.run("explain", "ACME01")
    assert code == 1
    assert "tools" in out and "cuready doctor --only ACME01" in out
    code, out, _ = machine.run("explain", "ACME01", "--from", machine.broken)
    assert code == 0 and "It is old." in out and "acme mend" in out

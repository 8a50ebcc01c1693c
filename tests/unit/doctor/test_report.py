"""The bundle of a report replays; the answer of the doctor is no snapshot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cuready.cli.main import main

FAULT = Path(__file__).parents[2] / "data" / "zoo" / "fault-drv02-upgraded-without-reboot.json"


def errors(capsys: pytest.CaptureFixture[str]) -> list[str]:
    document = json.loads(capsys.readouterr().out)
    return [item["id"] for item in document["findings"] if item["severity"] == "error"]


def test_a_bundle_gives_the_findings_of_the_machine_it_came_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "report.json"
    assert main(["report", "--from", str(FAULT), "--output", str(bundle)]) == 0
    capsys.readouterr()
    assert main(["doctor", "--from", str(bundle), "--format", "json"]) == 1
    assert errors(capsys) == ["DRV02"]


def test_a_diagnosis_is_not_taken_for_a_machine_without_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--from", str(FAULT), "--format", "json"]) == 1
    answer = tmp_path / "answer.json"
    answer.write_text(capsys.readouterr().out)
    assert main(["doctor", "--from", str(answer)]) == 2
    told = capsys.readouterr().err
    assert str(answer) in told
    assert "not the snapshot" in told


def test_the_text_to_paste_names_the_finding_and_no_home(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["report", "--from", str(FAULT)]) == 0
    text = capsys.readouterr().out
    assert "**DRV02** error" in text
    assert "/home/jane" not in text


def test_diff_tells_what_changed_and_which_finding_came(
    capsys: pytest.CaptureFixture[str],
) -> None:
    healthy = FAULT.with_name("healthy-h200-container-torch-2.11.json")
    assert main(["diff", str(healthy), str(healthy), "--exit-code"]) == 0
    assert "no difference" in capsys.readouterr().out
    assert main(["diff", str(healthy), str(FAULT), "--exit-code"]) == 1
    text = capsys.readouterr().out
    assert "appeared: DRV02" in text
    assert "~ platform.kernel_release: 6.18.44 → " in text

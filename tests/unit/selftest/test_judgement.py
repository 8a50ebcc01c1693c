"""What counts as wrong, what is usual, and how a report is written."""

from __future__ import annotations

import datetime
import json
import re
import xml.etree.ElementTree as ET

import pytest

from cuready.doctor.finding import Severity
from cuready.errors import InputError
from cuready.selftest import expected
from cuready.selftest.findings import findings_of
from cuready.selftest.job import StageFailedError
from cuready.selftest.model import Figure, Report, Series, StageResult, Status
from cuready.selftest.proofs.timing import judge_events, judge_overlap
from cuready.selftest.render import render
from cuready.selftest.render.plot import plot
from cuready.selftest.stages import STAGES, Options, chosen


def made(*stages: StageResult) -> Report:
    return Report("quick", 0, {"gpu": "NVIDIA H200"}, list(stages), seconds=1.5)


def test_streams_that_wait_for_each_other_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_overlap(1.9)
    monkeypatch.setenv("CUDA_LAUNCH_BLOCKING", "1")
    with pytest.raises(StageFailedError, match="CUDA_LAUNCH_BLOCKING=1 is set"):
        judge_overlap(1.0)


@pytest.mark.parametrize("times", [(20, 12, 21), (5, 20, 21), (20, 40, 21)])
def test_clocks_that_disagree_fail(times: tuple[float, float, float]) -> None:
    judge_events(20.0, 20.1, 20.3)
    with pytest.raises(StageFailedError, match="clocks disagree"):
        judge_events(*times)


def test_usual_is_what_was_measured_on_such_a_gpu_and_nothing_else() -> None:
    known = expected.usual("device to device", "NVIDIA H100 80GB HBM3", {})
    assert known is not None
    assert known[0] == (2475, 3033)
    assert known[1].startswith("https://")
    for other in ("NVIDIA H100 PCIe", "NVIDIA H200 NVL", "NVIDIA GeForce RTX 4090 D", "New GPU"):
        assert expected.usual("device to device", other, {}) is None
    assert expected.usual("fp32", "NVIDIA H100 80GB HBM3", {}) is None


@pytest.mark.parametrize(
    ("generation", "lanes", "wanted"),
    [(4, 16, (25.0, 25.1)), (5, 16, (52.8, 52.8)), (5, 8, None), (7, 16, None), (None, None, None)],
)
def test_a_link_is_held_against_links_of_its_kind(
    generation: int | None, lanes: int | None, wanted: tuple[float, float] | None
) -> None:
    facts = {"pcie_generation": generation, "pcie_lanes": lanes}
    for figure in ("host to device, pinned", "device to host, pinned"):
        known = expected.usual(figure, "any", facts)
        assert (known and known[0]) == wanted
    assert expected.usual("host to device, pageable", "any", facts) is None


def test_every_measured_number_has_a_source_and_a_date() -> None:
    table = expected.table()
    rows = [*table["device_to_device"], *table["pinned"]]
    for row in [table, *rows]:
        datetime.date.fromisoformat(row["as_of"])
    for row in rows:
        assert row["source"]
        assert 0 < row["gbs"][0] <= row["gbs"][1]


def test_a_figure_below_half_of_usual_is_a_warning_not_a_failure() -> None:
    slow = StageResult("copies", "Copies", Status.PASSED,
                       figures=[Figure("device to device", 900, "GB/s")])  # fmt: skip
    report = made(slow)
    expected.apply(report)
    report.findings = findings_of(report)
    assert [(item.id, item.severity) for item in report.findings] == [("SELF20", Severity.WARNING)]
    assert report.exit_code == 0


@pytest.mark.parametrize("stage", [stage.id for stage in STAGES])
def test_every_stage_has_a_finding_for_any_error(stage: str) -> None:
    report = made(StageResult(stage, stage, Status.FAILED, "no", error={"type": "Unheard"}))
    (finding,) = findings_of(report)
    assert finding.fix
    assert finding.subject == stage


def test_stages_bring_what_they_stand_on() -> None:
    names = [stage.id for stage in chosen(Options(only=("events",)))]
    assert names == ["driver", "context", "memory", "copies", "compute", "events"]
    assert "engine" not in [stage.id for stage in chosen(Options())]


@pytest.mark.parametrize(
    "wrong", [{"memory_share": 1.5}, {"memory_share": 0}, {"only": ("nothing",)}]
)
def test_wrong_options_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Options(**wrong)  # type: ignore[arg-type]


def test_every_format_escapes_foreign_text() -> None:
    nasty = '<script>alert(1)</script> \x07 & "q"'
    stage = StageResult("driver", "Driver", Status.FAILED, nasty,
                        series=[Series("bandwidth", nasty, [1, 2], [3, 4], "bytes", "GB/s")])  # fmt: skip
    report = made(stage)
    report.findings = findings_of(report)
    assert "<script>" not in render(report, "html")
    case = ET.fromstring(render(report, "junit").split("?>", 1)[1]).find("testcase/failure")
    assert case is not None
    assert "<script>" in str(case.get("message"))
    assert "SELF21" in render(report, "text")
    json.dumps(report.to_dict())


def test_html_loads_nothing() -> None:
    text = render(made(), "html")
    for word in ("<script", "<link", "src=", "@import", "url("):
        assert word not in text


@pytest.mark.parametrize(
    ("values", "expected_labels"),
    [
        ([0.0021, 0.0024, 0.0267], ["0", "0.01", "0.02", "0.03"]),
        ([2475, 2959, 3000], ["2,200", "2,400", "2,600", "2,800", "3,000"]),
        ([46.0], ["35", "40", "45", "50"]),
        ([0.0, 0.0], ["0", "0.5", "1"]),
    ],
)
def test_a_plot_s_axis_has_round_numbers(values: list[float], expected_labels: list[str]) -> None:
    line = Series("clocks", "clock", [float(i) for i in range(len(values))], values, "s", "MHz")
    labels = re.findall(r'text-anchor="end">([\d.,]+)</text>', plot("Clocks", [line]))
    assert labels[: len(expected_labels)] == expected_labels


def test_junit_has_what_could_not_be_tried_as_an_error() -> None:
    asked = StageResult("tensorrt", "TensorRT", Status.SKIPPED, "no library", unanswered=True)
    left_out = StageResult("engine", "Engine", Status.SKIPPED, "no plan")
    report = made(asked, left_out)
    suite = ET.fromstring(render(report, "junit").split("?>", 1)[1])
    assert report.exit_code == 3
    assert [suite.get(name) for name in ("failures", "errors", "skipped")] == ["0", "1", "1"]
    assert [case[0].tag for case in suite.findall("testcase")] == ["error", "skipped"]

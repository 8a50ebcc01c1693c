"""Root causes swallow symptoms, and what works outranks what tables say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from tests.zoo.base import down, edit, gpu_box

from cuready.doctor import catalogue
from cuready.doctor.finding import Evidence, Finding, Severity
from cuready.doctor.merge import merge, seen_to_work
from cuready.snapshot import Snapshot


def of(
    check_id: str, *explains: str, severity: Severity = Severity.ERROR, subject: str = ""
) -> Finding:
    return catalogue.finding(
        check_id,
        cause="c.",
        evidence=(Evidence("s", "d"),),
        explains=explains,
        severity=severity,
        subject=subject,
    )


def test_root_keeps_only_the_symptoms_that_were_found() -> None:
    merged = merge([of("DRV08"), of("DRV01", "DRV08", "DRV09")], Snapshot())
    assert [(item.id, item.explains) for item in merged.findings] == [("DRV01", ("DRV08",))]
    assert merged.explained == {"DRV08": "explained by DRV01"}


def test_symptoms_of_a_symptom_belong_to_the_root() -> None:
    merged = merge([of("DRV03", "DRV01"), of("DRV01", "DRV08"), of("DRV08")], Snapshot())
    assert [(item.id, item.explains) for item in merged.findings] == [("DRV03", ("DRV01", "DRV08"))]


def test_warning_does_not_hide_an_error() -> None:
    merged = merge([of("DRV01", "DRV08", severity=Severity.WARNING), of("DRV08")], Snapshot())
    assert [item.id for item in merged.findings] == ["DRV08", "DRV01"]


def test_two_that_explain_each_other_leave_one() -> None:
    merged = merge([of("PY11", "PY10"), of("PY10", "PY11")], Snapshot())
    assert [item.id for item in merged.findings] == ["PY10"]


def test_explained_id_with_another_subject_is_swallowed_too() -> None:
    merged = merge(
        [of("PY07", "LIB01"), of("LIB01", subject="a"), of("LIB01", subject="b")], Snapshot()
    )
    assert [item.id for item in merged.findings] == ["PY07"]


def test_working_cuda_disproves_what_says_it_cannot_work() -> None:
    assert seen_to_work(of("DRV01"), gpu_box())
    assert not seen_to_work(of("DRV01"), down(gpu_box()))
    assert not seen_to_work(of("PY01"), gpu_box()), "a CPU torch stays one"


def test_one_working_gpu_says_nothing_of_another() -> None:
    box = gpu_box(count=2)
    half = edit(box, cuda__devices=box.cuda.devices[:1], nvml__devices=box.nvml.devices[:1])
    assert seen_to_work(of("DRV07", subject="0000:01:00.0"), half)
    assert not seen_to_work(of("DRV07", subject="0000:02:00.0"), half)


def test_addresses_are_compared_whatever_the_digits_of_the_domain() -> None:
    import dataclasses

    box = gpu_box()
    device = dataclasses.replace(box.nvml.devices[0], pci_address="00000000:01:00.0")
    wide = edit(box, nvml__devices=(device,), cuda__devices=(device,))
    assert seen_to_work(of("DRV07", subject="0000:01:00.0"), wide)


ids = st.sampled_from(catalogue.IDS)
severities = st.sampled_from(list(Severity))
findings = st.builds(
    lambda check_id, explains, severity: of(check_id, *explains, severity=severity),
    ids,
    st.lists(ids, max_size=4),
    severities,
)


@given(st.lists(findings, max_size=12))
def test_merging_never_loses_the_worst_and_never_hides_without_a_reason(
    items: list[Finding],
) -> None:
    merged = merge(items, Snapshot())
    rank = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}
    if items:
        assert merged.findings
        worst = min(rank[item.severity] for item in items)
        assert rank[merged.findings[0].severity] == worst
    kept = {item.id for item in merged.findings}
    for item in items:
        assert item.id in kept or item.id in merged.explained

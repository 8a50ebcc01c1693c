"""Each fault that the simulated driver can make is found by its stage, and none hangs us."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from cuready.errors import InputError
from cuready.selftest.model import Report, Status

from .conftest import Run


def failed(report: Report) -> list[str]:
    return [stage.id for stage in report.stages if stage.status is Status.FAILED]


def test_a_good_gpu_passes_every_stage(run: Run) -> None:
    report = run()
    assert {stage.id: stage.status.value for stage in report.stages} == dict.fromkeys(
        ("driver", "context", "memory", "copies", "compute", "pattern", "overlap", "events",
         "tensorrt", "peers"), "passed")  # fmt: skip
    assert report.exit_code == 0
    assert report.findings == []
    assert report.stage("compute").facts["checked"] == ["fp32", "fp16", "tensor cores"]
    assert "y = 2x + 1 right" in report.stage("tensorrt").reason


@pytest.mark.parametrize(
    ("fault", "stage", "finding"),
    [
        ("cuMemAlloc@1=2", "memory", "SELF03"),
        ("op.memset@1=214", "memory", "SELF06"),
        ("op.h2d@1=corrupt", "copies", "SELF07"),
        ("op.d2h@1=corrupt", "copies", "SELF07"),
        ("op.d2d@1=corrupt", "copies", "SELF07"),
        ("op.d2d@1=999", "copies", "DRV15"),
        ("cuModuleLoadDataEx@1=222", "compute", "DRV12"),
        ("cuLaunchKernel@1=719", "compute", "SELF09"),
        ("op.kernel@1=719", "compute", "SELF09"),
        ("op.kernel@2=214", "compute", "SELF06"),
        ("cuDevicePrimaryCtxRetain@1=46", "context", "SELF02"),
        ("cuInit@1=802", "driver", "DRV10"),
        ("cuInit@1=999", "driver", "DRV08"),
    ],
)
def test_the_right_stage_finds_a_fault(run: Run, fault: str, stage: str, finding: str) -> None:
    report = run(fault, only=("compute",))
    assert failed(report) == [stage]
    assert finding in [item.id for item in report.findings]
    assert report.stage(stage).findings == [finding]
    assert report.exit_code == 1


@pytest.mark.parametrize(
    ("fault", "stage"), [("op.h2d@1=hang", "copies"), ("op.kernel@1=hang", "compute")]
)
def test_a_hang_is_stopped_and_named(run: Run, fault: str, stage: str) -> None:
    begin = time.monotonic()
    report = run(fault, only=("compute",), stage_limit=3.0)
    assert time.monotonic() - begin < 60
    assert failed(report) == [stage]
    assert "no answer within 3 s" in report.stage(stage).reason
    assert [item.id for item in report.findings] == ["DRV16"]


def test_what_stands_on_a_failed_stage_is_skipped_and_says_so(run: Run) -> None:
    report = run("op.h2d@1=corrupt")
    assert report.stage("compute").status is Status.SKIPPED
    assert "“Copies”, which failed" in report.stage("compute").reason
    assert report.stage("peers").status is Status.SKIPPED


def test_wrong_numbers_of_an_engine_are_found(run: Run, own_plans: object) -> None:
    report = run(only=("tensorrt",), environment={"CUREADY_SELFTEST_PLANS": f"{own_plans}/wrong"})
    assert failed(report) == ["tensorrt"]
    assert "8 of 8 values of y are wrong" in report.stage("tensorrt").reason
    assert [item.id for item in report.findings] == ["SELF14"]


def test_a_tensorrt_without_a_fitting_plan_is_skipped_with_the_reason(run: Run) -> None:
    stage = run(only=("tensorrt",), release="10.15").stage("tensorrt")
    assert stage.status is Status.SKIPPED
    assert "no shipped plan is for it" in stage.reason
    assert "no builder" in stage.reason


def test_a_gpu_without_tensor_cores_says_what_was_left_out(run: Run) -> None:
    stage = run(only=("compute",), gpus="Old:6.1:256").stage("compute")
    assert stage.status is Status.PASSED
    assert stage.reason == "fp32, fp16 right; compute capability 6.1 has no tensor cores"


def test_one_gpu_has_no_peers(run: Run) -> None:
    stage = run(only=("peers",), gpus="One:9.0:256").stage("peers")
    assert (stage.status, stage.reason) == (Status.SKIPPED, "there is one GPU")


def test_the_gpu_that_is_left_visible_has_no_peers(run: Run) -> None:
    stage = run(only=("peers",), environment={"CUDA_VISIBLE_DEVICES": "1"}).stage("peers")
    assert stage.status is Status.SKIPPED
    assert stage.reason == "CUDA_VISIBLE_DEVICES=1: one GPU"


THREE = "A:9.0:256;B:9.0:256;C:8.6:256"


def test_peers_are_measured_each_way_and_both_ways(run: Run) -> None:
    stage = run(only=("peers",), gpus=THREE).stage("peers")
    assert stage.reason == "6 ways between 3 GPUs, 6 of them direct"
    names = [figure.name for figure in stage.figures]
    assert names[:3] == ["GPU 0 to GPU 1, direct", "GPU 1 to GPU 0, direct",
                         "GPU 0 and GPU 1, both ways at once, direct"]  # fmt: skip
    assert len(names) == 9
    assert all(figure.value > 0 for figure in stage.figures)
    gpus = stage.facts["gpus"]
    assert [gpu["name"] for gpu in gpus] == ["A", "B", "C"]
    assert len({gpu["uuid"] for gpu in gpus}) == 3


def test_a_mig_instance_is_known_by_the_uuid_that_nvml_has_for_it(run: Run) -> None:
    gpu = run(gpus="NVIDIA A100-SXM4-40GB MIG 1g.5gb:8.0:256", only=("driver",)).machine
    whole = run(gpus="NVIDIA A100-SXM4-40GB:8.0:256", only=("driver",)).machine
    assert gpu["uuid"].startswith("MIG-")
    assert whole["uuid"].startswith("GPU-")
    assert gpu["uuid"].removeprefix("MIG-") != whole["uuid"].removeprefix("GPU-")


def test_gpus_are_known_by_uuid_whatever_their_order(run: Run) -> None:
    plain, turned = (
        run(only=("peers",), gpus=THREE, environment=environment).stage("peers").facts["gpus"]
        for environment in ({}, {"CUDA_VISIBLE_DEVICES": "2,0"})
    )
    assert [(gpu["ordinal"], gpu["name"]) for gpu in turned] == [(0, "C"), (1, "A")]
    for new, old in zip(turned, (plain[2], plain[0]), strict=True):
        assert (new["uuid"], new["pci_bus_id"]) == (old["uuid"], old["pci_bus_id"])


@pytest.mark.parametrize(
    ("reach", "ways", "both"),
    [("none", ["through the host", "through the host"], "through the host"),
     ("1>0", ["direct", "through the host"], "direct one way")],
)  # fmt: skip
def test_what_goes_through_the_host_is_called_so(
    run: Run, reach: str, ways: list[str], both: str
) -> None:
    stage = run(only=("peers",), environment={"CUREADY_SIM_PEERS": reach}).stage("peers")
    assert stage.status is Status.PASSED
    names = [figure.name for figure in stage.figures]
    assert names == [f"GPU 0 to GPU 1, {ways[0]}", f"GPU 1 to GPU 0, {ways[1]}",
                     f"GPU 0 and GPU 1, both ways at once, {both}"]  # fmt: skip


@pytest.mark.parametrize("number", [1, 9])
def test_bytes_that_change_between_gpus_are_found(run: Run, number: int) -> None:
    """The ninth copy is a timed one of the way back, or of both ways: all are checked."""
    report = run(f"op.p2p@{number}=corrupt*400", only=("peers",))
    assert failed(report) == ["peers"]
    assert "bytes changed from GPU" in report.stage("peers").reason
    assert "the first is byte" in report.stage("peers").reason
    assert [item.id for item in report.findings] == ["SELF16"]


def test_too_many_peers_go_through_the_host(run: Run) -> None:
    stage = run("cuCtxEnablePeerAccess@1=711*2", only=("peers",)).stage("peers")
    assert stage.status is Status.PASSED
    assert stage.reason == "2 ways between 2 GPUs, 0 of them direct"


def test_peer_access_that_the_driver_refuses_after_all_is_a_failure(run: Run) -> None:
    report = run("cuCtxEnablePeerAccess@1=217", only=("peers",))
    assert failed(report) == ["peers"]
    assert "PEER_ACCESS_UNSUPPORTED" in report.stage("peers").reason


def test_a_gpu_that_another_process_keeps_is_left_out(run: Run) -> None:
    report = run("cuDevicePrimaryCtxRetain@2=46*9", only=("peers",))
    stage = report.stage("peers")
    assert stage.status is Status.SKIPPED
    assert "GPU 1 is kept by its compute mode or another process" in stage.reason
    assert failed(report) == []


def test_the_users_own_plan_is_run(run: Run, own_plans: object) -> None:
    stage = run(only=("engine",), engine=Path(f"{own_plans}/right/a.plan")).stage("engine")
    assert stage.status is Status.PASSED
    assert {figure.name for figure in stage.figures} >= {"throughput", "gpu, median"}
    assert [line.plot for line in stage.series] == ["latency"]


def test_a_soak_checks_results_and_counts_rounds(run: Run) -> None:
    stage = run(only=("soak",), minutes=0.03).stage("soak")
    assert stage.status is Status.PASSED
    assert next(figure.value for figure in stage.figures if figure.name == "rounds") >= 1


def test_no_gpu_is_one_line_and_code_3(run: Run) -> None:
    report = run(gpus="none")
    assert report.exit_code == 3
    assert report.note.startswith("no NVIDIA GPU")
    assert "10.6.0" in report.stage("tensorrt").reason
    assert failed(report) == []


def test_a_file_that_is_no_plan_is_refused_before_anything_runs(
    run: Run, tmp_path: Path, own_plans: object
) -> None:
    (tmp_path / "text.plan").write_text("no plan at all, only some words of text in a file")
    with pytest.raises(InputError, match=r"text\.plan"):
        run(engine=tmp_path / "text.plan")
    whole = Path(f"{own_plans}/right/a.plan").read_bytes()
    (tmp_path / "cut.plan").write_bytes(whole[:-1])
    with pytest.raises(InputError, match=r"cut\.plan: cut short"):
        run(engine=tmp_path / "cut.plan")

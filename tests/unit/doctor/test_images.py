"""What is said of a Dockerfile's image is of another machine than this one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.probe.roots import write
from tests.zoo.base import container, down, edit, gpu_box
from tests.zoo.broken_driver import driver_in_a_dockerfile, kernel_update_without_module
from tests.zoo.broken_visibility import (
    docker_run_without_gpus,
    image,
    video_alone_in_a_dockerfile,
)

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Finding, Severity
from cuready.doctor.repair.plan import plan_repair
from cuready.probe import take
from cuready.snapshot import NativeProbe, Snapshot


def told(box: Snapshot) -> list[Finding]:
    return [item for item in diagnose(box).findings if item.image]


def test_the_file_the_line_and_the_exact_words_are_in_the_finding() -> None:
    (found,) = told(video_alone_in_a_dockerfile())
    (evidence,) = found.evidence
    assert evidence.source == "/project/Dockerfile"
    assert evidence.detail == "line 4: ENV NVIDIA_DRIVER_CAPABILITIES=video,utility"
    assert "libcuda" in found.cause
    says = "line 4 of /project/Dockerfile says ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility,video"
    assert says in found.fix[0].note


def test_without_utility_it_is_nvml_that_is_not_there() -> None:
    (found,) = told(image("ubuntu:24.04", "line 4: compute"))
    assert "NVML" in found.cause and "libcuda" not in found.cause


@pytest.mark.parametrize(
    ("base", "wheels", "severity"),
    [
        ("ubuntu:24.04", (), Severity.INFO),
        ("ubuntu:24.04", ("line 2: torch",), Severity.WARNING),
        ("nvidia/cuda:12.8.0-runtime-ubuntu24.04", (), Severity.WARNING),
    ],
)
def test_an_image_that_only_draws_does_without_cuda_on_purpose(
    base: str, wheels: tuple[str, ...], severity: Severity
) -> None:
    (found,) = told(image(base, "line 4: graphics,utility,display", *wheels))
    assert found.severity is severity


def test_what_works_here_does_not_disprove_it_and_what_is_broken_here_does_not_explain_it() -> None:
    file = video_alone_in_a_dockerfile().dockerfiles
    broken = kernel_update_without_module()
    in_container = edit(container(down(gpu_box())), nvml=NativeProbe(), device_nodes=())
    for box in (gpu_box(), broken, in_container):
        assert [item.id for item in told(edit(box, dockerfiles=file))] == ["CTR03"]
    driver = driver_in_a_dockerfile().dockerfiles
    assert [item.id for item in told(edit(broken, dockerfiles=driver))] == ["DRV02"]


def test_a_dockerfile_is_read_below_another_root(tmp_path: Path) -> None:
    text = "FROM ubuntu:24.04\nENV NVIDIA_DRIVER_CAPABILITIES=utility\n"
    write(tmp_path, "/etc/os-release", "ID=ubuntu\n")
    snapshot = take(root=str(tmp_path))
    assert snapshot.scope.cwd is not None
    write(tmp_path, f"{snapshot.scope.cwd}/Dockerfile", text)
    (found,) = told(take(root=str(tmp_path)))
    assert found.id == "CTR03"


def test_a_command_with_a_name_to_fill_in_is_left_to_the_user() -> None:
    for step in plan_repair(diagnose(video_alone_in_a_dockerfile()).findings):
        assert step.manual
    steps = plan_repair(diagnose(docker_run_without_gpus()).findings)
    assert [step.manual for step in steps] == ["fill in the part that only you know"]

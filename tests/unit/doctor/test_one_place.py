"""What is wrong in one place is one finding with one command; another place is another finding."""

from __future__ import annotations

from tests.zoo.base import SITE, edit, gpu_box, torch_env
from tests.zoo.broken_build import both_variables_name_what_is_gone, toolkit
from tests.zoo.broken_python import USER_SITE, several_leak_from_user_site
from tests.zoo.broken_visibility import compute_only

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Finding, Severity
from cuready.snapshot import ModuleOrigin, Snapshot


def told(box: Snapshot, wanted: str) -> list[Finding]:
    return [item for item in diagnose(box).findings if item.id == wanted]


def commands(item: Finding) -> list[str]:
    return [command for fix in item.fix for command in fix.commands]


def test_one_command_removes_all_that_leaks_from_the_users_site() -> None:
    (found,) = told(several_leak_from_user_site(), "PY08")
    assert found.subject == "torch, jax"
    assert found.cause.endswith("The same goes for jax.")
    assert any(command.endswith("pip uninstall -y torch jax") for command in commands(found))


def test_what_leaks_from_two_places_is_two_findings() -> None:
    torch = ModuleOrigin("torch", f"{USER_SITE}/torch/__init__.py", USER_SITE, ())
    jax = ModuleOrigin("jax", "/opt/x/jax/__init__.py", "/opt/x", (f"{SITE}/jax/__init__.py",))
    box = gpu_box(python=torch_env(origins=(torch, jax)))
    found = told(edit(box, environment={"PYTHONPATH": "/opt/y:/opt/x"}), "PY08")
    assert [(item.subject, item.severity) for item in found] == [
        ("jax", Severity.ERROR),
        ("torch", Severity.WARNING),  # hides nothing: the environment has none
    ]
    assert commands(found[0]) == ["unset PYTHONPATH"]


def test_two_variables_of_one_folder_are_mended_together() -> None:
    (found,) = told(both_variables_name_what_is_gone(), "BLD03")
    assert found.cause.startswith("CUDA_HOME and CUDA_PATH=/usr/local/cuda-12.1 ")
    assert commands(found) == ["unset CUDA_HOME CUDA_PATH"]


def test_two_useless_folders_are_two_findings() -> None:
    home = toolkit("12.1", "CUDA_HOME", exists=False, nvcc=None)
    path = toolkit("12.4", "CUDA_PATH", nvcc=None)
    good = toolkit("12.8", "/usr/local")
    found = told(edit(gpu_box(), toolkits=(home, path, good)), "BLD03")
    assert [commands(item) for item in found] == [
        ["export CUDA_HOME=/usr/local/cuda-12.8"],
        ["export CUDA_PATH=/usr/local/cuda-12.8"],
    ]


def test_a_cuda_that_works_does_not_disprove_what_is_said_of_nvml() -> None:
    box = compute_only()
    assert box.cuda.status == "ok"
    (found,) = told(box, "CTR03")
    assert (found.severity, found.subject) == (Severity.WARNING, "libnvidia-ml.so.1")
    assert commands(found) == [
        "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility IMAGE"
    ]
    both = edit(box, nvml=gpu_box().nvml)
    assert not told(both, "CTR03"), "NVML answered"

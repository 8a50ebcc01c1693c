"""What is wrong in one place is one finding with one command; another place is another finding."""

from __future__ import annotations

from tests.unit.loader.snapshots import CUDNN_OPENS, dist, lib, snap
from tests.unit.loader.snapshots import SITE as LOADED
from tests.zoo.base import SITE, edit, gpu_box, torch_env
from tests.zoo.broken_build import both_variables_name_what_is_gone, folder, library_path, toolkit
from tests.zoo.broken_python import USER_SITE, several_leak_from_user_site
from tests.zoo.broken_visibility import compute_only

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Finding, Severity
from cuready.snapshot import (
    LibraryFile,
    LoaderState,
    ModuleOrigin,
    Resolution,
    Snapshot,
    UnresolvedSymbol,
)


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


def cudnn(*libraries: LibraryFile, entries: tuple[str, ...] = ("/a", "/b")) -> Snapshot:
    loader = LoaderState(ld_library_path=entries)
    return snap(dist("torch", "2.8.0"), libraries=libraries, loader=loader)


def opens(part: str, path: str, rule: str, entry: str = "") -> Resolution:
    return Resolution(part, CUDNN_OPENS, path, rule, entry or None)


OPS = opens("libcudnn_ops.so.9", "/a/libcudnn_ops.so.9", "LD_LIBRARY_PATH", "/a")
CNN = opens("libcudnn_cnn.so.9", "/b/libcudnn_cnn.so.9", "LD_LIBRARY_PATH", "/b")
SYSTEM = Resolution(
    "libcudnn.so.9", f"{LOADED}/onnxruntime/x.so", "/usr/lib/libcudnn.so.9", "ld.so.cache", None,
    shadows=(f"{LOADED}/nvidia/cudnn/lib/libcudnn.so.9",),
)  # fmt: skip


def test_parts_of_cudnn_that_one_variable_brings_are_one_finding_with_one_command() -> None:
    (found,) = told(cudnn(lib("torch/_C.so", role="torch", dlopens=(OPS, CNN))), "LIB05")
    assert commands(found) == ["unset LD_LIBRARY_PATH"]


def test_a_cudnn_hidden_elsewhere_is_a_finding_of_its_own() -> None:
    mixed = lib("torch/_C.so", role="torch", dlopens=(OPS,))
    hidden = lib("onnxruntime/x.so", role="onnxruntime", resolutions=(SYSTEM,))
    found = told(cudnn(mixed, hidden), "LIB05")
    assert [(item.severity, item.subject) for item in found] == [
        (Severity.ERROR, "LD_LIBRARY_PATH"),
        (Severity.WARNING, "/usr/lib"),
    ]
    assert commands(found[0]) == ["export LD_LIBRARY_PATH=/b"]


def test_what_the_folder_of_a_mixed_cudnn_does_besides_is_not_told_twice() -> None:
    again = Resolution(
        "libcudnn.so.9", f"{LOADED}/y.so", "/a/libcudnn.so.9", "LD_LIBRARY_PATH", "/a",
        shadows=SYSTEM.shadows,
    )  # fmt: skip
    lacks = UnresolvedSymbol("cudnnGetVersion2", f"{LOADED}/y.so", "/a/libcudnn.so.9")
    broken = lib("y.so", "undefined symbol: cudnnGetVersion2", resolutions=(again,),
                 unresolved=(lacks,))  # fmt: skip
    mixed = lib("torch/_C.so", role="torch", dlopens=(OPS,))
    (found,) = told(cudnn(mixed, broken), "LIB05")
    assert found.title.startswith("The parts")


def test_two_variables_that_disagree_with_the_path_are_two_findings() -> None:
    tools = (toolkit("12.8", "CUDA_HOME"), toolkit("12.6", "CUDA_PATH"), toolkit("12.4", "PATH"))
    found = told(edit(gpu_box(), toolkits=tools), "BLD03")
    assert sorted(command for item in found for command in commands(item)) == [
        "export CUDA_PATH=/usr/local/cuda-12.8",
        "export PATH=/usr/local/cuda-12.8/bin:$PATH",
    ]


def test_the_variable_that_a_build_takes_is_kept_and_the_other_follows() -> None:
    """CUDA_HOME agrees with PATH: that is not what is wrong."""
    tools = (toolkit("12.8", "CUDA_HOME", "PATH"), toolkit("12.4", "CUDA_PATH"))
    (found,) = told(edit(gpu_box(), toolkits=tools), "BLD03")
    assert found.title == "CUDA_HOME and CUDA_PATH name two CUDA toolkits"
    assert commands(found) == ["export CUDA_PATH=/usr/local/cuda-12.8"]


def test_a_useless_folder_does_not_hide_that_another_variable_disagrees() -> None:
    gone = toolkit("12.1", "CUDA_HOME", exists=False, nvcc=None)
    tools = (gone, toolkit("12.6", "CUDA_PATH"), toolkit("12.4", "PATH"))
    found = told(edit(gpu_box(), toolkits=tools), "BLD03")
    assert sorted(command for item in found for command in commands(item)) == [
        "export CUDA_HOME=/usr/local/cuda-12.6",
        "export PATH=/usr/local/cuda-12.6/bin:$PATH",
    ]


def test_all_toolkits_that_a_library_path_hides_go_with_one_command() -> None:
    first = folder("12.8", "libcudart.so.12", "libnvJitLink.so.12")
    second = folder("12.4", "libnvJitLink.so.12")
    third = folder("12.1", "libcudart.so.12")
    other = folder("11.8", "libcudart.so.11.0", "libcudart.so")  # of another major: it stays
    first = folder("12.8", *first.names, "libcudart.so")
    (found,) = told(library_path(first, second, third, other), "BLD03")
    assert "12.4" in found.cause and "12.1" in found.cause
    kept = "/usr/local/cuda-12.8/lib64:/usr/local/cuda-11.8/lib64"
    assert commands(found) == [f"export LD_LIBRARY_PATH={kept}"]

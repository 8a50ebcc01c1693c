"""A root cause takes away what it explains, and nothing that only has the same id."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import pytest
from tests.unit.loader.snapshots import missing
from tests.zoo import exhibits
from tests.zoo.base import SITE, container, dist, down, edit, gpu_box, torch_env
from tests.zoo.broken_build import tensorrt, two_families
from tests.zoo.broken_driver import cu130_on_r570
from tests.zoo.broken_libraries import CASES
from tests.zoo.broken_python import (
    CONDA_SITE,
    USER_SITE,
    half_a_torch,
    leaks_from_user_site,
    pip_install_over_conda,
    torch_without_its_extension,
    two_dist_infos,
)
from tests.zoo.broken_visibility import docker_run_without_gpus

from cuready.doctor import catalogue
from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Evidence, Finding, Severity
from cuready.doctor.merge import merge
from cuready.doctor.registry import all_checks
from cuready.snapshot import (
    CudaToolkit,
    Distribution,
    GpuCode,
    LibraryFile,
    PciGpu,
    RecordProblem,
    Resolution,
    Snapshot,
    UnresolvedSymbol,
)

Build = Callable[[], Snapshot]


def root(*reach: str) -> Finding:
    return finding("LIB01", reach=reach, explains=("LIB03",), subject=",".join(reach))


def finding(
    check_id: str,
    about: Iterable[frozenset[str]] = (),
    reach: Iterable[str] = (),
    explains: Iterable[str] = (),
    subject: str = "",
) -> Finding:
    return catalogue.finding(
        check_id,
        cause="c.",
        evidence=(Evidence("s", "d"),),
        severity=Severity.ERROR,
        about=about,
        reach=reach,
        explains=explains,
        subject=subject,
    )


def symptom(*about: set[str]) -> Finding:
    return finding("LIB03", about=map(frozenset, about))


def left(*items: Finding) -> list[str]:
    return [item.id for item in merge(items, Snapshot()).findings]


def test_what_is_reached_goes_and_what_is_not_stays() -> None:
    assert left(root("a"), symptom({"a", "b"})) == ["LIB01"]
    assert left(root("a"), symptom({"b"})) == ["LIB01", "LIB03"]


def test_every_thing_must_be_reached_by_one_root_or_by_several() -> None:
    assert left(root("a"), symptom({"a"}, {"b"})) == ["LIB01", "LIB03"]
    assert left(root("a"), root("b"), symptom({"a"}, {"b"})) == ["LIB01", "LIB01"]


def test_a_root_of_the_whole_machine_reaches_everything() -> None:
    assert left(root(), symptom({"a"})) == ["LIB01"]


def test_a_symptom_that_nothing_tells_apart_goes_by_its_id() -> None:
    assert left(root("a"), symptom()) == ["LIB01"]


def test_each_of_two_roots_names_its_own_symptoms() -> None:
    merged = merge([root("a"), root("b"), symptom({"b"})], Snapshot())
    assert [(item.subject, item.explains) for item in merged.findings] == [
        ("a", ()),
        ("b", ("LIB03",)),
    ]


# --- whole machines ------------------------------------------------------------------------------


def twins(site: str = SITE, name: str = "nvidia-nccl") -> tuple[Distribution, ...]:
    """Two wheels that own one library, and have nothing to do with anything else."""
    path = "nvidia/nccl/lib/libnccl.so.2"
    return tuple(
        dist(f"{name}-{one}", version, location=site, problems=(
            RecordProblem("shared", path, (f"{name}-{two}",), f"{name}-cu13"),))
        for one, two, version in (("cu12", "cu13", "2.27.3"), ("cu13", "cu12", "2.28.3"))
    )  # fmt: skip


def lost(site: str = SITE, name: str = "nvidia-cusparselt-cu12") -> Distribution:
    """A wheel whose library is gone."""
    gone = RecordProblem("missing", "nvidia/cusparselt/lib/libcusparseLt.so.0")
    return dist(name, "0.7.1", location=site, problems=(gone,))


def also(box: Snapshot, *more: Distribution) -> Snapshot:
    return edit(box, python__distributions=(*box.python.distributions, *more))


def ids(box: Snapshot) -> set[str]:
    return {item.id for item in diagnose(box).findings}


ROOTS: list[tuple[str, Build, str]] = [
    ("TRT05", two_families, SITE),
    ("PY07", pip_install_over_conda, CONDA_SITE),
    ("PY08", leaks_from_user_site, SITE),
    ("PY10", half_a_torch, SITE),
    ("PY11", two_dist_infos, SITE),
]


@pytest.mark.parametrize(("root_id", "build", "site"), ROOTS, ids=[row[0] for row in ROOTS])
def test_wheels_that_have_nothing_to_do_with_it_stay_in_the_report(
    root_id: str, build: Build, site: str
) -> None:
    assert ids(build()) >= {root_id}
    assert ids(also(build(), *twins(site), lost(site))) >= {root_id, "LIB01", "LIB02"}


def test_the_libraries_of_the_two_families_themselves_are_explained() -> None:
    path = "tensorrt_libs/libnvinfer.so.10"
    box = two_families()

    def sharing(item: Distribution) -> Distribution:
        other = {
            "tensorrt-cu12-libs": "tensorrt-cu13-libs",
            "tensorrt-cu13-libs": "tensorrt-cu12-libs",
        }
        if item.name not in other:
            return item
        problem = RecordProblem("shared", path, (other[item.name],), "tensorrt-cu13-libs")
        return dist(item.name, item.version, problems=(problem,))

    shared = edit(box, python__distributions=tuple(map(sharing, box.python.distributions)))
    (found,) = [item for item in diagnose(shared).findings if item.id in ("TRT05", "LIB02")]
    assert (found.id, found.explains) == ("TRT05", ("LIB02",))


def test_a_wheel_that_tensorrt_shares_with_another_package_is_not_explained() -> None:
    """Both wheels must be of the mixed families: taking TensorRT out leaves the other one broken."""
    path = "tensorrt_libs/libnvinfer.so.10"
    own = dist("tensorrt-rtx", "1.0", problems=(
        RecordProblem("shared", path, ("tensorrt-cu12-libs",), "tensorrt-rtx"),))  # fmt: skip
    assert ids(also(two_families(), own)) >= {"TRT05", "LIB02"}


def test_what_lies_in_the_users_site_is_out_of_the_way_with_it() -> None:
    box = leaks_from_user_site()
    assert "LIB01" not in ids(also(box, lost(USER_SITE)))
    assert "LIB01" in ids(also(box, lost(SITE)))


def test_two_torches_hide_no_broken_numpy() -> None:
    box = pip_install_over_conda()
    torch = dist("torch", "2.6.0", location=CONDA_SITE, record_present=False)
    numpy = dist("numpy", "2.0.0", location=CONDA_SITE, record_present=False)
    assert "PY10" not in ids(also(box, torch))
    assert "PY10" in ids(also(box, numpy))
    assert "PY10" in ids(also(box, torch, numpy))


def test_a_leftover_of_one_package_hides_no_torch_that_cannot_be_imported() -> None:
    box = torch_without_its_extension()
    for name in ("~umpy-2.0.0.dist-info", "~orch-2.7.0.dist-info"):
        leftover = edit(box, python__invalid_distributions=(name,))
        found = [item for item in diagnose(leftover).findings if item.id == "PY10"]
        assert [item.severity for item in found] == [Severity.ERROR, Severity.WARNING]


def test_one_package_installed_twice_is_no_pair_of_twins() -> None:
    path = "numpy/core/_multiarray.so"
    shared = RecordProblem("shared", path, ("numpy",), "numpy")
    numpy = [dist("numpy", version, problems=(shared,)) for version in ("1.26.4", "2.0.0")]
    box = edit(gpu_box(), python__distributions=tuple(numpy))
    assert "PY11" in ids(box)
    assert "LIB02" not in ids(box)


def test_torch_tensorrt_for_another_torch_is_told_beside_two_families() -> None:
    bridge = dist("torch-tensorrt", "2.7.0", requires=("torch<2.8.0,>=2.7.0",))
    box = also(two_families(), bridge, dist("torch", "2.8.0"))
    found = [item.subject for item in diagnose(box).findings]
    assert {"cu12, cu13", "torch-tensorrt"} <= set(found)


# --- libraries -----------------------------------------------------------------------------------


def box_with(*libraries: LibraryFile, more: tuple[Distribution, ...] = ()) -> Snapshot:
    return edit(gpu_box(python=torch_env(extra=more)), libraries=libraries)


def lacking(*sonames: str) -> LibraryFile:
    path = f"{SITE}/flash_attn_2_cuda.so"
    return LibraryFile(path, "flash-attn 2.8.3", "extension", error_text="cannot be loaded",
                       missing=tuple(Resolution(name, path) for name in sonames))  # fmt: skip


def test_a_lost_library_explains_those_that_need_it_and_no_others() -> None:
    assert "LIB07" in ids(box_with(lacking("libcudart.so.11.0"), more=(lost(),)))
    gone = lacking("libcusparseLt.so.0", "libcudart.so.11.0")
    assert "LIB07" in ids(box_with(gone, more=(lost(),))), (
        "the second is lacking for another reason"
    )
    runtime = RecordProblem("missing", "nvidia/cuda_runtime/lib/libcudart.so.12")
    wheel = dist("nvidia-cuda-runtime-cu12", "12.8.90", problems=(runtime,))
    assert "LIB07" not in ids(box_with(lacking("libcudart.so.12"), more=(wheel,)))


def test_twins_explain_their_own_library_alone() -> None:
    stale = f"{SITE}/nvidia/nccl/lib/libnccl.so.2"
    for provider, expected in ((stale, False), ("/usr/local/cuda/lib64/libnccl.so.2", True)):
        library = older_nccl(provider)
        assert ("LIB03" in ids(box_with(library, more=twins()))) is expected, provider


def older_nccl(provider: str) -> LibraryFile:
    path = f"{SITE}/torch/lib/libtorch_cuda.so"
    rule = "LD_LIBRARY_PATH" if provider.startswith("/usr") else "RUNPATH"
    return LibraryFile(
        path, "torch 2.8.0", "torch", error_text=f"{path}: undefined symbol: ncclCommResume",
        resolutions=(Resolution("libnccl.so.2", path, provider, rule),),
        unresolved=(UnresolvedSymbol("ncclCommResume", path, provider),),
    )  # fmt: skip


def test_a_torch_without_code_does_not_hide_another_package_without_code() -> None:
    fires, _ = CASES["LIB11"]
    codes = tuple(
        GpuCode(f"{SITE}/{name}/_C.so", f"{name} 1.0", ("9.0",), ())
        for name in ("torchvision", "flash_attn")
    )
    wheels = tuple(dist(name, "1.0") for name in ("torchvision", "flash-attn"))
    box = also(edit(fires, gpu_code=(*fires.gpu_code, *codes)), *wheels)
    found = [(f.id, f.subject) for f in diagnose(box).findings if f.id in ("LIB11", "LIB12")]
    assert found == [("LIB11", "torch"), ("LIB12", "flash_attn")]


def test_torchvision_for_another_torch_hides_no_other_extension() -> None:
    library = missing("libtorch_cuda.so")
    torch = torch_env(extra=(dist("flash-attn", "2.8.3"),))
    packages = tuple(
        dist("torchvision", "0.22.1", requires=("torch==2.7.1",)) if x.name == "torchvision" else x
        for x in torch.distributions
    )
    box = edit(gpu_box(), python__distributions=packages, libraries=(library,))
    assert ids(box) >= {"PY12", "LIB08"}


# --- GPUs, drivers, variables, toolkits ----------------------------------------------------------


def test_an_old_gpu_hides_no_fault_of_a_new_one() -> None:
    """A GTX 1080 on R595 (DRV07), and a Blackwell on the proprietary module (DRV05)."""
    box = down(gpu_box(driver="595.58.03", flavour="proprietary"))
    pascal = PciGpu("0000:01:00.0", "0x1b80", "0x030000", "nvidia", "NVIDIA GeForce GTX 1080")
    blackwell = PciGpu("0000:02:00.0", "0x2b85", "0x030000", "nvidia", "NVIDIA GeForce RTX 5090")
    both = edit(box, gpus=(pascal, blackwell))
    found = {(f.id, f.subject) for f in diagnose(both).findings}
    assert {("DRV07", pascal.address), ("DRV05", blackwell.address)} <= found


def test_packages_too_new_for_the_driver_hide_no_jax_without_its_plugin() -> None:
    jax = (
        dist("jaxlib", "0.7.0"),
        dist("jax-cuda12-plugin", "0.6.0"),
        dist("jax-cuda12-pjrt", "0.6.0"),
    )
    assert ids(also(cu130_on_r570(), *jax)) >= {"DRV11", "PY18"}


def test_hidden_devices_are_told_where_the_container_has_no_gpu() -> None:
    box = edit(docker_run_without_gpus(), environment={"CUDA_VISIBLE_DEVICES": "-1"})
    assert ids(box) >= {"CTR01", "VIS01"}


def test_a_bad_variable_hides_no_missing_mig_instances_nor_they_it() -> None:
    box = gpu_box()
    device = box.nvml.devices[0]
    on = dataclasses.replace(device, mig_mode=True)
    mig = edit(down(box), nvml=dataclasses.replace(box.nvml, devices=(on,)))
    assert ids(edit(mig, environment={"CUDA_VISIBLE_DEVICES": "7"})) >= {"MIG01", "VIS01"}
    unknown = edit(mig, environment={"CUDA_VISIBLE_DEVICES": "MIG-00000000-0000"})
    assert "VIS01" not in ids(unknown), "there is no such instance because there is none"


def test_a_stale_cuda_home_hides_no_other_toolkit() -> None:
    stale = CudaToolkit("/opt/cuda-12.4", ("CUDA_HOME",), None, None, None, None, exists=False)
    other = CudaToolkit("/usr/local/cuda-11.8", ("/usr/local",), "11.8.0", "/usr/local/cuda-11.8/bin/nvcc",
                        "11.8.89", 11)  # fmt: skip
    assert ids(edit(gpu_box(), toolkits=(stale, other))) >= {"BLD03", "BLD01"}


def test_denied_nodes_and_a_missing_one_are_two_faults() -> None:
    box = down(container(gpu_box()))
    nodes = tuple(
        dataclasses.replace(item, exists=False) if item.path == "/dev/nvidia-uvm"
        else dataclasses.replace(item, open_error="EACCES", readable=False, writable=False)
        for item in box.device_nodes
    )  # fmt: skip
    assert ids(edit(box, device_nodes=nodes)) >= {"DRV09", "CTR05"}


def test_ids_that_fire_more_than_once_tell_their_findings_apart() -> None:
    """What some root of part of the machine may swallow has names of what it is about."""
    swallowed: set[str] = set()
    nameless: set[str] = set()
    for item in exhibits("fault"):
        box = item.build()
        for check in all_checks():
            outcome = check.function(box)
            for found in outcome if isinstance(outcome, (list, tuple)) else ():
                swallowed |= set(found.explains) if found.reach else set()
                nameless |= {found.id} if not found.about else set()
    assert swallowed & nameless <= {"DRV08", "VIS03"}  # one each on any machine


def test_nobody_reads_the_names() -> None:
    document = diagnose(tensorrt("10.13.2.6")).findings
    for item in document:
        assert not {"about", "reach"} & set(item.to_dict())

"""Faults of the build toolchain and of TensorRT, and machines that are close to each."""

from __future__ import annotations

from tests.zoo import fault, near_miss
from tests.zoo.base import SITE, dist, edit, gpu_box, torch_env, venv

from cuready.snapshot import CudaFolder, CudaToolkit, LibraryFile, PlanFile, Resolution, Snapshot


def toolkit(version: str, *found_by: str, gcc: int = 13, **more: object) -> CudaToolkit:
    path = f"/usr/local/cuda-{version}"
    facts = {"nvcc": f"{path}/bin/nvcc", "nvcc_version": f"{version}.99", **more}
    return CudaToolkit(path, found_by, f"{version}.1", host_gcc_max=gcc, **facts)  # type: ignore[arg-type]


@fault("BLD01")
def toolkit_of_another_major() -> Snapshot:
    """CUDA_HOME is 11.8, torch is 12.8."""
    return edit(gpu_box(), toolkits=(toolkit("11.8", "CUDA_HOME", "PATH"),))


@near_miss("BLD01")
def no_toolkit() -> Snapshot:
    """The wheels bring what they need: no toolkit is no fault."""
    return gpu_box()


@near_miss("BLD01")
def same_minor() -> Snapshot:
    """12.8 and 12.8."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "CUDA_HOME"),))


@fault("BLD02")
def gcc_beyond_the_bound() -> Snapshot:
    """gcc 14 under nvcc 12.8 with a bound of 13."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "PATH"),), toolchain__gcc_version="14.2.0")


@near_miss("BLD02")
def another_host_compiler_named() -> Snapshot:
    """NVCC_CCBIN names an older one."""
    box = edit(gpu_box(), toolkits=(toolkit("12.8", "PATH"),), toolchain__gcc_version="14.2.0")
    return edit(box, toolchain__nvcc_ccbin="/usr/bin/g++-13")


@fault("BLD03")
def cuda_home_is_gone() -> Snapshot:
    """CUDA_HOME names a toolkit that was removed; another one is there."""
    gone = toolkit("12.1", "CUDA_HOME", exists=False, nvcc=None)
    return edit(gpu_box(), toolkits=(gone, toolkit("12.8", "/usr/local")))


@fault("BLD03")
def runtime_only_install() -> Snapshot:
    """CUDA_HOME has libraries and no nvcc."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "CUDA_HOME", nvcc=None, nvcc_version=None),))


@fault("BLD03")
def both_variables_name_what_is_gone() -> Snapshot:
    """CUDA_HOME and CUDA_PATH, one folder: one fault."""
    gone = toolkit("12.1", "CUDA_HOME", "CUDA_PATH", exists=False, nvcc=None)
    return edit(gpu_box(), toolkits=(gone,))


@fault("BLD03")
def nvcc_on_path_is_another() -> Snapshot:
    """CUDA_HOME is 12.8, the first nvcc on PATH is 12.4."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "CUDA_HOME"), toolkit("12.4", "PATH")))


def library_path(*folders: CudaFolder) -> Snapshot:
    entries = tuple(item.entry for item in folders)
    return edit(gpu_box(), loader__ld_library_path=entries, loader__cuda_folders=folders)


def folder(version: str, *names: str, entry: str = "", path: str = "") -> CudaFolder:
    usual = f"/usr/local/cuda-{version}/lib64"
    return CudaFolder(entry or usual, path or usual, f"{version}.1", names)


@fault("BLD03")
def two_minors_in_library_path() -> Snapshot:
    """12.4 before 12.8 in LD_LIBRARY_PATH: both have libnvJitLink.so.12."""
    names = ("libcudart.so.12", "libnvJitLink.so.12")
    return library_path(folder("12.4", *names), folder("12.8", *names))


@fault("BLD03")
def two_majors_in_library_path() -> Snapshot:
    """11.8 and 12.8, which share no soname but the bare name: a note."""
    old = folder("11.8", "libcudart.so", "libcudart.so.11.0")
    return library_path(old, folder("12.8", "libcudart.so", "libcudart.so.12"))


@near_miss("BLD03")
def two_majors_that_share_no_name() -> Snapshot:
    """Runtime packages without the bare name: each program finds its own."""
    return library_path(folder("11.8", "libcudart.so.11.0"), folder("12.8", "libcudart.so.12"))


@near_miss("BLD03")
def one_toolkit_by_two_folders() -> Snapshot:
    """lib64 and extras/CUPTI/lib64 of one release."""
    more = folder("12.8", "libcupti.so.12", entry="/usr/local/cuda-12.8/extras/CUPTI/lib64")
    return library_path(folder("12.8", "libcudart.so.12", "libcupti.so.12"), more)


@near_miss("BLD03")
def one_toolkit_named_twice() -> Snapshot:
    """CUDA_HOME and PATH lead to the same release, by two folders."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "CUDA_HOME"), toolkit("12.8", "PATH")))


@near_miss("BLD03")
def runtime_only_and_not_named() -> Snapshot:
    """A runtime at /usr/local that no variable names."""
    return edit(gpu_box(), toolkits=(toolkit("12.8", "/usr/local", nvcc=None, nvcc_version=None),))


@fault("BLD04")
def slim_image() -> Snapshot:
    """torch with Triton and no C compiler."""
    return edit(gpu_box(), toolchain__cc=None, toolchain__cxx=None, toolchain__gcc_version=None)


@near_miss("BLD04")
def clang_only() -> Snapshot:
    """cc is clang: that is a C compiler."""
    return edit(gpu_box(), toolchain__cc="/usr/bin/clang", toolchain__gcc_version=None)


def bitsandbytes(*binaries: str) -> Snapshot:
    env = torch_env(extra=(dist("bitsandbytes", "0.45.0"),), bitsandbytes_binaries=binaries)
    return gpu_box(python=env)


@fault("BLD05")
def no_binary_of_this_major() -> Snapshot:
    """Binaries for CUDA 11 only."""
    return bitsandbytes("libbitsandbytes_cpu.so", "libbitsandbytes_cuda118.so")


@fault("BLD05")
def forced_to_another_binary() -> Snapshot:
    """BNB_CUDA_VERSION=118 left in the profile."""
    box = bitsandbytes("libbitsandbytes_cuda118.so", "libbitsandbytes_cuda128.so")
    return edit(box, environment={"BNB_CUDA_VERSION": "118"})


@near_miss("BLD05")
def binary_of_another_minor() -> Snapshot:
    """12.4 serves 12.8."""
    return bitsandbytes("libbitsandbytes_cuda124.so")


def tensorrt(version: str, cuda: int = 12, driver: str = "580.95.05") -> Snapshot:
    parts = (
        "tensorrt",
        f"tensorrt-cu{cuda}",
        f"tensorrt-cu{cuda}-libs",
        f"tensorrt-cu{cuda}-bindings",
    )
    env = venv(*(dist(name, version) for name in parts))
    reports = "13.0" if driver.startswith("58") else "12.8"
    return gpu_box(driver=driver, cuda=reports, python=env)


def plan(name: str, version: str | None, tag: str = "ftrt") -> PlanFile:
    return PlanFile(f"/home/u/proj/{name}", tag, version, 1 << 20)


@fault("TRT01")
def plan_of_another_major() -> Snapshot:
    """A plan of 8.6 under TensorRT 10."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("model.plan", "8.6.1"),))


@fault("TRT01")
def plan_of_an_older_minor() -> Snapshot:
    """10.6 under 10.13: works when it was built version-compatible, so a warning."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("model.plan", "10.6.0.26"),))


@near_miss("TRT01")
def plan_of_this_version() -> Snapshot:
    """Built here."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("model.plan", "10.13.2.6"),))


@near_miss("TRT01")
def plan_with_another_header() -> Snapshot:
    """The tag is not one that we know: unknown, not an error."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("model.plan", None, "vtrt"),))


@fault("TRT02")
def plan_named_for_another_gpu() -> Snapshot:
    """resnet_sm86.plan on an RTX 4090."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("resnet_sm86.plan", "10.13.2.6"),))


@near_miss("TRT02")
def plan_named_for_this_gpu() -> Snapshot:
    """resnet_sm89.plan on an RTX 4090."""
    return edit(tensorrt("10.13.2.6"), plans=(plan("resnet_sm89_v2.plan", "10.13.2.6"),))


def provider(soname: str | None) -> tuple[LibraryFile, ...]:
    path = f"{SITE}/onnxruntime/capi/libonnxruntime_providers_tensorrt.so"
    missing = (Resolution(soname, path),) if soname else ()
    text = (
        f"{soname}: cannot open shared object file: No such file or directory" if soname else None
    )
    return (LibraryFile(path, "onnxruntime-gpu", "onnxruntime", missing=missing, error_text=text),)


def with_onnxruntime(box: Snapshot) -> Snapshot:
    return edit(
        box, python__distributions=(*box.python.distributions, dist("onnxruntime-gpu", "1.23.2"))
    )


@fault("TRT03")
def provider_wants_another_major() -> Snapshot:
    """ONNX Runtime for TensorRT 10, TensorRT 11 installed."""
    return edit(with_onnxruntime(tensorrt("11.4.0.106")), libraries=provider("libnvinfer.so.10"))


@near_miss("TRT03")
def provider_without_tensorrt() -> Snapshot:
    """Nobody installed TensorRT: the CUDA provider is used."""
    env = venv(dist("onnxruntime-gpu", "1.23.2"))
    return edit(gpu_box(python=env), libraries=provider("libnvinfer.so.10"))


@fault("TRT04")
def cu13_on_r570() -> Snapshot:
    """pip install tensorrt on R570."""
    return tensorrt("10.13.2.6", 13, "570.124.06")


@near_miss("TRT04")
def cu12_on_r570() -> Snapshot:
    """The family of the driver."""
    return tensorrt("10.13.2.6", 12, "570.124.06")


@fault("TRT05")
def two_families() -> Snapshot:
    """cu12 and cu13 side by side."""
    box = tensorrt("10.13.2.6")
    more = tuple(dist(f"tensorrt-cu13{end}", "10.13.2.6") for end in ("", "-libs", "-bindings"))
    return edit(box, python__distributions=(*box.python.distributions, *more))


@fault("TRT05")
def torch_tensorrt_for_another_torch() -> Snapshot:
    """torch-tensorrt 2.7 beside torch 2.8."""
    bridge = dist("torch-tensorrt", "2.7.0", requires=("torch<2.8.0,>=2.7.0",))
    return gpu_box(python=torch_env(extra=(bridge,)))


@near_miss("TRT05")
def one_family_with_its_parts() -> Snapshot:
    """The meta package and three parts of one family."""
    return tensorrt("10.13.2.6")

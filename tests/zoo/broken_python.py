"""Faults of Python environments and packages, and environments that are close to each."""

from __future__ import annotations

import dataclasses

from tests.zoo import fault, near_miss
from tests.zoo.base import (
    SITE,
    conda,
    dist,
    edit,
    gpu_box,
    laptop,
    platform,
    torch_build,
    torch_env,
    venv,
)

from cuready.snapshot import (
    Config,
    ConfigFile,
    Distribution,
    Dockerfile,
    Kernelspec,
    LibraryFile,
    ModuleOrigin,
    Packaging,
    PythonEnv,
    RecordProblem,
    Resolution,
    Snapshot,
)


def with_version(env: PythonEnv, name: str, version: str, **more: object) -> PythonEnv:
    """``env`` where the distribution ``name`` has another version."""
    changed = tuple(
        dataclasses.replace(item, version=version, **more) if item.name == name else item  # type: ignore[arg-type]
        for item in env.distributions
    )
    return dataclasses.replace(env, distributions=changed)


CPU = torch_env("2.8.0", None, "+cpu")


@fault("PY01")
def cpu_wheel_on_gpu_box() -> Snapshot:
    """torch 2.8.0+cpu and an RTX 4090."""
    return gpu_box(python=CPU)


@fault("PY01")
def cpu_wheel_in_distribution_python() -> Snapshot:
    """The same in a Python that apt manages: the fix makes a virtual environment."""
    env = dataclasses.replace(CPU, kind="system", manager="apt", externally_managed=True,
                              executable="/usr/bin/python3", prefix="/usr")  # fmt: skip
    return gpu_box(python=env)


@near_miss("PY01")
def cpu_wheel_without_gpu() -> Snapshot:
    """A CPU build where there is no GPU."""
    return edit(laptop(), python=CPU)


@near_miss("PY01")
def rocm_build() -> Snapshot:
    """No CUDA, but HIP."""
    torch = dataclasses.replace(torch_build("2.8.0+rocm6.4", None), hip="6.4.43482")
    return gpu_box(python=dataclasses.replace(torch_env("2.8.0", None, "+rocm6.4"), torch=torch))


def windows_box(env: PythonEnv) -> Snapshot:
    return Snapshot(
        platform=platform(system="Windows", machine="AMD64", distro_id=None, distro_like=(),
                          windows_driver_version="581.29"),
        python=dataclasses.replace(env, executable="C:\\my proj\\.venv\\Scripts\\python.exe"),
    )  # fmt: skip


@fault("PY02")
def windows_default_index() -> Snapshot:
    """pip install torch on Windows."""
    return windows_box(torch_env("2.8.0", None))


@near_miss("PY02")
def windows_with_index() -> Snapshot:
    """PyTorch's index is configured: something else chose the CPU build (PY01)."""
    values = {"global.extra-index-url": "https://download.pytorch.org/whl/cu128"}
    box = windows_box(torch_env("2.8.0", None))
    return edit(box, config=Config(files=(ConfigFile("pip", "C:\\pip.ini", values),)))


@fault("PY03")
def gh200_default_index() -> Snapshot:
    """pip install torch==2.8.0 on GH200."""
    box = gpu_box("0x2342", "NVIDIA GH200 480GB", "9.0", python=torch_env("2.8.0", None))
    return edit(box, platform__machine="aarch64")


@fault("PY03")
def jetson_default_index() -> Snapshot:
    """pip install torch on Jetson."""
    box = gpu_box("0x2684", "Orin", "8.7", "540.4.0", "12.6", python=torch_env("2.8.0", None))
    return edit(box, gpus=(), platform__machine="aarch64",
                platform__tegra_release="# R36 (release), REVISION: 4.3")  # fmt: skip


@near_miss("PY03")
def gh200_with_cuda_torch() -> Snapshot:
    """The same machine with a CUDA build."""
    env = torch_env("2.8.0", "12.8", "+cu128", archs=("sm_80", "sm_90"))
    return edit(
        gpu_box("0x2342", "NVIDIA GH200 480GB", "9.0", python=env), platform__machine="aarch64"
    )


@fault("PY04")
def replaced_by_a_dependency() -> Snapshot:
    """torchvision is still +cu128; torch became a CPU build."""
    env = with_version(torch_env("2.8.0", None), "torchvision", "0.23.0+cu128")
    return gpu_box(python=env)


@fault("PY04")
def lock_file_says_cuda() -> Snapshot:
    """uv.lock pins +cu128, the plain CPU wheel is installed."""
    env = torch_env("2.8.0", None, manager="uv", project_pins={"uv.lock torch": "2.8.0+cu128"})
    return edit(gpu_box(python=env), packaging=Packaging(available=("uv", "apt-get")))


@fault("PY04")
def newer_than_its_libraries() -> Snapshot:
    """The CUDA libraries of an earlier torch are older than the CPU torch."""
    env = torch_env("2.8.0", None, extra=(dist("nvidia-cudnn-cu12", "9.10.2.21", mtime=1.7e9),))
    return gpu_box(python=with_version(env, "torch", "2.8.0", mtime=1.7e9 + 86400))


@near_miss("PY04")
def tagged_torchvision_beside_default_torch() -> Snapshot:
    """+cu128 beside the default wheel, which is CUDA 12.8 too."""
    return gpu_box(python=with_version(torch_env(), "torchvision", "0.23.0+cu128"))


PREFIX = "/home/u/miniforge3/envs/dl"
CONDA_SITE = f"{PREFIX}/lib/python3.12/site-packages"


def conda_env(build: str, cuda: str | None, *extra: Distribution, channel: str = "conda-forge",
              version: str = "2.8.0", manager: str = "conda") -> PythonEnv:  # fmt: skip
    return venv(
        dist("torch", version, "conda", location=CONDA_SITE),
        dist("numpy", "1.26.4", "conda", location=CONDA_SITE),
        *extra,
        torch=torch_build(version, cuda, *(("sm_80", "sm_86", "sm_90") if cuda else ())),
        kind="conda",
        manager=manager,
        prefix=PREFIX,
        executable=f"{PREFIX}/bin/python",
        site_packages=(CONDA_SITE,),
        conda_packages=(conda("pytorch", version, build, channel),),
    )


@fault("PY05")
def solved_on_a_login_node() -> Snapshot:
    """The build string starts with cpu_."""
    return gpu_box(python=conda_env("cpu_mkl_py312_h1234567_100", None))


@fault("PY05")
def solved_without_gpu_by_pixi() -> Snapshot:
    """The same in a pixi environment: the fix is pixi's."""
    return gpu_box(python=conda_env("cpu_generic_py312_h1234567_0", None, manager="pixi"))


@near_miss("PY05")
def cuda_build_from_conda_forge() -> Snapshot:
    """A cuda129_ build."""
    return gpu_box(python=conda_env("cuda129_mkl_py312_h1234567_300", "12.9"))


@fault("PY06")
def from_the_old_channel() -> Snapshot:
    """pytorch 2.5.1 from the channel `pytorch`."""
    env = conda_env("py3.12_cuda12.4_cudnn9.1.0_0", "12.4", channel="pytorch", version="2.5.1")
    return gpu_box(python=env)


@near_miss("PY06")
def from_conda_forge() -> Snapshot:
    """The same release from conda-forge."""
    return gpu_box(python=conda_env("cuda126_py312_h1234567_305", "12.6", version="2.5.1"))


@fault("PY07")
def pip_install_over_conda() -> Snapshot:
    """pip install torch in an environment with conda's pytorch."""
    second = dist("torch", "2.9.0", "pip", location=CONDA_SITE)
    return gpu_box(python=conda_env("cuda129_mkl_py312_h1234567_300", "12.9", second))


@near_miss("PY07")
def conda_alone() -> Snapshot:
    """Its own dist-info says conda."""
    return gpu_box(python=conda_env("cuda129_mkl_py312_h1234567_300", "12.9"))


USER_SITE = "/home/u/.local/lib/python3.12/site-packages"


@fault("PY08")
def leaks_from_user_site() -> Snapshot:
    """A torch in ~/.local hides that of the environment."""
    leaked = ModuleOrigin(
        "torch", f"{USER_SITE}/torch/__init__.py", USER_SITE, (f"{SITE}/torch/__init__.py",)
    )
    return gpu_box(python=torch_env(origins=(leaked,)))


@fault("PY08")
def leaks_from_pythonpath() -> Snapshot:
    """A torch on PYTHONPATH."""
    leaked = ModuleOrigin(
        "torch", "/opt/x/torch/__init__.py", "/opt/x", (f"{SITE}/torch/__init__.py",)
    )
    return edit(gpu_box(python=torch_env(origins=(leaked,))), environment={"PYTHONPATH": "/opt/x"})


@fault("PY08")
def several_leak_from_user_site() -> Snapshot:
    """torch and jax in ~/.local: one fault, and one command for both."""
    leaked = tuple(
        ModuleOrigin(name, f"{USER_SITE}/{name}/__init__.py", USER_SITE, (f"{SITE}/{name}/__init__.py",))
        for name in ("torch", "jax")
    )  # fmt: skip
    return gpu_box(python=torch_env(origins=leaked))


@near_miss("PY08")
def user_site_comes_second() -> Snapshot:
    """There is a copy in ~/.local, after that of the environment."""
    own = ModuleOrigin(
        "torch", f"{SITE}/torch/__init__.py", SITE, (f"{USER_SITE}/torch/__init__.py",)
    )
    return gpu_box(python=torch_env(origins=(own,)))


@fault("PY09")
def torch_py_in_the_working_folder() -> Snapshot:
    """A script called torch.py."""
    local = ModuleOrigin(
        "torch", "/home/u/proj/torch.py", "/home/u/proj", (f"{SITE}/torch/__init__.py",)
    )
    return gpu_box(python=torch_env(origins=(local,)))


@near_miss("PY09")
def working_in_site_packages() -> Snapshot:
    """The working folder is site-packages itself."""
    own = ModuleOrigin("torch", f"{SITE}/torch/__init__.py", SITE)
    return edit(gpu_box(python=torch_env(origins=(own,))), scope__cwd=SITE)


@fault("PY10")
def left_over_folder() -> Snapshot:
    """~orch beside a whole torch: a warning."""
    return gpu_box(python=torch_env(invalid_distributions=("~orch-2.7.0.dist-info",)))


@fault("PY10")
def half_a_torch() -> Snapshot:
    """Files of torch's RECORD are missing."""
    lost = (RecordProblem("missing", "torch/lib/libtorch_cuda.so"),)
    return gpu_box(python=with_version(torch_env(), "torch", "2.8.0", problems=lost))


@fault("PY10")
def edited_torch() -> Snapshot:
    """torch/__init__.py was edited, and Python does not take it any more."""
    edited = (RecordProblem("altered", "torch/__init__.py", expected_size=90000, actual_size=34),)
    says = "SyntaxError: invalid syntax (__init__.py, line 1)"
    broken = LibraryFile(f"{SITE}/torch/__init__.py", "torch 2.8.0", "torch", error_text=says)
    box = gpu_box(python=with_version(torch_env(), "torch", "2.8.0", problems=edited))
    return edit(box, libraries=(broken,))


@fault("PY10")
def torch_without_its_extension() -> Snapshot:
    """torch/_C is not there, and RECORD does not know it either."""
    says = "No module named 'torch._C'"
    broken = LibraryFile(f"{SITE}/torch/__init__.py", "torch 2.8.0", "torch", error_text=says)
    return edit(gpu_box(python=torch_env()), libraries=(broken,))


@near_miss("PY10")
def another_package_was_edited() -> Snapshot:
    """An __init__.py that is no framework's."""
    edited = (RecordProblem("altered", "six/__init__.py", expected_size=900, actual_size=34),)
    return gpu_box(python=torch_env(extra=(dist("six", "1.17", problems=edited),)))


@near_miss("PY10")
def torch_fails_in_a_library() -> Snapshot:
    """What is missing is a library of CUDA, not a part of torch."""
    says = "libnccl.so.2: cannot open shared object file: No such file or directory"
    broken = LibraryFile(f"{SITE}/torch/lib/libtorch_global_deps.so", "torch 2.8.0", "torch",
                         missing=(Resolution("libnccl.so.2", "libtorch_cuda.so"),),
                         error_text=says)  # fmt: skip
    return edit(gpu_box(python=torch_env()), libraries=(broken,))


@near_miss("PY10")
def conda_has_no_record() -> Snapshot:
    """conda's dist-info has no RECORD by rule."""
    env = conda_env("cuda129_mkl_py312_h1234567_300", "12.9")
    return gpu_box(python=with_version(env, "torch", "2.8.0", record_present=False))


@fault("PY11")
def two_dist_infos() -> Snapshot:
    """torch 2.7.1 and 2.8.0 in one folder."""
    return gpu_box(python=torch_env(extra=(dist("torch", "2.7.1"),)))


@near_miss("PY11")
def one_in_each_folder() -> Snapshot:
    """The system's copy lies in another folder of sys.path."""
    other = dist("numpy", "1.21.0", location="/usr/lib/python3/dist-packages")
    return gpu_box(python=torch_env(extra=(other,)))


@fault("PY12")
def torchvision_for_another_torch() -> Snapshot:
    """torchvision 0.22.1 needs torch 2.7.1."""
    env = with_version(torch_env(), "torchvision", "0.22.1", requires=("numpy", "torch==2.7.1"))
    return gpu_box(python=env)


@fault("PY12")
def torchvision_of_another_build() -> Snapshot:
    """torch +cu128, torchaudio +cpu."""
    env = with_version(torch_env(tag="+cu128"), "torchaudio", "2.8.0+cpu")
    return gpu_box(python=env)


def last_torchaudio(cuda: str, audio: str = "2.11.0") -> Snapshot:
    """torch 2.15 beside the last torchaudio, which names no torch."""
    packages = (dist("torch", "2.15.0"), dist("torchvision", "0.29.2", requires=("torch==2.15.0",)))
    archs = ("sm_75", "sm_80", "sm_86", "sm_90")
    env = venv(*packages, dist("torchaudio", audio), torch=torch_build("2.15.0", cuda, *archs))
    return gpu_box(python=env)


@fault("PY12")
def last_torchaudio_and_another_cuda() -> Snapshot:
    """torchaudio 2.11 of PyPI is for CUDA 13.0, torch 2.15 for 12.9: it refuses to be imported."""
    return last_torchaudio("12.9")


@near_miss("PY12")
def last_torchaudio_and_its_cuda() -> Snapshot:
    """torchaudio 2.11+cu128 beside a torch 2.15 for CUDA 12.8: it fits every later torch."""
    return last_torchaudio("12.8", "2.11.0+cu128")


@near_miss("PY12")
def matching_trio() -> Snapshot:
    """The three of one release."""
    return gpu_box(python=torch_env(tag="+cu128"))


OLD_ARCHS = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")


@fault("PY13")
def numpy2_under_old_torch() -> Snapshot:
    """numpy 2.1 with torch 2.2."""
    env = venv(
        dist("torch", "2.2.2"),
        dist("numpy", "2.1.0"),
        torch=torch_build("2.2.2", "12.1", *OLD_ARCHS),
    )
    return gpu_box(python=env)


@near_miss("PY13")
def numpy2_under_newer_torch() -> Snapshot:
    """numpy 2.1 with torch 2.3."""
    env = venv(
        dist("torch", "2.3.1"),
        dist("numpy", "2.1.0"),
        torch=torch_build("2.3.1", "12.1", *OLD_ARCHS),
    )
    return gpu_box(python=env)


def kernels(*specs: Kernelspec) -> Snapshot:
    env = torch_env(extra=(dist("ipykernel", "6.29.5"),), kernelspecs=specs)
    return gpu_box(python=env)


@fault("PY14")
def default_kernel_elsewhere() -> Snapshot:
    """python3 starts the base interpreter."""
    return kernels(
        Kernelspec("python3", "/home/u/.local/share/jupyter/kernels/python3",
                   ("/usr/bin/python3", "-m", "ipykernel_launcher"), True)
    )  # fmt: skip


@fault("PY14")
def interpreter_was_removed() -> Snapshot:
    """The environment of a kernel is gone."""
    return kernels(
        Kernelspec("old", "/home/u/.local/share/jupyter/kernels/old",
                   ("/home/u/gone/bin/python", "-m", "ipykernel_launcher"), False)
    )  # fmt: skip


@near_miss("PY14")
def kernel_of_this_environment() -> Snapshot:
    """python3 starts this environment's Python."""
    return kernels(
        Kernelspec("python3", f"{SITE}/../../../share/jupyter/kernels/python3",
                   ("/home/u/proj/.venv/bin/python", "-m", "ipykernel_launcher"), True)
    )  # fmt: skip


@fault("PY16")
def both_onnxruntimes() -> Snapshot:
    """onnxruntime came in as a dependency of something."""
    return gpu_box(python=venv(dist("onnxruntime", "1.23.2"), dist("onnxruntime-gpu", "1.23.2")))


@near_miss("PY16")
def onnxruntime_gpu_alone() -> Snapshot:
    """Only the GPU package, and onnx beside it."""
    return gpu_box(python=venv(dist("onnx", "1.18.0"), dist("onnxruntime-gpu", "1.23.2")))


@fault("PY17")
def two_cupys() -> Snapshot:
    """cupy-cuda11x and cupy-cuda12x."""
    return gpu_box(python=venv(dist("cupy-cuda11x", "13.4.1"), dist("cupy-cuda12x", "13.4.1")))


@near_miss("PY17")
def one_cupy() -> Snapshot:
    """cupy-cuda12x and its helper packages."""
    return gpu_box(python=venv(dist("cupy-cuda12x", "13.4.1"), dist("fastrlock", "0.8.3")))


@fault("PY18")
def plugin_of_another_release() -> Snapshot:
    """jaxlib was upgraded, the plugin was not."""
    return gpu_box(
        python=venv(dist("jax", "0.12.0"), dist("jaxlib", "0.12.0"), dist("jax-cuda13-plugin", "0.11.2"),
                    dist("jax-cuda13-pjrt", "0.11.2"))
    )  # fmt: skip


@fault("PY18")
def jax_without_plugin() -> Snapshot:
    """pip install jax: a warning."""
    return gpu_box(python=venv(dist("jax", "0.12.0"), dist("jaxlib", "0.12.0")))


@near_miss("PY18")
def jax_with_plugin() -> Snapshot:
    """All parts in one release."""
    return gpu_box(
        python=venv(dist("jax", "0.12.0"), dist("jaxlib", "0.12.0"), dist("jax-cuda13-plugin", "0.12.0.1"),
                    dist("jax-cuda13-pjrt", "0.12.0.1"))
    )  # fmt: skip


@fault("PY19")
def tensorflow_on_windows() -> Snapshot:
    """TensorFlow 2.15 on Windows."""
    return windows_box(venv(dist("tensorflow", "2.15.0")))


@near_miss("PY19")
def last_tensorflow_for_windows() -> Snapshot:
    """2.10.1 had CUDA on Windows."""
    return windows_box(venv(dist("tensorflow", "2.10.1")))


@fault("PY21")
def torch_into_alpine() -> Snapshot:
    """A Dockerfile installs torch from PyPI into an image with musl."""
    file = Dockerfile("/project/Dockerfile", "python:3.12-alpine", wheels=("line 2: torch",))
    return edit(laptop(), dockerfiles=(file,))


@near_miss("PY21")
def alpine_without_wheels_for_glibc() -> Snapshot:
    """Alpine with packages that run on it."""
    return edit(laptop(), dockerfiles=(Dockerfile("/project/Dockerfile", "python:3.12-alpine"),))


@near_miss("PY21")
def torch_into_a_slim_image() -> Snapshot:
    """Wheels bring CUDA along: a base image without it is none the worse."""
    file = Dockerfile("/project/Dockerfile", "python:3.12-slim", wheels=("line 2: torch",))
    return edit(laptop(), dockerfiles=(file,))

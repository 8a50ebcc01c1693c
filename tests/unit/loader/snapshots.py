"""For each id, a snapshot that fires it and one that is nearly the same and must not."""

from __future__ import annotations

from dataclasses import replace

from cuready.snapshot import (
    Distribution,
    GpuCode,
    LibraryFile,
    LoaderState,
    PciGpu,
    Platform,
    PythonEnv,
    RecordProblem,
    Resolution,
    Snapshot,
    TorchBuild,
    UnresolvedSymbol,
)  # fmt: skip

SITE = "/env/lib/python3.12/site-packages"
TORCH = f"{SITE}/torch"
ADA = PciGpu("0000:01:00.0", "0x2684", name="RTX 4090", compute_capability="8.9")
PASCAL = PciGpu("0000:01:00.0", "0x1b80", name="GTX 1080", compute_capability="6.1")
LINUX = Platform(system="Linux", machine="x86_64", libc="glibc", libc_version="2.35")


def dist(name: str, version: str, **kwargs: object) -> Distribution:
    path = f"{SITE}/{name.replace('-', '_')}-{version}.dist-info"
    values = {"installer": "pip", "record_present": True, **kwargs}
    return Distribution(name, version, SITE, path, **values)  # type: ignore[arg-type]


def snap(*distributions: Distribution, cuda: str | None = "12.8", gpu: PciGpu = ADA,
         platform: Platform = LINUX, **kwargs: object) -> Snapshot:  # fmt: skip
    python = PythonEnv(
        executable="/env/bin/python", version="3.12.3", prefix="/env", kind="venv", manager="pip",
        site_packages=(SITE,), distributions=distributions, free_threaded=False, bits=64,
        torch=TorchBuild("2.8.0", cuda, path=TORCH, cxx11_abi=True),
    )  # fmt: skip
    return Snapshot(platform=platform, gpus=(gpu,), python=python, **kwargs)  # type: ignore[arg-type]


def lib(path: str, error: str | None = None, role: str = "extension", owner: str = "",
        **kwargs: object) -> LibraryFile:  # fmt: skip
    return LibraryFile(f"{SITE}/{path}", owner, role, error_text=error, **kwargs)  # type: ignore[arg-type]


def missing(soname: str, owner: str = "flash-attn 2.8.3", role: str = "extension") -> LibraryFile:
    path = f"{SITE}/flash_attn_2_cuda.so"
    return LibraryFile(
        path, owner, role, missing=(Resolution(soname, path),),
        error_text=f"{soname}: cannot open shared object file: No such file or directory",
    )  # fmt: skip


def symbol(name: str, provider: str, version: str | None = None, *, rule: str = "LD_LIBRARY_PATH",
           role: str = "torch", owner: str = "torch 2.8.0") -> LibraryFile:  # fmt: skip
    path = f"{TORCH}/lib/libtorch_cuda.so"
    found = Resolution(provider.rpartition("/")[2], path, provider, rule, "/usr/local/cuda/lib64")
    return LibraryFile(
        path, owner, role, resolutions=(found,),
        unresolved=(UnresolvedSymbol(name, path, provider, version),),
        error_text=f"{path}: undefined symbol: {name}",
    )  # fmt: skip


def loads(library: LibraryFile) -> LibraryFile:
    """The same library where everything is found."""
    return replace(library, error_text=None, missing=(), unresolved=())


def code(path: str, owner: str, *sass: str, ptx: tuple[str, ...] = ()) -> GpuCode:
    return GpuCode(f"{SITE}/{path}", owner, sass, ptx)


def record(kind: str, path: str, **kwargs: object) -> RecordProblem:
    return RecordProblem(kind, path, **kwargs)  # type: ignore[arg-type]


NVSHMEM = "nvidia/nvshmem/lib/libnvshmem_host.so.3"
CUDNN9 = "nvidia/cudnn/lib/libcudnn.so.9"
LD = LoaderState(ld_library_path=("/usr/local/cuda/lib64",))
CUDNN_OPENS = f"{SITE}/{CUDNN9}"


def _twins(on_disk: str | None, proof: str = "content") -> Snapshot:
    problem = {"path": CUDNN9, "kind": "shared", "matches": on_disk, "proof": proof}
    return snap(
        dist("torch", "2.8.0"),
        dist("nvidia-cudnn-cu12", "9.10.2.21",
             problems=(RecordProblem(others=("nvidia-cudnn-cu13",), **problem),)),
        dist("nvidia-cudnn-cu13", "9.13.0.50",
             problems=(RecordProblem(others=("nvidia-cudnn-cu12",), **problem),)),
    )  # fmt: skip


def _dlopen(path: str | None, rule: str, soname: str = "libcudnn_ops.so.9",
            opener: str = CUDNN_OPENS, role: str = "torch") -> Snapshot:  # fmt: skip
    opened = Resolution(soname, opener, path, rule, "/usr/local/cuda/lib64")
    return snap(
        dist("torch", "2.8.0"), dist("nvidia-cuda-nvrtc-cu12", "12.8.93"),
        dist("tensorflow", "2.20.0"),
        libraries=(lib("torch/_C.so", role=role, dlopens=(opened,)),), loader=LD,
    )  # fmt: skip


def _wheel(tag: str, **platform: object) -> Snapshot:
    here = replace(LINUX, **platform)  # type: ignore[arg-type]
    return snap(dist("vllm", "0.11.0", tags=(tag,)), platform=here)


def _torch_code(gpu: PciGpu, installer: str, *sass: str) -> Snapshot:
    return snap(dist("torch", "2.8.0", installer=installer), gpu=gpu,
                gpu_code=(code("torch/lib/libtorch_cuda.so", "torch 2.8.0", *sass),))  # fmt: skip


def _jetson(release: str, version: str, tag: str) -> Snapshot:
    here = replace(LINUX, machine="aarch64", tegra_release=f"# R{release} (release), REVISION: 4.0")
    return snap(dist("torch", version, tags=(tag,)), platform=here)


def _windows(*missing_names: str) -> Snapshot:
    path = "C:/env/Lib/site-packages/torch/lib/fbgemm.dll"
    library = LibraryFile(
        path, role="torch", missing=tuple(Resolution(name, path) for name in missing_names),
        error_text="[WinError 126] The specified module could not be found." if missing_names else None,
    )  # fmt: skip
    return snap(dist("torch", "2.4.0"), platform=Platform(system="Windows", machine="AMD64"),
                libraries=(library,))  # fmt: skip


NCCL = symbol("ncclCommResume", f"{SITE}/nvidia/nccl/lib/libnccl.so.2", rule="RPATH of x")
JIT = symbol("__nvJitLinkComplete_12_4", "/usr/local/cuda/lib64/libnvJitLink.so.12",
             "libnvJitLink.so.12")  # fmt: skip
C10 = symbol("_ZN3c105ErrorC2ENS_14SourceLocationENSs", f"{TORCH}/lib/libc10.so",
             role="extension", owner="flash-attn 2.8.3")  # fmt: skip
STDCXX = symbol("GLIBCXX_3.4.32", "/old/libstdc++.so.6", "GLIBCXX_3.4.32")
GLIBC = symbol("GLIBC_2.38", "/lib/x86_64-linux-gnu/libc.so.6", "GLIBC_2.38", rule="ld.so.cache")
JAX_NEEDS = ('nvidia-cudnn-cu12<10.0,>=9.8; extra == "with-cuda"',)

CASES: dict[str, tuple[Snapshot, Snapshot]] = {
    "LIB01": (
        snap(dist("nvidia-nvshmem-cu13", "3.3.24",
                  problems=(record("missing", NVSHMEM, others=("nvidia-nvshmem-cu12",)),))),
        snap(dist("nvidia-nvshmem-cu13", "3.3.24")),
    ),
    "LIB02": (_twins("nvidia-cudnn-cu13"), snap(dist("torch", "2.8.0"),
                                              dist("nvidia-cudnn-cu12", "9.10.2.21"),
                                              dist("nvidia-cudnn-cu13", "9.13.0.50"))),
    "LIB03": (snap(dist("nvidia-nccl-cu12", "2.21.5"), libraries=(NCCL,)), snap(libraries=(loads(NCCL),))),
    "LIB04": (snap(libraries=(JIT,), loader=LD), snap(libraries=(loads(JIT),), loader=LD)),
    "LIB05": (_dlopen("/usr/local/cuda/lib64/libcudnn_ops.so.9", "LD_LIBRARY_PATH"),
              _dlopen(f"{SITE}/nvidia/cudnn/lib/libcudnn_ops.so.9", "RUNPATH of x")),
    "LIB06": (snap(dist("nvidia-cudnn-cu12", "9.10.2.21"), libraries=(missing("libcudnn.so.8"),)),
              snap(dist("nvidia-cudnn-cu12", "9.10.2.21"), libraries=(missing("libfoo.so.8"),))),
    "LIB07": (snap(libraries=(missing("libcudart.so.11.0"),)),
              snap(libraries=(loads(missing("libcudart.so.11.0")),))),
    "LIB08": (snap(libraries=(C10,)), snap(libraries=(NCCL,))),
    "LIB09": (snap(libraries=(STDCXX,)), snap(libraries=(GLIBC,))),
    "LIB10": (_dlopen(None, "", "libnvrtc-builtins.so.12.8",
                      f"{SITE}/nvidia/cuda_nvrtc/lib/libnvrtc.so.12"),
              _dlopen(f"{SITE}/nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8", "RUNPATH of x",
                      "libnvrtc-builtins.so.12.8", f"{SITE}/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")),
    # sm_86 code runs on an 8.9 GPU: comparing sm_89 literally would be wrong.
    "LIB11": (_torch_code(PASCAL, "pip", "7.5", "8.0", "9.0"), _torch_code(ADA, "pip", "8.6")),
    "LIB12": (
        snap(dist("flash-attn", "2.8.3"), gpu=PASCAL,
             gpu_code=(code("flash_attn_2_cuda.so", "flash-attn 2.8.3", "8.0", "9.0"),)),
        # vLLM keeps kernels for Hopper in a library of their own: not a fault on an Ada GPU.
        snap(dist("vllm", "0.11.0"), gpu=ADA,
             gpu_code=(code("vllm/_C.so", "vllm 0.11.0", "8.0", "9.0a"),
                       code("vllm/_fa3_C.so", "vllm 0.11.0", "9.0a"))),
    ),
    "LIB13": (snap(dist("torch", "2.9.1+cu128"), dist("nvidia-cudnn-cu12", "9.10.2.21")),
              snap(dist("torch", "2.9.1+cu128"), dist("nvidia-cudnn-cu12", "9.15.1.9"))),
    "LIB14": (
        snap(dist("jax-cuda12-plugin", "0.6.0", requires=JAX_NEEDS),
             dist("nvidia-cudnn-cu12", "9.5.1.17")),
        snap(dist("jax-cuda12-plugin", "0.6.0", requires=JAX_NEEDS),
             dist("nvidia-cudnn-cu12", "9.8.0.87")),
    ),
    "LIB15": (_windows("libomp140.x86_64.dll"), _windows()),
    "LIB16": (_jetson("36", "2.8.0", "cp312-cp312-manylinux_2_28_aarch64"),
              _jetson("38", "2.9.0", "cp312-cp312-manylinux_2_28_aarch64")),
    "PY15": (_torch_code(PASCAL, "uv", "7.5", "8.0", "9.0"), _torch_code(ADA, "uv", "8.6")),
    "PY20": (_dlopen(None, "", "libcudart.so.12", f"{SITE}/tensorflow/libtensorflow_framework.so.2",
                     "tensorflow"),
             _dlopen("/usr/lib/libcudart.so.12", "ld.so.cache", "libcudart.so.12",
                     f"{SITE}/tensorflow/libtensorflow_framework.so.2", "tensorflow")),
    "PY21": (_wheel("cp312-cp312-manylinux_2_39_x86_64"),
             _wheel("cp312-cp312-manylinux_2_39_x86_64.manylinux_2_28_x86_64")),
}  # fmt: skip

MORE_FIRING: list[tuple[str, Snapshot]] = [
    ("LIB02", _twins("nvidia-cudnn-cu13", proof="dates")),
    ("LIB02", _twins(None, proof="paths")),
    ("PY21", _wheel("cp312-cp312-manylinux_2_17_x86_64", libc="musl", libc_version="1.2")),
    ("PY21", _wheel("cp313-cp313t-manylinux_2_17_x86_64")),
    ("PY21", _wheel("cp312-cp312-manylinux_2_17_aarch64")),
    ("PY21", snap(libraries=(GLIBC,))),
    ("LIB15", _windows("VCRUNTIME140_1.dll")),
    ("LIB07", snap(libraries=(missing("libcufft.so.10"),))),
    ("LIB08", snap(libraries=(missing("libtorch_hip.so"),))),
    ("LIB16", _jetson("35", "2.1.0", "cp312-cp312-manylinux2014_aarch64")),
    ("LIB01", snap(dist("nvidia-nccl-cu12", "2.27.3",
                        problems=(record("altered", "nvidia/nccl/lib/libnccl.so.2",
                                         expected_size=9, actual_size=4),)))),
]  # fmt: skip

MORE_SILENT: list[tuple[str, Snapshot]] = [
    ("LIB16", _jetson("36", "2.5.0a0+872d972e41.nv24.8", "cp310-cp310-linux_aarch64")),
    ("PY21", _wheel("cp312-abi3-manylinux_2_17_x86_64")),
    ("PY21", _wheel("py3-none-any")),
    ("LIB12", snap(gpu=PASCAL, gpu_code=(code("x.so", "x 1", "8.0", ptx=("5.0",)),))),
    ("LIB11", _torch_code(ADA, "pip")),
    ("LIB13", snap(dist("torch", "2.8.0"), dist("nvidia-cudnn-cu12", "9.10.2.21"))),
]

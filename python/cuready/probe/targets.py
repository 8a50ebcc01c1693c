"""Which files the loader is asked about: frameworks, extensions, and what opens what by name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from cuready._util import data_text, tomllib
from cuready.probe import records
from cuready.probe.context import Context
from cuready.snapshot import Distribution

__all__ = [
    "SYMBOL_HOMES",
    "ctypes_extension",
    "executable",
    "extensions",
    "frameworks",
    "is_cuda",
    "module_folder",
    "opened_later",
]

EXTENSION_LIMIT = 40
"""Extension modules that a run looks at, first those of packages that break most often."""

_CUDA_NAME = re.compile(
    r"^lib(?:cu|nv|nccl|torch|c10|tensorrt|onnxruntime|caffe2|shm|xla|tensorflow|magma)"
)
_BUILT_ON_TORCH = re.compile(
    r"^(?:flash|vllm|xformers|torchvision|torchaudio|torch[-_]|torchcodec|mamba|causal|bitsandbytes"
    r"|deepspeed|apex|sgl|sglang|flashinfer|spconv|detectron2|fbgemm|natten|pytorch3d|grouped|gptq"
    r"|auto[-_]?gptq|awq|autoawq|exllama|transformer[-_]engine|tensordict)",
    re.IGNORECASE,
)

# First letters of a C symbol, and the file name of the library that has symbols of that family.
SYMBOL_HOMES: tuple[tuple[bytes, str], ...] = (
    (b"nccl", "libnccl"),
    (b"pnccl", "libnccl"),
    (b"nvJitLink", "libnvJitLink"),
    (b"__nvJitLink", "libnvJitLink"),
    (b"cudnn", "libcudnn"),
    (b"cublasLt", "libcublasLt"),
    (b"cublas", "libcublas"),
    (b"cusparseLt", "libcusparseLt"),
    (b"cusparse", "libcusparse"),
    (b"cusolver", "libcusolver"),
    (b"cufft", "libcufft"),
    (b"curand", "libcurand"),
    (b"nvshmem", "libnvshmem"),
    (b"nvrtc", "libnvrtc"),
    (b"cupti", "libcupti"),
    (b"cuda", "libcudart"),
    (b"_ZN3c10", "libc10"),
    (b"_ZNK3c10", "libc10"),
    (b"_ZN2at", "libtorch_cpu"),
    (b"_ZNK2at", "libtorch_cpu"),
    (b"_ZN5torch", "libtorch_cpu"),
    (b"_ZNK5torch", "libtorch_cpu"),
)


@cache
def _table() -> dict[str, Any]:
    text = data_text("cuready.probe", "data/dlopen.toml")
    return tomllib.loads(text)


def is_cuda(path: str) -> bool:
    """Whether a library is one of CUDA's or a framework's, by its name."""
    return bool(_CUDA_NAME.match(posixpath.basename(path)))


# --- the interpreter ---------------------------------------------------------------------------


def executable(context: Context) -> str | None:
    """The program whose process is simulated: the interpreter, or the prefix's python."""
    python = context.so_far.python
    for candidate in (python.executable, f"{python.prefix}/bin/python" if python.prefix else None):
        if candidate and context.is_file(candidate):
            return candidate
    return None


def ctypes_extension(context: Context) -> str | None:
    """``_ctypes.cpython-….so``; None where it is built into the interpreter."""
    for entry in context.so_far.python.sys_path:
        if entry.endswith("lib-dynload"):
            found = context.glob(f"{entry}/_ctypes.*.so")
            if found:
                return found[0]
    return None


# --- frameworks ----------------------------------------------------------------------------------


def module_folder(context: Context, name: str) -> str | None:
    """The folder of the package that ``import name`` would find, None when there is none."""
    for origin in context.so_far.python.origins:
        if origin.name == name and origin.path:
            path = origin.path
            return posixpath.dirname(path) if path.endswith(".py") else path
    for entry in context.so_far.python.sys_path:
        if context.is_file(f"{entry}/{name}/__init__.py"):
            return f"{entry}/{name}"
    return None


def frameworks(context: Context) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(role, library, libraries that the framework opens before it) besides torch."""
    wheels = _of_wheels(context)
    ort = module_folder(context, "onnxruntime")
    if ort is not None:
        # Programs call onnxruntime.preload_dlls() or import torch first; what counts is whether
        # the libraries are there at all. The provider's host is opened by onnxruntime itself.
        host = tuple(context.glob(f"{ort}/capi/libonnxruntime_providers_shared.so"))
        for pattern in ("onnxruntime_pybind11_state*.so", "libonnxruntime_providers_cuda.so",
                        "libonnxruntime_providers_tensorrt.so"):  # fmt: skip
            for path in context.glob(f"{ort}/capi/{pattern}"):
                yield "onnxruntime", path, (*wheels, *host)
    for bindings in ("tensorrt_bindings", "tensorrt_lean_bindings", "tensorrt_dispatch_bindings"):
        yield from _tensorrt(context, bindings)
    for entry in context.so_far.python.site_packages:
        for path in context.glob(f"{entry}/jax_plugins/xla_cuda*/xla_cuda_plugin.so"):
            yield "jax", path, wheels  # its __init__ opens them
        for path in context.glob(f"{entry}/jaxlib/_jax.so"):
            yield "jax", path, ()
    tensorflow = module_folder(context, "tensorflow")
    if tensorflow is not None:
        for path in context.glob(f"{tensorflow}/libtensorflow_cc.so.*"):
            yield "tensorflow", path, ()


def _of_wheels(context: Context) -> tuple[str, ...]:
    """CUDA's libraries in the nvidia wheels, which frameworks open by path before their own."""
    found: list[str] = []
    for site in context.so_far.python.site_packages:
        for name in ("cudart", "nvrtc", "cublasLt", "cublas", "cufft", "curand", "cudnn",
                     "cudnn_*", "nccl", "nvJitLink", "cusparse", "cusolver", "cupti"):  # fmt: skip
            found += context.glob(f"{site}/nvidia/*/lib/lib{name}.so.*")
    return tuple(found)


def _tensorrt(context: Context, bindings: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    folder = module_folder(context, bindings)
    if folder is None:
        return
    libs = f"{posixpath.dirname(folder)}/{bindings.replace('_bindings', '_libs')}"
    opened = tuple(context.glob(f"{libs}/*.so*"))
    for path in context.glob(f"{folder}/tensorrt*.so"):
        yield "tensorrt", path, opened


# --- extensions ----------------------------------------------------------------------------------


def extensions(context: Context) -> Iterator[tuple[str, bool]]:
    """(path, whether its package needs torch) of extension modules built on CUDA or torch."""
    count = 0
    for item in _candidates(context):
        needs_torch = _requires_torch(item) or bool(_BUILT_ON_TORCH.match(item.name))
        for path in payload(context, item):
            if count >= EXTENSION_LIMIT:
                return
            if _is_extension(path) and _would_be_opened(context, path):
                count += 1
                yield path, needs_torch


def _candidates(context: Context) -> list[Distribution]:
    found = [
        item
        for item in context.so_far.python.distributions
        if item.record_present and (_BUILT_ON_TORCH.match(item.name) or _requires_torch(item))
    ]
    return sorted(found, key=lambda item: not _BUILT_ON_TORCH.match(item.name))


def _requires_torch(item: Distribution) -> bool:
    return any(
        re.match(r"torch(?![\w-])", text) for text in item.requires if "extra ==" not in text
    )


def _is_extension(path: str) -> bool:
    name = posixpath.basename(path)
    return ".libs/" not in path and (name.endswith(".so") or ".abi3.so" in name)


def _would_be_opened(context: Context, path: str) -> bool:
    """bitsandbytes brings one library for each CUDA release and opens the one of torch's."""
    name = posixpath.basename(path)
    if not name.startswith("libbitsandbytes"):
        return True
    torch = context.so_far.python.torch
    cuda = (torch.cuda or "").replace(".", "") if torch is not None else ""
    return bool(cuda) and name == f"libbitsandbytes_cuda{cuda}.so"


def payload(context: Context, item: Distribution) -> list[str]:
    """Paths of the shared libraries that a distribution brought."""
    try:
        entries = records.payload(context, item)
    except (OSError, records.RecordError):
        return []
    return [posixpath.normpath(f"{item.location}/{entry.path}") for entry in entries]


# --- opened later --------------------------------------------------------------------------------


def opened_later(context: Context, path: str) -> tuple[str, ...]:
    """Sonames that the library ``path`` opens by name while it works."""
    name = posixpath.basename(path)
    for row in _table()["cudnn"].values():
        if name == row["opener"]:
            return tuple(row["sonames"])
    if name.startswith("libnvrtc.so."):
        return _nvrtc_builtins(context, path)
    if name.startswith("libtensorflow_framework.so"):
        return _tensorflow(context)
    return ()


def _nvrtc_builtins(context: Context, path: str) -> tuple[str, ...]:
    """``libnvrtc-builtins.so.12.8``: the opener's major and minor, by its package's version."""
    major = path.rpartition(".")[2]
    for item in context.so_far.python.distributions:
        if item.name.replace("_", "-").lower() in (f"nvidia-cuda-nvrtc-cu{major}",
                                                   "nvidia-cuda-nvrtc"):  # fmt: skip
            numbers = item.version.split(".")
            if numbers[0] == major and len(numbers) > 1 and path.startswith(item.location):
                return (f"libnvrtc-builtins.so.{numbers[0]}.{numbers[1]}",)
    return ()


def _tensorflow(context: Context) -> tuple[str, ...]:
    """The sonames of the CUDA that a tensorflow was built with, by the sonames it says it needs."""
    majors = {re.search(r"-cu(\d\d)", text) for item in context.so_far.python.distributions
              if item.name.lower() == "tensorflow" for text in item.requires}  # fmt: skip
    numbers = {match[1] for match in majors if match}
    if len(numbers) != 1:
        return ()
    row = _table()["tensorflow"].get(numbers.pop())
    cudnn = _tensorflow_cudnn(context)
    if row is None:
        return ()
    return tuple(name.format(cudnn=cudnn) for name in row["sonames"])


def _tensorflow_cudnn(context: Context) -> str:
    """cuDNN's major in ``nvidia-cudnn-cu12>=9.3.0.75,<10.0; extra == "and-cuda"``."""
    for item in context.so_far.python.distributions:
        if item.name.lower() == "tensorflow":
            for text in item.requires:
                match = re.match(r"nvidia[-_]cudnn[-_]cu\d+\D*(\d+)", text)
                if match:
                    return match[1]
    return "9"

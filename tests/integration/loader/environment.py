"""A Python environment with torch's real layout, in which every library is ours and tiny.

torch/lib is linked with DT_RPATH into nvidia/*/lib, the nvidia wheels with DT_RUNPATH to their
siblings: the layout in which LD_LIBRARY_PATH can shadow one wheel's library and not another's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

from cuready import probe
from cuready.doctor.engine import Diagnosis, diagnose
from cuready.snapshot import LibraryFile, Snapshot

from .broken_symbols import EXTENSION
from .workshop import Workshop, run

TORCH_INIT = """
import ctypes, os, sys
def _open_global_dependencies():
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "lib", "libtorch_global_deps.so")
    ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
_open_global_dependencies()
from torch import _C
"""

# As torch 2.x does it: when a CUDA library is what fails, open the wheels' copies by path, try again.
TORCH_INIT_THAT_HELPS_ITSELF = """
import ctypes, glob, os, sys
def _open_global_dependencies():
    here = os.path.dirname(os.path.abspath(__file__))
    path = os.path.join(here, "lib", "libtorch_global_deps.so")
    try:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        cuda_libs = {"nvjitlink": "libnvJitLink.so.*[0-9]", "cusparse": "libcusparse.so.*[0-9]"}
        if not any(name.split(".")[0] in str(error) for name in cuda_libs.values()):
            raise
        for folder, name in cuda_libs.items():
            found = [f for p in sys.path for f in glob.glob(f"{p}/nvidia/{folder}/lib/{name}")]
            if not found:
                raise ValueError(f"{name} not found in the system path {sys.path}")
            ctypes.CDLL(found[0])
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
_open_global_dependencies()
from torch import _C
"""

CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
try:
    __import__(sys.argv[2])
except Exception as error:
    print(f"{type(error).__name__}: {error}", end="")
"""


class Environment(Workshop):
    """``site`` is its site-packages; distributions are registered with real RECORD files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.site_name = f"env/lib/{version}/site-packages"
        self.site = self.dir(self.site_name)
        self.dir("env/bin")
        if (folder / "env/pyvenv.cfg").exists():
            return  # a copy of one that was made
        python = Path(sys.executable)
        (folder / "env/bin/python").symlink_to(python)
        home = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent
        (folder / "env/pyvenv.cfg").write_text(
            f"home = {home}\nversion = {sys.version.split()[0]}\n"
        )

    # --- making it -------------------------------------------------------------------------------

    def nvidia(self, part: str, name: str, code: str, **kwargs: object) -> Path:
        """A library of an nvidia wheel."""
        return self.lib(name, code, into=f"{self.site_name}/nvidia/{part}/lib", **kwargs)  # type: ignore[arg-type]

    def extension(self, name: str, into: str = "", body: str = "", **kwargs: object) -> Path:
        """A Python extension module below site-packages."""
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        code = EXTENSION % {"name": name, "init": f"PyInit_{name}", "body": body}
        include = sysconfig.get_path("include")
        where = f"{self.site_name}/{into}" if into else self.site_name
        return self.lib(f"{name}{suffix}", code, into=where, flags=[f"-I{include}"], **kwargs)  # type: ignore[arg-type]

    def distribution(
        self, name: str, version: str, files: Sequence[Path], *, requires: Sequence[str] = (),
        installer: str = "pip",
    ) -> Path:  # fmt: skip
        """Register ``files`` as the payload of a distribution."""
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        lines = [f"Requires-Dist: {text}" for text in requires]
        (info / "METADATA").write_text(
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
        )
        (info / "INSTALLER").write_text(installer + "\n")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
        rows = [record_line(self.site, path) for path in files]
        (info / "RECORD").write_text("\n".join([*rows, f"{info.name}/RECORD,,", ""]))
        return info

    def torch(self, *, uses_nccl: str = "ncclCommResume", abi: str = "__cxx11") -> None:
        """torch 2.8 for CUDA 12 with NCCL, cuSPARSE, nvJitLink, cuDNN and NVRTC as wheels."""
        site = "$ORIGIN/../.."
        jit = self.nvidia(
            "nvjitlink", "libnvJitLink.so.12",
            "int __nvJitLinkCreate_12_8(void){return 0;} int __nvJitLinkComplete_12_4(void){return 0;}",
            versions="libnvJitLink.so.12 {global: __nvJitLink*; local: *;};",
        )  # fmt: skip
        sparse = self.nvidia(
            "cusparse", "libcusparse.so.12",
            "int __nvJitLinkComplete_12_4(void); int cusparseCreate(void)"
            "{return __nvJitLinkComplete_12_4();}",
            needs=[jit], runpath=f"$ORIGIN:{site}/nvjitlink/lib",
        )  # fmt: skip
        nccl = self.nvidia("nccl", "libnccl.so.2",
                           "int ncclInit(void){return 0;} int ncclCommResume(void){return 0;}")  # fmt: skip
        cudart = self.nvidia("cuda_runtime", "libcudart.so.12", "int cudaMalloc(void){return 0;}")
        cudnn = self.nvidia("cudnn", "libcudnn.so.9", "int cudnnCreate(void){return 0;}",
                            runpath="$ORIGIN")  # fmt: skip
        parts = [self.nvidia("cudnn", f"libcudnn_{part}.so.9", f"int {part}(void){{return 0;}}")
                 for part in ("graph", "ops", "cnn", "adv", "heuristic", "engines_precompiled",
                              "engines_runtime_compiled")]  # fmt: skip
        nvrtc = self.nvidia("cuda_nvrtc", "libnvrtc.so.12", "int nvrtcVersion(void){return 0;}",
                            runpath="$ORIGIN")  # fmt: skip
        builtins = self.nvidia("cuda_nvrtc", "libnvrtc-builtins.so.12.8", "int b(void){return 0;}")
        rpath = ":".join(f"$ORIGIN/../../nvidia/{part}/lib" for part in (
            "nvjitlink", "cusparse", "nccl", "cuda_runtime", "cudnn", "cuda_nvrtc"))  # fmt: skip
        lib = f"{self.site_name}/torch/lib"
        deps = self.lib("libtorch_global_deps.so", into=lib,
                        needs=[cudart, sparse, nccl, cudnn, nvrtc], rpath=rpath)  # fmt: skip
        c10 = self.lib("libc10.so", "namespace c10 { struct Error { Error(int); }; "
                       "Error::Error(int) {} void warn(int) {} }", into=lib, language="cc")  # fmt: skip
        cuda = self.lib("libtorch_cuda.so", f"int {uses_nccl}(void); int t(void){{return {uses_nccl}();}}"
                        "int cusparseCreate(void); int s(void){return cusparseCreate();}",
                        into=lib, needs=[c10, nccl, sparse, cudart, cudnn, nvrtc],
                        rpath=f"{rpath}:$ORIGIN")  # fmt: skip
        module = self.extension("_C", "torch", needs=[cuda], rpath="$ORIGIN/lib")
        (self.site / "torch/__init__.py").write_text(TORCH_INIT)
        (self.site / "torch/version.py").write_text("__version__ = '2.8.0+cu128'\ncuda = '12.8'\n")
        self.distribution("torch", "2.8.0+cu128", [deps, c10, cuda, module])
        for name, version, files in (
            ("nvidia-nvjitlink-cu12", "12.8.93", [jit]),
            ("nvidia-cusparse-cu12", "12.5.8.93", [sparse]),
            ("nvidia-nccl-cu12", "2.27.3", [nccl]),
            ("nvidia-cuda-runtime-cu12", "12.8.90", [cudart]),
            ("nvidia-cudnn-cu12", "9.10.2.21", [cudnn, *parts]),
            ("nvidia-cuda-nvrtc-cu12", "12.8.93", [nvrtc, builtins]),
        ):
            self.distribution(name, version, files)

    # --- asking about it ---------------------------------------------------------------------------

    def really(self, module: str, env: Mapping[str, str] | None = None) -> str:
        """``Error: text`` of a real import in a child process, empty when it works."""
        kept = {"PATH": "/usr/bin:/bin", **(env or {})}
        done = subprocess.run([sys.executable, "-S", "-c", CHILD, self.site, module], env=kept,
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def snapshot(self, env: Mapping[str, str] | None = None, *, deep: bool = False) -> Snapshot:
        """What the readers make of it."""
        context_env = {"PATH": "/usr/bin:/bin", **(env or {})}
        return probe.take(prefix=str(self.folder / "env"), env=context_env, deep=deep,
                          cwd=str(self.folder))  # fmt: skip

    def ids(self, snapshot: Snapshot) -> list[str]:
        """Ids of the errors and warnings about this environment's libraries and packages."""
        found = [item for item in self.diagnosis(snapshot).findings if item.severity != "info"]
        return [item.id for item in found if item.id.startswith(("LIB", "PY"))]

    def diagnosis(self, snapshot: Snapshot) -> Diagnosis:
        return diagnose(snapshot)


def record_line(site: Path, path: Path) -> str:
    """``path,sha256=…,size`` as installers write it."""
    data = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path.relative_to(site)},sha256={digest},{len(data)}"


def library(snapshot: Snapshot, ending: str) -> LibraryFile:
    """The walked library whose path ends like that."""
    return next(item for item in snapshot.libraries if ending in item.path)


def dump(snapshot: Snapshot) -> str:
    """For failure messages."""
    return json.dumps([item.__dict__ for item in snapshot.libraries], default=str, indent=1)


__all__ = ["Environment", "dump", "library", "record_line", "run"]

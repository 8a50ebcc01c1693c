"""The failures of torch environments, end to end: built, imported for real, and diagnosed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cuready.doctor.finding import Severity

from .environment import TORCH_INIT_THAT_HELPS_ITSELF, Environment, library, record_line


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment, compiled once; every path in it is relative to its own place."""
    made = Environment(tmp_path_factory.mktemp("pristine"))
    made.torch()
    return made.folder


@pytest.fixture
def env(pristine: Path, tmp_path: Path) -> Environment:
    shutil.copytree(pristine, tmp_path, symlinks=True, dirs_exist_ok=True)
    return Environment(tmp_path)


def said(env: Environment, ending: str, variables: dict[str, str] | None = None) -> str:
    """The prediction for the library whose path holds ``ending``."""
    return library(env.snapshot(variables), ending).error_text or ""


def test_a_healthy_environment_has_no_finding(env: Environment) -> None:
    assert env.really("torch") == ""
    snapshot = env.snapshot()
    assert [item.error_text for item in snapshot.libraries] == [None, None]
    assert env.ids(snapshot) == []


def test_an_older_nccl_is_lib03(env: Environment) -> None:
    env.lib(
        "libnccl.so.2", "int ncclInit(void){return 0;}", into=f"{env.site_name}/nvidia/nccl/lib"
    )
    real = env.really("torch")
    assert "undefined symbol: ncclCommResume" in real
    snapshot = env.snapshot()
    assert real.endswith(library(snapshot, "torch/_C").error_text or "nothing")
    found = env.diagnosis(snapshot).findings
    assert "LIB03" in {item.id for item in found} | {x for item in found for x in item.explains}


def test_an_older_nccl_on_ld_library_path_does_not_win_over_rpath(env: Environment) -> None:
    env.lib("libnccl.so.2", "int ncclInit(void){return 0;}", into="old")
    variables = {"LD_LIBRARY_PATH": str(env.folder / "old")}
    assert env.really("torch", variables) == ""
    assert env.ids(env.snapshot(variables)) == []


def test_nvjitlink_shadowed_by_ld_library_path_is_lib04(env: Environment) -> None:
    env.lib("libnvJitLink.so.12", "int __nvJitLinkCreate_12_0(void){return 0;}", into="cuda/lib64",
            versions="libnvJitLink.so.12 {global: __nvJitLink*; local: *;};")  # fmt: skip
    variables = {"LD_LIBRARY_PATH": f"{env.folder}/cuda/lib64"}
    real = env.really("torch", variables)
    assert "undefined symbol: __nvJitLinkComplete_12_4, version libnvJitLink.so.12" in real
    snapshot = env.snapshot(variables)
    assert real == f"OSError: {library(snapshot, 'torch').error_text}"
    assert env.ids(snapshot) == ["LIB04"]
    (finding,) = [item for item in env.diagnosis(snapshot).findings if item.id == "LIB04"]
    assert finding.fix[0].commands == ("unset LD_LIBRARY_PATH",)
    assert f"{env.folder}/cuda/lib64" in finding.fix[0].note


def test_a_torch_that_helps_itself_out_of_it_has_no_finding(env: Environment) -> None:
    (env.site / "torch/__init__.py").write_text(TORCH_INIT_THAT_HELPS_ITSELF)
    old = env.lib("libnvJitLink.so.12", into="cuda/lib64")
    variables = {"LD_LIBRARY_PATH": str(old.parent)}
    assert env.really("torch", variables) == ""
    assert env.ids(env.snapshot(variables)) == []


def test_the_same_nvjitlink_on_ld_library_path_is_no_error(env: Environment) -> None:
    env.lib("libnvJitLink.so.12",
            "int __nvJitLinkComplete_12_4(void){return 0;}", into="cuda/lib64",
            versions="libnvJitLink.so.12 {global: __nvJitLink*; local: *;};")  # fmt: skip
    variables = {"LD_LIBRARY_PATH": f"{env.folder}/cuda/lib64"}
    assert env.really("torch", variables) == ""
    assert env.ids(env.snapshot(variables)) == []


def test_a_part_of_cudnn_from_elsewhere_is_lib05(env: Environment) -> None:
    env.lib("libcudnn_cnn.so.9", "int old(void){return 0;}", into="cuda/lib64")
    variables = {"LD_LIBRARY_PATH": f"{env.folder}/cuda/lib64"}
    snapshot = env.snapshot(variables)
    assert env.ids(snapshot) == ["LIB05"]
    opened = {item.soname: item for item in library(snapshot, "torch/_C").dlopens}
    assert opened["libcudnn_cnn.so.9"].rule == "LD_LIBRARY_PATH"
    assert opened["libcudnn_ops.so.9"].rule.startswith("RUNPATH")


def test_builtins_of_nvrtc_missing_is_lib10(env: Environment) -> None:
    wheel = env.site / "nvidia_cuda_nvrtc_cu12-12.8.93.dist-info/RECORD"
    lines = [x for x in wheel.read_text().splitlines() if "builtins" not in x]
    wheel.write_text("\n".join(lines) + "\n")
    (env.site / "nvidia/cuda_nvrtc/lib/libnvrtc-builtins.so.12.8").unlink()
    assert env.ids(env.snapshot()) == ["LIB10"]


def test_a_deleted_library_of_an_installed_wheel_is_lib01(env: Environment) -> None:
    (env.site / "nvidia/nccl/lib/libnccl.so.2").unlink()
    real = env.really("torch")
    assert "libnccl.so.2: cannot open shared object file" in real
    snapshot = env.snapshot()
    assert real == f"OSError: {library(snapshot, 'torch').error_text}"
    assert env.ids(snapshot) == ["LIB01"]
    (finding,) = [item for item in env.diagnosis(snapshot).findings if item.id == "LIB01"]
    assert "--force-reinstall --no-deps nvidia-nccl-cu12==2.27.3" in finding.fix[0].commands[0]


def test_a_library_cut_short_is_lib01(env: Environment) -> None:
    path = env.site / "nvidia/nccl/lib/libnccl.so.2"
    path.write_bytes(path.read_bytes()[:40])
    real = env.really("torch")
    assert real.endswith("file too short")
    snapshot = env.snapshot()
    assert real == f"OSError: {library(snapshot, 'torch').error_text}"
    assert env.ids(snapshot) == ["LIB01"]


EXTENSIONS = {
    "an_extension_for_cudnn_8_is_lib06": ("libcudnn.so.8", "LIB06"),
    "an_extension_for_cuda_11_is_lib07": ("libcudart.so.11.0", "LIB07"),
    "an_extension_for_cuda_13_is_lib07": ("libcublas.so.13", "LIB07"),
    "an_extension_for_a_rocm_torch_is_lib08": ("libc10_hip.so", "LIB08"),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_extensions_that_lack_a_library(name: str, env: Environment) -> None:
    soname, expected = EXTENSIONS[name]
    gone = env.lib(soname, "int cudaX(void){return 0;}", into="gone")
    path = env.extension("flash_attn_2_cuda", body="extern int cudaX(void); cudaX();", needs=[gone])
    gone.unlink()
    env.distribution("flash-attn", "2.8.3", [path], requires=["torch"])
    snapshot = env.snapshot()
    assert (
        env.really("flash_attn_2_cuda") == f"ImportError: {library(snapshot, 'flash').error_text}"
    )
    assert env.ids(snapshot) == [expected]


def test_an_extension_for_another_torch_is_lib08(env: Environment) -> None:
    c10 = env.site / "torch/lib/libc10.so"
    body = "extern void _ZN3c105ErrorC2ENS_14SourceLocationE(void); _ZN3c105ErrorC2ENS_14SourceLocationE();"
    path = env.extension("flash_attn_2_cuda", body=body, needs=[c10], rpath=str(c10.parent))
    env.distribution("flash-attn", "2.8.3", [path], requires=["torch"])
    snapshot = env.snapshot()
    text = library(snapshot, "flash").error_text
    assert text is not None and "undefined symbol: _ZN3c105ErrorC2" in text
    assert env.really("flash_attn_2_cuda") == f"ImportError: {text}"
    assert env.ids(snapshot) == ["LIB08"]


def test_an_extension_for_this_torch_has_no_finding(env: Environment) -> None:
    c10 = env.site / "torch/lib/libc10.so"
    body = "extern void _ZN3c104warnEi(int); _ZN3c104warnEi(0);"
    path = env.extension("flash_attn_2_cuda", body=body, needs=[c10], rpath=str(c10.parent))
    env.distribution("flash-attn", "2.8.3", [path], requires=["torch"])
    assert env.really("flash_attn_2_cuda") == ""
    assert env.ids(env.snapshot()) == []


def test_an_old_libstdcxx_first_is_lib09(env: Environment) -> None:
    path = env.lib("libtriton.so", "#include <string>\nstd::string s(int n){return std::to_string(n);}"
                   "void t(){throw std::bad_alloc();}", into=f"{env.site_name}/xformers",
                   language="cc")  # fmt: skip
    env.distribution("xformers", "0.0.31", [path], requires=["torch"])
    env.lib("libstdc++.so.6", "int f(void){return 0;}", into="conda/lib",
            versions="GLIBCXX_3.4 {global: f; local: *;}; CXXABI_1.3 {};")  # fmt: skip
    variables = {"LD_LIBRARY_PATH": f"{env.folder}/conda/lib"}
    snapshot = env.snapshot(variables)
    text = library(snapshot, "libtriton").error_text
    assert text is not None and "not found (required by" in text and "GLIBCXX" in text + "GLIBCXX"
    assert "LIB09" in env.ids(snapshot)
    assert env.ids(env.snapshot()) == []


def test_bitsandbytes_builds_for_other_cuda_releases_are_no_fault(env: Environment) -> None:
    gone = env.lib("libcudart.so.11.0", "int cudaX(void){return 0;}", into="gone")
    where = f"{env.site_name}/bitsandbytes"
    code = "int cudaX(void); int b(void){return cudaX();}"
    others = env.lib("libbitsandbytes_cuda118.so", code, into=where, needs=[gone])
    ours = env.lib("libbitsandbytes_cuda128.so", into=where)
    gone.unlink()
    env.distribution("bitsandbytes", "0.48.0", [others, ours], requires=["torch"])
    snapshot = env.snapshot()
    assert env.ids(snapshot) == []
    assert library(snapshot, "cuda128").error_text is None


def test_onnxruntime_finds_cuda_in_the_wheels(env: Environment) -> None:
    """Providers do not name the wheels' folders; onnxruntime.preload_dlls() opens them."""
    (env.site / "onnxruntime/capi").mkdir(parents=True)
    (env.site / "onnxruntime/__init__.py").write_text("")
    cudart = env.site / "nvidia/cuda_runtime/lib/libcudart.so.12"
    provider = env.lib("libonnxruntime_providers_cuda.so", "int cudaMalloc(void);"
                       "int p(void){return cudaMalloc();}",
                       into=f"{env.site_name}/onnxruntime/capi", needs=[cudart])  # fmt: skip
    env.distribution("onnxruntime-gpu", "1.23.0", [provider])
    snapshot = env.snapshot()
    assert library(snapshot, "providers_cuda").error_text is None
    assert env.ids(snapshot) == []


def test_an_edited_torch_that_python_refuses_is_py10(env: Environment) -> None:
    init = env.site / "torch/__init__.py"
    (info,) = env.site.glob("torch-*.dist-info")
    with (info / "RECORD").open("a") as record:
        record.write(record_line(env.site, init) + "\n")
    assert env.ids(env.snapshot()) == []
    init.write_text(init.read_text() + "\nimport os, ;\n")
    real = env.really("torch")
    snapshot = env.snapshot()
    assert real.startswith("SyntaxError: ")
    assert real == library(snapshot, "torch/__init__.py").error_text
    assert env.ids(snapshot) == ["PY10"]
    (finding,) = env.diagnosis(snapshot).findings
    assert finding.severity is Severity.ERROR
    assert finding.cause.startswith(f"torch cannot be imported: {real}")
    init.write_text("# edited by hand, and fine\n" + TORCH_INIT_THAT_HELPS_ITSELF)
    (finding,) = env.diagnosis(env.snapshot()).findings
    assert (finding.id, finding.severity) == ("PY10", Severity.WARNING)
    assert env.really("torch") == ""


def test_a_torch_without_its_extension_is_py10(env: Environment) -> None:
    (extension,) = (env.site / "torch").glob("_C.*.so")
    extension.unlink()
    (env.site / "torch/__init__.py").write_text("from torch._C import *\n")  # as the real one does
    (info,) = env.site.glob("torch-*.dist-info")  # its RECORD does not know it: a bad build
    lines = (info / "RECORD").read_text().splitlines(keepends=True)
    (info / "RECORD").write_text("".join(line for line in lines if "torch/_C" not in line))
    real = env.really("torch")
    assert real == "ModuleNotFoundError: No module named 'torch._C'"
    snapshot = env.snapshot()
    assert real.endswith(library(snapshot, "torch/__init__.py").error_text or "nothing")
    assert env.ids(snapshot) == ["PY10"]

"""``cuready why`` from the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cuready.cli.main import main

from .environment import Environment
from .workshop import Workshop


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name in ("LD_LIBRARY_PATH", "LD_PRELOAD"):
        monkeypatch.delenv(name, raising=False)
    made = Environment(tmp_path)
    made.torch()
    return made


def why(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["why", *arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_torch_that_loads(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = why(capsys, "torch", "--prefix", f"{env.folder}/env")
    assert code == 0
    assert "libnvJitLink.so.12 => " in out and "[nvidia-nvjitlink-cu12 12.8.93]" in out
    assert "RUNPATH of" in out and "RPATH of" in out
    assert out.rstrip().endswith("loads")


def test_torch_that_does_not(
    env: Environment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = env.lib("libnvJitLink.so.12", into="cuda/lib64")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(old.parent))
    real = env.really("torch", {"LD_LIBRARY_PATH": str(old.parent)})
    code, out, _ = why(capsys, "torch", "--prefix", f"{env.folder}/env")
    assert code == 1
    assert out.rstrip().splitlines()[-1].strip() == real
    assert f"LD_LIBRARY_PATH, {old.parent}" in out
    assert f"hides {env.site}/torch/lib/../../nvidia" in out or "hides " in out


def test_json_says_the_same(env: Environment, capsys: pytest.CaptureFixture[str]) -> None:
    (env.site / "nvidia/nccl/lib/libnccl.so.2").unlink()
    code, out, _ = why(capsys, "torch", "--prefix", f"{env.folder}/env", "--format", "json")
    answer = json.loads(out)
    assert code == 1 and answer["loads"] is False and answer["schema_version"] == 1
    assert f"{answer['exception']}: {answer['error']}" == env.really("torch")
    (missing,) = [n for n in answer["libraries"][0]["tree"]["children"] if n["path"] is None]
    assert missing["name"] == "libnccl.so.2"


def test_a_path_and_a_soname(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Workshop(tmp_path).lib("libuser.so", "int f(void); int g(void){return f();}")
    code, out, _ = why(capsys, str(path))
    assert code == 1 and f"OSError: {path}: undefined symbol: f" in out
    code, out, _ = why(capsys, "libm.so.6")
    assert code == 0 and "/libm.so.6" in out


def test_below_another_root_links_do_not_lead_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An absolute link in a container image means the image's own file, not the host's."""
    root = tmp_path / "root"
    w = Workshop(root)
    for name in ("lib64", "lib", "data/lib", "opt"):
        w.dir(name)
    interpreter = Path("/lib64/ld-linux-x86-64.so.2").resolve()
    shutil.copy(interpreter, root / "lib64/ld-linux-x86-64.so.2")
    with Path("/proc/self/maps").open() as maps:
        libc = next(line.split()[-1] for line in maps if "/libc.so.6" in line or "/libc-2" in line)
    shutil.copy(libc, root / "lib/libc.so.6")
    dependency = w.lib("libdep.so", "int f(void){return 1;}", into="data/lib")
    (root / "opt/lib").symlink_to("/data/lib")
    w.lib("libuser.so", "int f(void); int g(void){return f();}", into="app", needs=[dependency],
          runpath="/opt/lib")  # fmt: skip
    code, out, _ = why(capsys, "/app/libuser.so", "--root", str(root))
    assert "libdep.so => /opt/lib/libdep.so" in out
    assert code == 0
    dependency.unlink()
    code, out, _ = why(capsys, "/app/libuser.so", "--root", str(root))
    assert code == 1 and "libdep.so: cannot open shared object file: No such file" in out


@pytest.mark.parametrize("name", ["no_such_package", "/no/such/file.so", "libno_such.so.3", "/tmp"])
def test_a_name_that_nobody_has_is_wrong_usage(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = why(capsys, name)
    assert (code, out) == (2, "")
    assert name in err and "Traceback" not in err


def test_a_python_package_without_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = why(capsys, "click")
    assert code == 0 and "no shared libraries" in out


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_question(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = why(capsys, name)
    assert (code, out) == (2, "")
    assert "an empty name" in err


def test_a_provider_that_does_not_load_is_told_as_onnxruntime_logs_it(
    env: Environment, capsys: pytest.CaptureFixture[str]
) -> None:
    """Importing works; a session that asks for the provider logs this text and goes on without."""
    (env.site / "onnxruntime/capi").mkdir(parents=True)
    (env.site / "onnxruntime/__init__.py").write_text("")
    part = env.lib("libcudnn_adv.so.9", into=f"{env.site_name}/nvidia/cudnn/lib")
    gone = env.lib("libcurand.so.10")
    provider = env.lib("libonnxruntime_providers_cuda.so", needs=[part, gone],
                       into=f"{env.site_name}/onnxruntime/capi")  # fmt: skip
    gone.unlink()
    env.distribution("onnxruntime-gpu", "1.31.1", [provider])
    code, out, _ = why(capsys, "onnxruntime", "--prefix", f"{env.folder}/env")
    assert code == 1
    assert "preload_dlls" in out
    assert f"libcudnn_adv.so.9 => {part}" in out
    assert out.rstrip().splitlines()[-1].strip() == (
        f"Failed to load library {provider} with error: "
        "libcurand.so.10: cannot open shared object file: No such file or directory"
    )

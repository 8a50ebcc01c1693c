"""The Python under diagnosis: which one, where it looks, what is installed in it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import venv
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.hang import no_hang

from cuready._util import normalize
from cuready.errors import IncompleteError, InputError
from cuready.probe import take, target
from cuready.probe.scope import make_context
from cuready.probe.torch_build import parse_version_py
from cuready.snapshot import CondaPackage, PythonEnv, Snapshot

from .roots import (
    add_conda,
    add_conda_package,
    add_dist,
    add_python,
    add_torch,
    link,
    make_root,
    write,
)


def read(root: Path, **options: Any) -> Snapshot:
    env = {"PATH": "/usr/bin", **options.pop("env", {})}
    snapshot = take(root=str(root), env=env, **options)
    assert not [r for r in snapshot.readers if r.status in ("failed", "timeout")], snapshot.readers
    return snapshot


def names(python: PythonEnv) -> dict[str, str]:
    return {found.name: found.version for found in python.distributions}


def test_a_venv_below_a_root(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root, "3.12")
    add_torch(site, "2.9.1+cu128", cuda="12.8", requires=["nvidia-cudnn-cu12==9.10.2.21"])
    add_dist(site, "numpy", "2.1.0", installer="uv", tags=["cp312-cp312-manylinux_2_28_x86_64"])
    python = read(root).python
    assert (python.version, python.prefix, python.base_prefix) == ("3.12.4", "/opt/venv", "/usr")
    assert (python.kind, python.executable) == ("venv", "/opt/venv/bin/python")
    assert python.site_packages == ("/opt/venv/lib/python3.12/site-packages",)
    assert python.sys_path[0] == "/"
    assert "/usr/lib/python3.12" in python.sys_path
    assert names(python) == {"torch": "2.9.1+cu128", "numpy": "2.1.0"}
    torch = next(found for found in python.distributions if found.name == "torch")
    assert torch.requires == ("nvidia-cudnn-cu12==9.10.2.21",)
    assert (torch.installer, torch.record_present) == ("pip", True)
    numpy = next(found for found in python.distributions if found.name == "numpy")
    assert numpy.tags == ("cp312-cp312-manylinux_2_28_x86_64",)


def test_torch_speaks_through_its_files(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root, "3.12")
    add_torch(site, "2.9.1+cu128", cuda="12.8", arch=["sm_80", "sm_90a", "compute_90"])
    write(site, "torch/share/cmake/Torch/TorchConfig.cmake", "-D_GLIBCXX_USE_CXX11_ABI=1")
    python = read(root).python
    assert python.torch is not None
    assert (python.torch.version, python.torch.cuda) == ("2.9.1+cu128", "12.8")
    assert python.torch.arch_flags == ("sm_80", "sm_90a", "compute_90")
    assert python.torch.cxx11_abi is True and python.torch.hip is None
    assert python.torch.path == "/opt/venv/lib/python3.12/site-packages/torch"


def test_a_cpu_build_has_no_cuda_and_no_arch_list(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_torch(add_python(root), "2.9.1+cpu", cuda=None)
    torch = read(root).python.torch
    assert torch is not None and torch.cuda is None and torch.arch_flags == ()


def test_an_arch_list_across_a_chunks_border_is_found(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    add_torch(site, cuda="12.8")
    literal = b"\0sm_75 sm_80 compute_80\0"
    for offset in (0, 5, 12, len(literal)):
        data = bytes((1 << 20) - offset) + literal + bytes(100)
        write(site, "torch/lib/libtorch_python.so", data)
        torch = read(root).python.torch
        assert torch and torch.arch_flags == ("sm_75", "sm_80", "compute_80"), offset


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("__version__ = '2.5'\ncuda: str = '12.4'\n", {"__version__": "2.5", "cuda": "12.4"}),
        ("cuda = None\ndebug = False\nx = f()\n", {"cuda": None}),
        ("def broken(:", {}),
        ("a" * 10, {}),
        ("\0", {}),
        ("(" * 5000, {}),
    ],
)
def test_version_py_is_read_not_run(text: str, values: dict[str, str | None]) -> None:
    assert parse_version_py(text) == values


def test_a_conda_prefix(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_conda(root, "3.11.9")
    add_torch(site, "2.5.1", cuda="12.4", installer="conda")
    add_conda_package(root, "/opt/conda", "pytorch", "2.5.1", "cpu_generic_py311_1", requested=True)
    files = ["lib/libcudnn.so.9", "lib/here.so"]
    write(root, "/opt/conda/lib/here.so")
    add_conda_package(root, "/opt/conda", "cudnn", "9.3.0", "h1", files=files)
    add_conda_package(root, "/opt/conda", "scipy", "1.0", "h1", files=["lib/gone"])
    python = read(root).python
    assert (python.version, python.kind, python.manager) == ("3.11.9", "conda", "conda")
    packages = {package.name: package for package in python.conda_packages}
    assert packages["pytorch"].build == "cpu_generic_py311_1"
    assert packages["pytorch"].requested and not packages["cudnn"].requested
    assert packages["pytorch"].channel.endswith("conda-forge/linux-64")
    assert packages["cudnn"].missing_files == ("lib/libcudnn.so.9",)
    assert packages["scipy"].missing_files == ()  # not one that a diagnosis is about
    assert python.conda_history == ("conda create -n x python",)
    deep = {package.name: package for package in read(root, deep=True).python.conda_packages}
    assert deep["scipy"].missing_files == ("lib/gone",)


def test_files_that_another_installer_overwrote_show(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_conda(root)
    good, bad = b"1234", b"4321"
    paths = []
    for name, on_disk in (("same", good), ("swapped", bad), ("grown", good + b"5")):
        write(root, f"/opt/conda/lib/{name}", on_disk)
        digest = hashlib.sha256(good).hexdigest()
        paths.append({"_path": f"lib/{name}", "size_in_bytes": 4, "sha256": digest})
    write(root, "/opt/conda/bin/tool", "#!/opt/conda/bin/python")
    paths.append({"_path": "bin/tool", "size_in_bytes": 99, "prefix_placeholder": "/old"})
    paths.append({"_path": "lib/gone", "size_in_bytes": 4})
    add_conda_package(root, "/opt/conda", "libtorch", "2.5.1", paths=paths)

    def libtorch(deep: bool) -> CondaPackage:
        found = read(root, deep=deep).python.conda_packages
        return next(package for package in found if package.name == "libtorch")

    assert libtorch(False).missing_files == ("lib/gone",)
    assert libtorch(False).altered_files == ("lib/grown",)
    assert libtorch(True).altered_files == ("lib/swapped", "lib/grown")


def test_a_conda_prefix_without_python_still_lists_its_packages(tmp_path: Path) -> None:
    write(tmp_path, "/env/conda-meta/history", "")
    add_conda_package(tmp_path, "/env", "cudatoolkit", "11.8.0", "h6a678d5_0")
    python = take(prefix=str(tmp_path / "env")).python
    assert python.version is None and python.kind == "conda"
    assert [package.name for package in python.conda_packages] == ["cudatoolkit"]


def test_a_cut_conda_record_is_named_and_the_others_kept(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_conda(root)
    write(root, "/opt/conda/conda-meta/numpy-2.0-py_0.json", '{"channel": "x", ')
    found = read(root)
    reader = found.reader("conda")
    assert reader and "numpy-2.0-py_0.json" in reader.reason
    assert [package.name for package in found.python.conda_packages] == ["python"]


def test_a_pixi_prefix_belongs_to_pixi(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_conda(root, prefix="/app/.pixi/envs/default")
    python = read(root, prefix="/app/.pixi/envs/default").python
    assert (python.kind, python.manager) == ("pixi", "pixi")


def test_interrupted_upgrades_and_missing_records_show(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    add_dist(site, "torch", "2.9.1", record=False)
    write(site, "~orch-2.5.1.dist-info/METADATA", "Name: torch\n")
    write(site, "~orch/__init__.py")
    python = read(root).python
    assert python.invalid_distributions == ("~orch", "~orch-2.5.1.dist-info")
    assert [(d.name, d.record_present) for d in python.distributions] == [("torch", False)]


def test_a_dist_info_without_metadata_is_named_after_its_folder(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    (site / "flash_attn-2.7.0.dist-info").mkdir()
    (site / "broken.dist-info").write_text("a file where a folder should be")
    assert names(read(root).python) == {"flash_attn": "2.7.0", "broken": ""}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"url": "https://example.org/a-1.zip", "archive_info": {}}, "https://example.org/a-1.zip"),
        ({"url": "file:///a", "dir_info": {"editable": True}}, "editable+file:///a"),
        ({"url": "file:///a", "dir_info": {}}, "file:///a"),
        (
            {"url": "https://example.org/a", "vcs_info": {"vcs": "git", "commit_id": "0123"}},
            "git+https://example.org/a@0123",
        ),
        ({"url": "https://example.org/a", "vcs_info": {}}, None),
        ({"archive_info": {}}, None),
    ],
)
def test_where_a_distribution_came_from_can_be_installed_from(
    tmp_path: Path, document: dict[str, object], told: str | None
) -> None:
    root = make_root(tmp_path)
    add_dist(add_python(root), "a", "1", direct_url=document)
    (found,) = read(root).python.distributions
    assert found.direct_url == told


def test_two_records_of_one_name_are_both_kept(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    add_dist(site, "torch", "2.5.1")
    add_dist(site, "torch", "2.9.1")
    versions = sorted(found.version for found in read(root).python.distributions)
    assert versions == ["2.5.1", "2.9.1"]


def test_eggs_and_debians_python_count(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root, "/usr/lib/python3.11/os.py")
    write(root, "/usr/bin/python3", b"\x7fELF").chmod(0o755)
    dist = root / "usr/lib/python3/dist-packages"
    write(dist, "numpy-1.24.2.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: numpy\n")
    write(dist, "six-1.16.0.egg-info", "Name: six\nVersion: 1.16.0\n")
    write(root, "/usr/lib/python3.11/EXTERNALLY-MANAGED")
    write(root, "/var/lib/dpkg/status", "")
    python = read(root).python
    assert names(python) == {"numpy": "1.24.2", "six": "1.16.0"}
    assert (python.kind, python.manager, python.externally_managed) == ("system", "apt", True)


def test_the_prefix_that_holds_torch_is_meant_when_none_is_activated(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    write(root, "/usr/lib/python3.11/os.py")
    write(root, "/usr/bin/python3", b"\x7fELF").chmod(0o755)
    add_torch(add_conda(root))
    add_python(root, prefix="/srv/app")
    assert read(root).python.prefix == "/opt/conda"
    assert read(root, env={"VIRTUAL_ENV": "/srv/app"}).python.prefix == "/srv/app"
    assert read(root, prefix="/srv/app").python.prefix == "/srv/app"


# --- where a module comes from -----------------------------------------------------------------


def origin(python: PythonEnv, name: str) -> tuple[str | None, tuple[str, ...]]:
    found = next(entry for entry in python.origins if entry.name == name)
    return found.path, found.shadowed


def test_a_local_folder_shadows_the_installed_package(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    add_torch(site)
    write(root, "/project/torch/__init__.py")
    installed = "/opt/venv/lib/python3.12/site-packages/torch/__init__.py"
    found = read(root, cwd="/project")
    assert origin(found.python, "torch") == ("/project/torch/__init__.py", (installed,))
    assert found.python.torch and found.python.torch.version == "2.9.1+cu128"
    write(root, "/file/torch.py")
    assert origin(read(root, cwd="/file").python, "torch")[0] == "/file/torch.py"
    safe = read(root, cwd="/project", env={"PYTHONSAFEPATH": "1"})
    assert origin(safe.python, "torch") == (installed, ())


def test_a_data_folder_of_the_same_name_shadows_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_torch(add_python(root))
    write(root, "/project/torch/weights.bin")
    assert origin(read(root, cwd="/project").python, "torch")[0] != "/project/torch"


def test_pythonpath_and_user_site_come_before_the_environment(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_conda(root)
    add_torch(site)
    user = root / "root/.local/lib/python3.12/site-packages"
    add_torch(user, "2.1.0+cu118", cuda="11.8")
    found = read(root)
    assert found.python.torch and found.python.torch.version == "2.1.0+cu118"
    assert found.python.user_site_enabled
    off = read(root, env={"PYTHONNOUSERSITE": "1"}).python
    assert off.torch and off.torch.version == "2.9.1+cu128"
    write(root, "/extra/torch/__init__.py")
    assert origin(read(root, env={"PYTHONPATH": "/extra"}).python, "torch")[0] == (
        "/extra/torch/__init__.py"
    )


def test_a_venv_does_not_see_the_user_site(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_torch(add_python(root))
    add_torch(root / "root/.local/lib/python3.12/site-packages", "2.1.0")
    torch = read(root).python.torch
    assert torch and torch.version == "2.9.1+cu128"


def test_editable_installs_are_followed_without_running_them(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    write(root, "/src/vllm/__init__.py")
    write(root, "/path/xformers/__init__.py")
    finder = "MAPPING: dict[str, str] = {'vllm': '/src/vllm'}\nraise SystemExit('was run')\n"
    write(site, "__editable___vllm_1_0_finder.py", finder)
    write(site, "__editable__.vllm-1.0.pth", "import __editable___vllm_1_0_finder; x.install()\n")
    write(site, "xformers.pth", "# comment\n/path\n/not/there\n")
    python = read(root).python
    assert origin(python, "vllm")[0] == "/src/vllm/__init__.py"
    assert origin(python, "xformers")[0] == "/path/xformers/__init__.py"
    assert "/path" in python.sys_path and "/not/there" not in python.sys_path


def test_nvidia_wheels_share_a_namespace(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    write(site, "nvidia/cudnn/lib/libcudnn.so.9")
    write(site, "nvidia/cu13/lib/libcudart.so.13")
    write(site, "nvidia/cuda_nvcc/bin/nvcc")
    base = "/opt/venv/lib/python3.12/site-packages/nvidia"
    assert read(root).python.nvidia_lib_dirs == (f"{base}/cu13/lib", f"{base}/cudnn/lib")


# --- notebooks, pins, configuration --------------------------------------------------------------


def test_kernelspecs_say_whether_their_interpreter_is_there(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_python(root)
    for name, python in (("here", "/opt/venv/bin/python"), ("gone", "/old/bin/python")):
        spec = {"argv": [python, "-m", "ipykernel_launcher"]}
        write(root, f"/root/.local/share/jupyter/kernels/{name}/kernel.json", json.dumps(spec))
    write(root, "/root/.local/share/jupyter/kernels/broken/kernel.json", "{")
    found = {spec.name: spec.interpreter_exists for spec in read(root).python.kernelspecs}
    assert found == {"here": True, "gone": False}


def test_pins_of_the_working_folder(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    lock = '[[package]]\nname = "torch"\nversion = "2.9.1+cu128"\n\n[[package]]\nname = "other"\n'
    write(root, "/project/uv.lock", lock)
    project = (
        '[project]\nname = "x"\ndependencies = ["torch>=2.5; sys_platform == \'linux\'", "rich"]\n'
        '[tool.uv.sources]\ntorch = { index = "pytorch-cu128" }\n'
    )
    write(root, "/project/pyproject.toml", project)
    write(root, "/project/requirements.txt", "--extra-index-url x\ntorchvision==0.20\nnumpy\n")
    spec = "channels:\n  - pytorch\n  - nvidia\ndependencies:\n  - pytorch=2.6 # x\n  - python\n"
    write(root, "/project/environment.yml", spec)
    pins = read(root, cwd="/project").python.project_pins
    assert pins["uv.lock torch"] == "2.9.1+cu128"
    assert pins["pyproject.toml torch"] == ">=2.5"
    assert json.loads(pins["pyproject.toml tool.uv.sources torch"]) == {"index": "pytorch-cu128"}
    assert (pins["requirements.txt torchvision"], pins["requirements.txt numpy"]) == ("==0.20", "*")
    assert pins["environment.yml pytorch"] == "=2.6"
    assert pins["environment.yml channels"] == "pytorch nvidia"


def test_configuration_files_in_order_with_mistakes_named(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_conda(root)
    write(root, "/etc/pip.conf", "[global]\nindex-url = https://a.example/simple\n")
    write(root, "/root/.config/pip/pip.conf", "[global]\nindex-url = https://b.example/simple\n")
    write(root, "/root/.config/uv/uv.toml", "index-url = \n")
    write(root, "/root/.condarc", "channels:\n  - defaults\n bad: [\n")
    write(root, "/opt/conda/.condarc", "channels: [conda-forge]\n")
    files = read(root, env={"PIP_INDEX_URL": "x", "UV_PUBLISH_TOKEN": "secret"})
    found = {file.path: file for file in files.config.files}
    assert list(found)[:2] == ["/etc/pip.conf", "/root/.config/pip/pip.conf"]
    assert found["/etc/pip.conf"].values == {"global.index-url": "https://a.example/simple"}
    assert found["/root/.config/uv/uv.toml"].line == 1
    assert found["/root/.condarc"].error and found["/root/.condarc"].line == 3
    assert found["/opt/conda/.condarc"].values == {"channels": ["conda-forge"]}
    assert files.config.environment == {"PIP_INDEX_URL": "x"}


def test_files_that_no_tool_wrote_neither_hang_nor_cost_the_other_files(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n" for one, two in pairwise("abcdefgh")
    )
    write(root, "/root/.condarc", bomb)
    write(root, "/root/.config/pip/pip.conf", f"[global]\nindex-url{' ' * 60_000}x\n")
    write(root, "/root/.config/uv/uv.toml", f"a = {'9' * 5000}\n")
    write(root, "/project/pyproject.toml", "a." * 5000 + "a = 1\n")
    write(root, "/project/requirements.txt", f"torch{' ' * 60_000}x\ntorchvision [a] ==1  # b\n")
    write(root, "/project/environment.yml", "channels:" + "\n" * 60_000 + "dependencies:\n - jax\n")
    with no_hang():
        found = read(root, cwd="/project")
    errors = {file.path: (file.error, file.line) for file in found.config.files}
    assert errors["/root/.condarc"] == ("more than 100000 values", None)
    assert errors["/root/.config/pip/pip.conf"][1] == 2
    assert errors["/root/.config/uv/uv.toml"] == ("an integer of more than 64 bits", None)
    assert errors["/project/pyproject.toml"] == ("nested too deeply", None)
    assert found.python.project_pins == {
        "requirements.txt torchvision": "[a]==1", "environment.yml jax": "*",
    }  # fmt: skip


def test_an_editable_finder_that_is_too_deep_for_the_parser_names_no_module(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    write(site, "__editable___vllm_1_0_finder.py", f"MAPPING = {'- ' * 50_000}1\n")
    add_torch(site, "2.9.1+cu128")
    assert origin(read(root).python, "torch")[0].endswith("torch/__init__.py")


def test_installers_are_those_that_can_be_run(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    site = add_python(root)
    (site / "pip").mkdir()
    for name in ("uv", "apt-get"):
        write(root, f"/usr/bin/{name}").chmod(0o755)
    assert read(root).packaging.available == ("pip", "uv", "apt-get")


# --- a live interpreter --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fresh_venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3.*/site-packages"))
    add_torch(site, "2.9.1+cu128")
    (site / "evil.pth").write_text("import sys; sys.stdout.write('a .pth was run'); sys.exit(7)\n")
    return folder


def test_another_interpreter_is_asked_and_runs_nothing_of_its_environment(fresh_venv: Path) -> None:
    found = take(python=str(fresh_venv / "bin/python")).python
    assert found.prefix == str(fresh_venv)
    assert found.version == ".".join(map(str, sys.version_info[:3]))
    assert found.torch is not None and found.torch.version == "2.9.1+cu128"
    assert names(found)["torch"] == "2.9.1+cu128"


def test_reading_the_prefix_and_asking_its_interpreter_agree(fresh_venv: Path) -> None:
    asked = take(python=str(fresh_venv / "bin/python")).python
    files = take(prefix=str(fresh_venv)).python
    for field in ("version", "prefix", "base_prefix", "site_packages", "kind", "torch", "origins"):
        assert getattr(asked, field) == getattr(files, field), field


def test_the_computed_search_path_is_the_real_one(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python3.*/site-packages"))
    extra = tmp_path / "extra"
    extra.mkdir()
    (site / "extra.pth").write_text(f"{extra}\n")
    python = str(folder / "bin/python")
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    env["PYTHONPATH"] = str(tmp_path / "first")
    told = subprocess.run(
        [python, "-c", "import sys, json; print(json.dumps(sys.path[1:]))"],
        env=env, cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    computed = take(python=python, cwd=str(tmp_path), env=env).python.sys_path
    assert list(computed) == [str(tmp_path), *json.loads(told.stdout)]


def test_our_own_interpreter_is_the_default_of_a_module_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/cuready/__main__.py"])
    assert target.choose({"VIRTUAL_ENV": "/some/env"}) is None


def test_the_script_follows_the_activated_environment(
    monkeypatch: pytest.MonkeyPatch, fresh_venv: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cuready"])
    assert target.choose({"VIRTUAL_ENV": str(fresh_venv)}) == str(fresh_venv / "bin/python")
    assert target.choose({"VIRTUAL_ENV": sys.prefix}) is None
    assert target.choose({}) is None


def test_an_activated_venv_whose_python_is_gone_is_read_as_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/cuready"])
    add_torch(add_python(tmp_path, prefix="/env"))  # its bin/python links to nothing on this host
    link(tmp_path, "/env/bin/python", "/no/such/python3.12")
    env = {"VIRTUAL_ENV": str(tmp_path / "env"), "PATH": "/usr/bin"}
    found = take(env=env, cwd=str(tmp_path)).python
    assert (found.prefix, found.version) == (str(tmp_path / "env"), "3.12.4")
    assert found.torch is not None and found.torch.version == "2.9.1+cu128"


def test_a_tool_of_its_own_looks_at_the_python_on_path(
    monkeypatch: pytest.MonkeyPatch, fresh_venv: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["/home/u/.local/bin/cuready"])
    monkeypatch.setattr(sys, "prefix", "/home/u/.local/share/uv/tools/cuready")
    path = str(fresh_venv / "bin")
    assert target.choose({"PATH": path}) == f"{path}/python"


@pytest.mark.parametrize("name", ["gone", "folder", "text", "liar", "crash"])
def test_what_is_no_python_is_named_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("hello")
    for script, body in (("liar", "echo '{}'"), ("crash", "kill -SEGV $$")):
        path = tmp_path / script
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)
    with pytest.raises(InputError) as caught:
        take(python=str(tmp_path / name))
    assert str(tmp_path / name) in caught.value.message
    assert "\n" not in caught.value.message and caught.value.exit_code == 2


def test_a_hanging_python_is_given_up_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target, "ASK_LIMIT_S", 0.3)
    script = tmp_path / "hang"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nsleep 60\n")
    script.chmod(0o755)
    with pytest.raises(IncompleteError) as caught:
        take(python=str(script))
    assert str(script) in caught.value.message and caught.value.exit_code == 3
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": "/no/such"},
        {"root": "/no/such"},
        {"root": "/", "python": "python3"},
        {"prefix": "/", "python": "python3"},
        {"root": __file__},
        {"prefix": __file__},
        {"prefix": ""},
        {"python": " "},
    ],
)
def test_places_that_do_not_fit_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(InputError):
        take(**options)  # type: ignore[arg-type]


def test_the_root_of_another_process_is_not_taken_for_our_own() -> None:
    """What /proc/<pid>/root links to reads "/", and yet it is another container's files."""
    context = make_context(root="/proc/self/root")
    assert context.rooted and not context.native
    assert context.read_text("/proc/version") == Path("/proc/version").read_text()


def test_names_compare_as_pep_503_says() -> None:
    assert normalize("Flash__Attn.X-y") == "flash-attn-x-y"


def test_no_package_under_diagnosis_is_imported(fresh_venv: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "import cuready.probe; cuready.probe.take(python=sys.argv[1])\n"
        "print([n for n in ('torch','tensorflow','jax','numpy','rich','httpx','jsonschema',"
        "'importlib.metadata') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(fresh_venv / "bin/python"),
         str(Path(target.__file__).parents[2])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"


def test_a_link_into_the_root_reaches_the_roots_own_python(tmp_path: Path) -> None:
    root = make_root(tmp_path)
    add_torch(add_python(root, prefix="/data/env"))
    link(root, "/opt/venv", "/data/env")
    torch = read(root, prefix="/opt/venv").python.torch
    assert torch and torch.path.startswith("/opt/venv/")

"""The environments of ``zoo.py``: ours to break, the peers' own home ground, and healthy ones.

A case of a peer's home ground is a fault that the peer's documentation claims to find, and the
command that it names for it. What needs a GPU or its driver cannot be made here and is not in it.
"""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


@dataclass
class Case:
    """An environment. ``names``: what the output of a tool that found the fault matches; None where
    nothing is broken. ``files`` says that the machine is only files (a snapshot). ``{home}`` in
    ``variables`` is the folder of the environment. ``ground``: whose documentation claims to find
    it. ``commands``: what a tool is run with instead of its usual arguments."""

    title: str
    names: str | None
    build: Callable[[Path], None] = field(default=lambda _site: None)
    variables: dict[str, str] = field(default_factory=dict)
    files: Path | None = None
    ground: str = "ours"
    commands: dict[str, list[str]] = field(default_factory=dict)


def install(site: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> None:
    """A distribution with METADATA and a RECORD of true sizes."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    need = "".join(f"Requires-Dist: {item}\n" for item in requires.split(",") if item)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (info / "METADATA").write_text(head + need)
    (info / "INSTALLER").write_text("pip\n")
    lines = []
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{path},sha256={digest.decode()},{len(text)}")
    (info / "RECORD").write_text("\n".join(lines) + "\n")


def torch(site: Path, version: str = "2.8.0+cpu", cuda: str = "None") -> None:
    body = (
        "from torch.version import __version__\n"
        "class cuda:\n"
        "    is_available = staticmethod(lambda: False)\n"
        "    device_count = staticmethod(lambda: 0)\n"
    )
    text = f"__version__ = {version!r}\ncuda = {cuda}\nhip = None\ngit_version = 'x'\n"
    install(site, "torch", version, {"torch/__init__.py": body, "torch/version.py": text})


def twins(site: Path) -> None:
    library = "nvidia/nccl/lib/libnccl.so.2"
    install(site, "nvidia-nccl-cu12", "2.27.3", {library: "twelve"})
    install(site, "nvidia-nccl-cu13", "2.28.3", {library: "and thirteen"})


def twin_removed(site: Path) -> None:
    twins(site)
    (site / "nvidia/nccl/lib/libnccl.so.2").unlink()
    info = site / "nvidia_nccl_cu12-2.27.3.dist-info"
    for path in info.iterdir():
        path.unlink()
    info.rmdir()


def half_upgraded(site: Path) -> None:
    torch(site)
    (site / "~orch").mkdir()
    (site / "~orch-2.7.0.dist-info").mkdir()


def two_versions(site: Path) -> None:
    install(site, "torch", "2.7.0", {})
    torch(site)


def mismatched(site: Path) -> None:
    torch(site)
    body = "__version__ = '0.22.0'\n"
    install(site, "torchvision", "0.22.0", {"torchvision/__init__.py": body}, "torch==2.7.0")


def numpy_two(site: Path) -> None:
    torch(site, "2.2.0+cpu")
    install(site, "numpy", "2.1.0", {"numpy/__init__.py": "__version__ = '2.1.0'\n"})


def local_torch(site: Path) -> None:
    torch(site)
    Path(site.parents[2] / "work/torch.py").write_text("print('mine')\n")


def two_runtimes(site: Path) -> None:
    for name in ("onnxruntime", "onnxruntime-gpu"):
        install(site, name, "1.22.0", {"onnxruntime/__init__.py": f"# {name}\n"})


def one_set(site: Path) -> None:
    install(site, "nvidia-nccl-cu12", "2.27.3", {"nvidia/nccl/lib/libnccl.so.2": "twelve"})


def toolkit(site: Path, version: str, gcc_max: int) -> Path:
    """A CUDA toolkit below ``opt``: version.json, an nvcc that says its version, the gcc bound."""
    home = site.parents[2] / f"opt/cuda-{version}"
    (home / "bin").mkdir(parents=True)
    (home / "lib64").mkdir()
    nvcc = home / "bin/nvcc"
    nvcc.write_text(
        "#!/bin/sh\necho 'nvcc: NVIDIA (R) Cuda compiler driver'\n"
        f"echo 'Cuda compilation tools, release {version}, V{version}.99'\n"
    )
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    part = '{"name": "x", "version": "%s.0"}' % version  # noqa: UP031 - braces of JSON
    (home / "version.json").write_text(f'{{"cuda": {part}, "cuda_nvcc": {part}}}')
    (home / "include/crt").mkdir(parents=True)
    bound = f"gcc versions later than {gcc_max} are not supported!"
    (home / "include/crt/host_config.h").write_text(f"#error -- unsupported GNU version! {bound}\n")
    for name in ("libcudart.so", f"libcudart.so.{version.partition('.')[0]}"):
        (home / "lib64" / name).write_text("")
    return home


def one_toolkit(site: Path) -> None:
    torch(site)
    toolkit(site, "12.4", 13)


def two_toolkits(site: Path) -> None:
    one_toolkit(site)
    toolkit(site, "11.8", 11)


def old_toolkit(site: Path) -> None:
    torch(site)
    toolkit(site, "11.8", 11)


def unimportable_torch(site: Path) -> None:
    torch(site)
    (site / "torch/__init__.py").write_text("from torch._C import nothing\n")


def cpu_dockerfile(site: Path) -> None:
    torch(site)
    text = (
        "FROM python:3.11-slim\nRUN pip install torch\nRUN apt-get install -y nvidia-driver-535\n"
    )
    (site.parents[2] / "work/Dockerfile").write_text(text)


def rapids_check(body: str) -> Callable[[Path], None]:
    def build(site: Path) -> None:
        text = f'def check(verbose=False, **_):\n    """The device library loads."""\n    {body}\n'
        install(site, "acme", "1.0", {"acme.py": text})
        (site / "acme-1.0.dist-info/entry_points.txt").write_text(
            "[rapids_doctor_check]\nacme_loads = acme:check\n"
        )

    return build


def fitting(site: Path) -> None:
    torch(site)
    install(site, "numpy", "2.1.0", {"numpy/__init__.py": "__version__ = '2.1.0'\n"})
    body = "__version__ = '0.23.0'\n"
    install(site, "torchvision", "0.23.0", {"torchvision/__init__.py": body}, "torch==2.8.0")


def recorded_id(path: Path) -> str | None:
    """``PY12`` of ``fault-py12-torchvision.json``."""
    kind, _, name = path.stem.partition("-")
    return None if kind == "healthy" else name.partition("-")[0].upper()


def _agree(version: str, nvcc: str = "") -> dict[str, str]:
    """CUDA_HOME of one toolkit, PATH with the nvcc of the same or of another one."""
    path = f"{{home}}/opt/cuda-{nvcc or version}/bin:{os.environ['PATH']}"
    return {"CUDA_HOME": f"{{home}}/opt/cuda-{version}", "PATH": path}


def _home_ground() -> list[Case]:
    """Faults that the peers' documentation names, with the commands that it names."""
    detailed = {"env-doctor": ["cuda-info"]}
    return [
        Case("CUDA_HOME leads nowhere",  # cuda-doctor: CUDA003
             r"(?i)CUDA_HOME[^\n]*(n.t exist|not exist|invalid|not there|no such|missing|names)",
             torch, {"CUDA_HOME": "/nowhere/cuda-12.4"}, ground="cuda-doctor", commands=detailed),
        Case("nvcc of another toolkit than CUDA_HOME",  # cuda-doctor: CUDA006, D001
             r"(?i)resolution conflict|nvcc[^\n]*(differ|disagree|another|mismatch|conflict)"
             r"|CUDA_HOME[^\n]*(differ|disagree|another|mismatch|conflict)",
             two_toolkits, _agree("12.4", "11.8"), ground="cuda-doctor", commands=detailed),
        Case("gcc 12 under CUDA 11.8, which takes 11",  # cuda-doctor: CMP002
             r"(?i)gcc[^\n]*(not support|unsupported|newer|outside|later than|up to|at most)",
             old_toolkit, _agree("11.8"), ground="cuda-doctor"),
        Case("two CUDAs in LD_LIBRARY_PATH",  # cuda-doctor: ENV003
             r"(?i)LD_LIBRARY_PATH[^\n]*(conflict|several|two|multiple|mix|more than one)",
             two_toolkits,
             {"LD_LIBRARY_PATH": "{home}/opt/cuda-11.8/lib64:{home}/opt/cuda-12.4/lib64"},
             ground="cuda-doctor"),
        Case("torch cannot be imported",  # cuda-doctor: TORCH002
             r"(?i)(torch[^\n]*(cannot|could not|fail\w*)[^\n]*import|import[^\n]*torch[^\n]*fail"
             r"|No module named .torch\._C)",
             unimportable_torch, ground="cuda-doctor"),
        Case("a Dockerfile that cannot use a GPU",  # env-doctor: dockerfile
             r"(?i)base image[^\n]*(gpu|cuda)|driver[^\n]*(container|Dockerfile)",
             cpu_dockerfile, ground="env-doctor",
             commands={"env-doctor": ["dockerfile", "Dockerfile"]}),
        Case("a RAPIDS check of a package fails",  # rapids-cli: its plugins
             r"(?i)acme[^\n]*fail|librmm is broken",
             rapids_check("raise ValueError('librmm is broken')"), ground="rapids-cli",
             commands={"rapids-cli": ["doctor", "acme"]}),
    ]  # fmt: skip


def cases() -> list[Case]:
    recorded = sorted((HERE / "tests/data/zoo").glob("*.json"))
    return [
        Case("healthy: nothing installed", None),
        Case("healthy: a CPU torch, no GPU", None, torch),
        Case("healthy: one set of CUDA wheels", None, one_set),
        Case("healthy: torch, torchvision, NumPy that fit", None, fitting),
        Case("healthy: one CUDA toolkit, all agree", None, one_toolkit, _agree("12.4"), ground="-"),
        Case("healthy: a RAPIDS check that passes", None, rapids_check("return True"),
             commands={"rapids-cli": ["doctor", "acme"]}),
        *_home_ground(),
        Case("the twin of a CUDA wheel was uninstalled",
             r"libnccl\.so\.2|nccl-cu13\b.*(missing|not there)", twin_removed),
        Case("two CUDA wheels own one library",
             r"nccl-cu12.*nccl-cu13|nccl-cu13.*nccl-cu12", twins),
        Case("an interrupted upgrade of torch", r"~orch|interrupted|leftover", half_upgraded),
        Case("torch twice in one environment",
             r"2\.7\.0.*2\.8\.0|2\.8\.0.*2\.7\.0|twice|duplicate", two_versions),
        Case("torchvision for another torch", r"torchvision.*(2\.7|mismatch|incompat)", mismatched),
        Case("NumPy 2 under torch 2.2", r"(?i)numpy.*(abi|<\s*2|incompat|1\.x)", numpy_two),
        Case("a torch.py in the working folder", r"work/torch\.py|shadow", local_torch),
        Case("onnxruntime beside onnxruntime-gpu",
             r"onnxruntime-gpu.*onnxruntime|both", two_runtimes),
        Case("a misspelt variable", r"CUDA_VISABLE_DEVICES", torch, {"CUDA_VISABLE_DEVICES": "0"}),
        *[Case(f"recorded: {path.stem}", recorded_id(path), files=path) for path in recorded],
    ]  # fmt: skip

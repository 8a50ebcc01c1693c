"""`cuready doctor` and its peers over the same broken and healthy environments: who finds what.

    python benchmarks/zoo.py --install-peers build/peers

Each environment is a real venv of this interpreter, made here of small packages: stand-ins with the
names, versions and files of the real ones, so that only what is wrong is wrong. Every tool runs in
the environment itself, by its Python: a peer's own packages are put behind the environment's.

A tool *finds* a fault when its output names it (the words are below, and generous); it is *wrong*
when it ends with an error or a traceback where nothing is broken. Machines that exist only as files
are nothing a peer can look at, and are counted for nobody.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cuready

HERE = Path(__file__).resolve().parent.parent
CUREADY = str(Path(cuready.__file__).resolve().parent.parent)
LIMIT_S = 120

# name -> (distribution on PyPI, module and function of its command, arguments)
PEERS = {
    "env-doctor": ("env-doctor", "env_doctor.cli", "main", ["check"]),
    "cuda-doctor": ("cuda-doctor", "cuda_doctor.cli", "main", ["diagnose"]),
    "rapids-cli": ("rapids-cli", "rapids_cli.cli", "rapids", ["doctor", "--verbose"]),
}


@dataclass
class Case:
    """An environment. ``names``: what the output of a tool that found the fault matches; None where
    nothing is broken. ``files`` says that the machine is only files (a snapshot)."""

    title: str
    names: str | None
    build: Callable[[Path], None] = field(default=lambda _site: None)
    variables: dict[str, str] = field(default_factory=dict)
    files: Path | None = None


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


def recorded_id(path: Path) -> str | None:
    """``PY12`` of ``fault-py12-torchvision.json``."""
    kind, _, name = path.stem.partition("-")
    return None if kind == "healthy" else name.partition("-")[0].upper()


def cases() -> list[Case]:
    recorded = sorted((HERE / "tests/data/zoo").glob("*.json"))
    return [
        Case("healthy: nothing installed", None),
        Case("healthy: a CPU torch, no GPU", None, torch),
        Case("healthy: one set of CUDA wheels", None, one_set),
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


def run(command: list[str], folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    env = {
        **os.environ,
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "no answer"
    return done.returncode, done.stdout + done.stderr


def ours(python: str, case: Case) -> list[str]:
    start = [sys.executable, "-m", "cuready", "doctor", "-v"]
    return [*start, "--from", str(case.files)] if case.files else [*start, "--python", python]


def theirs(python: str, peers: Path, name: str) -> list[str] | None:
    """The peer in the environment's own interpreter, its packages behind the environment's."""
    _, module, function, arguments = PEERS[name]
    site = next((peers / name).glob("lib/python3*/site-packages"), None)
    if site is None or not (site / module.partition(".")[0]).is_dir():
        return None
    code = (
        f"import sys; sys.path.append({str(site)!r}); sys.argv = {[name, *arguments]!r};"
        f"from {module} import {function} as run; sys.exit(run())"
    )
    return [python, "-c", code]


def judge(case: Case, code: int, output: str) -> str:
    if case.names is None:
        return "wrong: traceback" if "Traceback" in output else "WRONG" if code else "quiet"
    if re.search(case.names, output, re.DOTALL if len(output) < 4000 else 0):
        return "finds"
    return "traceback" if "Traceback" in output else "misses"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, default=HERE / "build/peers", help="where the peers' venvs are"
    )
    parser.add_argument(
        "--install-peers", type=Path, metavar="DIR", help="install them there first"
    )
    parser.add_argument("--show", metavar="TITLE", help="print every tool's output on one case")
    options = parser.parse_args()
    peers = options.install_peers or options.peers
    if options.install_peers:
        for name, (distribution, *_) in PEERS.items():
            venv.create(peers / name, with_pip=True)
            pip = [str(peers / name / "bin/python"), "-m", "pip", "install", "-q", distribution]
            subprocess.run(pip, check=True, timeout=600)
    rows: list[tuple[str, list[str]]] = []
    for case in cases():
        if options.show and options.show not in case.title:
            continue
        rows.append((case.title, one_case(case, peers, show=bool(options.show))))
    report(rows)
    return 0


def one_case(case: Case, peers: Path, *, show: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "venv"
        if case.files is None:
            venv.create(folder, symlinks=True)
        work = Path(name) / "venv/work"
        work.mkdir(parents=True)
        python = str(folder / "bin/python")
        if case.files is None:
            case.build(next(folder.glob("lib/python3*/site-packages")))
        results = []
        for tool in ("cuready", *PEERS):
            command = ours(python, case) if tool == "cuready" else theirs(python, peers, tool)
            if tool != "cuready" and case.files is not None:
                results.append("n/a")
                continue
            if command is None:
                results.append("not installed")
                continue
            own = {"PYTHONPATH": CUREADY} if tool == "cuready" else {"PYTHONPATH": ""}
            code, output = run(command, work, {**own, **case.variables})
            if show:
                print(f"--- {tool} ended with {code}\n{output}")
            results.append(judge(case, code, output))
        return results


def report(rows: list[tuple[str, list[str]]]) -> None:
    tools = ["cuready", *PEERS]
    print(f"{'':48}" + "".join(f"{tool:>18}" for tool in tools))
    for title, results in rows:
        print(f"{title[:47]:48}" + "".join(f"{item:>18}" for item in results))
    for label, words in (
        ("found", ("finds",)),
        ("wrong on healthy ones", ("WRONG", "wrong: traceback")),
    ):
        counts = []
        for place in range(len(tools)):
            column = [results[place] for _, results in rows]
            asked = [x for x in column if x not in ("n/a", "not installed")]
            of = [x for x in asked if (x in ("finds", "misses", "traceback")) == (label == "found")]
            counts.append(f"{sum(x in words for x in asked)} of {len(of)}")
        print(f"{label:48}" + "".join(f"{item:>18}" for item in counts))


if __name__ == "__main__":
    raise SystemExit(main())

"""Unpacks what the GPU suite runs on: Python packages, cuready itself, TensorRT libraries, plans.

A folder may hold, each optional and in any number of calls:

    cuready-*.whl                       this project; else it is built from these sources
    *.whl                               Python packages that the machine lacks (pytest, psutil, …)
    tensorrt_lean_cu*_libs-*.whl        lean libraries
    tensorrt_lean_cu*_bindings-*.whl    NVIDIA's Python binding: the peer B1
    nvinfer-10.6.so.xz                  a full library, packed; nvinfer_plugin-10.6.so.xz beside it
    nvinfer_builder_resource-10.6.so.xz, nvonnxparser-10.6.so.xz, tensorrt_cu12_bindings-*.whl
                                        what the builder of a full library needs, too
    builder-8.6.tar.xz                  a binding that this Python cannot import: bin/python3 that
                                        can, site/tensorrt, site/click
    10.6/libnvinfer.so.10               the same, unpacked
    engines/manifest.json               plans that are too large for the repository
    NAME.part00 NAME.part01 … NAME.sha256   any of these files in pieces
"""

from __future__ import annotations

import hashlib
import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LEAN = re.compile(r"tensorrt_lean_cu\d+_libs-(\d+\.\d+)")
BINDING = re.compile(r"tensorrt_lean_cu\d+_bindings-(\d+\.\d+)")
BUILDER = re.compile(r"tensorrt_cu\d+_bindings-(\d+\.\d+)")
BUILDER_FOLDER = re.compile(r"builder-(\d+\.\d+)\.tar\.xz$")
PACKED = re.compile(
    r"(nvinfer|nvinfer_plugin|nvonnxparser|nvparsers|nvinfer_builder_resource(?:_\w+)?)"
    r"-(\d+)\.(\d+)(\.\d+)?\.so(\.xz)?$"
)


class Workplace:
    """The folder in which everything is unpacked; it outlives one call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.libraries = folder / "libraries"
        self.engines = folder / "engines"
        self.b1 = folder / "b1"
        self.builder = folder / "builder"
        self.built = folder / "built"
        self.native = folder / "native"
        self.results = folder / "results"
        self.pieces = folder / "pieces"
        self.arrived = folder / "arrived"
        for path in (self.site, self.libraries, self.engines, self.results):
            path.mkdir(parents=True, exist_ok=True)

    def library(self, release: str) -> Path | None:
        """``library("10.6")`` or ``library("lean-11.4")``; None when it was not given."""
        pattern = "libnvinfer_lean.so*" if release.startswith("lean-") else "libnvinfer.so*"
        found = sorted((self.libraries / release).rglob(pattern))
        return found[0] if found else None


def prepare(work: Workplace, source: Path | None, *, installed: bool) -> list[str]:
    """Unpack what ``source`` holds and what is missing; returns what went wrong, one line each."""
    problems: list[str] = []

    def attempt(what: str, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:
            detail = getattr(error, "stderr", None) or error
            problems.append(f"{what}: {' '.join(str(detail).split())[-400:]}")

    if source is not None:
        attempt("pieces", lambda: join_pieces(work, source))
        for folder in (source, work.arrived):
            unpack_folder(work, folder, attempt)
    if not installed:
        attempt("cuready", lambda: install_cuready(work, source))
    attempt("the benchmark's native part", lambda: build_native(work))
    attempt("B1's link to the full library", lambda: link_b1(work))
    return problems


def unpack_folder(
    work: Workplace, folder: Path, attempt: Callable[[str, Callable[[], None]], None]
) -> None:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix == ".whl":
            attempt(path.name, partial(unpack_wheel, work, path))
        elif match := PACKED.match(path.name):
            name, major, minor, patch, packed = match.groups()
            # TensorRT asks for the builder's kernels by the whole version of its own release.
            whole = f"{major}.{minor}{patch or '.0'}"
            suffix = whole if name.startswith("nvinfer_builder_resource") else major
            target = work.libraries / f"{major}.{minor}" / f"lib{name}.so.{suffix}"
            action = unpack_xz if packed else link_file
            attempt(path.name, partial(action, path, target))
        elif match := BUILDER_FOLDER.match(path.name):
            target = work.builder / match[1]
            attempt(path.name, partial(unpack_tar, path, target))
        elif path.is_dir() and re.fullmatch(r"\d+\.\d+", path.name):
            attempt(path.name, partial(link_folder, path, work.libraries / path.name))
    if (folder / "engines" / "manifest.json").is_file():
        attempt(
            "engines",
            lambda: shutil.copytree(folder / "engines", work.engines, dirs_exist_ok=True) and None,
        )


def join_pieces(work: Workplace, source: Path) -> None:
    """Files that travelled in pieces are put together once all of them are here."""
    work.pieces.mkdir(exist_ok=True)
    work.arrived.mkdir(exist_ok=True)
    for path in source.glob("*.part[0-9]*"):
        shutil.copy(path, work.pieces)
    for sums in source.glob("*.sha256"):
        shutil.copy(sums, work.pieces)
    for sums in work.pieces.glob("*.sha256"):
        target = work.arrived / sums.stem
        if target.exists():
            continue
        digest, part = hashlib.sha256(), target.with_suffix(".joining")
        with part.open("wb") as joined:
            for piece in sorted(work.pieces.glob(f"{sums.stem}.part[0-9]*")):
                digest.update(data := piece.read_bytes())
                joined.write(data)
        if digest.hexdigest() == sums.read_text(encoding="utf-8").split()[0]:
            part.rename(target)
        else:
            part.unlink()  # some pieces are still to come


def unpack_xz(path: Path, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".unpacking")
    with part.open("wb") as out:
        if shutil.which("xz"):  # on all processors, where the file has several blocks
            subprocess.run(["xz", "-T0", "-dc", str(path)], check=True, stdout=out, timeout=300)
        else:
            with lzma.open(path) as packed:
                shutil.copyfileobj(packed, out, 1 << 20)
    part.rename(target)


def unpack_tar(path: Path, target: Path) -> None:
    if target.is_dir():
        return
    part = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    subprocess.run(["tar", "-xJf", str(path), "-C", str(part)], check=True, capture_output=True,
                   text=True, timeout=120)  # fmt: skip
    part.rename(target)


def link_folder(source: Path, target: Path) -> None:
    for path in source.glob("*.so*"):
        link_file(path, target / path.name)


def link_file(path: Path, link: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path.resolve())


def unpack_wheel(work: Workplace, wheel: Path) -> None:
    if wheel.name.startswith("cuready-"):
        return  # install_cuready() decides
    if match := LEAN.match(wheel.name):
        target = work.libraries / f"lean-{match[1]}"
    elif BINDING.match(wheel.name):
        target = work.b1
    elif match := BUILDER.match(wheel.name):
        target = work.builder / match[1] / "site"
    else:
        install_package(work, wheel)
        return
    if not target.is_dir():
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)


def install_package(work: Workplace, wheel: Path) -> None:
    """A package that the machine lacks; what it has already is left as it is."""
    module = wheel.name.split("-", maxsplit=1)[0]
    stamp = work.site / f".{wheel.name}"
    if stamp.exists() or importlib.util.find_spec(module) is not None:
        return
    pip("install", "--no-index", "--no-deps", "--target", str(work.site), str(wheel))
    stamp.touch()


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=420)


def install_cuready(work: Workplace, source: Path | None) -> None:
    """From a wheel for this interpreter, else from these sources with CMake and pybind11."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}"
    wheels = sorted(source.glob(f"cuready-*-{tag}-*.whl")) if source else []
    target = work.site / "cuready"
    if wheels:
        stamp = target / f".{wheels[-1].name}.{wheels[-1].stat().st_size}"
        if stamp.exists():
            return
        shutil.rmtree(target, ignore_errors=True)
        pip("install", "--no-index", "--no-deps", "--upgrade", "--target", str(work.site),
            str(wheels[-1]))  # fmt: skip
        stamp.touch()
        return
    build_cuready(work)


def build_cuready(work: Workplace) -> None:
    build = work.folder / "build"
    environment = {**os.environ, "PYTHONPATH": f"{work.site}:{os.environ.get('PYTHONPATH', '')}"}
    pybind11 = subprocess.run(
        [sys.executable, "-m", "pybind11", "--cmakedir"],
        check=True, capture_output=True, text=True, env=environment, timeout=60,
    ).stdout.strip()  # fmt: skip
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), *generator,
                 "-DCMAKE_BUILD_TYPE=Release", "-DCUREADY_PYTHON=ON",
                 f"-DPython_EXECUTABLE={sys.executable}", f"-Dpybind11_DIR={pybind11}"]  # fmt: skip
    compile_ = ["cmake", "--build", str(build), "--target", "_core", "--parallel",
                str(min(16, os.cpu_count() or 1))]  # fmt: skip
    for command in (configure, compile_):
        done = subprocess.run(command, capture_output=True, text=True, env=environment,
                              timeout=420, check=False)  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed: {(done.stdout + done.stderr)[-1500:]}")
    target = work.site / "cuready"
    shutil.copytree(ROOT / "python" / "cuready", target, dirs_exist_ok=True)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    shutil.copy(build / "cpp" / "bindings" / f"_core{suffix}", target)


def build_native(work: Workplace) -> None:
    script = ROOT / "benchmarks" / "native" / "build.sh"
    subprocess.run(["sh", str(script), str(work.native)], check=True, capture_output=True,
                   text=True, timeout=120)  # fmt: skip


def link_b1(work: Workplace) -> None:
    """The lean binding drives the full library through a link beside it, which its RPATH finds."""
    full, package = work.library("10.6"), work.b1 / "tensorrt_lean_bindings"
    if full is None or not package.is_dir():
        return
    link = package / "libnvinfer_lean.so.10"
    link.unlink(missing_ok=True)
    link.symlink_to(full.resolve())

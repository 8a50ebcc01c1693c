"""What `engine build` calls is there in NVIDIA's own Python bindings of every TensorRT major.

The bindings are the real ones from PyPI; the libraries under them, hundreds of MB, are not: small
ones stand in their place so that the bindings can be imported and looked at.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from cuready.selftest import builder_child

pytestmark = pytest.mark.network
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
BINDINGS = {
    "8.6.1": "tensorrt-bindings==8.6.1",
    "10.6.0.post1": "tensorrt-cu12-bindings==10.6.0.post1",
    "11.4.0.106": "tensorrt-cu13-bindings==11.4.0.106",
}
if sys.version_info >= (3, 12):
    del BINDINGS["8.6.1"]  # its last bindings are for Python 3.11
if sys.version_info >= (3, 13):
    del BINDINGS["10.6.0.post1"]  # its last bindings are for Python 3.12
# Names in builder_child → the class of NVIDIA's that they hold. `trt` is the package.
CLASSES = {"config": "IBuilderConfig", "network": "INetworkDefinition", "builder": "Builder",
           "parser": "OnnxParser", "profile": "IOptimizationProfile"}  # fmt: skip
OURS = re.compile(r"nv|Nv|Infer|Plugin")


def needed_names() -> dict[str, set[str]]:
    """Class (or "": the package) → attributes that builder_child reads without looking first."""
    found: dict[str, set[str]] = {}
    tree = ast.parse(Path(builder_child.__file__).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = getattr(owner, "attr", None) or getattr(owner, "id", None)  # self.trt, or trt
        if name == "trt":
            found.setdefault("", set()).add(node.attr)
        elif name in CLASSES and isinstance(owner, ast.Name):
            found.setdefault(CLASSES[name], set()).add(node.attr)
    # Looked for with hasattr() before they are used.
    for name, attribute in (("IBuilderConfig", "progress_monitor"), ("", "IProgressMonitor"),
                            ("", "init_libnvinfer_plugins"), ("", "__version__")):  # fmt: skip
        found.get(name, set()).discard(attribute)
    return found


def stand_ins(module: Path, folder: Path) -> None:
    """Libraries of the names that ``module`` needs, whose functions all return null."""
    with module.open("rb") as file:
        elf = ELFFile(file)
        libraries = [
            tag.needed for tag in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
        ]
        names = {
            symbol.name for symbol in elf.get_section_by_name(".dynsym").iter_symbols()
            if symbol["st_shndx"] == "SHN_UNDEF" and OURS.search(symbol.name)
        }  # fmt: skip
    source = folder / "null.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(names)))
    for library in libraries:
        if library.startswith("libnv"):
            subprocess.run(["cc", "-shared", "-fPIC", source, f"-Wl,-soname,{library}",
                            "-o", folder / library], check=True)  # fmt: skip


@pytest.fixture(params=BINDINGS)
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, pypi_unpacked: Callable[..., Path]
) -> tuple[str, dict[str, str]]:
    """The release, and the environment of a process that can import its bindings."""
    site = pypi_unpacked(BINDINGS[request.param], PYTHON)
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    stand_ins(site / "tensorrt_bindings" / "tensorrt.so", libraries)
    return request.param, {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": str(site),
    }


def test_the_child_reads_names_at_all() -> None:
    names = needed_names()
    assert {"Builder", "OnnxParser", "ILogger"} <= names[""]
    assert {"set_flag", "add_optimization_profile"} <= names["IBuilderConfig"]
    assert set(names) == {"", *CLASSES.values()}


def test_every_name_that_the_builder_uses_is_in_the_bindings(
    environment: tuple[str, dict[str, str]],
) -> None:
    release, variables = environment
    names = {key: sorted(value) for key, value in needed_names().items()}
    program = (
        "import json, sys, tensorrt_bindings as trt\n"
        "wanted = json.load(sys.stdin)\n"
        "missing = [f'{owner}.{name}' for owner, names in wanted.items() for name in names\n"
        "           if not hasattr(getattr(trt, owner) if owner else trt, name)]\n"
        "print(json.dumps([trt.__version__, missing]))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=json.dumps(names), env=variables,
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    version, missing = json.loads(done.stdout)
    assert version == release
    assert missing == []


@pytest.mark.skipif("10.6.0.post1" not in BINDINGS, reason="10.6 has no bindings for this Python")
def test_what_was_recorded_of_a_binding_is_what_it_has(
    tmp_path: Path, pypi_unpacked: Callable[..., Path]
) -> None:
    """The unit tests build on the recorded names: here they are read again from 10.6's binding."""
    site = pypi_unpacked(BINDINGS["10.6.0.post1"], PYTHON)
    stand_ins(site / "tensorrt_bindings" / "tensorrt.so", tmp_path)
    folder, out = Path(__file__).parents[2] / "data" / "tensorrt", tmp_path / "bindings.json"
    subprocess.run([sys.executable, folder / "record_bindings.py", out,
                    f"10.6={sys.executable}:tensorrt_bindings:{site}:{tmp_path}"],
                   check=True, timeout=60)  # fmt: skip
    recorded, again = (
        json.loads(path.read_text(encoding="utf-8"))["releases"]["10.6"]["names"]
        for path in (folder / "bindings.json", out)
    )
    assert again == recorded

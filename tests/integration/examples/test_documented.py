"""Every command of the documentation is one that works, and what it says of the examples is there.

The lines of a page's ```console blocks are run in one shell, in order, as a reader would: in a home
of its own, on the simulated GPU and TensorRT, with the only mirror on 127.0.0.1. Three tables say
what differs: what is run in another form, what may end with another status than 0, and what is not
run at all, with the reason and what is checked instead. A row that no page needs fails.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from packaging.requirements import Requirement
from runtime_sim import SimLibraries, plans
from tests.integration.examples import console, made_up_index
from tests.integration.examples.console import ROOT, Command, Ran

from cuready._util import tomllib
from cuready.cli.main import COMMANDS

EVERY = list(console.commands())
PAGES = sorted({command.page for command in EVERY})
EMBED, GPU_SUITE = "docs/how-to/embed.md", "docs/how-to/run-the-gpu-suite.md"
TORCH = "examples/torch_project/README.md"
WEIGHTS, WHY = "docs/how-to/weights.md", "docs/how-to/why.md"
RTX = "1.7.1.116"
EXTENSION = sysconfig.get_config_var("EXT_SUFFIX")
FOR_WHAT = "--cuda 12.9 --capability 8.6"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


PORT, OTHER_PORT = free_port(), free_port()

# Page, what stands there, what is run instead, why.
CHANGED: list[tuple[str, str, str, str]] = [
    ("docs/how-to/selftest.md", "--long 30", "--long 0.02", "a soak of a second"),
    ("docs/how-to/environments.md", "create pytorch", f"create pytorch {FOR_WHAT}",
     "no driver is here to ask: the options that its refusal names"),
    (EMBED, "uvicorn --app-dir", f"uvicorn --port {PORT} --app-dir", "8000 may be taken"),
    (EMBED, "granian --interface", f"granian --port {OTHER_PORT} --interface", "8000 is taken"),
    (EMBED, "127.0.0.1:8000", f"127.0.0.1:{PORT}", "8000 may be taken"),
    (EMBED, "--seconds 60", "--seconds 2", "a minute of load proves no more"),
    (EMBED, "live.py model.plan", "live.py model.plan --frames 3", "nobody closes the window"),
    (TORCH, "--epochs 6", "--epochs 1", "training is tested elsewhere"),
    (TORCH, "--epochs 12", "--epochs 2", "training is tested elsewhere"),
]  # fmt: skip

# What `cuready doctor` may find on the machine that runs the tests is not ours to say.
OTHER_CODES: dict[str, tuple[int, ...]] = {
    "cuready doctor": (0, 1), "cuready doctor -v": (0, 1), "cuready fix": (0, 1),
    "cuready doctor --from machine.json": (0, 1),
}  # fmt: skip


def run_by_ci(line: str) -> None:
    """The line is one that .ci/run takes out of the README and runs as it stands."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (name,) = re.findall(rf"<!-- ci: (\w+) -->\n```console\n\$ {re.escape(line)}\n", readme)
    assert f"readme_command {name})" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def installs(line: str) -> None:
    """pip would understand it, and our extras that it names exist."""
    extras = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    )
    words = shlex.split(line.rpartition("pip install ")[2])
    assert words
    if words[0] == "-r":
        text = (ROOT / "examples" / "torch_project" / words[1]).read_text(encoding="utf-8")
        words = [bare for row in text.splitlines() if (bare := without_comment(row))]
    for word in words:
        if word == "-e":
            continue
        wanted = Requirement(word.replace(".[", "cuready[", 1))
        assert wanted.name != "cuready" or wanted.extras <= extras, word


SCRIPTS = {
    "ci/gpu.sh": "gpu_suite",
    "ci/gpu_selftest.sh": "gpu_selftest",
    "ci/gpu_web.sh": "gpu_web",
}


def parses_its_own_arguments(line: str) -> None:
    """The script is there, and the parser of its Python part takes the arguments."""
    script, *arguments = shlex.split(line)
    assert (ROOT / script).is_file()
    arguments = [str(ROOT) if word == "DIR" else word for word in arguments]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "ci")
        patch.setattr(sys, "argv", [script, *arguments])
        importlib.import_module(SCRIPTS[script]).parse()


def is_a_command(line: str) -> None:
    """Click takes every option and argument, and would then run it. A name alone is a mention."""
    words = shlex.split(line, comments=True)
    assert words.pop(0) == "cuready"
    if not words or words[0].startswith("-"):
        assert words in ([], ["--help"], ["--version"])
        return
    module, attribute, _ = COMMANDS[words[0]]
    command: click.Command = getattr(importlib.import_module(f"cuready.cli.{module}"), attribute)
    rest = words[1:]
    while isinstance(command, click.Group) and rest:
        command = command.commands[rest.pop(0)]
    if not rest:
        return
    for word in rest:  # files and folders that a reader would have
        if re.fullmatch(r"[\w./]+\.\w+|FILE|A|B", word):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
        elif word in ("DIR", "PREFIX"):
            Path(word).mkdir(exist_ok=True)
    command.make_context(words[0], rest)


def mentioned_in(file: str, *words: str) -> Callable[[str], None]:
    def check(line: str) -> None:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert all(word in text for word in words), f"{file} no longer has {words}"

    return check


DOWNLOADS_MUCH = "downloads hundreds of MB from their publishers"
NEEDS_GPU = "runs for minutes on a machine with a GPU"
NEEDS_INDEX = "installs from the package index, where cuready itself is not"
# Page, the line as it stands, why it is not run, what is checked instead.
NOT_RUN: list[tuple[str, str, str, Callable[[str], None]]] = [
    ("README.md", "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/cuready doctor",
     "the run of all tests begins with it", run_by_ci),
    ("README.md", ".venv/bin/pip install '.[test]' && .venv/bin/python -m pytest",
     "it is the run of all tests", run_by_ci),
    ("CONTRIBUTING.md", "python3 -m venv .venv && .venv/bin/pip install -e '.[test]'",
     "it would compile everything again", installs),
    ("CONTRIBUTING.md", ".venv/bin/python -m pytest tests/unit",
     "part of the run of all tests", mentioned_in("pyproject.toml", 'testpaths = ["tests/unit"')),
    (EMBED, "pip install 'cuready[runtime]' 'uvicorn[standard]'", NEEDS_INDEX, installs),
    (EMBED, "pip install 'cuready[runtime]' granian uvloop", NEEDS_INDEX, installs),
    (EMBED, "pip install 'cuready[runtime]' PySide6-Essentials", NEEDS_INDEX, installs),
    *((WEIGHTS, f"cuready weights fetch {words}", DOWNLOADS_MUCH, is_a_command) for words in (
        "https://download.pytorch.org/models/resnet18-f37072fd.pth",
        "https://huggingface.co/openai-community/gpt2/resolve/main/model.safetensors",
        "https://github.com/deepinsight/insightface/releases/download/v0.7/buffalo_l.zip",
        "https://example.org/my-model.bin --for ./models --sha256 HEX", "list.txt --for ./models")),
    *((GPU_SUITE, one.text, NEEDS_GPU, parses_its_own_arguments)
      for one in EVERY if one.page == GPU_SUITE and one.text.startswith("ci/gpu")),
    (TORCH, "pip install -r requirements.txt", "installs torch, some GB", installs),
    (TORCH, "cuready engine build runs/model.onnx -o runs/model.plan "
     "--min x=1x16 --opt x=32x16 --max x=256x16",
     "the next line needs a plan of the full TensorRT, which builds on a GPU", is_a_command),
    (TORCH, "python compare.py", "needs that plan",
     mentioned_in("tests/integration/examples/test_torch_project.py", 'project("compare.py"')),
]  # fmt: skip


def without_comment(line: str) -> str:
    """The line without what follows its ``#``."""
    return re.sub(r"(^|\s+)#( .*)?$", "", line)


def is_run(command: Command) -> bool:
    shown = re.sub(r"\s+", " ", without_comment(command.text))
    return not any(page == command.page and line == shown for page, line, *_ in NOT_RUN)


def as_run(command: Command) -> str:
    """The command in the form that is run."""
    line = without_comment(command.text)
    for page, shown, instead, _ in CHANGED:
        if page == command.page:
            line = line.replace(shown, instead)
    return line


# --- the reader's machine -------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path, libraries: SimLibraries) -> Iterator[dict[str, str]]:
    """Environment of a reader: a home, a simulated GPU and TensorRT, one mirror on 127.0.0.1."""
    home = tmp_path / "home"
    (home / ".config" / "cuready").mkdir(parents=True)
    hidden = (
        "CONDA",
        "PIP_",
        "UV_",
        "PIXI_",
        "RATTLER_",
        "XDG_",
        "VIRTUAL_ENV",
        "CUREADY_",
        "PYTHON",
    )
    kept = {
        name: value for name, value in os.environ.items()
        if not name.startswith(hidden) and not name.lower().endswith("_proxy")
    }  # fmt: skip
    plans.for_selftest(tmp_path / "selftest")
    index = tmp_path / "index"
    index.mkdir()
    with made_up_index.mirror(index) as catalogue:
        (home / ".config" / "cuready" / "mirrors.toml").write_text(catalogue)
        yield {
            **kept,
            "HOME": str(home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]]),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            "CUREADY_LIBCUDA": str(libraries.driver),
            "CUREADY_TENSORRT": str(libraries.tensorrt("10.6")),
            "CUREADY_SIM_DEVICES": "Simulated H100:9.0:256",
            "CUREADY_SELFTEST_PLANS": str(tmp_path / "selftest"),
            "CUREADY_CACHE_DIR": str(home / "cache"),
            "TEST_PYTHON": sys.executable,
            "QT_QPA_PLATFORM": "offscreen",
            "NO_COLOR": "1",
        }


def furnish(page: str, folder: Path) -> None:
    """The files that a page speaks of."""
    plan = plans.affine()
    if page == "docs/how-to/engines.md":
        shape, bounds = (-1, 3, 4, 4), (((1, 3, 4, 4), (2, 3, 4, 4), (8, 3, 4, 4)),)
        plan = plans.affine(shape=shape, profiles=bounds)
        picture(folder / "photo.jpg")
        model(folder / "model.onnx")
    if page == EMBED:
        shutil.copytree(ROOT / "examples", folder / "examples")
    if page == WHY:
        libraries_to_ask_about(folder, folder.parent / "home" / "envs" / "old")
    if page == TORCH:
        shutil.copytree(ROOT / "examples" / "torch_project", folder, dirs_exist_ok=True)
    (folder / "model.plan").write_bytes(plan)


def libraries_to_ask_about(folder: Path, other: Path) -> None:
    """Packages called torch and tensorrt with a module each, here and in another environment."""
    source = folder / "module.c"
    source.write_text(
        "void *PyInit__C(void) { return 0; }\nvoid *PyInit_tensorrt(void) { return 0; }\n"
    )
    (folder / "build").mkdir()
    library = folder / "build" / "my_extension.so"
    subprocess.run(["cc", "-shared", "-fPIC", source, "-o", library], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", other], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for site in (folder / "site", other / "lib" / version / "site-packages"):
        for name, inside in (("torch", f"_C{EXTENSION}"), ("tensorrt", "tensorrt.so")):
            (site / name).mkdir(parents=True)
            shutil.copy(library, site / name / inside)
            (site / name / "__init__.py").write_text("")


def picture(path: Path) -> None:
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(values).save(path)


def model(path: Path) -> None:
    """y = relu(x) over pictures, with an open batch."""
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x, y = (helper.make_tensor_value_info(name, kind, ["n", 3, 224, 224]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "small", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    onnx.save(made, path)


def parts(
    page: str, pypi_unpacked: Callable[..., Path], request: pytest.FixtureRequest
) -> list[Path]:
    """What a page's reader has installed beside cuready."""
    if page == "docs/how-to/engines.md":
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        return [pypi_unpacked(f"tensorrt-rtx-cu13-libs=={RTX}"),
                pypi_unpacked(f"tensorrt-rtx-cu13-bindings=={RTX}", python)]  # fmt: skip
    return [request.getfixturevalue("pyside")] if page == EMBED else []


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("page", [page for page in PAGES if any(
    is_run(command) for command in EVERY if command.page == page)])  # fmt: skip
def test_a_page_s_commands_work(
    page: str, machine: dict[str, str], tmp_path: Path,
    pypi_unpacked: Callable[..., Path], request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    folder = tmp_path / "reader"
    folder.mkdir()
    furnish(page, folder)
    if page == TORCH:  # Debian's python3 has torch, and its own numpy
        beside = tmp_path / "torch-python"
        beside.mkdir()
        (beside / "python").symlink_to(request.getfixturevalue("torch_python"))
        machine["PATH"] = f"{beside}:{machine['PATH']}"
    if page == WHY:
        machine["PYTHONPATH"] = str(folder / "site")
        machine["LD_LIBRARY_PATH"] = str(Path(machine["CUREADY_TENSORRT"]).parent)
    added = [str(part) for part in parts(page, pypi_unpacked, request)]
    machine["PYTHONPATH"] = os.pathsep.join([*added, *filter(None, [machine["PYTHONPATH"]])])
    lines = [as_run(command) for command in EVERY if command.page == page and is_run(command)]
    servers = {" uvicorn ": PORT, " granian ": OTHER_PORT}
    services = {line: port for line in lines for name, port in servers.items() if name in line}
    for ran in console.run_in_one_shell(lines, folder, machine, services):
        expected = OTHER_CODES.get(ran.text, (0,))
        assert ran.code in expected, f"$ {ran.text}\nexit {ran.code}\n{ran.output[-3000:]}"
        assert "Traceback" not in ran.output, f"$ {ran.text}\n{ran.output[-3000:]}"
        left_what_it_says(ran, folder)


def left_what_it_says(ran: Ran, folder: Path) -> None:
    """Files that a command was told to write are there."""
    for file in re.findall(r"(?:--output|--graph|-o) (?:y=)?([\w.]+\.\w+)", ran.text):
        assert (folder / file).stat().st_size > 0, f"$ {ran.text} left no {file}"


@pytest.mark.parametrize(
    ("page", "line", "reason", "check"), NOT_RUN, ids=lambda value: str(value)[:60]
)
def test_what_is_not_run_is_checked_as_far_as_it_can_be(
    page: str, line: str, reason: str, check: Callable[[str], None],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shown = {
        (command.page, re.sub(r"\s+", " ", without_comment(command.text))) for command in EVERY
    }
    assert (page, line) in shown, "no page says that any more"
    assert reason
    check(line)


@pytest.mark.parametrize(("page", "shown", "instead", "reason"), CHANGED)
def test_what_is_run_in_another_form_is_still_there(
    page: str, shown: str, instead: str, reason: str
) -> None:
    assert any(command.page == page and shown in command.text for command in EVERY)
    assert reason


def test_codes_other_than_0_are_expected_of_commands_that_are_there() -> None:
    assert set(OTHER_CODES) <= {without_comment(command.text) for command in EVERY}


def alone(line: str) -> str:
    """The command without what it is piped into, or who runs it."""
    return re.sub(r"\s[|>].*$", "", line).removeprefix("sudo ")


@pytest.mark.parametrize(
    "command",
    sorted(set(console.inline_commands()), key=lambda one: (one.page, one.text)),
    ids=lambda one: f"{one.page}:{one.text}"[:90],
)
def test_a_command_in_running_text_is_one_that_cuready_takes(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    is_a_command(alone(command.text))


def test_the_guide_names_every_example_and_no_other() -> None:
    guide = (ROOT / EMBED).read_text(encoding="utf-8")
    named = set(re.findall(r"\| `examples/(\w+)` \|", guide))
    there = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert named == there

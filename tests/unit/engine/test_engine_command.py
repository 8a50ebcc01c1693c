"""`cuready engine` on the simulated driver and TensorRT, in processes as a person starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from runtime_sim import SimLibraries, build, plans

from cuready.errors import InputError
from cuready.selftest.builder import readable
from cuready.selftest.building import profiles_from
from cuready.selftest.graph import picture
from cuready.selftest.inspection import layers_of

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def libraries() -> SimLibraries:
    return build()


@pytest.fixture
def engine(libraries: SimLibraries, tmp_path: Path) -> Command:
    (tmp_path / "affine.plan").write_bytes(plans.affine())
    (tmp_path / "picture.plan").write_bytes(plans.affine(shape=(1, 3, 4, 4), scale=1, bias=0))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = libraries.environment("10.6", PYTHONPATH=":".join(sys.path))
        return subprocess.run([sys.executable, "-m", "cuready", "engine", *arguments], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, timeout=60, check=False)  # fmt: skip

    return run


def test_info_names_the_builder_and_who_can_load_it(engine: Command) -> None:
    facts = json.loads(engine("info", "affine.plan", "--format", "json").stdout)
    assert facts["built_by"] == "10.6.0"
    assert facts["loads_here"] == facts["libraries"][0]["path"]


def test_info_of_another_version_says_why_not(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "old.plan").write_bytes(plans.affine(version="8.6.1"))
    done = engine("info", "old.plan")
    assert done.returncode == 0
    assert "built by TensorRT 8.6.1" in done.stdout
    assert "cannot:" in done.stdout


def test_info_of_something_else_is_wrong_usage(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "text.plan").write_text("hello, this is no plan at all, only some text")
    done = engine("info", "text.plan")
    assert done.returncode == 2
    assert "text.plan" in done.stderr
    assert "Traceback" not in done.stderr


DAMAGED = {
    "empty.plan": (b"", "empty.plan", 2),
    "short.plan": (plans.affine()[:20], "ends inside its header", 2),
    "cut.plan": (plans.affine()[:200], "cut short", 1),
    "text.plan": (b"hello, this is no plan at all, only some text", 'its tag is "hell"', 2),
    "packed.plan.xz": (b"\xfd7zXZ\0" + bytes(60), 'its tag is "?7zX"', 2),
}


def test_names_of_any_bytes_are_read_and_told(engine: Command, tmp_path: Path) -> None:
    """What the shell's completion gives for a name in Latin-1."""
    folder = os.fsdecode(b"caf\xe9")
    (tmp_path / folder).mkdir()
    name = f"{folder}/affine.plan"
    (tmp_path / name).write_bytes(plans.affine())
    facts = json.loads(engine("info", name, "--format", "json").stdout)
    assert (facts["path"], facts["built_by"]) == (name, "10.6.0")
    done = engine("run", "affine.plan", "--library", folder)
    assert done.returncode == 1
    assert "there is no TensorRT library at caf" in done.stderr
    (tmp_path / name).write_bytes(plans.affine()[:20])
    assert "ends inside its header" in engine("inspect", name).stderr


def test_a_library_that_was_named_and_is_none_is_told(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "libnvinfer.so.10").write_text("no library")
    done = engine("info", "affine.plan", "--library", "libnvinfer.so.10")
    assert "libnvinfer.so.10: cannot: not a shared library" in done.stdout
    (tmp_path / "empty").mkdir()
    done = engine("info", "affine.plan", "--library", "empty")
    assert "no TensorRT library at empty" in done.stdout


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("command", ["info", "inspect", "run", "bench"])
def test_what_is_no_whole_plan_is_refused_by_name(
    engine: Command, tmp_path: Path, command: str, name: str
) -> None:
    data, words, code = DAMAGED[name]
    (tmp_path / name).write_bytes(data)
    done = engine(command, name)
    said = done.stdout + done.stderr
    assert name in said
    assert words in said
    assert "Traceback" not in said
    assert done.returncode == (code if command == "info" else 2)


@pytest.mark.parametrize("command", ["info", "inspect", "run", "bench", "build"])
@pytest.mark.parametrize("name", ["missing.plan", "folder"])
def test_what_is_no_file_is_wrong_usage(
    engine: Command, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    done = engine(command, name)
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr


def test_a_build_never_writes_over_its_model(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "model.plan").write_bytes(b"the model")
    for arguments in (("model.plan",), ("model.plan", "-o", "./model.plan")):
        done = engine("build", *arguments)
        assert done.returncode == 2
        assert "is the model itself" in done.stderr
    assert (tmp_path / "model.plan").read_bytes() == b"the model"


def test_inspect_shows_tensors_profiles_and_draws(engine: Command, tmp_path: Path) -> None:
    done = engine("inspect", "affine.plan", "--graph", "layers.svg")
    assert "profile 0 x: 1x4 to 8x4, best 4x4" in done.stdout
    assert ET.parse(tmp_path / "layers.svg").getroot().tag.endswith("svg")


def test_run_takes_npy_and_gives_npy(engine: Command, tmp_path: Path) -> None:
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.save(tmp_path / "x.npy", x)
    done = engine("run", "affine.plan", "--input", "x=x.npy", "--output", "y=y.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), 2 * x + 1)


def test_run_takes_a_shape_and_zeros(engine: Command) -> None:
    done = engine(
        "run", "affine.plan", "--input", "x=zeros", "--shape", "x=3x4", "--format", "json"
    )
    (row,) = json.loads(done.stdout)["outputs"]
    assert (row["shape"], row["min"], row["max"]) == ([3, 4], 1.0, 1.0)


def test_run_reads_an_image(engine: Command, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (8, 8), (255, 0, 51)).save(tmp_path / "red.png")
    done = engine("run", "picture.plan", "--input", "x=red.png", "--output", "y=y.npy")
    assert done.returncode == 0, done.stderr
    channels = np.load(tmp_path / "y.npy").mean(axis=(0, 2, 3))
    np.testing.assert_allclose(channels, [1, 0, 0.2], atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "arguments", "words"),
    [
        ((16,), (), "holds no picture of 1 or 3 channels"),
        ((1, 2, 4, 4), (), "holds no picture of 1 or 3 channels"),
        ((1, 3, 4, 4), ("--mean", "0.5,0.5"), "--mean: 2 numbers, and the picture has 3 channels"),
        ((1, 3, 4, 4), ("--std", "0"), "--std: 0 divides nothing"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(
    engine: Command, tmp_path: Path, shape: tuple[int, ...], arguments: tuple[str, ...], words: str
) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGB", (8, 8)).save(tmp_path / "black.png")
    (tmp_path / "one.plan").write_bytes(plans.affine(shape=shape, profiles=()))
    done = engine("run", "one.plan", "--input", "x=black.png", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6, 3), (1, 1, 4, 6)])
def test_pictures_are_grey_or_have_their_channels_last_too(
    engine: Command, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    image = pytest.importorskip("PIL.Image")
    image.new("RGBA", (8, 8), (255, 255, 255, 0)).save(tmp_path / "white.png")
    (tmp_path / "one.plan").write_bytes(plans.affine(shape=shape, profiles=(), scale=1, bias=0))
    done = engine("run", "one.plan", "--input", "x=white.png", "--output", "y=y.npy")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--input", "z=zeros"), "no input 'z'"),
        (("--input", "x=there.npy"), "there.npy"),
        (("--input", "x=some.txt"), "x=some.txt"),
        (("--shape", "x=2xq"), "no shape"),
        (("--output", "q=a.npy"), "no output 'q'"),
        (("--input", "x"), "NAME="),
        (("--input", "x=text.npy"), "x=text.npy: no .npy file of numbers"),
        (("--mean", "a,b"), "--mean 'a,b'"),
    ],
)
def test_run_refuses_wrong_words_by_name(
    engine: Command, tmp_path: Path, arguments: tuple[str, ...], word: str
) -> None:
    (tmp_path / "text.npy").write_text("some text")
    done = engine("run", "affine.plan", *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_bench_measures_and_compares(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "slow.plan").write_bytes(plans.slow(2000))
    one = json.loads(engine("bench", "affine.plan", "--duration", "0.1", "--format", "json").stdout)
    assert one["iterations"] >= 10
    assert one["gpu"]["p99"] >= one["gpu"]["median"] > 0
    two = engine(
        "bench", "affine.plan", "--duration", "0.2", "--compare", "slow.plan", "--format", "json"
    )
    assert json.loads(two.stdout)["ratios"]["gpu"] > 10


def test_build_without_a_builder_says_what_to_install(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"x")
    done = engine("build", "m.onnx", "--builder", "tensorrt")
    assert done.returncode == 1
    assert "pip install tensorrt" in done.stderr


ABORTS = """
import os, sys
__version__ = "10.6.0.post1"
class ILogger:
    ERROR, INTERNAL_ERROR, WARNING = range(3)
def Builder(logger):
    sys.stderr.write(
        "terminate called after throwing an instance of 'nvinfer1::APIUsageError'\\n"
        "  what():  CUDA initialization failure with error: 35. Please check your CUDA installation\\n")
    sys.stderr.flush()
    os.abort()
"""


def test_a_builder_that_aborts_is_explained_by_its_last_words(
    engine: Command, tmp_path: Path
) -> None:
    """So TensorRT 10.6's own bindings end where no driver is: seen with 10.6.0.post1."""
    (tmp_path / "m.onnx").write_bytes(b"x")
    (tmp_path / "tensorrt.py").write_text(ABORTS)  # `python -m` looks in the current folder first
    done = engine("build", "m.onnx", "--builder", "tensorrt")
    assert done.returncode == 1
    assert "TensorRT cannot use the GPU (CUDA error 35)" in done.stderr
    assert "run `cuready doctor`" in done.stderr
    assert "Traceback" not in done.stderr


def test_layers_come_from_names_or_objects() -> None:
    assert [layer.name for layer in layers_of({"Layers": ["a", "b"]})] == ["a", "b"]
    (layer,) = layers_of(
        '{"Layers": [{"Name": "c", "LayerType": "Conv", "Inputs": [{"Name": "x"}], "Outputs": ["y"]}]}'
    )
    assert (layer.type, layer.inputs, layer.outputs) == ("Conv", ["x"], ["y"])


def test_a_picture_has_a_box_a_layer_and_an_edge_a_tensor() -> None:
    layers = [{"name": "a<b", "type": "Conv", "inputs": ["x"], "outputs": ["t"], "detail": {}},
              {"name": "d", "type": "Add", "inputs": ["t", "x"], "outputs": ["y"], "detail": {}}]  # fmt: skip
    text = picture(
        {"name": "n", "layers": layers, "inputs": [{"name": "x"}], "outputs": [{"name": "y"}]}
    )
    ET.fromstring(text)
    assert text.count('class="layer"') == 4
    assert text.count('class="edge"') == 4


def test_a_loop_in_the_graph_does_not_hang_the_picture() -> None:
    layers = [{"name": "a", "type": "", "inputs": ["q"], "outputs": ["p"], "detail": {}},
              {"name": "b", "type": "", "inputs": ["p"], "outputs": ["q"], "detail": {}}]  # fmt: skip
    ET.fromstring(picture({"name": "", "layers": layers, "inputs": [], "outputs": []}))


def test_profiles_are_made_from_options() -> None:
    made = profiles_from(["x=1x8"], ["x=4x8", "x=32x8"], ["x=16x8", "x=64x8"])
    assert made == [{"x": [[1, 8], [4, 8], [16, 8]]}, {"x": [[1, 8], [32, 8], [64, 8]]}]
    assert profiles_from([], ["x=4x8"], []) == [{"x": [[4, 8], [4, 8], [4, 8]]}]
    with pytest.raises(InputError, match="must grow"):
        profiles_from(["x=9x8"], ["x=4x8"], [])


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("CUDA initialization failure with error: 35", "CUDA error 35"),
        (
            "Unable to load library: libnvinfer_builder_resource_sm90.so.10.15.1: cannot open",
            "are not installed: libnvinfer_builder_resource_sm90.so.10.15.1 is missing",
        ),
        (  # github.com/TNTwise/REAL-Video-Enhancer/issues/85
            "Unable to load library: libnvinfer_builder_resource.so.10.7.0: libnvinfer_builder_"
            "resource.so.10.7.0: cannot enable executable stack as shared object requires",
            "asks for an executable stack",
        ),
        (
            "Unable to load library: libnvinfer_builder_resource.so.8.6.0",
            "missing: libnvinfer_builder_resource.so.8.6.0",
        ),
        (
            "tensorrt cannot be imported: libcublas.so.12: cannot open shared object file: No such",
            "needs libcublas.so.12",
        ),
        (
            "tensorrt cannot be imported: libnvonnxparser.so.11: cannot open shared object file:",
            "needs libnvonnxparser.so.11",
        ),
        (
            "CUDA error 222 loading a kernel: the provided PTX was compiled with an unsupported "
            "toolchain.",
            "driver is older than the CUDA",
        ),
        ("Could not find any implementation for node conv1.", "the layer conv1"),
        (
            "Network has dynamic or shape inputs, but no optimization profile has been defined.",
            "no profile",
        ),
    ],
)
def test_the_builders_errors_are_made_readable(words: str, meaning: str) -> None:
    reason, hint = readable("it built nothing", [words])
    assert meaning in reason
    assert hint


def test_an_input_larger_than_the_memory_is_one_line(engine: Command) -> None:
    done = engine("run", "affine.plan", "--shape", "x=99999999999x99")
    assert done.returncode == 3
    assert done.stderr.startswith("cuready: error: not enough memory: Unable to allocate")
    assert "bug" not in done.stderr


def test_what_a_build_could_not_write_or_open_is_said_before_it(
    engine: Command, tmp_path: Path
) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    done = engine("build", "m.onnx", "--timing-cache", "gone/cache")
    assert done.returncode == 2
    assert "--timing-cache gone/cache: there is no folder gone" in done.stderr
    os.mkfifo(tmp_path / "pipe")
    for option in ("--output", "--timing-cache"):
        done = engine("build", "m.onnx", option, "pipe")
        assert (done.returncode, f"{option} pipe: is no file" in done.stderr) == (2, True)
    name = os.fsdecode(b"caf\xe9.onnx")
    (tmp_path / name).write_bytes(b"")
    done = engine("build", name)
    assert done.returncode == 2
    assert "opens no name that is not UTF-8" in done.stderr


@pytest.mark.parametrize("value", ["nan", "inf", "1e999"])
def test_a_time_that_never_ends_is_wrong_usage(engine: Command, value: str) -> None:
    done = engine("bench", "affine.plan", "--duration", value)
    assert done.returncode == 2
    assert "not a finite number" in done.stderr


def test_run_uses_the_profile_that_was_asked_for(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "two.plan").write_bytes(plans.two_profiles())
    done = engine("run", "two.plan", "--profile", "1")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "y: float32 32x4"), done.stderr
    done = engine("run", "two.plan", "--profile", "2")
    assert (done.returncode, "there is no profile 2" in done.stderr) == (2, True)


def test_run_gives_a_shape_tensor_its_optimum(engine: Command, tmp_path: Path) -> None:
    (tmp_path / "reshape.plan").write_bytes(plans.reshape())
    done = engine("run", "reshape.plan")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "y: float32 3x4"), done.stderr


@pytest.mark.parametrize(
    "shape", ["99999999999999999999x4", "x".join(["4194304"] * 3), "1" + "x1" * 80]
)
def test_a_shape_that_no_array_has_is_refused(engine: Command, shape: str) -> None:
    done = engine("run", "affine.plan", "--shape", f"x={shape}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert f"the shape {shape} of x is larger than any array" in done.stderr


def test_a_pipe_is_no_plan_and_no_library(engine: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    library = ["run", "affine.plan", "--library", "pipe"]
    for arguments, code in ((["info", "pipe"], 2), (["run", "pipe"], 2), (library, 1)):
        done = engine(*arguments)
        assert (done.returncode, "no regular file" in done.stderr) == (code, True), done.stderr

"""What other tools' files and install lines become, and why."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from cuready._util import tomllib
from cuready.cli.main import main
from cuready.env.importing.modernise import Modern, modernise
from cuready.env.importing.read import read_any, read_command
from cuready.env.importing.request import parse_conda_spec
from cuready.env.importing.write import EXPORTS, recipe_document, recipe_toml
from cuready.env.lint import lint_recipe
from cuready.env.recipe import Recipe, loads, shipped
from cuready.errors import RecipeError


def imported(source: str) -> tuple[Recipe, Modern]:
    request = read_any(source)
    modern = modernise(request)
    text = recipe_toml(recipe_document(request, modern, "imported"))
    return loads(text), modern


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("numpy", ("numpy", "", "", "")),
        ("python=3.8", ("python", "3.8.*", "", "")),
        ("numpy==1.19.5", ("numpy", "==1.19.5", "", "")),
        ("pytorch=1.12=*cuda*", ("pytorch", "1.12.*", "*cuda*", "")),
        ("numpy >=1.2,<2", ("numpy", ">=1.2,<2", "", "")),
        ("numpy>= 1.2 , <2", ("numpy", ">=1.2,<2", "", "")),
        ("conda-forge::jax", ("jax", "", "", "conda-forge")),
        ("tensorflow 2.19.* *cuda*", ("tensorflow", "2.19.*", "*cuda*", "")),
        ("pytorch[version='>=2', build=cuda*]", ("pytorch", ">=2", "cuda*", "")),
        ("_libgcc_mutex=0.1=conda_forge", ("_libgcc_mutex", "0.1.*", "conda_forge", "")),
        ("Numpy  # a comment", ("numpy", "", "", "")),
    ],
)
def test_conda_specs_are_read_in_their_parts(text: str, parts: tuple[str, ...]) -> None:
    spec = parse_conda_spec(text)
    assert (spec.name, spec.version, spec.build, spec.channel) == parts


def test_the_line_that_everybody_pastes() -> None:
    line = "conda install pytorch torchvision torchaudio cudatoolkit=11.3 -c pytorch"
    recipe, modern = imported(line)
    assert recipe.channels == ("conda-forge",)
    assert recipe.specs == ("pytorch-gpu", "torchvision", "torchaudio")
    assert recipe.constraints == ("cuda-version >=12",)
    assert recipe.gpu_require and recipe.expect == {"pytorch": "cuda*"}
    assert any(rule.capability == "<7.5" for rule in recipe.rules), "a V100 must get CUDA 12"
    assert [change.was for change in modern.changes] == [
        "channel pytorch", "pytorch", "cudatoolkit 11.3.*",
    ]  # fmt: skip
    assert all(change.why for change in modern.changes)
    assert lint_recipe(recipe) == []


@pytest.mark.parametrize(
    ("line", "specs", "constraints"),
    [
        ("conda install pytorch pytorch-cuda=12.1 -c pytorch -c nvidia", ["pytorch-gpu"], ["cuda-version 12.*"]),
        ("mamba install -y pytorch cpuonly -c pytorch", ["pytorch-cpu"], []),
        ("conda install pytorch==1.13.1 cudatoolkit=11.6", ["pytorch-gpu ==1.13.1"], ["cuda-version 11.*"]),
        ("conda install pytorch", ["pytorch"], []),
        ("sudo conda install -n base opencv3 pyqt5", ["py-opencv", "pyqt 5.15.*"], []),
        ("$ conda create -n tf python=3.9 tensorflow-gpu", ["tensorflow * *cuda*"], []),
    ],
)  # fmt: skip
def test_conda_lines(line: str, specs: list[str], constraints: list[str]) -> None:
    modern = modernise(read_any(line))
    assert (modern.specs, modern.constraints) == (specs, constraints)
    assert modern.channels == ["conda-forge"]


def test_an_old_tensorflow_is_told_of_its_own_recipe() -> None:
    modern = modernise(read_any("conda install tensorflow-gpu=2.4"))
    assert any("tensorflow-2.4-legacy" in change.why for change in modern.changes)


def test_a_pip_line_with_the_index_of_torch() -> None:
    recipe, modern = imported(
        "pip3 install torch==1.13.1+cu117 torchvision==0.14.1+cu117 "
        "--extra-index-url https://download.pytorch.org/whl/cu117"
    )
    assert recipe.pip == ("torch==1.13.1", "torchvision==0.14.1", "numpy<2")
    assert recipe.pip_index == "torch" and recipe.gpu_require
    assert recipe.host_python and not recipe.uses_conda
    assert any(change.now == "numpy<2" for change in modern.changes)


@pytest.mark.parametrize(
    ("line", "pip"),
    [
        ("python -m pip install -U sklearn", ["scikit-learn"]),
        ("uv pip install opencv-python PyQt5", ["opencv-python-headless", "PyQt5"]),
        ("pip install opencv-python", ["opencv-python"]),
        ("pip install tensorflow-gpu==1.15", ["tensorflow-gpu==1.15", "protobuf<3.21"]),
        ("pip install 'tensorflow-gpu==2.4.0'", ["tensorflow==2.4.0", "protobuf<3.21"]),
        ("uv add pynvml", ["nvidia-ml-py"]),
    ],
)
def test_pip_lines(line: str, pip: list[str]) -> None:
    modern = modernise(read_any(line))
    if "tensorflow-gpu==1.15" in line:
        assert modern.pip[0] == "tensorflow-gpu==1.15", "it was the GPU build then"
    else:
        assert modern.pip == pip


def test_environment_yml(tmp_path: Path) -> None:
    path = tmp_path / "environment.yml"
    path.write_text(
        "name: lab\n"
        "channels:\n"
        "  - https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/pytorch\n"
        "  - defaults\n"
        "dependencies:\n"
        "  - python=3.10\n"
        "  - pytorch::pytorch=2.1\n"
        "  - cudatoolkit=11.8\n"
        "  - pip\n"
        "  - pip:\n"
        "    - -i https://pypi.tuna.tsinghua.edu.cn/simple\n"
        "    - sklearn\n"
        "variables:\n"
        "  OMP_NUM_THREADS: 4\n"
    )
    recipe, modern = imported(str(path))
    assert recipe.conda_python == "3.10.*", "YAML must not read 3.10 as a number"
    assert recipe.channels == ("conda-forge",)
    assert recipe.pip == ("scikit-learn",)
    assert recipe.variables == {"OMP_NUM_THREADS": "4"}
    assert recipe.constraints == ("cuda-version 11.*",)
    text = json.dumps([change.to_dict() for change in modern.changes])
    assert "tuna" in text and "tuna" not in recipe_toml(
        recipe_document(read_any(str(path)), modern, "x")
    )


def test_requirements_follow_each_other_but_not_in_circles(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(
        "-r base.txt\ntorch \\\n  >=2.4  # a comment\n--find-links https://download.pytorch.org/whl/torch_stable.html\n"
    )
    (tmp_path / "base.txt").write_text("numpy<3 --hash=sha256:00\n\n# nothing\n")
    recipe, _ = imported(str(tmp_path / "requirements.txt"))
    assert recipe.pip[0] == "numpy<3" and recipe.pip[1].split() == ["torch", ">=2.4"]
    assert recipe.pip_index == "torch"
    (tmp_path / "base.txt").write_text("-r base.txt\n")
    with pytest.raises(RecipeError, match="includes itself"):
        read_any(str(tmp_path / "requirements.txt"))


def test_requirements_that_include_each_other_have_an_end(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"{number}.txt").write_text(f"-r {number + 1}.txt\n")
    with pytest.raises(RecipeError, match="50 deep"):
        read_any(str(tmp_path / "0.txt"))


def test_pixi_toml(tmp_path: Path) -> None:
    path = tmp_path / "pixi.toml"
    path.write_text(
        '[workspace]\nname = "w"\nchannels = ["conda-forge"]\nplatforms = ["linux-64"]\n'
        '[system-requirements]\ncuda = "12.4"\n'
        '[dependencies]\npython = "3.11.*"\npytorch = "*"\nnumpy = { version = ">=2", build = "py311*" }\n'
        '[pypi-dependencies]\nrich = { version = ">=13", extras = ["jupyter"] }\n'
    )
    recipe, _ = imported(str(path))
    assert recipe.conda_python == "3.11.*" and recipe.min_driver_cuda == "12.4"
    assert "numpy >=2 py311*" in recipe.specs
    assert recipe.pip == ("rich[jupyter]>=13",)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("hello world", "neither a file nor an install line"),
        ("conda info --all", "not an install line"),
        ("conda install -c pytorch", "names no package"),
        ("pip install 'unclosed", "not an install line"),
        ("gone.yml", "no such file"),
        ("pip install -e .", "editable"),
    ],
)
def test_what_is_no_install_line_is_refused_in_one_line(source: str, told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read_any(source)
    assert told in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yml", "a: [1\n", "a.yml:2: not YAML"),
        ("a.yml", "- 1\n", "no mapping"),
        ("a.yml", "dependencies: numpy\n", "should be a list"),
        ("a.yml", "dependencies:\n  - {conda: 3}\n", "neither text nor pip"),
        ("a.toml", "[x\n", "not TOML"),
        ("a.toml", f"x = {'[' * 9999}", "a.toml: not TOML: nested too deeply"),
        ("a.toml", "schema = 1\n", "not a pixi manifest"),
        ("a.toml", f"a = {'9' * 5000}\n", "not TOML: an integer of more than 64 bits"),
        ("a.toml", f"a = 0x{'f' * 5000}\n", "not TOML: an integer of more than 64 bits"),
        ("a.yml", "[" * 5000, "nested too deeply"),
        ("a.yml", "- " * 5000, "nested too deeply"),
        ("a.yml", "dependencies: &a [*a]\n", "recursive"),
        (
            "a.yml",
            "a: &a [x, x, x, x, x, x, x, x, x]\n"
            + "".join(
                f"{two}: &{two} [{', '.join([f'*{one}'] * 9)}]\n"
                for one, two in pairwise("abcdefgh")
            )
            + "dependencies: [*h]\n",
            "more than 100000 values",
        ),
        ("a.toml", "tool = 1\n", "not a pixi manifest"),
        ("a.toml", "tool.pixi = 1\n", "not a pixi manifest"),
        ("a.toml", "project.channels = 1\n", "not a pixi manifest"),
        (
            "a.toml",
            "[project]\nchannels = []\n[pypi-dependencies]\na = {extras = 1}\n",
            "a: extras",
        ),
        *(
            ("a.toml", f"[project]\nchannels = []\n[{table}]\n{name!r} = '1'\n", repr(name))
            for table in ("dependencies", "pypi-dependencies")
            for name in ("", " ", "a b", "../a", "-r")
        ),
    ],
    ids=lambda value: value[:30],
)
def test_a_broken_file_is_refused_by_name(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError) as caught:
        read_any(str(tmp_path / name))
    assert told in caught.value.message


@pytest.mark.parametrize("recipe", shipped(), ids=lambda recipe: recipe.name)
def test_an_export_comes_back_as_the_same_packages(recipe: Recipe, tmp_path: Path) -> None:
    for name in ("environment.yml", "pixi.toml"):
        path = tmp_path / name
        path.write_text(EXPORTS[name](recipe))
        again = read_any(str(path))
        if recipe.uses_conda:
            assert again.python == recipe.conda_python
            wanted = {spec.split()[0] for spec in recipe.specs} - {"pip"}
            assert {spec.name for spec in again.conda} == wanted
        assert len(again.pip) == len(recipe.pip)
    yaml.safe_load(EXPORTS["environment.yml"](recipe))
    tomllib.loads(EXPORTS["pixi.toml"](recipe))
    lines = EXPORTS["requirements.txt"](recipe).splitlines()
    assert [line for line in lines if not line.startswith(("#", "--"))] == list(recipe.pip)


def test_a_quoted_line_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.toml"
    line = "conda install pytorch cudatoolkit=11.3 -c pytorch"
    assert main(["recipe", "import", "--name", "mine", "--output", str(output), line]) == 0
    assert "changed: channel pytorch → conda-forge" in capsys.readouterr().err
    assert loads(output.read_text()).name == "mine"
    assert main(["recipe", "lint", str(output)]) == 0
    assert main(["recipe", "import", "nonsense"]) == 2
    assert read_command(line).origin == "conda"


def test_an_environment_file_brings_what_its_pip_list_includes(tmp_path: Path) -> None:
    lines = ["name: old", "channels: [pytorch]", "dependencies:", "  - pytorch=1.12 # [linux]",
             "  - cudatoolkit=11.3", "  - pip:", "    - -r more.txt", "    - tqdm"]  # fmt: skip
    file = tmp_path / "environment.yml"
    file.write_bytes("\r\n".join(lines).encode())
    with pytest.raises(RecipeError, match=r"more\.txt"):
        imported(str(file))
    (tmp_path / "more.txt").write_bytes(b"scipy\r\n-r more.txt.d/deeper.txt\r\n")
    (tmp_path / "more.txt.d").mkdir()
    (tmp_path / "more.txt.d/deeper.txt").write_text("numpy<2  # for scipy\n")
    recipe, _ = imported(str(file))
    assert recipe.pip == ("scipy", "numpy<2", "tqdm")


def test_builds_for_cuda_11_get_no_rule_that_wants_cuda_12() -> None:
    recipe, _ = imported("conda install pytorch=1.12 cudatoolkit=11.3 -c pytorch")
    assert recipe.constraints == ("cuda-version 11.*",) and recipe.min_driver_cuda == "11.3"
    assert not recipe.rules


@pytest.mark.parametrize(
    ("line", "channels"),
    [
        ("conda install -c bioconda samtools", ("bioconda", "conda-forge")),
        ("mamba install --override-channels -c bioconda samtools", ("bioconda",)),
        ("micromamba create -n x -c conda-forge -c bioconda samtools", ("conda-forge", "bioconda")),
        ("conda install -c pytorch -c nvidia pytorch", ("conda-forge",)),
    ],
)
def test_condas_default_channels_stand_behind_the_named_ones(
    line: str, channels: tuple[str, ...]
) -> None:
    recipe, modern = imported(line)
    assert recipe.channels == channels
    told = [change for change in modern.changes if change.now == "channel conda-forge"]
    assert bool(told) == (channels == ("bioconda", "conda-forge"))


def test_lines_that_name_a_file_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs.txt").write_text("# tools\nnumpy>=1.2\n\nscipy\n")
    Path("env.yml").write_text("name: a\ndependencies: [python=3.11, numpy, {pip: [tqdm]}]\n")
    assert imported("conda install --file specs.txt")[0].specs == ("numpy >=1.2", "scipy")
    recipe, _ = imported("conda env create --file=env.yml -n b")
    assert (recipe.conda_python, recipe.pip) == ("3.11.*", ("tqdm",))
    with pytest.raises(RecipeError, match="nothere"):
        imported("conda env create -f nothere.yml")


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://pypi.tuna.tsinghua.edu.cn/simple", False),
        ("http://pypi.douban.com/simple", False),
        ("https://pypi.org/simple", False),
        ("https://packages.example.com/simple", True),
    ],
)
def test_an_index_of_somebodys_own_is_no_mirror(url: str, kept: bool) -> None:
    recipe, modern = imported(f"uv pip install private-thing --index-url {url}")
    assert recipe.extra_indexes == ((url,) if kept else ())
    assert any(url in change.was for change in modern.changes), "nothing was said about it"

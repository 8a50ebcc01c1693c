"""The PyTorch project on a CPU torch: training, resuming, and an ONNX file that computes the same.

It runs in the interpreter of $CUREADY_TORCH_PYTHON, or in Debian's python3 with its package
python3-torch, which ci/debian.sh installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from runtime_sim import plans
from tests.integration.examples.interpreters import ask

import cuready
from cuready import _core

Project = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(torch_python: str, examples: Path, tmp_path: Path) -> Project:
    """``project("train.py", "--epochs", "2")`` in a copy of the project."""
    shutil.copytree(examples / "torch_project", tmp_path, dirs_exist_ok=True)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # One thread: sums in another order would make a resumed run differ in the last bit.
    clean |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

    def run(
        script: str, *arguments: str, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [torch_python, script, *arguments], cwd=tmp_path, env={**clean, **(env or {})},
            capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip

    return run


def weights(torch_python: str, checkpoint: Path) -> dict[str, Any]:
    """The arrays of a checkpoint's model."""
    target = checkpoint.with_suffix(".npz")
    program = (
        "import sys, numpy, torch\n"
        "state = torch.load(sys.argv[1])['model']\n"
        "numpy.savez(sys.argv[2], **{name: value.numpy() for name, value in state.items()})\n"
    )
    subprocess.run([torch_python, "-c", program, checkpoint, target], check=True, timeout=120)
    return dict(np.load(target))


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    project: Project, torch_python: str, tmp_path: Path
) -> None:
    whole = project("train.py", "--epochs", "3", "--folder", "whole")
    assert whole.returncode == 0, whole.stderr
    first = project("train.py", "--epochs", "1", "--folder", "parts")
    second = project("train.py", "--epochs", "3", "--folder", "parts", "--resume")
    assert second.returncode == 0, second.stderr
    assert first.stdout + second.stdout == whole.stdout
    assert len(whole.stdout.splitlines()) == 3
    expected = weights(torch_python, tmp_path / "whole" / "last.pt")
    resumed = weights(torch_python, tmp_path / "parts" / "last.pt")
    assert expected.keys() == resumed.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(resumed[name], value, err_msg=name)


def test_nothing_to_resume_is_wrong_usage(project: Project) -> None:
    done = project("train.py", "--resume")
    assert done.returncode == 2
    assert "there is no runs/last.pt" in done.stderr


def test_the_onnx_file_computes_what_torch_does(
    project: Project, torch_python: str, tmp_path: Path
) -> None:
    import onnx
    from onnx.reference import ReferenceEvaluator

    trained = project("train.py", "--epochs", "2")
    assert trained.returncode == 0, trained.stderr
    assert float(trained.stdout.split()[-1]) > 0.9, "two epochs are enough to tell spirals apart"
    exported = project("export.py")
    assert exported.returncode == 0, exported.stderr
    program = (
        "import numpy, torch\n"
        "from data import spirals\n"
        "from model import load_trained\n"
        "x, _ = spirals(32, seed=3).tensors\n"
        "logits = load_trained('runs/best.pt')(x).detach()\n"
        "numpy.savez('expected.npz', x=x.numpy(), logits=logits.numpy())\n"
    )
    subprocess.run([torch_python, "-c", program], cwd=tmp_path, check=True, timeout=120)
    expected = np.load(tmp_path / "expected.npz")
    model = onnx.load(tmp_path / "runs" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    for batch in (1, 5, 32):  # the batch is dynamic
        (logits,) = ReferenceEvaluator(model).run(["logits"], {"x": expected["x"][:batch]})
        np.testing.assert_allclose(logits, expected["logits"][:batch], rtol=1e-4, atol=1e-4)


def test_a_plan_of_another_network_is_told(
    project: Project, torch_python: str, simulated: dict[str, str], tmp_path: Path
) -> None:
    here = "{}.{}".format(*sys.version_info)
    there = ask(torch_python, "import sys; print('%d.%d' % sys.version_info[:2])")
    if here != there:
        pytest.skip(f"cuready is installed for Python {here}, and torch is in Python {there}")
    # The package alone, so that torch keeps the numpy that it was built for.
    # An editable install keeps the native module apart from it.
    package = tmp_path / "site" / "cuready"
    package.mkdir(parents=True)
    for folder in {Path(cuready.__file__).parent, Path(_core.__file__).parent}:
        for path in folder.iterdir():
            if not (package / path.name).exists():
                (package / path.name).symlink_to(path)
    env = {**simulated, "PYTHONPATH": str(tmp_path / "site"), "CUDA_VISIBLE_DEVICES": "0"}
    assert project("train.py", "--epochs", "1").returncode == 0

    wrong = tmp_path / "runs" / "model.plan"
    bounds = (((1, 16), (32, 16), (64, 16)),)
    wrong.write_bytes(plans.affine(shape=(-1, 16), profiles=bounds, names=("x", "logits")))
    done = project("compare.py", env=env)
    assert done.returncode == 1
    assert "is not this network: its logits are (32, 16)" in done.stderr

    wrong.unlink()
    missing = project("compare.py", env=env)
    assert missing.returncode == 1
    assert "model.plan" in missing.stderr
    assert "Traceback" not in missing.stderr

"""`cuready compat` on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from cuready.cli.main import main

Run = Callable[..., tuple[int, str, str]]
HERE = ("--python", "3.12", "--platform", "linux_x86_64")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["compat", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_driver_and_gpu_give_builds_and_the_install_command(run: Run) -> None:
    code, out, _ = run("--driver", "470.57", "--gpu", "GeForce RTX 3070", *HERE, "torch")
    assert code == 0
    assert "2.7.1" in out and "cu118" in out
    assert (
        "python -m pip install torch==2.7.1 torchvision==0.22.1 torchaudio==2.7.1 "
        "--index-url https://download.pytorch.org/whl/cu118" in out
    )
    assert "uv pip install torch==2.7.1" in out
    assert "conda install -c conda-forge" in out


def test_json_has_question_builds_and_install(run: Run) -> None:
    code, out, _ = run(
        "--format", "json", "--driver", "535", "--capability", "8.0", *HERE, "torch", "jax"
    )
    document = json.loads(out)
    assert code == 0 and document["schema_version"] == 1
    assert [item["package"] for item in document["packages"]] == ["torch", "jax"]
    build = document["packages"][0]["builds"][0]
    assert build["verdict"] == "compatible" and build["source"] and build["facts_source"]
    assert document["packages"][0]["install"]["pip"].startswith("python -m pip install")


def test_nothing_fits_is_exit_one_with_the_reason(run: Run) -> None:
    code, out, _ = run("--driver", "390.157", "--capability", "8.6", *HERE, "jax")
    assert code == 1
    assert "no build of jax fits" in out and "needs driver" in out


def test_newer_than_the_tables_is_exit_three(run: Run) -> None:
    code, out, _ = run("--driver", "999.10", "--capability", "19.0", *HERE, "torch")
    assert code == 3
    assert "newer than our tables" in out


def test_all_lists_what_does_not_fit_with_reasons(run: Run) -> None:
    _, out, _ = run(
        "--driver", "470.57", "--capability", "8.6", *HERE, "--all", "--limit", "3", "torch"
    )
    assert out.count("does not fit") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "RTX 307O", "torch"], "'RTX 307O'"),
        (["--driver", "latest", "torch"], "'latest' is not a version"),
        (["--driver", "12.4", "torch"], "no NVIDIA driver"),
        (["--python", "three", "torch"], "'three' is not a version"),
        (["--python", "3", "torch"], "give it like 3.12"),
        (["--cuda", "twelve", "torch"], "is not a version"),
        (["--capability", "8", "torch"], "is not a compute capability"),
        (["--gpu", "T4", "--capability", "7.5", "torch"], "give one of them"),
        (["troch"], "'troch'"),
        (["--platform", "beos", "torch"], "beos"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(run: Run, arguments: list[str], message: str) -> None:
    given = list(arguments)
    for option, value in (
        ("--driver", "580.95.05"),
        ("--python", "3.12"),
        ("--platform", "linux_x86_64"),
    ):
        if option not in given:
            given = [option, value, *given]
    if "--gpu" not in given and "--capability" not in given:
        given = ["--capability", "8.6", *given]
    code, out, err = run(*given)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[0]
    assert "Traceback" not in err


@pytest.mark.parametrize("text", ["12.4", "cu124", "124", "cuda12.4"])
def test_spellings_of_a_cuda_version(run: Run, text: str) -> None:
    code, out, _ = run("--cuda", text, "--driver", "any", "--capability", "any", *HERE, "torch")
    assert code == 0
    assert "cu124" in out and "CUDA: 12.4" in out


def test_this_machine_fills_in_what_is_missing(run: Run) -> None:
    code, out, _ = run("cuda")
    assert code in (0, 3)
    assert "(this machine)" in out

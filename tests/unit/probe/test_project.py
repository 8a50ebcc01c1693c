"""The working folder: what a Dockerfile in it makes of its image."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.probe.roots import write

from cuready.probe import dockerfile
from cuready.probe.context import Context

SLIM = "FROM python:3.11-slim\nRUN pip install torch\n"


@pytest.mark.parametrize(
    ("run", "drivers"),
    [
        ("apt-get install -y nvidia-driver-535", ["line 2: nvidia-driver-535"]),
        ("apt update && \\\n    # why\n    apt install -y curl nvidia-driver-550-server-open=550.1",
         ["line 2: nvidia-driver-550-server-open"]),
        ('["apt-get", "install", "-y", "cuda-drivers-560"]', ["line 2: cuda-drivers-560"]),
        ("<<EOF\napt-get update\napt-get install -y cuda-12-4\nEOF", ["line 2: cuda-12-4"]),
        ("<<EOF\napt-get install -y \\\n  cuda-12-4\nEOF", ["line 2: cuda-12-4"]),
        ("dnf -y install kmod-nvidia-latest-dkms", ["line 2: kmod-nvidia-latest-dkms"]),
        ("sh /tmp/NVIDIA-Linux-x86_64-550.54.run -s --no-kernel-module",
         ["line 2: NVIDIA-Linux-x86_64-550.54.run"]),
        ("apt-get install -y cuda-toolkit-12-4 nvidia-container-toolkit libcudnn9-cuda-12", []),
        ("apt-get install -y nvidia-cuda-toolkit cuda-compat-12-4", []),
        ("apt-get remove -y nvidia-driver-535", []),
        ("conda install -y cuda", []),
        ("echo nvidia-driver-535", []),
        ("curl -O https://us.download.nvidia.com/NVIDIA-Linux-x86_64-550.54.run", []),
    ],
)  # fmt: skip
def test_a_driver_that_is_installed_into_the_image(run: str, drivers: list[str]) -> None:
    found = dockerfile.parse(f'FROM ubuntu:22.04\nRUN {run}\nCMD ["python"]\n')
    assert found is not None
    assert list(found.drivers) == drivers


def test_only_stages_that_the_last_one_is_built_on_count() -> None:
    build = "FROM ubuntu:22.04 AS build\nRUN apt-get install -y libnvidia-compute-550\n"
    copied = dockerfile.parse(f"{build}FROM --platform=linux/amd64 python:3.12-slim\nCOPY . /\n")
    assert copied is not None
    assert (copied.base, copied.drivers) == ("python:3.12-slim", ())
    on_top = dockerfile.parse(f"{build}from Build as final\nRUN pip install jax[cuda12]\n")
    assert on_top is not None
    assert (on_top.base, on_top.drivers) == ("ubuntu:22.04", ("line 2: libnvidia-compute-550",))
    assert on_top.wheels == ("line 4: jax",)


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "RUN pip install torch\n", "FROM\n", "\\"]
)
def test_a_text_without_a_stage_is_none(text: str) -> None:
    assert dockerfile.parse(text) is None


def test_dockerfiles_of_the_working_folder_are_read(tmp_path: Path) -> None:
    write(tmp_path, "/project/Containerfile", SLIM)
    write(tmp_path, "/project/notes.txt", SLIM)
    (found,) = dockerfile.read(Context(root=str(tmp_path), cwd="/project"))["dockerfiles"]
    assert (found.path, found.base, found.wheels) == (
        "/project/Containerfile", "python:3.11-slim", ("line 2: torch",),
    )  # fmt: skip


ASKED = "NVIDIA_DRIVER_CAPABILITIES"


@pytest.mark.parametrize(
    ("lines", "capabilities"),
    [
        (f"ENV {ASKED}=video,utility", "line 2: video,utility"),
        (f"ENV {ASKED} video,utility", "line 2: video,utility"),
        (f'env {ASKED} "utility"', "line 2: utility"),
        (f'ENV LANG=C.UTF-8 {ASKED}="utility, video" X=1', "line 2: utility, video"),
        (f"ENV LANG=C.UTF-8 \\\n    # why\n    {ASKED}=utility", "line 2: utility"),
        (f"ENV {ASKED}=utility\nENV {ASKED}=all", "line 3: all"),
        (f"ENV {ASKED}=", ""),
        (f"ARG WANTED=utility\nENV {ASKED}=$WANTED", ""),
        (f"ENV {ASKED}=utility\nENV {ASKED}=${{{ASKED}}},compute", ""),
        (f"ARG {ASKED}=utility", ""),
        (f"RUN export {ASKED}=utility", ""),
        (f"ENV MY_{ASKED}=utility", ""),
        (f"ENV {ASKED}='utility", ""),
        (f"ENV X {ASKED}=utility", ""),
    ],
)
def test_driver_capabilities_that_an_image_asks_for(lines: str, capabilities: str) -> None:
    found = dockerfile.parse(f"FROM ubuntu:24.04\n{lines}\n")
    assert found is not None
    assert found.capabilities == capabilities


def test_the_variable_of_another_stage_is_not_in_the_image() -> None:
    build = f"FROM ubuntu:24.04 AS build\nENV {ASKED}=utility\n"
    copied = dockerfile.parse(f"{build}FROM ubuntu:24.04\nCOPY --from=build /x /x\n")
    on_top = dockerfile.parse(f"{build}FROM build\nRUN true\n")
    changed = dockerfile.parse(f"{build}FROM build\nENV {ASKED}=all\n")
    assert copied and on_top and changed
    assert (copied.capabilities, on_top.capabilities) == ("", "line 2: utility")
    assert changed.capabilities == "line 4: all"

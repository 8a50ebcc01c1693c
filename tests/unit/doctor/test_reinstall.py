"""The command that brings a package back takes it from where it came from."""

from __future__ import annotations

import pytest
from tests.zoo.base import SITE, dist, edit, gpu_box, torch_env, venv

from cuready.doctor.engine import diagnose
from cuready.doctor.installers import came_from, index_of, reinstall
from cuready.snapshot import Distribution, LibraryFile, RecordProblem, Resolution, Snapshot

TORCH = "https://download.pytorch.org/whl"


@pytest.mark.parametrize(
    ("version", "index"),
    [
        ("2.6.0+cu124", f"{TORCH}/cu124"),
        ("2.6.0+cpu", f"{TORCH}/cpu"),
        ("2.6.0+rocm6.2.4", f"{TORCH}/rocm6.2.4"),
        ("2.6.0+xpu", f"{TORCH}/xpu"),
        ("2.6.0", None),
        ("2.8.3+cu12torch2.8cxx11abiTRUE", None),  # flash-attn's own releases
        ("0.4.30+cuda12.cudnn89", None),  # jaxlib's old releases
        ("2.6.0a0+ecf3bae40a.nv25.01", None),
    ],
)
def test_a_local_version_says_which_index_has_the_build(version: str, index: str | None) -> None:
    assert index_of(version) == index


WHEEL = "https://github.com/Dao-AILab/flash-attention/releases/download/v2.8.3/flash_attn-2.8.3.whl"


def test_what_came_from_an_address_comes_from_there_again() -> None:
    item = dist("flash-attn", "2.8.3+cu12torch2.8cxx11abiTRUE", direct_url=WHEEL)
    assert came_from(item) == (f"flash-attn @ {WHEEL}", None)
    assert f"'flash-attn @ {WHEEL}'" in reinstall(gpu_box(), item)


@pytest.mark.parametrize(
    "url",
    ["file:///home/u/flash_attn.whl", "editable+file:///home/u/x", "https://x.org/r.git", None],
)
def test_an_address_that_pip_cannot_be_given_is_left_out(url: str | None) -> None:
    item = dist("flash-attn", "2.8.3+local", direct_url=url)
    assert reinstall(gpu_box(), item).endswith(" flash-attn==2.8.3")


def test_conda_takes_no_address() -> None:
    box = edit(gpu_box(), python__kind="conda", python__manager="conda", python__prefix="/env")
    item = dist("flash-attn", "2.8.3", "conda", direct_url=WHEEL)
    assert reinstall(box, item).endswith(" flash-attn==2.8.3")


def commands(box: Snapshot, check_id: str) -> list[str]:
    found = [item for item in diagnose(box).findings if item.id == check_id]
    assert found, check_id
    return [command for item in found for fix in item.fix for command in fix.commands]


def with_vision(version: str, *more: Distribution, **changes: object) -> Snapshot:
    """A torch of cu124 with its torchvision."""
    env = torch_env(
        "2.6.0", "12.4", "+cu124",
        extra=(dist("torchvision", version, requires=("torch==2.6.0",), **changes), *more),
    )  # fmt: skip
    rest = tuple(
        item for item in env.distributions
        if item.name not in ("torchvision", "torchaudio") or item.version == version
    )  # fmt: skip
    return edit(gpu_box(python=env), python__distributions=rest)


def test_a_sibling_that_was_cut_short_comes_from_its_own_index() -> None:
    lost = (RecordProblem("missing", "torchvision/_C.so"),)
    (command,) = commands(with_vision("0.21.0+cu124", problems=lost), "PY10")
    assert command.endswith(f"torchvision==0.21.0+cu124 --index-url {TORCH}/cu124")


def test_a_sibling_that_is_there_twice_comes_from_its_own_index() -> None:
    box = with_vision("0.21.0+cu124", dist("torchvision", "0.20.0", metadata_path=f"{SITE}/old"))
    again = commands(
        edit(box, python__distributions=(*box.python.distributions, dist("torchvision", "0.20.0"))),
        "PY11",
    )[-1]
    assert again.endswith(f"torchvision==0.21.0+cu124 --index-url {TORCH}/cu124")


def test_a_sibling_for_another_torch_comes_from_the_index_of_this_one() -> None:
    path = f"{SITE}/torchvision/_C.so"
    library = LibraryFile(path, "torchvision 0.21.0", "extension", error_text="libc10.so: no",
                          missing=(Resolution("libc10.so", path),))  # fmt: skip
    (command,) = commands(edit(with_vision("0.21.0+cu124"), libraries=(library,)), "LIB08")
    assert command.endswith(f"torchvision --index-url {TORCH}/cu124")


def test_wheels_for_another_system_come_from_the_index_of_each() -> None:
    tag = "cp312-cp312-manylinux_2_39_x86_64"
    box = edit(
        gpu_box(python=venv(dist("torch", "2.6.0+cu124", tags=(tag,)), dist("numpy", "2.1", tags=(tag,)))),
        platform__libc_version="2.31",
    )  # fmt: skip
    torch, numpy = commands(box, "PY21")
    assert torch.endswith(f"torch --index-url {TORCH}/cu124")
    assert numpy.endswith("numpy")


def test_windows_gets_the_build_that_it_had() -> None:
    path = f"{SITE}/torch/lib/fbgemm.dll"
    library = LibraryFile(path, "torch 2.6.0", missing=(Resolution("asmjit.dll", path),))
    env = torch_env("2.6.0", "12.4", "+cu124")
    box = edit(gpu_box(python=env), platform__system="Windows", libraries=(library,))
    (command,) = commands(box, "LIB15")
    assert command.endswith(f"torch==2.6.0+cu124 --index-url {TORCH}/cu124")

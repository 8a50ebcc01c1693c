"""RECORD against the disk: missing, altered, shared, and who really lies there."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
from pathlib import Path

import pytest

from cuready.probe import records
from cuready.probe.context import Context, Skip
from cuready.snapshot import Distribution, PythonEnv, RecordProblem, Snapshot

LIB = "nvidia/cudnn/lib/libcudnn.so.9"


def line(path: str, data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}"


def make(site: Path, name: str, *lines: str, newline: str = "\n") -> Distribution:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "RECORD").write_bytes(newline.join([*lines, "x.py,,", ""]).encode())
    return Distribution(name, "1.0", str(site), str(info), record_present=True)


def problems(*found: Distribution, deep: bool = False) -> dict[str, tuple[RecordProblem, ...]]:
    snapshot = Snapshot(python=PythonEnv(distributions=found))
    facts = records.read(Context(so_far=snapshot, deep=deep))
    return {item.name: item.problems for item in facts["python.distributions"]}


def put(site: Path, data: bytes, path: str = LIB) -> None:
    (site / path).parent.mkdir(parents=True, exist_ok=True)
    (site / path).write_bytes(data)


def test_a_file_as_recorded_is_no_problem(tmp_path: Path) -> None:
    put(tmp_path, b"twelve")
    item = make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve"))
    assert problems(item) == {"nvidia-cudnn-cu12": ()}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_missing_library(newline: str, tmp_path: Path) -> None:
    item = make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve"), newline=newline)
    (problem,) = problems(item)["nvidia-cudnn-cu12"]
    assert (problem.kind, problem.path, problem.expected_size) == ("missing", LIB, 6)


def test_a_library_of_another_size_is_altered(tmp_path: Path) -> None:
    put(tmp_path, b"cut")
    item = make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve"))
    (problem,) = problems(item)["nvidia-cudnn-cu12"]
    assert (problem.kind, problem.expected_size, problem.actual_size) == ("altered", 6, 3)


def test_same_size_other_content_is_seen_only_when_reading_deep(tmp_path: Path) -> None:
    put(tmp_path, b"TWELVE")
    item = make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve"))
    assert problems(item)["nvidia-cudnn-cu12"] == ()
    assert problems(item, deep=True)["nvidia-cudnn-cu12"][0].kind == "altered"


@pytest.mark.parametrize(
    ("on_disk", "owner"),
    [(b"twelve", "nvidia-cudnn-cu12"), (b"thirteen", "nvidia-cudnn-cu13"), (b"x", None)],
)
def test_of_two_owners_the_size_says_whose_it_is(
    on_disk: bytes, owner: str | None, tmp_path: Path
) -> None:
    put(tmp_path, on_disk)
    found = problems(
        make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve")),
        make(tmp_path, "nvidia-cudnn-cu13", line(LIB, b"thirteen")),
    )
    assert [(p.kind, p.matches) for p in found["nvidia-cudnn-cu12"]] == [("shared", owner)]
    assert found["nvidia-cudnn-cu13"][0].others == ("nvidia-cudnn-cu12",)


def test_where_sizes_tie_the_hash_decides(tmp_path: Path) -> None:
    put(tmp_path, b"BBBB")
    found = problems(
        make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"AAAA")),
        make(tmp_path, "nvidia-cudnn-cu13", line(LIB, b"BBBB")),
    )
    assert found["nvidia-cudnn-cu12"][0].matches == "nvidia-cudnn-cu13"


def test_the_same_file_in_two_wheels_is_no_problem(tmp_path: Path) -> None:
    put(tmp_path, b"same")
    found = problems(
        make(tmp_path, "opencv-python", line(LIB, b"same")),
        make(tmp_path, "opencv-python-headless", line(LIB, b"same")),
    )
    assert set(found.values()) == {()}


def test_a_file_gone_is_missing_for_every_owner(tmp_path: Path) -> None:
    found = problems(
        make(tmp_path, "nvidia-cudnn-cu12", line(LIB, b"twelve")),
        make(tmp_path, "nvidia-cudnn-cu13", line(LIB, b"thirteen")),
    )
    assert {p.kind for items in found.values() for p in items} == {"missing"}


def test_paths_with_commas_are_quoted_in_csv(tmp_path: Path) -> None:
    entries = records.parse_payload(b'"odd, name/lib.so",sha256=x,5\nplain.so.1.2,sha256=y,7\n')
    assert {(e.path, e.size) for e in entries} == {("odd, name/lib.so", 5), ("plain.so.1.2", 7)}


def test_python_files_and_debug_names_are_not_payload() -> None:
    assert records.parse_payload(b"a.py,sha256=x,5\nso.txt,,\nlib.solar,sha256=z,1\n") == []


def test_nothing_installed_is_skipped() -> None:
    with pytest.raises(Skip):
        records.read(Context(so_far=Snapshot()))


def test_other_facts_of_the_distributions_stay(tmp_path: Path) -> None:
    item = dataclasses.replace(make(tmp_path, "nvidia-nccl-cu12", line("a.so", b"1")), tags=("t",))
    snapshot = Snapshot(python=PythonEnv(distributions=(item,)))
    (after,) = records.read(Context(so_far=snapshot))["python.distributions"]
    assert dataclasses.replace(after, problems=()) == item


def bare(site: Path, name: str, at: int, *, size: str = "") -> Distribution:
    """A distribution whose RECORD gives no hash, written ``at`` seconds after some start."""
    item = make(site, name, f"{LIB},,{size}")
    os.utime(Path(item.metadata_path) / "RECORD", (1_700_000_000 + at,) * 2)
    return item


def dated(site: Path, at: int) -> None:
    put(site, b"library")
    os.utime(site / LIB, (1_700_000_000 + at,) * 2)


def test_without_hashes_the_times_say_who_came_last(tmp_path: Path) -> None:
    dated(tmp_path, 10)
    found = problems(
        bare(tmp_path, "nvidia-cudnn-cu12", 5), bare(tmp_path, "nvidia-cudnn-cu13", 11)
    )
    (problem,) = found["nvidia-cudnn-cu12"]
    assert (problem.kind, problem.matches, problem.proof) == (
        "shared",
        "nvidia-cudnn-cu13",
        "dates",
    )


@pytest.mark.parametrize(("first", "second"), [(20, 30), (1, 2)])
def test_times_that_fit_both_or_neither_decide_nothing(
    first: int, second: int, tmp_path: Path
) -> None:
    dated(tmp_path, 10)
    found = problems(
        bare(tmp_path, "nvidia-cudnn-cu12", first), bare(tmp_path, "nvidia-cudnn-cu13", second)
    )
    (problem,) = found["nvidia-cudnn-cu13"]
    assert (problem.matches, problem.proof) == (None, "paths")


def test_without_hashes_sizes_that_differ_are_two_files(tmp_path: Path) -> None:
    dated(tmp_path, 10)
    found = problems(
        bare(tmp_path, "nvidia-cudnn-cu12", 5, size="9"),
        bare(tmp_path, "nvidia-cudnn-cu13", 5, size="7"),
    )
    (problem,) = found["nvidia-cudnn-cu12"]
    assert (problem.matches, problem.proof) == ("nvidia-cudnn-cu13", "content")


def test_without_hashes_equal_sizes_are_one_file(tmp_path: Path) -> None:
    dated(tmp_path, 10)
    found = problems(bare(tmp_path, "torch-a", 5, size="7"), bare(tmp_path, "torch-b", 5, size="7"))
    assert set(found.values()) == {()}


def test_a_stale_folder_of_the_same_project_is_no_twin(tmp_path: Path) -> None:
    dated(tmp_path, 10)
    old = dataclasses.replace(bare(tmp_path, "nvidia_cudnn_cu12", 5), name="nvidia-cudnn-cu12")
    assert set(problems(old, bare(tmp_path, "nvidia-cudnn-cu12", 11)).values()) == {()}


def test_one_owner_with_a_hash_that_fits_is_whose_file_it_is(tmp_path: Path) -> None:
    put(tmp_path, b"thirteen")
    found = problems(
        bare(tmp_path, "nvidia-cudnn-cu12", 5),
        make(tmp_path, "nvidia-cudnn-cu13", line(LIB, b"thirteen")),
    )
    (problem,) = found["nvidia-cudnn-cu12"]
    assert (problem.matches, problem.proof) == ("nvidia-cudnn-cu13", "paths")


@pytest.mark.parametrize(("lies", "kind"), [(b"edited", "altered"), (None, "missing")])
def test_the_package_file_of_a_framework_is_compared_too(
    lies: bytes | None, kind: str, tmp_path: Path
) -> None:
    item = make(tmp_path, "torch", line("torch/__init__.py", b"as it was"))
    if lies is not None:
        put(tmp_path, lies, "torch/__init__.py")
    (problem,) = problems(item)["torch"]
    assert (problem.kind, problem.path, problem.expected_size) == (kind, "torch/__init__.py", 9)


@pytest.mark.parametrize("other", [{"name": "six"}, {"installer": "conda"}])
def test_other_packages_and_condas_files_are_left_alone(
    other: dict[str, str], tmp_path: Path
) -> None:
    put(tmp_path, b"edited", "torch/__init__.py")
    item = make(tmp_path, "torch", line("torch/__init__.py", b"as it was"))
    item = dataclasses.replace(item, **other)  # type: ignore[arg-type]
    assert problems(item)[item.name] == ()


def test_a_package_file_as_recorded_or_without_a_size_is_no_problem(tmp_path: Path) -> None:
    put(tmp_path, b"as it was", "torch/__init__.py")
    assert problems(make(tmp_path, "torch", line("torch/__init__.py", b"as it was"))) == {
        "torch": ()
    }
    put(tmp_path, b"", "jax/__init__.py")
    assert problems(make(tmp_path, "jax", "jax/__init__.py,,")) == {"jax": ()}


def test_an_edit_of_the_same_length_is_seen_by_a_thorough_run(tmp_path: Path) -> None:
    put(tmp_path, b"as it is!", "torch/__init__.py")
    item = make(tmp_path, "torch", line("torch/__init__.py", b"as it was"))
    assert problems(item) == {"torch": ()}
    (problem,) = problems(item, deep=True)["torch"]
    assert problem.kind == "altered"

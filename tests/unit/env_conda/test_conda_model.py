"""Records, sources and locks without an engine; and who imports rattler."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cuready.env.conda import CondaOptions, CondaSession, Record
from cuready.env.conda.clone import clone_tree, remove_conflicts
from cuready.env.conda.lock import pip_lock_of
from cuready.env.conda.model import Installed
from cuready.env.conda.plan import installed_records
from cuready.env.conda.session import PackageStore
from cuready.env.conda.sources import canonical_channel, channel_urls
from cuready.errors import EnvError, IncompleteError, InputError

RAW = {
    "name": "numpy",
    "version": "2.1.0",
    "build": "py312_0",
    "subdir": "linux-64",
    "url": "https://conda.anaconda.org/conda-forge/linux-64/numpy-2.1.0-py312_0.conda",
    "sha256": "AB" * 32,
    "size": 10,
}


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "CUREADY_CACHE_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("CONDARC", "CONDA_PREFIX", "CONDA_ROOT", "RATTLER_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def test_a_record_knows_its_channel_file_and_digest() -> None:
    record = Record.from_json(RAW)
    assert record.channel == "https://conda.anaconda.org/conda-forge"
    assert record.file_name == "numpy-2.1.0-py312_0.conda"
    assert record.dist == "numpy-2.1.0-py312_0"
    assert record.sha256 == "ab" * 32
    assert record.same_as(Record.from_json({**RAW, "sha256": "ab" * 32}))
    assert not record.same_as(Record.from_json({**RAW, "sha256": "cd" * 32}))


def test_a_record_without_a_name_is_an_error_that_says_so() -> None:
    with pytest.raises(IncompleteError, match="name"):
        Record.from_json({key: value for key, value in RAW.items() if key != "name"})


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("conda-forge", "https://conda.anaconda.org/conda-forge"),
        ("conda-forge/label/dev", "https://conda.anaconda.org/conda-forge/label/dev"),
        ("pkgs/main", "https://repo.anaconda.com/pkgs/main"),
        ("https://example.org/ours/", "https://example.org/ours"),
    ],
)
def test_channels_have_one_canonical_address(given: str, canonical: str) -> None:
    assert canonical_channel(given) == canonical


@pytest.mark.parametrize("given", ["", "a b", "file:///x", "../x y"])
def test_what_is_no_channel_is_named(given: str) -> None:
    with pytest.raises(InputError, match="channel"):
        canonical_channel(given)


def test_the_wanted_mirror_comes_first_and_the_official_place_is_never_left_out(
    tmp_path: Path,
) -> None:
    session = CondaSession(CondaOptions(mirrors=("tuna",), cache_dir=tmp_path))
    found = channel_urls("https://conda.anaconda.org/conda-forge", session)
    assert found[0][1] == "tuna" and found[0][0].endswith("/cloud/conda-forge")
    assert found[1] == ("https://conda.anaconda.org/conda-forge", "official")
    assert len({url for url, _ in found}) == len(found) > 3


def test_a_mirror_that_is_not_known_is_named(tmp_path: Path) -> None:
    session = CondaSession(CondaOptions(mirrors=("nowhere",), cache_dir=tmp_path))
    with pytest.raises(InputError, match="nowhere"):
        channel_urls("https://conda.anaconda.org/conda-forge", session)


def test_a_channel_of_ones_own_has_only_its_own_address(tmp_path: Path) -> None:
    session = CondaSession(CondaOptions(cache_dir=tmp_path))
    assert channel_urls("https://example.org/ours", session) == [("https://example.org/ours", "")]


def test_damaged_conda_meta_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta/numpy-2.1.0-py312_0.json").write_text("{")
    with pytest.raises(EnvError, match=r"numpy-2\.1\.0") as caught:
        installed_records(tmp_path)
    assert "repair" in caught.value.hint


def test_a_copy_leaves_out_what_goes_and_what_python_made_of_it(tmp_path: Path) -> None:
    old = tmp_path / "old"
    for name in ("lib/a/x.py", "lib/a/__pycache__/x.cpython-312.pyc", "lib/b/y.py", "etc/mine"):
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text(name)
    (old / "empty").mkdir()
    (old / "link").symlink_to("etc/mine")
    (old / "conda-meta").mkdir()
    (old / "conda-meta/a.json").write_text(json.dumps({}))
    (old / "conda-meta/history").write_text("")
    gone = Installed(**vars(Record.from_json(RAW)), meta="a.json", files=("lib/a/x.py",))
    clone_tree(old, tmp_path / "new", [gone])
    new = tmp_path / "new"
    assert not (new / "lib/a").exists() and not (new / "conda-meta/a.json").exists()
    assert (new / "lib/b/y.py").samefile(old / "lib/b/y.py")
    assert not (new / "conda-meta/history").samefile(old / "conda-meta/history")
    assert (new / "empty").is_dir() and (new / "link").readlink() == Path("etc/mine")


def test_requirements_are_locked_beside_the_packages() -> None:
    assert pip_lock_of(Path("x/pytorch.lock")) == Path("x/pytorch.pip.lock")


def test_only_the_child_imports_rattler() -> None:
    """The engine's crashes and its memory stay over there; a warm plan needs no HTTP client."""
    modules = ["backends", "clone", "engine", "fetch", "link", "lock", "metadata", "plan"]
    modules += ["session", "solve", "sources", "transaction"]
    lines = [f"import cuready.env.conda.{name}" for name in modules]
    code = "\n".join([*lines, "import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    loaded = set(done.stdout.split())
    assert not loaded & {"rattler", "zstandard", "httpx", "rich"}


def test_a_warm_cache_waits_for_no_download_layer() -> None:
    modules = "cuready.env.conda.solve cuready.env.conda.link cuready.env.conda.fetch"
    heavy = "httpx cuready.mirrors.catalogue cuready.mirrors.net.fetch rattler"
    code = f"""
import importlib, sys
for name in {modules!r}.split():
    importlib.import_module(name)
print([name for name in {heavy!r}.split() if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def stored(root: Path, *paths: str) -> tuple[Record, PackageStore]:
    """A package of these paths in a store."""
    store, record = PackageStore(root / "store"), Record.from_json(RAW)
    info = store.folder(record) / "info"
    info.mkdir(parents=True)
    document = {"paths": [{"_path": path} for path in paths]}
    (info / "paths.json").write_text(json.dumps(document))
    return record, store


@pytest.mark.parametrize("path", ["../mine", "/mine", "lib/../../mine"])
def test_a_package_does_not_reach_out_of_the_environment(tmp_path: Path, path: str) -> None:
    staging = tmp_path / "new"
    staging.mkdir()
    mine = tmp_path / "mine"
    mine.write_text("precious")
    record, store = stored(tmp_path, path)
    with pytest.raises(EnvError, match="holds a file outside"):
        remove_conflicts(staging, [record], store, "3.12")
    assert mine.read_text() == "precious"


def test_what_lies_behind_a_link_of_the_users_is_left_alone(tmp_path: Path) -> None:
    staging, shared = tmp_path / "new", tmp_path / "shared"
    for folder in (staging, staging / "lib", shared):
        folder.mkdir()
    (staging / "share").symlink_to(shared)
    (staging / "lib64").symlink_to("lib")
    for file in (shared / "data", staging / "lib" / "old.so"):
        file.write_text("")
    record, store = stored(tmp_path, "share/data", "lib64/old.so", "lib/new.so")
    assert remove_conflicts(staging, [record], store, "3.12") == ["lib64/old.so"]
    assert (shared / "data").exists()
    assert not (staging / "lib" / "old.so").exists()

"""The life of a virtual environment: made, shown, changed, cloned, damaged, repaired, removed."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.integration.env_pip.conftest import Program, tree, wheels
from tests.integration.env_pip.package_index import PackageIndex, make_sdist, make_wheel

from cuready.env.prefix import held


def site_of(prefix: Path) -> Path:
    return next(prefix.glob("lib/python3.*/site-packages"))


def test_dry_run_tells_the_cost_and_changes_nothing(program: Program) -> None:
    plan = program.json("env", "create", program.recipe(), "--dry-run")["plan"]
    assert [pin["name"] for pin in plan["pip"]] == ["hello", "helper"]
    assert plan["bytes_to_fetch"] > 0 and plan["disk_needed"]
    assert not program.prefix().exists()
    assert program.json("env", "list")["environments"] == []


def test_made_locked_removed_and_made_again_is_the_same(
    program: Program, index: PackageIndex
) -> None:
    made = program.json("env", "create", program.recipe())
    assert made["verification"]["passed"] == 2 and made["verification"]["failed"] == 0
    prefix = program.prefix()
    before = tree(prefix)
    lock = (program.home / "data/cuready/kept-locks/small/pylock.small.toml").read_text()
    assert "127.0.0.1" not in lock and "https://files.pythonhosted.org/packages/" in lock
    program("env", "remove", "small", "--yes")
    assert not prefix.exists()
    asked = len(index.log)
    program("env", "create", program.recipe(), "--locked", "--offline")
    assert tree(prefix) == before
    assert len(index.log) == asked, "an offline command asked the index"


def test_lock_is_valid_for_other_tools(program: Program) -> None:
    from packaging.pylock import Pylock

    from cuready._util import tomllib

    program("env", "lock", program.recipe(), "--output", str(program.home))
    text = (program.home / "pylock.small.toml").read_text()
    lock = Pylock.from_dict(tomllib.loads(text))
    assert {package.name for package in lock.packages} == {"hello", "helper"}
    assert all(package.wheels and package.wheels[0].hashes["sha256"] for package in lock.packages)


def test_lock_of_another_recipe_is_refused(program: Program) -> None:
    program("env", "lock", program.recipe(), "--output", str(program.home))
    changed = program.recipe("==1.0")
    error = program.json("env", "create", changed, "--locked", code=1)["error"]
    assert "requirements differ" in error["message"]
    assert not program.prefix().exists()


def test_update_proves_the_new_and_keeps_what_was_added(program: Program) -> None:
    program("env", "create", program.recipe("==1.0", "1.0"))
    site = site_of(program.prefix())
    (site / "mine.py").write_text("x = 1\n")
    done = program.json("env", "update", "small", "--yes")
    assert done["restored"] is False and done["changed"] == []  # the recipe still says 1.0
    program.recipe()
    done = program.json("env", "update", "small", "--yes")
    assert done["changed"] == ["hello 2.0"]
    assert (site / "mine.py").exists() and (site / "hello/only_2_0.py").exists()
    assert not (site / "hello/only_1_0.py").exists(), "files of the old version are left"
    said = subprocess.run(
        [program.prefix() / "bin/hello"], check=False, capture_output=True, text=True
    )
    assert said.stdout == "hello 2.0\n"


def test_update_whose_proof_fails_is_taken_back(program: Program) -> None:
    program("env", "create", program.recipe("==1.0", "1.0"))
    before = tree(program.prefix())
    marker = (program.prefix() / ".cuready/env.json").read_bytes()
    program.recipe("", version="9.9")
    done = program("env", "update", "small", "--yes", code=1)
    assert "put back" in done.stdout and "failed its proofs: it says who it is" in done.stdout
    assert tree(program.prefix()) == before
    assert (program.prefix() / ".cuready/env.json").read_bytes() == marker


def test_the_last_words_say_that_the_proofs_fail_and_which(program: Program) -> None:
    """No package has to change: the environment stays, and its proofs fail all the same."""
    name, fails = "it says who it is", "its proofs fail: it says who it is"
    done = program("env", "create", program.recipe(version="0.0"), code=1)
    assert f"made small at {program.prefix()}, but {fails}\n" in done.stdout
    assert "cuready env verify small" in done.stdout
    done = program("env", "update", "small", "--yes", code=1)
    assert fails in done.stdout and "updated" not in done.stdout
    document = program.json("env", "update", "small", "--yes", code=1)
    assert document["failed_proofs"] == [name] and document["changed"] == []
    program.recipe()
    done = program("env", "update", "small", "--yes")
    assert "fail:" not in done.stdout and "updated" not in done.stdout
    assert program.json("env", "update", "small", "--yes")["failed_proofs"] == []


def test_a_repair_whose_proofs_fail_says_so_and_how_to_keep_it(program: Program) -> None:
    program("env", "create", program.recipe(version="0.0"), code=1)
    helper = site_of(program.prefix()) / "helper.py"
    helper.write_text("word = 'changed'\n")
    done = program("env", "repair", "small", code=1)
    assert "put back" in done.stdout and "failed its proofs: it says who it is" in done.stdout
    assert "--no-verify" in done.stdout and helper.read_text() == "word = 'changed'\n"
    document = program.json("env", "repair", "small", code=1)
    assert document["failed_proofs"] == ["it says who it is"] and document["repaired"] is False
    program("env", "repair", "small", "--no-verify")
    assert "help" in helper.read_text()


def test_damage_is_found_and_repaired_from_the_cache(program: Program) -> None:
    program("env", "create", program.recipe())
    site, before = site_of(program.prefix()), tree(program.prefix())
    (site / "helper.py").write_text("word = 'changed'\n")
    (site / "hello/only_2_0.py").unlink()
    told = program.json("env", "repair", "small", "--dry-run", code=1)["damaged"]
    assert {item["name"]: item["files"] for item in told} == {
        "hello": ["hello/only_2_0.py"],
        "helper": ["helper.py"],
    }
    program("env", "repair", "small", "--offline")
    assert tree(program.prefix()) == before
    assert program.json("env", "repair", "small")["damaged"] == []


def test_clone_has_the_same_packages_and_its_own_scripts(program: Program) -> None:
    program("env", "create", program.recipe())
    program("env", "clone", "small", "--name", "twin", "--offline")
    twin = program.prefix("twin")
    one, two = tree(site_of(program.prefix())), tree(site_of(twin))
    records = {name for name in one if name.endswith("/RECORD")}  # they hold digests of scripts
    assert {k: v for k, v in one.items() if k not in records} == {
        k: v for k, v in two.items() if k not in records
    }
    assert str(twin / "bin/python") in (twin / "bin/hello").read_text()
    names = [item["name"] for item in program.json("env", "list")["environments"]]
    assert names == ["small", "twin"]


def test_export_to_requirements_installs_the_same(program: Program, index: PackageIndex) -> None:
    program("env", "create", program.recipe(), "--no-verify")
    text = program("env", "export", "small", "--to", "requirements.txt").stdout
    file = program.home / "requirements.txt"
    file.write_text(text)
    command = [program.prefix() / "bin/python", "-m", "pip", "install", "--dry-run", "--no-deps",
               "--ignore-installed", "--require-hashes", "--index-url", index.url,
               "--disable-pip-version-check", "-r", str(file)]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=100)
    assert "Would install hello-2.0 helper-1.0" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a folder with spaces", "Ünïcödé", "d" * 150])
def test_difficult_prefixes_work(program: Program, name: str) -> None:
    """150 more letters make the path too long for a ``#!`` line."""
    prefix = program.home / name / "env"
    program("env", "create", program.recipe(), "--prefix", str(prefix))
    said = subprocess.run(
        [prefix / "bin/hello"], check=False, capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "hello 2.0\n", said.stderr


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("/proc/nowhere/env", "/proc/nowhere/env"),
        ("with:colon", "':'"),
        ("x" * 300, "too long"),
        ("/".join(["y" * 200] * 20), "too long"),
        ("small.toml", "is a file"),
        (".", "is not empty"),
    ],
)
def test_impossible_prefixes_are_refused_before_anything_is_fetched(
    program: Program, index: PackageIndex, prefix: str, words: str
) -> None:
    recipe, asked = program.recipe(), len(index.log)
    done = program("env", "create", recipe, "--prefix", prefix, code=None)
    assert done.returncode in (1, 2)
    assert words in done.stderr and done.stderr.count("\n") <= 2
    assert len(index.log) == asked


def test_full_disk_is_told_before_anything_is_made(
    program: Program, index: PackageIndex, tmp_path: Path
) -> None:
    """The disk is a stand-in: every file system says that 1000 bytes are free."""
    stand_in = tmp_path / "stand-in"
    stand_in.mkdir()
    (stand_in / "sitecustomize.py").write_text(
        "import shutil\n"
        "real = shutil.disk_usage\n"
        "shutil.disk_usage = lambda path: real(path)._replace(free=1000)\n"
    )
    path = os.pathsep.join([str(stand_in), program.env["PYTHONPATH"]])
    asked = len(index.log)
    done = program("env", "create", program.recipe(), code=1, PYTHONPATH=path)
    assert "no space for" in done.stderr and "1000 B free" in done.stderr
    assert not program.prefix().exists()
    assert not any(item.endswith(".whl") for item in index.log[asked:])


def test_cache_that_cannot_be_written_is_told(program: Program) -> None:
    done = program("env", "create", program.recipe(), code=None, CUREADY_CACHE_DIR="/proc/none")
    assert done.returncode in (1, 3) and "/proc/none" in done.stderr
    assert done.stderr.count("\n") <= 3
    assert not program.prefix().exists()


def test_two_at_once_on_one_cache_and_one_prefix(program: Program) -> None:
    recipe = program.recipe()
    command = ["env", "create", recipe, "--name"]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(lambda name=name: program(*command, name, code=None))
            for name in ("one", "two", "two")
        ]
        codes = sorted(run.result().returncode for run in runs)
    assert codes == [0, 0, 1]
    told = [run.result().stderr for run in runs if run.result().returncode == 1]
    assert "another cuready is working" in told[0] or "is an environment already" in told[0]
    names = [item["name"] for item in program.json("env", "list")["environments"]]
    assert names == ["one", "two"]


def test_dead_and_lying_mirrors_are_survived(tmp_path: Path, index: PackageIndex) -> None:
    liar, dead = PackageIndex(wheels("1.0", "2.0"), lie=True), PackageIndex({})
    dead.close()
    program = Program(tmp_path)
    program.use(dead.url, liar.url, index.url)
    program("env", "create", program.recipe())
    assert any(path.endswith(".whl") for path in liar.log), "the liar was not asked"
    liar.close()


def test_no_index_at_all_is_told_with_each_attempt(tmp_path: Path) -> None:
    dead = PackageIndex({})
    dead.close()
    program = Program(tmp_path)
    program.use(dead.url)
    error = program.json("env", "create", program.recipe(), code=1)["error"]
    assert error["type"] == "MirrorError"
    assert [item["mirror"] for item in error["details"]["attempts"]] == ["lab0"]


def test_what_cannot_be_resolved_is_told_in_the_resolvers_words(program: Program) -> None:
    error = program.json("env", "create", program.recipe("==7"), code=1)["error"]
    assert error["type"] == "SolveError"
    assert "hello==7" in " ".join(error["messages"])


def test_failing_proof_is_told_and_the_environment_stays(program: Program) -> None:
    done = program("env", "create", program.recipe(version="0.0"), code=1)
    assert "FAILED" in done.stdout and "AssertionError: hello 2.0" in done.stdout
    found = program.json("doctor", "--prefix", str(program.prefix()), "--only", "ENV")
    assert [item["id"] for item in found["findings"]] == ["ENV03"]


def test_doctor_sees_what_drifted(program: Program) -> None:
    program("env", "create", program.recipe())
    prefix = str(program.prefix())
    assert program.json("doctor", "--prefix", prefix, "--only", "ENV")["findings"] == []
    subprocess.run([program.prefix() / "bin/pip", "uninstall", "-qy", "helper"], check=True)
    (finding,) = program.json("doctor", "--prefix", prefix, "--only", "ENV01")["findings"]
    assert finding["severity"] == "warning" and "gone: helper 1.0" in finding["cause"]
    assert finding["fix"][0]["commands"] == [f"cuready env repair {prefix}"]
    snapshot = json.loads(program("snapshot", "--prefix", prefix).stdout)
    assert snapshot["managed"]["recipe"] == "small"
    # The child's own words lead the verification to the cause.
    (outcome, *_) = program.json("env", "verify", "small", code=1)["verification"]["outcomes"]
    assert outcome["status"] == "failed" and "helper" in outcome["reason"]


def test_foreign_folders_are_never_removed(program: Program) -> None:
    folder = program.home / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years")
    done = program("env", "remove", str(folder), "--yes", code=1)
    assert "was not made by cuready" in done.stderr and (folder / "thesis.txt").exists()


def test_ctrl_c_leaves_nothing_and_says_so(program: Program) -> None:
    """The interrupt comes while a proof runs: the environment is linked, and not finished."""
    recipe = Path(program.recipe())
    running = program.home / "running"
    proof = f"import pathlib, time; pathlib.Path({str(running)!r}).touch(); time.sleep(200)"
    tables = f"\n[[verify.run]]\nname = 'waits'\ncode = {json.dumps(proof)}\n"
    recipe.write_text(recipe.read_text() + tables)
    process = subprocess.Popen(
        [sys.executable, "-m", "cuready", "env", "create", str(recipe)],
        cwd=program.home, env=program.env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not running.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in told
    assert not program.prefix().exists()
    assert program.json("env", "list")["environments"] == []


def test_source_distribution_is_built_once_and_only_where_the_recipe_allows_it(
    tmp_path: Path,
) -> None:
    wheel = make_wheel("hello", "2.0", {"hello.py": "def who():\n    return 'hello 2.0'\n"})
    helper = make_wheel("helper", "1.0", {"helper.py": ""})
    server = PackageIndex(dict([make_sdist("hello", "2.0", wheel), helper]))
    program = Program(tmp_path)
    program.use(server.url)
    recipe = Path(program.recipe())
    text = recipe.read_text().replace('["hello"]', '["hello", "helper"]')
    recipe.write_text(text)
    refused = program.json("env", "create", str(recipe), code=1)["error"]
    assert refused["type"] == "SolveError" and "no usable wheels" in " ".join(refused["messages"])
    recipe.write_text(text.replace("[activate]", "only_binary = false\n[activate]"))
    program("env", "create", str(recipe))
    program("env", "remove", "small", "--yes")
    server.close()
    program("env", "create", str(recipe), "--locked", "--offline")


def test_an_environment_behind_a_link_is_one_environment(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named, it is found through the link; as a folder, at its own place."""
    (program.home / "disk").mkdir()
    (program.home / "data").symlink_to(program.home / "disk")
    program("env", "create", program.recipe(), "--no-verify")
    real = program.home / "disk/cuready/envs/small"
    monkeypatch.setenv("XDG_DATA_HOME", program.env["XDG_DATA_HOME"])
    with held(program.prefix()):
        assert (
            "another cuready is working" in program("env", "remove", str(real), "-y", code=1).stderr
        )
    program("env", "remove", str(real), "--yes")
    assert program.json("env", "list")["environments"] == []


def test_an_environment_that_is_a_link_is_removed_with_what_it_leads_to(program: Program) -> None:
    program("env", "create", program.recipe(), "--no-verify")
    moved = program.home / "moved"
    program.prefix().rename(moved)
    program.prefix().symlink_to(moved)
    program("env", "remove", "small", "--yes")
    assert not moved.exists() and not program.prefix().is_symlink()
    assert program.json("env", "list")["environments"] == []


@pytest.mark.parametrize("target", [None, "/nonexistent/python3"], ids=["no file", "a dead link"])
def test_a_venv_whose_python_is_gone_is_said_to_be_and_made_anew_elsewhere(
    program: Program, target: str | None
) -> None:
    """As after an upgrade of the system's Python."""
    program("env", "create", program.recipe(), "--no-verify")
    python = program.prefix() / "bin/python"
    python.unlink()
    if target:
        python.symlink_to(target)
    for arguments in (("repair", "--dry-run"), ("repair",), ("update", "--yes")):
        command, *more = arguments
        told = program("env", command, "small", *more, code=1).stderr
        assert "its Python is gone" in told and (target or "") in told
    hint = told.partition("`cuready ")[2].partition("`")[0].replace("NEW", "anew")
    made = program.json(*shlex.split(hint))
    assert made["verification"]["failed"] == 0 and made["verification"]["passed"] == 2

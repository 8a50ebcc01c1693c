"""Both halves at once: conda packages linked, wheels unpacked on top, proved, changed, taken back.

The channel's `python` is a script that runs the interpreter of these tests as a virtual
environment at the prefix, so that site-packages lie where conda's would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.env_pip.conftest import Program, tree, wheels
from tests.integration.env_pip.package_index import PackageIndex

pytest.importorskip("rattler", reason="the extra conda is not installed")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "env_conda"))
from channels import Package, channel

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
REAL = Path(sys.executable).resolve()
REAL_CONDA = os.environ.get("CUREADY_TEST_CONDA", "")

RECIPE = """
schema = 1
name = "both"
summary = "conda and pip"
[conda]
python = "{minor}.*"
specs = ["tool{tool}", "helper"]
[pip]
requirements = ["hello{bound}"]
[activate]
variables = {{ BOTH = "yes" }}
[verify]
imports = ["hello"]
[[verify.run]]
name = "conda's helper is used, and the variable is set"
code = "import os, helper; assert helper.word == 'conda' and os.environ['BOTH'] == 'yes'"
[[verify.run]]
name = "the version is right"
code = "import hello; assert hello.who() == 'hello {version}', hello.who()"
"""


def packages() -> list[Package]:
    script = f'#!/bin/bash\nexec -a "$0" "{REAL}" "$@"\n'.encode()
    config = f"home = {REAL.parent}\nversion = {sys.version.split()[0]}\n".encode()
    python = Package("python", f"{MINOR}.0", "h0_cpython", files={
        "bin/python": script, "pyvenv.cfg": config, f"lib/python{MINOR}/site-packages/README": b"x"})  # fmt: skip
    info = f"lib/python{MINOR}/site-packages"
    meta = b"Metadata-Version: 2.1\nName: helper\nVersion: 1.0\n"
    helper = Package("helper", "1.0", "py_0", depends=(f"python {MINOR}.*",), files={
        f"{info}/helper.py": b"word = 'conda'\n", f"{info}/helper-1.0.dist-info/METADATA": meta,
        f"{info}/helper-1.0.dist-info/RECORD": b"helper.py,,\n",
        f"{info}/helper-1.0.dist-info/INSTALLER": b"conda\n"})  # fmt: skip
    tools = [Package("tool", v, "0", files={"bin/tool": f"#!/bin/sh\necho {v}\n".encode()})
             for v in ("1.0", "2.0")]  # fmt: skip
    return [python, helper, *tools]


@pytest.fixture(scope="module")
def both() -> Iterator[PackageIndex]:
    server = PackageIndex(wheels("1.0", "2.0"))
    for path, data in channel(*packages()).items():
        server.files[f"/anaconda/cloud/conda-forge/{path}"] = data
    yield server
    server.close()


@pytest.fixture
def program(tmp_path: Path, both: PackageIndex) -> Program:
    made = Program(tmp_path)
    made.use(both.url)
    base = both.url.removesuffix("/simple") + "/anaconda"
    file = tmp_path / "config/cuready/mirrors.toml"
    file.write_text(
        file.read_text() + f'[mirror.conda]\nbase = "{base}"\nchannels = ["conda-forge"]\n'
    )
    return made


def recipe(program: Program, tool: str = "", bound: str = "", version: str = "2.0") -> str:
    path = program.home / "both.toml"
    path.write_text(RECIPE.format(minor=MINOR, tool=tool, bound=bound, version=version))
    return str(path)


def test_made_and_made_again_offline_from_the_locks(program: Program, both: PackageIndex) -> None:
    made = program.json("env", "create", recipe(program))
    assert made["verification"]["passed"] == 3
    prefix = program.prefix("both")
    assert (prefix / f"lib/python{MINOR}/site-packages/helper.py").read_text() == "word = 'conda'\n"
    state = json.loads((prefix / "conda-meta/state").read_text())
    assert state == {"version": 1, "env_vars": {"BOTH": "yes"}}
    before, asked = tree(prefix), len(both.log)
    program("env", "remove", "both", "--yes")
    program("env", "create", str(program.home / "both.toml"), "--locked", "--offline")
    again = tree(prefix)
    differing = {name for name in before | again if before.get(name) != again.get(name)}
    assert not differing, differing
    assert len(both.log) == asked
    locks = program.home / "data/cuready/kept-locks/both"
    for lock in (locks / "both.lock", locks / "pylock.both.toml"):
        assert "127.0.0.1" not in lock.read_text()
    said = subprocess.run(
        [prefix / "bin/hello"], check=False, capture_output=True, text=True, timeout=60
    )
    assert said.stdout == "hello 2.0\n", said.stderr


def test_update_that_fails_its_proof_brings_both_halves_back(program: Program) -> None:
    program("env", "create", recipe(program, " 1.0.*", "==1.0", "1.0"))
    prefix = program.prefix("both")
    before = tree(prefix)
    locks = program.home / "data/cuready/kept-locks/both"
    kept = tree(locks)
    recipe(program, version="9.9")
    done = program.json("env", "update", "both", "--yes", code=1)
    assert done["restored"] and tree(prefix) == before
    assert tree(locks) == kept, "the locks of what was taken back were kept"
    recipe(program)
    done = program.json("env", "update", "both", "--yes")
    assert {"tool 2.0", "hello 2.0"} <= set(done["changed"])
    assert {name for name in kept if tree(locks)[name] != kept[name]} == set(kept)
    assert not (prefix / f"lib/python{MINOR}/site-packages/hello/only_1_0.py").exists()


def test_both_halves_are_repaired(program: Program) -> None:
    program("env", "create", recipe(program))
    prefix = program.prefix("both")
    before = tree(prefix)
    (prefix / "bin/tool").unlink()
    site = prefix / f"lib/python{MINOR}/site-packages"
    (site / "hello/__init__.py").unlink()
    damaged = program.json("env", "repair", "both", "--dry-run", code=1)["damaged"]
    assert {(item["name"], item["kind"]) for item in damaged} == {
        ("tool", "conda"),
        ("hello", "pip"),
    }
    assert "tool" in program.json("env", "repair", "both", "--offline")["damaged"][1]["name"]
    after = tree(prefix)
    assert {k for k in before | after if before.get(k) != after.get(k)} <= {"conda-meta/history"}


@pytest.mark.parametrize("point", ["old-packages-removed", "wheel-file:2", "pip-done", "verified",
                                   "marker-written"])  # fmt: skip
def test_killed_in_the_pip_phase_is_taken_back(program: Program, point: str) -> None:
    program("env", "create", recipe(program, " 1.0.*", "==1.0", "1.0"), "--no-verify")
    before = tree(program.prefix("both"))
    recipe(program)
    done = program("env", "update", "both", "--yes", code=None, CUREADY_KILL_AT=point)
    assert done.returncode == -9, done.stderr
    program("env", "repair", "both", "--offline", "--no-verify")
    assert tree(program.prefix("both")) == before


def test_activation_runs_in_bash(program: Program) -> None:
    program("env", "create", recipe(program), "--no-verify")
    script = program("env", "activate", "both", "--shell", "bash").stdout
    code = f'set -eu\n{script}\necho "$CONDA_PREFIX|$BOTH"\ntool\ncuready_deactivate\necho "${{BOTH-unset}}"'
    done = subprocess.run(
        ["bash", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.stdout.splitlines() == [f"{program.prefix('both')}|yes", "2.0", "unset"], (
        done.stderr
    )


@pytest.mark.skipif(not REAL_CONDA, reason="CUREADY_TEST_CONDA names a real conda")
def test_real_conda_lists_both_halves_and_runs_them(program: Program) -> None:
    program("env", "create", recipe(program), "--no-verify")
    prefix, home = program.prefix("both"), {**os.environ, "HOME": str(program.home)}

    def conda(*args: str) -> str:
        command = [REAL_CONDA, *args, "-p", str(prefix)]
        done = subprocess.run(
            command, env=home, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    listed = {item["name"]: item for item in json.loads(conda("list", "--json"))}
    # mamba lists only wheels whose INSTALLER is pip or uv.
    if "mamba" not in Path(REAL_CONDA).name:
        assert listed["hello"]["channel"] == "pypi" and listed["hello"]["version"] == "2.0"
    assert listed["tool"]["channel"] == "conda-forge"
    command = [REAL_CONDA, "run", "-p", str(prefix), "sh", "-c", 'hello; tool; echo "$BOTH"']
    done = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["hello", "2.0", "2.0", "yes"], done.stderr


def test_conda_is_told_where_the_environment_is(program: Program) -> None:
    listed = program.home / ".conda/environments.txt"
    program("env", "create", recipe(program), "--no-verify")
    assert listed.read_text() == f"{program.prefix('both')}\n"
    assert [item["name"] for item in program.json("env", "list")["environments"]] == ["both"]
    listed.write_text(f"/elsewhere\n{listed.read_text()}")
    program("env", "update", "both", "--yes", "--no-verify")
    program("env", "remove", "both", "--yes")
    assert listed.read_text() == "/elsewhere\n"

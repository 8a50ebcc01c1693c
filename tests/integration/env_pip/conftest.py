"""cuready as a program of its own, in a home of its own, with an index of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import DOWNLOADS
from tests.integration.env_pip.package_index import PackageIndex, make_wheel

RECIPE = """
schema = 1
name = "small"
summary = "two small wheels"
[python]
version = ">=3.10"
[pip]
requirements = ["hello{bound}"]
[activate]
variables = {{ HELLO_WORD = 'it''s "$HOME"' }}
[verify]
imports = ["hello"]
[[verify.run]]
name = "it says who it is"
code = \"\"\"
import hello, helper
assert hello.who() == "hello {version}", hello.who()
\"\"\"
""".replace("''", "\u2019")


class Program:
    """Runs ``cuready`` in one sandbox. ``home`` holds its data, cache and configuration."""

    def __init__(self, home: Path, cache: Path | None = None) -> None:
        self.home = home
        self.env = {
            **os.environ,
            "HOME": str(home),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"),
            "CUREADY_CACHE_DIR": str(cache or home / "cache"),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "NO_COLOR": "1",
        }

    def __call__(
        self, *arguments: str, code: int | None = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it; ``code`` is the exit status that is expected (None: any)."""
        done = subprocess.run(
            [sys.executable, "-m", "cuready", *arguments],
            check=False,
            cwd=self.home,
            env={**self.env, **variables},
            capture_output=True,
            text=True,
            timeout=250,
            stdin=subprocess.DEVNULL,
        )
        told = f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, told
        assert "Traceback" not in done.stderr, told
        return done

    def json(self, *arguments: str, code: int = 0, **variables: str) -> Any:
        """The document that ``--format json`` prints."""
        return json.loads(self(*arguments, "--format", "json", code=code, **variables).stdout)

    def use(self, *indexes: str) -> None:
        """Ask these indexes, in this order, and no others."""
        entries = [
            f'[[mirror]]\nname = "lab{number}"\nas_of = 2026-11-23\n[mirror.pypi]\nindex_url = "{url}"\n'
            for number, url in enumerate(indexes)
        ]
        folder = self.home / "config" / "cuready"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "mirrors.toml").write_text("shipped = false\n" + "".join(entries))

    def recipe(self, bound: str = "", version: str = "2.0") -> str:
        """The path of the small recipe."""
        path = self.home / "small.toml"
        path.write_text(RECIPE.format(bound=bound, version=version), "utf-8")
        return str(path)

    def prefix(self, name: str = "small") -> Path:
        """Where an environment without ``--prefix`` is."""
        return self.home / "data" / "cuready" / "envs" / name


def tree(folder: Path) -> dict[str, str]:
    """sha256 of every file and the target of every link; compiled files and the marker left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".pyc" or name == ".cuready/env.json":
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def wheels(*versions: str) -> dict[str, bytes]:
    """hello in these versions, and the helper that it needs."""
    made = [make_wheel("helper", "1.0", {"helper.py": "word = 'help'\n"})]
    for version in versions:
        body = f"import helper\ndef who():\n    return 'hello {version}'\ndef main():\n    print(who())\n"
        files = {"hello/__init__.py": body, f"hello/only_{version.replace('.', '_')}.py": "x = 1\n"}
        made.append(
            make_wheel("hello", version, files, requires=("helper",), script="hello = hello:main")
        )
    return dict(made)


@pytest.fixture(scope="module")
def index() -> Iterator[PackageIndex]:
    """hello 1.0 and 2.0."""
    server = PackageIndex(wheels("1.0", "2.0"))
    yield server
    server.close()


@pytest.fixture
def program(tmp_path: Path, index: PackageIndex) -> Program:
    """A fresh sandbox that asks the index above."""
    made = Program(tmp_path)
    made.use(index.url)
    return made


@pytest.fixture(scope="session")
def real_program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Program]:
    """A sandbox with the real index and the downloads of earlier runs."""
    return lambda: Program(tmp_path_factory.mktemp("real"), DOWNLOADS / "env-cache")

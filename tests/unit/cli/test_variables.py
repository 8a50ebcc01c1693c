"""Variables of ours that a user may set are those of the page about them, and completion works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "variables.md").read_text(encoding="utf-8")
FOR_TESTS = {"CUREADY_KILL_AT", "CUREADY_ENV_KILL_AT"}


def test_the_page_has_the_variables_that_the_code_reads() -> None:
    sources = [*(ROOT / "python").rglob("*.py"), *(ROOT / "cpp" / "src").rglob("*.cpp")]
    read = {
        name
        for path in sources
        for name in re.findall(r'"(CUREADY_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert read > FOR_TESTS
    assert read - FOR_TESTS == set(re.findall(r"`(CUREADY_[A-Z_]+)(?:=1)?`", PAGE))


def test_completion_takes_the_variable_that_the_page_names() -> None:
    assert "_CUREADY_COMPLETE=bash_source cuready" in PAGE
    asked = {
        "_CUREADY_COMPLETE": "bash_complete",
        "COMP_WORDS": "cuready env cre",
        "COMP_CWORD": "2",
    }
    command = [sys.executable, "-m", "cuready"]
    done = subprocess.run(
        command, check=False, env={**os.environ, **asked}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["plain,create"], done.stderr

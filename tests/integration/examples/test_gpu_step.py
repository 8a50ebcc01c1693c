"""The GPU suite's step `examples`, as far as it goes without a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from runtime_sim import SimLibraries
from tests.integration.examples.conftest import EXAMPLES


def test_what_needs_no_gpu_works(libraries: SimLibraries, tmp_path: Path) -> None:
    script = EXAMPLES.parent / "ci" / "gpu.sh"
    environment = {"PYTHON": sys.executable, "CUREADY_SIM_DIR": str(libraries.folder)}
    done = subprocess.run(
        [script, "--simulated", "--work", tmp_path / "work", "examples"], capture_output=True,
        text=True, timeout=240, check=False, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    results = json.loads((tmp_path / "work" / "results" / "suite.json").read_text())
    rows = {row["what"]: row for row in results["examples"]["rows"]}
    for name in ("zero_copy, cuready", "cpp_embed through find_package",
                 "cpp_pool through find_package"):  # fmt: skip
        assert rows[name]["met"] is True, rows[name]
    assert not any(row["met"] is False for row in rows.values())

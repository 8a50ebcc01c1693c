"""Other Pythons than the one that runs the tests."""

from __future__ import annotations

import subprocess


def ask(python: str, program: str) -> str | None:
    """What ``program`` prints in that interpreter; None when it fails."""
    try:
        done = subprocess.run(
            [python, "-c", program], capture_output=True, text=True, timeout=120, check=False
        )
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None

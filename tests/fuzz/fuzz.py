"""Coverage-guided fuzzing of one target with Atheris (libFuzzer).

    python tests/fuzz/fuzz.py TARGET [libFuzzer options] [FOLDER...]

``ci/fuzz.sh SECONDS`` runs all of them. Atheris is in no extra: ``pip install atheris``.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris

with atheris.instrument_imports(include=["cuready", "tests"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run the target that the command line names."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()

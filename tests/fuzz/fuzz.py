"""Coverage-guided fuzzing of one target with Atheris (libFuzzer).

    python tests/fuzz/fuzz.py TARGET [libFuzzer options] [FOLDER...]

``ci/fuzz.sh`` runs all of them. Atheris is in no extra: ``pip install --group ci``.
"""

from __future__ import annotations

import json
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))
sys.path.insert(0, str(Path(__file__).parents[2]))

import atheris

ROOT = Path(__file__).parents[2]

# An editable install brings an import hook of its own, whose modules atheris cannot instrument:
# without this, nothing of cuready would guide the search.
sys.meta_path[:] = [finder for finder in sys.meta_path if isinstance(finder, type)]

# The parsers in pure Python that ours stand on are followed too: what they refuse guides the search.
FOLLOWED = ["cuready", "tests.fuzz", "yaml", "tomllib", "tomlkit"]

_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**63, 1.5, "", "0", "x", "9" * 30, "12.4", "../..", "\ud800", [], {}, [None],
    "535.104.05", "2.6.0+cu124", "sm_120", "libcuda.so.1", {"name": "torch", "version": "2"},
)  # fmt: skip


def _mutate_json(data: bytes, limit: int, seed: int) -> bytes:
    """Change, remove or copy one value of a JSON document; bytes are seldom a document any more."""
    rng = random.Random(seed)
    try:
        document = json.loads(data)
        places = list(_places(document)) if isinstance(document, (dict, list)) else []
        if not places or rng.random() < 0.2:
            raise ValueError("change the bytes")
    except (ValueError, RecursionError):
        return bytes(atheris.Mutate(data, limit))
    for _ in range(rng.choice((1, 1, 2, 4))):
        box, key = rng.choice(places)
        if rng.random() < 0.1 and isinstance(box, dict):
            box.pop(key, None)
        elif rng.random() < 0.4:
            other, name = rng.choice(places)
            with_value = other.get(name) if isinstance(other, dict) else None
            box[key] = json.loads(json.dumps(with_value))
        else:
            box[key] = rng.choice(_VALUES)
    changed = json.dumps(document).encode()
    return changed if len(changed) <= limit else bytes(atheris.Mutate(data, limit))


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield value, key
        if isinstance(item, (dict, list)):
            yield from _places(item)


def check_instrumented() -> None:
    """A run that no coverage guides looks just like one that it does: refuse it."""
    from cuready.probe.elf import ElfFile

    if "_trace_branch" not in ElfFile.read.__code__.co_names:
        sys.exit("fuzz: cuready's modules were imported without atheris's instrumentation")


def _mutate_lock(data: bytes, limit: int, seed: int) -> bytes:
    """Rattler reads a lock in Rust, where nothing guides the search: start from a whole one often.

    JSON is YAML too.
    """
    if seed % 4:
        data = (ROOT / "tests/data/fuzz/conda_lock/as-json").read_bytes()
    return _mutate_json(data, limit, seed)


MUTATORS = {"snapshot": _mutate_json, "conda_lock": _mutate_lock}


def main() -> None:
    """Run the target that the command line names."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=FOLLOWED):
        from tests.fuzz.targets import load

        target = load(name)
        check_instrumented()
    print(f"fuzz: ready after {time.process_time():.1f} s", file=sys.stderr, flush=True)
    extra = {"custom_mutator": MUTATORS[name]} if name in MUTATORS else {}
    atheris.Setup(sys.argv, target, **extra)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

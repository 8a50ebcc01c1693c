"""A few KB of zstd or bzip2 can stand for any length: an index has a largest size."""

from __future__ import annotations

import asyncio
import bz2
from pathlib import Path

import pytest

zstandard = pytest.importorskip("zstandard")
operations = pytest.importorskip("cuready.env.conda.operations")

INDEX = (
    b'{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {}, "repodata_version": 1}'
)


def unpack(folder: Path, data: bytes) -> int:
    (folder / "fetched").write_bytes(data)
    target = folder / "repodata.json"
    found = asyncio.run(operations.unpack_index(source=str(folder / "fetched"), target=str(target)))
    return int(found["size"])


@pytest.mark.parametrize("pack", [bytes, bz2.compress, zstandard.compress])
def test_an_index_beyond_the_limit_is_refused_and_leaves_nothing(
    pack: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(pack)
    monkeypatch.setattr(operations, "INDEX_LIMIT", len(INDEX))
    assert unpack(tmp_path, pack(INDEX)) == len(INDEX)
    with pytest.raises(operations.EngineError, match="an index of more than") as caught:
        unpack(tmp_path, pack(INDEX + b" "))
    assert caught.value.kind == "content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fetched", "repodata.json"]

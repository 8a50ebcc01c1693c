"""The Snapshot: JSON both ways without loss, newer fields kept, and what is no snapshot refused."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuready import snapshot as module
from cuready.cli.main import main
from cuready.errors import SnapshotError
from cuready.snapshot import (
    SCHEMA_VERSION,
    Distribution,
    PciGpu,
    Platform,
    PythonEnv,
    ReaderOutcome,
    Scope,
    Snapshot,
    load,
)

TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    Any: JSON,
}


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that fit one field's type, dataclasses and all."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in SCALARS:
        return SCALARS[hint]
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if a is type(None) else values_of(a) for a in arguments))
    if origin is tuple:
        return st.lists(values_of(arguments[0]), max_size=2).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values_of(arguments[1]), max_size=2)
    return instances_of(hint)


def instances_of(model: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(model)
    fields = {field.name: values_of(hints[field.name]) for field in dataclasses.fields(model)}
    if model is Snapshot:
        fields["schema_version"] = st.just(SCHEMA_VERSION)
    needed = {
        field.name
        for field in dataclasses.fields(model)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    optional = {name: value for name, value in fields.items() if name not in needed}
    required = {name: fields[name] for name in needed}
    return st.fixed_dictionaries(required, optional=optional).map(lambda kw: model(**kw))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(instances_of(Snapshot))
def test_json_out_and_in_is_the_same_snapshot(original: Snapshot) -> None:
    document = json.loads(original.dumps())
    again = Snapshot.from_dict(document)
    assert again == original
    assert again.to_dict() == document


def test_fields_at_their_default_are_left_out() -> None:
    assert Snapshot().to_dict() == {"schema_version": SCHEMA_VERSION}
    assert Snapshot(platform=Platform(system="Linux")).to_dict()["platform"] == {"system": "Linux"}


def test_false_and_zero_are_facts_and_are_kept() -> None:
    original = Snapshot(
        platform=Platform(secure_boot=False, cpu_count=0),
        readers=(ReaderOutcome("host", "ok", ms=0.0),),
    )
    again = Snapshot.from_dict(json.loads(original.dumps()))
    assert again.platform.secure_boot is False
    assert again.platform.cpu_count == 0


def test_unknown_fields_are_kept_at_every_level() -> None:
    document = {
        "schema_version": SCHEMA_VERSION,
        "quantum": {"qubits": 3},
        "platform": {"system": "Linux", "planet": "Earth"},
        "gpus": [{"address": "0000:01:00.0", "device_id": "0x2684", "colour": "green"}],
        "python": {"distributions": [{"name": "a", "version": "1", "location": "/s", "x": [1]}]},
    }
    again = Snapshot.from_dict(document)
    assert again.platform.system == "Linux"
    assert again.to_dict() == document


def test_a_name_that_is_no_utf8_survives() -> None:
    original = Snapshot(scope=Scope(cwd="/data/caf\udce9"))
    text = original.dumps()
    text.encode("utf-8")  # what a stream does with it
    assert Snapshot.from_dict(json.loads(text)).scope.cwd == "/data/caf\udce9"


def test_a_reader_is_found_by_its_name() -> None:
    found = Snapshot(readers=(ReaderOutcome("host", "ok"), ReaderOutcome("pci", "skipped", "x")))
    entry = found.reader("pci")
    assert entry is not None and entry.reason == "x"
    assert found.reader("other") is None


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (None, "schema_version"),
        ([], "schema_version"),
        ({}, "schema_version"),
        ({"schema_version": "1"}, "schema_version"),
        ({"schema_version": True}, "schema_version"),
        ({"schema_version": 0}, "schema_version"),
        ({"schema_version": SCHEMA_VERSION + 1}, f"schema_version is {SCHEMA_VERSION + 1}"),
        ({"schema_version": 1, "platform": []}, "$.platform"),
        ({"schema_version": 1, "platform": {"cpu_count": "two"}}, "$.platform.cpu_count"),
        ({"schema_version": 1, "platform": {"cpu_count": True}}, "$.platform.cpu_count"),
        ({"schema_version": 1, "gpus": {}}, "$.gpus"),
        ({"schema_version": 1, "gpus": [{"address": "x"}]}, "$.gpus[0]"),
        ({"schema_version": 1, "gpus": [{"address": "x", "device_id": None}]}, "$.gpus[0]"),
        ({"schema_version": 1, "environment": []}, "$.environment"),
    ],
)
def test_what_is_no_snapshot_is_refused_by_the_place_that_does_not_fit(
    document: Any, named: str
) -> None:
    with pytest.raises(SnapshotError) as caught:
        Snapshot.from_dict(document)
    assert named in caught.value.message


@given(st.data())
def test_damaged_documents_raise_nothing_else(data: st.DataObject) -> None:
    good = Snapshot(
        platform=Platform(system="Linux"),
        gpus=(PciGpu("0000:01:00.0", "0x2684"),),
        python=PythonEnv(distributions=(Distribution("torch", "2.9", "/site"),)),
    )
    document: Any = good.to_dict()
    place = document
    for _ in range(data.draw(st.integers(0, 3))):
        items = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not items:
            break
        key = data.draw(st.sampled_from(items))
        if isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
            place = place[key]
        else:
            place[key] = data.draw(JSON)
            break
    try:
        Snapshot.from_dict(document)
    except SnapshotError as error:
        assert error.message


GOOD = Snapshot(platform=Platform(system="Linux")).dumps().encode()


@pytest.mark.parametrize(
    "data",
    [b"", b"   ", GOOD[:-10], b"\x00\xff garbage", b"[" * 100_000, b'"text"', b"1" * 10_000],
    ids=["empty", "blank", "cut", "binary", "nested", "string", "number"],
)
def test_files_that_are_no_snapshot_are_named_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "machine.json"
    path.write_bytes(data)
    with pytest.raises(SnapshotError) as caught:
        load(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_a_huge_file_is_refused_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_FILE_BYTES", 1000)
    path = tmp_path / "machine.json"
    path.write_bytes(b'{"schema_version": 1, "x": "' + b"y" * 5000)
    with pytest.raises(SnapshotError, match="too large"):
        load(path)


@pytest.mark.parametrize("name", ["missing.json", ""])
def test_what_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        load(tmp_path / name)
    assert str(tmp_path) in caught.value.message


def test_a_file_of_windows_powershell_is_read(tmp_path: Path) -> None:
    path = tmp_path / "machine.json"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text(GOOD.decode(), encoding=encoding)
        assert load(path).platform.system == "Linux"


def test_the_command_writes_what_load_reads(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "machine.json"
    (tmp_path / "root").mkdir()
    assert main(["snapshot", "--root", str(tmp_path / "root"), "--output", str(path)]) == 0
    assert main(["snapshot", "--root", str(tmp_path / "root")]) == 0
    written, printed = load(path), Snapshot.from_dict(json.loads(capfd.readouterr().out))
    assert written.scope == printed.scope
    assert written.platform == printed.platform
    assert [reader.name for reader in written.readers] == [r.name for r in printed.readers]


def test_the_command_names_a_file_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "no" / "machine.json"
    (tmp_path / "root").mkdir()
    code = main(["snapshot", "--root", str(tmp_path / "root"), "--output", str(target)])
    assert code == 2
    assert str(target) in capsys.readouterr().err

"""`cuready doctor` on the command line: options, exit codes, bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from tests.zoo.base import gpu_box
from tests.zoo.broken_driver import kernel_update_without_module
from tests.zoo.broken_visibility import docker_without_toolkit

from cuready.cli.main import main
from cuready.doctor import catalogue, managed
from cuready.doctor.render.document import schema

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = main(["doctor", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def broken(tmp_path: Path) -> str:
    path = tmp_path / "broken.json"
    path.write_text(kernel_update_without_module().dumps())
    return str(path)


@pytest.fixture
def warned(tmp_path: Path) -> str:
    path = tmp_path / "warned.json"
    path.write_text(docker_without_toolkit().dumps())
    return str(path)


def test_broken_machine_exits_with_one(run: Run, broken: str) -> None:
    code, out, err = run("--from", broken)
    assert (code, err) == (1, "")
    assert "DRV01" in out


def test_healthy_machine_exits_with_zero(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "healthy.json"
    path.write_text(gpu_box().dumps())
    code, out, _ = run("--from", str(path))
    assert code == 0
    assert "No problems found" in out


def test_warning_fails_only_when_strict(run: Run, warned: str) -> None:
    assert run("--from", warned)[0] == 0
    assert run("--from", warned, "--strict")[0] == 1


@pytest.mark.parametrize("output_format", ["json", "sarif", "junit", "github"])
def test_machine_formats_have_nothing_else_on_stdout(
    run: Run, broken: str, output_format: str
) -> None:
    code, out, err = run("--from", broken, "--format", output_format)
    assert (code, err) == (1, "")
    assert {"json": "{", "sarif": "{", "junit": "<", "github": ":"}[output_format] == out[0]


def test_selection_takes_ids_groups_and_lists(run: Run, broken: str) -> None:
    assert run("--from", broken, "--only", "PY,TRT04")[0] == 0
    assert run("--from", broken, "--skip", "drv")[0] == 0
    assert run("--from", broken, "--only", "DRV01")[0] == 1


@pytest.mark.parametrize("option", ["--only", "--skip"])
def test_unknown_id_is_wrong_usage_with_a_suggestion(run: Run, option: str) -> None:
    code, _, err = run(option, "DRV1")
    assert code == 2
    assert "'DRV1'" in err and "did you mean DRV01?" in err


def test_list_names_all_checks(run: Run) -> None:
    code, out, _ = run("--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*catalogue.IDS, *managed.IDS]
    listed = json.loads(run("--list", "--format", "json")[1])
    assert {"id", "severity", "title"} == set(listed["checks"][0])
    assert [check["id"] for check in listed["checks"]] == [*catalogue.IDS, *managed.IDS]


def test_snapshot_goes_with_no_other_place(run: Run, broken: str) -> None:
    code, _, err = run("--from", broken, "--python", "/usr/bin/python3")
    assert code == 2
    assert "--from" in err


BAD_FILES = {
    "truncated": b'{"schema_version": 1, "platform": {"sys',
    "not-json": b"\x00\x01garbage",
    "wrong-shape": b'{"schema_version": 1, "gpus": "all of them"}',
    "no-snapshot": b'{"hello": "world"}',
    "empty": b"",
    "a-list": b"[]",
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_snapshot_is_one_line_that_names_the_file(run: Run, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.json"
    path.write_bytes(BAD_FILES[name])
    code, out, err = run("--from", str(path))
    assert (code, out) == (2, "")
    first, *hints = err.splitlines()
    assert first.startswith("cuready: error:") and str(path) in first
    assert all(line.startswith("  hint:") for line in hints)


def test_missing_snapshot_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--from", str(tmp_path / "nowhere.json"))
    assert code == 2 and "nowhere.json" in err


def test_snapshot_with_fields_of_a_newer_cuready_is_read(run: Run, tmp_path: Path) -> None:
    document = json.loads(gpu_box().dumps())
    document["quantum"] = {"x": 1}
    document["driver"]["entanglement"] = True
    path = tmp_path / "newer.json"
    path.write_text(json.dumps(document))
    assert run("--from", str(path))[0] == 0


def test_snapshot_of_a_future_version_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    document = json.loads(gpu_box().dumps())
    path = tmp_path / "future.json"
    path.write_text(json.dumps({**document, "schema_version": 99}))
    code, _, err = run("--from", str(path))
    assert code == 2
    assert str(path) in err and "99" in err


@pytest.mark.parametrize(
    "arguments", [["--only", "NOPE"], ["--from", "/nonexistent/x.json"], ["--no-such-option"]]
)
def test_json_stays_one_valid_document_when_the_run_fails(run: Run, arguments: list[str]) -> None:
    code, out, err = run("--format", "json", *arguments)
    assert code == 2
    jsonschema.Draft202012Validator(schema()).validate(json.loads(out))
    assert "Traceback" not in err


def test_command_imports_nothing_heavy(broken: str) -> None:
    script = (
        "import sys; from cuready.cli.main import main; main(['doctor', '--from', sys.argv[1]]); "
        "heavy = {'torch', 'numpy', 'rich', 'httpx', 'jsonschema', 'rattler', 'yaml', 'elftools', "
        "'cuready._core'}; print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, broken],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr.strip() == "[]"


# A reader that says that it has started and then sleeps far longer than anybody would wait.
SLEEPER = """
import os, sys, time
from cuready.probe import registry
def sleeper(context):
    os.write(2, b"started\\n")
    time.sleep(600)
registry.READERS = (registry.Reader("pci", sleeper, limit_s=float(sys.argv[1])),)
from cuready.cli.main import main
from cuready.doctor import catalogue
sys.exit(main(["doctor", "--format", "json"]))
"""


def sleeping(limit_s: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SLEEPER, limit_s], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.skipif(os.name == "nt", reason="SIGINT is sent to a process on POSIX only")
def test_interrupt_ends_the_run_while_a_reader_hangs() -> None:
    with sleeping("300") as process:
        assert process.stderr is not None and process.stderr.readline() == b"started\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["error"]["type"] == "Interrupted"
    assert b"Traceback" not in err


def test_reader_that_hangs_costs_its_own_answer_only() -> None:
    with sleeping("0.2") as process:
        out, _ = process.communicate(timeout=30)
    document = json.loads(out)
    statuses = {item["id"]: item for item in document["checks"]}
    assert statuses["DRV01"]["status"] == "unknown"
    assert "no answer within" in statuses["DRV01"]["reason"]
    assert document["summary"]["errors"] == 0


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--format", "json"], ["--help"]])
def test_a_full_disk_is_told_as_one(arguments: list[str]) -> None:
    """`cuready doctor > FILE` where FILE's disk takes no more."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cuready", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == (
        "cuready: error: the output cannot be written: No space left on device\n"
    )


@pytest.mark.parametrize("value", ["", ",", " , "])
def test_only_needs_an_id(run: Run, warned: str, value: str) -> None:
    code, _, error = run("--from", warned, "--only", value)
    assert code == 2
    assert "an id or a group is needed" in error


def test_a_mistyped_command_gets_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctr"]) == 2
    assert "Did you mean 'doctor'?" in capsys.readouterr().err
    assert main(["nothing-like-it"]) == 2
    assert "No such command 'nothing-like-it'" in capsys.readouterr().err

"""`--network` and `explain --here` climb to the configured sources; failures become findings."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import cuready

PACKAGE = str(Path(cuready.__file__).resolve().parents[1])
PAGE = b'<!DOCTYPE html><html><body><a href="pip-26.3-py3-none-any.whl">pip</a></body></html>'


class Index(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        found = self.path.startswith("/simple/pip")
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE) if found else 0))
        self.end_headers()
        self.wfile.write(PAGE if found else b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple"
    server.shutdown()
    server.server_close()


@pytest.fixture
def nobody() -> str:
    """An address on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}/simple"


def run(*arguments: str, tmp_path: Path, **variables: str) -> tuple[int, dict[str, Any]]:
    kept = {
        k: v
        for k, v in os.environ.items()
        if "proxy" not in k.lower() and not k.startswith(("PIP_", "UV_", "CONDA"))
    }
    env = {
        **kept,
        "PATH": os.defpath,
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PYTHONPATH": PACKAGE,
        **variables,
    }
    command = [sys.executable, "-m", "cuready", *arguments, "--format", "json"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert "Traceback" not in done.stderr and "internal error" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def network(tmp_path: Path, **variables: str) -> tuple[int, dict[str, str]]:
    code, document = run("doctor", "--network", "--only", "NET", tmp_path=tmp_path, **variables)
    return code, {item["id"]: item["title"] for item in document["findings"]}


def test_an_index_that_answers_is_no_finding(tmp_path: Path, index: str) -> None:
    assert network(tmp_path, PIP_INDEX_URL=index) == (0, {})


def test_an_index_that_nobody_serves_is_an_error(tmp_path: Path, nobody: str) -> None:
    code, found = network(tmp_path, PIP_INDEX_URL=nobody)
    assert code == 1
    assert nobody in found["NET01"]


def test_an_extra_index_that_nobody_serves_is_a_warning(
    tmp_path: Path, index: str, nobody: str
) -> None:
    code, found = network(tmp_path, PIP_INDEX_URL=index, PIP_EXTRA_INDEX_URL=nobody)
    assert code == 0
    assert set(found) == {"NET02"}


def test_without_the_option_nothing_is_asked(tmp_path: Path, nobody: str) -> None:
    code, document = run("doctor", "--only", "NET", tmp_path=tmp_path, PIP_INDEX_URL=nobody)
    assert {item["status"] for item in document["checks"]} == {"skipped"}
    assert code == 0


def test_credentials_of_an_index_are_in_no_answer(tmp_path: Path, nobody: str) -> None:
    secret = nobody.replace("http://", "http://ann:hunter2@")
    _, document = run(
        "doctor", "--network", "--only", "NET", tmp_path=tmp_path, PIP_INDEX_URL=secret
    )
    assert document["findings"]
    assert "hunter2" not in json.dumps(document)


def test_pips_message_leads_to_the_configured_index(tmp_path: Path, nobody: str) -> None:
    message = (
        "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)"
    )
    _, document = run("explain", "--here", message, tmp_path=tmp_path, PIP_INDEX_URL=nobody)
    assert document["addresses"][nobody]["cause"] == "connect-refused"


def test_a_message_that_names_an_address_leads_to_it(tmp_path: Path, nobody: str) -> None:
    message = f"CondaHTTPError: HTTP 000 CONNECTION FAILED for url <{nobody}/repodata.json>"
    _, document = run("explain", "--here", message, tmp_path=tmp_path)
    assert document["addresses"][f"{nobody}/repodata.json"]["cause"] == "connect-refused"

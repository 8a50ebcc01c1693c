"""`cuready mirror test` and `use auto` over sites on 127.0.0.1: the one that answers rightly wins.

The catalogue here is the user's own file with ``shipped = false``: no real mirror is asked.
"""

from __future__ import annotations

import io
import json
import os
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cuready.cli.main import main

HIDDEN = ("CONDA", "PIP_", "UV_", "PIXI_", "RATTLER_", "XDG_", "VIRTUAL_ENV")


def archive() -> bytes:
    """A ZIP file, which is what a wheel and a .conda package are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("data", os.urandom(400_000))
    return stream.getvalue()


PACKAGE = archive()
REPODATA = json.dumps(
    {"packages": {}, "packages.conda": {"x-1-0.conda": {"name": "x", "size": len(PACKAGE)}}}
).encode()
GOOD: dict[str, tuple[str, bytes]] = {
    "/conda/cloud/conda-forge/noarch/repodata.json": ("application/json", REPODATA),
    "/conda/cloud/conda-forge/noarch/x-1-0.conda": ("application/octet-stream", PACKAGE),
    "/simple/pip/": ("text/html", b'<html><a href="/files/pip-26-py3-none-any.whl">pip</a></html>'),
    "/files/pip-26-py3-none-any.whl": ("application/octet-stream", PACKAGE),
}
PORTAL = b"<!DOCTYPE html><html><title>campus login</title></html>"


def site(pages: dict[str, tuple[str, bytes]] | None) -> ThreadingHTTPServer:
    """A server with ``pages``; without, one that answers every request with a login page."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found = ("text/html", PORTAL) if pages is None else pages.get(self.path)
            kind, body = found or ("text/plain", b"not here")
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(HIDDEN) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def describe(home: Path) -> Iterator[Callable[..., None]]:
    """``describe(good=PAGES, portal=None, dead="dead")`` writes the user's own catalogue."""
    servers: list[ThreadingHTTPServer] = []

    def write(**sites: Any) -> None:
        entries = ["shipped = false"]
        for name, pages in sites.items():
            if pages == "dead":
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    port = free.getsockname()[1]
            else:
                servers.append(site(pages))
                port = servers[-1].server_address[1]
            entries.append(
                f'[[mirror]]\nname = "{name}"\nas_of = 2026-11-01\n'
                f'[mirror.conda]\nbase = "http://127.0.0.1:{port}/conda"\n'
                'channels = ["conda-forge"]\n'
                f'[mirror.pypi]\nindex_url = "http://127.0.0.1:{port}/simple"\n'
            )
        path = home / ".config" / "cuready" / "mirrors.toml"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join(entries))

    yield write
    for server in servers:
        server.shutdown()
        server.server_close()


def test_auto_takes_the_site_with_the_right_content(
    home: Path, describe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    describe(portal=None, dead="dead", empty={}, good=GOOD)
    assert main(["mirror", "use", "auto", "--for", "conda", "--for", "pip"]) == 0
    said = capsys.readouterr().out
    assert said.count("(good)") == 3
    condarc = (home / ".condarc").read_text()
    assert "conda-forge: http://127.0.0.1:" in condarc
    assert condarc.endswith("/conda/cloud\n")
    assert "/simple\n" in (home / ".config" / "pip" / "pip.conf").read_text()
    assert main(["mirror", "restore"]) == 0
    assert not (home / ".condarc").exists()


def test_auto_without_any_right_answer_changes_nothing_and_names_each_cause(
    home: Path, describe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".condarc").write_text("channels: [conda-forge]\n")
    describe(portal=None, dead="dead", empty={})
    assert main(["mirror", "use", "auto", "--for", "conda"]) == 1
    said = capsys.readouterr().err
    for name in ("portal", "dead", "empty"):
        assert f"  {name}: " in said
    assert (home / ".condarc").read_text() == "channels: [conda-forge]\n"


def test_the_test_ranks_only_what_answered_rightly(
    home: Path, describe: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    describe(portal=None, good=GOOD, dead="dead")
    assert main(["mirror", "test", "--format", "json"]) == 0
    uses = json.loads(capsys.readouterr().out)["uses"]
    for use in ("conda", "pypi"):
        assert uses[use]["first"] == "good"
        ranks = {item["name"]: item["rank"] for item in uses[use]["mirrors"]}
        assert ranks == {"good": 1, "portal": None, "dead": None}
    assert main(["mirror", "test", "dead", "--for", "pypi"]) == 1
    assert "no mirror gave the right answer" in capsys.readouterr().out

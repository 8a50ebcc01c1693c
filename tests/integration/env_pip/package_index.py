"""A package index on 127.0.0.1 with wheels made here, laid out as PyPI's copies are."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def make_wheel(
    name: str,
    version: str,
    files: Mapping[str, str],
    *,
    requires: tuple[str, ...] = (),
    script: str = "",
) -> tuple[str, bytes]:
    """(file name, bytes) of a wheel with ``files``; ``script``: ``name = module:function``."""
    info = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {item}\n" for item in requires)
    everything = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if script:
        everything[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script}\n"
    record = ""
    for path, text in everything.items():
        digest = (
            base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        )
        record += f"{path},sha256={digest},{len(text.encode())}\n"
    everything[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in everything.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return f"{name}-{version}-py3-none-any.whl", stream.getvalue()


def make_sdist(name: str, version: str, wheel: tuple[str, bytes]) -> tuple[str, bytes]:
    """A source distribution whose own build backend, which needs no tools, gives ``wheel``."""
    file, data = wheel
    backend = (
        "import base64, pathlib\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        f"    pathlib.Path(folder, {file!r}).write_bytes(base64.b64decode({base64.b64encode(data)!r}))\n"
        f"    return {file!r}\n"
    )
    project = "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    info = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    files = {"backend.py": backend, "pyproject.toml": project, "PKG-INFO": info}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, text in files.items():
            entry = tarfile.TarInfo(f"{name}-{version}/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", stream.getvalue()


class PackageIndex:
    """Serves ``/simple/NAME/`` and ``/packages/xx/yy/…``. ``log`` has the path of every request."""

    def __init__(self, wheels: Mapping[str, bytes], *, lie: bool = False) -> None:
        self.files: dict[str, bytes] = {}
        self.log: list[str] = []
        links: dict[str, str] = {}
        for name, data in wheels.items():
            digest = hashlib.blake2b(data, digest_size=32).hexdigest()
            path = f"/packages/{digest[:2]}/{digest[2:4]}/{digest[4:]}/{name}"
            self.files[path] = b"<html>log in</html>" if lie else data
            package = name.split("-")[0]
            sha256 = hashlib.sha256(data).hexdigest()
            if not name.endswith(".whl"):
                links[package] = f'<a href="{path}#sha256={sha256}">{name}</a>\n'
                continue
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                metadata = next(item for item in archive.namelist() if item.endswith("/METADATA"))
                self.files[f"{path}.metadata"] = archive.read(metadata)  # PEP 658
            core = hashlib.sha256(self.files[f"{path}.metadata"]).hexdigest()
            link = f'<a href="{path}#sha256={sha256}" data-core-metadata="sha256={core}">{name}</a>'
            links[package] = f"{links.get(package, '')}{link}\n"
        for package, text in links.items():
            page = f"<!DOCTYPE html><html><body>\n{text}</body></html>"
            self.files[f"/simple/{package}/"] = page.encode()
        index = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: Any) -> None:
                return

            def do_GET(self) -> None:
                index.log.append(self.path)
                data = index.files.get(self.path)
                self.send_response(404 if data is None else 200)
                html = self.path.startswith("/simple")
                self.send_header(
                    "Content-Type", "text/html" if html else "application/octet-stream"
                )
                self.send_header("Content-Length", str(len(data or b"")))
                self.end_headers()
                self.wfile.write(data or b"")

            do_HEAD = do_GET

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The PEP 503 address."""
        return f"http://127.0.0.1:{self._server.server_port}/simple"

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()

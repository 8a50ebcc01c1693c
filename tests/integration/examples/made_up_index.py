"""A conda channel and a package index on 127.0.0.1, as a mirror called "tuna", with made-up packages.

The channel has what the recipe `pytorch` asks for: packages of the right names and builds whose
modules answer the recipe's proofs, and a `python` that is the one of the tests.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.integration.env_conda.channels import Package, channel, pure
from tests.integration.env_pip.package_index import make_wheel

SITE = "lib/python3.12/site-packages"
PYTHON = b"""#!/bin/sh
here=$(dirname "$(dirname "$0")")
PYTHONPATH="$here/lib/python3.12/site-packages" exec "$TEST_PYTHON" "$@"
"""
CUDA_BUILD = "cuda129_mkl_py312_h1_300"


def packages() -> list[Package]:
    torch = b"class version:\n    cuda = '12.9'\n\n__version__ = '2.13.0'\n"
    return [
        pure(),
        Package("python", "3.12.7", "h1_0_cpython",
                files={"bin/python": PYTHON, "bin/python3.12": PYTHON, f"{SITE}/os.py": b"# not it\n"}),
        Package("pytorch", "2.13.0", CUDA_BUILD, depends=("python >=3.12,<3.13.0a0", "__cuda"),
                files={f"{SITE}/torch/__init__.py": torch}),
        Package("pytorch-gpu", "2.13.0", "cuda129_mkl_h1_300",
                depends=(f"pytorch ==2.13.0 {CUDA_BUILD}",)),
        *(Package(name, "1.0", "py312_0", depends=("pytorch >=2.13.0,<2.14.0a0",),
                  files={f"{SITE}/{name}/__init__.py": b"# made up\n"})
          for name in ("torchvision", "torchaudio")),
    ]  # fmt: skip


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        return


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    """The ``mirrors.toml`` that knows this mirror alone, while it answers."""
    conda = folder / "conda" / "cloud" / "conda-forge"
    for name, data in channel(*packages()).items():
        (conda / name).parent.mkdir(parents=True, exist_ok=True)
        (conda / name).write_bytes(data)
    wheel = folder / "files" / "pip-26-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(make_wheel("pip", "26", {"pip/__init__.py": "x = 1\n" * 60_000})[1])
    index = folder / "simple" / "pip"
    index.mkdir(parents=True)
    (index / "index.html").write_text(
        f'<html><a href="/files/{wheel.name}">{wheel.name}</a></html>'
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield (
            f'shipped = false\n[[mirror]]\nname = "tuna"\nas_of = 2026-11-01\n'
            f'[mirror.conda]\nbase = "{base}/conda"\nchannels = ["conda-forge"]\n'
            f'[mirror.pypi]\nindex_url = "{base}/simple"\n'
        )
    finally:
        server.shutdown()
        server.server_close()

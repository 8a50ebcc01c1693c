"""A process that downloads one file, to be killed, interrupted or raced by a test.

python child.py CACHE NAME SHA256 SIZE DESTINATION URL...      (SHA256 "-": not known)
"""

from __future__ import annotations

import sys
from pathlib import Path

from cuready.mirrors.net import (
    Cache,
    DownloadRequest,
    Fetcher,
    FileKind,
    HttpClient,
    NetOptions,
    fetch_one,
)


def main(argv: list[str]) -> int:
    cache_dir, name, sha256, size, destination, *urls = argv
    request = DownloadRequest.from_urls(
        urls,
        name=name,
        sha256="" if sha256 == "-" else sha256,
        size=None if size == "-" else int(size),
        kind=FileKind.CONDA,
    )
    options = NetOptions(stall_timeout=10.0, retries=1, backoff=0.0)
    cache = Cache(Path(cache_dir))
    with HttpClient(options) as client:
        fetcher = Fetcher(client, cache, on_progress=lambda e: print(e.kind.value, flush=True))
        download = fetch_one(fetcher, request)
    if destination != "-":
        cache.place(download.sha256, Path(destination))
    print(f"sha256={download.sha256}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

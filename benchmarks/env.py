"""How long an environment takes, against py-rattler called directly; how much memory a large index.

    python benchmarks/env.py [--records 300000] [--packages 80] [--files 200] [--runs 5]

Two comparisons, each in fresh processes that are timed from start to end:

* solve and link from a warm cache: cuready's whole way (plan, journal, link, swap) against
  ``rattler.solve`` and ``rattler.install`` on the same index and the same packages. The target is a
  ratio of at most 1.15.
* a plan over an index of 300,000 records: seconds, and the peak memory of cuready's own process
  (the engine's is shown beside it). The targets are 6 s and 100 MB.

Nothing is downloaded: the channel is made here and served on loopback while the cache is filled.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tests/integration/env_conda")]

CHANNEL = "https://conda.anaconda.org/bench"

OURS = (
    """
import sys
from pathlib import Path
from cuready.env.conda import *
from cuready.env.conda.solve import solve
cache, prefix, mirror, specs, what = sys.argv[1:6]
options = CondaOptions(mirrors=(mirror,), only_mirrors=True, cache_dir=Path(cache), index_ttl=1e9)
with CondaSession(options) as session:
    request = SolveRequest((%r,), tuple(specs.split(",")), "linux-64", virtual_packages={"__glibc": "2.31"})
    plan = make_plan(solve(request, session), Path(prefix), session=session)
    if what == "link":
        fetch_plan(plan, session=session)
        apply_plan(plan, session=session)
    # VmHWM, and not ru_maxrss: that one is inherited from whoever started the process.
    for pid in ("self", session.engine._process.pid):
        status = Path(f"/proc/{pid}/status").read_text()
        print(status.split("VmHWM:")[1].split()[0])
"""
    % CHANNEL
)

PEER = (
    """
import asyncio, os, sys
from pathlib import Path
from rattler import *
cache, prefix, indexes, specs = sys.argv[1:5]
async def main():
    channel = Channel(%r)
    sources = [SparseRepoData(channel, *part.split("=")) for part in indexes.split(",")]
    records = await solve(sources=sources, specs=specs.split(","), platforms=["linux-64", "noarch"],
        virtual_packages=[GenericVirtualPackage(PackageName("__glibc"), Version("2.31"), BuildString("0"))])
    await install(records, Path(prefix), cache_dir=Path(cache), show_progress=False, platform=Subdir("linux-64"))
asyncio.run(main())
sys.stdout.flush()
os._exit(0)
"""
    % CHANNEL
)


def make_channel(folder: Path, packages: int, files: int, records: int) -> list[str]:
    """A channel of ``packages`` real packages among ``records`` in the index; what to ask for."""
    from channels import Package, channel

    rng = random.Random(1)
    made = []
    for number in range(packages):
        data = {
            f"lib/p{number}/f{i}.py": rng.randbytes(rng.randint(200, 8000)) for i in range(files)
        }
        depends = (f"p{number - 1} >=1.0",) if number else ()
        made.append(Package(f"p{number}", depends=depends, files=data))
    made.append(Package("libgcc", "15.1", files={"lib/libgcc_s.so.1": b"x"}))
    for path, content in channel(*made, zst=False).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    index = json.loads((folder / "linux-64/repodata.json").read_bytes())
    for number in range(records):
        name, version = f"filler{number // 30}", f"{number % 30}.0"
        # Names hang together in groups of a hundred: a solver that reads more than it needs shows.
        other = number // 3000 * 100 + rng.randrange(100)
        index["packages.conda"][f"{name}-{version}-h{number:07x}_0.conda"] = {
            "build": f"h{number:07x}_0", "build_number": 0, "license": "MIT", "name": name,
            "depends": [f"filler{other} >=1.0,<20.0a0", "libgcc >=13", "__glibc >=2.17,<3.0.a0"],
            "md5": f"{number:032x}", "sha256": f"{number:064x}", "size": 1000 + number,
            "subdir": "linux-64", "timestamp": 1700000000000 + number, "version": version,
        }  # fmt: skip
    (folder / "linux-64/repodata.json").write_text(json.dumps(index, separators=(",", ":")))
    return [f"p{packages - 1}"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        return

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/bench"))


def timed(code: str, *args: str | Path) -> tuple[float, str]:
    """Wall seconds of one process, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python"), "RUST_BACKTRACE": "0"}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *map(str, args)], env=environment,
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, done.stdout


def compare(folder: Path, runs: int, packages: int, files: int, records: int) -> float:
    """Solve and link, in turns; prints both and returns the ratio of the medians."""
    specs = ",".join(make_channel(folder / "channel", packages, files, records))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder / "channel"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_address[1]}"
    timed(OURS, folder / "cache", folder / "warm", mirror, specs, "link")  # fills our cache
    server.shutdown()
    indexes = ",".join(
        f"{part}={folder / 'channel' / part / 'repodata.json'}" for part in ("linux-64", "noarch")
    )
    fill_peer_cache(folder)
    ours, peer = [], []
    for number in range(runs + 1):
        for what, into in (("ours", ours), ("peer", peer)):
            prefix = folder / f"{what}{number}"
            if what == "ours":
                seconds, _ = timed(OURS, folder / "cache", prefix, mirror, specs, "link")
            else:
                seconds, _ = timed(PEER, folder / "peer", prefix, indexes, specs)
            if number:  # the first of each warms the page cache
                into.append(seconds)
            shutil.rmtree(prefix)
    ratio = statistics.median(ours) / statistics.median(peer)
    print(f"{packages} packages, {packages * files} files, {records} other records")
    print(f"  cuready   {statistics.median(ours):6.2f} s   ({min(ours):.2f} to {max(ours):.2f})")
    print(f"  py-rattler{statistics.median(peer):6.2f} s   ({min(peer):.2f} to {max(peer):.2f})")
    print(f"  ratio     {ratio:6.2f}     (target: at most 1.15)")
    return ratio


def fill_peer_cache(folder: Path) -> None:
    """Extract every package where rattler looks for it."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom rattler import package_streaming\n"
        "for path in Path(sys.argv[1]).glob('*/*.conda'):\n"
        "    package_streaming.extract(path, Path(sys.argv[2]) / path.name.removesuffix('.conda'))\n"
        "os._exit(0)"
    )
    timed(code, folder / "channel", folder / "peer")


def large(folder: Path, records: int, runs: int) -> tuple[float, float]:
    """A plan over ``records`` records from a warm index; seconds and MB of our own process."""
    channel = folder / "channel"
    specs = ",".join(make_channel(channel, 3, 3, records))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=channel))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mirror = f"http://127.0.0.1:{server.server_address[1]}"
    size = (channel / "linux-64/repodata.json").stat().st_size
    specs += ",filler7"
    cold, said = timed(OURS, folder / "cache", folder / "none", mirror, specs, "plan")
    cold_own, cold_engine = (int(value) / 1000 for value in said.split())
    results = [
        timed(OURS, folder / "cache", folder / "none", mirror, specs, "plan") for _ in range(runs)
    ]
    server.shutdown()
    seconds = statistics.median(item[0] for item in results)
    own, engine = (max(int(item[1].split()[n]) for item in results) / 1000 for n in (0, 1))
    print(f"index of {records} records, {size / 1e6:.0f} MB")
    print(
        f"  fetched and planned {cold:6.2f} s  own {cold_own:.0f} MB  engine {cold_engine:.0f} MB"
    )
    print(f"  planned             {seconds:6.2f} s  own {own:.0f} MB  engine {engine:.0f} MB")
    print("  targets: at most 6 s, under 100 MB in our own process")
    return max(seconds, cold), max(own, cold_own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--packages", type=int, default=80)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--strict", action="store_true", help="exit 1 when a target is missed")
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory(prefix="cuready-bench-") as name:
        folder = Path(name)
        seconds, megabytes = large(folder / "large", options.records, options.runs)
        ratio = compare(folder / "same", options.runs, options.packages, options.files, 2000)
        missed += ["plan over 6 s"] if seconds > 6 else []
        missed += ["over 100 MB"] if megabytes > 100 else []
        missed += ["ratio over 1.15"] if ratio > 1.15 else []
    if missed:
        print("missed:", ", ".join(missed))
    sys.exit(1 if missed and options.strict else 0)


if __name__ == "__main__":
    main()

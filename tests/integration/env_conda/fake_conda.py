"""A stand-in for conda, mamba and micromamba: records how it is called, answers as they do.

The forms of its answers are those of conda 26 and mamba 2.1 (`--json`): `actions.FETCH` and
`actions.LINK` of a dry run, and the document of an error. ``FAKE_CONDA_SAYS`` names a file to be replayed as an error instead.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


def main(args: list[str]) -> int:
    if args == ["--version"]:
        print(os.environ.get("FAKE_CONDA_VERSION", "2.8.1"))
        return 0
    log = Path(os.environ["FAKE_CONDA_LOG"])
    kept = {k: v for k, v in os.environ.items() if k.startswith(("CONDA_", "MAMBA_"))}
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"args": args, "variables": kept}) + "\n")
    told = os.environ.get("FAKE_CONDA_SAYS")
    if told and (os.environ.get("FAKE_CONDA_FAILS") or "--dry-run") in args:
        print(Path(told).read_text(encoding="utf-8"))
        return 1
    prefix = Path(args[args.index("--prefix") + 1])
    if os.environ.get("FAKE_CONDA_FORGETS"):  # links nothing, and says that all is well
        print("" if "--file" in args else json.dumps(dry_run(args, prefix)))
    elif "--dry-run" in args:
        print(json.dumps(dry_run(args, prefix)))
    elif args[0] == "remove":
        for name in args[args.index("--force") + 1 :]:
            for path in (prefix / "conda-meta").glob(f"{name}-*.json"):
                path.unlink()
        print(json.dumps({"success": True}))
    else:
        install(Path(args[args.index("--file") + 1]), prefix)  # conda 26.7 prints nothing then
    return 0


def dry_run(args: list[str], prefix: Path) -> dict[str, object]:
    """Everything that the channel has: enough of a solver for a channel made for this."""
    channel = args[args.index("--channel") + 1]
    base = Path(urlsplit(channel).path)
    fetch, link = [], []
    for subdir in ("linux-64", "noarch"):
        index = json.loads((base / subdir / "repodata.json").read_bytes())
        for name, record in {**index["packages"], **index["packages.conda"]}.items():
            fetch.append(
                {**record, "fn": name, "url": f"{channel}/{subdir}/{name}", "channel": channel}
            )
            link.append({
                "base_url": channel, "build_number": record["build_number"],
                "build_string": record["build"], "channel": base.name,
                "dist_name": name.removesuffix(".conda"), "name": record["name"],
                "platform": subdir, "version": record["version"],
            })  # fmt: skip
    if "mamba" in os.environ["FAKE_CONDA_NAME"]:
        fetch = link = [as_mamba(record) for record in fetch]
    actions = {"FETCH": fetch, "LINK": link, "PREFIX": str(prefix)}
    return {"actions": actions, "dry_run": True, "prefix": str(prefix), "success": True}


def as_mamba(record: dict[str, Any]) -> dict[str, Any]:
    """mamba has every field in every record, and times in seconds."""
    return {
        **record,
        "build_string": record["build"],
        "constrains": record["constrains"] or None,
        "depends": record["depends"] or None,
        "timestamp": record["timestamp"] // 1000,
        "track_features": record.get("track_features", ""),
    }


def install(explicit: Path, prefix: Path) -> None:
    """Every package of the list must lie in the package cache, under its address.

    conda passes over what is there and takes old versions away; mamba does neither.
    """
    mamba = "mamba" in os.environ["FAKE_CONDA_NAME"]
    first, *lines = explicit.read_text(encoding="utf-8").split()
    assert first == "@EXPLICIT"
    packages = Path(os.environ["CONDA_PKGS_DIRS"])
    known = (packages / "urls.txt").read_text(encoding="utf-8").split()
    (prefix / "conda-meta").mkdir(parents=True, exist_ok=True)
    (prefix / "conda-meta/history").touch()
    for line in lines:
        url, _, md5 = line.partition("#")
        subdir, name = url.split("/")[-2:]
        stem = name.removesuffix(".conda")
        meta = prefix / "conda-meta" / f"{stem}.json"
        if meta.exists() and not mamba:
            continue
        assert url in known and (packages / name).is_file(), f"{url} would be downloaded"
        package, version, build = stem.rsplit("-", 2)
        for old in (prefix / "conda-meta").glob("*.json"):
            if not mamba and json.loads(old.read_bytes())["name"] == package:
                old.unlink()
        (prefix / f"{package}.txt").write_text(version)
        meta.write_text(json.dumps({
            "name": package, "version": version, "build": build, "url": url, "md5": md5,
            "subdir": subdir, "fn": name, "files": [f"{package}.txt"],
        }))  # fmt: skip
        if os.environ.get("FAKE_CONDA_DIES") == package:
            os.kill(os.getppid() if os.environ.get("FAKE_CONDA_KILLS") else os.getpid(), 9)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

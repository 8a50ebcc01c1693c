"""Writes the small corpus of ``tests/data/fuzz``: one or a few valid inputs a target. Needs gcc.

python tests/fuzz/make_corpus.py
"""

from __future__ import annotations

import ssl
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import trustme

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT)]

from tests.fuzz.seeds import seeds  # noqa: E402 - path first
from tests.unit.loader.test_fatbin import container, entry, library  # noqa: E402 - path first
from tests.unit.loader.test_rules import dll  # noqa: E402 - path first

SMALL = ["-shared", "-fPIC", "-Os", "-s", "-nostdlib", "-Wl,-z,noseparate-code", "-Wl,--build-id=none",
         "-Wl,--no-eh-frame-hdr", "-fno-asynchronous-unwind-tables"]  # fmt: skip
VERSIONS = "V1 {global: f; local: *;}; V2 {global: g;} V1;"


def compiled(folder: Path, code: str, *flags: str) -> bytes:
    """A small library."""
    source, target = folder / "a.c", folder / "liba.so"
    source.write_text(code)
    subprocess.run(["gcc", *SMALL, "-o", target, source, *flags], check=True, timeout=60)
    return target.read_bytes()


def elf_files(folder: Path) -> dict[str, bytes]:
    """Libraries with both hash tables, versions made and wanted, RPATH and RUNPATH."""
    script = folder / "v.map"
    script.write_text(VERSIONS)
    both = "int f(void){return 1;} int g(void){return 2;}"
    versioned = compiled(folder, both, f"-Wl,--version-script={script}", "-Wl,-soname,liba.so.1")
    (folder / "libv.so").write_bytes(versioned)
    user = compiled(folder, "int f(void); int g(void); int h(void){return f()+g();}",
                    str(folder / "libv.so"), "-Wl,-rpath,$ORIGIN/lib", "-Wl,--enable-new-dtags")  # fmt: skip
    old = compiled(
        folder, both, "-Wl,--hash-style=sysv", "-Wl,-rpath,/x", "-Wl,--disable-new-dtags"
    )
    return {"versioned": versioned, "user": user, "sysv": old}


def ld_cache() -> bytes:
    """A new-format cache of two libraries."""
    strings = b"liba.so.1\0/usr/lib/liba.so.1\0libb.so\0/lib/libb.so\0"
    start = 48 + 2 * 24
    rows = [(0x0303, 0, 10), (0x0303, 29, 37)]
    body = b"".join(struct.pack("<iIIIQ", f, start + k, start + v, 0, 0) for f, k, v in rows)
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", 2, len(strings)) + b"\x02".ljust(20, b"\0")
    return head + body + strings


def corpus() -> dict[str, dict[str, bytes]]:
    """Target → name → bytes, of the text targets and of those that a compiler is needed for."""
    code = container([entry(2, 86, size=96), entry(1, 90, 0x100011, size=96)])
    found = {
        **seeds(),
        "ldcache": {"two": ld_cache()},
        "pe": {"dll": dll("KERNEL32.dll", "c10.dll"), "dll32": dll("a.dll", plus=False)},
        "plan": {"tensorrt": b"ftrt" + bytes(20) + bytes([10, 6, 0, 26]) + bytes(32)},
        "search_path": {"mixed": b"$ORIGIN/../lib:${LIB}:/a//;;$PLATFORM"},
        "record": {
            "simple": b'nvidia/x/lib/liba.so.1,sha256=abc,12\n"a,b.so",sha256=d,3\nx.py,,\n'
        },
        "fatbin": {"two": library(code + bytes(16))},
        "fatbin_section": {"two": code + bytes(16), "many": code * 3},
    }
    with tempfile.TemporaryDirectory() as folder:
        found["elf"] = elf_files(Path(folder))
    found["dlopen"] = dict(found["elf"])
    certificate = trustme.CA(key_type=trustme.KeyType.ECDSA).cert_pem.bytes().decode()
    found["certificate"] = {"authority": ssl.PEM_cert_to_DER_cert(certificate)}
    return found


def main() -> None:
    """Write every file; inputs that broke a parser once (``regression-…``) stay where they are."""
    for target, files in corpus().items():
        for name, data in files.items():
            path = ROOT / "tests/data/fuzz" / target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


if __name__ == "__main__":
    main()

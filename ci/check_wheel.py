"""Look into a built wheel: portable, small, nothing of the vendor's; check_wheel.py WHEEL."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

LIMIT = 3_000_000  # bytes
VENDOR_FILE = re.compile(r"lib(nv|cuda|cudnn|cublas|nccl)[\w.-]*\.so|NvInfer\w*\.h|cuda\w*\.h$")
MUST_HOLD = (
    r"cuready/_core\..*\.so",
    r"cuready/include/cuready/\w+\.hpp",
    r"cuready/lib/cmake/cuready/cuready-config\.cmake",
    r"cuready/lib/libcuready\.\w+",
    r"cuready/compat/data/torch_builds\.json",
    r"cuready/doctor/data/doctor\.schema\.json",
    r"cuready/py\.typed",
)


def problems(wheel: Path) -> list[str]:
    """What is wrong with the wheel, one line each; empty when nothing is."""
    found = []
    if wheel.stat().st_size >= LIMIT:
        found.append(f"{wheel.stat().st_size} bytes: the limit is {LIMIT}")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for name in names:
            if name.endswith((".so", ".a", ".o")) and b"NVIDIA Corporation" in archive.read(name):
                found.append(f"{name} holds text of the vendor's")
    found += [f"{name} is the vendor's" for name in names if VENDOR_FILE.search(name)]
    found += [
        f"nothing matches {want}"
        for want in MUST_HOLD
        if not any(re.fullmatch(want, name) for name in names)
    ]
    audit = subprocess.run(
        [sys.executable, "-m", "auditwheel", "show", str(wheel)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    tag = re.search(r'"(manylinux_2_\d+_\w+|linux_\w+)"', audit.stdout)
    if audit.returncode or tag is None or not tag[1].startswith("manylinux"):
        found.append(f"auditwheel: {audit.stdout.strip() or audit.stderr.strip()}")
    else:
        print(f"{wheel.name}: {wheel.stat().st_size} bytes, {len(names)} files, {tag[1]}")
    return found


if __name__ == "__main__":
    report = problems(Path(sys.argv[1]))
    for line in report:
        print(f"wheel: {line}", file=sys.stderr)
    sys.exit(1 if report else 0)

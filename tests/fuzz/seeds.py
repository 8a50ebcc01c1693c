"""Valid inputs of the targets that read text; ``make_corpus.py`` keeps them in ``tests/data/fuzz``.

:func:`plenty` gives many more, made from the tests' other data, for a long run.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.targets import machine
from tests.zoo import exhibits

ROOT = Path(__file__).parents[2]
_SHA = "0123456789abcdef" * 4

# What stands in each file of the three tables of ``targets/machine.py``.
FILES: dict[str, str] = {
    "/etc/os-release": 'ID=ubuntu\nID_LIKE="debian"\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"\n',
    "/proc/version": "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@x) (gcc) #1 SMP\n",
    "/proc/meminfo": "MemTotal:       32768000 kB\n",
    "/proc/mounts": "shm /dev/shm tmpfs rw,nosuid,size=65536k 0 0\n",
    "/lib/x86_64-linux-gnu/libc.so.6": "GNU C Library (Debian GLIBC 2.36-9) stable release version 2.36.\n",
    "/lib/ld-musl-x86_64.so.1": "\x001.2.5\0musl libc\0",
    "/proc/1/cgroup": "12:pids:/docker/0123\n0::/kubepods/besteffort\n",
    "/etc/docker/daemon.json": '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}',
    "/proc/driver/nvidia/version": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.10  Release Build\n",
    "/proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t NVIDIA RTX A6000\nGPU UUID: \t GPU-????\n",
    "/usr/share/misc/pci.ids": "10de  NVIDIA Corporation\n\t2204  GA102 [GeForce RTX 3090]\n10df  Emulex\n",
    "/proc/device-tree/compatible": "nvidia,p3737-0000\0nvidia,tegra234\0",
    "/var/lib/dpkg/status": "Package: nvidia-driver-570\nStatus: install ok installed\nVersion: 570.86.10-0ubuntu1\n\nPackage: vim\n",
    "/dev/kmsg": "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\nNVRM: API mismatch: the client\n",
    "/etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n/usr/local/cuda/lib64 hwcap 1 x\n",
    "/usr/local/cuda/version.json": '{"cuda": {"name": "CUDA SDK", "version": "12.4.1"}, "cuda_nvcc": {"version": "12.4.131"}}',
    "/usr/local/cuda/version.txt": "CUDA Version 10.2.89\n",
    "/usr/local/cuda/include/cuda.h": "#define CUDA_VERSION 12040\n",
    "/usr/local/cuda/include/crt/host_config.h": "#error -- unsupported GNU version! gcc versions later than 13 are not supported!\n",
    "/System/Library/CoreServices/SystemVersion.plist": '<?xml version="1.0"?><plist version="1.0"><dict><key>ProductName</key><string>macOS</string><key>ProductVersion</key><string>15.1</string></dict></plist>',
    "/env/pyvenv.cfg": "home = /usr/bin\ninclude-system-site-packages = true\nversion = 3.12.3\nuv = 0.5\n",
    "__editable___torch_finder.py": "MAPPING: dict[str, str] = {'torch': '/src/torch'}\n",
    "foreign.pth": "import os; x\n# a\n../lib\n/usr/lib\n",
    "METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.6.0\nRequires-Dist: nvidia-cudnn-cu12==9.1.0.70; platform_system == 'Linux'\nRequires-Python: >=3.9\n\nText\n",
    "WHEEL": "Wheel-Version: 1.0\nTag: cp312-cp312-manylinux_2_28_x86_64\n",
    "direct_url.json": '{"url": "file:///src/torch", "dir_info": {"editable": true}}',
    "top_level.txt": "functorch\ntorch\n",
    "RECORD": 'torch/lib/libtorch_cuda.so,sha256=abc,13\n"torch/a,b.so",sha256=d,3\ntorch/x.py,,\n',
    "entry_points.txt": "[cuready.checks]\nmine = package.module:function [extra]\n",
    "old-1.0.egg-info": "Metadata-Version: 1.1\nName: old\nVersion: 1.0\n",
    "version.py": "from typing import Optional\n__version__ = '2.6.0+cu124'\ncuda: Optional[str] = '12.4'\nhip: Optional[str] = None\n",
    "TorchConfig.cmake": 'set(TORCH_CXX_FLAGS "-D_GLIBCXX_USE_CXX11_ABI=1")\n',
    "cudnn-9.1.0-h1_0.json": '{"channel": "https://conda.anaconda.org/conda-forge", "subdir": "linux-64", "requested_spec": "cudnn", "paths_data": {"paths": [{"_path": "lib/libcudnn.so.9", "path_type": "hardlink", "size_in_bytes": 2, "sha256": "00"}]}}',
    "history": "# cmd: /opt/conda/bin/mamba install pytorch\n",
    "env.json": '{"name": "a", "packages": {"pip": {"torch": "2.6.0"}, "conda": {}}, "records": {"torch": "00"}, "verified": {"passed": ["x"]}}',
    "kernel.json": '{"argv": ["/env/bin/python", "-m", "ipykernel_launcher"]}',
    "uv.lock": '[[package]]\nname = "torch"\nversion = "2.6.0"\n',
    "pyproject.toml": '[project]\ndependencies = ["torch>=2", "numpy"]\n[tool.uv.sources]\ntorch = {index = "cu124"}\n',
    "requirements.txt": "torch[x]==2.6.0 ; python_version > '3.9' # a\nnumpy\n",
    "environment.yml": "channels:\n  - conda-forge\ndependencies:\n  - pytorch::pytorch=2.6\n  - cudatoolkit >=11\n",
    ".condarc": "channels:\n  - conda-forge\nssl_verify: false\n",
    "pip.conf": "[global]\nindex-url = https://pypi.org/simple\n",
    "uv.toml": '[[index]]\nurl = "https://pypi.org/simple"\ndefault = true\n',
}  # fmt: skip

CONFIGS: dict[str, dict[str, str]] = {
    "condarc": {
        "mirror": "# mine\nchannels:\n  - https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/conda-forge/\n  - defaults\ncustom_channels: &a\n  pytorch: 'https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud'\nssl_verify: true\n",
        "flow": 'channels: [conda-forge, "nvidia"]\ndefault_channels: []\ncustom_channels: {}\nchannel_alias: https://a.example/\n',
        "several": "channels:\n- a\n- b\ncustom_multichannels:\n  b: [https://x.example/c, d]\nmirrored_channels:\n  conda-forge:\n  - https://y.example\n...\n",
    },
    "pip_conf": {
        "usual": "[global]\nindex-url = https://pypi.org/simple/\nextra-index-url =\n    https://a.example/simple\n    https://mirrors.example.org/a\n; note\n[install]\nno-index: true\n",
        "odd": "[Global]\nINDEX_URL=https://x\r\n[freeze]\r\ntimeout = 10\r\n",
    },
    "uv_toml": {
        "index": '[[index]]\nname = "a"\nurl = "https://pypi.org/simple"\ndefault = true\n\n[pip]\nindex-url = \'https://x.example/\'\n',
        "inline": 'index = [{url = "https://a.example", default = true}, {url = "https://mirrors.example.org/a"}]\nfind-links = ["x", "y"]\n',
    },
    "rattler_toml": {
        "usual": '[mirrors]\n"https://conda.anaconda.org/conda-forge" = [\n  "https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/conda-forge", # fast\n  "https://conda.anaconda.org/conda-forge",\n]\n[repodata-config]\ndisable-zstd = true\n',
        "dotted": 'mirrors."https://conda.anaconda.org/nvidia" = ["https://mirrors.example.org/a"]\n',
    },
}  # fmt: skip

_LOCK = f"""lock-version = "1.0"
requires-python = "==3.12.*"
[[packages]]
name = "numpy"
version = "2.1.0"
wheels = [{{name = "numpy-2.1.0-py3-none-any.whl", url = "https://files.pythonhosted.org/packages/n/numpy-2.1.0-py3-none-any.whl", size = 12, hashes = {{sha256 = "{_SHA}"}}}}]
[tool.cuready]
version = "0.1"
recipe = "jax"
requirements = ["numpy"]
platform = "linux_x86_64"
"""

_CONDA_LOCK = f"""version: 6
environments:
  default:
    channels:
    - url: https://conda.anaconda.org/conda-forge/
    packages:
      linux-64:
      - conda: https://conda.anaconda.org/conda-forge/noarch/a-1.0-h1_0.conda
packages:
- conda: https://conda.anaconda.org/conda-forge/noarch/a-1.0-h1_0.conda
  sha256: {_SHA}
  md5: 0123456789abcdef0123456789abcdef
  depends:
  - python >=3.8
  size: 12
"""

_REPODATA = '{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {"a-1.0-h1_0.conda": {"build": "h1_0", "build_number": 0, "depends": [], "name": "a", "sha256": "%s", "size": 12, "subdir": "noarch", "version": "1.0"}}, "repodata_version": 1}' % _SHA  # fmt: skip  # noqa: UP031

TEXTS: dict[str, dict[str, str]] = {
    **CONFIGS,
    "environment_yml": {
        "usual": "name: a\nchannels: [pytorch, nvidia]\ndependencies:\n  - python=3.8\n  - pytorch=1.12=*cuda*\n  - cudatoolkit=11.3\n  - conda-forge::jax[version='>=0.4']\n  - pip:\n    - tensorflow-gpu==2.4\nvariables: {A: b}\n",
    },
    "requirements": {
        "usual": "--extra-index-url https://download.pytorch.org/whl/cu118\ntorch==2.0.1+cu118 --hash=sha256:00\nonnxruntime-gpu[x]>=1.16 ; python_version<'3.12'\n-f https://x\n",
    },
    "pixi": {
        "usual": '[workspace]\nname = "a"\nchannels = ["conda-forge", {channel = "nvidia"}]\n[dependencies]\npytorch-gpu = "*"\ncuda-version = {version = "12.*", build = "x"}\n[pypi-dependencies]\ntorch = {version = ">=2", extras = ["a"]}\n[system-requirements]\ncuda = "12"\n[activation.env]\nA = "b"\n',
    },
    "install_line": {
        "conda": "$ conda install pytorch==1.12.1 torchvision cudatoolkit=11.3 -c pytorch -n a",
        "pip": "python -m pip install torch==2.0.1+cu118 --index-url https://download.pytorch.org/whl/cu118 -U",
    },
    "pip_lock": {"usual": _LOCK},
    "conda_lock": {"usual": _CONDA_LOCK},
    "headers": {
        "usual": "bytes 0-9/100\n100\nWed, 21 Oct 2026 07:28:00 GMT\nWed, 21 Oct 2015 07:28:00 GMT\nWed, 21 Oct 2026 07:28:00 +0000\n\"abc\"\ngzip\ntext/html; charset=x\nhttps://a.example/",
    },
    "index_page": {
        "html": '\0<!DOCTYPE html><html><body><a href="../../packages/aa/bb/pip-24.0-py3-none-any.whl#sha256=00">pip</a></body></html>',
        "json": '\1{"files": [{"filename": "pip-24.0.tar.gz", "url": "x"}]}',
        "repodata": "\2" + _REPODATA,
        "portal": '\0<html><form action="/login"><input type="password"></form></html>',
    },
    "mirror_status": {
        "mirrorz": '\0{"version": 1.4, "mirrors": [{"cname": "anaconda", "status": "S1732500000O1732400000"}, {"cname": "pypi", "status": "YX1"}]}',
        "tunasync": '\1[{"name": "pypi", "status": "success", "last_update_ts": 1732500000}]',
    },
    "partial": {
        "usual": '{"schema": 1, "total": 16, "segments": [{"mirror": "a", "start": 0, "validator": "\\"x\\""}, {"mirror": "b", "start": 8, "validator": ""}], "suspects": []}',
    },
    "address": {
        "pypi": f"https://user:pass@mirror.example/packages/aa/bb/{_SHA[:60]}/torch-2.0.whl#sha256=00",
        "conda": "https://conda.anaconda.org/t/ab-1234/conda-forge/label/dev/",
        "pkgs": "https://mirror.example/anaconda/pkgs/main/?x=[::1]",
    },
    "redact": {
        "usual": "/home/alice/.ssh https://alice:s3cret@pc-17.lan/t/ab-123456/x?token=abc GPU-0a1b2c3d-0000-0000-0000-000000000000 serial: 12345 hf_0123456789abcdef0 password=x alice@example.org 00:11:22:33:44:55",
    },
    "explain": {
        "loader": "Traceback (most recent call last):\nImportError: libcudnn.so.9: cannot open shared object file: No such file or directory\n",
        "torch": "RuntimeError: CUDA error: no kernel image is available for execution on the device\nNVIDIA GeForce RTX 5090 with CUDA capability sm_120 is not compatible with the current PyTorch installation.\n",
        "nvml": "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.86\n",
    },
    "question": {"gpu": "NVIDIA GeForce RTX 3070 Ti Laptop", "sm": "sm_90a", "version": "570.86.10"},
}  # fmt: skip


def _database() -> bytes:
    """rpm's database with one package in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rpmdb.sqlite"
        database = sqlite3.connect(path)
        database.execute("PRAGMA page_size = 512")
        database.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
        database.execute("CREATE TABLE Name (key TEXT NOT NULL, hnum INTEGER, idx INTEGER)")
        database.execute("INSERT INTO Packages VALUES (1, ?)", (rpm_header(),))
        database.execute("INSERT INTO Name VALUES ('nvidia-driver', 1, 0)")
        database.commit()
        database.close()
        return path.read_bytes()


def rpm_header() -> bytes:
    """A header with name, version and release in it."""
    words = [b"nvidia-driver", b"570.86.10", b"1.el9"]
    data = b"".join(word + b"\0" for word in words)
    places = [data.index(word) for word in words]
    index = b"".join(struct.pack(">IIII", 1000 + n, 6, at, 1) for n, at in enumerate(places))
    return struct.pack(">II", len(words), len(data)) + index + data


def _files(table: tuple[machine.File, ...]) -> dict[str, bytes]:
    found = {}
    for number, (path, _) in enumerate(table):
        name = path.rsplit("/", 1)[-1]
        text = FILES.get(path, FILES.get(name))
        content = _database() if name == "rpmdb.sqlite" else (text or "0x2204\n").encode()
        found[f"{number:02}-{name.replace('.', '-')}"] = bytes([number]) + content
    return found


def seeds() -> dict[str, dict[str, bytes]]:
    """Target → name → bytes: the seeds that are kept."""
    found = {
        target: {name: _with_choice(target, text) for name, text in texts.items()}
        for target, texts in TEXTS.items()
    }
    found["machine"] = _files(machine.SYSTEM)
    found["environment"] = _files(machine.ENVIRONMENT)
    found["project"] = _files(machine.PROJECT)
    found["rpm"] = {"header": rpm_header()}
    found["arch_literal"] = {"torch": b"x\0sm_80 sm_90 compute_90\0\0sm_75\0"}
    found["repodata"] = {"plain": _REPODATA.encode()}
    found["recipe"] = {"jax": (ROOT / "recipes/jax.toml").read_bytes()}
    small = json.loads((ROOT / "tests/data/zoo/fault-py12-torchvision.json").read_bytes())
    found["snapshot"] = {"torchvision": json.dumps(small).encode()}
    return found


def _with_choice(target: str, text: str) -> bytes:
    """The editors' first byte chooses what is done: use a mirror."""
    return (b"\0" if target in CONFIGS else b"") + text.encode("utf-8")


def plenty(target: str) -> Iterator[bytes]:
    """More valid inputs of ``target`` than are worth keeping: for a long run."""
    if target == "snapshot":
        for kind in ("healthy", "fault", "near miss"):
            for item in exhibits(kind):
                text = json.dumps(item.build().to_dict()).encode()
                if len(text) < 60_000:
                    yield text
    elif target in ("explain", "redact"):
        from cuready.doctor.explain import rules

        for rule in rules():
            yield "\n".join((*rule.messages, *rule.near)).encode()
    elif target == "recipe":
        for path in (ROOT / "recipes").glob("*.toml"):
            yield path.read_bytes()
    elif target in CONFIGS:
        for path in (ROOT / "tests/data/mirrors").rglob("*"):
            if path.is_file() and path.stat().st_size < 10_000:
                yield from (bytes([which]) + path.read_bytes() for which in range(3))
    elif target == "repodata":
        yield gzip.compress(_REPODATA.encode())

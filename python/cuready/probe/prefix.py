"""A Python environment read as files, with nothing run: a venv, a conda prefix, a system Python."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from cuready.probe.context import Context
from cuready.probe.target import Interpreter

__all__ = ["describe", "find", "pyvenv_cfg"]

# Where images and hosts keep environments that no variable names.
_USUAL = ("/opt/venv", "/venv", "/app/.venv", "/opt/conda", "/opt/miniconda3", "/root/miniconda3",
          "/opt/mamba", "/usr/local", "/usr")  # fmt: skip
_DIAGNOSED = ("torch", "tensorflow", "jax", "onnxruntime", "tensorrt", "nvidia")


def find(context: Context) -> str | None:
    """The prefix that a Python program below ``context.root`` would most likely run in.

    An activated environment comes first, then one that holds a package worth diagnosing, then the
    Python on PATH.
    """
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        told = context.env.get(variable)
        if told and context.is_dir(told):
            return told
    on_path = [path for path in map(context.which, ("python", "python3")) if path]
    prefixes = [posixpath.dirname(posixpath.dirname(path)) for path in on_path]
    candidates = [p for p in dict.fromkeys((*prefixes, *_USUAL)) if describe(context, p)]
    for prefix in candidates:
        interpreter = describe(context, prefix)
        sites = interpreter.sites if interpreter else ()
        if any(context.is_dir(f"{site}/{name}") for site in sites for name in _DIAGNOSED):
            return prefix
    return candidates[0] if candidates else None


def describe(context: Context, prefix: str) -> Interpreter | None:
    """What the files of ``prefix`` tell of its Python, None when there is none in it."""
    config = pyvenv_cfg(context, prefix)
    folders = sorted(_python_folders(context, prefix), key=_by_version)
    if not folders and not config:
        return None
    base = _base(context, prefix, config)
    name = posixpath.basename(folders[-1]) if folders else ""
    version = _version(context, prefix, config, name)
    if version is None:
        return None
    if not name or name == "site-packages":
        name = f"python{'.'.join(version.split('.')[:2])}"
    return Interpreter(
        executable=_executable(context, prefix),
        version=version,
        prefix=prefix,
        base_prefix=base,
        implementation="pypy" if name.startswith("pypy") else "cpython",
        bits=None,
        free_threaded=name.endswith("t"),
        stdlib=tuple(_stdlib(context, base, name)),
        stdlib_dir=f"{base}/lib/{name}",
        sites=tuple(_sites(context, prefix, name)),
        base_sites=tuple(_sites(context, base, name)),
    )


def _base(context: Context, prefix: str, config: Mapping[str, str]) -> str:
    """The prefix of the Python under a venv. Before 3.11, one made from a venv names that venv."""
    for _ in range(5):
        home = config.get("home")
        if not home:
            break
        prefix = _windows_home(context, home) or posixpath.dirname(home.rstrip("/"))
        config = pyvenv_cfg(context, prefix)
    return prefix


def _windows_home(context: Context, home: str) -> str | None:
    r"""``/Python312`` of ``C:\Python312\`` on a mounted disk: python.exe lies in no bin folder."""
    if context.system != "Windows":
        return None
    home = home.replace("\\", "/").rstrip("/")
    return re.sub(r"^[A-Za-z]:", "", home) if context.rooted else home


def pyvenv_cfg(context: Context, prefix: str) -> Mapping[str, str]:
    """Keys of pyvenv.cfg in lower case; empty when ``prefix`` is no venv."""
    text = context.read_text(f"{prefix}/pyvenv.cfg") or ""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip().lower(): value.strip() for key, _, value in pairs}


def _python_folders(context: Context, prefix: str) -> Iterator[str]:
    """lib/python3.12, lib64/python3.12, lib/pypy3.10; Windows has one Lib/site-packages."""
    for folder in context.glob(f"{_literal(prefix)}/lib*/py*3.*"):
        if re.search(r"/py(?:thon|py)3\.\d+t?$", folder) and context.is_dir(folder):
            yield folder
    if context.is_dir(f"{prefix}/Lib/site-packages"):
        yield f"{prefix}/Lib/site-packages"


def _literal(path: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", path)


def _by_version(folder: str) -> tuple[bool, int]:
    """Newest last; a folder with the standard library in it beats one that was left over."""
    found = re.search(r"3\.(\d{1,3})t?$", folder)
    return posixpath.basename(folder) != "site-packages", int(found[1]) if found else 0


def _version(context: Context, prefix: str, config: Mapping[str, str], folder: str) -> str | None:
    """The full version where pyvenv.cfg or conda-meta knows it, else that of the folder's name."""
    told = config.get("version_info") or config.get("version") or ""
    found = re.match(r"\d+\.\d+(?:\.\d+)?", told)
    if found:
        return found[0]
    if context.is_dir(f"{prefix}/conda-meta"):
        for name in context.listdir(f"{prefix}/conda-meta"):
            package = re.match(r"python-(\d+\.\d+\.\d+)-[^-]+\.json$", name)
            if package:
                return package[1]
    found = re.search(r"(\d+\.\d+)t?$", folder)
    return found[1] if found else _version_of_dll(context, prefix)


def _version_of_dll(context: Context, prefix: str) -> str | None:
    """``3.12`` of python312.dll, which lies beside python.exe on Windows."""
    for path in context.glob(f"{_literal(prefix)}/python3*.dll"):
        found = re.search(r"/python3(\d{1,3})t?\.dll$", path)
        if found:
            return f"3.{found[1]}"
    return None


def _executable(context: Context, prefix: str) -> str | None:
    names = ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe")
    return next((f"{prefix}/{name}" for name in names if context.exists(f"{prefix}/{name}")), None)


def _stdlib(context: Context, base: str, name: str) -> Iterator[str]:
    for folder in (f"{base}/lib/{name}", f"{base}/lib/{name}/lib-dynload", f"{base}/Lib"):
        if context.is_dir(folder):
            yield folder


def _sites(context: Context, prefix: str, name: str) -> Iterator[str]:
    """site-packages of one prefix, in the order in which ``site`` adds them; Debian's names too."""
    minor = re.sub(r"^\D+", "", name)
    candidates = [f"{prefix}/{lib}/{name}/site-packages" for lib in ("lib", "lib64")]
    candidates.append(f"{prefix}/Lib/site-packages")
    if prefix in ("/usr", "/usr/local"):
        candidates += [
            f"/usr/local/lib/python{minor}/dist-packages",
            f"/usr/local/lib/python{minor}/site-packages",
            "/usr/lib/python3/dist-packages",
            f"/usr/lib/python{minor}/dist-packages",
        ]
    seen = set()
    for folder in candidates:
        if context.is_dir(folder) and (real := context.realpath(folder)) not in seen:
            seen.add(real)
            yield folder

"""The working folder and the user's notebooks: version pins, TensorRT plans, Jupyter kernels."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator

from cuready._util import parse_json, parse_toml
from cuready.probe.context import Context, Facts
from cuready.snapshot import Kernelspec, PlanFile

__all__ = ["read_kernelspecs", "read_pins", "read_plans"]

_PINNED = ("torch", "torchvision", "torchaudio", "triton", "tensorflow", "jax", "jaxlib", "numpy",
           "onnxruntime", "onnxruntime-gpu", "tensorrt", "pytorch", "pytorch-cuda", "cudatoolkit",
           "cuda-version")  # fmt: skip
_NAMES = "|".join(map(re.escape, sorted(_PINNED, key=len, reverse=True)))
_LOCK_LIMIT = 16 << 20

# [[package]] tables of uv.lock, poetry.lock and pdm.lock: name first, version next.
_LOCKED = re.compile(rf'^name = "({_NAMES})"\nversion = "([^"]+)"', re.M)
_REQUIREMENT = re.compile(
    rf"^[ \t]*({_NAMES})(?:[ \t]*(\[[^\]\n]*\]))?(?:[ \t]*([=<>!~@][^#;\n]*))?"
    r"(?:[ \t]*[#;].*)?[ \t]*$",
    re.M,
)
_CONDA_SPEC = re.compile(
    rf"^[ \t]*-[ \t]*[\"']?(?:[\w.-]+::)?({_NAMES})(?:[ \t]*([=<>!~][^\s#\"']*))?[\"']?"
    r"[ \t]*(?:#.*)?$",
    re.M,
)


def read_pins(context: Context) -> Facts:
    """What lock and requirement files of the working folder say of the packages under diagnosis."""
    pins: dict[str, str] = {}
    for name in ("uv.lock", "poetry.lock", "pdm.lock"):
        for package, version in _LOCKED.findall(_text(context, name)):
            pins.setdefault(f"{name} {package}", version)
    for package, spec in _pyproject(_text(context, "pyproject.toml")):
        pins.setdefault(f"pyproject.toml {package}", spec)
    for package, extras, spec in _REQUIREMENT.findall(_text(context, "requirements.txt")):
        pins.setdefault(f"requirements.txt {package}", (extras + spec).strip() or "*")
    for name in ("environment.yml", "environment.yaml"):
        text = _text(context, name)
        for package, spec in _CONDA_SPEC.findall(text.partition("dependencies:")[2]):
            pins.setdefault(f"{name} {package}", spec or "*")
        channels = re.findall(r"^channels:[^\S\n]*\n((?:\s*-[^\n]*\n?)+)", text, re.M)
        if channels:
            pins[f"{name} channels"] = " ".join(re.findall(r"-\s*[\"']?([^\s\"'#]+)", channels[0]))
    return {"python.project_pins": pins}


def _text(context: Context, name: str) -> str:
    try:
        return context.read_text(posixpath.join(context.cwd, name), _LOCK_LIMIT) or ""
    except OSError:
        return ""


def _pyproject(text: str) -> Iterator[tuple[str, str]]:
    """``project.dependencies``, and the index that ``tool.uv.sources`` gives a package."""
    if not text:
        return
    try:
        document = parse_toml(text)
        for requirement in document.get("project", {}).get("dependencies", ()):
            found = _REQUIREMENT.match(str(requirement))
            if found:
                yield found[1], ((found[2] or "") + (found[3] or "")).strip() or "*"
        sources = document.get("tool", {}).get("uv", {}).get("sources", {})
        for name, source in sources.items():
            if name in _PINNED:
                yield f"tool.uv.sources {name}", json.dumps(source)
    except (ValueError, AttributeError, TypeError):
        return


# --- TensorRT plans ------------------------------------------------------------------------------

_PLAN_SUFFIXES = (".plan", ".engine", ".trt")
_PLAN_TAG = b"ftrt"  # 0x74727466, little-endian
MAX_PLANS = 100


def read_plans(context: Context) -> Facts:
    """Headers of plans in the working folder: 28 bytes each, the rest can be gigabytes.

    Bytes 24 to 27 are the version that built it, where the tag is ``ftrt`` and bytes 4 to 7 are
    zero (printPlanVersion in NVIDIA's samples/common/sampleEngines.cpp). Other tags have other
    layouts, so they give no version.
    """
    names = [n for n in context.listdir(context.cwd) if n.lower().endswith(_PLAN_SUFFIXES)]
    plans = []
    for name in names[:MAX_PLANS]:
        path = posixpath.join(context.cwd, name)
        try:
            head, found = context.read_bytes(path, 28), context.stat(path)
        except OSError:
            continue
        if head is None or found is None:
            continue
        version = None
        if len(head) == 28 and head[:4] == _PLAN_TAG and head[4:8] == bytes(4):
            version = ".".join(map(str, head[24:28]))
        tag = head[:4].decode("ascii", "backslashreplace")
        plans.append(PlanFile(path=path, tag=tag, version=version, size=found.st_size))
    return {"plans": tuple(plans)}


# --- Jupyter -------------------------------------------------------------------------------------


def read_kernelspecs(context: Context) -> Facts:
    """Kernels in Jupyter's search path, and whether the interpreter that each starts is there.

    The path is that of ``jupyter --paths``: JUPYTER_PATH, the user's, the environment's, and the
    system's.
    """
    told = context.env.get("JUPYTER_PATH", "")
    folders = [part for part in told.split(":" if context.system != "Windows" else ";") if part]
    data = context.env.get("JUPYTER_DATA_DIR") or _user_data(context)
    folders += [data]
    if context.so_far.python.prefix:
        folders.append(f"{context.so_far.python.prefix}/share/jupyter")
    folders += ["/usr/local/share/jupyter", "/usr/share/jupyter"]
    found = []
    for folder in dict.fromkeys(f"{folder}/kernels" for folder in folders):
        try:
            names = context.listdir(folder)
        except PermissionError:
            continue
        found += [spec for name in names if (spec := _kernelspec(context, f"{folder}/{name}"))]
    return {"python.kernelspecs": tuple(found)}


def _user_data(context: Context) -> str:
    if context.system == "Darwin":
        return f"{context.home}/Library/Jupyter"
    if context.system == "Windows":
        return f"{context.env.get('APPDATA', context.home)}/jupyter"
    return f"{context.env.get('XDG_DATA_HOME') or context.home + '/.local/share'}/jupyter"


def _kernelspec(context: Context, folder: str) -> Kernelspec | None:
    path = f"{folder}/kernel.json"
    try:
        argv = tuple(map(str, parse_json(context.read_text(path) or "{}")["argv"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    name = posixpath.basename(folder)
    if not argv:
        return Kernelspec(name, path)
    absolute = argv[0].startswith("/") or argv[0][1:2] == ":"
    exists = context.exists(argv[0]) if absolute else context.which(argv[0]) is not None
    return Kernelspec(name, path, argv, exists)

"""Installed distributions, from dist-info and egg-info folders, without importlib.metadata.

An environment has hundreds of them and a diagnosis looks at a few dozen, so of most only the first
lines of METADATA are read; what they require is read only of the families that checks look at.
Formats: https://packaging.python.org/en/latest/specifications/recording-installed-packages/
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator

from cuready._util import normalize, parse_json
from cuready.probe.context import Context, Facts, Incomplete, Skip
from cuready.snapshot import Distribution

__all__ = ["FAMILIES", "read"]

FAMILIES = re.compile(
    r"(?:torch|pytorch|triton|functorch|nvidia|cuda|jax|tensorflow|tf-|keras|onnxruntime|tensorrt"
    r"|cupy|numba|numpy$|vllm|flash-|flash_|flashinfer|xformers|bitsandbytes|deepspeed|accelerate"
    r"|transformers|sglang|apex|mamba-ssm|causal-conv1d|cudf|cuml|rmm|dali|ctranslate2|llama-cpp"
    r"|spconv|detectron2|lightning|timm|fbgemm|xgboost|lightgbm|faiss|ort-nightly|pyre-extensions)"
)
_HEAD = 2048  # Name and Version are the second and third line in every METADATA that tools write
_HEADERS = 1 << 20  # all headers, extras and a pasted licence included
_FIELD = re.compile(r"^(Name|Version|Requires-Dist|Requires-Python):[ \t]*(.*)$", re.M)


def read(context: Context) -> Facts:
    """Distributions in the folders of sys.path, the standard library's and our own cwd left out."""
    python = context.so_far.python
    if not python.sys_path:
        raise Skip("no Python under diagnosis")
    folders = _folders(context)
    found: list[Distribution] = []
    invalid: list[str] = []
    problems: list[str] = []
    for folder in folders:
        try:
            names = context.listdir(folder)
        except OSError as error:
            problems.append(f"{folder}: {error.strerror or error}")
            continue
        invalid += [name for name in names if name.startswith("~")]
        for name in names:
            try:
                found += _distribution(context, folder, name)
            except OSError as error:
                problems.append(f"{folder}/{name}: {error.strerror or error}")
    facts: dict[str, object] = {
        "python.distributions": tuple(found),
        "python.invalid_distributions": tuple(dict.fromkeys(invalid)),
        **_manager(context, found),
    }
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise Incomplete(problems[0] + more, facts)
    return facts


def _folders(context: Context) -> list[str]:
    python = context.so_far.python
    interpreter = context.interpreter
    skip = {context.cwd, *(interpreter.stdlib if interpreter else ())}
    if interpreter and interpreter.stdlib_dir:
        skip |= {interpreter.stdlib_dir, f"{interpreter.stdlib_dir}/lib-dynload"}
    return [entry for entry in python.sys_path if entry not in skip and not entry.endswith(".zip")]


def _manager(context: Context, found: list[Distribution]) -> Facts:
    """uv's venvs say so in pyvenv.cfg; in any venv, what INSTALLER files say outranks that."""
    python = context.so_far.python
    if python.kind not in ("venv", "uv"):
        return {}
    own = [d.installer for d in found if d.location in python.site_packages and d.installer]
    told = Counter(name for name in own if name in ("pip", "uv"))
    return {"python.manager": told.most_common(1)[0][0]} if told else {}


def _distribution(context: Context, folder: str, name: str) -> Iterator[Distribution]:
    lower = name.lower()
    if lower.startswith("~"):
        return
    path = f"{folder}/{name}"
    if lower.endswith(".dist-info"):
        yield _dist_info(context, folder, path)
    elif lower.endswith(".egg-info"):
        metadata = f"{path}/PKG-INFO" if context.is_dir(path) else path
        yield _egg(context, folder, path, metadata)
    elif lower.endswith(".egg") and context.is_dir(f"{path}/EGG-INFO"):
        yield _egg(context, folder, path, f"{path}/EGG-INFO/PKG-INFO")


def _dist_info(context: Context, folder: str, path: str) -> Distribution:
    members = set(context.listdir(path))
    stem_name, _, stem_version = posixpath.basename(path)[: -len(".dist-info")].partition("-")
    wanted = FAMILIES.match(normalize(stem_name)) is not None
    fields = _metadata(context, f"{path}/METADATA", wanted) if "METADATA" in members else {}
    return Distribution(
        name=fields.get("Name", [stem_name])[0],
        version=fields.get("Version", [stem_version])[0],
        location=folder,
        metadata_path=path,
        installer=context.first_line(f"{path}/INSTALLER") if "INSTALLER" in members else None,
        direct_url=_direct_url(context, path) if "direct_url.json" in members else None,
        requires=tuple(fields.get("Requires-Dist", ())) if wanted else (),
        requires_python=fields.get("Requires-Python", [None])[0],
        tags=_tags(context, f"{path}/WHEEL") if "WHEEL" in members else (),
        top_level=_top_level(context, path) if wanted and "top_level.txt" in members else (),
        record_present="RECORD" in members,
        file_count=_lines(context, f"{path}/RECORD") if wanted and "RECORD" in members else None,
        mtime=_mtime(context, path),
    )


def _egg(context: Context, folder: str, path: str, metadata: str) -> Distribution:
    fields = _metadata(context, metadata, True)
    stem_name, _, stem_version = posixpath.basename(path).rpartition(".")[0].partition("-")
    return Distribution(
        name=fields.get("Name", [stem_name])[0],
        version=fields.get("Version", [stem_version.partition("-")[0]])[0],
        location=folder,
        metadata_path=path,
        requires_python=fields.get("Requires-Python", [None])[0],
        mtime=_mtime(context, path),
    )


def _metadata(context: Context, path: str, everything: bool) -> dict[str, list[str]]:
    """Header fields of METADATA or PKG-INFO, up to the empty line that ends them."""
    text = context.read_text(path, _HEADERS if everything else _HEAD) or ""
    head, _, _ = text.replace("\r\n", "\n").partition("\n\n")
    fields: dict[str, list[str]] = {}
    for key, value in _FIELD.findall(head):
        if value.strip():
            fields.setdefault(key, []).append(value.strip())
    return fields


def _direct_url(context: Context, path: str) -> str | None:
    """PEP 610's URL as installers take it: ``git+…@commit``; ``editable+`` before a folder."""
    try:
        document = parse_json(context.read_text(f"{path}/direct_url.json") or "")
        url = str(document["url"])
        if "vcs_info" in document:
            vcs = document["vcs_info"]
            return f"{vcs['vcs']}+{url}@{vcs['commit_id']}"
        return f"editable+{url}" if document.get("dir_info", {}).get("editable") else url
    except (ValueError, KeyError, AttributeError, TypeError):
        return None


def _tags(context: Context, path: str) -> tuple[str, ...]:
    return tuple(re.findall(r"^Tag:\s*(\S+)", context.read_text(path, 16 << 10) or "", re.M))


def _top_level(context: Context, path: str) -> tuple[str, ...]:
    return tuple((context.read_text(f"{path}/top_level.txt") or "").split())


def _lines(context: Context, path: str) -> int | None:
    data = context.read_bytes(path, 16 << 20)
    return data.count(b"\n") if data is not None else None


def _mtime(context: Context, path: str) -> float | None:
    found = context.stat(path)
    return found.st_mtime if found else None

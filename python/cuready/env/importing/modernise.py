"""From what was asked for to what is right today, with the reason for every change.

The facts are data (``env/data/modernise.toml``); the rules that join them are here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from cuready._util import data_text, tomllib
from cuready.env.importing.request import CondaSpec, Request, requirement_name
from cuready.mirrors import urls
from cuready.mirrors.urls import split_url

__all__ = ["Change", "Modern", "modernise"]

CHANNELS_DOC = (
    "https://docs.conda.io/projects/conda/en/stable/user-guide/tasks/manage-channels.html"
)
MIRROR_IS_TRANSPORT = "a mirror is transport: `cuready mirror use` sets it"
TORCH_FAMILY = frozenset({"torch", "torchvision", "torchaudio"})
# Packages whose presence means that a GPU is wanted, whatever the rest says.
GPU_CONDA = frozenset({"pytorch-gpu", "cudnn", "nccl", "cupy", "tensorrt"})
OLDEST_CUDA_OF_TODAY = Version("12")  # conda-forge's pytorch and tensorflow builds, 2026-11
# conda-forge's first and last CUDA 11 pytorch releases; a pin between them keeps its CUDA.
TORCH_WITH_CUDA_11 = (Version("1.7"), Version("2.6"))


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was asked for. ``now`` empty: left out."""

    was: str
    now: str
    why: str
    source: str = ""

    def to_dict(self) -> dict[str, str]:
        return {"was": self.was, "now": self.now, "why": self.why, "source": self.source}


@dataclass
class Modern:
    """What the recipe will hold, and what changed on the way."""

    channels: list[str] = field(default_factory=list)
    specs: list[str] = field(default_factory=list)
    constraints: list[str] = field(default_factory=list)
    pip: list[str] = field(default_factory=list)
    pip_index: str = "pypi"
    extra_indexes: list[str] = field(default_factory=list)
    gpu: bool = False
    cpu: bool = False
    cuda: str = ""
    changes: list[Change] = field(default_factory=list)


@cache
def _rules() -> dict[str, Any]:
    text = data_text("cuready.env", "data/modernise.toml")
    return tomllib.loads(text)


def modernise(request: Request) -> Modern:
    """What ``request`` means today."""
    modern = Modern()
    _channels(request, modern)
    _conda(request, modern)
    _pip(request, modern)
    _caps(modern)
    for option in request.ignored:
        modern.changes.append(
            Change(option, "", "an option of the command, not of the environment")
        )
    return modern


# --- channels ------------------------------------------------------------------------------------


def _channels(request: Request, modern: Modern) -> None:
    wanted = [*request.channels, *(spec.channel for spec in request.conda if spec.channel)]
    for text in dict.fromkeys(wanted):
        name = _channel_name(text, modern)
        rule = next((rule for rule in _rules()["channel"] if name in rule["names"]), None)
        if rule is not None:
            now = rule["now"]
            modern.changes.append(Change(f"channel {name}", now, rule["why"], rule["source"]))
            name = rule["now"]
        if name not in modern.channels:
            modern.channels.append(name)
    behind = request.channels and not request.only_channels
    if behind and "conda-forge" not in modern.channels:
        why = (
            "conda looks behind the named channels into its default ones: here that is conda-forge"
        )
        modern.changes.append(Change("", "channel conda-forge", why, CHANNELS_DOC))
        modern.channels.append("conda-forge")
    if (request.conda or request.origin != "requirements.txt") and not modern.channels:
        modern.channels.append("conda-forge")


def _channel_name(text: str, modern: Modern) -> str:
    """The channel's own name: an address of a mirror is transport and has no place in a recipe."""
    if "://" not in text:
        return text
    part = urls.pkgs_part(text)
    name = part or urls.cloud_channel(text)
    if name is None:
        # A company's own channel: there is no name for it but its address.
        return text.rstrip("/")
    hidden = urls.redact(text)
    modern.changes.append(Change(hidden, name, MIRROR_IS_TRANSPORT))
    return name


# --- conda specs ---------------------------------------------------------------------------------


def _conda(request: Request, modern: Modern) -> None:
    specs, pin = [], ""
    for spec in request.conda:
        rule = _conda_rule(spec)
        if rule is None:
            specs.append(replace(spec, channel=""))
            continue
        means = rule.get("means", "")
        modern.gpu = modern.gpu or means in ("gpu", "cuda")
        modern.cpu = modern.cpu or means == "cpu"
        pin = pin or (spec.version if means == "cuda" else "")
        new = [_renamed(spec, name, rule) for name in rule["now"]]
        specs += new
        now = ", ".join(map(str, new))
        if means == "cuda":
            continue  # told with the CUDA version that becomes of it
        modern.changes.append(Change(str(spec), now, rule["why"], rule["source"]))
    specs = [_torch_spec(spec, modern) for spec in specs]
    if request.driver_cuda or any(spec.name in GPU_CONDA for spec in specs):
        modern.gpu = True
    _cuda_pin(request, specs, pin, modern)
    _advise(specs, modern)
    modern.specs = list(dict.fromkeys(map(str, specs)))


def _conda_rule(spec: CondaSpec) -> Mapping[str, Any] | None:
    for rule in _rules()["conda"]:
        if spec.name in rule["names"] and not (rule.get("only_bare") and spec.version):
            found: Mapping[str, Any] = rule
            return found
    return None


def _renamed(spec: CondaSpec, name: str, rule: Mapping[str, Any]) -> CondaSpec:
    version = spec.version or rule.get("version", "")
    return CondaSpec(name, version, spec.build or rule.get("build", ""))


def _torch_spec(spec: CondaSpec, modern: Modern) -> CondaSpec:
    """``pytorch`` beside a CUDA package is ``pytorch-gpu``: the plain one may be a CPU build."""
    if spec.name != "pytorch" or spec.build:
        return spec
    if modern.cpu:
        new, why = "pytorch-cpu", "the line asks for the CPU build"
    elif modern.gpu:
        new = "pytorch-gpu"
        why = "a plain `pytorch` silently becomes the CPU build where the solver sees no driver"
    else:
        return spec
    source = "https://github.com/conda/conda/issues/14761"
    modern.changes.append(Change(str(spec), str(replace(spec, name=new)), why, source))
    return replace(spec, name=new)


def _cuda_pin(request: Request, specs: list[CondaSpec], pin: str, modern: Modern) -> None:
    """What a ``cudatoolkit=11.3`` means today."""
    asked = next((spec for spec in request.conda if _means_cuda(spec)), None)
    if asked is None:
        return
    source = "https://github.com/conda-forge/cuda-version-feedstock"
    version = _number(pin)
    torch = next((spec for spec in specs if spec.name.startswith("pytorch")), None)
    if version is None:
        why = "the builds bring the CUDA that they need"
        modern.changes.append(Change(str(asked), "", why, source))
    elif version >= OLDEST_CUDA_OF_TODAY:
        modern.cuda = str(version.major)
        modern.constraints.append(f"cuda-version {version.major}.*")
        why = "any driver of that CUDA's major runs all its minor versions: the minor is left free"
        modern.changes.append(Change(str(asked), f"cuda-version {version.major}.*", why, source))
    elif torch is not None and _built_with_cuda_11(torch):
        modern.cuda = f"{version.major}.{version.minor}"
        modern.constraints.append(f"cuda-version {version.major}.*")
        why = "that PyTorch has builds for CUDA 11 on conda-forge"
        modern.changes.append(Change(str(asked), f"cuda-version {version.major}.*", why, source))
    else:
        why = (
            f"today's builds are for CUDA 12 and 13; CUDA {version} is what it held then. "
            "The GPU rules choose by the driver"
        )
        modern.constraints.append("cuda-version >=12")
        modern.changes.append(Change(str(asked), "cuda-version >=12", why, source))


def _advise(specs: list[CondaSpec], modern: Modern) -> None:
    """Say so when a pinned version has a recipe of its own that is known to work."""
    for rule in _rules()["advice"]:
        for spec in specs:
            version = _number(spec.version)
            old = version is not None and version < Version(rule["below"])
            if spec.name == rule["package"] and old and modern.gpu:
                modern.changes.append(Change(str(spec), str(spec), rule["why"], rule["source"]))


def _means_cuda(spec: CondaSpec) -> bool:
    rule = _conda_rule(spec)
    return rule is not None and rule.get("means") == "cuda"


def _number(text: str) -> Version | None:
    match = re.search(r"[0-9]{1,9}(?:\.[0-9]{1,9})*", text)
    return Version(match[0]) if match else None


def _built_with_cuda_11(torch: CondaSpec) -> bool:
    version = _number(torch.version)
    first, last = TORCH_WITH_CUDA_11
    return version is not None and first <= version < last


# --- pip requirements ----------------------------------------------------------------------------


def _pip(request: Request, modern: Modern) -> None:
    names = {requirement_name(item) for item in request.pip}
    for item in request.pip:
        new = _pip_item(item, names, modern)
        if new and new not in modern.pip:
            modern.pip.append(new)
    _indexes(request, modern)
    if modern.pip_index == "torch":
        modern.pip = [_without_local(item, modern) for item in modern.pip]


def _pip_item(item: str, names: set[str], modern: Modern) -> str:
    name = requirement_name(item)
    for rule in _rules()["pip"]:
        if name not in (known.lower() for known in rule["names"]):
            continue
        if rule.get("beside") and not names & set(rule["beside"]):
            continue
        pinned = _number(item.split("==", maxsplit=1)[1]) if "==" in item else None
        if rule.get("from_version") and pinned and pinned < Version(rule["from_version"]):
            continue
        match = re.match(r"\s*[A-Za-z0-9._-]+", item)
        rest = item[match.end() :] if match else ""
        new = f"{rule['now']}{rest}"
        modern.changes.append(Change(item, new, rule["why"], rule["source"]))
        return new
    return item


def _indexes(request: Request, modern: Modern) -> None:
    """Indexes of PyTorch become "torch", mirrors of PyPI go, whatever else stays by its address."""
    for url in [*request.index_urls, *request.extra_index_urls, *request.find_links]:
        parts = split_url(url)
        path = parts.path.lower()
        if "pytorch.org" in (parts.hostname or "") or "pytorch" in path:
            modern.pip_index = "torch"
            modern.gpu = modern.gpu or "/cpu" not in path
            why = "the CUDA of the wheels is chosen by this machine's driver and GPU"
            modern.changes.append(Change(urls.redact(url), 'index = "torch"', why))
        elif _copies_pypi(url):
            modern.changes.append(Change(urls.redact(url), "", MIRROR_IS_TRANSPORT))
        else:
            modern.extra_indexes.append(url)
            if url in request.index_urls:
                why = (
                    "not a known mirror of PyPI: it is asked beside PyPI; take it out if it is one"
                )
                modern.changes.append(Change(urls.redact(url), "pip.extra_indexes", why))


def _copies_pypi(url: str) -> bool:
    """Whether ``url`` is PyPI, one of its mirrors, or an address that once was one."""
    from cuready.mirrors.catalogue import load

    known = load()
    host = split_url(url).hostname or ""
    if host == "pypi.org" or host.endswith(".pypi.org") or known.pasted_rule(url) is not None:
        return True
    owner = known.owner_of(url)
    return owner is not None and owner.pypi is not None


def _without_local(item: str, modern: Modern) -> str:
    """``torch==1.13.1+cu117`` → ``torch==1.13.1``: the index decides the CUDA."""
    new = re.sub(r"(==[\w.]+)\+(?:cu\d+|cpu)", r"\1", item)
    if new != item and requirement_name(item) in TORCH_FAMILY:
        modern.changes.append(Change(item, new, "the index decides the CUDA"))
        return new
    return item


# --- caps ----------------------------------------------------------------------------------------


def _caps(modern: Modern) -> None:
    """Upper bounds that an old package needs and does not declare."""
    present = {requirement_name(item) for item in modern.pip}
    for rule in _rules()["cap"]:
        cap = Requirement(rule["add"])
        pinned = [_pinned(item) for item in modern.pip if requirement_name(item) == rule["package"]]
        old = any(version is not None and version < Version(rule["below"]) for version in pinned)
        if old and cap.name not in present:
            modern.pip.append(rule["add"])
            modern.changes.append(Change("", rule["add"], rule["why"], rule["source"]))


def _pinned(item: str) -> Version | None:
    """The one version that a requirement allows, when it names one."""
    try:
        specifiers = Requirement(item).specifier
    except InvalidRequirement:
        return None
    for specifier in specifiers:
        if specifier.operator == "==":
            try:
                return Version(specifier.version.removesuffix(".*"))
            except ValueError:  # InvalidVersion, too many digits for int()
                return None
    return None

"""A recipe as TOML from a modernised request, and recipes as other tools' files."""

from __future__ import annotations

import re
from typing import Any

from cuready._util import check_numbers, one_line
from cuready.env.importing.modernise import Modern
from cuready.env.importing.request import Request, requirement_name
from cuready.env.recipe import Recipe
from cuready.errors import RecipeError

__all__ = ["EXPORTS", "recipe_document", "recipe_toml"]

DEFAULT_PYTHON = "3.12.*"
DEFAULT_HOST_PYTHON = ">=3.10"

# Packages whose module is not called like them.
MODULES = {
    "pytorch": "torch", "pytorch-gpu": "torch", "pytorch-cpu": "torch", "py-opencv": "cv2",
    "opencv": "cv2", "opencv-python": "cv2", "opencv-python-headless": "cv2", "pillow": "PIL",
    "scikit-learn": "sklearn", "scikit-image": "skimage", "pyyaml": "yaml", "pyqt": "PyQt5",
    "pyqt5": "PyQt5", "matplotlib-base": "matplotlib", "tensorflow-gpu": "tensorflow",
    "onnxruntime-gpu": "onnxruntime", "protobuf": "google.protobuf", "cython": "Cython",
    "beautifulsoup4": "bs4", "python-dateutil": "dateutil", "attrs": "attr",
    "nvidia-ml-py": "pynvml", "ffmpeg-python": "ffmpeg", "tf-keras": "tf_keras",
}  # fmt: skip
# Programs and libraries that have no module at all.
NO_MODULE = frozenset(
    {"ffmpeg", "cudnn", "nccl", "cuda-version", "cudatoolkit", "git", "cmake", "make", "gcc", "gxx",
     "cxx-compiler", "c-compiler", "ninja", "nodejs", "graphviz", "jupyterlab", "pandoc", "wget",
     "curl", "libgcc-ng", "libstdcxx-ng", "notebook", "setuptools", "wheel"}
)  # fmt: skip

GPU_PROOF = {
    "name": "torch multiplies on the GPU",
    "gpu": True,
    "timeout": 300,
    "code": (
        "import torch\n"
        'assert torch.version.cuda, f"torch {torch.__version__} is a CPU build"\n'
        "a = torch.randn(64, 64)\n"
        "assert torch.allclose((a.cuda() @ a.cuda()).cpu(), a @ a, rtol=1e-2, atol=1e-2)\n"
    ),
}


def recipe_document(request: Request, modern: Modern, name: str) -> dict[str, Any]:
    """The recipe as a document that its schema accepts."""
    wants_torch = any(_torch(item) for item in (*modern.specs, *modern.pip))
    document: dict[str, Any] = {
        "schema": 1,
        "name": _slug(name or request.name),
        "summary": f"Imported from {request.origin}",
    }
    if modern.specs or request.origin in ("environment.yml", "pixi.toml", "conda"):
        document["channels"] = modern.channels or ["conda-forge"]
        conda: dict[str, Any] = {"python": request.python or DEFAULT_PYTHON}
        conda["specs"] = modern.specs + (["pip"] if modern.pip else [])
        if modern.constraints:
            conda["constraints"] = modern.constraints
        document["conda"] = conda
    else:
        document["python"] = {"version": DEFAULT_HOST_PYTHON}
    if modern.pip:
        pip: dict[str, Any] = {"requirements": modern.pip}
        if modern.pip_index != "pypi":
            pip["index"] = modern.pip_index
        if modern.extra_indexes:
            pip["extra_indexes"] = modern.extra_indexes
        document["pip"] = pip
    gpu = _gpu(request, modern)
    if gpu:
        document["gpu"] = gpu
    expect = _expect(modern)
    if expect:
        document["build"] = {"expect": expect}
    if request.variables:
        document["activate"] = {"variables": request.variables}
    verify: dict[str, Any] = {"imports": _modules(modern)}
    if wants_torch and modern.gpu and not modern.cpu:
        verify["run"] = [GPU_PROOF]
    document["verify"] = verify
    return document


def _torch(item: str) -> bool:
    return re.match(r"(?:py)?torch(?:-gpu)?\b(?!-cpu)", item) is not None


def _gpu(request: Request, modern: Modern) -> dict[str, Any]:
    if modern.cpu:
        return {"forbid": True}
    if not modern.gpu:
        return {}
    gpu: dict[str, Any] = {"require": True}
    minimum = modern.cuda or request.driver_cuda or ("12" if modern.specs else "")
    if minimum:
        gpu["min_driver_cuda"] = minimum
    old_cuda = minimum.split(".")[0] == "11"  # its builds have no rule of today's
    if any(spec.startswith("pytorch-gpu") for spec in modern.specs) and not old_cuda:
        # The rules of the shipped recipe: conda-forge's CUDA 13 builds start at 7.5 and glibc 2.28.
        only_12 = ["cuda-version 12.*"]
        gpu["rule"] = [
            {"when": {"capability": "<7.5"}, "constraints": only_12},
            {"when": {"glibc": "<2.28"}, "constraints": only_12},
        ]
    return gpu


def _expect(modern: Modern) -> dict[str, str]:
    names = {spec.split()[0] for spec in modern.specs}
    expect = {}
    if "pytorch-gpu" in names:
        expect["pytorch"] = "cuda*"
    if "pytorch-cpu" in names:
        expect["pytorch"] = "cpu*"
    if modern.gpu and "tensorflow" in names:
        expect["tensorflow"] = "*cuda*"
    return expect


def _modules(modern: Modern) -> list[str]:
    """What the environment's proof imports: one module a package that is known to have one."""
    names = [spec.split()[0] for spec in modern.specs]
    names += [requirement_name(item) for item in modern.pip]
    modules = [
        MODULES.get(name, name.replace("-", "_"))
        for name in names
        if name and name not in NO_MODULE and not name.startswith(("lib", "nvidia-", "cuda-"))
    ]
    return list(dict.fromkeys(modules)) or ["sys"]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "imported"


def recipe_toml(document: dict[str, Any]) -> str:
    """The document as TOML, as a person would lay it out."""
    import tomlkit
    from tomlkit.items import Table

    def fill(table: Any, values: dict[str, Any]) -> None:
        for key, value in values.items():
            table[key] = convert(value)

    def convert(value: Any) -> Any:
        if isinstance(value, dict):
            table: Table = tomlkit.table()
            fill(table, value)
            return table
        if isinstance(value, list) and value and isinstance(value[0], dict):
            array = tomlkit.aot()
            for item in value:
                array.append(convert(item))
            return array
        if isinstance(value, list):
            inline = tomlkit.array()
            if len(", ".join(map(str, value))) > 80:
                # All at once: tomlkit numbers the whole array anew after each append.
                inline.add_line(*value, indent="", newline=False)
                return inline.multiline(True)
            inline.extend(value)
            return inline
        if isinstance(value, str) and "\n" in value:
            return tomlkit.string(value, multiline=True)
        return value

    toml = tomlkit.document()
    fill(toml, document)
    return tomlkit.dumps(toml)


# --- other tools' files ------------------------------------------------------------------------


def environment_yml(recipe: Recipe) -> str:
    """conda's environment file. GPU rules have no place in it and are left as comments."""
    import yaml

    dependencies: list[Any] = [*recipe.all_specs()]
    if recipe.pip:
        dependencies += [] if "pip" in recipe.specs else ["pip"]
        dependencies.append({"pip": [*_index_lines(recipe), *recipe.pip]})
    document: dict[str, Any] = {
        "name": recipe.name,
        "channels": list(recipe.channels),
        "dependencies": dependencies or [f"python {DEFAULT_PYTHON}"],
    }
    if recipe.variables:
        document["variables"] = dict(recipe.variables)
    text: str = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in _lost(recipe)) + text


def requirements_txt(recipe: Recipe) -> str:
    """pip's requirements file: the pip phase alone, since conda packages have other names."""
    lines = [f"# {line}" for line in _lost(recipe)]
    if recipe.specs:
        lines.append(f"# conda packages are not in here: {', '.join(recipe.all_specs())}")
    return "\n".join([*lines, *_index_lines(recipe), *recipe.pip]) + "\n"


def pixi_toml(recipe: Recipe) -> str:
    """A pixi workspace."""
    document: dict[str, Any] = {
        "workspace": {
            "name": recipe.name,
            "channels": list(recipe.channels),
            "platforms": list(recipe.platforms) or ["linux-64"],
        }
    }
    specs = dict(_pixi_pair(spec) for spec in recipe.all_specs())
    document["dependencies"] = specs or {"python": DEFAULT_PYTHON}
    if recipe.min_driver_cuda:
        document["system-requirements"] = {"cuda": recipe.min_driver_cuda}
    if recipe.pip:
        document["pypi-dependencies"] = dict(_pixi_pip(item) for item in recipe.pip)
    if recipe.extra_indexes:
        document["pypi-options"] = {"extra-index-urls": list(recipe.extra_indexes)}
    if recipe.variables:
        document["activation"] = {"env": dict(recipe.variables)}
    return "".join(f"# {line}\n" for line in _lost(recipe)) + recipe_toml(document)


def _index_lines(recipe: Recipe) -> list[str]:
    return [f"--extra-index-url {url}" for url in recipe.extra_indexes]


def _lost(recipe: Recipe) -> list[str]:
    """What the other format cannot say, so that nobody thinks it was said."""
    lines = [f"{recipe.name}: {recipe.summary} (exported by cuready)"]
    if recipe.pip_index == "torch":
        lines.append("torch's wheels: add the --index-url that `cuready compat torch` prints")
    for rule in recipe.rules:
        when = {"capability": rule.capability, "CUDA of the driver": rule.driver_cuda}
        told = ", ".join(f"{name} {value}" for name, value in when.items() if value)
        told = told or f"glibc {rule.glibc}"
        lines.append(f"GPU rule, {told}: {rule.refuse or ', '.join(rule.constraints)}")
    return lines


def _pixi_pair(spec: str) -> tuple[str, Any]:
    name, _, rest = spec.partition(" ")
    version, _, build = rest.strip().partition(" ")
    if build.strip():
        return name, {"version": version or "*", "build": build.strip()}
    return name, version or "*"


def _pixi_pip(item: str) -> tuple[str, Any]:
    from packaging.requirements import Requirement

    try:
        requirement = Requirement(item)
        check_numbers(requirement.specifier)
    except ValueError as error:  # InvalidRequirement, too many digits for int()
        told = f"{one_line(item, 60)!r}: {one_line(error)}"
        raise RecipeError(f"pip.requirements: {told}") from None
    if requirement.url:
        return requirement.name, {"url": requirement.url}
    version = str(requirement.specifier) or "*"
    if requirement.extras:
        return requirement.name, {"version": version, "extras": sorted(requirement.extras)}
    return requirement.name, version


EXPORTS = {
    "environment.yml": environment_yml,
    "requirements.txt": requirements_txt,
    "pixi.toml": pixi_toml,
}

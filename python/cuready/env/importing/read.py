"""Readers of environment.yml, requirements.txt, pixi.toml and pasted install lines."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuready._util import bounded, one_line, parse_toml
from cuready.env.importing.request import (
    CondaSpec,
    Request,
    parse_conda_spec,
    require_name,
    requirement_name,
)
from cuready.errors import RecipeError

__all__ = ["read_any", "read_command", "read_environment_yml", "read_pixi", "read_requirements"]

MAX_BYTES = 4 << 20
_MOST_INCLUDES = 50
CONDA_PROGRAMS = frozenset({"conda", "mamba", "micromamba", "conda.exe", "mamba.exe"})

# Options of conda and pip that take a value which says nothing about what is installed.
VALUE_OPTIONS = frozenset(
    {"-n", "--name", "-p", "--prefix", "--solver", "--python", "--target", "-t", "--timeout",
     "--retries", "--cache-dir", "--proxy", "--cert", "--trusted-host", "--root", "--subdir",
     "--platform", "--torch-backend", "--constraint", "-c-file", "--log", "--report"}
)  # fmt: skip


def read_any(source: str) -> Request:
    """What ``source`` asks for: the path of a file, or an install line itself."""
    path = Path(source)
    try:
        is_file = len(source) < 4096 and path.is_file()
    except (OSError, ValueError):
        is_file = False
    if not is_file:
        if re.match(r"^\S+\.(?:ya?ml|txt|toml|in)$", source.strip()):
            raise RecipeError(f"{source}: no such file")
        return read_command(source)
    text = _text(path)
    if path.suffix in (".yml", ".yaml"):
        return read_environment_yml(text, source, folder=path.parent)
    if path.suffix == ".toml":
        return read_pixi(text, source)
    return read_requirements(text, source, folder=path.parent)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecipeError(f"{path}: too large to be a list of packages (over 4 MiB)")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}") from None
    except ValueError:  # a null character
        raise RecipeError(f"{str(path)!r}: no file can have such a name") from None


# --- environment.yml ---------------------------------------------


def read_environment_yml(
    text: str, where: str = "environment.yml", *, folder: Path | None = None
) -> Request:
    """conda's environment file; what ``pip:`` includes by ``-r`` is read from ``folder``."""
    import yaml

    try:
        document = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - strings only, no objects
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        reason = one_line(getattr(error, "problem", None) or error)
        raise RecipeError(f"{where}{line}: not YAML: {reason}") from None
    except RecursionError:
        raise RecipeError(f"{where}: not an environment file: nested too deeply") from None
    try:
        bounded(document)
    except ValueError as error:
        raise RecipeError(f"{where}: not an environment file: {error}") from None
    if not isinstance(document, dict):
        raise RecipeError(f"{where}: not an environment file: no mapping at its top")
    request = Request("environment.yml", name=str(document.get("name") or ""))
    request.channels = _strings(document.get("channels", []), f"{where}: channels")
    request.only_channels = "nodefaults" in request.channels
    variables = document.get("variables")
    if isinstance(variables, dict):
        request.variables = {str(key): str(value) for key, value in variables.items()}
    for item in _list(document.get("dependencies", []), f"{where}: dependencies"):
        if isinstance(item, str):
            request.conda.append(parse_conda_spec(item))
        elif isinstance(item, dict) and list(item) == ["pip"]:
            lines = "\n".join(_strings(item["pip"], f"{where}: pip"))
            _requirement_lines(request, lines, where, folder, seen=[])
        else:
            raise RecipeError(f"{where}: a dependency that is neither text nor pip: {item!r}")
    return _settle(request)


def _list(value: Any, where: str) -> list[Any]:
    if value in (None, ""):
        return []
    if not isinstance(value, list):
        raise RecipeError(f"{where}: should be a list")
    return value


def _strings(value: Any, where: str) -> list[str]:
    items = _list(value, where)
    for item in items:
        if not isinstance(item, str):
            raise RecipeError(f"{where}: should hold text, found {item!r}")
    return [str(item) for item in items]


# --- requirements.txt ---------------------------------------------


def read_requirements(
    text: str, where: str = "requirements.txt", *, folder: Path | None = None
) -> Request:
    """pip's requirements file; ``-r`` and ``-c`` of other files are followed below ``folder``."""
    request = Request("requirements.txt")
    _requirement_lines(request, text, where, folder, seen=[])
    return _settle(request)


def _requirement_lines(
    request: Request, text: str, where: str, folder: Path | None, seen: list[str]
) -> None:
    for line in re.sub(r"\\\r?\n", "", text).splitlines():
        nested = re.match(r"^\s*(?:-r|--requirement)[\s=]+(\S+)", line)
        if nested and folder is not None:
            path = folder / nested[1]
            if str(path) in seen:
                raise RecipeError(f"{where}: {path} includes itself")
            if len(seen) == _MOST_INCLUDES:
                raise RecipeError(f"{where}: files that include files, {_MOST_INCLUDES} deep")
            _requirement_lines(request, _text(path), str(path), path.parent, [*seen, str(path)])
        else:
            _requirement_line(request, line, where)


def _requirement_line(request: Request, line: str, where: str) -> None:
    cleaned = re.sub(r"(?:^|\s)#.*$", "", line).strip()
    if not cleaned:
        return
    option = re.match(r"^(?P<name>--?[a-z-]+)(?:[\s=]+(?P<value>\S+))?", cleaned)
    if option is None:
        request.pip.append(re.sub(r"(?<!\s)\s+--hash=\S+", "", cleaned))
        return
    _pip_option(request, option["name"], option["value"] or "", where)


def _pip_option(request: Request, name: str, value: str, where: str) -> None:
    if name in ("-i", "--index-url", "--default-index"):
        request.index_urls.append(value)
    elif name in ("--extra-index-url", "--index"):
        request.extra_index_urls.append(value)
    elif name in ("-f", "--find-links"):
        request.find_links.append(value)
    elif name in ("-e", "--editable"):
        raise RecipeError(
            f"{where}: an editable install ({value}) is not part of an environment's recipe",
            hint="leave it out, and install it into the environment afterwards",
        )
    else:
        request.ignored.append(f"{name} {value}".strip())


# --- pixi.toml ---------------------------------------------


def read_pixi(text: str, where: str = "pixi.toml") -> Request:
    """A pixi manifest, or the ``[tool.pixi]`` table of a pyproject.toml."""
    try:
        document: Mapping[str, Any] = parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from None
    document = _table(_table(document, "tool"), "pixi") or document
    project = _table(document, "workspace") or _table(document, "project")
    if not isinstance(project.get("channels"), list):
        raise RecipeError(
            f"{where}: not a pixi manifest: no channels in [workspace]",
            hint="a cuready recipe needs no import: `cuready recipe lint FILE`",
        )
    request = Request("pixi.toml", name=str(project.get("name", "")), only_channels=True)
    for channel in project["channels"]:
        name = channel.get("channel", "") if isinstance(channel, dict) else channel
        request.channels.append(str(name))
    for name, value in _table(document, "dependencies").items():
        request.conda.append(_pixi_spec(require_name(name, where), value))
    for name, value in _table(document, "pypi-dependencies").items():
        request.pip.append(_pixi_requirement(require_name(name, where), value, where))
    cuda = _table(document, "system-requirements").get("cuda")
    request.driver_cuda = str(cuda) if cuda else ""
    activation = _table(document, "activation").get("env")
    if isinstance(activation, dict):
        request.variables = {str(key): str(value) for key, value in activation.items()}
    return _settle(request)


def _table(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key, {})
    return value if isinstance(value, dict) else {}


def _pixi_spec(name: str, value: Any) -> CondaSpec:
    if isinstance(value, dict):
        version, build = str(value.get("version", "")), str(value.get("build", ""))
        channel = str(value.get("channel", ""))
        return CondaSpec(name.lower(), "" if version == "*" else version, build, channel)
    version = str(value)
    return CondaSpec(name.lower(), "" if version == "*" else version)


def _pixi_requirement(name: str, value: Any, where: str) -> str:
    if isinstance(value, dict):
        if "path" in value:
            raise RecipeError(f"{where}: {name} is a local folder, not part of a recipe")
        extras = value.get("extras") or []
        if not isinstance(extras, list):
            raise RecipeError(f"{where}: {name}: extras should be a list")
        extras = f"[{','.join(map(str, extras))}]" if extras else ""
        if "url" in value or "git" in value:
            url = value.get("url") or f"git+{value['git']}"
            return f"{name}{extras} @ {url}"
        version = str(value.get("version", "*"))
    else:
        extras, version = "", str(value)
    return f"{name}{extras}{'' if version == '*' else version}"


# --- a pasted line ---------------------------------------------


def read_command(line: str) -> Request:
    """``conda install …``, ``conda create …``, the same of mamba, and pip's or uv's install."""
    try:
        words = shlex.split(line.strip().lstrip("$>!% "), comments=True)
    except ValueError as error:
        raise RecipeError(f"not an install line: {error}: {one_line(line, 120)!r}") from None
    while words and (words[0] in ("sudo", "time", "%") or re.match(r"^\w+=\S*$", words[0])):
        words = words[1:]
    program = Path(words[0]).name if words else ""
    if program in CONDA_PROGRAMS and len(words) > 1:
        return _conda_command(words)
    place = _pip_install(words)
    if place is not None:
        return _pip_command(words[place:])
    raise RecipeError(
        f"neither a file nor an install line: {one_line(line, 120)!r}",
        hint='paste the whole line, such as "conda install pytorch cudatoolkit=11.3 -c pytorch"',
    )


def _pip_install(words: Sequence[str]) -> int | None:
    """Where the requirements of ``pip install`` begin; None when it is none."""
    names = [Path(word).name for word in words[:6]]
    for place, name in enumerate(names[:-1]):
        if re.fullmatch(r"pip[\d.]*(?:\.exe)?", name) and words[place + 1] == "install":
            return place + 2
    if names[:2] == ["uv", "add"]:
        return 2
    return None


def _conda_command(words: Sequence[str]) -> Request:
    verb = next((word for word in words[1:] if word in ("install", "create", "update")), None)
    if verb is None:
        raise RecipeError(f"not an install line: {words[0]} {words[1]}")
    request = Request("conda", only_channels="--override-channels" in words)
    rest = list(words[words.index(verb) + 1 :])
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        if word in ("-c", "--channel") and rest:
            request.channels.append(rest.pop(0))
        elif name == "--channel" and has_value:
            request.channels.append(value)
        elif word in ("-n", "--name") and rest:
            request.name = rest.pop(0)
        elif word in ("-f", "--file") and rest:
            _conda_file(request, rest.pop(0))
        elif name == "--file" and has_value:
            _conda_file(request, value)
        elif word in VALUE_OPTIONS and rest:
            rest.pop(0)
        elif word == "--override-channels":
            continue
        elif word.startswith("-"):
            request.ignored.append(word)
        else:
            request.conda.append(parse_conda_spec(word))
    if not request.conda and not request.pip:
        raise RecipeError(f"the line names no package: {' '.join(words)[:120]!r}")
    return _settle(request)


def _conda_file(request: Request, name: str) -> None:
    """``-f environment.yml``, or a list of specs as ``conda install --file`` takes it."""
    path = Path(name)
    text = _text(path)
    if path.suffix not in (".yml", ".yaml"):
        for line in text.splitlines():
            if line.strip() and not line.lstrip().startswith(("#", "@")):
                request.conda.append(parse_conda_spec(line))
        return
    inner = read_environment_yml(text, name, folder=path.parent)
    request.origin, request.name = inner.origin, request.name or inner.name
    request.channels += inner.channels
    request.only_channels = request.only_channels or inner.only_channels
    request.conda += inner.conda
    request.python = inner.python
    request.pip += inner.pip
    request.index_urls += inner.index_urls
    request.extra_index_urls += inner.extra_index_urls
    request.find_links += inner.find_links
    request.variables.update(inner.variables)
    request.ignored += inner.ignored


def _pip_command(words: Sequence[str]) -> Request:
    request = Request("pip")
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            request.pip.append(word)
            continue
        name, has_value, value = word.partition("=")
        takes_value = name in ("-i", "-f", "-e", "-r", "--requirement") or name in VALUE_OPTIONS
        takes_value = takes_value or name.endswith(("index-url", "find-links", "-index", "--index"))
        if takes_value and not has_value:
            value = rest.pop(0) if rest else ""
        if name in ("-r", "--requirement"):
            nested = read_requirements(_text(Path(value)), value, folder=Path(value).parent)
            request.pip += nested.pip
            request.index_urls += nested.index_urls
            request.extra_index_urls += nested.extra_index_urls
        elif name not in VALUE_OPTIONS:
            _pip_option(request, name, value, "the line")
    if not request.pip:
        raise RecipeError("the line names no package")
    return _settle(request)


def _settle(request: Request) -> Request:
    """Take Python itself out of the packages, and pip, which is no package anybody asked for."""
    kept = []
    for spec in request.conda:
        if spec.name == "python":
            request.python = spec.version
        elif spec.name != "pip":
            kept.append(spec)
    request.conda = kept
    request.pip = [item for item in request.pip if requirement_name(item) != "pip"]
    return request

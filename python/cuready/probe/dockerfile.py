"""A Dockerfile in the working folder: what its last stage starts from, installs and asks for.

Only what decides about a GPU is kept. A stage that the last one is not built on leaves nothing in
the image, so what it installs is not counted. Syntax: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from cuready.probe.context import Context, Facts
from cuready.snapshot import Dockerfile

__all__ = ["parse", "read"]

_NAMES = ("Dockerfile", "Containerfile")

# Packages that bring the driver's libraries, as Debian, Ubuntu, NVIDIA's repositories, Fedora and
# RPM Fusion call them; `cuda` and `cuda-12-4` are NVIDIA's meta packages with the driver in them.
# https://docs.nvidia.com/cuda/cuda-installation-guide-linux/#meta-packages
_DRIVER = re.compile(
    r"(?:nvidia-driver(?:-cuda|-libs)?|nvidia-(?:driver|headless|headless-no-dkms|utils|dkms"
    r"|compute-utils|open)-\d{3}(?:-server)?(?:-open)?|libnvidia-compute-\d{3}(?:-server)?|libcuda1"
    r"|nvidia-open|cuda-drivers(?:-\d{3})?|cuda(?:-\d{1,2}-\d{1,2})?|a?kmod-nvidia(?:-[\w-]+)?"
    r"|xorg-x11-drv-nvidia(?:-cuda)?(?:-libs)?)"
)
_RUN_FILE = re.compile(r"(?:.*/)?NVIDIA-Linux-[\w.-]+\.run")
_SYSTEM = {"apt-get", "apt", "aptitude", "dnf", "yum", "microdnf", "zypper"}
_PIP = re.compile(r"\b(?:pip3?|uv)\b")
_GLIBC_ONLY = re.compile(r"(torch|torchvision|torchaudio|tensorflow|jaxlib|jax)(?:\[[^\]]*\])?"
                         r"(?:[=<>~!@].*)?", re.IGNORECASE)  # fmt: skip
_CAPABILITIES = "NVIDIA_DRIVER_CAPABILITIES"
_LITERAL = re.compile(r"[^$]+").fullmatch
_HEREDOC = re.compile(r"<<-?[\"']?(\w+)[\"']?")
_SPLIT = re.compile(r"&&|\|\||[;|\n]")


@dataclass
class _Stage:
    base: str
    drivers: list[str] = field(default_factory=list)
    wheels: list[str] = field(default_factory=list)
    capabilities: str = ""


def read(context: Context) -> Facts:
    """``Snapshot.dockerfiles``."""
    found = []
    for name in _NAMES:
        path = posixpath.join(context.cwd, name)
        try:
            text = context.read_text(path)
        except OSError:
            continue
        if text and (parsed := parse(text, path)):
            found.append(parsed)
    return {"dockerfiles": tuple(found)}


def parse(text: str, path: str = "Dockerfile") -> Dockerfile | None:
    """What the image of the last stage is made of; None for a text without a FROM."""
    named: dict[str, _Stage] = {}
    stage: _Stage | None = None
    for line, instruction, rest in _instructions(text):
        if instruction == "FROM":
            words = [word for word in rest.split() if not word.startswith("--")]
            if not words:
                continue
            before = named.get(words[0].lower())
            stage = _Stage(before.base if before else words[0])
            if before:
                stage.drivers, stage.wheels = [*before.drivers], [*before.wheels]
                stage.capabilities = before.capabilities
            if len(words) > 2 and words[1].lower() == "as":
                named[words[2].lower()] = stage
        elif instruction == "RUN" and stage is not None:
            stage.drivers += [f"line {line}: {name}" for name in _drivers(rest)]
            stage.wheels += [f"line {line}: {name}" for name in _wheels(rest)]
        elif instruction == "ENV" and stage is not None:
            for name, value in _variables(rest):
                if name == _CAPABILITIES:
                    # Another variable in it has a value that the build alone knows.
                    stage.capabilities = f"line {line}: {value}" if _LITERAL(value) else ""
    if stage is None:
        return None
    return Dockerfile(
        path, stage.base, tuple(stage.drivers), tuple(stage.wheels), stage.capabilities
    )


def _instructions(text: str) -> Iterator[tuple[int, str, str]]:
    """``(line, FROM, rest)``: comments gone, continued lines and here-documents joined."""
    lines = text.splitlines()
    tick = re.match(r"#\s*escape\s*=\s*`", lines[0]) if lines else None
    escape = "`" if tick else "\\"
    number = 0
    while number < len(lines):
        begin = number + 1
        parts: list[str] = []
        while number < len(lines):
            line = lines[number].strip()
            number += 1
            if line.startswith("#") or (not line and parts):
                continue
            parts.append(line.removesuffix(escape))
            if not line.endswith(escape):
                break
        instruction, _, rest = " ".join(parts).strip().partition(" ")
        closing = _HEREDOC.search(rest)
        body = [rest.strip()]
        while closing and number < len(lines):
            number += 1
            if lines[number - 1].strip() == closing[1]:
                break
            body.append(lines[number - 1])
        if rest:
            yield begin, instruction.upper(), "\n".join(body)


def _variables(text: str) -> Iterator[tuple[str, str]]:
    """Names and values of an ENV: ``A=1 B="2 3"``, or the old ``A 1``."""
    if "=" not in text.split(maxsplit=1)[0]:
        name, _, value = text.partition(" ")
        yield name, value.strip().strip("\"'")
        return
    try:
        words = shlex.split(text)
    except ValueError:  # a quote that nobody closed: no build takes it either
        return
    for word in words:
        name, _, value = word.partition("=")
        yield name, value


def _commands(text: str) -> Iterator[list[str]]:
    """Words of each command of a RUN, in shell or in exec form."""
    for command in _SPLIT.split(text.replace("\\\n", " ")):
        yield re.sub(r"[\[\]\"',]+", " ", command).split()


def _drivers(text: str) -> Iterator[str]:
    """Driver packages that a RUN installs, and NVIDIA's own installers that it starts."""
    for words in _commands(text):
        if _SYSTEM & set(words) and {"install", "in"} & set(words):
            for word in words:
                name = re.split(r"[=:*]", word)[0]
                if _DRIVER.fullmatch(name):
                    yield name
        elif not {"wget", "curl", "rm"} & set(words):
            yield from (posixpath.basename(word) for word in words if _RUN_FILE.fullmatch(word))


def _wheels(text: str) -> Iterator[str]:
    """Packages of which PyPI has wheels for glibc alone."""
    for words in _commands(text):
        if _PIP.search(" ".join(words)) and "install" in words:
            yield from (
                found[1].lower() for word in words if (found := _GLIBC_ONLY.fullmatch(word))
            )

"""The core's TensorRT interface declarations against the facts, slot by slot, compiled.

Each header of cpp/src/tensorrt/abi is compiled with a program that prints the vtable position of
every member, taken from the Itanium representation of a pointer to a virtual member function
(1 + 8 * slot). Positions, names, signatures and "since" must be those of
tests/data/tensorrt/abi.json, with nothing missing in between. Mutated headers must be noticed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = ROOT / "cpp" / "src" / "tensorrt" / "abi"
FACTS = json.loads((ROOT / "tests" / "data" / "tensorrt" / "abi.json").read_text(encoding="utf-8"))
INCLUDES = (f"-I{ROOT / 'cpp' / 'src'}", f"-I{ROOT / 'cpp' / 'include'}")
MAJORS = ("8", "10", "11")

# Types that are only integers in the core's declarations.
INTEGERS = {
    "AllocatorFlags": "uint32_t", "TacticSources": "uint32_t", "TempfileControlFlags": "uint32_t",
    "SerializationFlags": "uint32_t", "RefCount": "int32_t",
}  # fmt: skip
POINTERS = {"ErrorDesc": "char const*", "cudaStream_t": "void*", "cudaEvent_t": "void*"}


@dataclass
class Method:
    """One member as declared: text of its return type and parameters, and its comment's claims."""

    name: str
    returns: str
    parameters: str
    is_const: bool
    slot: int
    since: str
    filler: bool


@dataclass
class Interface:
    name: str
    methods: list[Method] = field(default_factory=list)


MEMBER = re.compile(
    r"^\s*virtual (?P<returns>.*?)(?P<name>~?\w+)\((?P<parameters>.*)\)(?P<const> const)?"
    r"(?: noexcept)? = (?:0|default);\s*// slot (?P<slot>\d+)(?: and \d+)?"
    r" since (?P<since>[\d.]+)(?P<filler>, filler)?\s*$"
)


def declared(header: Path) -> list[Interface]:
    """The interfaces of a header; every virtual member must have the comment that is checked."""
    interfaces: list[Interface] = []
    for line in header.read_text(encoding="utf-8").splitlines():
        if opened := re.match(r"^class (\w+)\s*(?:final\s*)?\{", line):
            interfaces.append(Interface(opened[1]))
        elif "virtual " in line.split("//", maxsplit=1)[0]:
            member = MEMBER.match(line)
            assert member, f"{header.name}: a member without slot and release: {line.strip()}"
            interfaces[-1].methods.append(
                Method(
                    member["name"],
                    member["returns"].strip(),
                    member["parameters"],
                    bool(member["const"]),
                    int(member["slot"]),
                    member["since"],
                    bool(member["filler"]),
                )
            )
    return interfaces


def compiled_slots(header: Path, interfaces: list[Interface], work: Path) -> dict[str, list[int]]:
    """Position of every member but destructors, in declaration order, as the compiler places it."""
    major = header.stem
    lines = [
        "#include <cstdio>",
        "#include <cstring>",
        f'#include "{header}"',
        f"using namespace cuready::tensorrt; using namespace cuready::tensorrt::{major};",
        "template <class F> int slot(F member) {",
        "  std::ptrdiff_t words[2]; static_assert(sizeof member == sizeof words);",
        "  std::memcpy(words, &member, sizeof words);",
        "  return words[0] & 1 ? static_cast<int>((words[0] - 1) / 8) : -1;",
        "}",
        "int main() {",
    ]
    for interface in interfaces:
        for method in interface.methods:
            if method.name.startswith("~"):
                continue
            cls = interface.name
            suffix = " const" if method.is_const else ""
            kind = f"{method.returns} ({cls}::*)({method.parameters}){suffix}"
            cast = f"static_cast<{kind}>(&{cls}::{method.name})"
            lines.append(f'  std::printf("{cls} %d\\n", slot({cast}));')
    lines.append("}")
    source, program = work / f"{major}.cpp", work / major
    source.write_text("\n".join(lines), encoding="utf-8")
    command = ["g++", "-std=c++17", *INCLUDES, str(source), "-o", str(program)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, timeout=20, check=True)
    slots: dict[str, list[int]] = {}
    for line in ran.stdout.splitlines():
        cls, slot = line.split()
        slots.setdefault(cls, []).append(int(slot))
    return slots


def split_parameters(text: str) -> list[str]:
    """Parameters at the top level of a list; template arguments hold no comma here."""
    return [part.strip() for part in text.split(",") if part.strip()]


def canonical(text: str, *, parameter: bool, enums: set[str]) -> str:
    """A type as it crosses the boundary: names, enums, references and our object wrapper undone."""
    text = re.sub(r"\[\[.*?\]\]", "", text).replace("std::", "").strip()
    text = re.sub(r"IObject<V(\w+)>", r"I\1", text)
    text = text.replace("AsciiChar", "char").replace("&", "*")
    if parameter:
        # A parameter's own name goes; what is left of a lone type word is the type itself.
        text = re.sub(r"(?<=[\s*])\w+$", lambda m: m[0] if m[0] in ("const",) else "", text)
    words: list[str] = []
    for word in re.findall(r"\w+|\*", text):
        if word == "const" and words and words[-1] == "*":
            continue  # a constant pointer parameter is the same to the caller
        mapped = "int32_t" if word in enums else INTEGERS.get(word, POINTERS.get(word, word))
        words += mapped.replace("*", " *").split()
    # `const X` by value is X; `X const*` is what matters and is written that way here.
    if "*" not in words:
        words = [word for word in words if word != "const"]
    spelled = " ".join(words)
    # Opaque or unused objects may be passed as plain addresses.
    for opaque in ("IPluginFactory *", "IGpuAllocator *", "IDebugListener *", "ILogger *"):
        if spelled == opaque:
            spelled = "void *"
    return spelled


SIGNATURE = re.compile(r"^(?P<returns>.*?)\s*(?P<name>\w+)\((?P<parameters>.*)\)(?P<tail>[^)]*)$")


def signature(text: str, enums: set[str]) -> tuple[str, str, tuple[str, ...]]:
    """(name, return type, parameter types) of a declaration in abi.json, canonical."""
    match = SIGNATURE.match(text)
    assert match, text
    parameters = []
    for part in split_parameters(match["parameters"]):
        # Parameters without a name are written in abi.json as the type alone.
        last = part.split()[-1].lstrip("*&")
        named = bool(re.search(r"[\s*&]\w+$", part)) and last not in (*enums, *INTEGERS, "const")
        parameters.append(canonical(part, parameter=named, enums=enums))
    return (
        match["name"],
        canonical(match["returns"], parameter=False, enums=enums),
        tuple(parameters),
    )


@dataclass(frozen=True)
class Fact:
    slot: int
    name: str
    text: str | None  # a declaration, or None for a destructor
    since: str | None


def facts_of(major: str, cls: str) -> list[Fact]:
    """The facts about one class: implementation interfaces as listed, user interfaces flattened."""
    data = FACTS["majors"][major]
    if cls in data["implementation_interfaces"]:
        slots = data["implementation_interfaces"][cls]
        return [Fact(s["slot"], s["name"], s["signature"], s["since"].lstrip("v")) for s in slots]

    def flatten(name: str) -> list[str]:
        interface = data["user_interfaces"][name]
        inherited = flatten(interface["base"]) if interface["base"] else []
        return inherited + list(interface["declaration_order"])

    facts, slot = [], 0
    for text in flatten(cls):
        if text.startswith("~"):
            slot += 2
            continue
        facts.append(Fact(slot, text.split("(")[0].split()[-1].lstrip("*&"), text, None))
        slot += 1
    return facts


def check_interface(
    major: str, interface: Interface, slots: list[int], enums: set[str]
) -> list[str]:
    """Every way in which one declared interface differs from the facts."""
    problems: list[str] = []
    where = f"v{major} {interface.name}"
    known = {fact.slot: fact for fact in facts_of(major, interface.name)}
    methods = [m for m in interface.methods if not m.name.startswith("~")]
    for method, slot in zip(methods, slots, strict=True):
        fact = known.get(slot)
        if method.slot != slot:
            problems.append(
                f"{where}: {method.name} says slot {method.slot}, is compiled to {slot}"
            )
        if fact is None:
            problems.append(f"{where}: slot {slot} ({method.name}) is not in the facts")
            continue
        if fact.name != method.name:
            problems.append(f"{where}: slot {slot} is {fact.name}, declared as {method.name}")
            continue
        if fact.since and fact.since != method.since:
            problems.append(f"{where}: {method.name} came with {fact.since}, not {method.since}")
        if method.filler or fact.text is None:
            continue
        declaration = f"{method.returns} {method.name}({method.parameters})"
        ours, theirs = signature(declaration, enums), signature(fact.text, enums)
        if ours != theirs:
            problems.append(f"{where}: slot {slot} {method.name}: {ours[1:]} is not {theirs[1:]}")
    last = max(slots, default=-1)
    covered = set(slots)
    problems += [
        f"{where}: slot {fact.slot} ({fact.name}) is missing"
        for fact in known.values()
        if fact.slot <= last and fact.slot not in covered
    ]
    # What the caller implements must be whole: a shorter vtable would be read past its end.
    if interface.name.startswith("I") and last < max(known):
        problems.append(f"{where}: ends at slot {last}, TensorRT calls up to {max(known)}")
    return problems


def check_header(major: str, header: Path, work: Path) -> list[str]:
    enums = set(FACTS["majors"][major]["enums"]) | {"Severity", "WeightsRole"}
    interfaces = [one for one in declared(header) if one.methods]
    slots = compiled_slots(header, interfaces, work)
    problems: list[str] = []
    for interface in interfaces:
        problems += check_interface(major, interface, slots.get(interface.name, []), enums)
    names = {interface.name for interface in interfaces}
    needed = {"ILogger", "IErrorRecorder", "IOutputAllocator", "IProfiler",
              "VRuntime", "VCudaEngine", "VExecutionContext", "VEngineInspector"}  # fmt: skip
    problems += [f"v{major}: {name} is not declared" for name in sorted(needed - names)]
    return problems


@pytest.fixture(autouse=True)
def compiler() -> None:
    assert shutil.which("g++"), "the declarations are checked with g++: install it"


@pytest.mark.parametrize("major", MAJORS)
def test_declarations_equal_the_facts_slot_by_slot(major: str, tmp_path: Path) -> None:
    assert check_header(major, HEADERS / f"v{major}.hpp", tmp_path) == []


def swap_lines(text: str, first: str, second: str) -> str:
    lines = text.splitlines()
    a = next(i for i, line in enumerate(lines) if f" {first}(" in line)
    b = next(i for i, line in enumerate(lines) if f" {second}(" in line)
    lines[a], lines[b] = lines[b], lines[a]
    return "\n".join(lines)


def drop_line(text: str, name: str) -> str:
    lines = text.splitlines()
    del lines[next(i for i, line in enumerate(lines) if f" {name}(" in line)]
    return "\n".join(lines)


def edit(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new, 1)


MUTATIONS: dict[str, Callable[[str], str]] = {
    "two members swapped": lambda t: swap_lines(t, "setInputShape", "setTensorAddress"),
    "a member dropped": lambda t: drop_line(t, "getTensorStrides"),
    "a member renamed": lambda t: edit(t, "bool enqueueV3(", "bool enqueueV4("),
    "a narrower parameter": lambda t: edit(
        t, "deserializeCudaEngine(void const* blob, std::size_t size",
        "deserializeCudaEngine(void const* blob, std::int32_t size",
    ),
    "a narrower result": lambda t: edit(
        t, "virtual std::int64_t getMaxOutputSize", "virtual std::int32_t getMaxOutputSize"
    ),
    "a false slot number": lambda t: re.sub(r"(enqueueV3\(.*// slot )\d+", r"\g<1>99", t),
    "a false release": lambda t: re.sub(r"(enqueueV3\(.*since )[\d.]+", r"\g<1>9.9", t),
    "a callback dropped at the end": lambda t: drop_line(t, "decRefCount"),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("major", MAJORS)
def test_a_mutated_declaration_is_noticed(major: str, mutation: str, tmp_path: Path) -> None:
    original = (HEADERS / f"v{major}.hpp").read_text(encoding="utf-8")
    changed = MUTATIONS[mutation](original)
    assert changed != original
    header = tmp_path / f"v{major}.hpp"
    header.write_text(changed, encoding="utf-8")
    assert check_header(major, header, tmp_path) != []


def sizes_program(lines: list[str], work: Path) -> dict[str, Any]:
    source = work / "sizes.cpp"
    body = "\n".join(f'std::printf("{key}=%zu\\n", {value});' for key, value in
                     (line.split("=", maxsplit=1) for line in lines))  # fmt: skip
    source.write_text(
        "#include <cstdio>\n"
        + "".join(f'#include "tensorrt/abi/v{major}.hpp"\n' for major in MAJORS)
        + "using namespace cuready::tensorrt;\n"
        + f"int main() {{ {body} }}\n",
        encoding="utf-8",
    )
    program = work / "sizes"
    command = ["g++", "-std=c++17", *INCLUDES, str(source), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    out = subprocess.run([program], capture_output=True, text=True, check=True, timeout=20).stdout
    return {key: int(value) for key, value in (line.split("=") for line in out.splitlines())}


def test_structures_have_the_sizes_that_cross_the_boundary(tmp_path: Path) -> None:
    lines = [f"dims{major}=sizeof(v{major}::Dims)" for major in MAJORS]
    lines += [
        "object=sizeof(IObject<v10::VRuntime>)",
        "impl=offsetof(IObject<v10::VRuntime>, impl)",
        "info=sizeof(InterfaceInfo)",
    ]
    sizes = sizes_program(lines, tmp_path)
    assert sizes == {"dims8": 36, "dims10": 72, "dims11": 72, "object": 16, "impl": 8, "info": 16}

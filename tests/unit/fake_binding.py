"""A TensorRT Python package that has what a release's real one has, and no more.

Which names a release has was recorded from NVIDIA's own bindings (tests/data/tensorrt). What they
do here is just enough to build: every call is written down as a JSON line in ``calls.jsonl``.
"""

from __future__ import annotations

import json
from enum import IntEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

RECORDED = Path(__file__).parents[1] / "data" / "tensorrt" / "bindings.json"
ENUMS = ("BuilderFlag", "NetworkDefinitionCreationFlag", "HardwareCompatibilityLevel",
         "MemoryPoolType")  # fmt: skip


def releases() -> dict[str, Any]:
    return dict(json.loads(RECORDED.read_text(encoding="utf-8"))["releases"])


class Binding:
    """The classes of one release; ``calls`` is where they write what is asked of them."""

    def __init__(self, release: str, calls: Path) -> None:
        recorded = releases()[release]
        self.version = str(recorded["version"])
        self.names = {key: value.split() for key, value in recorded["names"].items()}
        self.calls = calls

    def note(self, call: str, *what: Any) -> None:
        with self.calls.open("a", encoding="utf-8") as file:
            file.write(json.dumps([call, *map(str, what)]) + "\n")

    def limited(self, name: str, **made: Any) -> Any:
        """An object of class ``name``: only what the release's class has can be read or set."""
        allowed, note = set(self.names[name]), self.note

        class Limited:
            def __getattribute__(self, one: str) -> Any:
                if one in allowed:
                    return made.get(one, lambda *more, **options: note(f"{name}.{one}", *more))
                if one.startswith("__"):
                    return object.__getattribute__(self, one)
                raise AttributeError(one)

            def __setattr__(self, one: str, value: Any) -> None:
                if one not in allowed:
                    raise AttributeError(one)
                note(f"{name}.{one}=", value)

        return Limited()

    def fill(self, module: ModuleType) -> None:
        """Put the release's names into ``module``, as its package would."""
        module.__dict__["__version__"] = self.version
        for name in ENUMS:
            members = [one for one in self.names[name] if one not in ("name", "value")]
            module.__dict__[name] = IntEnum(name, {one: i for i, one in enumerate(members)})
        logger = {one: one for one in self.names["ILogger"] if one.isupper()}
        module.__dict__["ILogger"] = type("ILogger", (), logger)
        module.__dict__["Builder"] = self.builder
        module.__dict__["OnnxParser"] = lambda network, logger: self.limited(
            "OnnxParser", parse_from_file=lambda path: True
        )
        for name in self.names[""]:
            module.__dict__[name] = type(name, (), {}) if name[0].isupper() else self.nothing

    def nothing(self, *arguments: Any) -> None:
        """A function of the package that does nothing here."""

    def builder(self, logger: Any) -> Any:
        def create_network(flags: int) -> Any:
            self.note("create_network", flags)
            tensor = SimpleNamespace(name="x", shape=(-1, 4))
            return self.limited(
                "INetworkDefinition", num_inputs=1, num_outputs=1, num_layers=1,
                get_input=lambda index: tensor, get_output=lambda index: tensor,
            )  # fmt: skip

        return self.limited(
            "Builder",
            create_network=create_network,
            create_builder_config=lambda: self.limited(
                "IBuilderConfig", add_optimization_profile=lambda profile: 0
            ),
            create_optimization_profile=lambda: self.limited("IOptimizationProfile"),
            build_serialized_network=lambda network, config: b"a plan",
        )

"""Programs that nobody wrote: random calls of the runtime, objects let go in any order.

Every result is compared with numpy's, and the simulated driver records what a real one would crash
on: streams and memory that are used after they are gone, work that is not waited for. A program is
its number: the same one makes the same calls.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from runtime_sim import SimDriver, plans
from tests.unit.runtime.producers import PassingStream

import cuready.runtime as rt
from cuready.errors import CureadyError

STEPS = 300
ROWS = (0, 1, 2, 4, 8, 9, 10, 20, 33)  # some that no profile takes


@dataclass
class Context:
    native: rt.ExecutionContext
    engine: rt.Engine
    bound: dict[str, np.ndarray] | None = None  # what the next enqueue() computes with, if known
    views: list[Any] = field(default_factory=list)  # of output(): valid until it runs again


def expected(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if "x" in inputs:
        return {"y": 2 * inputs["x"] + 1}
    return {f"y{name[1:]}": array for name, array in inputs.items()}


def check(results: dict[str, Any], inputs: dict[str, np.ndarray]) -> None:
    for name, right in expected(inputs).items():
        found = results[name]
        array = found.numpy() if isinstance(found, rt.DeviceBuffer) else found
        np.testing.assert_array_equal(array, right)


class Program:
    """One process's worth of objects, and what may happen to them."""

    def __init__(self, number: int, driver: SimDriver, load: Callable[..., rt.Engine]) -> None:
        self.random = random.Random(number)
        self.driver, self.load = driver, load
        self.engines: list[rt.Engine] = []
        self.contexts: list[Context] = []
        self.pools: list[rt.ContextPool] = []
        self.futures: list[tuple[rt.Future, dict[str, np.ndarray]]] = []
        self.bindings: list[tuple[Context, rt.Bindings, dict[str, np.ndarray]]] = []
        self.buffers: list[rt.DeviceBuffer] = []
        self.streams: list[Any] = []
        self.workspaces: list[rt.Workspace] = []

    def step(self) -> None:
        kinds = (
            self.make, self.run, self.run, self.bind, self.bind, self.enqueue, self.enqueue,
            self.enqueue_bindings, self.configure, self.submit, self.pool, self.result,
            self.use_buffer, self.let_go, self.let_go, self.slow_down,
        )  # fmt: skip
        self.random.choice(kinds)()

    def end(self) -> None:
        lists: list[list[Any]] = [
            self.futures, self.pools, self.bindings, self.contexts, self.buffers, self.engines,
            self.streams, self.workspaces,
        ]  # fmt: skip
        self.random.shuffle(lists)
        for objects in lists:
            self.random.shuffle(objects)
            objects.clear()

    # --- choices ------------------------------------------------------------------------------

    def likely(self, chance: float) -> bool:
        return self.random.random() < chance

    def one_of(self, objects: list[Any]) -> Any:
        return self.random.choice(objects) if objects else None

    def stream(self) -> Any:
        """None for the callee's own."""
        return self.random.choice(
            [lambda: None, lambda: PassingStream(self.driver), rt.Stream,
             lambda: self.one_of(self.streams)]
        )()  # fmt: skip

    def on_a_stream(self) -> dict[str, Any]:
        stream = self.stream()
        return {} if stream is None else {"stream": stream}

    def inputs(self, engine: rt.Engine) -> dict[str, np.ndarray]:
        rows = self.random.choice(ROWS)
        return {
            name: np.array(
                [
                    self.random.randint(-9, 9)
                    for _ in range(16 if tensor.shape == (16,) else 4 * rows)
                ],
                np.float32,
            ).reshape(tensor.shape)
            for name, tensor in engine.inputs.items()
        }

    def placed(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        """Some of them on the GPU, copied there on any stream."""
        return {
            name: array if self.likely(0.5) else self.on_gpu(array)
            for name, array in arrays.items()
        }

    def on_gpu(self, array: np.ndarray) -> rt.DeviceBuffer:
        buffer = rt.DeviceBuffer(array.shape, "float32", **self.on_a_stream())
        buffer.copy_from(array, **self.on_a_stream())
        return buffer

    # --- what may happen ----------------------------------------------------------------------

    def make(self) -> None:
        if len(self.engines) < 3:
            makers = (
                plans.affine,
                plans.two_profiles,
                lambda: plans.copies(3),
                lambda: plans.slow(200),
            )
            self.engines.append(self.load(self.random.choice(makers)()))
        if len(self.workspaces) < 2:
            self.workspaces.append(rt.Workspace())
        if len(self.streams) < 3:
            self.streams.append(PassingStream(self.driver) if self.likely(0.5) else rt.Stream())
        engine = self.one_of(self.engines)
        if len(self.contexts) < 6:
            native = engine.create_context(
                workspace=self.one_of([None, *self.workspaces]),
                strategy=self.random.choice(["static", "profile", "exact"]),
                graph=self.random.choice(["off", "off", "auto", "require"]),
                max_graphs=self.random.choice([1, 8]),
            )
            self.contexts.append(Context(native, engine))
        elif len(self.pools) < 2:
            self.pools.append(engine.create_pool(self.random.choice([1, 2])))

    def used(self) -> Context | None:
        context = self.one_of(self.contexts)
        if context is not None:
            context.views = []
        return context  # type: ignore[no-any-return]

    def run(self) -> None:
        if (context := self.used()) is None:
            return
        context.bound = None
        inputs = self.inputs(context.engine)
        outputs: dict[str, Any] = {}
        for name, array in expected(inputs).items():
            if self.likely(0.2):
                outputs[name] = np.empty_like(array) if self.likely(0.5) else self.on_gpu(array)
        check(context.native.run(self.placed(inputs), outputs, **self.on_a_stream()), inputs)

    def bind(self) -> None:
        if (context := self.used()) is None:
            return
        before, context.bound = context.bound, None
        inputs = self.inputs(context.engine)
        names = set(inputs)
        if before is not None and len(names) > 1 and self.likely(0.5):
            names = {self.random.choice(sorted(names))}
        given = {name: inputs[name] for name in names}
        bindings = context.native.bind(self.placed(given), **self.on_a_stream())
        context.bound = {**(before or {}), **given}
        self.bindings.append((context, bindings, context.bound))

    def enqueue(self) -> None:
        if (context := self.used()) is None or context.bound is None:
            return
        stream = self.stream()
        for _ in range(self.random.choice([1, 1, 3])):
            context.native.enqueue(*([] if stream is None else [stream]))
        del stream
        if self.likely(0.3):
            return
        take = context.native.output if self.likely(0.5) else context.native.take_output
        found = {name: take(name) for name in context.engine.outputs}
        (context.views if take == context.native.output else self.buffers).extend(found.values())
        check(found, context.bound)

    def enqueue_bindings(self) -> None:
        chosen = self.one_of(self.bindings)
        if chosen is None or chosen[0] not in self.contexts:
            return
        context, bindings, inputs = chosen
        context.views, context.bound = [], None
        context.native.enqueue_bindings(bindings, **self.on_a_stream())
        context.bound = inputs

    def configure(self) -> None:
        if (context := self.used()) is None:
            return
        native, shapes = context.native, {}
        what = self.random.randrange(7)
        if what == 0:
            native.synchronize()
        elif what == 1:
            native.graph(self.random.choice(["off", "auto", "require"]), self.random.choice([1, 2]))
        elif what == 2:
            native.clear_graphs()
        elif what == 3:
            native.set_profile(self.random.choice([0, 1, "auto"]))
        elif what == 4:
            shapes = {name: array.shape for name, array in self.inputs(context.engine).items()}
            context.bound = None
            native.shapes(shapes)
        elif what == 5 and context.bound is not None:
            native.profile_layers(self.stream())
        else:
            native.gil_policy = self.random.choice(["auto", "keep", "release"])

    def pool(self) -> None:
        pool = self.one_of(self.pools)
        if pool is None:
            return
        inputs = self.inputs(pool.engine)
        check(pool.run(self.placed(inputs), **self.on_a_stream()), inputs)
        if self.likely(0.1):
            self.pools.remove(pool)
            if self.likely(0.5):
                pool.close()

    def submit(self) -> None:
        pool = self.one_of(self.pools)
        if pool is not None:
            inputs = self.inputs(pool.engine)
            future = pool.submit(self.placed(inputs), timeout=20, **self.on_a_stream())
            self.futures.append((future, inputs))

    def result(self) -> None:
        if self.futures:
            future, inputs = self.futures.pop(self.random.randrange(len(self.futures)))
            check(future.result(timeout=30), inputs)

    def use_buffer(self) -> None:
        buffer = self.one_of(self.buffers)
        if buffer is None:
            return
        what = self.random.randrange(4)
        if what == 0:
            buffer.numpy()
        elif what == 1:
            buffer.copy_from(np.ones(buffer.shape, np.float32), **self.on_a_stream())
            np.testing.assert_array_equal(buffer.numpy(), np.ones(buffer.shape))
        elif what == 2:
            other = rt.DeviceBuffer(buffer.shape, "float32", **self.on_a_stream())
            buffer.copy_to(other, **self.on_a_stream())
            np.testing.assert_array_equal(other.numpy(), buffer.numpy())
        else:
            self.workspaces.append(rt.Workspace(64))
            self.workspaces.pop(0).reserve(self.random.choice([0, 1 << 20]))

    def let_go(self) -> None:
        objects = self.random.choice(
            [
                self.engines,
                self.contexts,
                self.streams,
                self.buffers,
                self.bindings,
                self.workspaces,
            ]
        )
        if objects:
            objects.pop(self.random.randrange(len(objects)))  # type: ignore[attr-defined]
        if self.likely(0.1):
            gc.collect()

    def slow_down(self) -> None:
        what = self.random.choice(["kernel", "copy", "launch"])
        self.driver.set_delay(what, self.random.choice([0, 0, 0, 200, 2000]))


@pytest.mark.parametrize("number", range(30))
def test_a_random_program_computes_rightly_and_misuses_nothing(
    driver: SimDriver, load: Any, number: int
) -> None:
    program = Program(number, driver, load)
    refused = 0
    for step in range(STEPS):
        try:
            program.step()
        except CureadyError:  # a shape that no profile takes, something that is not bound
            refused += 1
        assert driver.violations() == [], f"step {step}"
    program.end()
    gc.collect()
    assert refused < STEPS / 2, "most of the program has to do something"

"""`cuready engine`: what a TensorRT plan is, what it computes, how fast, and building one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cuready.cli._common import (
    C_INT,
    WEEK_S,
    FiniteRange,
    document,
    emit_json,
    format_option,
    progress,
)
from cuready.errors import InputError, TensorRTError

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
LIBRARY = click.option(
    "--library",
    type=click.Path(exists=True, path_type=Path),
    help="The TensorRT library to use instead of the one that is found.",
)
DEVICE = click.option("--device", type=click.IntRange(0, C_INT), default=0, show_default=True,
                      help="Number of the GPU, as CUDA counts.")  # fmt: skip
PLUGINS = click.option("--plugin", "plugins", multiple=True, type=FILE,
                       help="A plugin library to load first.")  # fmt: skip
PROFILE = click.option("--profile", type=click.IntRange(0, C_INT), default=0, show_default=True,
                       help="Number of the optimization profile.")  # fmt: skip
SHAPES = click.option("--shape", "shapes", multiple=True, metavar="NAME=1x3x224x224",
                      help="Shape of an input whose shape is open.")  # fmt: skip


@click.group()
def engine() -> None:
    """Inspect, run, time and build TensorRT plans."""


@engine.command()
@click.argument("file", type=FILE)
@LIBRARY
@format_option()
def info(file: Path, library: Path | None, output_format: str) -> int:
    """Say which TensorRT built FILE, and which ones can load it.

    Needs no GPU and no TensorRT.

    Exit codes: 0 the header was read, 1 the file is shorter than its header says, 2 FILE is no
    plan or cannot be read.
    """
    from cuready.selftest import plans

    facts = plans.describe(file, library)
    if facts["kind"] == "unknown":
        message = f"{file}: {facts['reason'] or 'no TensorRT plan'}"
        raise InputError(message, hint=plans.BUILD_HINT)
    if output_format == "json":
        emit_json(document(facts))
    else:
        click.echo("\n".join(plans.info_lines(facts)))
    return 1 if facts["truncated"] else 0


def _load(file: Path, library: Path | None, device: int, plugins: tuple[Path, ...]) -> Any:
    """The engine; the runtime refuses by name what cannot run. Creates a CUDA context."""
    import cuready.runtime as rt
    from cuready.selftest import plans

    plans.check(file)
    with progress(f"loading {file.name} …"):
        runtime = rt.Runtime(library, device=device, plugins=plugins)
        return runtime.load(file)


@engine.command()
@click.argument("file", type=FILE)
@LIBRARY
@DEVICE
@PLUGINS
@click.option("--graph", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.svg",
              help="Draw the layers into an SVG file.")  # fmt: skip
@format_option()
def inspect(
    file: Path, library: Path | None, device: int, plugins: tuple[Path, ...],
    graph: Path | None, output_format: str,
) -> int:  # fmt: skip
    """Show inputs, outputs, profiles and layers of FILE.

    As a table, as JSON, or as a picture (--graph). Layers have types and tensors when the plan
    was built with detailed profiling verbosity.
    """
    from cuready.selftest import inspection

    facts = inspection.describe(_load(file, library, device, plugins))
    if graph is not None:
        from cuready._util import write_atomically
        from cuready.selftest.graph import picture

        try:
            write_atomically(graph, picture(facts).encode())
        except OSError as error:
            raise InputError(f"--graph {graph}: {error.strerror}") from None
    if output_format == "json":
        emit_json(document(facts))
    else:
        click.echo("\n".join(inspection.table(facts)))
    return 0


@engine.command()
@click.argument("file", type=FILE)
@click.option("--input", "inputs", multiple=True, metavar="NAME=FILE",
              help="A .npy or image file, zeros, or random: the default, for shape tensors too "
                   "where the profile has no optimum of their values.")  # fmt: skip
@click.option("--output", "outputs", multiple=True, metavar="NAME=FILE.npy",
              help="Where an output goes.")  # fmt: skip
@SHAPES
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Of the random inputs.")  # fmt: skip
@click.option("--mean", default="0", show_default=True, help="Of images, by channel: 0.48,0.45,0.4")
@click.option("--std", default="1", show_default=True, help="Of images, by channel.")
@LIBRARY
@DEVICE
@PLUGINS
@PROFILE
@format_option()
def run(
    file: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], shapes: tuple[str, ...],
    seed: int, mean: str, std: str, library: Path | None, device: int, plugins: tuple[Path, ...],
    profile: int, output_format: str,
) -> int:  # fmt: skip
    """Run FILE once and print what came out; --output saves it."""
    from cuready.selftest import feeds

    np = feeds.numpy()
    targets = feeds.assignments(outputs, "--output")
    given = feeds.assignments(inputs, "--input")
    means, deviations = _numbers(mean, "--mean"), _numbers(std, "--std")
    open_shapes = feeds.parse_shapes(shapes, "--shape")
    loaded = _load(file, library, device, plugins)
    for name in targets:
        if name not in loaded.outputs:
            names = ", ".join(loaded.outputs)
            raise InputError(f"the engine has no output {name!r}; it has {names}")
    context = loaded.create_context(profile=profile)
    arrays = feeds.make_inputs(
        loaded,
        given,
        open_shapes,
        seed=seed,
        mean=means,
        std=deviations,
        profile=profile,
    )
    results = context.run(arrays)
    feeds.save(results, targets)
    rows = []
    for name, value in results.items():
        array = np.asarray(value)
        numbers = array.astype(np.float64).ravel()
        row: dict[str, Any] = {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}
        if numbers.size:
            row |= {"min": float(numbers.min()), "max": float(numbers.max()),
                    "mean": float(numbers.mean()), "first": numbers[:8].tolist(),
                    "not_finite": int((~np.isfinite(numbers)).sum())}  # fmt: skip
        rows.append(row)
    if output_format == "json":
        body = {"inputs": {name: list(array.shape) for name, array in arrays.items()},
                "outputs": rows, "saved": targets}  # fmt: skip
        emit_json(document(body))
        return 0
    for row in rows:
        shape = "x".join(map(str, row["shape"])) or "scalar"
        click.echo(f"{row['name']}: {row['dtype']} {shape}")
        if "min" in row:
            first = ", ".join(f"{value:.6g}" for value in row["first"])
            click.echo(f"  from {row['min']:.6g} to {row['max']:.6g}, mean {row['mean']:.6g}")
            click.echo(f"  {first}{' …' if len(row['first']) == 8 else ''}")
            if row["not_finite"]:
                click.echo(f"  {row['not_finite']} values are NaN or infinite")
    return 0


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise InputError(f"{option} {text!r}: numbers with commas between are needed")
    return numbers


@engine.command()
@click.argument("file", type=FILE)
@click.option("--duration", type=FiniteRange(0.01, WEEK_S), default=3.0, show_default=True,
              help="Seconds of measuring, for each plan.")  # fmt: skip
@click.option("--warmup", type=FiniteRange(0, WEEK_S), default=0.2, show_default=True,
              help="Seconds before it.")  # fmt: skip
@click.option("--streams", type=click.IntRange(1, 64), default=1, show_default=True,
              help="Contexts that run at the same time, each on a stream.")  # fmt: skip
@click.option("--cuda-graph", is_flag=True, help="Run a captured CUDA graph.")
@click.option("--no-transfers", is_flag=True, help="Leave the copies from and to the host out.")
@click.option("--spin", is_flag=True, help="Wait by spinning: less latency, a busy core.")
@click.option("--compare", type=FILE, metavar="OTHER", help="A second plan, measured in turn.")
@click.option("--compare-library", type=click.Path(exists=True, path_type=Path),
              help="A second TensorRT library, for the second plan.")  # fmt: skip
@SHAPES
@LIBRARY
@DEVICE
@PLUGINS
@PROFILE
@format_option()
def bench(
    file: Path, duration: float, warmup: float, streams: int, cuda_graph: bool, no_transfers: bool,
    spin: bool, compare: Path | None, compare_library: Path | None, shapes: tuple[str, ...],
    library: Path | None, device: int, plugins: tuple[Path, ...], profile: int, output_format: str,
) -> int:  # fmt: skip
    """Time FILE as trtexec does, with percentiles.

    Enqueue, copies, GPU and latency are measured. Two measurements can be compared only inside one
    run: --compare takes turns with a second plan, --compare-library with a second TensorRT (for
    FILE itself unless --compare names another).
    """
    from cuready.selftest import bench as timing
    from cuready.selftest import feeds

    options: dict[str, Any] = {
        "warmup": warmup, "streams": streams, "graph": cuda_graph, "transfers": not no_transfers,
        "spin": spin, "profile": profile, "shapes": feeds.parse_shapes(shapes, "--shape"),
    }  # fmt: skip
    first = _load(file, library, device, plugins)
    if compare is None and compare_library is None:
        with progress(f"measuring for {duration:g} s …"):
            report = timing.measure(first, duration, options)
        if output_format == "json":
            emit_json(document({"plan": str(file), **report.to_dict()}))
        else:
            click.echo(report.summary())
        return 0
    other = compare or file
    second = _load(other, compare_library or library, device, plugins)
    names = tuple(f"{path} on TensorRT {one.runtime.library.version}"
                  for path, one in ((file, first), (other, second)))  # fmt: skip
    with progress(f"measuring both for {duration:g} s each …"):
        compared = timing.compare(first, second, duration, (options, options))
    if output_format == "json":
        emit_json(document({"plans": list(names), **compared.to_dict()}))
    else:
        click.echo("\n".join(compared.lines((names[0], names[1]))))
    return 0


PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8", "strong")


def _bound(name: str) -> Callable[[F], F]:
    return click.option(
        f"--{name}",
        f"{name}_shapes",
        multiple=True,
        metavar="NAME=1x3x224x224",
        help=f"The {name} shape of an open input; repeat for more profiles.",
    )


@engine.command()
@click.argument("model", type=FILE)
@click.option("--output", "-o", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="The plan; by default MODEL with .plan.")  # fmt: skip
@click.option(
    "--precision",
    multiple=True,
    type=click.Choice(PRECISIONS),
    help="What the builder may use besides fp32; strong: exactly the model's types.",
)
@_bound("min")
@_bound("opt")
@_bound("max")
@click.option("--version-compatible", is_flag=True, help="Newer TensorRT of the major runs it too.")
@click.option(
    "--hardware-compatible",
    type=click.Choice(("ampere+", "same")),
    help="Other GPUs run it too: Ampere and newer, or the same compute capability.",
)
@click.option("--refit", is_flag=True, help="Weights can be replaced later.")
@click.option("--workspace", type=click.IntRange(1, 2**43), metavar="MIB",
              help="Memory at most.")  # fmt: skip
@click.option("--optimization", type=click.IntRange(0, 5), help="How hard the builder tries.")
@click.option("--timing-cache", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Measured times to read and to add to.")  # fmt: skip
@click.option("--builder", type=click.Choice(("tensorrt", "rtx")),
              help="TensorRT or TensorRT for RTX, where both are installed.")  # fmt: skip
@click.option("--timeout", type=FiniteRange(1, WEEK_S), default=3600.0, show_default=True,
              metavar="SECONDS", help="Give up after so long.")  # fmt: skip
@PLUGINS
@format_option()
def build(
    model: Path, output: Path | None, precision: tuple[str, ...], min_shapes: tuple[str, ...],
    opt_shapes: tuple[str, ...], max_shapes: tuple[str, ...], version_compatible: bool,
    hardware_compatible: str | None, refit: bool, workspace: int | None, optimization: int | None,
    timing_cache: Path | None, builder: str | None, timeout: float, plugins: tuple[Path, ...],
    output_format: str,
) -> int:  # fmt: skip
    """Build a plan from the ONNX file MODEL.

    The installed TensorRT's own Python builder does it, in a process of its own. TensorRT for RTX
    builds without a GPU.
    """
    from cuready.selftest import builder as building
    from cuready.selftest.building import profiles_from, show_progress

    target = output or model.with_suffix(".plan")
    if target.exists() and target.samefile(model):
        raise InputError(f"{target} is the model itself", hint="name the plan with --output")
    for option, path in (("--output", target), ("--timing-cache", timing_cache)):
        if path is not None and not path.parent.is_dir():
            raise InputError(f"{option} {path}: there is no folder {path.parent}")
        if path is not None and path.exists() and not path.is_file():
            raise InputError(f"{option} {path}: is no file, and is not replaced")
    if any("\ud800" <= letter <= "\udfff" for letter in str(model)):
        raise InputError(f"{model}: TensorRT's parser opens no name that is not UTF-8",
                         hint="rename the model, or make a link to it")  # fmt: skip
    product = {"tensorrt": "TensorRT", "rtx": "TensorRT for RTX", None: None}[builder]
    found = building.find(product)
    if not found:
        what = product or "TensorRT"
        raise TensorRTError(f"no Python builder of {what} is installed in this environment",
                            hint="pip install tensorrt, or pip install tensorrt-rtx")  # fmt: skip
    request = {
        "kind": "onnx", "module": found[0].module, "model": str(model), "output": str(target),
        "precision": list(precision), "profiles": profiles_from(min_shapes, opt_shapes, max_shapes),
        "version_compatible": version_compatible, "hardware_compatible": hardware_compatible,
        "refit": refit, "workspace": workspace * 2**20 if workspace else None,
        "optimization": optimization, "plugins": [str(path.resolve()) for path in plugins],
        "timing_cache": str(timing_cache) if timing_cache else None,
    }  # fmt: skip
    outcome = building.run_child(request, limit_s=timeout, on_progress=show_progress())
    if not outcome.ok:
        raise TensorRTError(outcome.reason, operation="build", messages=outcome.errors[-8:],
                            hint=outcome.hint)  # fmt: skip
    facts = {"plan": str(target), "builder": found[0].product, "seconds": round(outcome.seconds, 2),
             "warnings": outcome.warnings, **outcome.facts}  # fmt: skip
    if output_format == "json":
        emit_json(document(facts))
        return 0
    for text in outcome.warnings[:5]:
        click.echo(f"  {text}", err=True)
    click.echo(f"{target}: {facts['bytes']:,} bytes, built by {found[0].product} "
               f"{facts['release']} in {outcome.seconds:.1f} s")  # fmt: skip
    return 0

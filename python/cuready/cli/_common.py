"""What every command shares: the format option, JSON documents, and how errors end a run."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import click

from cuready import __version__
from cuready._interrupt import EXIT_INTERRUPTED
from cuready._util import one_line
from cuready.errors import CureadyError, InputError

__all__ = [
    "C_INT",
    "EXIT_FAILED",
    "EXIT_OK",
    "WEEK_S",
    "FiniteRange",
    "document",
    "emit_json",
    "encodable",
    "format_option",
    "not_empty",
    "printable",
    "progress",
    "run",
    "warn",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3

F = TypeVar("F", bound=Callable[..., Any])

WEEK_S = 604_800.0
"""The longest time that can be asked for: poll(2) counts no more than 24 days of milliseconds."""
C_INT = 2**31 - 1
"""The largest number of a GPU or a profile that CUDA and TensorRT can be asked for."""


class FiniteRange(click.FloatRange):
    """A finite number: Click's range lets ``nan`` through, which is neither below nor above."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if not math.isfinite(click.FLOAT.convert(value, param, ctx)):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return float(super().convert(value, param, ctx))


def format_option(*formats: str, default: str = "text") -> Callable[[F], F]:
    """``--format``: ``text`` and ``json`` always, and whatever else the command names."""
    choices = list(dict.fromkeys(("text", "json", *formats)))
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(choices),
        default=default,
        show_default=True,
        help="How to print the answer.",
    )


def not_empty(_: click.Context, param: click.Parameter, value: Any) -> Any:
    """Callback of an option whose value must say something. Raises InputError.

    ``--prefix "$UNSET"`` is a mistake, and never the same as no ``--prefix``.
    """
    values = value if isinstance(value, tuple) else (value,)
    if any(isinstance(item, str) and not item.strip() for item in values):
        raise InputError(f"{param.opts[0]} is empty", hint="is a variable unset?")
    return value


def document(body: Mapping[str, Any], *, schema_version: int = 1) -> dict[str, Any]:
    """Wrap a command's answer with the fields that every JSON document of ours starts with."""
    tool = {"name": "cuready", "version": __version__}
    return {"schema_version": schema_version, "tool": tool, **body}


def emit_json(body: Mapping[str, Any]) -> None:
    """Write one JSON document to stdout."""
    click.echo(encodable(json.dumps(body, indent=2, ensure_ascii=False, sort_keys=False)))


def encodable(document: str) -> str:
    """A JSON document that stdout can take: what its encoding cannot hold becomes ``\\uXXXX``.

    A path that is no UTF-8 has lone surrogates in its name, which no encoding has.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        document.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(json.loads(document), indent=2)
    return document


# Everything that moves a cursor, renames a window or turns the direction of writing; colours stay.
_CONTROL = re.compile(
    r"\x1b(?!\[[0-9;]*m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def printable(text: str) -> str:
    """``text`` as a terminal may have it: names and snapshots come from strangers.

    Control characters become U+FFFD; what stdout's encoding cannot hold, a question mark.
    """
    text = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def warn(message: str) -> None:
    """One line on stderr, where it disturbs no document on stdout."""
    click.echo(f"cuready: warning: {message}", err=True)


PROGRESS_AFTER_S = 1.0


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Say ``text`` on stderr when the block takes more than a second and a person is watching."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    timer = threading.Timer(PROGRESS_AFTER_S, click.echo, args=(text,), kwargs={"err": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run(command: click.Command, argv: Sequence[str]) -> int:
    """Run ``command``; turn every way it can end into an exit code and at most a few lines.

    A traceback is a bug of ours: it is printed only with ``CUREADY_DEBUG=1``.
    """
    wants_json = _wants_json(argv)
    # https://no-color.org; Click itself looks only at whether stdout is a terminal.
    color = False if os.environ.get("NO_COLOR") else None
    try:
        result = command.main(
            args=list(argv), prog_name="cuready", standalone_mode=False, color=color
        )
        code = result if isinstance(result, int) else EXIT_OK
        if sys.stdout is not None:  # `cuready … >&-` gives a program no stdout at all
            sys.stdout.flush()
        return code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return _end("interrupted", "", "Interrupted", wants_json, EXIT_INTERRUPTED)
    except click.UsageError as error:
        return _usage(error, wants_json)
    except click.ClickException as error:
        return _end(error.format_message(), "", type(error).__name__, wants_json, error.exit_code)
    except CureadyError as error:
        if wants_json:
            emit_json(document({"error": error.to_dict()}))
        _print_error(error.message, error.hint, error.messages)
        return error.exit_code
    except KeyboardInterrupt:
        return _end("interrupted", "", "Interrupted", wants_json, EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader went away (`cuready … | head`): nothing to say, and nobody to say it to.
        _drop_stdout()
        return EXIT_OK
    except Exception as error:
        if _was_interrupt(error):
            return _end("interrupted", "", "Interrupted", wants_json, EXIT_INTERRUPTED)
        if os.environ.get("CUREADY_DEBUG"):
            raise
        return _unforeseen(error, wants_json)


def _was_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C is behind ``error``: a class body that it stops fails with a RuntimeError."""
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        seen.append(cause)
        cause = cause.__cause__
    return isinstance(seen[-1], KeyboardInterrupt)


def _unforeseen(error: Exception, wants_json: bool) -> int:
    """What no command foresaw: the machine's limits, and bugs of ours."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return _full(error)
    if isinstance(error, MemoryError):
        what = f"not enough memory: {one_line(error)}".rstrip(": ")
        return _end(what, "", "MemoryError", wants_json, EXIT_INCOMPLETE)
    text = f"internal error: {type(error).__name__}: {one_line(error)}"
    hint = "this is a bug of cuready; run again with CUREADY_DEBUG=1 and report the traceback"
    return _end(text, hint, "InternalError", wants_json, EXIT_INCOMPLETE)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS})
"""What a disk says that takes no more: no bug of ours."""


def _full(error: OSError) -> int:
    """One line for a disk that is full; stdout itself may be what is on it."""
    what = error.filename or "the output cannot be written"
    if error.filename is None:
        _drop_stdout()
    _print_error(f"{what}: {error.strerror}", "", ())
    return EXIT_INCOMPLETE


def _drop_stdout() -> None:
    """Send what is left in the buffer nowhere: at exit it would fail again, with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _wants_json(argv: Sequence[str]) -> bool:
    for option, value in zip(argv, (*argv[1:], ""), strict=False):  # no words, no pairs
        if option == "--format=json" or (option == "--format" and value == "json"):
            return True
    return False


# What Click since 8.2 raises for a group without a command; before, it printed the help itself.
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


def _usage(error: click.UsageError, wants_json: bool) -> int:
    where = error.ctx.command_path if error.ctx is not None else "cuready"
    if isinstance(error, _NO_ARGUMENTS) and error.ctx is not None and not wants_json:
        click.echo(error.ctx.get_help(), err=True)  # that is its message, in many lines
        return EXIT_USAGE
    return _end(
        one_line(error.format_message()),
        f"see `{where} --help`",
        "UsageError",
        wants_json,
        EXIT_USAGE,
    )


def _end(message: str, hint: str, kind: str, wants_json: bool, code: int) -> int:
    if wants_json:
        emit_json(document({"error": {"type": kind, "message": message, "hint": hint}}))
    _print_error(message, hint, ())
    return code


def _print_error(message: str, hint: str, messages: Sequence[str]) -> None:
    click.echo(f"cuready: error: {one_line(message, 1000)}", err=True)
    for line in messages:  # a solver's reasons are a tree: its indentation says what hangs on what
        kept = line.isprintable() and len(line) <= 1000
        click.echo(f"  {line if kept else one_line(line, 1000)}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)

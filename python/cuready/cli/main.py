"""``cuready``: the table of commands, each imported only when it is called."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence

import click

from cuready import __version__, _interrupt
from cuready.cli import _common

# name -> (module, attribute, one-line help). The help stands here so that `cuready --help`
# imports no command: it has to answer while the machine is in trouble.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "doctor": ("doctor", "doctor", "Say what is broken on this machine, why, and how to fix it."),
    "explain": ("explain", "explain", "Cause, check and fix for a pasted error or a finding's id."),
    "why": ("why", "why", "How the loader resolves a library or package here."),
    "fix": ("fix", "fix", "Plan the repair; --apply runs it."),
    "snapshot": ("snapshot", "snapshot", "Write what cuready reads of this machine as JSON."),
    "diff": ("diff", "diff", "What changed between two snapshots."),
    "report": ("report", "report", "A redacted bundle for a bug report."),
    "compat": ("compat", "compat", "Which builds run on a driver, a GPU, a Python."),
    "recipe": ("recipe", "recipe", "List, show, lint, import and export recipes."),
    "env": ("env", "env", "Create, verify and repair environments from recipes."),
    "mirror": ("mirror", "mirror", "Sources of conda, pip and uv: list, test, use, restore, lint."),
    "weights": ("weights", "weights", "Fetch model weights into a framework's own cache."),
    "engine": ("engine", "engine", "Inspect, run, time and build TensorRT plans."),
    "selftest": ("selftest", "selftest", "Prove driver, memory, copies, compute and TensorRT."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are first asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, attribute, _ = entry
        command = getattr(importlib.import_module(f"cuready.cli.{module}"), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above is ours
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not ctx.resilient_parsing:
            import difflib  # nobody who types well waits for it

            close = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if close:
                ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]!r}?")
        found = super().resolve_command(ctx, args)
        _interrupt.in_a_command()
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cuready")
def cli() -> None:
    """Diagnose, build and prove CUDA, PyTorch and TensorRT environments.

    Start with `cuready doctor`. Exit codes: 0 fine, 1 problems found or the command failed,
    2 wrong usage, 3 cuready itself could not finish.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the return value is the exit code.

    Without ``argv`` the process is ours. Then the collector of cycles does not look at what a
    diagnosis makes, which is alive to its end, and at the end of the process it looks at nothing:
    together a tenth of the doctor's time.
    """
    if argv is not None:
        return _common.run(cli, list(argv))
    if sys.argv[1:2] == ["doctor"]:
        gc.disable()
    try:
        return _common.run(cli, sys.argv[1:])
    finally:
        gc.freeze()


if __name__ == "__main__":
    raise SystemExit(main())

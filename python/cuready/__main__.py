"""The command line, as ``cuready`` and as ``python -m cuready``; ``--cmake-dir`` for C++ projects.

Nothing else is imported before ``main`` runs: from its first line on Ctrl-C is no traceback.
"""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line of this process; the return value is the exit code."""
    try:
        from cuready import _interrupt

        _interrupt.outside_of_commands()
        code = _cmake_dir() if sys.argv[1:] == ["--cmake-dir"] else _command_line()
        _interrupt.outside_of_commands()  # what is left is Python's own end
        return code
    except KeyboardInterrupt:
        return 130


def _command_line() -> int:
    from cuready.cli.main import main as cli_main

    return cli_main()


def _cmake_dir() -> int:
    """Answer ``--cmake-dir``, without the command line."""
    from cuready._cmake import cmake_dir

    folder = cmake_dir()
    if not (folder / "cuready-config.cmake").is_file():
        sys.stderr.write(
            f"cuready: error: {folder} holds no cuready-config.cmake: "
            "this install has no C++ part; install the wheel, not the bare sources\n"
        )
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

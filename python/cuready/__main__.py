"""``python -m cuready``: the command line, and ``--cmake-dir`` for C++ projects."""

from __future__ import annotations

import sys

from cuready._cmake import cmake_dir


def main() -> int:
    """Answer ``--cmake-dir`` without loading the command line; hand everything else to it."""
    if sys.argv[1:] == ["--cmake-dir"]:
        folder = cmake_dir()
        if not (folder / "cuready-config.cmake").is_file():
            sys.stderr.write(
                f"cuready: error: {folder} holds no cuready-config.cmake: "
                "this install has no C++ part; install the wheel, not the bare sources\n"
            )
            return 1
        sys.stdout.write(f"{folder}\n")
        return 0
    from cuready.cli.main import main as cli_main

    return cli_main()


if __name__ == "__main__":
    raise SystemExit(main())

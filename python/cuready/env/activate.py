"""The script that makes a shell use an environment: for bash, zsh, fish, PowerShell and cmd."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from cuready.env.prefix import State
from cuready.errors import InputError

__all__ = ["SHELLS", "activation_script", "guess_shell", "paths_of", "variables_of"]


def paths_of(prefix: Path, kind: str) -> list[str]:
    """The folders that go to the front of PATH."""
    if os.name != "nt":
        return [str(prefix / "bin")]
    if kind == "venv":
        return [str(prefix / "Scripts")]
    library = prefix / "Library"
    inside = [library / "mingw-w64" / "bin", library / "usr" / "bin", library / "bin"]
    return [str(item) for item in (prefix, *inside, prefix / "Scripts", prefix / "bin")]


def variables_of(prefix: Path, state: State) -> dict[str, str]:
    """What the environment sets beside PATH: its own mark, then the recipe's variables."""
    if state.kind == "venv":
        return {"VIRTUAL_ENV": str(prefix), "VIRTUAL_ENV_PROMPT": state.name, **state.variables}
    return {
        "CONDA_PREFIX": str(prefix),
        "CONDA_DEFAULT_ENV": state.name,
        "CONDA_SHLVL": "1",
        **state.variables,
    }


def guess_shell(environ: Mapping[str, str] | None = None) -> str:
    """The shell that somebody probably sits at."""
    known = os.environ if environ is None else environ
    name = Path(known.get("SHELL", "")).name
    if name in SHELLS:
        return name
    return "powershell" if sys.platform == "win32" else "bash"


def activation_script(prefix: Path, state: State, shell: str) -> str:
    """What to give to the shell, such as ``eval "$(cuready env activate NAME)"``.

    A conda prefix's own ``activate.d`` scripts run too, in the order that conda has. Raises
    InputError for a shell that is not known.
    """
    if shell not in SHELLS:
        raise InputError(f"no script for the shell {shell!r}", hint=f"one of {', '.join(SHELLS)}")
    body = SHELLS[shell](paths_of(prefix, state.kind), variables_of(prefix, state))
    scripts = "" if state.kind == "venv" else _activate_d(prefix, shell)
    return body + scripts


def _activate_d(prefix: Path, shell: str) -> str:
    """The lines that run the scripts of ``etc/conda/activate.d`` for this shell, by name."""
    endings = {"bash": ".sh", "zsh": ".sh", "fish": ".fish", "powershell": ".ps1", "cmd": ".bat"}
    folder = prefix / "etc" / "conda" / "activate.d"
    found = sorted(folder.glob(f"*{endings[shell]}"), key=lambda path: path.name)
    runs = {
        "bash": lambda path: f". {shlex.quote(path)}",
        "zsh": lambda path: f". {shlex.quote(path)}",
        "fish": lambda path: f"source {_fish_quoted(path)}",
        "powershell": lambda path: f". {_powershell_quoted(path)}",
        "cmd": lambda path: f'@CALL "{_cmd_escaped(path)}"',
    }
    return "".join(f"{runs[shell](str(path))}\n" for path in found)


def _posix(paths: list[str], variables: Mapping[str, str]) -> str:
    """For bash and zsh; ``cuready_deactivate`` puts everything back."""
    lines = ["type cuready_deactivate >/dev/null 2>&1 && cuready_deactivate"]
    lines += ["unset PYTHONHOME"]
    back = ["PATH=$_CUREADY_PATH", "export PATH"]
    lines += [
        '_CUREADY_PATH="$PATH"',
        f'PATH={shlex.quote(os.pathsep.join(paths))}"{os.pathsep}$PATH"',
        "export PATH",
    ]
    for name, value in variables.items():
        saved = f"_CUREADY_OLD_{name}"
        lines += [f'[ -n "${{{name}+x}}" ] && {saved}="${name}"',
                  f"export {name}={shlex.quote(value)}"]  # fmt: skip
        back += [f'if [ -n "${{{saved}+x}}" ]; then {name}="${saved}"; unset {saved}; '
                 f"else unset {name}; fi"]  # fmt: skip
    lines += ["cuready_deactivate() {", *(f"  {line}" for line in back)]
    lines += ["  unset _CUREADY_PATH", "  unset -f cuready_deactivate", "  hash -r 2>/dev/null"]
    lines += ["}", "hash -r 2>/dev/null || true"]
    return "\n".join(lines) + "\n"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish(paths: list[str], variables: Mapping[str, str]) -> str:
    lines = ["functions -q cuready_deactivate; and cuready_deactivate", "set -e PYTHONHOME"]
    lines += ["set -g _CUREADY_PATH $PATH"]
    lines += [f"set -gx PATH {' '.join(map(_fish_quoted, paths))} $PATH"]
    back = ["set -gx PATH $_CUREADY_PATH", "set -e _CUREADY_PATH"]
    for name, value in variables.items():
        saved = f"_CUREADY_OLD_{name}"
        lines += [f"set -q {name}; and set -g {saved} ${name}",
                  f"set -gx {name} {_fish_quoted(value)}"]  # fmt: skip
        back += [f"if set -q {saved}; set -gx {name} ${saved}; set -e {saved}; "
                 f"else; set -e {name}; end"]  # fmt: skip
    lines += ["function cuready_deactivate", *(f"  {line}" for line in back)]
    lines += ["  functions -e cuready_deactivate", "end"]
    return "\n".join(lines) + "\n"


def _powershell_quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _powershell(paths: list[str], variables: Mapping[str, str]) -> str:
    lines = ["if (Test-Path function:global:cuready_deactivate) { cuready_deactivate }"]
    lines += ["Remove-Item Env:PYTHONHOME -ErrorAction SilentlyContinue"]
    lines += ["$global:CureadyOld = @{ PATH = $env:PATH }"]
    front = _powershell_quoted(os.pathsep.join(paths) + os.pathsep)
    lines += [f"$env:PATH = {front} + $env:PATH"]
    for name, value in variables.items():
        lines += [f"$global:CureadyOld['{name}'] = $env:{name}",
                  f"$env:{name} = {_powershell_quoted(value)}"]  # fmt: skip
    lines += [
        "function global:cuready_deactivate {",
        "  foreach ($name in @($global:CureadyOld.Keys)) {",
        "    $old = $global:CureadyOld[$name]",
        "    if ($null -eq $old) { Remove-Item Env:$name -ErrorAction SilentlyContinue }",
        "    else { Set-Item -Path Env:$name -Value $old }",
        "  }",
        "  Remove-Item function:global:cuready_deactivate",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _cmd_escaped(text: str) -> str:
    if re.search(r'["\r\n]', text):
        raise InputError(f"cmd cannot set a value with a quote or line end in it: {text!r}")
    return text.replace("%", "%%")


def _cmd(paths: list[str], variables: Mapping[str, str]) -> str:
    lines = ["@SET PYTHONHOME="]
    lines += [f'@SET "PATH={_cmd_escaped(os.pathsep.join(paths))}{os.pathsep}%PATH%"']
    lines += [f'@SET "{name}={_cmd_escaped(value)}"' for name, value in variables.items()]
    return "\n".join(lines) + "\n"


SHELLS: dict[str, Callable[[list[str], Mapping[str, str]], str]] = {
    "bash": _posix,
    "zsh": _posix,
    "fish": _fish,
    "powershell": _powershell,
    "cmd": _cmd,
}

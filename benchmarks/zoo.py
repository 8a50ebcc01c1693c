"""`cuready doctor` and its peers over the same broken and healthy environments: who finds what.

    python benchmarks/zoo.py --install-peers build/peers

Each environment is a real venv of this interpreter, made here of small packages: stand-ins with the
names, versions and files of the real ones, so that only what is wrong is wrong. Every tool runs in
the environment itself, by its Python: a peer's own packages are put behind the environment's.

A tool *finds* a fault when its output names it (the words are in ``zoo_cases.py``, and generous);
it is *wrong* when it tells of an error, or ends in a traceback, where nothing is broken. That there
is no GPU, or that torch is built without CUDA, is true here and held against nobody. The second
column says whose ground a fault is on: what a peer's documentation claims to find, by the command
that it names. A machine that exists only as files is nothing a peer can look at, and counts not,
nor do drivers and GPUs, which cannot be made here: the table ranks nobody by what it does there.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from zoo_cases import Case, cases

import cuready

HERE = Path(__file__).resolve().parent.parent
CUREADY = str(Path(cuready.__file__).resolve().parent.parent)
LIMIT_S = 120

# name -> (distribution on PyPI, module and function of its command, arguments)
PEERS = {
    "env-doctor": ("env-doctor", "env_doctor.cli", "main", ["check"]),
    "cuda-doctor": ("cuda-doctor", "cuda_doctor.cli", "main", ["diagnose", "--verbose"]),
    "rapids-cli": ("rapids-cli", "rapids_cli.cli", "rapids", ["doctor", "--verbose"]),
}


def run(command: list[str], folder: Path, variables: dict[str, str]) -> tuple[int, str]:
    env = {
        **os.environ,
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "PYTHONDONTWRITEBYTECODE": "1",
        **variables,
    }
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 124, "no answer"
    return done.returncode, done.stdout + done.stderr


def ours(python: str, case: Case) -> list[str]:
    start = [sys.executable, "-m", "cuready", "doctor", "-v"]
    return [*start, "--from", str(case.files)] if case.files else [*start, "--python", python]


def theirs(python: str, peers: Path, name: str, case: Case) -> list[str] | None:
    """The peer in the environment's own interpreter, its packages behind the environment's."""
    _, module, function, usual = PEERS[name]
    arguments = case.commands.get(name, usual)
    site = next((peers / name).glob("lib/python3*/site-packages"), None)
    if site is None or not (site / module.partition(".")[0]).is_dir():
        return None
    code = (
        f"import sys; sys.path.append({str(site)!r}); sys.argv = {[name, *arguments]!r};"
        f"from {module} import {function} as run; sys.exit(run())"
    )
    return [python, "-c", code]


ERROR = re.compile(r"✗|❌|\bERROR\b|(?i:\bfailed\b)")
NO_GPU = re.compile(
    r"(?i)GPU|driver|nvidia-smi|none detected|not available|unavailable|CPU-only|NOT installed"
    r"|PRIMARY|CONTRIBUTING"
)


def judge(tool: str, case: Case, code: int, output: str) -> str:
    if case.names is None:
        return judge_healthy(tool, code, output)
    if re.search(case.names, output, re.DOTALL if len(output) < 4000 else 0):
        return "finds"
    return "traceback" if "Traceback" in output else "misses"


def judge_healthy(tool: str, code: int, output: str) -> str:
    """Whether a tool leaves a healthy environment alone."""
    if "Traceback" in output:
        return "wrong: traceback"
    if tool == "cuready":
        return "WRONG" if code else "quiet"
    told = [line for line in output.splitlines() if ERROR.search(line)]
    if any(not NO_GPU.search(line) for line in told):
        return "WRONG"
    return "only: no GPU" if told or code else "quiet"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--peers", type=Path, default=HERE / "build/peers", help="where the peers' venvs are"
    )
    parser.add_argument(
        "--install-peers", type=Path, metavar="DIR", help="install them there first"
    )
    parser.add_argument("--show", metavar="TITLE", help="print every tool's output on one case")
    options = parser.parse_args()
    peers = (options.install_peers or options.peers).resolve()  # every tool runs elsewhere
    if options.install_peers:
        for name, (distribution, *_) in PEERS.items():
            venv.create(peers / name, with_pip=True)
            pip = [str(peers / name / "bin/python"), "-m", "pip", "install", "-q", distribution]
            subprocess.run(pip, check=True, timeout=600)
    rows: list[tuple[Case, list[str]]] = []
    for case in cases():
        if options.show and options.show not in case.title:
            continue
        rows.append((case, one_case(case, peers, show=bool(options.show))))
    report(rows)
    return 0


def one_case(case: Case, peers: Path, *, show: bool) -> list[str]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "venv"
        if case.files is None:
            venv.create(folder, symlinks=True)
        work = Path(name) / "venv/work"
        work.mkdir(parents=True)
        python = str(folder / "bin/python")
        if case.files is None:
            case.build(next(folder.glob("lib/python3*/site-packages")))
        results = []
        for tool in ("cuready", *PEERS):
            command = ours(python, case) if tool == "cuready" else theirs(python, peers, tool, case)
            if tool != "cuready" and case.files is not None:
                results.append("n/a")
                continue
            if command is None:
                results.append("not installed")
                continue
            own = {"PYTHONPATH": CUREADY} if tool == "cuready" else {"PYTHONPATH": ""}
            home = str(folder)
            given = {name: text.replace("{home}", home) for name, text in case.variables.items()}
            code, output = run(command, work, {**own, **given})
            if tool != "cuready" and not started(tool, output):
                raise SystemExit(f"{tool} did not even start: {output}")
            if show:
                print(f"--- {tool} ended with {code}\n{output}")
            results.append(judge(tool, case, code, output))
        return results


def started(tool: str, output: str) -> bool:
    """Whether the peer's own code was found: otherwise nothing is said about it."""
    package = PEERS[tool][1].partition(".")[0]
    return f"No module named '{package}'" not in output


def report(rows: list[tuple[Case, list[str]]]) -> None:
    tools = ["cuready", *PEERS]
    print(f"{'':48}{'ground':12}" + "".join(f"{tool:>18}" for tool in tools))
    for case, results in rows:
        ground = "" if case.names is None else case.ground
        print(f"{case.title[:47]:48}{ground:12}" + "".join(f"{item:>18}" for item in results))
    for ground in ("ours", *PEERS):
        of = [results for case, results in rows if case.names and case.ground == ground]
        print_counts(f"found, {ground}'s ground" if ground != "ours" else "found, our ground", of,
                     ("finds",))  # fmt: skip
    healthy = [results for case, results in rows if case.names is None]
    print_counts("wrong on healthy ones", healthy, ("WRONG", "wrong: traceback"))


def print_counts(label: str, rows: list[list[str]], words: tuple[str, ...]) -> None:
    """How many of the answers of each tool are among ``words``."""
    counts = []
    for place in range(len(PEERS) + 1):
        asked = [row[place] for row in rows if row[place] not in ("n/a", "not installed")]
        counts.append(f"{sum(item in words for item in asked)} of {len(asked)}")
    print(f"{label:60}" + "".join(f"{item:>18}" for item in counts))


if __name__ == "__main__":
    raise SystemExit(main())

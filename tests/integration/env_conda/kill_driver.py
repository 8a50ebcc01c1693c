"""One `env` command in a process of its own, so that a test can kill it at a named point.

python kill_driver.py MIRROR CACHE PREFIX create|update|recover [keep] [inside]
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "mirrors_net")]

from env_support import QUICK, solved  # noqa: E402

from cuready.env.conda import (  # noqa: E402
    CondaOptions,
    CondaSession,
    apply_plan,
    fetch_plan,
    make_plan,
    recover,
    transaction,
)

SPECS = {"create": ("tool 1.0", "pure", "python"), "update": ("tool 2.0", "python", "extra")}


def main(mirror: str, cache: str, prefix: str, action: str, *flags: str) -> None:
    if "inside" in flags:
        transaction._must_be_inside = lambda path: path.is_dir()
    if action == "recover":
        print(recover(Path(prefix)))
        return
    options = CondaOptions(
        mirrors=(mirror,), only_mirrors=True, cache_dir=Path(cache), net=QUICK, refresh=True
    )
    with CondaSession(options) as session:
        plan = make_plan(solved(session, *SPECS[action]), Path(prefix), session=session)
        fetch_plan(plan, session=session)
        apply_plan(plan, session=session, keep_previous="keep" in flags)
        if "back" in flags:
            transaction.restore_previous(Path(prefix))


main(*sys.argv[1:])

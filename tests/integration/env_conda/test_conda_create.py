"""From a channel behind mirrors to an environment that runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from channels import Package, pure, python, tool
from env_support import CHANNEL, Channel, Serves, solved
from servers import Captive, MirrorFarm, Status, Truncated, TruncatedClean, WrongBytes

from cuready.env.conda import (
    CondaSession,
    apply_plan,
    discard_previous,
    fetch_plan,
    interrupted,
    make_plan,
    read_lock,
    restore_previous,
    write_lock,
)
from cuready.errors import EnvError, MirrorError, SolveError

Open = Callable[..., CondaSession]
Tree = Callable[[Path], dict[str, str]]
Serve = Callable[..., Channel]


def build(session: CondaSession, prefix: Path, *specs: str, **fields: object) -> None:
    plan = make_plan(solved(session, *specs), prefix, session=session)
    fetch_plan(plan, session=session)
    apply_plan(plan, session=session, **fields)


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_environment_is_made_and_its_programs_run(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    channel = serve()
    session = open_session(channel.url)
    plan = make_plan(solved(session), tmp_path / "env", session=session)
    assert {record.name for record in plan.to_fetch} == {"python", "tool", "pure"}
    assert plan.bytes_to_fetch == sum(
        len(channel.files[f"{r.subdir}/{r.file_name}"]) for r in plan.to_fetch
    )
    fetch_plan(plan, session=session)
    apply_plan(plan, session=session)
    assert run(tmp_path / "env/bin/tool") == "tool 1.0"
    shebang = (tmp_path / "env/bin/tool").read_bytes().splitlines()[0]
    assert shebang == f"#!{tmp_path}/env/bin/python -s".encode()
    assert f"{tmp_path}/env".encode() in (tmp_path / "env/lib/libtool.so").read_bytes()
    entry = (tmp_path / "env/bin/pure").read_text()
    assert f"{tmp_path}/env/bin/python" in entry
    assert not [path for path in tmp_path.iterdir() if "cuready-work" in path.name]
    again = make_plan(solved(session), tmp_path / "env", session=session)
    assert again.empty and len(again.unchanged) == 3


def test_the_link_phase_makes_no_request(serve: Serve, open_session: Open, tmp_path: Path) -> None:
    channel = serve()
    session = open_session(channel.url)
    plan = make_plan(solved(session), tmp_path / "env", session=session)
    fetch_plan(plan, session=session)
    before = list(channel.requests)
    apply_plan(plan, session=session)
    assert channel.requests == before
    assert (tmp_path / "env/bin/tool").exists()


def test_conda_meta_has_canonical_addresses_and_can_be_read_by_all(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    channel = serve()
    session = open_session(channel.url)
    build(session, tmp_path / "env")
    for path in (tmp_path / "env/conda-meta").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644, path
        assert b"127.0.0.1" not in path.read_bytes()
    meta = json.loads((tmp_path / "env/conda-meta/tool-1.0-0.json").read_bytes())
    assert meta["url"] == f"{CHANNEL}/linux-64/tool-1.0-0.conda"
    assert Path(meta["extracted_package_dir"]).is_dir()
    assert (tmp_path / "env/conda-meta/history").exists()  # conda takes no folder for one without


def test_bad_mirrors_before_a_good_one_change_nothing(
    farm: MirrorFarm, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    good = serve()

    class Wrong(Serves, WrongBytes):
        pass

    class Cut(Serves, Truncated):
        give = Truncated.give

    class Half(Serves, TruncatedClean):
        give = TruncatedClean.give

    only_packages = {name: data for name, data in good.files.items() if "repodata" not in name}
    index = {name: data for name, data in good.files.items() if "repodata" in name}
    bad = [
        farm.dead(),
        farm.add(Captive()),
        farm.add(Status(404)),
        farm.add(Status(403)),
        farm.add(Half(good.files)),
        farm.add(Cut(good.files)),
        farm.add(Wrong(only_packages)),
        farm.add(Serves(index)),
    ]
    session = open_session(*(mirror.base for mirror in bad), good.url)
    build(session, tmp_path / "env")
    assert run(tmp_path / "env/bin/tool") == "tool 1.0"


def test_when_every_mirror_lies_the_error_names_each(
    farm: MirrorFarm, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    good = serve()
    packages = {n: (d if "repodata" in n else d[:-1] + b"?") for n, d in good.files.items()}
    session = open_session(farm.add(Serves(packages)).base)
    plan = make_plan(solved(session), tmp_path / "env", session=session)
    with pytest.raises(MirrorError) as caught:
        fetch_plan(plan, session=session)
    assert "sha256" in " ".join(caught.value.messages)
    assert not (tmp_path / "env").exists()


def test_an_index_is_kept_and_used_offline(
    serve: Serve, open_session: Open, farm: MirrorFarm
) -> None:
    channel = serve()
    first = solved(open_session(channel.url))
    asked = len(channel.requests)
    assert solved(open_session(channel.url)).records == first.records
    assert len(channel.requests) == asked
    assert solved(open_session(farm.dead().base, offline=True)).records == first.records
    assert solved(open_session(farm.dead().base, refresh=True)).records == first.records
    stale = solved(open_session(farm.dead().base, refresh=True))
    assert any("index" in note for note in stale.notes)


def test_offline_with_an_empty_cache_says_so(open_session: Open, farm: MirrorFarm) -> None:
    with pytest.raises(EnvError, match="--offline"):
        solved(open_session(farm.dead().base, offline=True))


def test_a_channel_without_this_platform_is_an_empty_one(
    serve: Serve, open_session: Open, farm: MirrorFarm
) -> None:
    files = {n: d for n, d in serve(pure()).files.items() if not n.startswith("linux-64")}
    session = open_session(farm.add(Serves(files)).base)
    with pytest.raises(SolveError) as caught:
        solved(session, "pure")
    assert "python" in " ".join(caught.value.messages)
    nothing = open_session(farm.add(Serves({})).base, cache_dir=session.base / "other")
    with pytest.raises(MirrorError, match="no mirror gives the index") as unknown:
        solved(nothing)
    assert "is there a channel called made-up" in unknown.value.hint


def test_a_plain_index_will_do_where_there_is_no_compressed_one(
    serve: Serve, open_session: Open
) -> None:
    session = open_session(serve(zst=False).url)
    assert len(solved(session).records) == 3


def test_a_lock_gives_the_same_files_again_offline(
    serve: Serve, open_session: Open, tmp_path: Path, tree: Tree, farm: MirrorFarm
) -> None:
    channel = serve()
    session = open_session(channel.url)
    solution = solved(session)
    write_lock(solution, tmp_path / "env.lock", session=session)
    build(session, tmp_path / "env")
    made = tree(tmp_path / "env")
    shutil.rmtree(tmp_path / "env")
    text = (tmp_path / "env.lock").read_text()
    assert "127.0.0.1" not in text and CHANNEL in text and text.startswith("version: 7")

    offline = open_session(farm.dead().base, offline=True)
    specs = solution.request.specs
    locked = read_lock(tmp_path / "env.lock", "linux-64", session=offline, specs=specs)
    assert [r.sha256 for r in locked.records] == [r.sha256 for r in solution.records]
    plan = make_plan(locked, tmp_path / "env", session=offline)
    fetch_plan(plan, session=offline)
    apply_plan(plan, session=offline)
    again = tree(tmp_path / "env")
    assert again == made


def test_the_lock_opens_in_rattlers_own_parser(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve().url)
    write_lock(solved(session), tmp_path / "env.lock", session=session)
    code = (
        "import sys, os, pathlib, rattler\n"
        "environment = rattler.LockFile.from_path(pathlib.Path(sys.argv[1])).default_environment()\n"
        "[platform] = environment.platforms()\n"
        "for record in environment.conda_repodata_records_for_platform(platform):\n"
        "    print(record.name.normalized, record.url, record.sha256.hex(), flush=True)\n"
        "os._exit(0)"
    )
    lines = run(sys.executable, "-c", code, tmp_path / "env.lock").splitlines()
    assert [line.split()[0] for line in sorted(lines)] == ["pure", "python", "tool"]
    assert all(line.split()[1].startswith(CHANNEL) for line in lines)


def test_a_lock_for_another_machine_is_refused(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve(Package("gpu", depends=("__cuda >=12",))).url)
    solution = solved(session, "gpu", virtual_packages={"__cuda": "12.4"})
    write_lock(solution, tmp_path / "gpu.lock", session=session)
    lock = tmp_path / "gpu.lock"
    read_lock(lock, "linux-64", session=session, virtual_packages={"__cuda": "12.9"})
    for virtual in ({}, {"__cuda": "11.8"}):
        with pytest.raises(EnvError, match="__cuda >=12"):
            read_lock(lock, "linux-64", session=session, virtual_packages=virtual)
    with pytest.raises(EnvError, match="linux-aarch64"):
        read_lock(lock, "linux-aarch64", session=session)
    lock.write_text("version: 7\nbroken: [")
    with pytest.raises(EnvError, match="not a lock file"):
        read_lock(lock, "linux-64", session=session)


@pytest.mark.parametrize("name", ["with space", "ünïcödé-環境", "x" * 140])
def test_odd_paths_work(serve: Serve, open_session: Open, tmp_path: Path, name: str) -> None:
    session = open_session(serve().url)
    build(session, tmp_path / name)
    assert run(tmp_path / name / "bin/tool") == "tool 1.0"


def test_paths_that_cannot_work_are_refused_before_anything_is_changed(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve().url)
    solution = solved(session)
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")
    (tmp_path / "frozen/conda-meta").mkdir(parents=True)
    (tmp_path / "frozen/conda-meta/frozen").write_text("{}")
    (tmp_path / "readonly").mkdir(mode=0o555)
    cases = {
        tmp_path / "file": "is a file",
        tmp_path / "full": "something else",
        tmp_path / "frozen": "frozen",
        tmp_path / "readonly": "read-only",
        tmp_path / "readonly/env": "read-only",
        tmp_path / ("y" * 200) / ("z" * 100): "255",
    }
    for prefix, said in cases.items():
        with pytest.raises(EnvError, match=said):
            make_plan(solution, prefix, session=session)
    assert (tmp_path / "full/mine.txt").read_text() == "mine"


def test_a_full_disk_is_seen_before_the_first_byte(
    serve: Serve, open_session: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = serve()
    session = open_session(channel.url)
    plan = make_plan(solved(session), tmp_path / "env", session=session)
    before = len(channel.requests)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(EnvError, match="not enough space"):
        fetch_plan(plan, session=session)
    assert len(channel.requests) == before


def test_an_update_replaces_what_changed_and_keeps_what_nobody_owns(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve(python(), tool("1.0"), tool("2.0"), pure()).url)
    prefix = tmp_path / "env"
    build(session, prefix, "tool 1.0", "pure", "python")
    mine = prefix / "lib/python3.12/site-packages/mine.py"
    mine.write_text("mine = 1\n")
    plan = make_plan(solved(session, "tool 2.0", "python"), prefix, session=session)
    assert [r.name for r in plan.to_link] == ["tool"]
    assert {r.name for r in plan.to_unlink} == {"tool", "pure"}
    fetch_plan(plan, session=session)
    apply_plan(plan, session=session)
    assert run(prefix / "bin/tool") == "tool 2.0"
    assert not (prefix / "share/tool/1.0.txt").exists()
    assert not (prefix / "bin/pure").exists()
    assert not (prefix / "lib/python3.12/site-packages/pure").exists()
    assert mine.read_text() == "mine = 1\n"


def test_another_python_moves_the_packages_for_every_python(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve(python("3.12.7"), python("3.13.1"), pure()).url)
    build(session, tmp_path / "env", "python 3.12.*", "pure")
    build(session, tmp_path / "env", "python 3.13.*", "pure")
    assert (tmp_path / "env/lib/python3.13/site-packages/pure/cli.py").exists()
    assert not (tmp_path / "env/lib/python3.12").exists()


def test_a_failure_in_the_link_phase_leaves_the_old_environment(
    serve: Serve, open_session: Open, tmp_path: Path, tree: Tree
) -> None:
    session = open_session(serve(python(), tool("1.0"), tool("2.0")).url)
    prefix = tmp_path / "env"
    build(session, prefix, "tool 1.0", "python")
    before = tree(prefix)
    plan = make_plan(solved(session, "tool 2.0", "python"), prefix, session=session)
    fetch_plan(plan, session=session)
    [record] = plan.to_link
    (session.store.folder(record) / "lib/libtool.so").unlink()
    with pytest.raises(EnvError):
        apply_plan(plan, session=session)
    assert tree(prefix) == before
    assert interrupted(prefix) is None


@pytest.mark.parametrize("inside", [False, True])
def test_the_previous_environment_can_come_back(
    serve: Serve,
    open_session: Open,
    tmp_path: Path,
    tree: Tree,
    inside: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if inside:
        from cuready.env.conda import transaction

        monkeypatch.setattr(transaction, "_must_be_inside", lambda prefix: prefix.is_dir())
    session = open_session(serve(python(), tool("1.0"), tool("2.0")).url)
    prefix = tmp_path / "env"
    build(session, prefix, "tool 1.0", "python")
    before = tree(prefix)
    build(session, prefix, "tool 2.0", "python", keep_previous=True)
    assert run(prefix / "bin/tool") == "tool 2.0"
    (prefix / "lib/new-by-pip.py").write_text("x")
    assert restore_previous(prefix)
    assert tree(prefix) == before
    build(session, prefix, "tool 2.0", "python", keep_previous=True)
    assert discard_previous(prefix)
    assert run(prefix / "bin/tool") == "tool 2.0"
    assert not restore_previous(prefix) and interrupted(prefix) is None


def test_a_new_environment_that_is_rejected_leaves_nothing(
    serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    session = open_session(serve().url)
    build(session, tmp_path / "envs/env", keep_previous=True)
    assert restore_previous(tmp_path / "envs/env")
    assert list((tmp_path / "envs").iterdir()) == []


def test_packages_of_one_name_from_two_channels_are_not_mixed_up(
    farm: MirrorFarm, serve: Serve, open_session: Open, tmp_path: Path
) -> None:
    one, other = (
        serve(Package("x", files={"share/x": b"one"})),
        serve(Package("x", files={"share/x": b"other"})),
    )
    for channel, said in ((one, b"one"), (other, b"other")):
        session = open_session(channel.url, refresh=True)
        prefix = tmp_path / said.decode()
        build(session, prefix, "x")
        assert (prefix / "share/x").read_bytes() == said


def test_the_engine_that_dies_is_an_error_of_one_line(open_session: Open, serve: Serve) -> None:
    from cuready.errors import IncompleteError

    session = open_session(serve().url)
    process = session.engine.start()
    process.kill()
    process.wait()
    with pytest.raises(IncompleteError, match="signal 9"):
        session.engine.call("read_lock", path="/nowhere")
    assert len(solved(session).records) == 3  # the next call starts another


def test_without_the_extra_one_line_says_what_to_install(
    open_session: Open, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    from cuready.errors import MissingExtra

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        solved(open_session(serve().url))
    assert caught.value.hint == "pip install 'cuready[conda]'"


def test_the_history_says_what_was_asked_for_in_condas_form(
    serve: Callable[..., Channel], open_session: Callable[..., CondaSession], tmp_path: Path
) -> None:
    prefix = tmp_path / "env"

    def make(running: Channel, *specs: str) -> str:
        session = open_session(running.url, refresh=True)
        plan = make_plan(solved(session, *specs), prefix, session=session)
        fetch_plan(plan, session=session)
        apply_plan(plan, session=session)
        return (prefix / "conda-meta/history").read_text()

    first = make(serve(python(), tool("1.0"), pure()), "tool", "pure", "python >=3.8")
    assert first.splitlines()[3:] == [
        "+made-up/linux-64::python-3.12.7-h1_0_cpython",
        "+made-up/linux-64::tool-1.0-0",
        "+made-up/noarch::pure-1.0-pyhd8_0",
        "# update specs: ['tool', 'pure', 'python >=3.8']",
    ]
    later = make(serve(python(), tool("2.0"), pure()), "tool", "python >=3.8")
    assert later.removeprefix(first).splitlines()[3:] == [
        "-made-up/linux-64::tool-1.0-0",
        "-made-up/noarch::pure-1.0-pyhd8_0",
        "+made-up/linux-64::tool-2.0-0",
        "# update specs: ['tool', 'python >=3.8']",
    ]


def test_a_dismissed_engine_gives_way_to_a_new_one(
    open_session: Callable[..., CondaSession],
) -> None:
    with open_session() as session:
        assert session.engine.call("unmet", demands=[], virtual={}) == []
        session.engine.dismiss()
        session.engine.dismiss()
        demand = ["torch", "__cuda >=12", "depends"]
        told = session.engine.call("unmet", demands=[demand], virtual={})
        assert told == ["torch needs __cuda >=12, which is not there"]

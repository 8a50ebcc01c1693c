"""`use` over a corpus of real-life configuration files: only the intended bytes change, and back.

``NAME.before`` is a file as people have it, ``NAME.after`` the same with the mirror tuna. The
``after`` files were read line by line by a person; a change in them is a change of behaviour.
"""

from __future__ import annotations

import configparser
import re
import shutil
from pathlib import Path

import pytest

from cuready.mirrors import config, effective
from cuready.mirrors.catalogue import Catalogue, Mirror
from cuready.mirrors.journal import Journal
from cuready.mirrors.locations import Tool

DATA = Path(__file__).parents[2] / "data" / "mirrors"

CORPUS = sorted((DATA / "use").glob("*/*.before"))
FILE_NAME: dict[str, str] = {
    "conda": ".condarc", "pip": "pip.conf", "uv": "uv.toml", "rattler": "config.toml",
}  # fmt: skip


def case_id(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.fixture(params=CORPUS, ids=case_id)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Tool, Path, bytes]:
    """A copy of one file under its real name, with the bytes that `use` must give."""
    source: Path = request.param
    tool: Tool = source.parent.name  # type: ignore[assignment]
    target = tmp_path / "etc" / FILE_NAME[tool]
    target.parent.mkdir()
    shutil.copyfile(source, target)
    target.chmod(0o640)
    return tool, target, source.with_suffix(".after").read_bytes()


def test_the_corpus_has_thirty_files_and_more() -> None:
    assert len(CORPUS) >= 60


def test_use_changes_only_the_intended_bytes_and_restore_gives_the_old_ones(
    case: tuple[Tool, Path, bytes], tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    tool, path, expected = case
    before = path.read_bytes()
    plans = config.plan_use({tool: path}, {tool: tuna}, known)
    operation = config.apply(plans, "use tuna", journal)
    assert path.read_bytes() == expected
    assert path.stat().st_mode & 0o777 == 0o640
    if operation is None:
        assert expected == before
        return
    found = config.plan_restore([tool], journal)
    assert found is not None
    config.restore(found, journal)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert config.plan_restore([tool], journal) is None


def test_use_a_second_time_changes_nothing(
    case: tuple[Tool, Path, bytes], tuna: Mirror, known: Catalogue, journal: Journal
) -> None:
    tool, path, expected = case
    path.write_bytes(expected)
    plans = config.plan_use({tool: path}, {tool: tuna}, known)
    assert config.apply(plans, "use tuna", journal) is None
    assert path.read_bytes() == expected


def test_use_of_another_mirror_keeps_every_line_that_names_no_mirror(
    case: tuple[Tool, Path, bytes], known: Catalogue
) -> None:
    tool, path, _ = case
    before = path.read_bytes().splitlines(keepends=True)
    plan = config.plan_use({tool: path}, {tool: known.get("sjtug")}, known)[0]
    after = (plan.after or b"").splitlines(keepends=True)
    gone = [line for line in before if line not in after]
    for line in gone:
        named = b"http" in line or line.rstrip().endswith((b":", b"~", b"{}", b"=", b"[]"))
        last = line is before[-1]
        assert named or last or b'"' in line, line


def test_the_after_file_is_what_the_tool_will_use(
    case: tuple[Tool, Path, bytes], tuna: Mirror
) -> None:
    """The tool's own rules, applied to the new file alone, lead to the mirror."""
    tool, path, expected = case
    if expected.startswith(b"\xef\xbb\xbf") and tool == "pip":
        return  # pip refuses a byte order mark; see test_lint
    path.write_bytes(expected)
    data = effective.parse_file(tool, path)
    assert tuna.conda is not None
    assert tuna.pypi is not None
    if tool == "conda":
        base = (data.get("custom_channels") or {}).get("conda-forge", "")
        if "artifactory" not in base:  # a private mirror stays
            assert base.rstrip("/") == tuna.conda.cloud
    elif tool == "rattler":
        first = data["mirrors"]["https://conda.anaconda.org/conda-forge"][0]
        assert first == tuna.conda.channel_url("conda-forge")
    elif tool == "pip":
        # pip's own parser where it has one (it refuses a byte order mark); before pip 25 that was
        # the standard library's.
        from pip._internal import configuration as of_pip

        parser = getattr(of_pip, "_RawConfigParser", configparser.RawConfigParser)()
        parser.read_string(expected.decode("utf-8", "surrogateescape"))
        options = {key.lower().replace("_", "-"): url for key, url in parser.items("global")}
        assert options["index-url"].rstrip("/") == tuna.pypi.index_url
    else:
        indexes = [item for item in data.get("index", []) if item.get("default")]
        chosen = indexes[0]["url"] if indexes else data["index-url"]
        assert chosen.rstrip("/") == tuna.pypi.index_url


def test_rattler_itself_reads_the_mirrors_that_were_written() -> None:
    from rattler import Client, Config

    for path in sorted((DATA / "use" / "rattler").glob("*.after")):
        text = path.read_text(encoding="utf-8-sig")
        Client.from_config(Config.from_toml(text))


def test_defaults_takes_out_every_mirror_and_keeps_the_rest(
    case: tuple[Tool, Path, bytes], known: Catalogue
) -> None:
    tool, path, expected = case
    path.write_bytes(expected)
    plan = config.plan_defaults({tool: path}, known)[0]
    after = (plan.after or b"").decode("utf-8", "surrogateescape")
    addresses = [word for line in after.splitlines() if not line.lstrip().startswith(("#", ";"))
                 for word in line.replace('"', " ").replace("'", " ").split()]  # fmt: skip
    keep = ("trusted-host", "extra-index-url", "x-base")
    for word in addresses:
        host_line = next(line for line in after.splitlines() if word in line)
        if "tuna" in word and not any(name in host_line for name in keep):
            raise AssertionError(f"{host_line!r} still names the mirror")


def test_every_mirror_in_turn_then_every_address_removed_is_never_refused(
    case: tuple[Tool, Path, bytes], known: Catalogue
) -> None:
    tool, path, _ = case
    use = config.USE_OF[tool]
    for mirror in known.for_use(use):
        plan = config.plan_use({tool: path}, {tool: mirror}, known)[0]
        path.write_bytes(plan.after or b"")
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    for url in sorted(set(re.findall(r"https?://[^\s\"',\]}#]+", text))):
        plan = config.plan_remove(url, {tool: path})[0]
        left = (plan.after or b"").decode("utf-8", "surrogateescape")
        kept = ("proxy", "x-base", "#")
        for line in left.splitlines():
            assert f"{url} " not in f"{line} " or any(word in line for word in kept), line
    config.plan_defaults({tool: path}, known)

"""Lint finds each kind of fault on its line, and says nothing about correct files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.hang import no_hang

from cuready.errors import ConfigError, InputError
from cuready.mirrors import lint
from cuready.mirrors.catalogue import Catalogue
from cuready.mirrors.locations import Machine, Tool

DATA = Path(__file__).parents[2] / "data" / "mirrors"
CORRECT = sorted(path for path in (DATA / "correct").rglob("*") if path.is_file())
TUNA = "https://mirrors.tuna.tsinghua.edu.cn/anaconda"

# kind, tool, file, line, severity, a piece of the repair
FAULTS: list[tuple[str, Tool, str, int, str, str]] = [
    ("doubled-path", "conda",
     f"channels: [conda-forge]\ncustom_channels:\n  conda-forge: {TUNA}/cloud/conda-forge/\n",
     3, "error", f"conda-forge: {TUNA}/cloud"),
    ("doubled-path", "conda", f"channels:\n  - {TUNA}/cloud/conda-forge/conda-forge\n",
     2, "error", f"{TUNA}/cloud/conda-forge"),
    ("doubled-path", "pip", "[global]\nindex-url = https://pypi.example/simple/simple\n",
     2, "error", "https://pypi.example/simple"),
    ("nodefaults", "conda", "channels:\n  - conda-forge\n  - nodefaults\n",
     3, "error", "remove nodefaults"),
    ("dead-host", "pip", "[global]\ntimeout = 3\nindex-url = https://pypi.douban.com/simple/\n",
     3, "error", "mirrors.aliyun.com"),
    ("dead-host", "conda", "channels:\n  - https://mirrors.xjtu.edu.cn/anaconda/cloud/pytorch\n",
     2, "error", "mirrors.pku.edu.cn"),
    ("dead-host", "uv", "[[index]]\nurl = 'https://pypi.mirrors.ustc.edu.cn/simple'\n"
     "default = true\n", 2, "warning", "https://mirrors.ustc.edu.cn/pypi/simple"),
    ("dead-host", "conda", f"channels: [a]\ndefault_channels:\n  - {TUNA}/pkgs/main\n"
     f"  - {TUNA}/pkgs/free\n", 4, "warning", "conda-forge"),
    ("plain-http", "pip", "[global]\nindex-url = http://mirrors.aliyun.com/pypi/simple\n",
     2, "error", "https://mirrors.aliyun.com/pypi/simple"),
    ("plain-http", "conda", "custom_channels:\n  corp: http://conda.corp.example\n",
     2, "warning", "https://conda.corp.example"),
    ("order", "conda", "channels:\n  - defaults\n  - conda-forge\n", 2, "warning", "first"),
    ("order", "rattler", "[mirrors]\n'https://conda.anaconda.org/conda-forge' = [\n"
     f" 'https://conda.anaconda.org/conda-forge',\n '{TUNA}/cloud/conda-forge',\n]\n",
     3, "warning", "last"),
    ("order", "uv", "[[index]]\nurl = 'https://a.example/simple'\ndefault = true\n"
     "[[index]]\nurl = 'https://b.example/simple'\ndefault = true\n", 5, "warning", "keep one"),
    ("unknown-key", "conda", "channels: [a]\nchanel_priority: strict\n",
     2, "warning", "channel_priority"),
    ("unknown-key", "conda", "mirrored_channels:\n  conda-forge: [https://a.example/x]\n",
     1, "warning", "custom_channels"),
    ("unknown-key", "pip", "[global]\nindexurl = https://a.example/simple\n",
     2, "warning", "index-url"),
    ("unknown-key", "uv", "offline = false\nindex_url = 'https://a.example/simple'\n",
     2, "error", "index-url"),
    ("unknown-key", "rattler", "[mirror]\na = ['b']\n", 2, "warning", "mirrors"),
    ("tab", "conda", "channels:\n\t- conda-forge\n", 2, "error", "spaces"),
    ("duplicate-key", "conda", "channels: [a]\nssl_verify: true\nchannels: [b]\n",
     3, "error", "merge"),
    ("duplicate-key", "pip", "[global]\nindex-url = https://a.example/simple\ntimeout = 3\n"
     "Index-Url = https://b.example/simple\n", 4, "error", "merge"),
    ("duplicate-key", "uv", "offline = true\noffline = false\n", 2, "error", "keep one"),
    ("alias-swallows", "conda", f"channels: [conda-forge, nvidia]\nchannel_alias: {TUNA}/cloud\n",
     2, "error", "custom_channels"),
    ("alias-swallows", "conda", f"channels: [conda-forge]\nchannel_alias: {TUNA}/cloud\n",
     2, "warning", "custom_channels"),
    ("wrong-path", "conda", f"channels:\n  - {TUNA}/cloud/nvidia/\n", 2, "error", "sustech"),
    ("wrong-path", "conda", f"custom_channels:\n  nvidia: {TUNA}/cloud\n", 2, "error", "sustech"),
    ("wrong-path", "conda", f"channels:\n  - {TUNA}/pkgs/conda-forge\n", 2, "error", "/cloud"),
    ("wrong-path", "pip", "[global]\nindex-url = https://mirrors.aliyun.com/pypi/\n",
     2, "error", "https://mirrors.aliyun.com/pypi/simple"),
    ("wrong-path", "pip", "[global]\nindex-url = https://mirrors.aliyun.com/pytorch-wheels/cu128\n",
     2, "error", "find-links"),
    ("wrong-path", "rattler", "[mirrors]\n'https://conda.anaconda.org/conda-forge' = "
     f"['{TUNA}/cloud']\n", 2, "error", f"{TUNA}/cloud/conda-forge"),
    ("only-tar-bz2", "conda", "channels: [a]\nuse_only_tar_bz2: true\n", 2, "warning", "take"),
    ("ssl-off", "conda", "channels: [a]\nssl_verify: no\n", 2, "error", "truststore"),
    ("ssl-off", "pip", "[global]\nindex-url = https://pypi.tuna.tsinghua.edu.cn/simple\n"
     "trusted-host = pypi.tuna.tsinghua.edu.cn\n", 3, "error", "take"),
    ("ssl-off", "uv", "allow-insecure-host = ['mirrors.aliyun.com']\n", 1, "error", "take"),
    ("ssl-off", "rattler", "\ntls-no-verify = true\n", 2, "error", "take"),
    ("extra-index", "pip", "[global]\nindex-url = https://mirrors.aliyun.com/pypi/simple\n"
     "extra-index-url = https://pypi.org/simple\n", 3, "warning", "one index-url"),
    ("extra-index", "uv", "extra-index-url = ['https://pypi.org/simple']\n",
     1, "warning", "one default"),
    ("not-carried", "conda", "custom_channels:\n  rapidsai: https://mirrors.ustc.edu.cn/anaconda/cloud\n",
     2, "warning", "tuna"),
    ("unreadable", "conda", "channels: [a,\n", 2, "error", "correct"),
    ("unreadable", "pip", "index-url = x\n", 1, "error", "correct"),
    ("unreadable", "pip", "\ufeff[global]\n", 1, "error", "without BOM"),
    ("unreadable", "uv", "[[index\n", 1, "error", "correct"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "tool", "body", "line", "severity", "repair"),
    FAULTS,
    ids=[f"{kind}-{tool}-{number}" for number, (kind, tool, *_) in enumerate(FAULTS)],
)
def test_a_fault_is_found_on_its_line_with_its_repair(
    kind: str, tool: Tool, body: str, line: int, severity: str, repair: str, known: Catalogue
) -> None:
    faults = lint.check_bytes(body.encode(), Path("file"), tool, known)
    found = [fault for fault in faults if fault.kind == kind]
    assert len(found) == 1, faults
    assert (found[0].line, found[0].severity) == (line, severity)
    assert repair in found[0].repair
    others = [fault for fault in faults if fault.kind != kind]
    assert others == [], "one cause, one finding"


def test_every_kind_has_a_test_of_its_own() -> None:
    tested = {kind for kind, *_ in FAULTS} | {"env-override"}
    assert tested == set(lint.KINDS)
    assert len(lint.KINDS) >= 14


@pytest.mark.parametrize("path", CORRECT, ids=lambda p: f"{p.parent.name}-{p.name}")
def test_a_correct_file_raises_no_alarm(path: Path, known: Catalogue) -> None:
    assert lint.check_file(path, lint.tool_of(path), known) == []


def test_there_are_ten_correct_files_and_more() -> None:
    assert len(CORRECT) >= 15


@pytest.mark.parametrize(
    "path", sorted((DATA / "use").glob("*/empty.after")), ids=lambda p: p.parent.name
)
def test_what_use_writes_into_an_empty_file_raises_no_alarm(path: Path, known: Catalogue) -> None:
    tool: Tool = path.parent.name  # type: ignore[assignment]
    assert lint.check_file(path, tool, known) == []


@pytest.mark.parametrize(
    ("tool", "head", "entry"),
    [
        ("conda", "channels:\n", "- http://a.example/{}\n"),
        ("pip", "[global]\nextra-index-url =\n", "  http://a.example/{}/simple\n"),
        ("uv", "find-links = [\n", " 'http://a.example/{}',\n"),
        ("uv", "", "[[index]]\nurl = 'http://a.example/{}/simple'\n"),
        ("uv", "", "[[index]]\nurl = 'http://a.example/{0}/simple'\n[a{0}.b]\n"),
        ("uv", "", "key{} = 1\n"),
        ("uv", "", "[key{}]\n"),
        ("rattler", "[mirrors]\n", "'https://c{0}' = ['http://a.example/{0}', 'https://c{0}']\n"),
    ],
    ids=["channels", "extra indexes", "links", "indexes", "indexes and tables", "keys", "tables",
         "mirrors"],
)  # fmt: skip
def test_a_file_of_thousands_of_faults_is_read_to_its_end(
    tool: Tool, head: str, entry: str, known: Catalogue
) -> None:
    body = head + "".join(map(entry.format, range(3000))) + ("]\n" if "[\n" in head else "")
    with no_hang():
        faults = lint.check_bytes(body.encode(), Path("file"), tool, known)
    assert faults


def test_each_of_many_faults_is_told_on_its_own_line(known: Catalogue) -> None:
    body = "x = 1\nfind-links = [\n" + " 'http://a.example/',\n" * 50 + "]\n[pip]\n"
    faults = lint.check_bytes(body.encode(), Path("file"), "uv", known)
    assert [fault.line for fault in faults if fault.kind == "plain-http"] == list(range(3, 53))


def test_several_faults_of_one_file_are_all_found_behind_a_tab(known: Catalogue) -> None:
    body = (
        f"channels:\n\t- nodefaults\nchannel_alias: {TUNA}/cloud\nssl_verify: false\n"
        "use_only_tar_bz2: true\nshow_chanel_urls: true\n"
    )
    faults = lint.check_bytes(body.encode(), Path("f"), "conda", known)
    assert [(fault.line, fault.kind) for fault in faults] == [
        (2, "nodefaults"), (2, "tab"), (3, "alias-swallows"), (4, "ssl-off"), (5, "only-tar-bz2"),
        (6, "unknown-key"),
    ]  # fmt: skip


def test_pip_faults_behind_a_line_that_pip_stops_at_are_found_too(known: Catalogue) -> None:
    body = "[global]\nindex-url = https://pypi.doubanio.com/simple\n[global]\nno-such = 1\n"
    faults = lint.check_bytes(body.encode(), Path("f"), "pip", known)
    assert [(fault.line, fault.kind) for fault in faults] == [
        (2, "dead-host"), (3, "duplicate-key"), (4, "unknown-key"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tool", "name", "body", "variable", "line"),
    [
        ("pip", ".config/pip/pip.conf", "[global]\nIndex_Url: https://a.example/simple\n",
         "PIP_INDEX_URL", 2),
        ("conda", ".condarc", "\nchannels: [a]\n", "CONDA_CHANNELS", 2),
        ("conda", ".condarc", "channel_alias: https://a.example\n", "CONDA_CHANNEL_ALIAS", 1),
        ("uv", ".config/uv/uv.toml", "[[index]]\nurl = 'https://a.example/simple'\n"
         "default = true\n", "UV_DEFAULT_INDEX", 3),
    ],
)  # fmt: skip
def test_a_variable_that_overrides_a_file_is_named_with_the_line_it_overrides(
    tool: Tool, name: str, body: str, variable: str, line: int, machine: Machine, known: Catalogue
) -> None:
    path = machine.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body)
    there = Machine(machine.home, {variable: "https://me:pw@b.example"}, "linux", root=machine.root)
    files, faults = lint.check_machine([tool], there, known)
    assert files == [path]
    assert [(fault.kind, fault.line) for fault in faults] == [("env-override", line)]
    assert variable in faults[0].message
    assert "pw" not in faults[0].message
    assert lint.check_machine([tool], machine, known)[1] == []


def test_json_form_hides_passwords(known: Catalogue) -> None:
    body = "[global]\nextra-index-url = https://me:secret@pypi.corp.example/simple/simple\n"
    faults = lint.check_bytes(body.encode(), Path("pip.conf"), "pip", known)
    assert faults
    assert all("secret" not in str(fault.document()) for fault in faults)


def test_a_file_of_an_unknown_name_asks_whose_it_is(known: Catalogue) -> None:
    with pytest.raises(InputError, match="no tool reads a file of this name"):
        lint.tool_of(Path("setup.cfg"))
    assert lint.tool_of(Path("condarc.d/a.yml")) == "conda"


def test_a_file_that_is_not_there_is_named(tmp_path: Path, known: Catalogue) -> None:
    with pytest.raises(InputError, match="no such file"):
        lint.check_file(tmp_path / ".condarc", "conda", known)


@pytest.mark.parametrize("data", [b"\0", b"\xff\xfea", b"channels: [\xff]", b"\xef\xbb\xbf\t"])
@pytest.mark.parametrize("tool", ["conda", "uv", "rattler"])
def test_bytes_that_are_no_text_are_a_finding_not_a_crash(
    data: bytes, tool: Tool, known: Catalogue
) -> None:
    try:
        lint.check_bytes(data, Path("f"), tool, known)
    except ConfigError as error:  # pragma: no cover - the assertion below is the message
        raise AssertionError(error) from error

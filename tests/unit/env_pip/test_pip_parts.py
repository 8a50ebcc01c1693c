"""Addresses, tags, locks, names and scripts: the pure parts of environments."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest
from packaging.version import Version

from cuready.env import activate, interpreters, registry
from cuready.env.pip import indexes, lock, resolve, tags
from cuready.env.pip.indexes import Way, canonical, request_of, ways
from cuready.env.pip.model import Pin, PipLock
from cuready.env.plan import target_document, target_from
from cuready.env.prefix import State, check_path, check_place
from cuready.env.target import Target
from cuready.errors import EnvError, InputError, MirrorError, MissingExtra, SolveError

FILE = f"ab/cd/{'0' * 60}/six-1.17.0-py2.py3-none-any.whl"
PIN = Pin("Six", "1.17.0", f"https://files.pythonhosted.org/packages/{FILE}", "A" * 64, 11050)
LINUX = Target("linux-64", "linux_x86_64", glibc=Version("2.31"))
LAB = Way("lab", "https://lab.example/pypi/web/simple", "https://lab.example/wheels/cu130")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"https://lab.example/pypi/web/packages/{FILE}#sha256=0", PIN.url),
        (f"https://lab.example/pypi/packages/packages/{FILE}", PIN.url),
        (
            "https://lab.example/wheels/cu130/torch-2.9.0%2Bcu130-cp312-cp312-linux_x86_64.whl",
            "https://download.pytorch.org/whl/cu130/torch-2.9.0%2Bcu130-cp312-cp312-linux_x86_64.whl",
        ),
        ("https://pypi.nvidia.com/a/a-1.whl", "https://pypi.nvidia.com/a/a-1.whl"),
    ],
)
def test_the_lock_names_the_publisher_and_no_mirror(url: str, expected: str) -> None:
    assert canonical(url, LAB) == expected


def test_an_address_that_only_a_mirror_has_cannot_be_locked() -> None:
    with pytest.raises(EnvError, match="cannot stand in a lock"):
        canonical("https://lab.example/+f/ab/six-1.17.0.whl", LAB)


def test_a_file_is_asked_of_every_way_in_order() -> None:
    request = request_of(PIN, (LAB, Way("official", indexes.PYPI)))
    assert [source.url for source in request.sources] == [
        f"https://lab.example/pypi/web/packages/{FILE}",
        PIN.url,
    ]
    assert request.sha256 == "a" * 64 and request.canonical_url == PIN.url
    torch = Pin(
        "torch", "2.9.0", "https://download.pytorch.org/whl/cu130/torch-2.9.0.whl", "b" * 64
    )
    official = Way("official", indexes.PYPI, "https://download.pytorch.org/whl/cu130")
    assert [item.url for item in request_of(torch, (LAB, official)).sources] == [
        "https://lab.example/wheels/cu130/torch-2.9.0.whl",
        torch.url,
    ]


def test_ways_begin_with_what_was_named_and_hold_the_official_ones() -> None:
    found = ways(("tuna",), torch_index="https://download.pytorch.org/whl/cu130")
    assert found[0].name == "tuna" and found[0].torch.startswith("https://download.pytorch.org/")
    assert found[1].pypi == indexes.PYPI
    assert len({(way.pypi, way.torch) for way in found}) == len(found)
    with pytest.raises(InputError, match="no mirror is called"):
        ways(("nowhere",))


def test_the_best_wheel_is_the_most_specific_that_the_glibc_allows() -> None:
    wanted = tags.ranks("3.12", LINUX)
    names = [
        "a-1-cp312-cp312-manylinux_2_28_x86_64.whl",
        "a-1-cp312-cp312-manylinux_2_34_x86_64.whl",
        "a-1-cp312-cp312-manylinux2014_x86_64.whl",
        "a-1-py3-none-any.whl",
        "a-1-cp312-cp312-win_amd64.whl",
        "not a wheel.whl",
    ]
    assert tags.best_wheel(names, wanted) == names[0]
    assert tags.best_wheel(names[1:2] + names[4:], wanted) is None
    assert tags.uv_platform(LINUX) == "x86_64-manylinux_2_31"
    with pytest.raises(EnvError, match=r"2\.17"):
        tags.uv_platform(Target("linux-64", "linux_x86_64", glibc=Version("2.12")))


LOCK = PipLock(
    (PIN,), "3.12", "linux_x86_64", "r", ("six",), "https://download.pytorch.org/whl/cpu"
)


def test_a_lock_is_read_as_it_was_written() -> None:
    assert lock.loads(lock.dumps(LOCK)) == LOCK
    assert lock.lock_name("a.b") == "pylock.a-b.toml"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('lock-version = "1.0"', 'lock-version = "2.0"', "lock-version 2.0"),
        ("a" * 64, "zz", "is not a sha256"),
        ("size = 11050", "size = -1", "is not a size"),
        ("https://files", "file:///files", "is not an address"),
        ("[tool.cuready]", "[tool.other]", "cuready is missing"),
        ('name = "six"', "name", "not TOML"),
        ("size = 11050", f"size = {'9' * 5000}", "not TOML"),
        ('name = "six"', f"name = {'[' * 9999}", "not TOML: nested too deeply"),
        (
            "[tool.cuready]",
            "[[packages]]\nname = 'b'\nversion = '1'\nwheels = []\n[tool.cuready]",
            "sdist is missing",
        ),
    ],
)
def test_a_damaged_lock_is_refused_with_its_name(old: str, new: str, words: str) -> None:
    text = lock.dumps(LOCK)
    assert old in text
    with pytest.raises(InputError, match=words) as caught:
        lock.loads(text.replace(old, new), "x.toml")
    assert caught.value.message.startswith("x.toml: ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a = " + "[" * 5000, "not TOML: nested too deeply"),
        ("lock-version = " + "1" * 5000, "not TOML: an integer of more than 64 bits"),
        ("a." * 5000 + "b = 1", "not TOML: nested too deeply"),
    ],
    ids=["deep", "integer", "dotted key"],
)
def test_a_lock_that_no_tool_wrote_is_refused_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        lock.loads(text)


def test_a_pin_without_digest_is_not_locked() -> None:
    with pytest.raises(EnvError, match="no sha256"):
        lock.dumps(PipLock((Pin("a", "1", "https://x/a-1.whl"),), "3.12", "linux_x86_64"))


NO_SUCH = "  × No solution found when resolving dependencies:\n  ╰─▶ Because there is no version of six==9"


def answers(monkeypatch: pytest.MonkeyPatch, *errors: str) -> list[list[str]]:
    """uv answers with these errors, one a call; the calls are recorded."""
    calls: list[list[str]] = []

    def run(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(list(arguments))
        return subprocess.CompletedProcess(arguments, 1, "", errors[len(calls) - 1])

    monkeypatch.setattr(resolve, "run_uv", run)
    for name in ("https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return calls


REQUEST = resolve.PipRequest(("six==9",), "3.12", LINUX)
OFFICIAL = Way("official", indexes.PYPI)


def test_a_mirrors_no_is_checked_with_pypi_whose_no_is_final(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = answers(monkeypatch, NO_SUCH, NO_SUCH, NO_SUCH)
    with pytest.raises(SolveError) as caught:
        resolve.resolve(REQUEST, (LAB, OFFICIAL, LAB))
    assert len(calls) == 2 and "six==9" in caught.value.messages[0]


def test_indexes_that_do_not_answer_are_a_network_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, "error: Failed to fetch: `https://lab.example`", "Caused by: dns error")
    with pytest.raises(MirrorError) as caught:
        resolve.resolve(REQUEST, (LAB, OFFICIAL))
    assert [item["mirror"] for item in caught.value.details["attempts"]] == ["lab", "official"]


def test_a_proxy_that_stands_between_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers(monkeypatch, "Failed to fetch: `https://lab.example`\n  cause: Connection refused")
    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    with pytest.raises(MirrorError) as caught:
        resolve.resolve(REQUEST, (LAB,))
    told = "(asked through the proxy http://***@proxy.example:3128)"
    assert caught.value.messages[0].endswith(f"Connection refused {told}")


def test_an_index_that_nobody_copies_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vendor = ("https://vendor.example/simple",)
    every = [dataclasses.replace(way, extra=vendor) for way in (LAB, OFFICIAL)]
    told = "Failed to fetch: `https://vendor.example/simple/six/`\n  cause: no such host"
    asked = answers(monkeypatch, told, told)
    with pytest.raises(MirrorError) as caught:
        resolve.resolve(REQUEST, every)
    assert len(asked) == 1
    assert caught.value.messages == ("lab: https://vendor.example/simple/six/: no such host",)


def test_what_conda_brings_and_pypi_has_as_source_only_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = f"{NO_SUCH}\nBecause termcolor==1.1.0 has no usable wheels"
    calls = answers(monkeypatch, said, NO_SUCH)
    request = resolve.PipRequest(("x",), "3.8", LINUX, present={"termcolor": "1.1.0"})
    with pytest.raises(SolveError):
        resolve.resolve(request, (OFFICIAL,))
    assert "--excludes" not in calls[0] and "--excludes" in calls[1]


def test_without_uv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuready.env.pip import uv

    monkeypatch.setattr(uv.shutil, "which", lambda _: None)
    monkeypatch.setattr(uv.sys, "executable", "/nonexistent/python")
    with pytest.raises(MissingExtra) as caught:
        uv.find_uv()
    assert "cuready[env]" in caught.value.hint


def test_settings_of_uv_and_pip_do_not_reach_the_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuready.env.pip.uv import uv_environment

    for name in ("UV_INDEX", "PIP_INDEX_URL", "PIP_FIND_LINKS", "PYTHONPATH"):
        monkeypatch.setenv(name, "x")
    found = uv_environment()
    assert not {"UV_INDEX", "PIP_INDEX_URL", "PIP_FIND_LINKS", "PYTHONPATH"} & set(found)


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"]
)
def test_uv_trusts_whom_the_downloads_trust(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cuready.env.pip.uv import uv_environment
    from cuready.mirrors.net.trust import CA_VARIABLES

    for name in (*CA_VARIABLES, "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    bundle = tmp_path / "company.pem"
    bundle.write_text("")
    monkeypatch.setenv(variable, str(bundle))
    for later in CA_VARIABLES[CA_VARIABLES.index(variable) + 1 :]:
        monkeypatch.setenv(later, __file__)  # the first that is set counts
    assert uv_environment()["SSL_CERT_FILE"] == str(bundle)
    monkeypatch.setenv(variable, str(tmp_path))
    assert uv_environment()["SSL_CERT_DIR"] == str(tmp_path)


# --- names and places ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "torch-2.9", "x_y", "Ünï", "9lives"])
def test_good_names(name: str) -> None:
    assert registry.name_problem(name) == ""


@pytest.mark.parametrize("name", ["", "-x", ".hidden", "a b", "a/b", "x" * 65, "a\n"])
def test_bad_names(name: str) -> None:
    assert registry.name_problem(name)


def test_an_unknown_environment_is_told_with_a_suggestion(tmp_path: Path) -> None:
    registry.remember("pytorch", tmp_path)
    with pytest.raises(InputError) as caught:
        registry.find("pytroch")
    assert caught.value.hint == "did you mean pytorch?"
    registry.forget(tmp_path)
    assert registry.everything() == []


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="control character"):
        check_path(tmp_path / "a\nb")
    (tmp_path / "thing").write_text("")
    with pytest.raises(EnvError, match="is not empty"):
        check_place(tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["thing"]
    check_place(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


def test_a_target_is_read_back_as_it_was_written() -> None:
    from cuready.compat.capability import parse_capability

    target = Target("linux-64", "linux_x86_64", Version("12.4"), Version("550.1"),
                    parse_capability("8.6"), Version("2.31"), ("cuda",))  # fmt: skip
    assert target_from(target_document(target)) == target


# --- interpreters and activation -----------------------------------------------------------------


def test_no_fitting_python_lists_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    there = interpreters.HostPython(Path("/usr/bin/python3"), Version("3.11.2"), "23.0")
    monkeypatch.setattr(interpreters, "candidates", lambda: ["x"])
    monkeypatch.setattr(interpreters, "ask", lambda _: there)
    with pytest.raises(EnvError, match=r"found: 3.11.2 at /usr/bin/python3"):
        interpreters.choose(">=3.12")
    assert interpreters.choose(">=3.10", exactly="3.11") == there


def test_a_python_without_ensurepip_names_the_package_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = interpreters.HostPython(Path("/usr/bin/python3"), Version("3.11.2"))
    monkeypatch.setattr(interpreters, "candidates", lambda: ["x"])
    monkeypatch.setattr(interpreters, "ask", lambda _: bare)
    with pytest.raises(EnvError) as caught:
        interpreters.choose(">=3.10")
    assert "apt install python3.11-venv" in caught.value.hint


VALUE = 'it\'s "$HOME" `x` \\ & %PATH%'
STATE = State("n", "venv", "r", "", "3.12", "", "", variables={"ODD": VALUE})


def test_bash_sets_odd_values_and_puts_everything_back() -> None:
    script = activate.activation_script(Path("/a b/ü"), STATE, "bash")
    code = f'set -eu\nODD=old\n{script}\nprintf \'%s\\n\' "$ODD" "$PATH" "$VIRTUAL_ENV"\n' + (
        'cuready_deactivate\nprintf "%s\\n" "$ODD" "$PATH" "${VIRTUAL_ENV-unset}"'
    )
    done = subprocess.run(
        ["bash", "-c", code],
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        timeout=20,
    )
    assert done.stdout.splitlines() == [
        VALUE, "/a b/ü/bin:/usr/bin:/bin", "/a b/ü", "old", "/usr/bin:/bin", "unset"
    ], done.stderr  # fmt: skip


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("fish", "set -gx ODD 'it\\'s \"$HOME\" `x` \\\\ & %PATH%'"),
        ("powershell", "$env:ODD = 'it''s \"$HOME\" `x` \\ & %PATH%'"),
    ],
)
def test_other_shells_quote_in_their_own_way(shell: str, line: str) -> None:
    assert line in activate.activation_script(Path("/e"), STATE, shell)


def test_cmd_escapes_percent_and_refuses_quotes() -> None:
    import dataclasses

    with pytest.raises(InputError, match="cmd cannot set"):
        activate.activation_script(Path("/e"), STATE, "cmd")
    plain = dataclasses.replace(STATE, variables={"ODD": "100%"})
    assert '@SET "ODD=100%%"' in activate.activation_script(Path("/e"), plain, "cmd")

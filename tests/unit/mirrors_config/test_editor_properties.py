"""Random files: whatever their layout, only the intended value changes, or nothing does."""

from __future__ import annotations

import configparser
import json

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cuready._util import tomllib
from cuready.mirrors.editors import ini_edit, toml_edit, yaml_edit
from cuready.mirrors.editors.text import ConfigSyntaxError, Text

URL = "https://mirror.example/anaconda/cloud"

names = st.sampled_from(
    ["conda-forge", "bioconda", "a", "x y", "yes", "1.5", "清华", "nvidia", "~"]
)
comments = st.sampled_from(["", "  # why", "   #", " # - x: [y"])
ends = st.sampled_from(["\n", "\r\n"])
quotes = st.sampled_from(["", "'", '"'])
blank = st.sampled_from(["", "# c", "   # - c: d", "   "])


def quoted(text: str, mark: str) -> str:
    if mark == '"':
        return json.dumps(text, ensure_ascii=False)
    if mark == "'" or yaml.safe_load(text) != text:
        return f"'{text}'"
    return text


@st.composite
def condarcs(draw: st.DrawFn) -> str:
    """A file with a list, a mapping and a scalar, each in block or flow style, in any order."""
    end, parts = draw(ends), []
    channels = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    custom = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    values = [quoted(name, draw(quotes)) for name in channels]
    pairs = [f"{quoted(name, draw(quotes))}: {quoted('https://x/' + str(i), draw(quotes))}"
             for i, name in enumerate(custom)]  # fmt: skip
    pad = " " * draw(st.integers(0, 4))
    if draw(st.booleans()):
        lines = [f"{pad}- {value}{draw(comments)}" for value in values]
        parts.append(end.join([f"channels:{draw(comments)}", *mixed(draw, lines)]))
    else:
        parts.append(f"channels: [{', '.join(values)}]{draw(comments)}")
    if draw(st.booleans()):
        lines = [f"{pad} {pair}{draw(comments)}" for pair in pairs]
        parts.append(end.join([f"custom_channels:{draw(comments)}", *mixed(draw, lines)]))
    else:
        parts.append(f"custom_channels: {{{', '.join(pairs)}}}{draw(comments)}")
    parts.append(f"always_yes: true{draw(comments)}")
    body = end.join(mixed(draw, draw(st.permutations(parts))))
    return body + (end if draw(st.booleans()) else "")


def mixed(draw: st.DrawFn, lines: list[str]) -> list[str]:
    out = []
    for line in lines:
        if draw(st.booleans()):
            out.append(draw(blank))
        out.append(line)
    return out


def only_span_differs(before: str, after: str) -> tuple[str, str]:
    """The one piece of each text that is not common to both."""
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    stop = 0
    while stop < min(len(before), len(after)) - start and before[-1 - stop] == after[-1 - stop]:
        stop += 1
    return before[start : len(before) - stop], after[start : len(after) - stop]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(condarcs(), st.data())
def test_yaml_edits_change_one_place_and_keep_the_rest(body: str, data: st.DataObject) -> None:
    before = yaml_edit.load(body)
    step = data.draw(st.sampled_from(["set", "insert", "append", "delete item", "delete key"]))
    if step == "set":
        key = data.draw(st.sampled_from(sorted(map(str, before["custom_channels"]))))
        after = yaml_edit.set_item(body, ("custom_channels", key), URL)
        old, new = only_span_differs(body, after)
        assert "\n" not in old + new
    elif step == "insert":
        after = yaml_edit.insert_pair(body, ("custom_channels",), "new one", URL)
        assert yaml_edit.load(after)["custom_channels"]["new one"] == URL
        assert only_span_differs(body, after)[0] == ""
    elif step == "append":
        after = yaml_edit.append_item(body, ("channels",), "added")
        assert yaml_edit.load(after)["channels"] == [*before["channels"], "added"]
        assert only_span_differs(body, after)[0] == ""
    elif step == "delete item" and len(before["channels"]) > 1:
        index = data.draw(st.integers(0, len(before["channels"]) - 1))
        after = yaml_edit.delete(body, ("channels", index))
        assert only_span_differs(body, after)[1] == ""
    else:
        after = yaml_edit.delete(body, ("custom_channels",))
        assert "custom_channels" not in yaml_edit.load(after)
        assert only_span_differs(body, after)[1] == ""
    assert after.count("#") == body.count("#") or step.startswith("delete")


@st.composite
def pip_confs(draw: st.DrawFn) -> str:
    end, lines = draw(ends), []
    for section in draw(st.lists(st.sampled_from(["global", "install", "list"]), unique=True)):
        lines += [draw(blank.filter(lambda text: not text.startswith(" ")))] * draw(
            st.integers(0, 1)
        )
        lines.append(f"[{section}]")
        keys = st.sampled_from(["index-url", "Index_Url2", "timeout", "find-links", "no-index"])
        for key in draw(st.lists(keys, unique=True)):
            sign = draw(st.sampled_from(["=", " = ", ": ", ":", "= "]))
            lines.append(f"{key}{sign}{draw(st.sampled_from(['', 'https://a/b', '60', 'a = b']))}")
            lines += draw(st.lists(st.sampled_from(["   more", "\tmore", "  # c", ""]), max_size=2))
    return end.join(lines) + (end if draw(st.booleans()) else "")


@settings(max_examples=200, deadline=None)
@given(pip_confs(), st.sampled_from(["global", "install"]))
def test_ini_edits_are_read_by_the_parser_of_pip_as_intended(body: str, section: str) -> None:
    before = ini_edit.load(body)
    after = ini_edit.set_option(body, section, "index-url", URL)
    before.setdefault(section, {})["index-url"] = URL
    assert ini_edit.load(after) == before
    again = ini_edit.delete(after, section, "index-url")
    del before[section]["index-url"]
    assert ini_edit.load(again) == before


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abc[]=:#; \t\n\r%\\-é", max_size=60))
def test_any_text_is_either_read_like_pip_reads_it_or_refused_with_a_line(body: str) -> None:
    parser = configparser.RawConfigParser()
    parser.optionxform = ini_edit.normalise  # type: ignore[method-assign,assignment]
    try:
        parser.read_string(body)
        legal = not parser.defaults()
    except configparser.Error:
        legal = False
    try:
        after = ini_edit.set_option(body, "global", "index-url", URL)
    except ConfigSyntaxError as error:
        assert error.line >= 1
        assert not legal or "by hand" in error.hint
    else:
        assert legal
        assert ini_edit.load(after)["global"]["index-url"] == URL


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@` \t\n\r,?\x85", max_size=50))
def test_any_text_is_parsed_as_yaml_or_refused_with_a_line(body: str) -> None:
    try:
        yaml_edit.insert_pair(body, (), "custom_channels", {"conda-forge": URL})
    except ConfigSyntaxError as error:
        assert error.line >= 1


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab=[]{}#'\".\\ \t\n\r,1", max_size=50))
def test_any_text_is_parsed_as_toml_or_refused_with_a_line(body: str) -> None:
    def change(data: dict[str, object]) -> None:
        data["mirrors"] = {"k": ["v"]}

    try:
        before = toml_edit.load(body)
        if "mirrors" not in before:
            after = toml_edit.append_block(body, '[mirrors]\nk = ["v"]', change)
            assert tomllib.loads(after)["mirrors"] == {"k": ["v"]}
    except ConfigSyntaxError as error:
        assert error.line >= 1


@given(st.binary(max_size=80))
def test_any_bytes_survive_decoding_and_encoding(data: bytes) -> None:
    for exact in (True, False):
        try:
            text = Text.decode(data, exact=exact)
        except ConfigSyntaxError as error:
            assert error.line >= 1
        else:
            assert text.encode(text.body) == data

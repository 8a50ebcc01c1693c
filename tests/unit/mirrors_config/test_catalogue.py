"""The catalogue's facts keep their promises: sources, dates, domains, and what not to paste."""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cuready.errors import ConfigError
from cuready.mirrors import catalogue
from cuready.mirrors.catalogue import Catalogue, Mirror


def test_at_least_twelve_operators_carry_conda_and_twelve_pypi(known: Catalogue) -> None:
    assert len({mirror.failure_domain for mirror in known.mirrors}) >= 12
    assert len(known.for_use("conda")) >= 12
    assert len(known.for_use("pypi")) >= 12
    assert {mirror.name for mirror in known.for_use("torch")} >= {
        "official", "sjtug", "nju", "aliyun",
    }  # fmt: skip


def test_every_entry_names_its_sources_and_its_date(known: Catalogue) -> None:
    for entry in (*known.mirrors, *known.pasted):
        assert entry.sources
        assert all(urlsplit(source).scheme == "https" for source in entry.sources)
        assert datetime.date(2024, 1, 1) < entry.as_of <= datetime.date.today()


def test_every_address_is_https_and_on_a_host_of_its_operator(known: Catalogue) -> None:
    for mirror in known.mirrors:
        addresses = [mirror.home] if mirror.home else []
        if mirror.conda:
            addresses += [mirror.conda.base, mirror.conda.cloud]
            addresses += list(mirror.conda.channel_bases.values())
        if mirror.pypi:
            addresses += [mirror.pypi.index_url, *mirror.pypi.aliases]
        if mirror.torch:
            addresses.append(mirror.torch.url("cu130"))
        for address in addresses:
            assert address.startswith("https://")
            if address != mirror.home:
                assert known.owner_of(address) is mirror


def test_nothing_that_the_catalogue_offers_is_on_its_own_list_of_dead_addresses(
    known: Catalogue,
) -> None:
    for mirror in known.mirrors:
        offered = [mirror.pypi.index_url] if mirror.pypi else []
        if mirror.conda:
            offered += [mirror.conda.channel_url(name) or "" for name in mirror.conda.channels]
            offered += [mirror.conda.channel_url(name) or "" for name in mirror.conda.channel_bases]
            offered += [mirror.conda.pkgs_url(part) or "" for part in mirror.conda.pkgs]
        if mirror.torch:
            offered.append(mirror.torch.url("cu130"))
        for address in offered:
            assert known.pasted_rule(address) is None, address


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://pypi.douban.com/simple/", "dead"),
        ("https://PYPI.DOUBANIO.COM/simple", "dead"),
        ("https://mirrors.tuna.tsinghua.edu.cn/anaconda/pkgs/free/", "stale"),
        ("https://mirrors.tuna.tsinghua.edu.cn/anaconda/pkgs/pro", "dead"),
        ("https://mirrors.bfsu.edu.cn/anaconda/pkgs/conda-forge/", "never"),
        ("https://mirrors.tuna.tsinghua.edu.cn/anaconda/nvidia", "never"),
        ("https://mirrors.ustc.edu.cn/anaconda/cloud/nvidia/", "never"),
        ("https://mirrors.tuna.tsinghua.edu.cn/anaconda/cloud/msys2/", "dead"),
        ("https://pypi.mirrors.ustc.edu.cn/simple/", "renamed"),
        ("https://mirrors.jlu.edu.cn/pypi/web/simple", "dead"),
        ("https://repo.continuum.io/pkgs/main", "renamed"),
        ("https://download.pytorch.org/whl/torch_stable.html", "stale"),
    ],
)
def test_addresses_of_old_posts_are_recognised_with_what_to_use_instead(
    url: str, kind: str, known: Catalogue
) -> None:
    rule = known.pasted_rule(url)
    assert rule is not None
    assert rule.kind == kind
    assert rule.instead


def test_conda_appends_the_name_so_a_base_never_ends_with_it(known: Catalogue) -> None:
    for mirror in known.for_use("conda"):
        assert mirror.conda is not None
        base = mirror.conda.channel_base("conda-forge")
        assert base is not None
        assert not base.endswith(("/", "/conda-forge"))
        assert mirror.conda.channel_url("conda-forge") == f"{base}/conda-forge"


def test_nvidia_is_not_promised_by_mirrors_that_refuse_it(known: Catalogue) -> None:
    carrying = {
        m.name for m in known.for_use("conda") if m.conda and m.conda.channel_base("nvidia")
    }
    assert carrying == {"official", "sustech"}


def test_only_the_upstreams_have_repodata_shards(known: Catalogue) -> None:
    with_shards = {m.name for m in known.for_use("conda") if m.conda and m.conda.shards}
    assert with_shards == {"official", "prefix"}


def test_a_second_choice_comes_from_another_failure_domain(known: Catalogue) -> None:
    tuna, bfsu, ustc, aliyun = (known.get(name) for name in ("tuna", "bfsu", "ustc", "aliyun"))
    assert not bfsu.independent_of(tuna)
    assert not ustc.independent_of(tuna)
    assert aliyun.independent_of(tuna)
    assert not known.get("cernet").independent_of(known.get("nju"))


def test_an_entry_is_stale_on_its_ninety_first_day(tuna: Mirror) -> None:
    day = datetime.timedelta(days=1)
    assert not tuna.is_stale(tuna.as_of + 90 * day)
    assert tuna.is_stale(tuna.as_of + 91 * day)


def test_aliyun_wheels_are_a_directory_and_not_an_index(known: Catalogue) -> None:
    torch = known.get("aliyun").torch
    assert torch is not None
    assert torch.layout == "find-links"
    assert torch.url("cu130") == "https://mirrors.aliyun.com/pytorch-wheels/cu130/"


OWN = """
[[mirror]]
name = "lab"
as_of = 2026-11-01
[mirror.conda]
base = "http://127.0.0.1:8080/conda"
channels = ["conda-forge"]
[mirror.pypi]
index_url = "http://127.0.0.1:8080/simple/"
"""


def test_a_users_own_mirrors_come_first_and_replace_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "mirrors.toml"
    path.write_text(OWN + OWN.replace('"lab"', '"tuna"'))
    both = catalogue.load(path)
    assert [mirror.name for mirror in both.mirrors[:2]] == ["lab", "tuna"]
    assert sum(mirror.name == "tuna" for mirror in both.mirrors) == 1
    lab = both.get("lab")
    assert both.owner_of("http://127.0.0.1:8080/simple/x") is lab
    assert lab.conda is not None
    assert lab.conda.cloud == "http://127.0.0.1:8080/conda/cloud"


def test_a_network_may_allow_its_own_mirrors_alone(tmp_path: Path) -> None:
    path = tmp_path / "mirrors.toml"
    path.write_text("shipped = false\n" + OWN)
    alone = catalogue.load(path)
    assert [mirror.name for mirror in alone.mirrors] == ["lab"]
    assert alone.pasted


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[[mirror]\n", "line 1"),
        ("[[mirror]]\nas_of = 2026-01-01\n", "name is missing"),
        ('[[mirror]]\nname = "x"\nas_of = 2026-01-01\n', "has no"),
        ('[[mirror]]\nname = "x"\n[mirror.pypi]\nindex_url = "https://a"\n', "as_of is missing"),
        (OWN.replace("2026-11-01", '"soon"'), "as_of is 'soon'"),
        (OWN.replace("http://127.0.0.1:8080/simple/", "ftp://x"), "not an http"),
        (OWN.replace('["conda-forge"]', '"conda-forge"'), "list of strings"),
        (OWN + OWN, "described twice"),
        (OWN + '[mirror.torch]\nurl = "https://a/{tag}"\nlayout = "flat"\n', "find-links"),
        (OWN + '[mirror.torch]\nurl = "https://a/"\nlayout = "index"\n', "{tag}"),
    ],
)
def test_an_own_entry_that_is_wrong_is_named_with_file_and_reason(
    text: str, word: str, tmp_path: Path
) -> None:
    path = tmp_path / "mirrors.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))) as caught:
        catalogue.load(path)
    assert word in caught.value.message

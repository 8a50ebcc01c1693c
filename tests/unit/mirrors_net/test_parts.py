"""The small parts of the download layer, each alone."""

from __future__ import annotations

import json
import socket
import ssl
from datetime import datetime, timezone
from pathlib import Path

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cuready.errors import InputError
from cuready.mirrors.net.breaker import CircuitBreaker
from cuready.mirrors.net.cache import Cache
from cuready.mirrors.net.causes import CAUSES, Cause
from cuready.mirrors.net.certificate import read_certificate
from cuready.mirrors.net.classify import cause_of_exception, cause_of_status
from cuready.mirrors.net.client import Failure
from cuready.mirrors.net.content import check_head
from cuready.mirrors.net.fetch import failure_of
from cuready.mirrors.net.freshness import read_status
from cuready.mirrors.net.ladder import ProbeKind, links_in
from cuready.mirrors.net.partial import Partial
from cuready.mirrors.net.prober import _records
from cuready.mirrors.net.progress import Throttle
from cuready.mirrors.net.request import Attempt, DownloadRequest, FileKind, Source
from cuready.mirrors.net.transfer import RateWatch, parse_content_range
from cuready.mirrors.weights import WeightsJob, read_url_list, sources_of
from cuready.mirrors.weights_layout import expected_prefix, parse_huggingface

# --- circuit breaker -----------------------------------------------------------------------------


def test_a_circuit_opens_at_the_threshold_and_lets_one_try_after_the_cooldown() -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=2, cooldown=10, clock=lambda: now[0])
    breaker.failure("m")
    assert breaker.allows("m")
    breaker.failure("m")
    assert not breaker.allows("m")
    assert breaker.is_open("m")
    now[0] = 10.0
    assert [breaker.allows("m"), breaker.allows("m")] == [True, False]
    breaker.failure("m")
    assert not breaker.allows("m")
    now[0] = 20.0
    assert breaker.allows("m")
    breaker.success("m")
    assert [breaker.allows("m"), breaker.allows("m")] == [True, True]


def test_a_half_open_try_without_a_verdict_lets_the_next_one_try() -> None:
    now = [0.0]
    breaker = CircuitBreaker(threshold=1, cooldown=1, clock=lambda: now[0])
    breaker.failure("m")
    now[0] = 2.0
    assert breaker.allows("m")
    breaker.release("m")
    assert breaker.allows("m")


def test_a_success_between_failures_starts_the_count_again() -> None:
    breaker = CircuitBreaker(threshold=2)
    for _ in range(5):
        breaker.failure("m")
        breaker.success("m")
    assert breaker.allows("m")


# --- content --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "head", "content_type", "cause"),
    [
        (FileKind.CONDA, b"PK\x03\x04", "text/html", None),
        (FileKind.CONDA, b"BZh9", "", Cause.WRONG_CONTENT),
        (FileKind.CONDA, b"", "", Cause.WRONG_CONTENT),
        (FileKind.TAR_BZ2, b"BZh91AY", "application/x-tar", None),
        (FileKind.WHEEL, b"PK\x03\x04", "application/octet-stream", None),
        (
            FileKind.WHEEL,
            b"\xef\xbb\xbf \n<!DocType HTML>",
            "application/zip",
            Cause.CAPTIVE_PORTAL,
        ),
        (FileKind.WHEEL, b"please log in", "text/html; charset=utf-8", Cause.CAPTIVE_PORTAL),
        (FileKind.METADATA, b" {", "application/json", None),
        (FileKind.METADATA, b"\x28\xb5\x2f\xfd", "", None),
        (FileKind.METADATA, b"oops", "", Cause.WRONG_CONTENT),
        (FileKind.WEIGHTS, b"\x80\x02}", "text/html", None),
        (FileKind.WEIGHTS, b'<?xml version="1.0"?>\n<net name="openvino">', "text/xml", None),
        (
            FileKind.WEIGHTS,
            b"<?xml version='1.0'?><!DOCTYPE html PUBLIC>",
            "",
            Cause.CAPTIVE_PORTAL,
        ),
        (FileKind.WEIGHTS, b"<script>location='/login'</script>", "", Cause.CAPTIVE_PORTAL),
        (FileKind.HTML_INDEX, b"<html>", "text/html", None),
    ],
)
def test_the_first_bytes_decide(
    kind: FileKind, head: bytes, content_type: str, cause: Cause | None
) -> None:
    verdict = check_head(kind, head, content_type)
    assert (None if verdict is None else verdict[0]) is cause


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("https://m/a-1.0-0.conda", FileKind.CONDA),
        ("https://m/a-1.0-0.tar.bz2?x=1", FileKind.TAR_BZ2),
        ("https://m/a-1-py3-none-any.WHL#sha256=0", FileKind.WHEEL),
        ("https://m/repodata.json.zst", FileKind.METADATA),
        ("https://m/model.pth", FileKind.OTHER),
    ],
)
def test_a_kind_is_read_from_the_name(url: str, kind: FileKind) -> None:
    assert FileKind.of(url) is kind


# --- rates ----------------------------------------------------------------------------------------


def test_slow_is_said_only_after_a_whole_window_and_counts_only_that_window() -> None:
    now = [0.0]
    watch = RateWatch(1000, 10, lambda: now[0])
    watch.add(1_000_000)
    for _ in range(9):
        now[0] += 1.0
        watch.add(1)
    now[0] = 11.0
    with pytest.raises(Failure) as caught:
        watch.add(1)
    assert caught.value.cause is Cause.SLOW


def test_without_a_floor_nothing_is_too_slow() -> None:
    now = [0.0]
    watch = RateWatch(0, 1, lambda: now[0])
    for _ in range(100):
        now[0] += 100.0
        watch.add(1)


def test_progress_is_throttled_but_the_last_byte_is_told() -> None:
    now, told = [0.0], []
    throttle = Throttle(lambda have, total, rate: told.append((have, rate)), lambda: now[0], 1.0)
    for have in range(0, 101, 10):
        throttle(have, 100)
        now[0] += 0.25
    assert told[0] == (40, 40.0)
    assert told[-1][0] == 100
    assert len(told) <= 4


# --- headers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("bytes 5-9/10", (5, 10)),
        ("bytes 5-9/*", (5, None)),
        ("bytes */10", (None, 10)),
        ("bytes 5-9", (None, None)),
        ("items 5-9/10", (None, None)),
        ("", (None, None)),
    ],
)
def test_content_range(value: str, expected: tuple[int | None, int | None]) -> None:
    assert parse_content_range(value) == expected


@given(st.text())
def test_content_range_never_fails(value: str) -> None:
    parse_content_range(value)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(200, None), (206, None), (204, Cause.HTTP_STATUS), (304, Cause.HTTP_STATUS),
     (401, Cause.HTTP_UNAUTHORIZED), (410, Cause.HTTP_NOT_FOUND), (503, Cause.HTTP_SERVER_ERROR)],
)  # fmt: skip
def test_statuses(status: int, cause: Cause | None) -> None:
    assert cause_of_status(status) is cause


@pytest.mark.parametrize(
    ("inner", "cause"),
    [
        (socket.gaierror(-2, "Name or service not known"), Cause.DNS),
        (ConnectionRefusedError(111, "refused"), Cause.CONNECT_REFUSED),
        (OSError(101, "Network is unreachable"), Cause.NETWORK_UNREACHABLE),
        (ConnectionResetError(104, "reset"), Cause.CONNECTION_RESET),
        (ssl.SSLError(1, "[SSL] other"), Cause.TLS_FAILED),
    ],
)
def test_the_exception_beneath_httpx_decides(inner: Exception, cause: Cause) -> None:
    outer = httpx.ConnectError("all the same text")
    outer.__cause__ = inner
    assert cause_of_exception(outer, "http://127.0.0.1/")[0] is cause


def test_a_bug_is_never_taken_for_a_bad_mirror() -> None:
    with pytest.raises(ZeroDivisionError):
        cause_of_exception(ZeroDivisionError(), "http://127.0.0.1/")


def test_every_cause_is_explained() -> None:
    for cause in Cause:
        info = CAUSES[cause]
        assert info.title and info.hint
        assert not info.title.endswith(".")


# --- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["", "ftp://h/x", "http://", "file:///x", "http://[::1", "http://h:a/"]
)
def test_a_source_must_be_http(url: str) -> None:
    with pytest.raises(InputError):
        Source(url)


@pytest.mark.parametrize("fields", [{"sha256": "ab"}, {"sha256_prefix": "xyz"}, {"size": -1}])
def test_a_request_with_nonsense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InputError):
        DownloadRequest((Source("http://h/x"),), **fields)  # type: ignore[arg-type]


def test_a_password_in_a_url_is_no_part_of_the_mirrors_name() -> None:
    assert Source("https://user:secret@host:8080/x").mirror == "host:8080"


# --- certificates ---------------------------------------------------------------------------------


def test_the_four_facts_of_a_certificate() -> None:
    until = datetime(2049, 12, 31, 1, 2, 3, tzinfo=timezone.utc)
    leaf = trustme.CA(organization_name="Some CA").issue_cert("a.example", not_after=until)
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())
    facts = read_certificate(der)
    assert facts is not None
    assert facts.issuer == "Some CA"
    assert facts.not_after == until
    assert facts.not_before < datetime.now(timezone.utc)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_certificate_give_none(data: bytes) -> None:
    assert read_certificate(data) is None


@given(st.data())
def test_a_damaged_certificate_never_raises(data: st.DataObject) -> None:
    der = bytearray(_CERTIFICATE)
    for _ in range(data.draw(st.integers(1, 5))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    read_certificate(bytes(der[: data.draw(st.integers(0, len(der)))]))


_CERTIFICATE = ssl.PEM_cert_to_DER_cert(trustme.CA().cert_pem.bytes().decode())


# --- files on disk that somebody garbled ----------------------------------------------------------


@given(journal=st.binary(max_size=200), part=st.binary(max_size=50))
def test_any_journal_and_any_part_can_be_opened(
    tmp_path_factory: pytest.TempPathFactory, journal: bytes, part: bytes
) -> None:
    folder = tmp_path_factory.mktemp("partial")
    (folder / "k.json").write_bytes(journal)
    (folder / "k.part").write_bytes(part)
    assert Partial(folder, "k").size in (0, len(part))


@given(st.recursive(st.none() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["schema", "segments", "suspects", "total",
                                                       "start", "mirror"]), inner)))  # fmt: skip
def test_any_json_can_be_a_journal(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    folder = tmp_path_factory.mktemp("partial")
    (folder / "k.json").write_text(json.dumps(value))
    (folder / "k.part").write_bytes(b"abc")
    assert Partial(folder, "k").size in (0, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"validator": 8}, {"mirror": 8}, {"mirror": {}}, {"start": "0"}, {"start": True},
        {"start": -1}, {"start": 1.0},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("where", ["segments", "suspects"])
def test_a_journal_with_a_value_of_the_wrong_type_is_no_journal(
    tmp_path: Path, wrong: dict[str, object], where: str
) -> None:
    segment = {"mirror": "a", "start": 0, "validator": '"x"'}
    journal = {"schema": 1, "total": 3, "segments": [segment], "suspects": [segment]}
    (tmp_path / "k.part").write_bytes(b"abc")
    (tmp_path / "k.suspect").write_bytes(b"abd")
    (tmp_path / "k.json").write_text(json.dumps(journal))
    found = Partial(tmp_path, "k")
    assert (found.size, found.total, found.validator) == (3, 3, '"x"')
    assert found.liars(tmp_path / "k.part") == [("a", 2)]
    (tmp_path / "k.json").write_text(json.dumps({**journal, where: [{**segment, **wrong}]}))
    found = Partial(tmp_path, "k")
    assert (found.size, found.total, found.validator, found.mirrors) == (0, None, "", [])
    assert found.liars(tmp_path / "k.suspect") == []


@pytest.mark.parametrize("far", [4, 2**31, 2**70])
def test_parts_that_lie_behind_the_end_of_the_file_sent_nothing(tmp_path: Path, far: int) -> None:
    parts = [
        {"mirror": "a", "start": 0},
        {"mirror": "b", "start": far},
        {"mirror": "c", "start": far},
    ]
    journal = {"schema": 1, "total": None, "segments": [], "suspects": parts}
    (tmp_path / "k.suspect").write_bytes(b"abd")
    (tmp_path / "k.json").write_text(json.dumps(journal))
    (tmp_path / "good").write_bytes(b"abcdef")
    assert Partial(tmp_path, "k").liars(tmp_path / "good") == [("a", 2)]
    (tmp_path / "k.suspect").write_bytes(b"abc")
    assert Partial(tmp_path, "k").liars(tmp_path / "good") == []


@pytest.mark.parametrize("total", [True, -1, "3", 3.0])
def test_a_total_of_the_wrong_type_is_unknown(tmp_path: Path, total: object) -> None:
    journal = {"schema": 1, "total": total, "segments": [{"mirror": "a", "start": 0}],
               "suspects": []}  # fmt: skip
    (tmp_path / "k.part").write_bytes(b"abc")
    (tmp_path / "k.json").write_text(json.dumps(journal))
    assert (Partial(tmp_path, "k").size, Partial(tmp_path, "k").total) == (3, None)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"url": "u"}', '{"url": "u", "sha256": 5}'])
def test_a_garbled_record_of_a_url_is_no_record(tmp_path: Path, text: str) -> None:
    cache = Cache(tmp_path)
    cache.prepare()
    cache.remember("u", "0" * 64, 1)
    record = next((tmp_path / "seen").iterdir())
    assert cache.recall("u") is not None
    record.write_text(text)
    assert cache.recall("u") is None


# --- freshness ------------------------------------------------------------------------------------

WHEN = datetime(2026, 11, 20, tzinfo=timezone.utc)
STAMP = int(WHEN.timestamp())


@pytest.mark.parametrize(
    ("style", "document", "expected"),
    [
        ("mirrorz", {"mirrors": [{"cname": "anaconda", "status": f"S{STAMP}X1900000000"}]}, WHEN),
        ("mirrorz", {"mirrors": [{"cname": "Anaconda", "status": f"F1900000000O{STAMP}"}]}, WHEN),
        ("mirrorz", {"mirrors": [{"cname": "anaconda", "status": "U"}]}, None),
        ("mirrorz", {"mirrors": [{"cname": "pypi", "status": f"S{STAMP}"}]}, None),
        ("mirrorz", {"mirrors": {"no": "list"}}, None),
        ("tunasync", [{"name": "anaconda", "last_update_ts": STAMP}], WHEN),
        ("tunasync", [{"name": "anaconda", "last_update_ts": -62135596800}], None),
        ("tunasync", ["x", None, {"name": "anaconda"}], None),
        ("tunasync", {"mirrors": []}, None),
    ],
)
def test_what_sites_publish(style: str, document: object, expected: datetime | None) -> None:
    body = json.dumps(document).encode()
    assert read_status(body, style, ProbeKind.CONDA_CHANNEL) == expected


@given(st.binary(max_size=200), st.sampled_from(["mirrorz", "tunasync"]))
def test_a_status_page_that_is_none_gives_none(body: bytes, style: str) -> None:
    assert read_status(body, style, ProbeKind.PYPI_INDEX) is None


# --- weights --------------------------------------------------------------------------------------


@pytest.mark.parametrize("causes", [(Cause.CONNECT_REFUSED,), (Cause.CONNECT_REFUSED, Cause.DNS)])
@pytest.mark.parametrize(
    ("kind", "advice"),
    [(FileKind.WEIGHTS, "--mirror URL"), (FileKind.WHEEL, "`cuready mirror test`")],
)
def test_a_failure_names_what_has_mirrors_of_such_a_file(
    causes: tuple[Cause, ...], kind: FileKind, advice: str
) -> None:
    sources = tuple(Source(f"https://{cause.value}.example/x") for cause in causes)
    request = DownloadRequest(sources, canonical_url="https://h.example/x", kind=kind)
    tried = [Attempt(s.mirror, s.url, c, "no") for s, c in zip(sources, causes, strict=True)]
    hint = failure_of(request, tried).hint
    assert advice in hint
    assert ("mirror test" in hint) == (kind is not FileKind.WEIGHTS)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("resnet18-5c106cde.pth", "5c106cde"),
        ("resnet18-f37072fd.pth", "f37072fd"),
        ("yolox-20211121.pth", ""),
        ("model-v2.pth", ""),
        ("a-b.pth", ""),
        ("plain.pth", ""),
    ],
)
def test_the_hash_in_a_torch_name(name: str, prefix: str) -> None:
    assert expected_prefix(name) == prefix


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://huggingface.co/gpt2/resolve/main/c.json", ("gpt2", "main", "c.json", "model")),
        ("https://hf-mirror.com/a/b/resolve/v1/x/y?download=true", ("a/b", "v1", "x/y", "model")),
        ("https://huggingface.co/datasets/a/b/resolve/main/f", ("a/b", "main", "f", "dataset")),
        ("https://huggingface.co/a/b/blob/main/f", ("a/b", "main", "f", "model")),
        ("https://huggingface.co/a/b/resolve/main/../../x", None),
        ("https://huggingface.co/a/b", None),
        ("https://huggingface.co/", None),
    ],
)  # fmt: skip
def test_hugging_face_urls(url: str, expected: tuple[str, ...] | None) -> None:
    file = parse_huggingface(url)
    got = None if file is None else (file.repo_id, file.revision, file.path, file.repo_type)
    assert got == expected


def test_mirrors_of_hugging_face_come_with_the_url_and_without_the_token() -> None:
    job = WeightsJob("https://huggingface.co/a/b/resolve/main/f", "huggingface")
    sources = sources_of(job, {"HF_TOKEN": "t", "HF_ENDPOINT": "https://own.example"})
    assert [source.mirror for source in sources] == [
        "own.example",
        "huggingface.co",
        "hf-mirror.com",
    ]
    assert [bool(source.headers) for source in sources] == [True, True, False]


def test_a_list_of_urls() -> None:
    digest = "A" * 64
    text = f"# x\n\nhttps://h/a\nhttps://h/b sha256={digest}  # why\nhttps://h/c {digest}\n"
    assert read_url_list(text) == [
        ("https://h/a", ""),
        ("https://h/b", digest.lower()),
        ("https://h/c", digest.lower()),
    ]
    assert read_url_list("\x80 not a list") is None
    with pytest.raises(InputError, match="line 2"):
        read_url_list("https://h/a\nhttps://h/b sha256=12")


def test_links_before_what_is_no_html_are_kept() -> None:
    page = '<a href="torch/">torch</a><![[[[<a href="lost/">'
    assert links_in(page) == ["torch/"]


def test_the_keys_of_an_index_without_packages_are_no_file_names() -> None:
    record = b'"python-3.12.0-h1_0.conda": {"size": 7}'
    for packages, found in ((b"", []), (record, [(7, "python-3.12.0-h1_0.conda")])):
        body = (
            b'{"info": {"subdir": "noarch"}, "packages": {}, "packages.conda": {' + packages + b"}}"
        )
        assert list(_records(body)) == found

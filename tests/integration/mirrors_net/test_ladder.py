"""The probe ladder tells apart what conda prints as `HTTP 000` and pip as `from versions: none`."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable

import pytest
import trustme
from tests.integration.mirrors_net.net_support import conda_bytes, digest, good, request_for
from tests.integration.mirrors_net.servers import (
    LOGIN_PAGE,
    Captive,
    Good,
    Handler,
    Mirror,
    MirrorFarm,
    NoRanges,
    Pages,
    Proxy,
    RedirectLoop,
    RefusesAgent,
    Status,
    Tunnel,
    http_date,
)

from cuready.errors import ConfigError, MirrorError
from cuready.mirrors.net import (
    Cause,
    DownloadRequest,
    Fetcher,
    LadderReport,
    ProbeKind,
    Source,
    diagnose,
    fetch_one,
)

REPODATA = ("application/json", b'{"packages": {}, "packages.conda": {"a-1-0.conda": {}}}')
CHANNEL = {"/c/noarch/repodata.json": REPODATA}
NOW = datetime.datetime.now(datetime.timezone.utc)
YEAR = datetime.timedelta(days=365)


def climb(farm: MirrorFarm, url: str, kind: ProbeKind = ProbeKind.CONDA_CHANNEL) -> LadderReport:
    report = diagnose(url, kind, seconds=3.0, step_seconds=0.5, context=farm.trust())
    json.dumps(report.to_dict())
    assert report.lines()
    return report


def broken_rung(report: LadderReport) -> str:
    return next((rung.name for rung in report.rungs if rung.ok is False), "")


Make = Callable[[MirrorFarm], str]


def tls(farm: MirrorFarm, **kwargs: object) -> str:
    names = kwargs.pop("names", ())
    context = farm.server_context(*names, **kwargs)  # type: ignore[misc, arg-type]
    return farm.add(Pages(CHANNEL), tls=context).base + "/c"


TRANSPORT: dict[str, tuple[Make, Cause, str]] = {
    "name that does not resolve": (lambda f: "http://no-such-host.invalid/c", Cause.DNS, "dns"),
    "label too long for a name": (lambda f: f"http://{'a' * 70}.invalid/c", Cause.DNS, "dns"),
    "dead port": (lambda f: f.dead().base + "/c", Cause.CONNECT_REFUSED, "tcp"),
    "silent after connecting": (lambda f: f.black_hole().base + "/c", Cause.NO_RESPONSE, "http"),
    "silent to a TLS greeting": (
        lambda f: f.black_hole().base.replace("http:", "https:") + "/c",
        Cause.NO_RESPONSE,
        "tls",
    ),
    "plain HTTP called as https": (
        lambda f: f.plain_port_as_https().base + "/c",
        Cause.TLS_NOT_TLS,
        "tls",
    ),
    "unknown authority": (
        lambda f: tls(f, authority=trustme.CA(organization_name="Corporate Proxy CA")),
        Cause.TLS_UNTRUSTED,
        "tls",
    ),
    "expired": (
        lambda f: tls(f, not_after=NOW - YEAR, not_before=NOW - 2 * YEAR),
        Cause.TLS_EXPIRED,
        "tls",
    ),
    "another host's certificate": (
        lambda f: tls(f, names=("mirror.example",)),
        Cause.TLS_HOSTNAME,
        "tls",
    ),
}


@pytest.mark.parametrize("case", TRANSPORT)
def test_below_http(farm: MirrorFarm, case: str) -> None:
    make, cause, rung = TRANSPORT[case]
    report = climb(farm, make(farm))
    assert (report.cause, broken_rung(report)) == (cause, rung)


def test_an_untrusted_certificate_is_shown_with_its_issuer_and_dates(farm: MirrorFarm) -> None:
    report = climb(farm, TRANSPORT["unknown authority"][0](farm))
    certificate = report.rungs[-1].evidence["certificate"]
    assert certificate["issuer"] == "Corporate Proxy CA"
    assert "Corporate Proxy CA" in report.detail
    assert certificate["not_after"] > "2026"


def test_a_wrong_clock_is_told_from_an_expired_certificate(farm: MirrorFarm) -> None:
    """Server and certificate live a year and a half ago, so it is this machine that is ahead."""
    then = (NOW - 1.5 * YEAR).timestamp()

    class Past(Good):
        def answer(self, handler: Handler, exchange: object) -> None:
            handler.send_response_only(200)
            handler.send_header("Date", http_date(then))
            handler.send_header("Content-Length", "0")
            handler.end_headers()

    context = farm.server_context(not_before=NOW - 2 * YEAR, not_after=NOW - YEAR)
    report = climb(farm, farm.add(Past(), tls=context).base + "/c")
    assert report.cause is Cause.CLOCK_SKEW
    assert report.rungs[-1].evidence["clock_skew_seconds"] == pytest.approx(
        1.5 * 365 * 86400, rel=0.01
    )


HTTP: dict[str, tuple[Make, Cause, str]] = {
    "404": (lambda f: f.add(Status(404)).base + "/c", Cause.HTTP_NOT_FOUND, "http"),
    "403": (lambda f: f.add(Status(403)).base + "/c", Cause.HTTP_FORBIDDEN, "http"),
    "401": (lambda f: f.add(Status(401)).base + "/c", Cause.HTTP_UNAUTHORIZED, "http"),
    "429": (lambda f: f.add(Status(429)).base + "/c", Cause.HTTP_TOO_MANY, "http"),
    "500": (lambda f: f.add(Status(500)).base + "/c", Cause.HTTP_SERVER_ERROR, "http"),
    "418": (lambda f: f.add(Status(418)).base + "/c", Cause.HTTP_STATUS, "http"),
    "redirects without end": (
        lambda f: f.add(RedirectLoop()).base + "/c",
        Cause.REDIRECT_LOOP,
        "http",
    ),
    "redirect to a file": (
        lambda f: f.add(Status(302, Location="file:///etc/passwd")).base + "/c",
        Cause.BAD_REDIRECT,
        "http",
    ),
    "login page": (lambda f: f.add(Captive()).base + "/c", Cause.CAPTIVE_PORTAL, "content"),
    "login page that calls itself JSON": (
        lambda f: f.add(Captive("application/json")).base + "/c",
        Cause.CAPTIVE_PORTAL,
        "content",
    ),
    "JSON cut off": (
        lambda f: f.add(Pages({"/c/noarch/repodata.json": ("", b'{"packages": {"a')})).base + "/c",
        Cause.WRONG_CONTENT,
        "content",
    ),
    "no package in it": (
        lambda f: f.add(Pages({"/c/noarch/repodata.json": ("", b'{"packages": {}}')})).base + "/c",
        Cause.EMPTY_INDEX,
        "content",
    ),
}


@pytest.mark.parametrize("case", HTTP)
def test_http_and_content(farm: MirrorFarm, case: str) -> None:
    make, cause, rung = HTTP[case]
    report = climb(farm, make(farm))
    assert (report.cause, broken_rung(report)) == (cause, rung)


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        (b'<!DOCTYPE html><html><body><a href="pip-1.whl#sha256=0">x</a></body></html>', None),
        (b"<!DOCTYPE html><html><body>nothing</body></html>", Cause.EMPTY_INDEX),
        (LOGIN_PAGE, Cause.CAPTIVE_PORTAL),
    ],
)
def test_a_package_index_is_html_and_still_told_from_a_login_page(
    farm: MirrorFarm, body: bytes, cause: Cause | None
) -> None:
    mirror = farm.add(Pages({"/simple/pip/": ("text/html", body)}))
    assert climb(farm, f"{mirror.base}/simple", ProbeKind.PYPI_INDEX).cause is cause


def test_pip_refused_by_user_agent_is_its_own_cause(farm: MirrorFarm) -> None:
    page = b'<a href="pip-1.whl">x</a>'

    class Waf(RefusesAgent):
        def answer(self, handler: Handler, exchange: object) -> None:
            if "pip/" in handler.headers["User-Agent"]:
                handler.reply(403)
            else:
                handler.reply(200, page, Content_Type="text/html")

    report = climb(farm, farm.add(Waf({}, "")).base + "/simple", ProbeKind.PYPI_INDEX)
    assert report.cause is Cause.HTTP_FORBIDDEN_USER_AGENT


def test_a_good_channel_holds_every_rung(farm: MirrorFarm) -> None:
    report = climb(farm, tls(farm))
    assert report.ok
    assert [rung.name for rung in report.rungs] == [
        "url",
        "proxy",
        "dns",
        "tcp",
        "tls",
        "http",
        "content",
    ]
    assert report.rungs[-1].evidence == {"packages": 1}


@pytest.mark.parametrize(
    "url", ["", "ftp://host/x", "https://", "http://host:99999/", "not a url", "http://[/"]
)
def test_what_is_no_url_is_said_so(url: str) -> None:
    assert diagnose(url).cause is Cause.INVALID_URL


def test_a_climb_keeps_its_time_limit(farm: MirrorFarm) -> None:
    began = time.monotonic()
    report = diagnose(farm.black_hole().base, seconds=0.5, step_seconds=0.3, context=farm.trust())
    assert report.cause is Cause.NO_RESPONSE
    assert (
        time.monotonic() - began < 3.0
    )  # ten times the limit of a step: this asserts an end, no speed


# --- proxies -------------------------------------------------------------------------------------


def through(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, proxy)


def test_a_dead_proxy_is_blamed_and_not_the_mirror(
    farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher
) -> None:
    through(monkeypatch, farm.dead().base)
    report = climb(farm, "http://mirror.invalid/c")
    assert (report.cause, broken_rung(report)) == (Cause.PROXY_UNREACHABLE, "proxy")
    assert report.to_dict()["conda_says"].startswith("ProxyError")


def test_a_proxy_written_https_that_speaks_http(
    farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    through(monkeypatch, farm.plain_port_as_https().base)
    assert climb(farm, "https://mirror.invalid/c").cause is Cause.PROXY_SCHEME


@pytest.mark.parametrize(("status", "cause"), [(407, Cause.PROXY_AUTH), (403, Cause.PROXY_REFUSED)])
def test_what_a_proxy_says_to_connect(
    farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch, status: int, cause: Cause
) -> None:
    through(monkeypatch, farm.add(Proxy(status)).base)
    report = climb(farm, "https://mirror.invalid/c")
    assert report.cause is cause
    assert str(status) in report.detail


def test_a_working_proxy_carries_the_climb_and_the_download(
    farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch, make_fetcher: Callable[..., Fetcher]
) -> None:
    """The name exists nowhere, so this passes only if the proxy resolves it."""
    data = conda_bytes(200_000)
    files = {"repodata.json": REPODATA[1], "pkg-1.0-0.conda": data}
    server = farm.add(Good(files), tls=farm.server_context("mirror.invalid"))
    proxy = farm.add(Tunnel(server.port))
    through(monkeypatch, proxy.base)
    report = climb(farm, "https://mirror.invalid/c")
    assert report.ok, report.lines()
    source = Source("https://mirror.invalid/c/noarch/pkg-1.0-0.conda")
    request = DownloadRequest((source,), sha256=digest(data))
    assert fetch_one(make_fetcher(stall_timeout=5.0), request).path.read_bytes() == data
    assert {exchange.method for exchange in proxy.log} == {"CONNECT"}


def test_no_proxy_is_honoured(farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch) -> None:
    through(monkeypatch, farm.dead().base)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert climb(farm, farm.add(Pages(CHANNEL)).base + "/c").ok


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda farm: farm.dead().base, "proxy-unreachable"),
        (lambda farm: farm.plain_port_as_https().base, "proxy-scheme"),
        (lambda farm: farm.add(Proxy(407)).base, "proxy-authentication"),
    ],
    ids=["dead", "https scheme", "wants a password"],
)
def test_a_download_through_a_bad_proxy_names_the_proxy(
    farm: MirrorFarm,
    monkeypatch: pytest.MonkeyPatch,
    make_fetcher: Callable[..., Fetcher],
    make: Callable[[MirrorFarm], str],
    cause: str,
) -> None:
    through(monkeypatch, make(farm))
    mirror = Mirror(Good(), "https", 1)
    with pytest.raises(MirrorError) as caught:
        fetch_one(make_fetcher(), request_for([mirror], conda_bytes(1000)))
    assert caught.value.details["attempts"][0]["cause"] == cause


def test_a_socks_proxy_without_support_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuready.mirrors.net import HttpClient

    monkeypatch.setenv("all_proxy", "gopher://127.0.0.1:1")
    with pytest.raises(ConfigError, match="proxy"):
        HttpClient()


# --- certificate authorities ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"]
)
def test_a_company_ca_from_the_environment_is_trusted(
    farm: MirrorFarm, monkeypatch: pytest.MonkeyPatch, tmp_path: object, variable: str
) -> None:
    import pathlib

    path = pathlib.Path(str(tmp_path)) / "ca.pem"
    farm.authority.cert_pem.write_to_path(str(path))
    for name in (
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "PIP_CERT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(path))
    assert diagnose(tls(farm), ProbeKind.CONDA_CHANNEL).ok


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_ca_file_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object, content: str | None
) -> None:
    import pathlib

    from cuready.mirrors.net import HttpClient

    path = pathlib.Path(str(tmp_path)) / "ca.pem"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ConfigError, match="SSL_CERT_FILE"):
        HttpClient()


def test_a_mirror_without_ranges_is_read_only_as_far_as_needed(farm: MirrorFarm) -> None:
    data = b'{"packages": {"a-1-0.conda": {}}, "x": "' + b" " * 3_000_000 + b'"}'
    mirror = farm.add(NoRanges({"repodata.json": data}))
    assert climb(farm, mirror.base + "/c").ok
    assert good(data)

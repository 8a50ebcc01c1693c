"""Lint of a pip.conf or pip.ini."""

from __future__ import annotations

import re

from cuready.mirrors import urls
from cuready.mirrors.catalogue import Catalogue
from cuready.mirrors.editors import ini_edit
from cuready.mirrors.editors.ini_edit import Option
from cuready.mirrors.editors.pip_conf import INDEX_KEYS
from cuready.mirrors.editors.text import ConfigSyntaxError
from cuready.mirrors.lint.finding import Report, known_keys
from cuready.mirrors.urls import split_url

__all__ = ["check", "index_address"]


def check(body: str, report: Report, *, bom: bool = False) -> None:
    """Add the faults of a pip.conf's text to ``report``."""
    if bom:
        report.error(
            "unreadable", 1, "a byte order mark: pip stops at it", "save as UTF-8 without BOM"
        )
    options = _options(body, report)
    trusted = _trusted(options)
    for option in options:
        if option.key not in known_keys()["pip"]:
            report.unknown(option.key, option.line, "pip")
        values = option.value.split()
        if option.key in INDEX_KEYS:
            for url in values:
                index_address(url, option.line, report, refused=_host(url) not in trusted)
        elif option.key == "extra-index-url":
            _extra(values, option, report, trusted)
        elif option.key == "find-links":
            for url in filter(urls.is_url, values):
                report.address(url, option.line, refused=_host(url) not in trusted)
        elif option.key == "trusted-host":
            _trusted_host(values, option, report)


def index_address(url: str, line: int, report: Report, *, refused: bool = False) -> None:
    """Checks of an index: also that the path is one, which a wheel directory is not."""
    if report.address(url, line, refused=refused):
        return
    flat = _flat_directory(url, report.catalogue)
    if flat:
        report.error(
            "wrong-path", line, f"{url}: a flat directory of wheels, no index",
            f"find-links = {flat}",
        )  # fmt: skip
        return
    owner = report.catalogue.owner_of(url)
    if owner is None or owner.pypi is None or split_url(url).path.rstrip("/").endswith("/simple"):
        return
    if owner.torch is not None and _below(url, owner.torch.url_template):
        return
    report.error(
        "wrong-path", line, f"{url}: no index of {owner.name}", f"use {owner.pypi.index_url}",
        *owner.sources,
    )  # fmt: skip


def _options(body: str, report: Report) -> list[Option]:
    """Every option; of a copy without the lines that pip stops at, when there are some."""
    for _ in range(100):
        try:
            return ini_edit.options(body)
        except ConfigSyntaxError as error:
            twice = "twice" in error.reason
            report.error(
                "duplicate-key" if twice else "unreadable",
                error.line,
                f"{error.reason}: pip stops at it",
                "merge the two, keep one" if twice else "correct the line",
            )
            repaired = _without(body, error.line)
            if repaired == body:
                break
            body = repaired
    return []


def _without(body: str, line: int) -> str:
    """``body`` with the line made a comment, so that the numbers of the others stay."""
    parts = re.split(r"(?<=\n)", body)
    if line > len(parts) or parts[line - 1].startswith("#"):
        return body
    parts[line - 1] = f"#{parts[line - 1].lstrip()}"
    return "".join(parts)


def _extra(values: list[str], option: Option, report: Report, trusted: set[str]) -> None:
    for url in values:
        report.address(url, option.line, refused=_host(url) not in trusted)
    report.warning(
        "extra-index", option.line,
        "extra-index-url is no backup: pip asks every index and takes the highest version, "
        "also from whoever registered the name there",
        "keep one index-url; `cuready mirror test` says which",
        "https://github.com/pypa/pip/issues/13672",
    )  # fmt: skip


def _trusted_host(values: list[str], option: Option, report: Report) -> None:
    for host in values:
        if report.catalogue.owner_of(f"https://{host}") is not None:
            report.error(
                "ssl-off", option.line,
                f"trusted-host {host}: its certificate is not checked",
                "take it out; the mirror has a valid certificate",
            )  # fmt: skip


def _trusted(options: list[Option]) -> set[str]:
    hosts = {host for o in options if o.key == "trusted-host" for host in o.value.split()}
    return {host.split(":")[0] for host in hosts}


def _host(url: str) -> str:
    return split_url(url).hostname or ""


def _flat_directory(url: str, catalogue: Catalogue) -> str | None:
    owner = catalogue.owner_of(url)
    if owner is None or owner.torch is None or owner.torch.layout != "find-links":
        return None
    return url if _below(url, owner.torch.url_template) else None


def _below(url: str, template: str) -> bool:
    return split_url(url).path.startswith(split_url(template).path.split("{")[0])

"""What ``cuready mirror`` changes in a pip.conf or pip.ini: ``index-url``, and nothing else.

A second index is never written: pip asks all of them and takes the highest version, which is no
failover but a way for strangers to shadow a package (https://github.com/pypa/pip/issues/13672).
"""

from __future__ import annotations

from cuready.mirrors import urls
from cuready.mirrors.editors import ini_edit
from cuready.mirrors.editors.ini_edit import Sections
from cuready.mirrors.editors.text import Change

__all__ = ["INDEX_KEYS", "LIST_KEYS", "defaults", "parse", "remove", "use"]

# pip's option has two long names; both are read from the file.
INDEX_KEYS = ("index-url", "pypi-url")
LIST_KEYS = ("extra-index-url", "find-links", "trusted-host")


def parse(body: str) -> Sections:
    """Section → option → value. Raises ConfigSyntaxError where pip would refuse the file."""
    return ini_edit.load(body)


def use(body: str, index_url: str, newline: str = "\n") -> Change:
    """Make ``index_url`` the index, also where a command's own section names another one."""
    data = parse(body)
    present = [(section, key) for section in data for key in INDEX_KEYS if key in data[section]]
    for section, key in present:
        old = data[section][key]
        if not urls.same(old, index_url):
            value = f"{index_url}/" if old.endswith("/") else index_url
            body = ini_edit.set_option(body, section, key, value, newline)
    if not any(section == "global" for section, _ in present):
        body = ini_edit.set_option(body, "global", "index-url", index_url, newline)
    return Change(body, tuple(_notes(parse(body))))


def defaults(body: str) -> Change:
    """Back to PyPI: take out every ``index-url``."""
    for section, values in parse(body).items():
        for key in INDEX_KEYS:
            if key in values:
                body = ini_edit.delete(body, section, key)
    return Change(body, tuple(_notes(parse(body))))


def remove(body: str, url: str, newline: str = "\n") -> Change:
    """Take out every place that names ``url``, in lists of several addresses only that one."""
    for section, values in parse(body).items():
        for key in (*INDEX_KEYS, *LIST_KEYS):
            if key not in values:
                continue
            entries = values[key].split()
            kept = [entry for entry in entries if not urls.same(entry, url)]
            if len(kept) == len(entries):
                continue
            body = (
                ini_edit.set_option(body, section, key, " ".join(kept), newline)
                if kept
                else ini_edit.delete(body, section, key)
            )
    return Change(body)


def _notes(data: Sections) -> list[str]:
    notes = []
    for section, values in data.items():
        for key in ("extra-index-url", "no-index"):
            if values.get(key):
                notes.append(f"[{section}] {key} left alone; `cuready mirror lint` says more")
    return notes

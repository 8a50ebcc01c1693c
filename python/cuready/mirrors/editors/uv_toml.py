"""What ``cuready mirror`` changes in a uv.toml: the default index, and nothing else.

uv takes the first ``[[index]]`` with ``default = true``, then ``index-url``; ``[pip] index-url``
overrides the latter for ``uv pip``: https://docs.astral.sh/uv/concepts/indexes/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cuready.mirrors import urls
from cuready.mirrors.editors import toml_edit
from cuready.mirrors.editors.text import Change, ConfigSyntaxError
from cuready.mirrors.editors.toml_edit import Path

__all__ = ["addresses", "default_places", "defaults", "parse", "remove", "use"]


def parse(body: str) -> dict[str, Any]:
    """The file's data, with the types that uv insists on. Raises ConfigSyntaxError."""
    data = toml_edit.load(body)
    index = data.get("index", [])
    if not isinstance(index, list) or not all(isinstance(item, dict) for item in index):
        line = toml_edit.position(body, ("index",))
        raise ConfigSyntaxError(line, "index is no list of tables; uv wants [[index]]")
    for number, item in enumerate(index):
        if not isinstance(item.get("url"), str):
            line = toml_edit.position(body, ("index", number))
            raise ConfigSyntaxError(line, "an [[index]] without url")
    for path in (("index-url",), ("pip", "index-url")):
        value: Any = data
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None and not isinstance(value, str):
            raise ConfigSyntaxError(toml_edit.position(body, path), f"{path[-1]} is no string")
    return data


def default_places(data: dict[str, Any]) -> list[Path]:
    """Where the file names its default index, the one that uv takes first."""
    places: list[Path] = [
        ("index", number, "url")
        for number, item in enumerate(data.get("index", []))
        if item.get("default") is True
    ]
    places += [("index-url",)] if "index-url" in data else []
    pip = data.get("pip")
    places += [("pip", "index-url")] if isinstance(pip, dict) and "index-url" in pip else []
    return places


def use(body: str, index_url: str, newline: str = "\n") -> Change:
    """Make ``index_url`` the default index; other indexes stay as they are."""
    data = parse(body)
    places = default_places(data)
    for place in places:
        old = _get(data, place)
        if not urls.same(old, index_url):
            value = f"{index_url}/" if old.endswith("/") else index_url
            body = toml_edit.set_value(body, place, value)
    if not any(place != ("pip", "index-url") for place in places):
        body = _add_default(body, data, index_url, newline)
    return Change(body, tuple(_notes(parse(body))))


def defaults(body: str) -> Change:
    """Back to PyPI: take out every default index."""
    for place in reversed(default_places(parse(body))):
        body = toml_edit.delete(body, place[:2] if place[0] == "index" else place)
    return Change(body, tuple(_notes(parse(body))))


def remove(body: str, url: str) -> Change:
    """Take out every place that names ``url``."""
    for path, address in reversed(list(addresses(parse(body)))):
        if urls.same(address, url):
            body = toml_edit.delete(body, path[:2] if path[0] == "index" else path)
    return Change(body)


def addresses(data: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Every address of an index or of wheels in the file, with its place."""
    for number, item in enumerate(data.get("index", [])):
        yield ("index", number, "url"), item["url"]
    pip = data.get("pip")
    for prefix, table in (((), data), (("pip",), pip if isinstance(pip, dict) else {})):
        if isinstance(table.get("index-url"), str):
            yield (*prefix, "index-url"), table["index-url"]
        for key in ("extra-index-url", "find-links"):
            entries = table.get(key)
            for number, entry in enumerate(entries if isinstance(entries, list) else []):
                if isinstance(entry, str):
                    yield (*prefix, key, number), entry


def _add_default(body: str, data: dict[str, Any], index_url: str, newline: str) -> str:
    if data.get("index") and not _has_tables(body):
        # `index = [{…}]` in one value: a table of the same name may not follow it.
        return toml_edit.insert_first_key(body, "index-url", index_url, newline)

    def change(document: Any) -> None:
        document.setdefault("index", []).append({"url": index_url, "default": True})

    block = f"[[index]]\nurl = {toml_edit.quote(index_url)}\ndefault = true"
    return toml_edit.append_block(body, block, change, newline)


def _has_tables(body: str) -> bool:
    return any(line.lstrip().startswith("[[") for line in body.splitlines())


def _notes(data: dict[str, Any]) -> list[str]:
    notes = [f"{key} left alone" for key in ("extra-index-url", "no-index") if data.get(key)]
    for item in data.get("index", []):
        if item.get("default") is not True and item.get("explicit") is not True:
            notes.append(f"index {urls.redact(item['url'])} is asked before the default one")
    return notes


def _get(data: Any, path: Path) -> Any:
    for step in path:
        data = data[step]
    return data

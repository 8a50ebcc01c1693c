"""Text: a log that was pasted, a report that is redacted, search paths, names, questions."""

from __future__ import annotations

from contextlib import suppress

from tests.fuzz.targets._support import Target

from cuready.compat import capability, gpus, query, tables
from cuready.doctor.explain import explain_text
from cuready.doctor.redact import Identity, Redactor
from cuready.errors import CompatError
from cuready.probe.loader.tokens import search_dirs
from cuready.probe.records import RecordError, parse_payload

__all__ = ["TARGETS"]

_LONG = 30_000  # characters: what takes time that grows with its square shows here
_PERSON = Identity(("alice",), ("/home/alice",), ("pc-17.lan", "pc-17"))


def explain(data: bytes) -> None:
    """A pasted log, once as it is and once as a long one: a pattern that backtracks is a hang."""
    text = data.decode("utf-8", "replace")
    for log in (text, text * (_LONG // max(len(text), 1))):
        for answer in explain_text(log):
            assert answer.title
            assert answer.to_dict()


def redact(data: bytes) -> None:
    """Text of a report. What is redacted stays so, and nobody's name is left."""
    text = data.decode("utf-8", "replace")
    once = Redactor(_PERSON).text(text)
    words = once.replace("/", " ").split()
    assert "alice" not in words
    assert "pc-17.lan" not in words
    Redactor(_PERSON).text(text * (_LONG // max(len(text), 1)))


def search_path(data: bytes) -> None:
    """RPATH, RUNPATH, LD_LIBRARY_PATH."""
    text = data.decode("utf-8", "replace")
    for folder, _ in search_dirs(text, ":;", origin="/o", lib="lib64", platform="x86_64"):
        assert folder == "" or folder.endswith("/")


def record(data: bytes) -> None:
    """RECORD of a wheel."""
    with suppress(RecordError):
        for entry in parse_payload(data):
            assert entry.path


def question(data: bytes) -> None:
    """What `cuready compat` is asked: a GPU's name, a package, versions."""
    text = data.decode("utf-8", "replace")
    for read in (
        gpus.by_name, query.package_name, capability.parse_capability, capability.parse_arch,
        lambda words: tables.parse_version(words, "driver"),
    ):  # fmt: skip
        with suppress(CompatError):
            assert read(text) is not None


TARGETS: dict[str, Target] = {
    "explain": explain,
    "redact": redact,
    "search_path": search_path,
    "record": record,
    "question": question,
}

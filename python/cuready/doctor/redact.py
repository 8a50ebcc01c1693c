"""Takes out of a report what identifies a person or a machine, and keeps what a diagnosis needs.

Replacements are consistent: the same UUID becomes the same placeholder everywhere, so that a
redacted snapshot still replays (``CUDA_VISIBLE_DEVICES`` still names the GPU that it named).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Identity", "Redactor", "this_identity"]

# Names that say nothing about a person; replacing them would only blur the report.
GENERIC_USERS = frozenset(
    {"root", "user", "ubuntu", "debian", "nobody", "runner", "jovyan", "admin", "vagrant", "docker",
     # Jetson's first user is "nvidia"; a report without that word says nothing any more.
     "nvidia", "cuda", "torch", "python", "conda", "pip", "linux", "lib", "bin", "usr", "opt"}
)  # fmt: skip
GENERIC_HOSTS = frozenset({"localhost", "localhost.localdomain", "host", "computer"})

# A variable or key with one of these words in its name holds a secret, whatever its value is.
# "key" alone is too common in configuration (`key = value`), so only its compounds count.
SECRET_NAME = re.compile(
    r"token|secret|passw(?:or)?d|passphrase|credential|api_?key|access_?key|private_?key|auth(?!or)",
    re.IGNORECASE,
)

# A report may hold a line of megabytes. So each pattern begins where a word begins, and nowhere
# else in that word: one that may begin at every letter takes time that grows with its square.
HOME_FOLDER = re.compile(r"(?P<root>/home/|/Users/|[A-Za-z]:\\Users\\)(?P<user>[^/\\\s:;,\"']+)")
URL_CREDENTIALS = re.compile(r"(?<=[\w+.-])://[^/\s@\"'<>]*@")
CONDA_TOKEN = re.compile(r"/t/[A-Za-z0-9-]{4,}/")
QUERY_SECRET = re.compile(
    r"(?P<name>[?&](?=[\w-]*(?:token|key|secret|signature|sig|password|auth|credential))[\w-]+=)"
    r"[^&\s\"']+",
    re.IGNORECASE,
)
ASSIGNED_SECRET = re.compile(
    r"(?<![\w-])(?=[\w-]*(?:token|secret|password|passwd|api_?key|access_?key|authorization))"
    r"(?P<name>[\w-]+\s*[=:]\s*)(?:(?:bearer|basic|token)\s+)?[^\s,;\"'&]+",
    re.IGNORECASE,
)
# Token shapes, from the issuers' own documentation of their prefixes.
TOKEN_SHAPES = re.compile(
    r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{16,}"
    r"|pypi-[\w-]{20,}|npm_[A-Za-z0-9]{20,}|sk-[\w-]{16,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}"
    r"|nvapi-[\w-]{20,})"
)
WEB_TOKEN = re.compile(
    r"(?<![\w-])(?=[\w-]+\.[\w-]{8,}\.[\w-]{4})(?P<before>[\w-]*?)"
    r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{4,}"
)
_SHORTEST_UUID = 4
GPU_UUID = re.compile(r"\b(?P<kind>GPU|MIG)-(?P<body>[0-9a-fA-F]{4,8}(?:-[0-9a-fA-F]{0,12}){0,4})")
BARE_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b")
MAC_ADDRESS = re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b")
SERIAL = re.compile(r"(?P<name>\bserial(?:[ _-]?(?:number|no))?\s*[:=#]\s*)(?!serial)[\w-]+", re.I)
SERIAL_NAME = re.compile(r"serial", re.IGNORECASE)

HIDDEN = "<redacted>"


@dataclass(frozen=True)
class Identity:
    """The names to take out: users, home folders, host names."""

    users: tuple[str, ...] = ()
    homes: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


def this_identity() -> Identity:
    """Who and where this process is. Never raises: what cannot be found out is left out."""
    import getpass
    import os
    import socket

    users = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER", "USERNAME")}
    with contextlib.suppress(OSError, KeyError):  # no passwd entry, as in many containers
        users.add(getpass.getuser())
    homes = {os.environ.get("HOME", ""), os.environ.get("USERPROFILE", "")}
    with contextlib.suppress(RuntimeError):
        homes.add(str(Path.home()))
    host = socket.gethostname()
    hosts = {host, host.split(".", maxsplit=1)[0], os.environ.get("HOSTNAME", "")}
    return Identity(tuple(users - {""}), tuple(homes - {""}), tuple(hosts - {""}))


@dataclass
class Redactor:
    """Redacts text and JSON documents; one instance a report, so that placeholders agree."""

    identity: Identity
    _uuids: dict[str, str] = field(default_factory=dict)
    _beginnings: dict[str, str] = field(default_factory=dict)
    _stand_ins: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        homes = sorted({home.rstrip("/\\") for home in self.identity.homes}, key=len, reverse=True)
        self._homes = [home for home in homes if len(home) > 1 and home != "/root"]
        self._users = _name_pattern(self.identity.users, GENERIC_USERS)
        self._hosts = _name_pattern(self.identity.hosts, GENERIC_HOSTS)

    def document(self, value: Any, key: str = "") -> Any:
        """A copy of the JSON ``value`` with every string redacted, keys included."""
        if isinstance(value, str):
            hidden = SECRET_NAME.search(key) or SERIAL_NAME.search(key)
            return HIDDEN if hidden and value else self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(name): self.document(item, key=str(name)) for name, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self.document(item, key) for item in value]
        return value

    def text(self, text: str) -> str:
        """``text`` without secrets, people and machines."""
        text = URL_CREDENTIALS.sub(f"://{HIDDEN}@", text)
        text = CONDA_TOKEN.sub(f"/t/{HIDDEN}/", text)
        text = QUERY_SECRET.sub(rf"\g<name>{HIDDEN}", text)
        text = ASSIGNED_SECRET.sub(rf"\g<name>{HIDDEN}", text)
        text = WEB_TOKEN.sub(rf"\g<before>{HIDDEN}", text)
        text = TOKEN_SHAPES.sub(HIDDEN, text)
        text = SERIAL.sub(rf"\g<name>{HIDDEN}", text)
        for home in self._homes:
            text = re.sub(rf"{re.escape(home)}(?![^/\\\s:;,\"'])", "/home/<user>", text)
        text = HOME_FOLDER.sub(r"\g<root><user>", text)
        if self._users is not None:
            text = self._users.sub("<user>", text)
        if self._hosts is not None:
            text = self._hosts.sub("<host>", text)
        text = EMAIL.sub("<email>", text)
        text = MAC_ADDRESS.sub("<mac>", text)
        text = GPU_UUID.sub(self._gpu_uuid, text)
        return BARE_UUID.sub(lambda match: self._placeholder(match[0]), text)

    def _gpu_uuid(self, match: re.Match[str]) -> str:
        return f"{match['kind']}-{self._placeholder(match['body'])}"

    def _placeholder(self, uuid: str) -> str:
        """The stand-in for ``uuid``: shaped like one; a prefix of a known one gets the same."""
        wanted = uuid.lower()
        if wanted in self._stand_ins:
            return wanted
        beginnings = [wanted[:end] for end in range(_SHORTEST_UUID, len(wanted) + 1)]
        known = self._beginnings.get(wanted) or next(
            (self._uuids[start] for start in beginnings if start in self._uuids), None
        )
        if known is not None:
            return known
        stand_in = f"00000000-0000-0000-0000-{len(self._uuids) + 1:012d}"
        self._uuids[wanted] = stand_in
        for start in beginnings:
            self._beginnings.setdefault(start, stand_in)
        self._stand_ins.add(stand_in)
        return stand_in


def _name_pattern(names: Iterable[str], generic: frozenset[str]) -> re.Pattern[str] | None:
    """Whole words of ``names``, longest first, so that ``pc.lan`` goes before ``pc``."""
    wanted = {name for name in names if len(name) > 1 and name.lower() not in generic}
    if not wanted:
        return None
    longest_first = sorted(wanted, key=lambda name: (-len(name), name))
    return re.compile(
        rf"(?<![^\W_])(?:{'|'.join(map(re.escape, longest_first))})(?![^\W_])", re.IGNORECASE
    )

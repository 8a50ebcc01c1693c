"""Where each framework looks for weights, and what it checks: read in their sources.

* torch.hub: ``torch/hub.py`` — ``get_dir`` (``$TORCH_HOME/hub``, ``$XDG_CACHE_HOME/torch/hub``,
  ``~/.cache/torch/hub``), ``load_state_dict_from_url`` (``checkpoints/`` + the URL's last part) and
  ``HASH_REGEX = -([a-f0-9]*)\\.``: leading digits of the sha256, compared only while downloading.
  ``torch.utils.model_zoo.load_url`` is the same function since torch 1.1; torchvision calls it.
* keras: ``keras/src/utils/file_utils.py`` ``get_file`` (``<home>/<cache_subdir>/<fname>``) and
  ``keras/src/backend/config.py`` (``$KERAS_HOME``, else ``~/.keras``, else ``/tmp/.keras``);
  keras.applications pass ``cache_subdir="models"``.
* insightface: ``insightface/utils/storage.py`` — ``~/.insightface/models/NAME`` is taken for
  complete when the folder exists, so a half unpacked one stays broken for ever; here it appears in
  one rename. ``antelopev2.zip`` holds one folder of its own name more, which the library then does
  not look into (https://github.com/deepinsight/insightface/issues/2766).
* huggingface_hub: ``file_download.py`` — ``models--ORG--NAME/{blobs/ETAG, refs/REVISION,
  snapshots/COMMIT/PATH → ../../blobs/ETAG}``; ``constants.py`` — ``$HF_HUB_CACHE``,
  ``$HUGGINGFACE_HUB_CACHE``, ``$HF_HOME/hub``, ``$XDG_CACHE_HOME/huggingface/hub``.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from cuready._util import expand_user, one_line, write_atomically
from cuready.errors import InputError
from cuready.mirrors.net.cache import ELSEWHERE, Cache, disk_error, hash_file
from cuready.mirrors.urls import split_url

__all__ = [
    "HuggingFaceFile",
    "check_pack",
    "checked_name",
    "expected_prefix",
    "file_name",
    "huggingface_cache",
    "insightface_home",
    "keras_home",
    "parse_huggingface",
    "place_huggingface",
    "place_insightface",
    "torch_hub_checkpoints",
]

_TORCH_HASH = re.compile(r"-([a-f0-9]*)\.")  # torch/hub.py, HASH_REGEX
_DATE = re.compile(r"(19|20)\d{2}(0[1-9]|1[0-2])([0-2]\d|3[01])\Z")
_LONGEST = 240  # bytes: file systems have 255, and names of temporary files are made from it
_COMMIT = re.compile(r"[0-9a-f]{40}\Z")


def file_name(url: str) -> str:
    """The last part of the URL's path, as torch, torchvision and keras name their files."""
    name = unquote(PurePosixPath(split_url(url).path).name)
    if not name:
        raise InputError(f"the URL names no file: {url}", hint="name it with --name")
    return name


def checked_name(name: str) -> str:
    """``name`` when it is one of a file or folder, and no way to another one. Raises InputError."""
    if name in ("", ".", "..") or not name.isprintable() or any(mark in name for mark in "/\\"):
        raise InputError(f"not a file name: {name!r}", hint="name it with --name")
    if len(os.fsencode(name)) > _LONGEST:
        raise InputError(f"the name is too long: {one_line(name, 60)}", hint="name it with --name")
    return name


def expected_prefix(name: str) -> str:
    """Leading sha256 digits that torch's naming puts into ``name``; empty when there are none.

    A date such as ``-20211121.`` matches torch's pattern too; it is not taken for a hash.
    """
    match = _TORCH_HASH.search(name)
    digits = match[1] if match else ""
    return digits if len(digits) >= 8 and not _DATE.match(digits) else ""


def torch_hub_checkpoints(environ: Mapping[str, str] | None = None) -> Path:
    """``torch.hub.get_dir() + "/checkpoints"``."""
    env = os.environ if environ is None else environ
    cache = env.get("XDG_CACHE_HOME") or "~/.cache"
    home = env.get("TORCH_HOME") or str(Path(cache) / "torch")
    return expand_user(home) / "hub" / "checkpoints"


def keras_home(environ: Mapping[str, str] | None = None) -> Path:
    """Keras' own folder: ``$KERAS_HOME``, else ``~/.keras``, else ``/tmp/.keras``.

    Keras 2 (``tf.keras``) knows no KERAS_HOME and always uses ``~/.keras``.
    """
    env = os.environ if environ is None else environ
    if "KERAS_HOME" in env:
        return expand_user(env["KERAS_HOME"])
    home = expand_user("~")
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"  # noqa: S108 - as keras


def insightface_home() -> Path:
    """``insightface.utils.storage``: the root that every function of it has as default."""
    return expand_user("~/.insightface")


def huggingface_cache(environ: Mapping[str, str] | None = None) -> Path:
    """``huggingface_hub.constants.HF_HUB_CACHE``."""
    env = os.environ if environ is None else environ
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if env.get(name):
            return expand_user(os.path.expandvars(env[name]))
    cache = env.get("XDG_CACHE_HOME") or "~/.cache"
    home = env.get("HF_HOME") or str(Path(cache) / "huggingface")
    return expand_user(os.path.expandvars(home)) / "hub"


# --- Hugging Face ------------------------------------------------------------------------------


@dataclass(frozen=True)
class HuggingFaceFile:
    """A file of a repository at a revision. ``repo_type`` is model, dataset or space."""

    repo_id: str
    revision: str
    path: str
    repo_type: str = "model"

    @property
    def folder(self) -> str:
        """``models--ORG--NAME`` (file_download.py, ``repo_folder_name``)."""
        return "--".join([f"{self.repo_type}s", *self.repo_id.split("/")])

    @property
    def is_commit(self) -> bool:
        """The revision is a commit and not a branch or tag."""
        return bool(_COMMIT.match(self.revision))


def parse_huggingface(url: str) -> HuggingFaceFile | None:
    """``https://HOST/[datasets/]ORG/NAME/resolve/REVISION/PATH`` in parts, or None."""
    parts = [unquote(part) for part in split_url(url).path.strip("/").split("/")]
    repo_type = "model"
    if parts and parts[0] in ("datasets", "spaces"):
        repo_type = parts.pop(0)[:-1]
    for verb in ("resolve", "blob", "raw"):
        if verb in parts[1:3]:
            at = parts.index(verb, 1)
            repo, rest = parts[:at], parts[at + 1 :]
            if len(rest) >= 2 and all(map(_stays_below, (*repo, *rest))):
                return HuggingFaceFile("/".join(repo), rest[0], "/".join(rest[1:]), repo_type)
    return None


def _stays_below(part: str) -> bool:
    """A part of a URL leads down only: ``%2F`` in it was a slash (``refs%2Fpr%2F1`` is right)."""
    names = part.split("/")
    return part.isprintable() and "\\" not in part and not {"", ".", ".."}.intersection(names)


def place_huggingface(
    cache: Cache, sha256: str, file: HuggingFaceFile, *, commit: str, etag: str, root: Path
) -> Path:
    """Put a cached file where ``huggingface_hub`` finds it offline; returns the path in snapshots/.

    The blob comes first, the snapshot's link next and the reference last, so that whoever looks in
    between finds nothing rather than half. ``etag`` is without quotes, as in blobs/.
    """
    if not re.fullmatch(r"[A-Za-z0-9_.+-]{1,128}", etag) or not _COMMIT.match(commit):
        raise InputError(f"the server's ETag or commit cannot be used: {etag!r}, {commit!r}")
    storage = root / file.folder
    blob = storage / "blobs" / etag
    pointer = storage / "snapshots" / commit / file.path
    try:
        whole = blob.is_file() and hash_file(blob) == sha256
    except OSError as error:
        raise disk_error(error, blob, remedy=ELSEWHERE) from error
    if not whole:  # not there, or cut short by whoever put it there
        cache.place(sha256, blob)
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(blob, pointer)
        if not file.is_commit:
            reference = storage / "refs" / file.revision
            reference.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(reference, commit.encode())
    except OSError as error:
        raise disk_error(error, pointer.parent, remedy=ELSEWHERE) from error
    return pointer


def _link_or_copy(blob: Path, pointer: Path) -> None:
    """A relative symbolic link, or a copy where the disk has none (as huggingface_hub does)."""
    temporary = pointer.with_name(f".{pointer.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:
        shutil.copyfile(blob, temporary)
    temporary.replace(pointer)


# --- insightface -------------------------------------------------------------------------------


def check_pack(target: Path, *, replace: bool) -> None:
    """See that a pack may be unpacked to ``target``. Raises InputError when one is there."""
    if target.exists() and not replace:
        raise InputError(
            f"{target} is there already, and insightface takes it for complete",
            hint="--force unpacks it anew",
        )


def place_insightface(archive: Path, name: str, *, root: Path, replace: bool = False) -> Path:
    """Unpack a model pack into ``root/models/NAME``; the folder appears whole or not at all.

    Raises InputError when the archive is no model pack or the folder is there already and
    ``replace`` is not given.
    """
    target = root / "models" / checked_name(name)
    check_pack(target, replace=replace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as folder:
            unpacked = Path(folder) / "new"
            _unpack(archive, unpacked, name)
            inner = _pack_folder(unpacked, name)
            old = Path(folder) / "old"
            try:
                if target.exists():
                    target.replace(old)
                inner.replace(target)
            except BaseException:  # what is left in ``folder`` goes with it
                if old.exists() and not target.exists():
                    old.replace(target)
                raise
    except OSError as error:
        raise disk_error(error, target.parent, remedy=ELSEWHERE) from error
    return target


# What zipfile raises for an archive that is none, is damaged, encrypted (RuntimeError), or packed
# in a way that it does not know (NotImplementedError).
_NOT_UNPACKED = (
    zipfile.BadZipFile, RuntimeError, ValueError, EOFError, zlib.error, lzma.LZMAError
)  # fmt: skip


def _unpack(archive: Path, folder: Path, name: str) -> None:
    """Every member below ``folder``; a name that leads out of it is refused."""
    try:
        with zipfile.ZipFile(archive) as pack:
            for member in pack.infolist():
                parts = PurePosixPath(member.filename.replace("\\", "/")).parts
                if ".." in parts or PurePosixPath(member.filename).is_absolute():
                    raise InputError(
                        f"the pack {name} holds a path that leads out: {member.filename}"
                    )
            folder.mkdir()
            pack.extractall(folder)
    except _NOT_UNPACKED as error:
        raise InputError(f"the pack {name} cannot be unpacked: {one_line(error)}") from error


def _pack_folder(folder: Path, name: str) -> Path:
    """The folder with the ``.onnx`` files: the top, or the only folder in it."""
    if any(folder.glob("*.onnx")):
        return folder
    inner = [path for path in folder.iterdir() if path.is_dir() and any(path.glob("*.onnx"))]
    if len(inner) != 1:
        raise InputError(f"the pack {name} holds no .onnx model: not one of insightface")
    return inner[0]

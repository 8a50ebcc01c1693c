"""`cuready weights fetch` into the caches of torch, keras, insightface and huggingface_hub."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.mirrors_net.net_support import digest
from tests.integration.mirrors_net.servers import (
    Behaviour,
    Good,
    Handler,
    MirrorFarm,
    Status,
    Truncated,
)

from cuready.cli.main import main
from cuready.mirrors.net.cache import Cache

DATA = b"\x80\x02weights" + bytes(range(256)) * 400
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, and no setting of the machine's."""
    for name in (
        "TORCH_HOME",
        "KERAS_HOME",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_ENDPOINT",
        "HF_TOKEN",
        "XDG_CACHE_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CUREADY_CACHE_DIR", str(tmp_path / "cuready"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str, code: int = 0) -> dict[str, Any]:
        assert main(["weights", "fetch", *arguments, "--format", "json"]) == code
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return call


def torch_name(data: bytes) -> str:
    return f"resnet18-{digest(data)[:8]}.pth"


@pytest.mark.parametrize("target", ["torch-hub", "torchvision"])
def test_torch_finds_the_file_under_the_urls_name_in_checkpoints(
    farm: MirrorFarm, home: Path, run: Run, target: str
) -> None:
    name = torch_name(DATA)
    url = farm.add(Good({name: DATA})).url(name, "models")
    file = run(url, "--for", target)["files"][0]
    assert file["path"] == str(home / ".cache/torch/hub/checkpoints" / name)
    assert Path(file["path"]).read_bytes() == DATA
    assert file["verified"] == "sha256-prefix"


@pytest.mark.parametrize(
    ("variable", "folder"),
    [("TORCH_HOME", "hub/checkpoints"), ("XDG_CACHE_HOME", "torch/hub/checkpoints")],
)
def test_torchs_variables_are_honoured(
    farm: MirrorFarm,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    folder: str,
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    name = torch_name(DATA)
    file = run(farm.add(Good({name: DATA})).url(name), "--for", "torch-hub")["files"][0]
    assert Path(file["path"]) == tmp_path / "elsewhere" / folder / name


def test_a_torch_name_whose_hash_does_not_fit_is_refused_and_nothing_is_placed(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    url = farm.add(Good({"resnet18-deadbeef.pth": DATA})).url("resnet18-deadbeef.pth")
    error = run(url, "--for", "torch-hub", code=1)["error"]
    assert error["details"]["attempts"][0]["cause"] == "sha256-mismatch"
    assert not (home / ".cache/torch").exists()


def test_a_date_in_a_torch_name_is_no_hash(farm: MirrorFarm, run: Run) -> None:
    url = farm.add(Good({"yolox-20211121.pth": DATA})).url("yolox-20211121.pth")
    assert run(url, "--for", "torch-hub")["files"][0]["verified"] == "first-use"


def test_keras_finds_the_file_in_models(farm: MirrorFarm, home: Path, run: Run) -> None:
    url = farm.add(Good({"w.h5": DATA})).url("w.h5")
    assert run(url, "--for", "keras")["files"][0]["path"] == str(home / ".keras/models/w.h5")


def test_keras_home_and_subdir_are_honoured(
    farm: MirrorFarm, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "k"))
    url = farm.add(Good({"w.h5": DATA})).url("w.h5")
    file = run(url, "--for", "keras", "--subdir", "datasets")["files"][0]
    assert Path(file["path"]) == tmp_path / "k/datasets/w.h5"


def test_a_folder_is_a_target(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    url = farm.add(Good({"a b.bin": DATA, "a%20b.bin": DATA})).url("a%20b.bin")
    file = run(url, "--for", str(tmp_path / "own"), "--sha256", digest(DATA))["files"][0]
    assert Path(file["path"]) == tmp_path / "own" / "a b.bin"
    assert file["verified"] == "sha256"


# --- insightface ---------------------------------------------------------------------------------


def pack(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"onnx")
    return buffer.getvalue()


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "antelopev2's nested folder"])
def test_an_insightface_pack_is_unpacked_where_the_real_library_takes_it_for_available(
    farm: MirrorFarm,
    home: Path,
    run: Run,
    pypi_wheel: Callable[..., Path],
    tmp_path: Path,
    nested: bool,
) -> None:
    prefix = "buffalo_t/" if nested else ""
    data = pack(f"{prefix}det.onnx", f"{prefix}rec.onnx")
    url = farm.add(Good({"buffalo_t.zip": data})).url("buffalo_t.zip")
    folder = Path(run(url, "--for", "insightface")["files"][0]["path"])
    assert sorted(p.name for p in folder.iterdir()) == ["det.onnx", "rec.onnx"]

    with zipfile.ZipFile(pypi_wheel("insightface==2.1")) as wheel:
        wheel.extractall(tmp_path / "lib")
    # The package's own __init__ needs onnxruntime; its storage module does not.
    program = (
        "import sys, types\n"
        "for name in ('insightface', 'insightface.utils'):\n"
        "    module = types.ModuleType(name)\n"
        f"    module.__path__ = [{str(tmp_path / 'lib')!r} + '/' + name.replace('.', '/')]\n"
        "    sys.modules[name] = module\n"
        "stub = types.ModuleType('insightface.utils.download')\n"
        "def download_file(*a, **k): raise SystemExit('it would download')\n"
        "stub.download_file = download_file\n"
        "sys.modules['insightface.utils.download'] = stub\n"
        "from insightface.utils.storage import ensure_available\n"
        "print(ensure_available('models', 'buffalo_t'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.strip() == str(folder), done.stderr


def test_an_insightface_pack_that_is_there_is_not_overwritten_without_force(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    url = farm.add(Good({"p.zip": pack("a.onnx")})).url("p.zip")
    (home / ".insightface/models/p").mkdir(parents=True)
    assert "already" in run(url, "--for", "insightface", code=2)["error"]["message"]
    run(url, "--for", "insightface", "--force")
    assert [p.name for p in (home / ".insightface/models").iterdir()] == ["p"]


@pytest.mark.parametrize(
    "data", [pack("../../evil.onnx"), pack("readme.txt"), b"PK\x03\x04 no zip"]
)
def test_a_bad_pack_is_refused_and_leaves_nothing(
    farm: MirrorFarm, home: Path, run: Run, data: bytes
) -> None:
    url = farm.add(Good({"bad.zip": data})).url("bad.zip")
    run(url, "--for", "insightface", code=2)
    assert list((home / ".insightface/models").iterdir()) == []


# --- Hugging Face --------------------------------------------------------------------------------


class Hub(Behaviour):
    """As huggingface.co: headers on the first answer, then a redirect to the storage."""

    def __init__(self, data: bytes, *, lfs: bool = True, storage: str = "") -> None:
        super().__init__()
        self.data, self.lfs, self.storage = data, lfs, storage

    def answer(self, handler: Handler, exchange: Any) -> None:
        if handler.name == "blob":
            self.give(handler, self.data)
            return
        headers = {"X_Repo_Commit": COMMIT}
        if self.lfs:
            headers |= {
                "X_Linked_Etag": f'"{digest(self.data)}"',
                "X_Linked_Size": str(len(self.data)),
            }
            handler.reply(302, Location="/store/blob", **headers)
            return
        git = hashlib.sha1(b"blob %d\0" % len(self.data) + self.data).hexdigest()
        status, body, extra = handler.wanted(self.data)
        handler.reply(status, body, ETag=f'"{git}"', **headers, **extra)


REPO_URL = "https://huggingface.co/org/name/resolve/main/sub/model.safetensors"


@pytest.mark.parametrize("lfs", [True, False], ids=["large file", "small file"])
def test_the_real_huggingface_hub_finds_the_file_offline(
    farm: MirrorFarm, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, lfs: bool
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(DATA, lfs=lfs)).base)
    file = run(REPO_URL)["files"][0]
    assert file["target"] == "huggingface"
    assert file["verified"] == ("sha256" if lfs else "first-use")
    program = (
        "from huggingface_hub import hf_hub_download, try_to_load_from_cache\n"
        "print(try_to_load_from_cache('org/name', 'sub/model.safetensors'))\n"
        "print(hf_hub_download('org/name', 'sub/model.safetensors', local_files_only=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == [file["path"]] * 2, done.stderr
    assert Path(file["path"]).read_bytes() == DATA
    assert Path(file["path"]).is_symlink()


def test_hf_hub_cache_is_honoured_and_a_commit_writes_no_reference(
    farm: MirrorFarm, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(DATA)).base)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    run(REPO_URL.replace("/main/", f"/{COMMIT}/"))
    storage = tmp_path / "hub/models--org--name"
    assert (storage / "snapshots" / COMMIT / "sub/model.safetensors").read_bytes() == DATA
    assert not (storage / "refs").exists()


def test_a_mirror_that_fails_is_named_and_the_next_one_is_used(
    farm: MirrorFarm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(DATA)).base)
    broken = farm.add(Status(404))
    file = run(REPO_URL, "--mirror", broken.base)["files"][0]
    assert [a["cause"] for a in file["download"]["attempts"]] == ["http-404", None]


def test_a_token_goes_to_the_endpoint_and_not_to_a_mirror(
    farm: MirrorFarm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, mirror = farm.add(Hub(DATA)), farm.add(Status(404))
    monkeypatch.setenv("HF_ENDPOINT", endpoint.base)
    monkeypatch.setenv("HF_TOKEN", "secret")
    run(REPO_URL, "--mirror", mirror.base)
    assert all(e.headers.get("authorization") == "Bearer secret" for e in endpoint.log)
    assert all("authorization" not in e.headers for e in mirror.log)


# --- lists, local files, bad input ---------------------------------------------------------------


def test_a_list_of_urls_with_digests(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    mirror = farm.add(Good({"a.bin": DATA, "b.bin": DATA[:500]}))
    text = f"# models\n{mirror.url('a.bin')} sha256={digest(DATA)}\n\n{mirror.url('b.bin')}\n"
    (tmp_path / "list.txt").write_text(text)
    files = run(str(tmp_path / "list.txt"), "--for", str(tmp_path / "out"))["files"]
    assert [f["verified"] for f in files] == ["sha256", "first-use"]
    assert (tmp_path / "out/b.bin").read_bytes() == DATA[:500]


def test_nothing_of_a_list_is_placed_when_one_file_fails(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    mirror = farm.add(Good({"a.bin": DATA}))
    (tmp_path / "list.txt").write_text(f"{mirror.url('a.bin')}\n{mirror.url('gone.bin')}\n")
    run(str(tmp_path / "list.txt"), "--for", str(tmp_path / "out"), "--jobs", "1", code=1)
    assert not (tmp_path / "out").exists()


def test_a_local_file_is_placed_and_checked(tmp_path: Path, home: Path, run: Run) -> None:
    local = tmp_path / torch_name(DATA)
    local.write_bytes(DATA)
    file = run(str(local), "--for", "torch-hub")["files"][0]
    assert file["path"] == str(home / ".cache/torch/hub/checkpoints" / local.name)
    local.write_bytes(DATA + b"!")
    assert "sha256" in run(str(local), "--for", "torch-hub", code=1)["error"]["message"]


def test_a_second_run_fetches_nothing(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    mirror = farm.add(Good({"a.bin": DATA}))
    for _ in range(2):
        file = run(mirror.url("a.bin"), "--for", str(tmp_path / "out"))["files"][0]
    assert file["download"]["cached"]
    assert len(mirror.gets("a.bin")) == 1


def test_what_a_failed_run_left_is_resumed_by_the_next(
    farm: MirrorFarm, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\x80" + bytes(3_000_000)
    mirror = farm.add(Truncated({"a.bin": data}))
    arguments = (mirror.url("a.bin"), "--for", str(tmp_path / "out"), "--sha256", digest(data))
    run(*arguments, code=1)
    mirror.behaviour, mirror.sent = Good({"a.bin": data}), 0
    file = run(*arguments)["files"][0]
    assert file["download"]["resumed_from"] == len(data) // 2
    assert mirror.sent == len(data) - len(data) // 2


def test_a_target_that_cannot_be_written_is_named_with_what_to_do(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "file").write_text("in the way")
    url = farm.add(Good({"a.bin": DATA})).url("a.bin")
    error = run(url, "--for", str(tmp_path / "file" / "x"), code=3)["error"]
    assert str(tmp_path / "file") in error["message"]
    assert "choose another folder" in error["hint"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nosuchfile.pth",), "neither a URL nor a file"),
        (("https://example.invalid/x.pth",), "for whom"),
        (("https://example.invalid/x.pth", "--for", "caffe"), "not a framework"),
        (("https://example.invalid/x.pth", "--for", "torch-hub", "--sha256", "12"), "not a sha256"),
        (("https://example.invalid/", "--for", "torch-hub"), "names no file"),
        (("https://huggingface.co/org/name",), "not a file of a Hugging Face"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    assert message in run(*arguments, code=2)["error"]["message"]


@pytest.mark.parametrize(
    "path",
    ["main/..%2F..%2F..%2F..%2Fevil.bin", "..%2F..%2F..%2Fevil/x.bin", "main/a%5Cb", "main/a%00b"],
)
def test_a_url_of_hugging_face_that_leads_out_of_the_cache_is_refused(
    farm: MirrorFarm, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(DATA)).base)
    error = run(f"https://huggingface.co/org/name/resolve/{path}", code=2)["error"]
    assert "not a file of a Hugging Face repository" in error["message"]
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("arguments", [("..zip",), ("...zip",), ("a.zip", "--name", "../x")])
def test_a_pack_without_a_name_of_its_own_takes_no_other_pack_away(
    farm: MirrorFarm, home: Path, run: Run, arguments: tuple[str, ...]
) -> None:
    kept = home / ".insightface/models/other/kept.onnx"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"onnx")
    name, *more = arguments
    url = farm.add(Good({name: pack("a.onnx")})).url(name)
    error = run(url, "--for", "insightface", "--force", *more, code=2)["error"]
    assert "not a file name" in error["message"]
    assert kept.read_bytes() == b"onnx"


@pytest.mark.parametrize(("flags", "method"), [(1, 0), (0, 97)])
def test_a_pack_that_zipfile_cannot_unpack_is_refused_in_one_line(
    farm: MirrorFarm, home: Path, run: Run, flags: int, method: int
) -> None:
    """Encrypted, and packed by WavPack (APPNOTE.TXT, 4.4.5)."""
    data = bytearray(pack("a.onnx"))
    for at in (6, data.find(b"PK\1\2") + 8):
        data[at] |= flags
        data[at + 2] = method
    url = farm.add(Good({"a.zip": bytes(data)})).url("a.zip")
    error = run(url, "--for", "insightface", code=2)["error"]
    assert "the pack a cannot be unpacked" in error["message"]
    assert list((home / ".insightface/models").iterdir()) == []


def test_a_name_with_a_null_character_is_refused(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    url = farm.add(Good({})).url("x%00.pth")
    assert "not a file name" in run(url, "--for", str(tmp_path), code=2)["error"]["message"]


def test_a_mirror_is_asked_for_a_file_of_any_host(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    mirror = farm.add(Good({"a.pth": DATA}))
    origin = farm.add(Status(500))
    base = mirror.url("a.pth", "w").removesuffix("w/a.pth")
    file = run(origin.url("a.pth", "w"), "--for", str(tmp_path / "t"), "--mirror", base)["files"][0]
    assert Path(file["path"]).read_bytes() == DATA
    assert file["download"]["mirror"] == base.removeprefix("http://").rstrip("/")


def test_two_files_for_one_place_are_refused(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    server = farm.add(Good({"a.pth": DATA}))
    target = tmp_path / "t"
    urls = (server.url("a.pth", "one"), server.url("a.pth", "two"))
    error = run(*urls, "--for", str(target), code=2)["error"]
    assert "would both be" in error["message"] and not target.exists()


def test_a_blob_that_was_cut_short_is_put_back(
    farm: MirrorFarm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(DATA)).base)
    blob = Path(run(REPO_URL)["files"][0]["path"]).resolve()
    blob.write_bytes(DATA[:100])
    assert Path(run(REPO_URL)["files"][0]["path"]).read_bytes() == DATA


@pytest.mark.parametrize("target", ["./there", "huggingface", "insightface", "torch-hub"])
def test_an_address_that_is_none_is_refused_for_every_target(run: Run, target: str) -> None:
    assert run("http://[::1", "--for", target, code=2)["error"]["type"] == "InputError"


# --- empty files -----------------------------------------------------------------------------------

EMPTY = digest(b"")


def test_an_empty_answer_is_no_weights_and_the_next_mirror_is_asked(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    empty, good = farm.add(Good({"a.pth": b""})), farm.add(Good({"a.pth": DATA}))
    target = tmp_path / "t"
    error = run(empty.url("a.pth"), "--for", str(target), code=1)["error"]
    (attempt,) = error["details"]["attempts"]
    assert attempt["cause"] == "wrong-content" and "empty" in attempt["detail"]
    assert not target.exists()
    base = good.url("a.pth").removesuffix("a.pth")
    file = run(empty.url("a.pth"), "--for", str(target), "--mirror", base)["files"][0]
    assert file["size"] == len(DATA)


@pytest.mark.parametrize("name", ["a.pth", f"a-{EMPTY[:8]}.pth"], ids=["--sha256", "its name"])
def test_an_empty_file_is_right_where_a_checksum_says_so(
    farm: MirrorFarm, home: Path, run: Run, name: str, tmp_path: Path
) -> None:
    more = () if EMPTY[:8] in name else ("--sha256", EMPTY)
    file = run(farm.add(Good({name: b""})).url(name), "--for", "torch-hub", *more)["files"][0]
    assert file["size"] == 0 and Path(file["path"]).read_bytes() == b""
    local = tmp_path / name
    local.write_bytes(b"")
    assert run(str(local), "--for", "torch-hub", *more)["files"][0]["size"] == 0


def test_an_empty_local_file_is_refused(tmp_path: Path, run: Run) -> None:
    local = tmp_path / "w.pth"
    local.write_bytes(b"")
    error = run(str(local), "--for", str(tmp_path / "t"), code=1)["error"]
    assert str(local) in error["message"] and "empty" in error["message"]
    assert "--sha256" in error["hint"] and not (tmp_path / "t").exists()


def test_what_an_older_cuready_recorded_of_an_empty_answer_is_not_believed(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    mirror = farm.add(Good({"a.pth": b""}))
    cache = Cache()
    cache.prepare()
    part = cache.partial_dir / "x"
    part.write_bytes(b"")
    cache.publish(part, EMPTY)
    cache.remember(mirror.url("a.pth"), EMPTY, 0)
    run(mirror.url("a.pth"), "--for", str(tmp_path / "t"), code=1)
    mirror.behaviour = Good({"a.pth": DATA})
    file = run(mirror.url("a.pth"), "--for", str(tmp_path / "t"))["files"][0]
    assert file["size"] == len(DATA) and file["verified"] == "first-use"


@pytest.mark.parametrize("lfs", [True, False], ids=["large file", "small file"])
def test_an_empty_file_of_hugging_face_is_right_where_its_etag_says_so(
    farm: MirrorFarm, run: Run, monkeypatch: pytest.MonkeyPatch, lfs: bool
) -> None:
    """Repositories have files such as ``.gitkeep``."""
    monkeypatch.setenv("HF_ENDPOINT", farm.add(Hub(b"", lfs=lfs)).base)
    assert run(REPO_URL)["files"][0]["size"] == 0


def test_an_empty_answer_of_hugging_face_is_refused_where_its_etag_says_nothing(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    class Broken(Hub):
        def answer(self, handler: Handler, exchange: Any) -> None:
            handler.reply(200, b"", ETag='"123456"', X_Repo_Commit=COMMIT)

    url = f"{farm.add(Broken(b'')).base}/org/name/resolve/main/model.bin"
    error = run(url, "--for", "huggingface", code=1)["error"]
    assert [item["cause"] for item in error["details"]["attempts"]] == ["wrong-content"]
    assert not (home / ".cache/huggingface").exists()


# --- files that are there already -------------------------------------------------------------------


@pytest.mark.parametrize("target", ["./", "keras", "torch-hub"])
def test_a_file_of_somebody_else_is_not_replaced_unasked(
    farm: MirrorFarm,
    tmp_path: Path,
    home: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = {"keras": home / ".keras/models", "torch-hub": home / ".cache/torch/hub/checkpoints"}
    mine = folder.get(target, tmp_path) / "w.bin"
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(b"weeks of training")
    url = farm.add(Good({"w.bin": DATA})).url("w.bin")
    error = run(url, "--for", target, code=2)["error"]
    place = "w.bin" if target == "./" else str(mine)
    assert error["message"].startswith(f"{place} is there already")
    assert "--force" in error["hint"] and "--name" in error["hint"]
    assert mine.read_bytes() == b"weeks of training"
    run(url, "--for", target, "--force")
    assert mine.read_bytes() == DATA


def test_a_known_digest_refuses_before_anything_is_fetched(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    (tmp_path / "w.bin").write_bytes(b"mine")
    mirror = farm.add(Good({"w.bin": DATA}))
    run(mirror.url("w.bin"), "--for", str(tmp_path), "--sha256", digest(DATA), code=2)
    assert mirror.log == []


def test_the_same_content_is_left_as_it_is(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    place = tmp_path / "t" / "w.bin"
    place.parent.mkdir()
    place.write_bytes(DATA)
    place.chmod(0o600)
    before = place.stat()
    url = farm.add(Good({"w.bin": DATA})).url("w.bin")
    for _ in range(2):
        assert run(url, "--for", str(place.parent))["files"][0]["path"] == str(place)
    run(str(place), "--for", str(place.parent))
    after = place.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )


def test_what_cuready_put_there_is_replaced_by_what_the_url_is_now(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    mirror = farm.add(Good({"w.bin": DATA}))
    arguments = (mirror.url("w.bin"), "--for", str(tmp_path / "t"))
    run(*arguments)
    mirror.behaviour = Good({"w.bin": DATA[:500]})
    run(*arguments, "--refresh")
    assert (tmp_path / "t/w.bin").read_bytes() == DATA[:500]


def test_a_file_that_its_own_torch_name_calls_damaged_is_mended(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    name = torch_name(DATA)
    place = home / ".cache/torch/hub/checkpoints" / name
    place.parent.mkdir(parents=True)
    place.write_bytes(DATA[:100])
    run(farm.add(Good({name: DATA})).url(name), "--for", "torch-hub")
    assert place.read_bytes() == DATA


def test_nothing_of_a_list_is_placed_when_one_place_is_taken(
    farm: MirrorFarm, tmp_path: Path, run: Run
) -> None:
    mirror = farm.add(Good({"a.bin": DATA, "b.bin": DATA[:500]}))
    target = tmp_path / "t"
    target.mkdir()
    (target / "b.bin").write_bytes(b"mine")
    error = run(mirror.url("a.bin"), mirror.url("b.bin"), "--for", str(target), code=2)["error"]
    assert str(target / "b.bin") in error["message"]
    assert [path.name for path in target.iterdir()] == ["b.bin"]


@pytest.mark.parametrize("kind", ["folder", "dead link", "link"])
def test_what_is_no_plain_file_is_not_replaced_unasked(
    farm: MirrorFarm, tmp_path: Path, run: Run, kind: str
) -> None:
    target = tmp_path / "t"
    target.mkdir()
    place = target / "w.bin"
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    if kind == "folder":
        place.mkdir()
    else:
        place.symlink_to(other if kind == "link" else tmp_path / "unplugged")
    url = farm.add(Good({"w.bin": DATA})).url("w.bin")
    error = run(url, "--for", str(target), code=2)["error"]
    assert str(place) in error["message"]
    if kind == "folder":
        assert "--force" not in error["hint"]
        run(url, "--for", str(target), "--force", code=2)
        assert place.is_dir()
        return
    run(url, "--for", str(target), "--force")
    assert place.read_bytes() == DATA and not place.is_symlink()
    assert other.read_bytes() == b"mine"


def test_an_insightface_pack_that_is_there_is_told_before_it_is_fetched(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    (home / ".insightface/models/p").mkdir(parents=True)
    mirror = farm.add(Good({"p.zip": pack("a.onnx")}))
    run(mirror.url("p.zip"), "--for", "insightface", code=2)
    assert mirror.log == []


def test_insightface_never_loses_what_is_in_the_place_of_a_pack(
    farm: MirrorFarm, home: Path, run: Run
) -> None:
    """With --force too, a pack that cannot be unpacked leaves the one that is there."""
    kept = home / ".insightface/models/p/kept.onnx"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"onnx")
    url = farm.add(Good({"p.zip": pack("readme.txt")})).url("p.zip")
    run(url, "--for", "insightface", "--force", code=2)
    assert kept.read_bytes() == b"onnx"


def test_a_pack_that_cannot_take_its_place_leaves_the_one_that_is_there(
    farm: MirrorFarm, home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = home / ".insightface/models/p/kept.onnx"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"onnx")
    real = Path.replace

    def replace(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    url = farm.add(Good({"p.zip": pack("a.onnx")})).url("p.zip")
    run(url, "--for", "insightface", "--force", code=3)
    assert kept.read_bytes() == b"onnx"
    assert [path.name for path in kept.parent.parent.iterdir()] == ["p"]


# --- what a sceptic tries ---------------------------------------------------------------------------

URL = "https://example.invalid/x.pth"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((URL, "--for", ""), "--for is empty"),
        ((URL, "--for", "~nosuchuser/x"), "~nosuchuser"),
        ((URL, "--for", "./t", "--sha256", ""), "--sha256 is empty"),
        ((URL, "--for", "./t", "--mirror", ""), "--mirror is empty"),
        ((URL, "--for", "./t", "--mirror", "nonsense"), "not an http or https URL: 'nonsense'"),
        ((URL, "--for", "./t", "--name", ""), "--name is empty"),
        ((URL, "--for", "./t", "--name", "a" * 300), "too long"),
        ((URL, "--for", "./t", "--as", "https://example.invalid/y"), "--as goes with a file"),
        (("here.bin", "--for", "./t", "--as", "nonsense"), "not an http or https URL: 'nonsense'"),
        (("here.bin", "--for", "./t", "--as", ""), "--as is empty"),
        (("here.bin", "--for", "./t", "--sha256", "12"), "not a sha256: '12'"),
        (("here.bin", "--for", "./t", "--sha256", "g" * 64), "not a sha256"),
        ((REPO_URL, "--name", "x"), "--name does not go with huggingface"),
        (("blank.txt", "--for", "./t"), "names no URL"),
        (("comments.txt", "--for", "./t"), "names no URL"),
    ],
)
def test_what_is_empty_or_does_nothing_is_refused_before_anything_is_asked(
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    """An empty value is mostly a variable that is not set: no checksum must not be a good one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.bin").write_bytes(DATA)
    (tmp_path / "blank.txt").write_text(" \n\n")
    (tmp_path / "comments.txt").write_text("# one\n  # two\n")
    assert message in run(*arguments, code=2)["error"]["message"]
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("form", ["{}", "sha256:{}", "sha256={}", " {} ", "SHA256:{}"])
def test_a_digest_is_taken_in_the_forms_that_people_paste(
    tmp_path: Path, run: Run, form: str
) -> None:
    local = tmp_path / "w.bin"
    local.write_bytes(DATA)
    text = form.format(digest(DATA).upper())
    file = run(str(local), "--for", str(tmp_path / "t"), "--sha256", text)["files"][0]
    assert file["verified"] == "sha256"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_that_windows_wrote_is_one(
    farm: MirrorFarm, tmp_path: Path, run: Run, encoding: str
) -> None:
    """Notepad's mark of UTF-8, and what PowerShell's ``>`` writes."""
    mirror = farm.add(Good({"a.bin": DATA}))
    listed = tmp_path / "list.txt"
    listed.write_bytes(f"{mirror.url('a.bin')}\r\n".encode(encoding))
    (file,) = run(str(listed), "--for", str(tmp_path / "t"))["files"]
    assert Path(file["path"]).read_bytes() == DATA


def test_the_scheme_of_a_url_may_be_in_capitals(farm: MirrorFarm, tmp_path: Path, run: Run) -> None:
    url = farm.add(Good({"a.bin": DATA})).url("a.bin").replace("http://", "HTTP://")
    assert run(url, "--for", str(tmp_path / "t"))["files"][0]["size"] == len(DATA)


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_pipe_or_device_in_the_place_is_never_replaced(
    farm: MirrorFarm, tmp_path: Path, run: Run, force: tuple[str, ...]
) -> None:
    place = tmp_path / "w.bin"
    os.mkfifo(place)
    url = farm.add(Good({"w.bin": DATA})).url("w.bin")
    error = run(url, "--for", str(tmp_path), *force, code=2)["error"]
    assert "is no file" in error["message"] and "--force" not in error["hint"]
    assert place.is_fifo()

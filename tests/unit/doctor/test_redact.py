"""Nothing that identifies a person or a machine survives redaction, wherever it stands."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hang import no_hang

from cuready.doctor.redact import GENERIC_HOSTS, GENERIC_USERS, HIDDEN, Identity, Redactor
from cuready.snapshot import Snapshot

ALPHANUMERIC = string.ascii_letters + string.digits
names = st.text(string.ascii_lowercase + string.digits + "_-", min_size=3, max_size=12).filter(
    lambda name: name not in GENERIC_USERS | GENERIC_HOSTS and name.strip("-_")[1:]
    and name[0].isalpha() and name[-1].isalnum()
    # Words of our own placeholders and field names would be found in any redacted document.
    and name not in json.dumps(TEMPLATE, sort_keys=True) and name not in "redacted user host email"
)  # fmt: skip
secrets = st.text(ALPHANUMERIC, min_size=24, max_size=40).map(lambda text: "Zq" + text)
uuids = st.uuids().map(str)
separators = st.sampled_from(["/", " ", ":", "=", ",", "\n", "'", '"', "(", "-", "_", "@"])

TEMPLATE: dict[str, Any] = {
    "schema_version": 1,
    "environment": {},
    "python": {"executable": "", "sys_path": []},
    "config": {"files": [{"tool": "pip", "path": "", "values": {}}], "environment": {}},
    "driver": {"proc_gpu_uuids": {}, "xid_messages": []},
}


@pytest.mark.parametrize("user", ["nvidia", "torch", "python", "lib"])
def test_a_user_called_like_a_package_does_not_blank_the_report(user: str) -> None:
    """Jetson's first user is called nvidia."""
    redactor = Redactor(Identity((user,), (f"/home/{user}",), ()))
    command = f"/home/{user}/env/bin/python -m pip install nvidia-cudnn-cu12 torch /usr/lib"
    assert redactor.text(command) == command.replace(f"/home/{user}", "/home/<user>")


@given(user=names, host=names, secret=secrets, uuid=uuids, before=separators, after=separators)
def test_no_identity_survives(
    user: str, host: str, secret: str, uuid: str, before: str, after: str
) -> None:
    document = json.loads(json.dumps(TEMPLATE))
    document["environment"] = {
        "LD_LIBRARY_PATH": f"/home/{user}/lib:/data/{user}{after}x",
        "HF_TOKEN": secret,
        "PIP_INDEX_URL": f"https://{user}:{secret}@{host}.example/simple?token={secret}",
        "CUDA_VISIBLE_DEVICES": f"GPU-{uuid}",
    }
    document["python"]["executable"] = f"/Users/{user}/env/bin/python"
    document["python"]["sys_path"] = [f"C:\\Users\\{user}\\site", f"text{before}{user}{after}more"]
    document["config"]["files"][0]["path"] = f"/home/{user}/.condarc"
    document["config"]["files"][0]["values"] = {
        "channels": [f"https://{host}/t/{secret}/channel"],
        "proxy_servers": {"https": f"http://{user}:{secret}@{host}:7890"},
        "api_key": secret,
    }
    document["driver"]["proc_gpu_uuids"] = {"0000:65:00.0": f"GPU-{uuid}"}
    document["driver"]["xid_messages"] = [
        f"Xid on {host}{after} Serial Number: {secret} MIG-{uuid}"
    ]
    redactor = Redactor(Identity((user,), (f"/home/{user}",), (host,)))
    text = json.dumps(redactor.document(document), ensure_ascii=False)
    words = text.lower()
    for hidden in (secret.lower(), uuid.lower(), f"/{user}/", f"\\{user}\\"):
        assert hidden not in words
    redacted_paths = redactor.document(document)["python"]["sys_path"]
    assert user not in redacted_paths[1].replace("text", "").replace("more", "")
    assert f"//{host}" not in words
    assert f"@{host}" not in words


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "hf_" + "aB3d" * 8,
        "pypi-AgEIcHlwaS5vcmc" + "x" * 20,
        "nvapi-" + "Ab-9" * 8,
        "sk-proj-" + "x9" * 12,
        "AKIA" + "ABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.s5d8f7g6h5",
    ],
)
def test_tokens_are_known_by_their_shape(token: str) -> None:
    assert Redactor(Identity()).text(f"export X {token} # note") == f"export X {HIDDEN} # note"


def test_a_bearer_header_loses_its_token() -> None:
    assert "abc123" not in Redactor(Identity()).text("Authorization: Bearer abc123def456")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("--my-token = abc, x", "--my-token = <redacted>, x"),
        ("x=--api_key:abc", "x=--api_key:<redacted>"),
        ("a-eyJhbGciOiJIUzI1.eyJzdWIiOiIx.s5d8f7", "a-<redacted>"),
        ("..a.b@example.org. -c@d.e-", "<email>. <email>-"),
        ("a.b+c://u:p@h 7z://u@h", "a.b+c://<redacted>@h 7z://<redacted>@h"),
        ("x?my_token=a&b=c&sig=d", "x?my_token=<redacted>&b=c&sig=<redacted>"),
        ("a@b c=d e://f ?g=h i.j.k", "a@b c=d e://f ?g=h i.j.k"),
    ],
)
def test_a_word_is_judged_as_a_whole(text: str, left: str) -> None:
    assert Redactor(Identity()).text(text) == left


@pytest.mark.parametrize(
    "piece",
    ["-N", "-token", "token", "token-", "?token", "&token-", "a", "a.", "a_", "a@a.", "a@a-", "&a=",
     "-eyJ", "-eyJaaaaaaaa", "serial ", "GPU-", "GPU-1234-", "sk-", "a://", "/home/", "/home/a"],
)  # fmt: skip
def test_time_does_not_grow_with_the_square_of_a_word(piece: str) -> None:
    redactor = Redactor(Identity(("alice",), ("/home/alice",), ("pc",)))
    with no_hang():
        assert redactor.text(piece * (150_000 // len(piece)))


def test_each_uuid_of_a_long_list_gets_a_placeholder_of_its_own() -> None:
    uuids = [f"GPU-{number:08x}" for number in range(20_000)]
    with no_hang():
        left = Redactor(Identity()).text(" ".join(uuids))
    assert len(set(left.split())) == len(uuids)


def test_the_same_uuid_keeps_one_placeholder_so_that_a_snapshot_still_replays() -> None:
    uuid = "8932f937-d72c-4106-c12f-20bd9faed9f6"
    redactor = Redactor(Identity())
    full = redactor.text(f"GPU-{uuid}")
    assert redactor.text("GPU-8932f937") == full
    assert redactor.text(full) == full
    assert redactor.text(f"a GPU-{uuid}, b GPU-{uuid}") == f"a {full}, b {full}"
    assert redactor.text("GPU-11111111-d72c-4106-c12f-20bd9faed9f6") != full


def test_versions_paths_and_product_names_stay() -> None:
    kept = (
        "/usr/lib/x86_64-linux-gnu/libcuda.so.580.159.04 torch 2.11.0+cu130 NVIDIA H200 sm_90 "
        "0000:65:00.0 libcudnn.so.9 /usr/local/cuda-12.4/bin/nvcc author: somebody"
    )
    assert Redactor(Identity(("jane",), ("/home/jane",), ("box",))).text(kept) == kept


def test_generic_names_are_no_identity() -> None:
    redactor = Redactor(Identity(("root",), ("/root",), ("localhost",)))
    assert redactor.text("/root/.cache on localhost") == "/root/.cache on localhost"


def test_a_redacted_snapshot_is_still_a_snapshot() -> None:
    snapshot = Snapshot.from_dict({"schema_version": 1, "environment": {"A": "/home/jane/x"}})
    redacted = Redactor(Identity(("jane",))).document(snapshot.to_dict())
    assert Snapshot.from_dict(redacted).environment == {"A": "/home/<user>/x"}


def test_words_before_a_secret_do_not_hide_it() -> None:
    for text in (
        "--api-token=hush", "-ihttps://me:hush@host/simple", "x: token: hush", "?a=1&my-key_2=hush",
        "a.token = Bearer hush", "1http://hush@host/", "password-token:hush", "-hush@example.org",
    ):  # fmt: skip
        assert "hush" not in Redactor(Identity()).text(text)

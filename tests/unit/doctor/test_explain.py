"""Every rule matches the real messages that it was written for, and not the ones beside them."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz.targets._support import bounded_reading
from tests.hang import no_hang

from cuready.cli import explain as command
from cuready.doctor import catalogue
from cuready.doctor.engine import Diagnosis
from cuready.doctor.explain import HEAD, TAIL, Rule, explain_id, explain_text, rules
from cuready.doctor.finding import Finding, Severity

ORDINARY = """
Collecting torch
  Downloading torch-2.11.0-cp312-cp312-manylinux_2_28_x86_64.whl (780.1 MB)
Installing collected packages: nvidia-cudnn-cu13, torch
Successfully installed torch-2.11.0
Epoch 1/10 loss 0.423 lr 1e-3 CUDA 13.0 device cuda:0
ImportError: cannot import name 'foo' from 'bar'
ValueError: operands could not be broadcast together with shapes (3,) (4,)
Traceback (most recent call last):
"""

MESSAGES = [
    pytest.param(rule, message, id=f"{rule.key}-{number}")
    for rule in rules()
    for number, message in enumerate(rule.messages)
]


@pytest.mark.parametrize(("rule", "message"), MESSAGES)
def test_a_real_message_gives_its_own_cause(rule: Rule, message: str) -> None:
    answers = explain_text(f"{ORDINARY}\n{message}\nmore text after it\n")
    assert answers, message
    first = answers[0]
    assert first.id == (rule.ids[0] if rule.ids else rule.key)
    assert first.cause and first.check and first.fix and first.links
    assert first.matched and first.matched.splitlines()[0] in message


@pytest.mark.parametrize("rule", [rule for rule in rules() if rule.near], ids=lambda rule: rule.key)
def test_a_message_close_to_it_is_another_matter(rule: Rule) -> None:
    for text in rule.near:
        assert rule.pattern.search(text) is None, text


def test_ordinary_output_is_not_explained() -> None:
    assert explain_text(ORDINARY) == ()


def test_rules_name_ids_of_the_catalogue_and_each_other_key_is_complete() -> None:
    seen = set()
    for rule in rules():
        assert set(rule.ids) <= set(catalogue.IDS), rule.key
        if not rule.ids:
            assert rule.key not in seen and rule.key.islower()
            assert rule.title and rule.cause and rule.check and rule.fix and rule.links
            seen.add(rule.key)


def test_no_pattern_is_slow_on_a_long_hostile_log() -> None:
    """Quadratic patterns show as minutes here; the suite's own time limit is the check."""
    for text in ("a" * 300_000, "libcu" * 60_000, "The \n" * 60_000, "(from versions" * 20_000):
        assert explain_text(text) == ()


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.key)
def test_no_pattern_looks_for_its_end_all_through_a_log(rule: Rule) -> None:
    """A message that breaks off, over and over: each beginning may cost a bounded look ahead."""
    for message in rule.messages:
        line = message.split("\n")[0]
        ends = [place for place, sign in enumerate(line, 1) if not sign.isalnum()]
        with no_hang():
            for end in ends[:: max(1, len(ends) // 12)]:
                rule.pattern.search(line[:end] * (300_000 // end))


HEALTHY = """
bin /opt/env/lib/python3.10/site-packages/bitsandbytes/libbitsandbytes_cuda118.so
UserWarning: the operator 'aten::nonzero' is not supported on the MPS backend. Falling back to cpu.
Applied providers: ['CPUExecutionProvider'], with options: {'CPUExecutionProvider': {}}
adb: No devices were found
AttributeError: module 'torch' has no attribute 'float8_e4m3fn'
"""


def test_lines_that_only_look_like_a_fault_are_not_explained() -> None:
    """A wrong answer costs more than none."""
    assert explain_text(HEALTHY) == ()


@pytest.mark.parametrize(
    ("code", "wanted"),
    [(35, "TRT04"), (222, "TRT04"), (34, "DRV14"), (100, "DRV09"), (802, "DRV10"), (803, "DRV02"),
     (804, "DRV13"), (999, "DRV08"), (2, None), (46, None)],
)  # fmt: skip
def test_tensorrt_prints_one_text_for_many_causes(code: int, wanted: str | None) -> None:
    text = f"[TRT] [W] CUDA initialization failure with error: {code}. Please check your CUDA"
    assert [answer.id for answer in explain_text(text)] == ([wanted] if wanted else [])


def test_what_a_message_names_is_told() -> None:
    text = "nvrtc: error: failed to open libnvrtc-builtins.so.13.0."
    assert explain_text(text)[0].details == {"library": "libnvrtc-builtins.so.13.0"}


def test_an_id_is_explained_from_the_catalogue() -> None:
    answer = explain_id("LIB04")
    assert answer.id == "LIB04"
    assert answer.matched == ""


def test_the_cause_that_this_machine_has_goes_first() -> None:
    """Three causes print the message; the one that was found here is the answer."""
    found = Finding("DRV04", Severity.ERROR, "nouveau", "nouveau has the card")
    diagnosis = Diagnosis(findings=(found,), checks=())
    text = rules()[0].messages[0]
    assert explain_text(text)[0].id == "DRV01"
    answer = explain_text(text, diagnosis)[0]
    assert (answer.id, answer.here) == ("DRV04", found)
    assert "DRV01" in answer.alternatives


def test_a_root_cause_found_here_answers_for_its_symptom() -> None:
    found = Finding("DRV01", Severity.ERROR, "no module", "not built", explains=("DRV02",))
    answer = explain_text(
        "Failed to initialize NVML: Driver/library version mismatch",
        Diagnosis(findings=(found,), checks=()),
    )[0]
    assert answer.id == "DRV01"


def test_several_causes_in_one_log_are_all_told_the_most_telling_first() -> None:
    log = (
        "CUDA error: no CUDA-capable device is detected\n"
        "NVRM: The NVIDIA GPU is not supported by open nvidia.ko because of GSP\n"
    )
    assert [answer.id for answer in explain_text(log)] == ["DRV06", "DRV09"]


@pytest.mark.parametrize("check_id", ["SELF07", "self20", "ENV01", "vnd01", "drv02"])
def test_every_id_that_some_command_prints_has_a_page(check_id: str) -> None:
    from cuready.cli import _pages

    found = _pages.entry(check_id)
    assert found is not None
    assert found.id == check_id.upper()
    for text in (found.title, found.symptom, found.cause, found.check, found.fix):
        assert len(text) > 10


def test_the_pages_of_our_environments_are_those_of_their_checks() -> None:
    from cuready.doctor import managed

    assert tuple(catalogue.managed_entries()) == managed.IDS


def test_an_id_that_nobody_gives_has_no_page() -> None:
    from cuready.cli import _pages

    assert _pages.entry("ABC99") is None


LOADER = "ImportError: libcudnn.so.9: cannot open shared object file: No such file or directory\n"


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_log_of_many_megabytes_is_read_at_both_ends(place: str) -> None:
    filler = "step 1 of many, loss 0.1\n" * 300_000
    log = LOADER + filler if place == "first" else filler + LOADER
    assert [answer.id for answer in explain_text(log)] == ["LIB01"]


def explained(*words: str, given: bytes = b"") -> tuple[int, str, str]:
    from click.testing import CliRunner

    from cuready.cli.explain import explain

    result = CliRunner().invoke(explain, list(words), input=given, standalone_mode=False)
    return result.return_value, result.stdout, result.stderr


def test_what_of_a_long_log_was_looked_at_is_said() -> None:
    code, out, err = explained("-", given=b"nothing to see\n" * 400_000)
    assert code == 1
    assert "No known cause" in out
    assert "the last 3,000,000 characters" in err


class Endless(io.RawIOBase):
    """A pipe from a program that never stops, and the bytes that were taken from it."""

    taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        buffer[:] = bytes(len(buffer))
        self.taken += len(buffer)
        return len(buffer)


def test_of_an_endless_pipe_no_more_than_64_million_bytes_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipe = Endless()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(pipe)))
    said: list[str] = []
    monkeypatch.setattr(command._common, "warn", said.append)
    text = command._standard_input()
    assert 60_000_000 < len(text) <= pipe.taken <= 64_000_000
    assert said[0] == "only the first 63 MB of the input were read"


@pytest.mark.parametrize("place", [0, 199_000_000])
def test_of_a_long_file_both_ends_are_read(tmp_path: Path, place: int) -> None:
    path = tmp_path / "training.log"
    with path.open("wb") as stream:
        stream.truncate(200_000_000)  # a hole
        stream.seek(place)
        stream.write(b"\n" + LOADER.encode())
    script = [sys.executable, "-m", "cuready", "explain", "-"]
    with path.open("rb") as stream:
        done = subprocess.run(script, stdin=stream, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("LIB01")
    assert "the last 3,000,000 characters" in done.stderr
    with path.open("rb") as stream, bounded_reading():
        command._both_ends(stream, HEAD, TAIL)


def test_the_name_of_a_file_is_told_from_a_text() -> None:
    code, out, _ = explained(__file__)
    assert code == 1
    assert f"cuready explain - < {__file__}" in out

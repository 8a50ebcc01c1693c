"""Wordings that were looked up, each with the cause that the message itself shows."""

from __future__ import annotations

import re

import pytest

from cuready.doctor.explain import explain_text, rules

DRIVER = [
    ("NVRM: API mismatch: the client 'kwin_wayland' (pid 1005)\n"
     "               NVRM: has the version 595.84, but this kernel module has\n"
     "               NVRM: the version 595.80.  Please make sure that this\n", "DRV02"),
    ("[ 8957.099615] NVRM: API mismatch: the client has the version 570.148.08, but\n"
     "[ 8957.099615] NVRM: this kernel module has the version 570.148.06.  Please\n", "DRV02"),
    ("kernel: NVRM: The NVIDIA GPU 0000:09:00.0 (PCI ID: 10de:1d01)\n"
     "             NVRM: installed in this system is not supported by open\n"
     "             NVRM: nvidia.ko because it does not include the required GPU\n"
     "             NVRM: System Processor (GSP).\n", "DRV06"),
    ("NVRM: The NVIDIA GPU 0000:b3:00.0\n"
     "               NVRM: (PCI ID: 10de:26b5) installed in this system has\n"
     "               NVRM: fallen off the bus and is not responding to commands.\n", "DRV15"),
    ("modprobe: FATAL: Module nvidia_uvm not found in directory /lib/modules/5.2.13-200.fc30", "DRV01"),
    ("modprobe: FATAL: Module nvidia not found.", "DRV01"),
    ("numba.cuda.cudadrv.driver.CudaAPIError: [802] Call to cuInit results in UNKNOWN_CUDA_ERROR",
     "DRV10"),
    ("Error at driver init: Call to cuInit results in UNKNOWN_CUDA_ERROR (804)", "DRV13"),
    ("numba.cuda.cudadrv.driver.CudaAPIError: [34] Call to cuInit results in UNKNOWN_CUDA_ERROR",
     "DRV14"),
    ("CudaAPIError: [100] Call to cuInit results in CUDA_ERROR_NO_DEVICE", "DRV09"),
    ("LinkerError: [222] Call to cuLinkAddData results in UNKNOWN_CUDA_ERROR\n"
     "ptxas application ptx input, line 9; fatal   : Unsupported .version 7.7; current version is "
     "'7.4'", "DRV12"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), DRIVER)
def test_what_a_driver_is_reported_with(text: str, wanted: str) -> None:
    assert [item.id for item in explain_text(text)] == [wanted]


SHM = "/dev/shm/nccl-WU88OE"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"NCCL WARN Error: failed to extend {SHM} to 9637892 bytes, error: No space left on "
         "device (28)", "CTR06"),
        (f"NCCL WARN Error while creating shared memory segment {SHM} (size 9637888)", "CTR06"),
        ("NCCL WARN Call to posix_fallocate failed : No space left on device", "CTR06"),
        ("RuntimeError: unable to write to file </torch_311_1>: No space left on device (28)",
         "CTR06"),
        (f"NCCL WARN Error while creating shared memory segment {SHM} (size 9637888), error: "
         "Permission denied (13)", None),
        ("NCCL WARN Error while attaching to shared memory segment /dev/shm/nccl- (size 192814336)"
         ", error: No such file or directory (2)", None),
        ("RuntimeError: unable to mmap 29764 bytes from file </torch_10182_3020184674_63991>: "
         "Cannot allocate memory (12)", None),
        ("RuntimeError: unable to open shared memory object </torch_710863_755204907_419> in "
         "read-write mode: Too many open files (24)", "torch-open-files"),
        ("RuntimeError: unable to open shared memory object </torch_29919_1396182366> in "
         "read-write mode", "torch-open-files"),
    ],
)  # fmt: skip
def test_shared_memory_is_small_only_where_the_message_says_so(
    text: str, wanted: str | None
) -> None:
    assert [item.id for item in explain_text(text)] == ([wanted] if wanted else [])


def winerror(code: int, words: str, dll: str) -> str:
    path = rf"C:\env\lib\site-packages\torch\lib\{dll}"
    return f'OSError: [WinError {code}] {words} Error loading "{path}" or one of its dependencies.'


@pytest.mark.parametrize(
    ("text", "wanted", "also"),
    [
        (winerror(126, "Das angegebene Modul wurde nicht gefunden.", "shm.dll"), "LIB15", ()),
        (winerror(127, "La procédure spécifiée est introuvable.", "cudnn_adv_infer64_8.dll"),
         "WIN02", ("PY10",)),
        (winerror(1114, "动态链接库(DLL)初始化例程失败。", "c10.dll"), "WIN02", ()),
    ],
)  # fmt: skip
def test_windows_says_with_its_number_what_failed_in_whatever_language(
    text: str, wanted: str, also: tuple[str, ...]
) -> None:
    (answer,) = explain_text(text)
    assert (answer.id, answer.alternatives) == (wanted, also)


LOOKED_UP = re.compile(
    r"numba|NVRM|modprobe|cudaGetDevice\w+ returned|NCCL|WinError 1(?:26|27|114)\b"
)


def test_wordings_say_where_they_were_seen() -> None:
    for rule in rules():
        if any(LOOKED_UP.search(message) for message in rule.messages):
            assert rule.sources, rule.key
        assert all(source.startswith("https://") for source in rule.sources), rule.key

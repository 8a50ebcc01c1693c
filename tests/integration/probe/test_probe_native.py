"""NVML and libcuda in child processes, against libraries that fail as real ones do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cuready.probe import children, cuda_driver, take, vendor
from cuready.probe.context import Context, Facts
from cuready.probe.registry import READERS, Reader

CUDA = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define API __attribute__((visibility("default")))
static const char *mode(void) { const char *m = getenv("FAKE_CUDA"); return m ? m : ""; }
API int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
API int cuInit(unsigned flags) {
  puts("a library that talks on stdout"); fflush(stdout);
  if (!strcmp(mode(), "hang")) sleep(60);
  if (!strcmp(mode(), "crash")) abort();
  if (!strcmp(mode(), "exit")) _exit(9);
  return atoi(mode());
}
API int cuGetErrorName(int e, const char **s) {
  *s = e == 802 ? "CUDA_ERROR_SYSTEM_NOT_READY" : 0; return e == 802 ? 0 : 1;
}
API int cuGetErrorString(int e, const char **s) { *s = "system not yet initialized"; return 0; }
API int cuCtxGetCurrent(void **c) { *c = 0; return 0; }
API int cuDeviceGetCount(int *n) { *n = 1; return 0; }
API int cuDeviceGet(int *d, int i) { *d = i; return 0; }
API int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "NVIDIA Fake", n); return 0; }
API int cuDeviceGetPCIBusId(char *s, int n, int d) { strncpy(s, "0000:65:00.0", n); return 0; }
API int cuDeviceTotalMem_v2(size_t *b, int d) { *b = 24u << 20; return 0; }
API int cuDeviceGetAttribute(int *v, int a, int d) { *v = a == 75 ? 8 : 9; return 0; }
API int cuDeviceGetUuid(unsigned char *u, int d) { memset(u, 0xab, 16); return 0; }
"""

NVML = r"""
#include <stdlib.h>
#include <string.h>
#define API __attribute__((visibility("default")))
static int mode(void) { const char *m = getenv("FAKE_NVML"); return m ? atoi(m) : 0; }
API int nvmlInitWithFlags(unsigned f) { return mode(); }
API int nvmlInit_v2(void) { return mode(); }
API const char *nvmlErrorString(int e) {
  return e == 18 ? "Driver/library version mismatch" : "Unknown Error";
}
API int nvmlSystemGetDriverVersion(char *s, unsigned n) { strcpy(s, "580.95.05"); return 0; }
API int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 13000; return 0; }
API int nvmlDeviceGetCount_v2(unsigned *n) { *n = 2; return 0; }
API int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {
  *h = (void *)(long)(i + 1); return i == 1 ? 15 : 0;
}
API int nvmlDeviceGetName(void *h, char *s, unsigned n) { strcpy(s, "NVIDIA Fake"); return 0; }
API int nvmlDeviceGetUUID(void *h, char *s, unsigned n) { strcpy(s, "GPU-abc"); return 0; }
API int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) { *a = 8; *b = 9; return 0; }
API int nvmlDeviceGetGpuFabricInfo(void *h, unsigned char *info) {
  memset(info, 0, 28); info[24] = 3; return 0;  /* state, after the UUID, the status and the clique */
}
API int nvmlDeviceGetMigMode(void *h, unsigned *a, unsigned *b) { return 3; }
"""


def build(folder: Path, name: str, source: str) -> None:
    subprocess.run(
        ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(folder / name), "-x", "c", "-"],
        input=source, text=True, check=True, timeout=60,
    )  # fmt: skip


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("driver")
    build(folder, "libcuda.so.1", CUDA)
    build(folder, "libnvidia-ml.so.1", NVML)
    return folder


def env(libraries: Path, **extra: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": str(libraries), **extra}


NATIVE = [reader for reader in READERS if reader.name in ("driver-libraries", "nvml", "cuda")]


def test_both_libraries_answer(libraries: Path) -> None:
    found = take(env=env(libraries), readers=NATIVE)
    assert found.nvml.status == "ok", found.nvml
    assert (found.nvml.driver_version, found.nvml.cuda_version) == ("580.95.05", "13.0")
    good, lost = found.nvml.devices
    assert (good.name, good.uuid, good.compute_capability) == ("NVIDIA Fake", "GPU-abc", "8.9")
    assert good.error is None and good.mig_mode is None
    assert good.fabric_state == "completed"
    assert (lost.index, lost.error) == (1, "NVML_ERROR_GPU_IS_LOST")


def test_ctypes_reads_the_driver_where_the_core_cannot_load(libraries: Path) -> None:
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from cuready.probe.cuda_driver import ask_by_ctypes\n"
        "print(json.dumps(ask_by_ctypes()), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(vendor.__file__).parents[2])],
        env=env(libraries), capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    import json

    answer = json.loads(done.stderr)
    assert answer["cuda_version"] == "13.0"
    (device,) = answer["devices"]
    assert device == {
        "index": 0,
        "name": "NVIDIA Fake",
        "uuid": "GPU-abababab-abab-abab-abab-abababababab",
        "compute_capability": "8.9",
        "memory_bytes": 24 << 20,
        "pci_address": "0000:65:00.0",
    }


def test_ctypes_names_the_call_that_failed(
    libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_CUDA", "802")
    answer = cuda_driver.ask_by_ctypes(str(libraries / "libcuda.so.1"))
    assert (answer["status"], answer["step"]) == ("failed", "cuInit")
    assert (answer["error_name"], answer["error_code"]) == ("CUDA_ERROR_SYSTEM_NOT_READY", 802)
    assert answer["cuda_version"] == "13.0"


def test_a_library_that_is_none_is_a_failed_load(tmp_path: Path) -> None:
    path = tmp_path / "libcuda.so.1"
    path.write_bytes(b"not ELF")
    answer = cuda_driver.ask_by_ctypes(str(path))
    assert (answer["status"], answer["step"]) == ("failed", "load")


def test_an_nvml_of_another_driver_says_so(libraries: Path) -> None:
    found = take(env=env(libraries, FAKE_NVML="18"), readers=NATIVE).nvml
    assert (found.status, found.step) == ("failed", "nvmlInit_v2")
    assert found.error_name == "NVML_ERROR_LIB_RM_VERSION_MISMATCH"
    assert found.error_text == "Driver/library version mismatch"


@pytest.mark.parametrize("mode", ["crash", "exit"])
def test_a_library_that_ends_the_process_ends_only_the_child(libraries: Path, mode: str) -> None:
    found = take(env=env(libraries, FAKE_CUDA=mode), readers=NATIVE)
    assert found.cuda.status == "crashed", found.cuda
    from cuready.doctor.engine import diagnose

    (finding,) = [item for item in diagnose(found).findings if item.id == "VND01"]
    assert finding.subject == "libcuda.so.1"
    assert finding.evidence[0].detail.startswith("ended ")
    assert str(libraries) in finding.evidence[1].source
    assert found.nvml.status == "ok"


def test_a_library_that_hangs_is_a_timeout(
    libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vendor, "ANSWER_LIMIT_S", 1.0)
    found = take(env=env(libraries, FAKE_CUDA="hang"), readers=NATIVE)
    assert found.cuda.status == "timeout"
    assert found.nvml.status == "ok"


def test_no_child_outlives_a_run_that_ran_out_of_time(
    libraries: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    popen = subprocess.Popen

    def remember(*args: object, **options: object) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = popen(*args, **options)  # type: ignore[call-overload]
        started.append(child.pid)
        return child

    monkeypatch.setattr(subprocess, "Popen", remember)
    found = take(env=env(libraries, FAKE_CUDA="hang"), readers=NATIVE, total_limit_s=1.5)
    reader = found.reader("cuda")
    assert reader and reader.status == "timeout"
    assert started
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_without_a_driver_nobody_is_asked() -> None:
    found = take(env={"PATH": "/usr/bin"}, readers=NATIVE)
    if found.driver.libraries:  # this machine has a driver: it was asked
        assert found.cuda.status != "skipped"
    else:
        assert (found.cuda.status, found.cuda.step) == ("skipped", "load")
        assert "not on the search path" in (found.cuda.error_text or "")


# --- readers in child processes ------------------------------------------------------------------


def test_facts_come_out_of_a_child_as_they_come_out_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor, "_driver_is_live", lambda _: True)
    context = Context(env=dict(os.environ), cwd="/")
    for name in ("device-nodes", "kernel-driver"):
        reader = next(reader for reader in READERS if reader.name == name)
        assert reader.isolated
        assert dict(vendor.call_reader(reader, context)) == dict(reader.load()(context))


def test_a_job_that_fails_says_its_last_line() -> None:
    answer = children.call("no such job", None, limit_s=30)
    assert answer.status == "crashed" and "KeyError" in answer.reason


# --- the command ---------------------------------------------------------------------------------


def run_with(code: str) -> subprocess.Popen[str]:
    """``cuready snapshot`` in a process where ``code`` ran first."""
    script = (
        f"import sys; sys.path.insert(0, {str(Path(vendor.__file__).parents[2])!r})\n{code}\n"
        "sys.argv = ['cuready', 'snapshot']\n"
        "from cuready.cli.main import main; sys.exit(main())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


SLEEPER = """
import time, cuready.probe.registry as registry
def sleeper(context):
    print("sleeping", file=sys.stderr, flush=True)
    time.sleep(60)
registry.READERS += (registry.Reader("sleeper", sleeper, limit_s=60),)
"""


def test_a_reader_that_sleeps_for_a_minute_does_not_hold_the_answer() -> None:
    import json

    started = time.monotonic()
    process = run_with(SLEEPER)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    readers = {entry["name"]: entry for entry in json.loads(out)["readers"]}
    assert readers["sleeper"]["status"] == "timeout"
    assert time.monotonic() - started < 20  # not the sleeper's minute


def test_an_interrupt_ends_the_command_while_a_reader_sleeps() -> None:
    process = run_with(SLEEPER)
    assert process.stderr is not None
    assert process.stderr.readline() == "sleeping\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err


def unused(_: Context) -> Facts:
    return {}


def test_a_reader_outside_the_table_needs_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendor, "_driver_is_live", lambda _: True)
    assert vendor.call_reader(Reader("own", unused), Context()) == {}

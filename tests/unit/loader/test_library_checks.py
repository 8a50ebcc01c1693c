"""Every check of section 2d, PY15, PY20 and PY21: one snapshot that fires it, one that must not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.loader.snapshots import (
    ADA,
    CASES,
    MORE_FIRING,
    MORE_SILENT,
    PASCAL,
    SITE,
    _torch_code,
    _twins,
    dist,
    missing,
    record,
    snap,
)

from cuready.doctor.engine import diagnose
from cuready.doctor.finding import Confidence, Finding, Severity
from cuready.doctor.registry import Skipped, Unknown, all_checks
from cuready.snapshot import LibraryFile, Resolution, Snapshot

CHECKS = {item.id: item for item in all_checks()}


def found(check_id: str, snapshot: Snapshot) -> list[Finding]:
    """What the one check finds, before anything is merged."""
    outcome = CHECKS[check_id].function(snapshot)
    return [] if isinstance(outcome, Skipped | Unknown) else list(outcome)


@pytest.mark.parametrize("check_id", CASES)
def test_fires(check_id: str) -> None:
    findings = found(check_id, CASES[check_id][0])
    assert [item.id for item in findings] == [check_id]
    assert findings[0].evidence, "a finding says what was read and where"
    assert findings[0].fix, "a finding says what to do"
    assert findings[0].links


@pytest.mark.parametrize("check_id", CASES)
def test_near_miss_stays_silent(check_id: str) -> None:
    assert found(check_id, CASES[check_id][1]) == []


@pytest.mark.parametrize(("check_id", "snapshot"), MORE_FIRING)
def test_fires_in_other_forms(check_id: str, snapshot: Snapshot) -> None:
    assert {item.id for item in found(check_id, snapshot)} == {check_id}


@pytest.mark.parametrize(("check_id", "snapshot"), MORE_SILENT)
def test_stays_silent_in_other_forms(check_id: str, snapshot: Snapshot) -> None:
    assert found(check_id, snapshot) == []


@pytest.mark.parametrize("check_id", CASES)
def test_one_fault_gives_at_most_one_error(check_id: str) -> None:
    errors = [item.id for item in diagnose(CASES[check_id][0]).findings
              if item.severity is Severity.ERROR and item.id.startswith(("LIB", "PY"))]  # fmt: skip
    assert len(errors) <= 1, errors


PROVIDER = missing("libcublasLt.so.12", "onnxruntime-gpu 1.20.2", "onnxruntime")
LACKING = ("libcublasLt.so.12", "libcurand.so.10", "libcufft.so.11", "libcudnn.so.9")


def lacks(library: LibraryFile, *sonames: str) -> LibraryFile:
    return replace(library, missing=tuple(Resolution(name, library.path) for name in sonames))


def test_all_that_a_provider_lacks_is_one_finding_with_one_command() -> None:
    """One after the other, a user would run the doctor once for each wheel."""
    box = snap(dist("onnxruntime-gpu", "1.20.2"), libraries=(lacks(PROVIDER, *LACKING),))
    assert [item.id for item in diagnose(box).findings] == ["LIB07"]
    (finding,) = found("LIB07", box)
    assert "libcublasLt.so.12 and 3 more libraries" in finding.cause
    for wheel in ("cublas-cu12", "curand-cu12", "cufft-cu12", "'nvidia-cudnn-cu12==9.*'"):
        assert wheel in finding.fix[0].commands[0]
    assert "preload_dlls" in finding.fix[0].note


def test_the_packages_own_list_of_cuda_is_installed_where_it_has_one() -> None:
    ort = dist("onnxruntime-gpu", "1.31.1", requires=('nvidia-cufft~=12.0; extra == "cuda"',))
    library = lacks(PROVIDER, "libcublasLt.so.13", "libcudart.so.13")
    (finding,) = found("LIB07", snap(ort, cuda="13.0", libraries=(library,)))
    assert finding.fix[0].commands[0].endswith("'onnxruntime-gpu[cuda,cudnn]==1.31.1'")


def test_the_cudnn_that_is_installed_is_not_called_another_major() -> None:
    library = lacks(PROVIDER, "libcudnn_adv.so.9")
    box = snap(dist("nvidia-cudnn-cu12", "9.28.0.42"), libraries=(library,))
    (finding,) = found("LIB06", box)
    assert finding.title == "cuDNN 9 is installed where the loader does not look"
    assert "majors" not in finding.cause
    assert f"export LD_LIBRARY_PATH={SITE}/nvidia/cudnn/lib" in finding.fix[0].commands[0]
    without_driver = replace(box, gpus=())  # its parts need libcuda.so.1
    assert found("LIB06", without_driver) == []


def test_cudnn_is_of_the_family_that_the_library_was_linked_with() -> None:
    library = replace(missing("libcudnn.so.9"), needed=("libcudart.so.11.0", "libcudnn.so.9"))
    (finding,) = found("LIB06", snap(libraries=(library,)))
    assert "'nvidia-cudnn-cu11==9.*'" in finding.fix[0].commands[0]


@pytest.mark.parametrize("twins", ["cupy-cuda11x cupy-cuda12x", "onnxruntime onnxruntime-gpu"])
def test_twins_of_one_family_do_not_hide_those_of_another(twins: str) -> None:
    """More than one CuPy says nothing about OpenCV's wheels."""
    shared = {"path": "cv2/cv2.abi3.so", "matches": "opencv-python"}
    one, two = twins.split()
    box = snap(
        dist(one, "13.3.0"), dist(two, "13.3.0"),
        dist("opencv-python", "5.0.0.93",
             problems=(record("shared", others=("opencv-python-headless",), **shared),)),
        dist("opencv-python-headless", "5.0.0.93",
             problems=(record("shared", others=("opencv-python",), **shared),)),
    )  # fmt: skip
    assert "LIB02" in [item.id for item in diagnose(box).findings]


def test_a_snapshot_without_facts_gives_no_finding() -> None:
    assert all(found(check_id, Snapshot()) == [] for check_id in CASES)


def test_the_twin_of_the_frameworks_family_is_kept() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu13"))
    assert finding.severity is Severity.ERROR
    uninstall, restore = finding.fix[0].commands
    assert "nvidia-cudnn-cu13" in uninstall
    assert "--force-reinstall --no-deps nvidia-cudnn-cu12==9.10.2.21" in restore


def test_twins_with_the_right_file_on_disk_are_a_warning() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu12"))
    assert finding.severity is Severity.WARNING


def test_twins_whose_records_give_no_hash_are_likely_by_the_dates() -> None:
    (finding,) = found("LIB02", _twins("nvidia-cudnn-cu13", proof="dates"))
    assert (finding.severity, finding.confidence) == (Severity.ERROR, Confidence.LIKELY)
    assert "newer than the other's RECORD" in finding.evidence[0].detail


def test_twins_known_by_their_paths_alone_are_a_warning_and_no_more() -> None:
    (finding,) = found("LIB02", _twins(None, proof="paths"))
    assert (finding.severity, finding.confidence) == (Severity.WARNING, Confidence.LIKELY)
    assert "no hash and no size" in finding.evidence[0].detail


def test_of_two_gpus_one_served_is_a_warning() -> None:
    both = _torch_code(ADA, "pip", "8.6")
    from dataclasses import replace

    mixed = replace(both, gpus=(ADA, replace(PASCAL, address="0000:02:00.0")))
    (finding,) = found("LIB11", mixed)
    assert finding.severity is Severity.WARNING
    assert "6.1" in finding.cause


def test_uv_takes_the_place_of_the_general_finding() -> None:
    ids = [item.id for item in diagnose(CASES["PY15"][0]).findings]
    assert "PY15" in ids and "LIB11" not in ids


def test_a_gpu_newer_than_the_tables_is_no_error() -> None:
    assert found("LIB11", snap(gpu_code=())) == []

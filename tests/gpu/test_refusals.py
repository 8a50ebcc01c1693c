"""Plans of other TensorRT versions are refused by a typed error, before and by TensorRT itself."""

from __future__ import annotations

import pytest
from gpu_plans import Plan

import cuready.runtime as rt
from cuready.errors import CureadyError, EngineVersionError


def test_the_header_names_both_versions(runtime: rt.Runtime, foreign_plan: Plan) -> None:
    if runtime.library.version.major == int(foreign_plan.release.split(".", maxsplit=1)[0]):
        pytest.skip("the same major: TensorRT itself decides")
    with pytest.raises(EngineVersionError) as caught:
        runtime.load(foreign_plan.data())
    assert str(foreign_plan.entry["built_by"]) in str(caught.value)
    assert ".".join(map(str, runtime.library.version[:2])) in str(caught.value)
    assert caught.value.hint


def test_a_refused_plan_never_becomes_an_engine(runtime: rt.Runtime, foreign_plan: Plan) -> None:
    """Every plan that another release built ends in a typed error, whoever refuses it."""
    with pytest.raises(CureadyError) as caught:
        runtime.load(foreign_plan.data())
    assert str(caught.value)


def test_tensorrt_s_own_words_are_in_the_error(
    runtime: rt.Runtime, foreign_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the check of the header off, TensorRT refuses, and its log lines are in the error."""
    with pytest.raises(CureadyError) as caught:
        runtime.load(foreign_plan.data(), check_version=False)
    words = " ".join(caught.value.messages)
    assert words, "TensorRT's words are missing"
    assert "erializ" in words or "version" in words.lower()

"""A command that needs another word, and gets none."""

from __future__ import annotations

import pytest

from cuready.cli.main import main


@pytest.mark.parametrize("words", [[], ["env"], ["mirror"], ["recipe"], ["engine"], ["weights"]])
def test_a_group_alone_prints_its_help(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) in (0, 2)  # 0 with Click before 8.2
    out, err = capsys.readouterr()
    usage = " ".join(["Usage: cuready", *words])
    assert (out + err).startswith(usage)
    assert len((out + err).splitlines()) > 5 and "Traceback" not in err

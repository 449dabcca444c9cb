"""The benchmark of the tools over collections runs, and a bar that is missed gives exit status 1."""

from __future__ import annotations

import shutil

import pytest

from benchmarks import collection


@pytest.mark.parametrize(("bar", "status"), [(1e12, 0), (-1e12, 1)])
def test_collection(
    bar: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which("ffmpeg") is None:
        status = 0  # there is nothing to compare with
    monkeypatch.setattr(collection, "OVERHEAD", bar)
    assert collection.main(["--quick", "--threads", "1", "--files", "1", "--workers", "1"]) == status
    text = capsys.readouterr().out
    assert "videos_metadata" in text and "compress_videos, pyav" in text
    assert "worked on by a second run, pyav: equal" in text

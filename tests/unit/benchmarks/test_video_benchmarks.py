"""The benchmarks of video readers that need no model: they run, and say when a bar is missed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from benchmarks import _make_odd_videos, opens, timestamps
from benchmarks._true_times import Findings


@pytest.mark.parametrize("wrong", [0, 3])
def test_timestamps(wrong: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        timestamps, "examine", lambda *_: Findings(frames=9, wrong=wrong, times=[0.0, 1.0], notes=["off"] * wrong)
    )
    assert timestamps.main(["--per-kind", "1"]) == (1 if wrong else 0)
    text = capsys.readouterr().out
    assert f"wrong frames of pyav: {wrong * 23}" in text
    assert ("off" in text) == bool(wrong)
    assert "frame_folder       frame folder           1        0       9" in text


def test_readers_that_are_absent_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(timestamps.PACKAGES, "torchcodec", "no_such_package")
    readers, absent = timestamps.installed()
    assert "torchcodec" not in readers and "pyav" in readers
    assert absent[0].startswith("reader torchcodec (No module named")


def test_readers_that_differ_are_counted() -> None:
    found = {"pyav": Findings(times=[0, 1, 2]), "opencv": Findings(times=[0, 1.6, 2]), "decord": Findings(refused="x")}
    assert timestamps.differences(found) == {"pyav": 0, "opencv": 1}
    assert not timestamps.differences({"pyav": Findings(refused="x"), "opencv": Findings(times=[0])})


def test_encoders_that_are_absent_are_said(tmp_path: Any) -> None:
    made, left_out = _make_odd_videos.make(tmp_path, per_kind=1)
    assert len(made) + sum(int(line.split()[0]) for line in left_out) == len(_make_odd_videos.chosen(per_kind=1))
    assert all(path.exists() for _, path in made)


@pytest.mark.parametrize(("limit", "status"), [(1e9, 0), (-1e9, 1)])
def test_opens(limit: float, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run = subprocess.run

    def answer(command: Sequence[str], **settings: Any) -> subprocess.CompletedProcess[str]:
        if "--child" not in command:
            return run(command, **settings)
        reader = command[-2]
        if reader == "decord":
            return subprocess.CompletedProcess(command, 1, "", "ImportError: reader decord needs the package decord")
        if reader == "pyav":
            assert opens.main([*command[3:]]) == 0
            return subprocess.CompletedProcess(command, 0, capsys.readouterr().out, "")
        return subprocess.CompletedProcess(
            command, 0, json.dumps({"before_mib": 5.0, "after_mib": 7.5, "refused": 0}), ""
        )

    monkeypatch.setattr(subprocess, "run", answer)
    monkeypatch.setattr(opens, "GROWTH_MIB", limit)
    assert opens.main(["--warm", "5", "--opens", "25"]) == status
    text = capsys.readouterr().out
    assert "MiB that 25 opens with pyav add" in text
    assert "+2.50" in text
    assert "decord       is not installed" in text or "not installed" not in text

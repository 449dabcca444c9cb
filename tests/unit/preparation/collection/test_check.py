"""What is missing or wrong of a data set is counted and named; videos are read once."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from lavis.preparation.collection.check import Source, check_data, configured
from tests.video_factory import truncate, write_video


def rows(path: Path, *videos: tuple[str, float]) -> Path:
    lines = [
        {
            "qid": number,
            "query": f"{path.stem} {number}",
            "duration": seconds,
            "vid": video,
            "relevant_windows": [[0, 2]],
        }
        for number, (video, seconds) in enumerate(videos)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Source:
    for name in ("videos", "srts"):
        (tmp_path / name).mkdir()
    write_video(tmp_path / "videos" / "a.mp4", 24, 8)
    write_video(tmp_path / "videos" / "b.mkv", 40, 8)
    write_video(tmp_path / "videos" / "nobody.mp4", 8, 8)
    whole = write_video(tmp_path / "whole.mp4", 64, 8, options={"movflags": "faststart"})
    truncate(whole, tmp_path / "videos" / "cut.mp4")
    (tmp_path / "srts" / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nword\n")
    train = rows(tmp_path / "train.jsonl", ("a", 3), ("b", 9), ("cut", 8), ("gone", 4))
    return Source("mine", {"train": train, "val": tmp_path / "val.jsonl"}, {}, tmp_path / "videos", tmp_path / "srts")


def test_everything_is_counted(source: Source, tmp_path: Path) -> None:
    found = check_data(source, executor="serial")
    assert found.counts == {
        "named": 4, "present": 3, "missing": 1, "unreadable": 1, "unnamed": 1, "without_subtitles": 3,
    }  # fmt: skip
    faults = {"absent": 1, "without_subtitles": 3, "video_missing": 1, "video_unreadable": 1, "duration_wrong": 1}
    assert found.faults == faults
    assert found.absent == [tmp_path / "val.jsonl"]
    assert found.lengths()["hours"] == pytest.approx(8 / 3600)
    text = found.to_text()
    assert f"NOT THERE: {tmp_path / 'val.jsonl'}" in text
    assert "4 named, 3 present, 1 missing, 1 unreadable, 1 unnamed, 3 without subtitles" in text
    assert "b: 9 s, the file has 5 s" in text and "2 h264" in text
    assert json.loads(json.dumps(found.to_json()))["faults"] == faults
    again = check_data(source, executor="serial")
    assert again.summary is not None and again.summary.new == 0
    assert again.faults == faults


def test_a_configured_data_set(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAVIS_DATA", str(tmp_path))
    (known,) = configured("charades_sta")
    assert known.annotations["test"] == tmp_path / "charades" / "release" / "charades_sta_test.txt"
    assert known.durations["train"].name == "Charades_v1_train.csv"
    found = check_data(known, executor="serial")
    assert found.faults == {"absent": 3}  # two files and the folder of videos
    assert not found.audit.files and found.summary is None
    with pytest.raises(ValueError, match="there is no data set none; there are"):
        configured("none")


def test_script(root: Path, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main: Any = runpy.run_path(str(root / "process_data" / "check_data.py"))["main"]
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Examples:" in capsys.readouterr().out
    arguments = [str(source.annotations["train"]), "--videos", str(source.videos), "--executor", "serial"]
    assert main([*arguments, "--output", str(tmp_path / "check.json")]) == 0
    assert "4 named" in capsys.readouterr().out
    assert json.loads((tmp_path / "check.json").read_text())[0]["videos"]["missing"] == 1
    assert main([*arguments, "--strict"]) == 1
    assert main(["none"]) == 1
    assert "there is no data set none" in capsys.readouterr().err

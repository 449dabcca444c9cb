"""What is noted of each video, and the files it is written to."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lavis.common.io import FileFormatError
from lavis.preparation.collection import metadata
from lavis.preparation.collection.metadata import read_metadata, video_facts, videos_metadata
from lavis.processors.readers.base import VideoDecodeError
from tests.video_factory import truncate, write_audio, write_video


def test_the_facts_of_a_video(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 24, 8, rotation=90, audio=True)
    facts = video_facts(path)
    assert (facts["duration_s"], facts["frames"], facts["fps"], facts["real_fps"]) == (3.0, 24, 8.0, 8.0)
    assert (facts["width"], facts["height"], facts["rotation"], facts["codec"]) == (96, 64, 90, "h264")
    assert (facts["audio"], facts["bytes"], facts["keyframes"]) == ("aac", path.stat().st_size, 3)
    assert facts["constant_rate"] and facts["measured_fps"] == 8
    assert len(facts["digest"]) == 32


def test_times_are_the_files_own(tmp_path: Path) -> None:
    times = [0.5 + t for t in (0.0, 0.1, 0.2, 1.2, 1.3, 1.8)]
    facts = video_facts(write_video(tmp_path / "a.mkv", 6, 8, times=times, b_frames=0))
    assert facts["start_s"] == pytest.approx(0.5, abs=2e-3)
    assert facts["measured_fps"] == pytest.approx(5 / 1.8, abs=0.01)
    assert not facts["constant_rate"]
    assert facts["audio"] is None


def test_what_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(VideoDecodeError, match="there is no video in it"):
        video_facts(write_audio(tmp_path / "a.m4a"))


def test_a_folder(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    (videos / "deep").mkdir(parents=True)
    (videos / ".hidden").mkdir()
    write_video(videos / "b.mp4", 16, 8)
    write_video(videos / "deep" / "a.mkv", 8, 8)
    write_video(videos / ".hidden" / "c.mp4", 8, 8)
    (videos / "notes.txt").write_text("no video")
    whole = write_video(tmp_path / "whole.mp4", 64, 8, options={"movflags": "faststart"})
    truncate(whole, videos / "cut.mp4")
    summary, (mmduet, lines) = videos_metadata(videos, executor="serial", budget=1)
    assert (mmduet, lines) == (tmp_path / "videos_metadata.json", tmp_path / "videos_metadata.jsonl")
    assert [each.item for each in summary.failed] == ["cut.mp4"]
    assert "the file ends after" in summary.failed[0].error
    assert summary.video_s == 3
    assert json.loads(mmduet.read_text()) == {
        "b.mp4": {"duration": 2.0, "fps": 8.0, "path": f"{videos}/b.mp4", "frame_count": 16.0},
        "deep/a.mkv": {"duration": 1.0, "fps": 8.0, "path": f"{videos}/deep/a.mkv", "frame_count": 8.0},
    }
    assert read_metadata(lines)["b.mp4"]["codec"] == "h264"
    assert read_metadata(mmduet)["deep/a.mkv"] == {"duration_s": 1.0, "fps": 8.0, "frames": 8}
    # Only what changed is read again, even under the same name; what is gone is no longer listed.
    write_video(videos / "b.mp4", 24, 8)
    (videos / "deep" / "a.mkv").unlink()
    summary, _ = videos_metadata(videos, executor="serial", budget=1)
    assert (summary.new, list(read_metadata(mmduet))) == (1, ["b.mp4"])
    assert read_metadata(mmduet)["b.mp4"]["frames"] == 24
    truncated, _ = videos_metadata(videos, on_truncated="warn", executor="serial")
    assert not truncated.failed and 0 < read_metadata(lines)["cut.mp4"]["frames"] < 64


def test_shards_leave_the_files_to_a_run_of_the_whole(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    first = write_video(videos / "0.mp4", 8, 8)
    for number in range(1, 6):
        shutil.copy(first, videos / f"{number}.mp4")
    for shard in ("1/2", "2/2"):
        assert videos_metadata(videos, executor="serial", shard=shard)[1] == []
    summary, (mmduet, _) = videos_metadata(videos, executor="serial")
    assert (summary.new, len(read_metadata(mmduet))) == (0, 6)


def test_no_folder_and_no_video(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder of videos"):
        videos_metadata(tmp_path / "none")
    with pytest.raises(ValueError, match="there is no video in"):
        videos_metadata(tmp_path)


def test_as_mmduet_has_it(golden_dir: Path, tmp_path: Path) -> None:
    theirs = read_metadata(golden_dir / "mmduet" / "data" / "videos_metadata.json")
    _, (mmduet, _) = videos_metadata(golden_dir / "mmduet" / "videos", tmp_path, executor="serial")
    ours = read_metadata(mmduet)
    assert list(ours) == sorted(theirs)
    for video, facts in theirs.items():
        assert ours[video] == {key: pytest.approx(value, abs=1e-4) for key, value in facts.items()}


def test_real_clips(data_dir: Path) -> None:
    facts = video_facts(data_dir / "video" / "charades_sample.mp4")
    assert (facts["frames"], facts["width"], facts["height"]) == (460, 480, 270)
    assert facts["duration_s"] == pytest.approx(30.70, abs=0.01)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "[]", "not a mapping from videos"),
        ("a.json", '{"v": 3}', "v: not a mapping of facts: 3"),
        ("a.json", '{"v": {"duration": "3", "fps": 1, "frame_count": 1}}', "v: duration is '3', not a number"),
        ("a.jsonl", '{"duration_s": 1, "fps": 1, "frames": 1}\n', "row 1: video is None"),
        ("a.jsonl", '{"duration_s": 1, "frames": 1}\n', "row 1: fps is None"),
    ],
)
def test_files_that_hold_something_else(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FileFormatError, match=message):
        read_metadata(tmp_path / name)


def test_codecs_have_their_own_names(tmp_path: Path) -> None:
    """And not those of the library that happens to decode them."""
    path = write_video(tmp_path / "a.mp4", 8, 8, codec="libsvtav1", b_frames=0)
    assert video_facts(path)["codec"] == "av1"


def test_script(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(root / "process_data" / "videos_metadata.py"))["main"]
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert "Examples:" in shown and "--shard I/N" in shown and "(default: 5%)" in shown
    (tmp_path / "v").mkdir()
    write_video(tmp_path / "v" / "a.mp4", 16, 8)
    assert main([str(tmp_path / "v"), "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    assert "1 of 1 done" in shown and "10,000 h would take" in shown
    assert f"written: {tmp_path}/v_metadata.json" in shown
    assert main([str(tmp_path / "none")]) == 1
    assert f"there is no folder of videos {tmp_path / 'none'}" in capsys.readouterr().err


def test_help_needs_nothing_heavy(root: Path) -> None:
    for name in ("videos_metadata", "compress_videos", "check_data"):
        command = [sys.executable, "-X", "importtime", str(root / "process_data" / f"{name}.py"), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root), "PATH": ""})
        assert done.returncode == 0 and "Examples:" in done.stdout, done.stderr[-500:]
        assert " torch\n" not in done.stderr and " av\n" not in done.stderr


def test_what_is_known_goes_with_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name, frames in (("a.mp4", 8), ("b.mp4", 12), ("c.mp4", 16)):
        write_video(videos / name, frames, 8)
    options: dict[str, Any] = {"executor": "serial"}
    first, _ = videos_metadata(videos, tmp_path / "out", **options)
    read: list[str] = []
    facts = metadata.video_facts

    def noted(path: Path, *rest: Any) -> dict[str, Any]:
        read.append(path.name)
        return facts(path, *rest)

    monkeypatch.setattr(metadata, "video_facts", noted)
    (videos / "a.mp4").rename(videos / "moved.mp4")
    os.utime(videos / "b.mp4", (1, 1))
    write_video(videos / "c.mp4", 20, 8)
    again, _ = videos_metadata(videos, tmp_path / "out", **options)
    assert (again.new, read) == (3, ["c.mp4"])
    known = {each.item: each.result for each in first.outcomes}
    found = {each.item: each.result or {} for each in again.outcomes}
    assert (found["moved.mp4"], found["b.mp4"]) == (known["a.mp4"], known["b.mp4"])
    assert found["c.mp4"]["frames"] == 20
    assert videos_metadata(videos, tmp_path / "out", **options)[0].new == 0
    assert (videos_metadata(videos, tmp_path / "out", resume=False, **options)[0].new, len(read)) == (3, 4)

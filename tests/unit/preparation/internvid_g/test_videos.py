"""The steps that open videos: scenes with true borders, similarities, captions and scores; resumed after kill -9."""

from __future__ import annotations

import json
import os
import runpy
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lavis.common.io import write_jsonl
from lavis.preparation.collection.run import TooManyFailures
from lavis.preparation.internvid_g.captions import caption_scenes
from lavis.preparation.internvid_g.frames import caption_time, score_times, similarity_times
from lavis.preparation.internvid_g.models import (
    Captioner,
    ColorHistogram,
    Embedder,
    TransformersCaptioner,
    TransformersEmbedder,
)
from lavis.preparation.internvid_g.pipeline import Construction
from lavis.preparation.internvid_g.scenes import Detection, detect_scenes
from lavis.preparation.internvid_g.scores import score_captions
from lavis.preparation.internvid_g.similarity import Looking, compare_scenes
from lavis.processors.readers.base import VideoInfo

NAMES = ("red", "green", "blue")
BRIGHTNESS = {"red": 230, "green": 130, "blue": 60}
"""Different, since the detector adds up changes of hue, saturation and brightness."""
needs_scenes = pytest.mark.skipif(
    find_spec("scenedetect") is None, reason="needs PySceneDetect: pip install 'lavis[scenes]'"
)


def write_scenes(path: Path, colors: Sequence[str], lengths: Sequence[float]) -> Path:
    """A video at 8 frames a second of plain pictures, one colour a scene; ``lengths`` in seconds."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=8, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for color, seconds in zip(colors, lengths, strict=True):
            pixels = np.zeros((48, 64, 3), np.uint8)
            pixels[..., NAMES.index(color)] = BRIGHTNESS[color]
            for _ in range(round(8 * seconds)):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def colors_of(frames: Tensor) -> list[str]:
    return [NAMES[number] for number in frames.float().mean((2, 3)).argmax(1).tolist()]


@dataclass(frozen=True)
class ByColor(Captioner):
    """Names the strongest colour, and notes that it was asked; the time numbered ``hangs_at`` it never answers."""

    log: str = ""
    hangs_at: int = 0

    def captions(self, frames: Tensor) -> list[str]:
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write("asked\n")
            if Path(self.log).read_text().count("asked") == self.hangs_at:
                time.sleep(1000)
        return [f"a {name} picture" for name in colors_of(frames)]

    def identity(self) -> str:
        return "by colour"


@dataclass(frozen=True)
class ByName(Embedder):
    """A direction for each colour, for pictures and for texts that name it."""

    def images(self, frames: Tensor) -> Tensor:
        return torch.eye(3)[[NAMES.index(name) for name in colors_of(frames)]]

    def texts(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(name in text) + 0.1 for name in NAMES] for text in texts])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    write_scenes(tmp_path / "videos" / "a.mp4", ["red", "green", "blue"], [3, 2.5, 4])
    write_scenes(tmp_path / "videos" / "deep" / "b.mp4", ["red", "green", "red"], [2, 3, 2])
    return tmp_path / "videos"


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    rows = [
        {"video_fname": "a.mp4", "scenes": [[0, 3], [3, 5.5], [5.5, 9.5]], "duration": 9.5},
        {"video_fname": "deep/b.mp4", "scenes": [[0, 2], [2, 5], [5, 7]], "duration": 7.0},
    ]
    return write_jsonl(tmp_path / "out" / "scenes.jsonl", rows)


def test_moments() -> None:
    assert similarity_times(2, 4) == [2.5, 3.0, 3.5] == score_times(2, 4)
    assert (similarity_times(2, 2.5, "whole_seconds"), score_times(2, 4, "whole_seconds")) == ([3, 4, 5], [2, 2, 2])
    assert similarity_times(0, 8, "whole_seconds") == [3, 6, 9]
    assert score_times(0, 9, "whole_seconds") == [2, 4, 6]
    assert (caption_time(2, 3), caption_time(2, 3, "whole_seconds")) == (2.5, 3)
    with pytest.raises(ValueError, match="spots is quarters or whole_seconds"):
        Looking(spots="middle")  # type: ignore[arg-type]


def test_borders_are_the_frames_own_times() -> None:
    info = VideoInfo(4, 2.0, 4.0, 64, 48, [0.0, 0.1, 2.0, 3.5])
    assert Detection().windows([2], info) == [[0.0, 2.0], [2.0, 4.0]]
    assert Detection(rate="average").windows([2], info) == [[0.0, 1.0], [1.0, 2.0]]
    assert Detection().windows([1], info) == [[0.1, 4.0]]  # the first is shorter than half a second
    assert Detection().windows([], info) == [[0.0, 4.0]]
    assert Detection(uncut="none").windows([], info) == []
    with pytest.raises(ValueError, match="uncut is whole or none"):
        Detection(uncut="all")  # type: ignore[arg-type]


@needs_scenes
def test_scenes(tmp_path: Path, videos: Path) -> None:
    out = tmp_path / "out" / "scenes.jsonl"
    detect_scenes(videos, out, executor="serial")
    assert rows_of(out) == [
        {"video_fname": "a.mp4", "scenes": [[0.0, 3.0], [3.0, 5.5], [5.5, 9.5]], "duration": 9.5},
        {"video_fname": "deep/b.mp4", "scenes": [[0.0, 2.0], [2.0, 5.0], [5.0, 7.0]], "duration": 7.0},
    ]
    assert detect_scenes(videos, out, executor="serial").new == 0
    (tmp_path / "list.txt").write_text("a.mp4\n")
    detect_scenes(videos, out, names=tmp_path / "list.txt", executor="serial")
    assert [row["video_fname"] for row in rows_of(out)] == ["a.mp4"]


@needs_scenes
def test_a_file_that_is_no_video(tmp_path: Path, videos: Path) -> None:
    (videos / "c.mp4").write_bytes(b"no video")
    out = tmp_path / "out" / "scenes.jsonl"
    summary = detect_scenes(videos, out, executor="serial", budget=1)
    assert [each.item for each in summary.failed] == ["c.mp4"] and len(rows_of(out)) == 2
    (videos / "d.mp4").write_bytes(b"no video")
    with pytest.raises(TooManyFailures, match="2 items failed, of which 1 are allowed"):
        detect_scenes(videos, out, executor="serial", budget=1)
    assert len(rows_of(out)) == 2


@pytest.mark.skipif(find_spec("scenedetect") is not None, reason="PySceneDetect is installed")
def test_without_the_library_the_extra_is_named(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(ImportError, match=r"needs the package scenedetect .*pip install 'lavis\[scenes\]'"):
        detect_scenes(videos, tmp_path / "scenes.jsonl")


def test_similarity(tmp_path: Path, videos: Path, scenes: Path) -> None:
    out = tmp_path / "out" / "similarity.jsonl"
    for embedder in (ByName(), ColorHistogram()):
        assert compare_scenes(videos, scenes, out, embedder, executor="serial").new == 2
        first, second = (row["similarity_matrix"] for row in rows_of(out))
        assert np.allclose(first, np.eye(3), atol=0.01)
        assert np.allclose(second, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=0.01)
    compare_scenes(videos, scenes, out, ByName(), max_scenes=2, executor="serial")
    assert [len(row["similarity_matrix"]) for row in rows_of(out)] == [2, 2]
    with pytest.raises(ValueError, match="ColorHistogram embeds no texts"):
        ColorHistogram().texts(["a"])


def test_a_model_that_cannot_be_loaded_ends_the_job_and_blames_no_video(
    tmp_path: Path, videos: Path, scenes: Path
) -> None:
    absent = str(tmp_path / "absent")
    steps = (
        lambda **how: compare_scenes(videos, scenes, tmp_path / "a.jsonl", TransformersEmbedder(absent), **how),
        lambda **how: caption_scenes(videos, scenes, tmp_path / "b.jsonl", TransformersCaptioner(absent), **how),
    )
    for step in steps:
        with pytest.raises(ValueError, match=r"^there is no folder of a model .*absent; give one"):
            step(executor="serial", budget=5)
    assert not list((tmp_path / ".collection").rglob("*.jsonl"))


def test_only_what_changed_is_done_again(tmp_path: Path, videos: Path, scenes: Path) -> None:
    out = tmp_path / "out" / "captions.jsonl"
    assert caption_scenes(videos, scenes, out, ByColor(), executor="serial").new == 2
    rows = rows_of(scenes)
    rows[1]["scenes"] = [[0, 2], [2, 7]]
    write_jsonl(scenes, rows)
    assert caption_scenes(videos, scenes, out, ByColor(), executor="serial").new == 1
    assert [row["end_sec"] for row in rows_of(out)] == [3, 5.5, 9.5, 2, 7]
    assert [row["captions"] for row in rows_of(out)][:3] == [[f"a {name} picture"] for name in NAMES]
    rows.append({"video_fname": "absent.mp4", "scenes": [[0, 2]]})
    write_jsonl(scenes, rows)
    summary = caption_scenes(videos, scenes, out, ByColor(), executor="serial", budget=1)
    assert summary.new == 0 and [each.item for each in summary.failed] == ["absent.mp4"]


def test_scores(tmp_path: Path, videos: Path) -> None:
    texts = [{"video_fname": "a.mp4", "start_sec": 0, "end_sec": 5.5, "captions": ["a red one", "a blue one"]}]
    captions, out = write_jsonl(tmp_path / "captions.jsonl", texts), tmp_path / "scores.jsonl"
    score_captions(videos, captions, out, ByName(), executor="serial")
    best = [row["clip_sim"] for row in rows_of(out)]
    score_captions(videos, captions, out, ByName(), merge="mean", executor="serial")
    mean = [row["clip_sim"] for row in rows_of(out)]
    assert best[0] > 0.99 > mean[0] > best[1] >= mean[1]
    assert [row["caption"] for row in rows_of(out)] == ["a red one", "a blue one"]
    with pytest.raises(ValueError, match="merged by max or mean, got 'min'"):
        score_captions(videos, captions, out, ByName(), merge="min")  # type: ignore[arg-type]


def test_all_steps(tmp_path: Path, videos: Path, scenes: Path) -> None:
    out = tmp_path / "out"
    made = Construction(videos, out, ByName(), ByColor(), ByName())
    steps = ["similarity", "merge", "captions", "scores", "select", "negatives"]
    told = list(made.run(steps, executor="serial"))
    assert told[1].startswith("merge: 6 scenes became 6") and told[-1].startswith("negatives: 6 rows,")
    rows = [row for row in rows_of(out / "internvid_g.jsonl") if row["video"] == "deep/b.mp4"]
    assert [(row["neg_start_sec"], row["neg_end_sec"]) for row in rows] == [(0, 5), (0, 7.0), (2, 7.0)]
    assert [row["caption"] for row in rows] == ["a red picture", "a green picture", "a red picture"]
    for steps, running, message in (
        (["download"], {}, "there is no step download"),
        (["merge", "captions"], {"shard": "1/2"}, "parts of a job do one step over videos at a time"),
    ):
        with pytest.raises(ValueError, match=message):
            list(made.run(steps, **running))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="the step captions needs a model: give the captioner"):
        list(Construction(videos, out).run(["captions"]))


def test_parts_leave_the_file_to_a_run_of_the_whole(tmp_path: Path, videos: Path, scenes: Path) -> None:
    made = Construction(videos, tmp_path / "out", ByName())
    for part in ("1/2", "2/2"):
        list(made.run(["similarity"], executor="serial", shard=part))
        assert not made.file("similarity").exists()
    (told,) = made.run(["similarity"], executor="serial")
    assert "0 worked on now" in told and len(rows_of(made.file("similarity"))) == 2


def test_killed_and_run_again(tmp_path: Path) -> None:
    videos, out, log = tmp_path / "videos", tmp_path / "out", tmp_path / "asked.txt"
    first = write_scenes(videos / "0.mp4", ["red", "green"], [2, 2]).read_bytes()
    for number in range(1, 6):
        (videos / f"{number}.mp4").write_bytes(first)
    rows = [{"video_fname": f"{number}.mp4", "scenes": [[0, 2], [2, 4]]} for number in range(6)]
    scenes = write_jsonl(out / "scenes.jsonl", rows)

    def asked() -> int:
        return log.read_text().count("asked") if log.exists() else 0

    pid = os.fork()
    if pid == 0:
        caption_scenes(videos, scenes, out / "captions.jsonl", ByColor(str(log), hangs_at=3), executor="serial")
        os._exit(0)
    while asked() < 3:
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert not (out / "captions.jsonl").exists()
    summary = caption_scenes(videos, scenes, out / "captions.jsonl", ByColor(str(log)), executor="serial")
    assert (summary.before, asked()) == (2, 7)
    assert [row["video_fname"] for row in rows_of(out / "captions.jsonl")] == [f"{n // 2}.mp4" for n in range(12)]


def test_the_script(
    tmp_path: Path, root: Path, videos: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.syspath_prepend(str(root))
    main = runpy.run_path(str(root / "process_data" / "internvid_g.py"))["main"]
    given = [str(videos), "--out", str(tmp_path / "out"), "--executor", "serial"]
    assert main([*given, "--steps", "similarity", "merge"]) == 0
    assert "merge: 6 scenes became 6" in capsys.readouterr().out
    assert main([*given, "--steps", "captions"]) == 1
    assert "the step captions needs a model" in capsys.readouterr().err
    assert main([*given, "--steps", "similarity", "merge", "--original"]) == 0
    scenes.write_text('{"video_fname": "a.mp4", "scenes": 3}\n')
    assert main([*given, "--steps", "merge"]) == 1
    assert "scenes.jsonl, line 1, field 'scenes'" in capsys.readouterr().err

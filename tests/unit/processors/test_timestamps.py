"""True times on an excerpt of the corpus of ``benchmarks.timestamps``, and on real clips with published times."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks._make_odd_videos import chosen, make
from benchmarks._odd_videos import OddVideo, catalogue
from benchmarks._true_times import Truth, disagreement, examine
from benchmarks.timestamps import PACKAGES, truth_of
from lavis.common.registry import registry
from lavis.processors.readers.base import Pixels, Size, VideoDecodeError, VideoInfo, VideoReader
from lavis.processors.readers.frame_folder import FrameFolderReader
from lavis.processors.readers.pyav import PyAVReader
from tests.video_factory import damage, number_of, write_video

VIDEOS = chosen(per_kind=1)
READERS = sorted(PACKAGES)


def reader_called(name: str, **settings: object) -> VideoReader:
    try:
        importlib.import_module(PACKAGES[name])
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"{PACKAGES[name]} cannot be imported: {str(error).strip().splitlines()[0]}")
    return registry.readers.get(name)(**settings)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind, of those that can be encoded here."""
    made, _ = make(tmp_path_factory.mktemp("odd"), per_kind=1)
    return {video.kind: path for video, path in made}


def written(video: OddVideo, corpus: dict[str, Path]) -> Path:
    if video.kind not in corpus:
        pytest.skip(f"{video.codec} cannot encode {video.pix_fmt} here")
    return corpus[video.kind]


def test_the_catalogue_is_large_and_the_same_every_time() -> None:
    videos = catalogue()
    assert len(videos) >= 300
    assert len(set(videos)) == len(videos)
    assert videos == catalogue()
    assert [video.times() for video in catalogue(1)] != [video.times() for video in videos]
    assert [video.times() for video in catalogue()] == [video.times() for video in videos]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("video", VIDEOS, ids=lambda video: video.kind.replace(" ", "_"))
def test_every_frame_is_the_right_one(video: OddVideo, name: str, corpus: dict[str, Path]) -> None:
    if not video.extension:
        found = examine(FrameFolderReader(float(video.fps)), written(video, corpus), truth_of(video))
        assert not found.refused
    else:
        found = examine(reader_called(name), written(video, corpus), truth_of(video))
        if name == "pyav" and video.kept == 1:
            assert not found.refused
            assert found.frames > 0
    assert not found.notes
    assert found.worst <= 0.5


@pytest.mark.parametrize("name", [name for name in READERS if name != "pyav"])
def test_readers_agree(name: str, corpus: dict[str, Path]) -> None:
    reader, ours = reader_called(name), PyAVReader()
    compared = 0
    for video in VIDEOS:
        if video.extension and video.kept == 1 and video.kind in corpus:
            try:
                times = reader.probe(written(video, corpus)).times
            except VideoDecodeError:
                continue
            compared += 1
            assert disagreement(ours.probe(written(video, corpus)).times, times) == 0
    assert compared >= 10


def test_truncated_files_are_read_as_far_as_they_go(corpus: dict[str, Path]) -> None:
    video = next(video for video in VIDEOS if video.kind == "truncated")
    found = examine(PyAVReader(on_truncated="warn"), written(video, corpus), truth_of(video))
    assert found.frames > 0 and not found.notes and not found.refused


class Lying(VideoReader):
    """A reader that is ``frames`` off, and ``seconds`` off in what it says of times."""

    def __init__(self, frames: int = 0, seconds: float = 0.0) -> None:
        self.frames, self.seconds = frames, seconds
        self.honest = PyAVReader()

    def probe(self, path: str | Path) -> VideoInfo:
        info = self.honest.probe(path)
        times = [time + self.seconds for time in info.times]
        return VideoInfo(info.num_frames, info.fps, info.duration_s, info.width, info.height, times, info.index)

    def _decode(self, path: str, wanted: list[int], size: Size | None, info: VideoInfo) -> tuple[Pixels, Sequence[int]]:
        shifted = sorted({min(number + self.frames, info.num_frames - 1) for number in wanted})
        pixels, _ = self.honest._decode(path, shifted, size, info)
        rows = [shifted.index(min(number + self.frames, info.num_frames - 1)) for number in wanted]
        return pixels[rows], wanted


def test_a_reader_that_lies_is_found_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", fps=8)
    truth = Truth({i: i / 8 for i in range(24)}, 1 / 8)
    assert not examine(Lying(), path, truth).notes
    assert not examine(Lying(seconds=0.06), path, truth).notes
    late = examine(Lying(seconds=0.07), path, truth)
    assert late.worst == pytest.approx(0.56) and late.wrong == late.frames
    other = examine(Lying(frames=1), path, truth)
    assert other.wrong >= 60 and other.worst == pytest.approx(1.0)
    short = examine(Lying(), path, Truth({i: i / 8 for i in range(25)}, 1 / 8))
    assert "24 frames of 25" in short.notes[0]
    unseen = examine(Lying(), path, Truth({i: i / 8 for i in range(20)}, 1 / 8))
    assert any("not shown" in note for note in unseen.notes)
    assert disagreement([0, 1, 2], [0, 1.4, 2]) == 0
    assert disagreement([0, 1, 2], [0, 1.6]) == 2


def test_late_start_is_no_truncation(tmp_path: Path) -> None:
    path = write_video(tmp_path / "late.mkv", times=[5 + i / 8 for i in range(24)])
    info = PyAVReader().probe(path)
    assert info.num_frames == 24
    assert info.duration_s == pytest.approx(3.0, abs=2e-3)


@pytest.mark.parametrize("kind", ["transport stream", "edit list", "open groups"])
def test_decord_refuses_what_it_gets_wrong(
    kind: str, corpus: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    video = next(video for video in VIDEOS if video.kind == kind)
    path = written(video, corpus)
    with pytest.raises(VideoDecodeError, match="decord .*use reader pyav, or set the reader's on_mismatch to warn"):
        reader_called("decord").read(path, [0])
    frames, _ = reader_called("decord", on_mismatch="warn").read(path, [0])
    assert len(frames) == 1
    assert "its frames are used as they come" in caplog.text


def test_opencv_notices_that_frames_are_lost(tmp_path: Path) -> None:
    reader = reader_called("opencv")
    whole = write_video(tmp_path / "whole.mp4", num_frames=200, options={"movflags": "faststart"})
    path = damage(whole, tmp_path / "damaged.mp4", 0.4, 0.45)
    frames, _ = reader.read(path, range(40))
    assert [number_of(frame) for frame in frames] == list(range(40))
    with pytest.raises(VideoDecodeError, match="OpenCV"):
        reader.read(path, [3, 190])


def only_first_stream(path: Path, target: Path) -> Path:
    """A copy with the first video stream alone, for readers that cannot choose one."""
    import av

    with av.open(str(path)) as source, av.open(str(target), "w") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    return target


@pytest.mark.parametrize("name", READERS)
def test_published_times_of_a_real_clip(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Of the clip's two video streams the published times are those of the first."""
    published = json.loads((data_dir / "video" / "nasa_13013.stream0.frames.json").read_text())
    times = [float(frame["pts_time"]) for frame in published]
    settings = {"stream": 0} if name in ("pyav", "torchcodec") else {}
    reader = reader_called(name, **settings)
    path = data_dir / "video" / "nasa_13013.mp4"
    path = path if settings else only_first_stream(path, tmp_path / "first.mp4")
    info = reader.probe(path)
    assert (info.width, info.height, info.num_frames) == (320, 180, len(published))
    half = 0.5 * min(b - a for a, b in pairwise(times))
    assert list(info.times) == pytest.approx([time - times[0] for time in times], abs=half)
    asked = random.Random(0).sample(range(len(times)), 8)
    assert reader.read(path, asked, size=(24, 32), info=info)[1] == pytest.approx([times[i] for i in asked], abs=half)


@pytest.mark.parametrize("name", READERS)
def test_rate_of_a_charades_clip(data_dir: Path, name: str) -> None:
    info = reader_called(name).probe(data_dir / "video" / "charades_sample.mp4")
    assert info.num_frames == 460
    assert info.fps == pytest.approx(14.985, abs=1e-3)
    assert info.times[-1] + 1 / info.fps == pytest.approx(30.70, abs=0.5 / 14.985)
    ours = PyAVReader().probe(data_dir / "video" / "charades_sample.mp4")
    assert disagreement(ours.times, info.times) == 0

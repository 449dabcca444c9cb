"""Data sets of conversations: videos, images and text alone, from one annotation file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lavis.common.quarantine import Quarantine
from lavis.datasets.base import MomentDataset
from lavis.datasets.build import build_dataset, collate
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.video_processor import VideoProcessor, build_processor
from lavis.structures import Frames, VideoSample, Views
from tests.video_factory import write_video

TALK = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
ROWS = [
    {"video": "activitynet/v.mp4", "duration": 9, "conversations": TALK},
    {"image": "coco/i.jpg", "conversations": TALK},
    {"conversations": TALK},
]


def frames(sample: VideoSample, train: bool) -> Views:
    return {"frames": Frames(torch.zeros(1, 3, 2, 2), [0.0])}


def build(folder: Path, processor: Any = frames, **options: Any) -> MomentDataset:
    (folder / "train.json").write_text(json.dumps(ROWS))
    node = {
        "name": "grounding",
        "format": {"name": "conversations", "video_folder": "videos", "image_folder": "images"},
        "annotations": {"train": str(folder / "train.json")},
        "videos": str(folder),
        "video_suffix": "",
        **options,
    }
    return build_dataset("talk", node, "train", processor, True)


def test_each_row_has_its_file_or_none(tmp_path: Path) -> None:
    for name in ("videos/activitynet/v.mp4", "images/coco/i.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    (tmp_path / "srts").mkdir()
    dataset = build(tmp_path, subtitles=str(tmp_path / "srts"), on_missing_subtitles="empty")
    names = [str(tmp_path / "videos/activitynet/v.mp4"), str(tmp_path / "images/coco/i.jpg"), ""]
    assert [s.video for s in dataset.samples] == names
    assert dataset.counts["missing_videos"] == 0
    assert all(dataset[i] is not None and dataset.side_files(i) == [] for i in range(3))


def test_text_alone_is_never_missing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"datasets.talk.videos: 2 of 2 videos are missing"):
        build(tmp_path)
    dataset = build(tmp_path, on_missing_video="skip")
    assert [s.extra["media"] for s in dataset.samples] == ["text"]
    assert dataset.counts["without_video"] == 2


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A video of 9 seconds and a red picture, twice as wide as it is high."""
    for name in ("videos/activitynet", "images/coco"):
        (tmp_path / name).mkdir(parents=True)
    write_video(tmp_path / "videos/activitynet/v.mp4", num_frames=9, fps=1)
    Image.new("RGB", (32, 16), (255, 0, 0)).save(tmp_path / "images/coco/i.jpg")
    return tmp_path


def processor(**settings: Any) -> VideoProcessor:
    phase = {"name": "clip_eval", "image_size": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}
    view = {"sampler": {"name": "head", "num_frames": 4}, "transform": {"train": phase, "eval": phase}, **settings}
    return build_processor({"views": {"frames": view}})


def test_all_three_come_to_one_batch(corpus: Path) -> None:
    dataset = build(corpus, processor(image_pad_to_square=True))
    batch = collate([dataset[i] for i in range(3)])
    video, picture, nothing = batch.views["frames"]
    assert [s.extra["media"] for s in batch.samples] == ["video", "image", "text"]
    assert video.pixels.shape == (4, 3, 8, 8)
    assert (picture.pixels.shape, picture.times) == ((1, 3, 8, 8), [0.0])
    rows = [[round(255 * float(level)) for level in picture.pixels[0, :, row, 4]] for row in (0, 4)]
    assert all(abs(a - b) < 12 for row, want in zip(rows, [(122, 116, 104), (255, 0, 0)], strict=True)
               for a, b in zip(row, want, strict=True))  # fmt: skip
    assert (nothing.pixels.shape, nothing.times) == ((0, 3, 8, 8), [])
    black = collate([build(corpus, processor(text_frames=1))[2]]).views["frames"][0]
    assert black.pixels.tolist() == torch.zeros(1, 3, 8, 8).tolist()


def test_a_picture_keeps_its_suffix_and_has_no_subtitles(corpus: Path) -> None:
    (corpus / "videos/activitynet/v.mp4").rename(corpus / "videos/activitynet/v.mp4.mp4")
    (corpus / "srts/videos/activitynet").mkdir(parents=True)
    (corpus / "srts/videos/activitynet/v.mp4.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhello\n")
    dataset = build(corpus, processor(), video_suffix=".mp4", subtitles=str(corpus / "srts"))
    items = [dataset[i] for i in range(3)]
    assert [len(item[0].subtitles) for item in items if item is not None] == [1, 0, 0]
    assert dataset.counts["missing_subtitles"] == 0


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_broken_picture_is_named_with_its_row(corpus: Path, damage: str) -> None:
    picture = corpus / "images/coco/i.jpg"
    picture.write_bytes(picture.read_bytes()[:-80] if damage == "cut" else b"404: not found")
    with pytest.raises(VideoDecodeError, match=r"sample Conversation_1: .*i\.jpg: not a readable image"):
        build(corpus, processor())[1]
    dataset = build(corpus, processor(), on_decode_error="skip")
    listed = Quarantine(corpus / "quarantine.jsonl")
    dataset.use_quarantine(listed)
    assert dataset[1] is None
    assert dataset.skipped_ids == ["Conversation_1"]
    found = dataset.quarantined
    assert found is not None and (found.videos, found.samples) == (1, 1)
    assert "not a readable image" in str(listed.reason(str(picture)))
    Image.new("RGB", (32, 16)).save(picture)
    assert dataset[1] is not None, "mended, it is tried again"
    assert dataset[0] is not None and dataset[2] is not None


def test_pictures_of_hawkeye_are_read_too(corpus: Path) -> None:
    rows = [{"image": "coco/i.jpg", "QA": [{"i": "Look.", "q": "What?", "a": "Red."}]}]
    (corpus / "train.json").write_text(json.dumps(rows))
    node = {
        "name": "grounding", "format": {"name": "hawkeye_it"}, "annotations": {"train": str(corpus / "train.json")},
        "videos": str(corpus / "images"), "video_suffix": "",
    }  # fmt: skip
    item = build_dataset("it", node, "train", processor(), True)[0]
    assert item is not None
    assert item[1]["frames"].pixels.shape == (1, 3, 8, 8)

"""Data sets of conversations: videos, images and text alone, from one annotation file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.datasets.base import MomentDataset
from lavis.datasets.build import build_dataset
from lavis.structures import Frames, VideoSample, Views

TALK = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
ROWS = [
    {"video": "activitynet/v.mp4", "duration": 9, "conversations": TALK},
    {"image": "coco/i.jpg", "conversations": TALK},
    {"conversations": TALK},
]


def frames(sample: VideoSample, train: bool) -> Views:
    return {"frames": Frames(torch.zeros(1, 3, 2, 2), [0.0])}


def build(folder: Path, **options: Any) -> MomentDataset:
    (folder / "train.json").write_text(json.dumps(ROWS))
    node = {
        "name": "grounding",
        "format": {"name": "conversations", "video_folder": "videos", "image_folder": "images"},
        "annotations": {"train": str(folder / "train.json")},
        "videos": str(folder),
        "video_suffix": "",
        **options,
    }
    return build_dataset("talk", node, "train", frames, True)


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

"""Datasets: files, subtitles, priors, subsets, and what happens to videos that cannot be read."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from lavis.common.binding import Binder
from lavis.common.registry import registry
from lavis.datasets.base import MomentDataset
from lavis.datasets.build import build_dataset, collate
from lavis.datasets.grounding import GroundingDataset
from lavis.processors.readers.base import VideoDecodeError
from lavis.processors.subtitles import SubtitleError
from lavis.structures import Frames, Moment, VideoSample, Views

ROWS = [
    {
        "video": f"v{i // 2}",
        "qid": f"Toy_{i}",
        "query": query,
        "duration": 20 + i,
        "items": ["item"],
        "relevant_windows": [[i, i + 4]],
        "rewrite": [f"{query} once", f"{query} twice"],
    }
    for i, query in enumerate(["a man talks", "a dog runs", "they walk and talk", "a door opens", "A man Talks"])
]
SRT = "1\n00:00:01,000 --> 00:00:02,500\nHello there\n"

Build = Callable[..., MomentDataset]


class FakeProcessor:
    """Two frames for every video; the video of a name in ``broken`` cannot be read."""

    def __init__(self, *broken: str) -> None:
        self.broken = broken
        self.train: bool | None = None
        self.epoch: int | None = None

    def __call__(self, sample: VideoSample, train: bool) -> Views:
        self.train = train
        if Path(sample.video).stem in self.broken:
            raise VideoDecodeError(sample.video, "is damaged", "replace it", sample.id)
        return {"frames": Frames(torch.zeros(2, 3, 2, 2), [0.0, 1.0])}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("videos", "srts"):
        (tmp_path / name).mkdir()
    for i in range(3):
        (tmp_path / "videos" / f"v{i}.mp4").touch()
        (tmp_path / "srts" / f"v{i}.srt").write_text(SRT if i == 0 else "")
    (tmp_path / "val.json").write_text(json.dumps(ROWS))
    return tmp_path


@pytest.fixture
def build(folder: Path) -> Build:
    def build_with(processor: Any = None, train: bool = False, split: str = "val", **options: Any) -> MomentDataset:
        node = {
            "name": "grounding",
            "format": {"name": "calce"},
            "annotations": {"val": str(folder / "{split}.json"), "train": str(folder / "val.json")},
            "videos": str(folder / "videos"),
            **options,
        }
        return build_dataset("toy", node, split, processor or FakeProcessor(), train)

    return build_with


def ids(dataset: MomentDataset) -> list[str]:
    return [s.id for s in dataset.samples]


def test_items(build: Build, folder: Path) -> None:
    processor = FakeProcessor()
    dataset = build(processor, train=True, split="train", subtitles=str(folder / "srts"))
    assert (len(dataset), dataset.split, dataset.dataset_name, dataset.train) == (5, "train", "toy", True)
    item = dataset[0]
    assert item is not None
    sample, views = item
    assert sample.video == str(folder / "videos" / "v0.mp4")
    assert (sample.query, sample.dataset, sample.duration) == ("a man talks", "toy", 20)
    assert [line.text for line in sample.subtitles] == ["hello there"]
    assert sample.speech == [Moment(1.0, 2.5)]
    assert list(views) == ["frames"]
    assert processor.train is True
    assert dataset.samples[0].subtitles == [], "subtitles are read with the item"


def test_without_subtitles_there_is_no_speech(build: Build) -> None:
    item = build()[0]
    assert item is not None
    assert (item[0].subtitles, item[0].speech) == ([], [])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"subset": 2}, [0, 1]),
        ({"subset": 99}, [0, 1, 2, 3, 4]),
        ({"keyword": ["talk"]}, [0, 2]),
        ({"no_keyword": ["talk", "dog"]}, [3, 4]),
        ({"fix": [3, 1]}, [1, 3]),
        ({"fix": ["Toy_4", 0]}, [0, 4]),
        ({"keyword": ["talk"], "fix": [2, 3]}, [2]),
    ],
)
def test_subsets(build: Build, options: dict[str, Any], expected: list[int]) -> None:
    assert ids(build(**options)) == [f"Toy_{i}" for i in expected]


def test_random_subsets_repeat_and_keep_the_order(build: Build) -> None:
    first = ids(build(random=3))
    assert len(first) == 3
    assert first == sorted(first)
    assert ids(build(random=3)) == first
    assert len({tuple(ids(build(random=3, seed=seed))) for seed in range(8)}) > 1


def test_rewrites_are_samples_of_their_own(build: Build) -> None:
    dataset = build(subset=1, use_rewrite=True)
    assert [(s.id, s.query) for s in dataset.samples] == [
        ("Toy_0#0", "a man talks once"),
        ("Toy_0#1", "a man talks twice"),
    ]
    assert dataset.samples[0].extra["original_id"] == "Toy_0"
    assert ids(build(subset=1)) == ["Toy_0"], "the annotations are left alone"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subset": 0}, r"datasets.toy.subset must be at least 1"),
        ({"random": 6}, r"datasets.toy.random is 6, but there are only 5"),
        ({"keyword": []}, r"datasets.toy.keyword is empty"),
        ({"keyword": ["cat"]}, r"datasets.toy: its options leave none of 5"),
        ({"fix": [1, 77, "Toy_x"]}, r"2 of 3 ids do not exist, such as 77; ids look like 'Toy_0'"),
        ({"on_decode_error": "warn"}, r"on_decode_error must be one of 'raise', 'skip', got 'warn'"),
        ({"on_missing_subtitles": "ignore"}, r"on_missing_subtitles must be one of"),
        ({"formatt": 1}, r"datasets.toy"),
        ({"format": {"name": "calse"}}, r"unknown annotation format 'calse'.*Did you mean 'calce'"),
        ({"format": {"name": "calce", "on_bad_window": "drop"}}, r"datasets.toy.format: .*must be one of"),
        ({"annotations": {"train": "x"}}, r"annotations has no split 'val'; it has train"),
        ({"videos": "/nowhere"}, r"datasets.toy.videos: there is no folder /nowhere.*LAVIS_DATA"),
        ({"subtitles": "/nowhere"}, r"datasets.toy.subtitles: there is no folder /nowhere"),
        ({"video_suffix": ".avi"}, r"3 of 3 videos are missing in .*, such as v0.avi, v1.avi, v2.avi"),
        ({"prior": "/nowhere/{split}.jsonl"}, r"there are no predictions /nowhere/val.jsonl"),
    ],
)
def test_bad_options(build: Build, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_rewrites_must_be_there(build: Build, folder: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "rewrite"} for row in ROWS]
    (folder / "val.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"sample Toy_0 has no field 'rewrite'"):
        build(use_rewrite=True)


def test_bad_rows_are_left_out_where_that_is_allowed(build: Build, folder: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "qid": "Toy_9", "duration": "20"}]
    (folder / "val.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=r"row 6 \(id Toy_9\), field 'duration'"):
        build()
    with pytest.raises(ValueError, match=r"datasets.toy.on_bad_row must be one of"):
        build(on_bad_row="ignore")
    dataset = build(on_bad_row="skip")
    assert (len(dataset), dataset.counts["bad_rows"], dataset.left_out) == (5, 1, 1)


def test_missing_videos(build: Build, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "videos" / "v1.mp4").unlink()
    with pytest.raises(ValueError, match=r"datasets.toy.videos: 1 of 3 videos are missing .*such as v1.mp4"):
        build()
    with caplog.at_level(logging.WARNING):
        dataset = build(on_missing_video="skip")
    assert "1 of 3 videos are missing" in caplog.text
    assert ids(dataset) == ["Toy_0", "Toy_1", "Toy_4"]
    assert dataset.counts == {
        "rows": 5, "missing_videos": 1, "without_video": 2, "samples": 3, "skipped": 0,
    }  # fmt: skip
    assert len(build(check_files=False)) == 5
    for name in ("v0", "v2"):
        (folder / "videos" / f"{name}.mp4").unlink()
    with pytest.raises(ValueError, match=r"not one of 5 samples has its files"):
        build(on_missing_video="skip")


def test_videos_in_subfolders_and_frame_folders(build: Build, folder: Path) -> None:
    (folder / "videos" / "sub").mkdir()
    (folder / "videos" / "sub" / "w").mkdir()
    (folder / "val.json").write_text(json.dumps([{**ROWS[0], "video": "sub/w"}]))
    dataset = build(video_suffix="")
    assert dataset.samples[0].video == str(folder / "videos" / "sub" / "w")
    with pytest.raises(ValueError, match=r"such as sub/w.mp4"):
        build()


def test_missing_subtitles(build: Build, folder: Path) -> None:
    (folder / "srts" / "v0.srt").unlink()
    srts = str(folder / "srts")
    with pytest.raises(ValueError, match=r"datasets.toy.subtitles: 1 of 3 subtitles are missing .*such as v0.srt"):
        build(subtitles=srts)
    skipping = build(subtitles=srts, on_missing_subtitles="skip")
    assert ids(skipping) == ["Toy_2", "Toy_3", "Toy_4"]
    assert skipping.counts["missing_subtitles"] == 1
    empty = build(subtitles=srts, on_missing_subtitles="empty")
    item = empty[0]
    assert item is not None
    assert item[0].speech == []


def test_missing_subtitles_found_late(build: Build, folder: Path) -> None:
    (folder / "srts" / "v0.srt").unlink()
    options = {"subtitles": str(folder / "srts"), "check_files": False}
    with pytest.raises(ValueError, match=r"datasets.toy, sample Toy_0: there are no subtitles .*v0.srt"):
        build(**options)[0]
    skipping = build(**options, on_missing_subtitles="skip")
    assert skipping[0] is None
    assert skipping.skipped_ids == ["Toy_0"]


def test_items_tell_what_they_are_made_from(build: Build, folder: Path) -> None:
    (folder / "srts" / "v0.srt").unlink()
    options = {"subtitles": str(folder / "srts"), "on_missing_subtitles": "empty"}
    assert [f.name for i in range(4) for f in build(**options).side_files(i)] == ["v1.srt", "v1.srt"]
    assert build().side_files(0) == []


def test_malformed_subtitles(build: Build, folder: Path) -> None:
    (folder / "srts" / "v0.srt").write_text(SRT + "\n2\n00:00:05,000 --> 00:00:04,000\nBackwards\n")
    srts = str(folder / "srts")
    with pytest.raises(SubtitleError, match=r"v0.srt:6: the entry ends before it starts"):
        build(subtitles=srts)[0]
    item = build(subtitles=srts, on_malformed_subtitles="skip")[0]
    assert item is not None
    assert [line.text for line in item[0].subtitles] == ["hello there"]


def test_epochs_reach_the_processor_in_training(build: Build) -> None:
    processor = FakeProcessor()
    build(processor).set_epoch(3)
    assert processor.epoch is None
    build(processor, train=True, split="train").set_epoch(3)
    assert processor.epoch == 3


def test_training_needs_truth(build: Build, folder: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "relevant_windows"} for row in ROWS]
    (folder / "val.json").write_text(json.dumps(rows))
    assert build().samples[0].moments is None
    with pytest.raises(ValueError, match=r"val.json has no truth to train on \(sample Toy_0\)"):
        build(train=True)


def test_undecodable_video_raises(build: Build) -> None:
    with pytest.raises(VideoDecodeError, match=r"sample Toy_2: .*v1.mp4: is damaged; replace it"):
        build(FakeProcessor("v1"))[2]


@pytest.mark.parametrize("workers", [0, 1])
def test_undecodable_video_skipped_and_counted_across_processes(build: Build, workers: int) -> None:
    dataset = build(FakeProcessor("v1"), on_decode_error="skip")
    batches = list(DataLoader(dataset, batch_size=2, num_workers=workers, collate_fn=collate))
    assert [[s.id for s in batch.samples] for batch in batches] == [["Toy_0", "Toy_1"], [], ["Toy_4"]]
    assert [len(batch) for batch in batches] == [2, 0, 1]
    assert dataset.skipped_ids == ["Toy_2", "Toy_3"]
    assert dataset.counts["skipped"] == 2
    assert dataset[2] is None
    assert dataset.counts["skipped"] == 2, "the same item again counts once"


def test_collate_keeps_views_apart() -> None:
    def item(name: str, frames: int) -> tuple[VideoSample, Views]:
        views = {"wide": frames, "close": frames + 1}
        return VideoSample(name, "v", "q", 5.0), {
            view: Frames(torch.zeros(n, 3, 2, 2), [float(t) for t in range(n)]) for view, n in views.items()
        }

    batch = collate([item("a", 2), None, item("b", 3)])
    assert [s.id for s in batch.samples] == ["a", "b"]
    assert {view: [len(f) for f in frames] for view, frames in batch.views.items()} == {"wide": [2, 3], "close": [3, 4]}
    assert collate([None]).views == {}


def test_node_is_checked_by_its_signature() -> None:
    binder = Binder()
    node = {
        "name": "grounding",
        "format": {"name": "calce", "beyond_and": "keep"},
        "annotations": {"val": "a.json"},
        "videos": "v",
        "on_decode_error": "drop",
        "split": "val",
    }
    assert binder.entry(node, registry.datasets, ("datasets", "toy")) is GroundingDataset
    found = {problem.key: problem.message for problem in binder.problems}
    assert sorted(found) == ["datasets.toy.format.beyond_and", "datasets.toy.on_decode_error", "datasets.toy.split"]
    assert "beyond_end" in found["datasets.toy.format.beyond_and"]


def test_real_video_through_the_real_processor(data_dir: Path, tmp_path: Path) -> None:
    from lavis.processors.video_processor import build_processor

    row = {
        "video": "charades_sample",
        "qid": "C_1",
        "query": "q",
        "duration": 31,
        "items": [],
        "relevant_windows": [[1, 5]],
    }
    (tmp_path / "val.json").write_text(json.dumps([row, {**row, "qid": "C_2", "start": 10, "end": 20}]))
    transform = {"name": "clip_eval", "image_size": 28}
    view = {
        "reader": {"name": "pyav"},
        "sampler": {"name": "head", "num_frames": 4},
        "transform": {"train": transform, "eval": transform},
    }
    node = {
        "name": "grounding",
        "format": {"name": "calce"},
        "annotations": {"val": str(tmp_path / "val.json")},
        "videos": str(data_dir / "video"),
    }
    dataset = build_dataset("charades", node, "val", build_processor({"views": {"frames": view}}), False)
    batch = collate([dataset[0], dataset[1]])
    whole, clip = batch.views["frames"]
    assert whole.pixels.shape == clip.pixels.shape == (4, 3, 28, 28)
    assert whole.times[0] == 0.0
    assert 9.9 < clip.times[0] < clip.times[-1] < 20

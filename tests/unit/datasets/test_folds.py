"""Parts of a split: by video, balanced, the same whatever the order."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lavis.common.yaml_tree import ConfigError
from lavis.datasets._folds import Fold, parts_of
from lavis.datasets.build import build_dataset

ROWS = [
    {"video": f"v{i % 5}", "qid": f"Q_{i}", "query": "q", "duration": 9, "items": [], "relevant_windows": [[0, 2]]}
    for i in range(13)
]


def ids(folder: Path, split: str, train: bool, fold: dict[str, Any] | None) -> list[str]:
    node = {
        "name": "grounding",
        "format": {"name": "calce"},
        "annotations": {"train": str(folder / "rows.json"), "val": str(folder / "rows.json")},
        "videos": str(folder),
        "check_files": False,
        **({} if fold is None else {"fold": fold}),
    }
    return [sample.id for sample in build_dataset("toy", node, split, lambda sample, train: {}, train=train).samples]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.json").write_text(json.dumps(ROWS))
    return tmp_path


def test_every_sample_is_held_out_once_and_trained_on_otherwise(folder: Path) -> None:
    everything = ids(folder, "train", True, None)
    held_out = []
    for index in (1, 2, 3):
        fold = {"index": index, "count": 3}
        out, rest = ids(folder, "train", False, fold), ids(folder, "train", True, fold)
        assert sorted(out + rest) == sorted(everything)
        assert [each for each in everything if each in rest] == rest, "the order of the file stays"
        videos = {row["qid"]: row["video"] for row in ROWS}
        assert not {videos[each] for each in out} & {videos[each] for each in rest}
        held_out += out
    assert sorted(held_out) == sorted(everything)


def test_other_splits_stay_whole(folder: Path) -> None:
    assert ids(folder, "val", False, {"index": 1, "count": 3}) == [row["qid"] for row in ROWS]
    assert len(ids(folder, "val", False, {"index": 1, "count": 3, "splits": ["val"]})) < len(ROWS)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_parts_are_balanced_and_do_not_depend_on_the_order(count: int) -> None:
    generator = random.Random(count)
    videos = [f"v{generator.randrange(60)}" for _ in range(300)]
    parts = parts_of(videos, count)
    sizes = Counter(parts[video] for video in videos)
    assert set(sizes) == set(range(1, count + 1))
    assert max(sizes.values()) - min(sizes.values()) <= max(Counter(videos).values())
    generator.shuffle(videos)
    assert parts_of(videos, count) == parts


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ({"index": 4, "count": 3}, "index must be 1 to 3, the count, got 4"),
        ({"index": 1, "count": 1}, "count must be at least 2"),
        ({"index": 1, "count": 2, "splits": []}, "splits is empty"),
        ({"index": 1, "count": 9}, r"datasets\.toy\.fold: 9 folds need as many videos, there are 5"),
        ({"index": 1, "counts": 9}, "counts"),
    ],
)
def test_folds_that_do_not_fit(folder: Path, fold: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=message):
        ids(folder, "train", True, fold)


def test_a_fold_says_who_takes_part() -> None:
    fold = Fold(2, 3)
    assert [fold.holds("train", True, part) for part in (1, 2, 3)] == [True, False, True]
    assert [fold.holds("train", False, part) for part in (1, 2, 3)] == [False, True, False]
    assert fold.holds("val", False, 1)

"""Datasets joined and mixed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.datasets.base import Item, MomentDataset
from lavis.datasets.build import build_dataset, splits_of
from lavis.datasets.mixture import MixtureDataset, shares, shuffled, slice_of_rounds
from lavis.runners.epochs import epoch_order
from lavis.structures import Frames, VideoSample, Views


class Numbers(MomentDataset):
    """``size`` samples; number 1 cannot be read."""

    def __init__(self, name: str, size: int) -> None:
        super().__init__(name, "train", True, [VideoSample(f"{name}{i}", "v", "q", 5) for i in range(size)], Counter())

    def __getitem__(self, index: int) -> Item | None:
        if index == 1:
            self.mark_skipped(index)
            return None
        return self.samples[index], {"frames": Frames(torch.zeros(1, 3, 2, 2), [0.0])}


def no_frames(sample: VideoSample, train: bool) -> Views:
    return {}


def mix(train: bool = True, **options: Any) -> MixtureDataset:
    parts = {"a": Numbers("a", 3), "b": Numbers("b", 5)}
    return MixtureDataset(dataset_name="mix", split="train", train=train, parts=parts, **options)


def test_joined_end_to_end() -> None:
    dataset = mix()
    assert [s.id for s in dataset.samples] == ["a0", "a1", "a2", "b0", "b1", "b2", "b3", "b4"]
    item = dataset[3]
    assert item is not None
    assert item[0].id == "b0"
    assert dataset[1] is None
    assert dataset[4] is None
    assert dataset.skipped_ids == ["a1", "b1"]
    assert dataset.counts == {"samples": 8, "skipped": 2}


def test_items_tell_what_they_are_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mix().side_files(3) == []
    monkeypatch.setattr(Numbers, "side_files", lambda self, index: [Path(self.samples[index].id)])
    assert mix().side_files(3) == [Path("b0")]


def test_weighted() -> None:
    dataset = mix(weights={"a": 1, "b": 3}, length=12)
    assert len(dataset) == 12
    assert Counter(s.id[0] for s in dataset.samples) == {"a": 3, "b": 9}
    first = [s.id for s in dataset.samples]
    dataset.set_epoch(1)
    assert [s.id for s in dataset.samples] != first
    dataset.set_epoch(0)
    assert [s.id for s in dataset.samples] == first


def test_all_samples_occur_before_one_repeats() -> None:
    dataset = mix(weights={"a": 1, "b": 1}, length=4)
    seen: list[str] = []
    for epoch in range(5):
        dataset.set_epoch(epoch)
        seen += [s.id for s in dataset.samples if s.id[0] == "b"]
    assert Counter(seen) == dict.fromkeys(["b0", "b1", "b2", "b3", "b4"], 2)


def test_sizes_say_how_many_items_of_each() -> None:
    dataset = mix(sizes={"a": 7, "b": 2})
    assert Counter(s.id for s in dataset.samples if s.id[0] == "a").most_common()[-1][1] == 2
    seen: list[str] = []
    for epoch in range(5):
        dataset.set_epoch(epoch)
        seen += [s.id for s in dataset.samples if s.id[0] == "b"]
    assert Counter(seen) == dict.fromkeys(["b0", "b1", "b2", "b3", "b4"], 2)
    assert {s.id[0] for s in mix(sizes={"a": 0, "b": 2}).samples} == {"b"}
    assert len(mix(train=False, sizes={"a": 7, "b": 2})) == 8


def test_figures_of_each_source() -> None:
    dataset = mix(sizes={"a": 6, "b": 2})
    for i in range(len(dataset)):
        dataset[i]
    figures = dataset.sources
    assert (figures["a"].samples, figures["a"].items, figures["a"].share, figures["a"].passes) == (3, 6, 0.75, 2.0)
    assert figures["a"].skipped == 1
    assert str(figures["b"]).startswith("2 items an epoch (25.0%) of 5 samples, 0.4 passes")
    assert [figures.items for figures in mix().sources.values()] == [3, 5]


class Ordered(Numbers):
    """Goes through its samples two at a time, beginning with another pair in each epoch."""

    def epoch_order(self, seed: int, epoch: int) -> list[int]:
        return [(2 * epoch + i) % len(self) for i in range(len(self))]


def ordered(**options: Any) -> MixtureDataset:
    parts = {"a": Ordered("a", 6), "b": Numbers("b", 5)}
    return MixtureDataset(dataset_name="mix", split="train", train=True, parts=parts, **options)


def visited(dataset: MixtureDataset, epoch: int, part: str) -> list[int]:
    """Numbers of a part's samples in the order in which training takes them."""
    dataset.set_epoch(epoch)
    ids = [dataset.samples[i].id for i in epoch_order([dataset], 3, epoch)]
    return [int(identity[1:]) for identity in ids if identity[0] == part]


def test_a_part_that_orders_itself_is_kept_in_order() -> None:
    joined = ordered()
    assert mix().epoch_order(3, 0) is None, "nobody chose"
    assert visited(joined, 1, "a") == [2, 3, 4, 5, 0, 1]
    assert sorted(visited(joined, 1, "b")) == list(range(5))
    places = [joined.samples[i].id[0] for i in epoch_order([joined], 3, 1)]
    assert "ab" in "".join(places)
    assert "ba" in "".join(places)


@pytest.mark.parametrize("options", [{"weights": {"a": 1, "b": 1}, "length": 8}, {"sizes": {"a": 4, "b": 4}}])
def test_weighted_parts_that_order_themselves_go_on_in_their_order(options: dict[str, Any]) -> None:
    dataset = ordered(**options)
    rounds = [Ordered("a", 6).epoch_order(0, number) for number in range(2)]
    assert [i for epoch in range(3) for i in visited(dataset, epoch, "a")] == [*rounds[0], *rounds[1]]
    seen = Counter(i for epoch in range(5) for i in visited(dataset, epoch, "b"))
    assert seen == dict.fromkeys(range(5), 4)


def test_evaluation_sees_every_sample_once() -> None:
    assert len(mix(train=False, weights={"a": 1, "b": 30}, length=99)) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"a": 1}}, r"weights needs a number above 0 for each of a, b"),
        ({"weights": {"a": 1, "b": 0}}, r"weights needs a number above 0"),
        ({"weights": {"a": 1, "b": float("nan")}}, r"weights needs a number above 0"),
        ({"weights": {"a": 1, "b": float("inf")}}, r"weights needs a number above 0"),
        ({"weights": {"a": 1, "b": "2"}}, r"weights needs a number above 0"),
        ({"weights": {"a": 1, "b": 1, "c": 1}}, r"weights needs"),
        ({"length": 4}, r"length must be at least 1 and goes with weights"),
        ({"weights": {"a": 1, "b": 1}, "length": 0}, r"length must be at least 1"),
        ({"sizes": {"a": 1}}, r"sizes needs a whole number of at least 0 for each of a, b"),
        ({"sizes": {"a": 0, "b": 0}}, r"sizes needs"),
        ({"sizes": {"a": 1.5, "b": 1}}, r"sizes needs"),
        ({"sizes": {"a": 1, "b": 1}, "weights": {"a": 1, "b": 1}}, r"no weights beside it"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mix(**options)


def test_shares_add_up() -> None:
    assert shares({"a": 1, "b": 1, "c": 1}, 10) == {"a": 4, "b": 3, "c": 3}
    assert shares({"a": 1, "b": 999}, 5) == {"a": 0, "b": 5}


def test_rounds() -> None:
    def part(start: int, count: int) -> list[int]:
        return slice_of_rounds(4, start, count, lambda number: shuffled(4, f"s {number}"))

    endless = part(0, 20)
    assert [sorted(endless[i : i + 4]) for i in range(0, 20, 4)] == [[0, 1, 2, 3]] * 5
    assert [part(start, 3) for start in (0, 3, 6, 9)] == [endless[i : i + 3] for i in (0, 3, 6, 9)]
    assert part(5, 0) == []


def test_built_from_nodes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        row = {"video": "v", "qid": f"{name}_1", "query": "q", "duration": 9, "items": [], "relevant_windows": [[1, 2]]}
        (tmp_path / f"{name}.json").write_text(json.dumps([row]))
    (tmp_path / "v.mp4").touch()

    def part(name: str, *splits: str) -> dict[str, Any]:
        annotations = dict.fromkeys(splits, str(tmp_path / f"{name}.json"))
        return {"name": "grounding", "format": {"name": "calce"}, "annotations": annotations, "videos": str(tmp_path)}

    node = {
        "name": "mixture",
        "parts": {"a": part("a", "train"), "b": part("b", "train", "val")},
        "weights": {"a": 1, "b": 1},
    }
    assert splits_of(node) == ["train", "val"]
    assert [s.id for s in build_dataset("mix", node, "val", no_frames, False).samples] == ["b_1"]
    train = build_dataset("mix", node, "train", no_frames, True)
    assert [(s.id, s.dataset) for s in train.samples] == [("a_1", "a"), ("b_1", "b")]
    with pytest.raises(ValueError, match=r"parts names no dataset with a split 'test'"):
        build_dataset("mix", node, "test", no_frames, False)
    node["parts"]["a"]["video"] = 3
    with pytest.raises(ValueError, match=r"datasets.mix.parts.a"):
        build_dataset("mix", node, "train", no_frames, True)

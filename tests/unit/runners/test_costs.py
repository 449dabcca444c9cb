"""What samples cost before their videos are opened, and trainings whose batches are filled by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import CheckpointError
from lavis.datasets.mixture import MixtureDataset
from lavis.processors.video_processor import build_processor
from lavis.runners.costs import Costs, counter, planned_views
from lavis.runners.data import train_loader
from lavis.runners.runner import Runner
from lavis.structures import Batch, Moment, VideoSample
from tests.fake_run import FakeData, FakeModel

Maker = Callable[..., Runner]


class Told(FakeData):
    """Samples that differ in length, on videos that are not there."""

    def __init__(self, costs: list[int], name: str = "train", sampler: dict[str, Any] | None = None) -> None:
        super().__init__(len(costs), name, train=True)
        view = {"sampler": sampler or {"name": "head", "num_frames": 2}, "transform": {"train": CLIP, "eval": CLIP}}
        self.processor = build_processor({"views": {"frames": view}})
        self.samples = [
            VideoSample(f"{name}{i}", f"{i}.mp4", "q" * n, 30.0, [Moment(i % 10, i % 10 + 5)], dataset=name)
            for i, n in enumerate(costs)
        ]

    def set_epoch(self, epoch: int) -> None:
        """All epochs are alike."""


CLIP = {"name": "clip_eval", "image_size": 2}


def query_length(sample: VideoSample, views: Any, answer: bool = False) -> int:
    return len(sample.query)


def test_frames_are_planned_from_the_annotation() -> None:
    data = Told([1], sampler={"name": "uniform", "num_frames": 6})
    (sample,) = data.samples
    frames = planned_views(data, sample)["frames"]
    assert (len(frames), frames.deferred, max(frames.times) < 30) == (6, True, True)
    part = VideoSample("p", "0.mp4", "q", 30.0, clip=Moment(10, 12))
    assert all(10 <= time <= 12 for time in planned_views(data, part)["frames"].times)
    assert len(planned_views(data, VideoSample("t", "", "text alone", 30.0))["frames"]) == 0


def test_a_clip_behind_the_annotated_end_costs_a_frame() -> None:
    data = Told([1], sampler={"name": "uniform", "num_frames": 6})
    behind = VideoSample("p", "0.mp4", "q", 30.0, clip=Moment(40, 50))
    assert len(planned_views(data, behind)["frames"]) >= 1


def test_a_processor_that_does_not_say_how_it_samples() -> None:
    costs = Costs([FakeData(2, "train")], query_length, lambda epoch: None)
    with pytest.raises(ValueError, match="how many frames FakeData shows.*run.batch_size"):
        costs(0)


def test_samples_are_counted_once_also_within_mixtures() -> None:
    asked: list[str] = []

    def count(sample: VideoSample, views: Any) -> int:
        asked.append(sample.id)
        assert len(views["frames"]) == 2
        return len(sample.query)

    parts: Any = {"a": Told([3, 4], "a"), "b": Told([5, 6, 7], "b")}
    weights = {"a": 1.0, "b": 2.0}
    mixture = MixtureDataset(dataset_name="m", split="train", train=True, parts=parts, weights=weights, length=4)
    costs = Costs([mixture, Told([9], "c")], count, mixture.set_epoch)
    for epoch in range(6):
        assert costs(epoch) == [len(sample.query) for sample in mixture.samples] + [9]
    assert sorted(asked) == ["a0", "a1", "b0", "b1", "b2", "c0"]


def test_subtitles_are_part_of_the_cost() -> None:
    data = Told([2, 2])
    data.with_subtitles = lambda i: VideoSample("s", "0.mp4", "q" * 50, 30.0) if i else None  # type: ignore[attr-defined]
    assert Costs([data], query_length, lambda epoch: None)(0) == [2, 50]


def test_the_answer_is_counted() -> None:
    model = SimpleNamespace(count_tokens=lambda sample, views, answer=False: 7 + answer)
    count = counter(model)
    assert count is not None
    assert count(None, {}) == 8  # type: ignore[arg-type]
    assert counter(object()) is None


def test_batches_are_filled_and_hardly_padded() -> None:
    lengths = [10, 80, 11, 79, 12, 81, 9, 78] * 4
    loader, sampler = train_loader([Told(lengths)], batch_size=1, tokens=160, count=query_length, seed=1)
    seen: list[str] = []
    for batch in loader:
        costs = [len(sample.query) for sample in batch.samples]
        assert len(costs) * max(costs) <= 160
        assert max(costs) < 2 * min(costs)
        seen += [sample.id for sample in batch.samples]
    assert len(seen) == len(set(seen)) == len(lengths)
    assert sampler.batches < len(lengths) / 2


def test_somebody_has_to_count() -> None:
    with pytest.raises(ValueError, match="needs a model that counts tokens"):
        train_loader([Told([1])], batch_size=1, tokens=5)


class Counting(FakeModel):
    """Without dropout, so that a batch does what its samples do."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout.p = 0.0
        self.sizes: list[int] = []

    def count_tokens(self, sample: VideoSample, views: Any, answer: bool = False) -> int:
        return len(sample.query)

    def forward(self, batch: Batch) -> dict[str, torch.Tensor]:
        self.sizes.append(len(batch))
        return super().forward(batch)


class Still(Told):
    """Without noise."""

    def __init__(self, costs: list[int]) -> None:
        super().__init__(costs)
        self.train = False


LENGTHS = [5, 5, 5, 5, 5, 20, 20, 20, 40, 40]


@pytest.mark.parametrize("settings", [{"batch_tokens": 40}, {"batch_size": 4}, {"batch_size": 3}])
def test_samples_weigh_the_same_whatever_batch_they_come_in(make: Maker, settings: dict[str, Any]) -> None:
    """The mean gradient of an epoch is that of one batch of everything."""
    whole, sizes = gradients(make, "whole", batch_size=len(LENGTHS))
    assert sizes == [len(LENGTHS)]
    parts, sizes = gradients(make, "parts", accumulate=100, **settings)
    assert len(set(sizes)) > 1
    assert all(torch.allclose(one, two, rtol=1e-4, atol=1e-7) for one, two in zip(whole, parts, strict=True))


def gradients(make: Maker, folder: str, **settings: Any) -> tuple[list[torch.Tensor], list[int]]:
    """Of the one optimizer step of a training, and the sizes of its batches."""
    model = Counting()
    runner = make(folder, model, train_data=[Still(LENGTHS)], valid_splits=[], epochs=1, **settings)
    found: list[torch.Tensor] = []
    step = runner.engine.step

    def noted() -> float | None:
        found.extend(p.grad.clone() for p in model.parameters() if p.grad is not None)
        return step()

    runner.engine.step = noted  # type: ignore[method-assign]
    runner.train()
    assert any(gradient.abs().max() > 1e-3 for gradient in found)
    return found, model.sizes


def test_a_training_by_tokens_goes_on_where_it_was_stopped(make: Maker, tmp_path: Path) -> None:
    common: dict[str, Any] = {"train_data": [Told(LENGTHS)], "valid_splits": [], "batch_tokens": 40, "epochs": 2}
    through = make("through", Counting(), **common)
    through.train()
    make("halves", Counting(), max_steps=4, save_steps=2, **common).train()
    resumed = make("halves", Counting(), **common)
    resumed.train()
    one, two = through.engine.weights(), resumed.engine.weights()
    assert all(torch.equal(one[name], two[name]) for name in one)
    rows = [json.loads(line) for line in (tmp_path / "halves" / "metrics.jsonl").read_text().splitlines()]
    assert max(row["step"] for row in rows) == through.progress.global_step


def test_other_processes_cannot_go_on_within_an_epoch_by_tokens() -> None:
    _, sampler = train_loader([Told(LENGTHS)], batch_size=1, tokens=40, count=query_length)
    sampler.check_position(0, 2)
    sampler.check_position(3, 1)
    with pytest.raises(CheckpointError, match="2 processes began cannot be gone on with by 1"):
        sampler.check_position(3, 2)

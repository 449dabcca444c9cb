"""Batches of one modality: the recorded order, whole epochs, equal shares, and epochs of one modality alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lavis.runners import epochs
from lavis.runners.data import train_loader
from lavis.runners.epochs import EpochSampler
from lavis.runners.modalities import Lengths, by_modality, signed_length
from lavis.structures import Turn, VideoSample
from tests.parity_cases.meco_training import cases


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_recorded_orders(golden_dir: Path) -> None:
    compared = [compare() for name, compare in cases(golden_dir / "meco") if "modality_sampler" in name]
    assert compared and not any(compared)


@given(
    st.lists(st.integers(-60, 60).filter(bool), min_size=1, max_size=60), st.integers(1, 4), st.integers(1, 4),
    st.integers(0, 3),
)  # fmt: skip
def test_every_sample_comes_once_in_iterations_of_its_modality(
    lengths: list[int], size: int, world: int, seed: int
) -> None:
    steps = by_modality(lengths, size, world, "spread", draws(seed))
    found = [index for step in steps for batch in step for index in batch]
    assert sorted(found) == list(range(len(lengths)))
    for step in steps:
        assert len(step) == world and len({lengths[index] > 0 for batch in step for index in batch}) == 1
        counts = [len(batch) for batch in step]
        assert max(counts) <= size and max(counts) - min(counts) <= 1


def test_processes_have_as_much_to_read_as_they_can() -> None:
    ((first, second),) = by_modality([9, 1, 8, 2], 2, 2, "drop", draws())
    assert sorted(map(sorted, (first, second))) == [[0, 1], [2, 3]]


@pytest.mark.parametrize("sign", [1, -1])
def test_one_modality_alone_is_no_fault(sign: int) -> None:
    steps = by_modality([sign * (i + 1) for i in range(8)], 2, 2, "drop", draws())
    assert len(steps) == 2


def test_what_does_not_fill_an_iteration_is_dropped_or_comes_again() -> None:
    lengths = [5, 5, 5, -5]
    assert len(by_modality(lengths, 2, 1, "drop", draws())) == 1
    repeated = by_modality(lengths, 2, 1, "repeat", draws())
    assert sorted(len(batch) for step in repeated for batch in step) == [2, 2, 2]
    with pytest.raises(ValueError, match=r"3 samples with a picture or video and 1 of text do not fill .* of 8"):
        by_modality(lengths, 4, 2, "drop", draws())


def test_lengths_count_blanks_and_tell_text_apart() -> None:
    turns = [Turn("user", "<image>\nWhat is it?"), Turn("assistant", "a door", learned=True)]
    sample = VideoSample("a", "clip.mp4", "What is it?", 1.0, turns=turns)
    assert signed_length(sample) == 5
    assert signed_length(VideoSample("b", "", "What is it?", 1.0, turns=turns)) == -5
    assert signed_length(VideoSample("c", "clip.mp4", "one two", 1.0)) == 3


class Rows:
    def __init__(self, lengths: list[int]) -> None:
        self.samples = [
            VideoSample(str(i), "clip.mp4" if n > 0 else "", "a " * abs(n), 1.0) for i, n in enumerate(lengths)
        ]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        return self.samples[index], {}


def test_a_loader_gives_batches_of_one_modality() -> None:
    data: Any = Rows([3, 4, -2, 5, -3, 6, 7])
    loader, sampler = train_loader([data], batch_size=2, group_by_modality=True, seed=3)
    batches = [batch.samples for batch in loader]
    assert len(batches) == sampler.batches == len(sampler)
    assert sampler.mean_size == 7 / sampler.batches
    assert all(len({bool(sample.video) for sample in batch}) == 1 for batch in batches)
    assert sorted(sample.id for batch in batches for sample in batch) == list("0123456")


def test_processes_share_what_one_would_see(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = [3, 4, -2, 5, -3, 6, 7, -4]

    def seen(world: int) -> list[list[int]]:
        monkeypatch.setattr(epochs.distributed, "world_size", lambda: world)
        sampler = EpochSampler(8, 4 // world, 1, lengths=lambda epoch: lengths)
        return [sorted(index for batch in step for index in batch) for step in sampler.plan()]

    assert seen(1) == seen(2) == seen(4)


def test_a_data_set_with_an_order_of_its_own_is_refused() -> None:
    data: Any = SimpleNamespace(samples=[], epoch_order=lambda seed, epoch: [0])
    with pytest.raises(ValueError, match="run.group_by_modality orders samples, and so does SimpleNamespace"):
        Lengths([data], lambda epoch: None)

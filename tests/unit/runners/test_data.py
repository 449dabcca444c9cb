"""Which sample comes when, whatever the number of processes, and wherever an epoch is entered."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from lavis.common import distributed
from lavis.runners.data import EpochSampler, SeededDataset, any_batch, train_loader
from lavis.runners.failures import RunError
from tests.fake_run import FakeData


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world: int) -> None:
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "world_size", lambda: world)


def test_an_epoch_is_a_permutation() -> None:
    sampler = EpochSampler(8, 2, seed=1)
    first = [index for batch in sampler for _, index in batch]
    sampler.set_position(1)
    second = [index for batch in sampler for _, index in batch]
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second


def test_an_epoch_can_be_entered_in_the_middle() -> None:
    sampler = EpochSampler(9, 2, seed=1)
    whole = list(sampler)
    sampler.set_position(0, 3)
    assert list(sampler) == whole[3:]
    assert (sampler.batches, len(sampler)) == (4, 1)


def test_the_last_batch_is_dropped_unless_it_is_the_only_one() -> None:
    assert len(list(EpochSampler(5, 2, seed=0))) == 2
    assert [len(batch) for batch in EpochSampler(3, 8, seed=0)] == [3]
    with pytest.raises(ValueError, match="no samples"):
        EpochSampler(0, 2, seed=0)


def test_processes_get_equally_many(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = []
    for rank in range(3):
        as_rank(monkeypatch, rank, 3)
        shares.append([index for batch in EpochSampler(7, 1, seed=0) for _, index in batch])
    assert [len(share) for share in shares] == [3, 3, 3]
    assert {index for share in shares for index in share} == set(range(7))


def test_randomness_depends_on_the_sample_alone() -> None:
    data = SeededDataset([FakeData(4, "train", train=True)], seed=1)
    torch.manual_seed(9)
    expected = float(torch.rand(1))
    torch.manual_seed(9)
    pixels = [data[0, 2][1]["frames"].pixels, data[1, 2][1]["frames"].pixels]
    assert float(torch.rand(1)) == expected
    data[0, 3]
    assert torch.equal(data[0, 2][1]["frames"].pixels, pixels[0])
    assert not torch.equal(pixels[0], pixels[1])


def test_loader_processes_change_nothing() -> None:
    epochs = []
    for workers in (0, 2):
        loader, sampler = train_loader(
            [FakeData(3, "a", train=True), FakeData(3, "b", train=True)], batch_size=2, num_workers=workers, seed=4
        )
        sampler.set_position(1, 1)
        epochs.append([(batch.samples, batch.views["frames"][0].pixels) for batch in loader])
    for (samples, pixels), (other_samples, other_pixels) in zip(*epochs, strict=True):
        assert [s.id for s in samples] == [s.id for s in other_samples]
        assert torch.equal(pixels, other_pixels)


def test_data_sets_are_told_the_epoch_where_they_are_read() -> None:
    class Mixture(Dataset[int]):
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> int:
            return self.epoch

    data = SeededDataset([Mixture()], seed=0)
    assert [data[0, 1], data[2, 1], data[3, 0], data[0, 0]] == [0, 2, 3, 0]


def test_any_readable_sample() -> None:
    loader, _ = train_loader([FakeData(3, "train", unreadable=[0, 1])], batch_size=1, num_workers=0, seed=0)
    assert [sample.id for sample in any_batch(loader).samples] == ["train_2"]
    loader, _ = train_loader([FakeData(2, "train", unreadable=[0, 1])], batch_size=1, num_workers=0, seed=0)
    with pytest.raises(RunError, match="not one of 2 training samples can be read"):
        any_batch(loader)

"""Which sample comes when, whatever the number of processes, and wherever an epoch is entered."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import Dataset

from lavis.common import distributed
from lavis.runners.batching import Remainder
from lavis.runners.data import Feeding, SeededDataset, any_batch, train_loader
from lavis.runners.epochs import EpochSampler, epoch_order
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
    assert (sampler.batches, len(sampler)) == (5, 2)


def test_drop_leaves_out_the_last_batch_unless_it_is_the_only_one() -> None:
    assert len(list(EpochSampler(5, 2, seed=0, remainder="drop"))) == 2
    assert [len(batch) for batch in EpochSampler(3, 8, seed=0, remainder="drop")] == [3]
    with pytest.raises(ValueError, match="no samples"):
        EpochSampler(0, 2, seed=0)


def test_repeat_fills_the_last_batch() -> None:
    batches = [[index for _, index in batch] for batch in EpochSampler(5, 2, seed=0, remainder="repeat")]
    assert [len(batch) for batch in batches] == [2, 2, 2]
    assert batches[2][1] == batches[0][0]


@pytest.mark.parametrize(("remainder", "shares"), [("drop", [3, 3, 3]), ("repeat", [3, 3, 3]), ("spread", [3, 2, 2])])
def test_processes_get_equally_many_batches(
    remainder: Remainder, shares: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    for rank in range(3):
        as_rank(monkeypatch, rank, 3)
        batches.append([[index for _, index in batch] for batch in EpochSampler(7, 1, seed=0, remainder=remainder)])
    assert [len(own) for own in batches] == [3, 3, 3]
    assert [sum(map(len, own)) for own in batches] == shares
    assert {index for own in batches for batch in own for index in batch} == set(range(7))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_process_without_a_sample_has_a_batch_of_nothing(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 1, 2)
    loader, sampler = train_loader([FakeData(3, "train")], batch_size=1, num_workers=workers, seed=0)
    assert [None if batch is None else len(batch) for batch in loader] == [None, 1]
    assert (sampler.batches, sampler.mean_size) == (2, 0.75)


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


class Ordered(FakeData):
    """Chooses its own order, or, with ``ways`` 0, none."""

    ways = 1

    def epoch_order(self, seed: int, epoch: int) -> list[int] | None:
        return [(i + epoch) % len(self) for i in range(len(self))] if self.ways else None


def test_a_data_set_may_choose_its_order() -> None:
    _, sampler = train_loader([Ordered(5, "train")], batch_size=1, seed=3)
    sampler.set_position(2)
    assert [index for batch in sampler for _, index in batch] == [2, 3, 4, 0, 1]


def test_chosen_orders_are_kept_among_other_data_sets() -> None:
    order = epoch_order([FakeData(4, "a"), Ordered(5, "b"), FakeData(3, "c")], seed=3, epoch=1)
    assert sorted(order) == list(range(12))
    assert [i - 4 for i in order if 4 <= i < 9] == [1, 2, 3, 4, 0]
    assert order != epoch_order([FakeData(4, "a"), Ordered(5, "b"), FakeData(3, "c")], seed=3, epoch=2)


def test_who_chooses_none_gets_a_permutation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ordered, "ways", 0)
    assert epoch_order([Ordered(9, "a")], 3, 1) == epoch_order([FakeData(9, "a")], 3, 1)


def test_an_order_that_loses_a_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ordered, "epoch_order", lambda self, seed, epoch: [0, 1, 1])
    with pytest.raises(ValueError, match="Ordered.epoch_order must name each of 3 samples once"):
        epoch_order([Ordered(3, "a")], 0, 0)


def test_without_loader_processes_nothing_is_read_ahead() -> None:
    alone, fed = Feeding(prefetch=4).arguments(), Feeding(num_workers=2, prefetch=4).arguments()
    assert (alone["prefetch_factor"], alone["persistent_workers"]) == (None, False)
    assert (fed["prefetch_factor"], fed["persistent_workers"]) == (4, True)


def test_any_readable_sample() -> None:
    loader, _ = train_loader([FakeData(3, "train", unreadable=[0, 1])], batch_size=1, num_workers=0, seed=0)
    assert [sample.id for sample in any_batch(loader).samples] == ["train_2"]
    loader, _ = train_loader([FakeData(2, "train", unreadable=[0, 1])], batch_size=1, num_workers=0, seed=0)
    with pytest.raises(RunError, match="not one of 2 training samples can be read"):
        any_batch(loader)


def test_loader_processes_end_in_peace_when_they_are_told_to() -> None:
    loader, _ = train_loader([FakeData(3, "train")], batch_size=1, num_workers=1, seed=0)
    assert len(list(loader)) == 3
    (worker,) = loader._iterator._workers  # type: ignore[union-attr]
    worker.terminate()  # as Python does at the end of a program; torch takes a death by a signal for a failure
    worker.join()
    assert worker.exitcode == 0

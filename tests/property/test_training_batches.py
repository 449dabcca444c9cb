"""Every sample of an epoch exactly once, equally many batches on every process, and the same from the middle on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from lavis.common import distributed
from lavis.runners.batching import bucket, by_tokens, dealt, padding_share
from lavis.runners.epochs import EpochSampler

LENGTHS = st.integers(1, 80)
WORLDS = st.integers(1, 6)
SIZES = st.integers(1, 9)
COSTS = st.lists(st.integers(1, 300), min_size=1, max_size=60)


@contextmanager
def process(rank: int, world: int) -> Iterator[None]:
    with patch.object(distributed, "rank", lambda: rank), patch.object(distributed, "world_size", lambda: world):
        yield


def epoch(rank: int, world: int, number: int, start: int = 0, **settings: Any) -> list[list[tuple[int, int]]]:
    sampler = EpochSampler(seed=5, **settings)
    with process(rank, world):
        sampler.set_position(number, start)
        batches = list(sampler)
        assert len(sampler) == len(batches)
    return batches


@given(LENGTHS, SIZES, WORLDS, st.integers(0, 3))
def test_spread_takes_each_sample_once(length: int, size: int, world: int, number: int) -> None:
    ranks = [epoch(rank, world, number, length=length, batch_size=size) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert sorted(key for batches in ranks for batch in batches for key in batch) == [
        (number, i) for i in range(length)
    ]
    sizes = [len(batch) for batches in ranks for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    shares = [sum(map(len, batches)) for batches in ranks]
    assert max(shares) - min(shares) <= 1
    if size > 1 and length >= world:
        assert min(sizes) >= 1


@given(LENGTHS, SIZES, WORLDS, st.data())
def test_an_epoch_goes_on_where_it_was_left(length: int, size: int, world: int, data: st.DataObject) -> None:
    rank, number = data.draw(st.integers(0, world - 1)), data.draw(st.integers(0, 3))
    remainder = data.draw(st.sampled_from(["spread", "drop", "repeat"]))
    settings = {"length": length, "batch_size": size, "remainder": remainder}
    whole = epoch(rank, world, number, **settings)
    start = data.draw(st.integers(0, len(whole)))
    assert epoch(rank, world, number, start, **settings) == whole[start:]


@given(LENGTHS, st.integers(1, 4), st.integers(1, 4))
def test_other_processes_of_the_same_number_of_samples_go_on_alike(length: int, size: int, world: int) -> None:
    order = list(range(length))
    many, one = dealt(order, size, world, "spread"), dealt(order, size * world, 1, "spread")
    assert [sorted(chain(*step)) for step in many] == [sorted(chain(*step)) for step in one]


@given(LENGTHS, SIZES, WORLDS)
def test_repeat_fills_every_batch_and_loses_none(length: int, size: int, world: int) -> None:
    steps = dealt(range(length), size, world, "repeat")
    assert {len(batch) for step in steps for batch in step} == {size}
    assert {index for step in steps for batch in step for index in batch} == set(range(length))


@given(LENGTHS, SIZES, WORLDS)
def test_drop_is_the_sampler_and_the_loader_of_torch(length: int, size: int, world: int) -> None:
    from torch.utils.data import BatchSampler, DistributedSampler

    steps = dealt(range(length), size, world, "drop")
    for rank in range(world):
        theirs = DistributedSampler(range(length), world, rank, shuffle=False)
        batches = list(BatchSampler(theirs, size, drop_last=True)) or [list(theirs)]
        assert [step[rank] for step in steps] == batches


@given(COSTS, st.integers(1, 900), WORLDS, st.randoms(use_true_random=False))
def test_batches_by_tokens(costs: list[int], tokens: int, world: int, chance: Any) -> None:
    order = list(range(len(costs)))
    steps = by_tokens(order, costs, tokens, world, "s")
    assert {len(step) for step in steps} == {world}
    assert sorted(index for step in steps for batch in step for index in batch) == order
    for batch in (batch for step in steps for batch in step if len(batch) > 1):
        assert len(batch) * max(costs[index] for index in batch) <= tokens
    chance.shuffle(order)
    assert len(by_tokens(order, costs, tokens, world, "t")) == len(steps)


@given(COSTS, WORLDS, st.data())
def test_epochs_by_tokens_go_on_where_they_were_left(costs: list[int], world: int, data: st.DataObject) -> None:
    rank, number = data.draw(st.integers(0, world - 1)), data.draw(st.integers(0, 3))
    settings = {"length": len(costs), "batch_size": 1, "tokens": 400, "costs": lambda epoch: costs}
    whole = epoch(rank, world, number, **settings)
    start = data.draw(st.integers(0, len(whole)))
    assert epoch(rank, world, number, start, **settings) == whole[start:]


@given(st.integers(1, 10**6))
def test_buckets_are_narrow_and_in_order(cost: int) -> None:
    assert cost <= bucket(cost) <= cost * 17 / 16
    assert bucket(cost) <= bucket(cost + 1)
    assert bucket(bucket(cost)) == bucket(cost)


@given(st.lists(st.integers(64, 900), min_size=200, max_size=300), st.integers(1, 4))
def test_batches_by_tokens_hardly_pad(costs: list[int], world: int) -> None:
    steps = by_tokens(range(len(costs)), costs, 1000, world, "s")
    assert padding_share([batch for step in steps for batch in step], costs) < 0.15

"""The order of ``order: shards``: every sample once, few shards at a time, and the same whenever it is asked for."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from lavis.datasets.shards import windowed_order

SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=20).filter(any)


@given(SIZES, st.integers(1, 25), st.integers(-5, 2**40), st.integers(0, 1000))
def test_each_sample_once_within_a_window_of_shards(sizes: list[int], window: int, seed: int, epoch: int) -> None:
    edges = [0, *accumulate(sizes)]
    order = windowed_order(edges, window, seed, epoch)
    assert sorted(order) == list(range(edges[-1]))
    assert order == windowed_order(edges, window, seed, epoch)
    shard_of = [number for number, size in enumerate(sizes) for _ in range(size)]
    visits = [shard_of[i] for i in order]
    first, last = {}, {}
    for place, shard in enumerate(visits):
        first.setdefault(shard, place)
        last[shard] = place
    for place in range(len(visits)):
        open_now = [shard for shard in first if first[shard] <= place <= last[shard]]
        assert len(open_now) <= window


@given(st.integers(0, 2**31), st.integers(0, 100))
def test_epochs_and_seeds_differ(seed: int, epoch: int) -> None:
    edges = list(range(0, 400, 10))
    order = windowed_order(edges, 4, seed, epoch)
    assert order != windowed_order(edges, 4, seed, epoch + 1)
    assert order != windowed_order(edges, 4, seed + 1, epoch)
    assert [i // 10 for i in order] != sorted(i // 10 for i in order)

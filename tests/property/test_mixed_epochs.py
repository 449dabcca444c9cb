"""Nothing is lost or doubled, however many processes take however many samples, and wherever they go on.

Training over mixtures, with a resume by other numbers of processes and batches of the same product in its middle, and
evaluation by units of a video.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common import distributed
from lavis.datasets.base import Item, MomentDataset
from lavis.datasets.mixture import MixtureDataset
from lavis.datasets.shards import windowed_order
from lavis.runners.data import train_loader
from lavis.runners.eval_data import plan_units, share_of
from lavis.structures import VideoSample


class Part(MomentDataset):
    """``size`` samples without frames; ``edges`` are those of the groups that its own order keeps together."""

    def __init__(self, name: str, size: int, edges: list[int] | None = None) -> None:
        samples = [VideoSample(f"{name}{i}", f"{name}{i % 3}", "q", 5, answer="yes") for i in range(size)]
        super().__init__(name, "train", True, samples, Counter())
        self.edges = edges

    def __getitem__(self, index: int) -> Item | None:
        return self.samples[index], {}

    def epoch_order(self, seed: int, epoch: int) -> list[int] | None:
        return None if self.edges is None else windowed_order(self.edges, 1, seed, epoch)


def part(name: str, size: int, ordered: bool) -> Part:
    return Part(name, size, [*range(0, size, 3), size] if ordered else None)


PARTS = st.lists(st.tuples(st.integers(1, 13), st.booleans()), min_size=1, max_size=3)


def mixed(parts: list[tuple[int, bool]], sizes: list[int] | None) -> MixtureDataset:
    made = {f"{'abc'[n]}": part("abc"[n], *options) for n, options in enumerate(parts)}
    given_sizes = None if sizes is None else dict(zip(made, sizes, strict=False))
    return MixtureDataset(dataset_name="mix", split="train", train=True, parts=made, sizes=given_sizes)


@contextmanager
def process(rank: int, world: int) -> Iterator[None]:
    with patch.object(distributed, "rank", lambda: rank), patch.object(distributed, "world_size", lambda: world):
        yield


def ids_of(dataset: Any, world: int, size: int, epoch: int, start: int = 0, workers: int = 0) -> list[list[list[str]]]:
    """Ids of the batches of each process."""
    found = []
    for rank in range(world):
        with process(rank, world):
            loader, sampler = train_loader([dataset], batch_size=size, seed=3, num_workers=workers)
            sampler.set_position(epoch, start)
            found.append([[s.id for s in batch.samples] if batch is not None else [] for batch in loader])
    return found


def flat(batches: list[list[list[str]]]) -> list[str]:
    return [identity for own in batches for batch in own for identity in batch]


@settings(max_examples=60, deadline=None)
@given(PARTS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 3), st.data())
def test_joined_parts_come_once_also_when_others_go_on(
    parts: list[tuple[int, bool]], size: int, world: int, epoch: int, data: st.DataObject
) -> None:
    dataset = mixed(parts, None)
    whole = ids_of(dataset, world, size, epoch)
    assert len({len(own) for own in whole}) == 1
    assert sorted(flat(whole)) == sorted(sample.id for sample in dataset.samples)
    start = data.draw(st.integers(0, len(whole[0])), label="batches before the interruption")
    new_world = data.draw(st.sampled_from([n for n in range(1, 17) if size * world % n == 0]), label="processes after")
    rest = ids_of(dataset, new_world, size * world // new_world, epoch, start)
    before = flat([own[:start] for own in whole])
    assert sorted(before + flat(rest)) == sorted(sample.id for sample in dataset.samples)


@settings(max_examples=40, deadline=None)
@given(PARTS, st.lists(st.integers(0, 17), min_size=3, max_size=3), st.integers(1, 4), st.integers(1, 3))
def test_parts_by_size_come_equally_often_over_epochs(
    parts: list[tuple[int, bool]], sizes: list[int], size: int, world: int
) -> None:
    if not any(sizes[: len(parts)]):
        sizes = [1, 1, 1]
    dataset = mixed(parts, sizes)
    seen: Counter[str] = Counter()
    for epoch in range(4):
        one = flat(ids_of(dataset, world, size, epoch))
        assert Counter(identity[0] for identity in one) == Counter(
            {name: share for name, share in zip("abc", sizes[: len(parts)], strict=False) if share}
        )
        seen.update(one)
        for found in dataset.parts.values():
            often = [seen[sample.id] for sample in found.samples]
            assert max(often) - min(often) <= 1, "no sample comes again before all others have come"


def test_loader_processes_change_nothing() -> None:
    dataset = mixed([(7, True), (5, False)], [4, 6])
    whole = ids_of(dataset, 2, 2, 1)
    assert ids_of(dataset, 2, 2, 1, workers=2) == whole
    assert ids_of(dataset, 2, 2, 1, start=1, workers=1) == [own[1:] for own in whole]


@given(st.integers(1, 60), st.integers(1, 7), st.sets(st.integers(0, 59)))
def test_every_answer_is_asked_for_once(count: int, world: int, answered: set[int]) -> None:
    samples = part("a", count, False).samples
    units = plan_units(samples, range(count))
    shares = [share_of(units, rank, world) for rank in range(world)]
    assert sorted(i for own in shares for unit in own for i in unit) == list(range(count))
    loads = [sum(map(len, own)) for own in shares]
    assert max(loads) - min(loads) <= max(map(len, units))
    left = [i for own in shares for unit in own for i in unit if i not in answered]
    assert sorted(left) == [i for i in range(count) if i not in answered]

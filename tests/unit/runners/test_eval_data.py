"""Evaluation's data: one video's queries together, each sample once, full batches, and reading ahead unseen."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lavis.runners.eval_data import LARGEST_UNIT, LoaderSettings, batches_of, fill, plan_units, read_ahead, share_of
from lavis.runners.randomness import random_state, same_random_state
from lavis.structures import Frames, Moment, VideoSample
from tests.fake_run import FakeData

Item = tuple[VideoSample, dict[str, Frames]]


def samples(videos: str, **changes: Any) -> list[VideoSample]:
    return [VideoSample(f"s{i}", f"{name}.mp4", "q", 30.0, **changes) for i, name in enumerate(videos)]


def items(lengths: Sequence[int]) -> list[Item]:
    frames = Frames(torch.zeros(1, 3, 2, 2), [0.0])
    return [(VideoSample(str(i), "v", "q" * n, 30.0), {"frames": frames}) for i, n in enumerate(lengths)]


def query_length(sample: VideoSample, views: object) -> int:
    return len(sample.query)


def test_queries_of_one_video_are_neighbours() -> None:
    assert plan_units(samples("abacb"), range(5)) == [[0, 2], [1, 4], [3]]
    assert plan_units(samples("abacb"), [1, 3, 4]) == [[1, 4], [3]]


def test_long_videos_and_long_queries_come_first() -> None:
    given = samples("aab")
    given = [given[0], replace(given[1], query="longer"), replace(given[2], duration=60.0)]
    assert plan_units(given, range(3)) == [[2], [1, 0]]


def test_queries_on_one_clip_are_neighbours() -> None:
    clips = [Moment(0, 10), Moment(10, 20), Moment(0, 10)]
    given = [replace(s, clip=clip) for s, clip in zip(samples("aaa"), clips, strict=True)]
    assert plan_units(given, range(3)) == [[0, 2, 1]]


def test_a_video_of_many_queries_is_several_units() -> None:
    units = plan_units(samples("a" * 40), range(40))
    assert [len(unit) for unit in units] == [LARGEST_UNIT, LARGEST_UNIT, 40 - 2 * LARGEST_UNIT]


@given(st.lists(st.integers(1, 6), max_size=20), st.integers(1, 4))
def test_every_unit_goes_to_one_process(sizes: list[int], world: int) -> None:
    units = [[i] * size for i, size in enumerate(sizes)]
    shares = [share_of(units, rank, world) for rank in range(world)]
    assert sorted(u for share in shares for u in share) == sorted(units)
    loads = [sum(map(len, share)) for share in shares]
    assert max(loads) - min(loads) <= 6


@given(st.lists(st.integers(1, 20), max_size=15), st.one_of(st.none(), st.integers(1, 4)), st.integers(1, 60))
def test_a_batch_is_full_by_samples_or_by_padded_tokens(lengths: list[int], size: int | None, tokens: int) -> None:
    batches = [[len(s.query) for s in b.samples] for b in fill([items(lengths)], size, tokens, query_length)]
    assert [n for batch in batches for n in batch] == lengths
    for batch, following in zip(batches, [*batches[1:], [10**6]], strict=False):
        assert len(batch) * max(batch) <= tokens or len(batch) == 1
        assert size is None or len(batch) <= size
        # Nothing more would have fitted in.
        assert len(batch) == size or (len(batch) + 1) * max(*batch, following[0]) > tokens


@given(
    st.lists(st.integers(1, 20), max_size=15), st.one_of(st.none(), st.integers(1, 4)), st.integers(1, 60), st.data()
)
def test_an_interrupted_evaluation_makes_the_same_batches(
    lengths: list[int], size: int | None, tokens: int, data: st.DataObject
) -> None:
    given = items(lengths)
    whole = [[s.id for s in b.samples] for b in fill([given], size, tokens, query_length)]
    done = data.draw(st.integers(0, len(whole)))
    rest = given[sum(map(len, whole[:done])) :]
    assert [[s.id for s in b.samples] for b in fill([rest], size, tokens, query_length)] == whole[done:]


def test_what_cannot_be_read_is_left_out() -> None:
    data = FakeData(5, "val", unreadable=[0, 3])
    batches = batches_of(data, plan_units(data.samples, range(5)), LoaderSettings(batch_size=2))
    assert [[s.id for s in b.samples] for b in batches] == [["val_1", "val_2"], ["val_4"]]
    assert list(batches_of(data, [[0], [3]], LoaderSettings())) == []
    assert list(batches_of(data, [], LoaderSettings(num_workers=2))) == []


def test_tokens_must_be_counted() -> None:
    with pytest.raises(ValueError, match="run.eval_batch_tokens needs a model that counts tokens"):
        batches_of(FakeData(2, "val"), [[0]], LoaderSettings(batch_tokens=10))


def test_loader_processes_give_the_same_batches() -> None:
    data = FakeData(5, "val", unreadable=[2])
    units = [[0, 1], [2, 3], [4]]
    here, there = (list(batches_of(data, units, LoaderSettings(2, num_workers=n))) for n in (0, 2))
    assert [b.samples for b in here] == [b.samples for b in there]
    for ours, theirs in zip(here, there, strict=True):
        pairs = zip(ours.views["frames"], theirs.views["frames"], strict=True)
        assert all(torch.equal(a.pixels, b.pixels) for a, b in pairs)


class Noting(FakeData):
    """Notes which thread reads; item ``bad`` cannot be read, items are drawn by chance if ``drawing``."""

    def __init__(self, bad: int = -1, drawing: bool = False) -> None:
        super().__init__(6, "val")
        self.bad = bad
        self.drawing = drawing
        self.threads: list[str] = []

    def __getitem__(self, index: int) -> Any:
        self.threads.append(threading.current_thread().name)
        if index == self.bad:
            raise ValueError(f"video {index} is broken")
        sample, views = super().__getitem__(index)
        chance = torch.rand(1) if self.drawing else 0.0
        return sample, {"frames": Frames(views["frames"].pixels + chance, [0.0, 1.0], key="all")}


def test_without_loader_processes_a_thread_reads_ahead() -> None:
    data = Noting()
    before = random_state()
    list(batches_of(data, [[0, 1], [2], [3]], LoaderSettings()))
    assert data.threads == ["MainThread", "read-ahead", "read-ahead", "read-ahead"]
    assert same_random_state(before, random_state())


def test_data_drawn_by_chance_depends_on_no_thread() -> None:
    units = [[0, 1], [2], [3]]
    data = Noting(drawing=True)
    here, there = (list(batches_of(data, units, LoaderSettings(num_workers=n))) for n in (0, 2))
    assert set(data.threads) == {"MainThread"}
    for ours, theirs in zip(here, there, strict=True):
        assert torch.equal(ours.views["frames"][0].pixels, theirs.views["frames"][0].pixels)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_as_it_was_raised(workers: int) -> None:
    batches = batches_of(Noting(bad=2), [[0, 1], [2], [3]], LoaderSettings(2, num_workers=workers))
    assert [s.id for s in next(batches).samples] == ["val_0", "val_1"]
    with pytest.raises(ValueError, match=r"^video 2 is broken$"):
        next(batches)


def test_frames_of_one_video_are_kept_once() -> None:
    (batch,) = batches_of(Noting(), [[0, 1, 2]], LoaderSettings(batch_size=3))
    assert len({id(frames) for frames in batch.views["frames"]}) == 1


def reading_threads() -> set[int | None]:
    """Those of this kind: others, of tests before, may end at any time."""
    return {thread.ident for thread in threading.enumerate() if thread.name == "read-ahead"}


def test_reading_ahead_is_bounded_and_ends_with_its_reader() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for i in range(100):
            made.append(i)
            yield i

    before = reading_threads()
    reader = read_ahead(source(), 2)
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()  # type: ignore[attr-defined]
    assert len(made) <= 6
    assert reading_threads() == before

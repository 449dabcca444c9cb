"""Which frames the samplers choose; CALCE's own choices are compared in tests/parity_cases/calce_processors.py."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import FixedRate, Head, HeadTail, Middle, RandomInInterval, Sampler, Uniform, frame_range
from lavis.structures import Moment

VIDEO = VideoInfo.regular(100, 10.0)


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (Head(4), [0, 25, 50, 75]),
        (Uniform(4), [12, 37, 62, 87]),
        (Middle(4), [12, 37, 62, 87]),
        (Uniform(5), [10, 30, 50, 70, 90]),
        (Middle(5), [9, 29, 49, 69, 89]),
        (FixedRate(1.0), [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (FixedRate(1.0, max_frames=4), [0, 30, 60, 90]),
    ],
)
def test_whole_video(sampler: Sampler, expected: list[int]) -> None:
    assert sampler.indices(VIDEO) == expected


@pytest.mark.parametrize("name", ["head", "uniform", "middle", "random"])
def test_short_videos_give_all_they_have(name: str) -> None:
    sampler = registry.samplers.get(name)(60)
    assert sampler.indices(VideoInfo.regular(7, 10.0), generator=random.Random(0)) == list(range(7))


def test_one_frame_of_each_interval_by_chance() -> None:
    drawn = {tuple(RandomInInterval(10).indices(VIDEO, generator=random.Random(seed))) for seed in range(20)}
    assert len(drawn) == 20
    assert all(10 * i <= frame < 10 * i + 10 for frames in drawn for i, frame in enumerate(frames))


def test_head_and_tail() -> None:
    frames = HeadTail(9).indices(VIDEO, generator=random.Random(3))
    assert len(frames) == 9
    assert frames == sorted(frames)
    assert sum(frame < 50 for frame in frames) == 4
    assert frames[-1] == frames[-2]
    assert HeadTail(9).indices(VideoInfo.regular(1, 10.0)) == [0]


@pytest.mark.parametrize("sampler", [RandomInInterval(4), HeadTail(4)])
def test_chance_needs_a_generator(sampler: Sampler) -> None:
    assert not sampler.repeatable
    with pytest.raises(ValueError, match="generator"):
        sampler.indices(VIDEO)


def test_clips() -> None:
    assert frame_range(VIDEO, None) == (0, 100)
    assert frame_range(VIDEO, Moment(2.0, 4.05)) == (20, 40)
    assert frame_range(VIDEO, Moment(-1, 300)) == (0, 100)
    assert frame_range(VIDEO, Moment(5.0, 5.01)) == (50, 51)
    assert Head(4).indices(VIDEO, Moment(5.0, 5.01)) == [50, 50, 50, 50]
    assert FixedRate(2.0).indices(VIDEO, Moment(3, 5)) == [30, 35, 40, 45]
    assert FixedRate(2.0).indices(VIDEO, Moment(8, 50)) == [80, 85, 90, 95]


@pytest.mark.parametrize("clip", [Moment(10.0, 12.0), Moment(30, 40), Moment(-5, -1)])
def test_clips_without_frames(clip: Moment) -> None:
    for name in registry.samplers:
        entry = registry.samplers.get(name)
        with pytest.raises(ValueError, match="outside the video"):
            (entry() if name == "fps" else entry(4)).indices(VIDEO, clip, random.Random(0))


def test_fixed_rate_where_the_rate_varies() -> None:
    times = [i * i / 40 for i in range(24)]
    info = VideoInfo(24, 24 / 13.35, 13.35, 0, 0, times)
    frames = FixedRate(1.0).indices(info)
    assert frames == [bisect_right(times, second) - 1 for second in range(14)]
    counted = FixedRate(1.0, times="average_rate").indices(info)
    assert counted != frames
    assert counted[:4] == [0, 2, 4, 5]


@pytest.mark.parametrize(
    "build",
    [
        lambda: Head(0),
        lambda: Uniform(True),
        lambda: HeadTail(-1),
        lambda: FixedRate(0),
        lambda: FixedRate(float("nan")),
        lambda: FixedRate(1, max_frames=0),
        lambda: FixedRate(1, times="guess"),
    ],
)
def test_refused_settings(build: object) -> None:
    with pytest.raises(ValueError, match="sampler"):
        build()

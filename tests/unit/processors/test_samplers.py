"""Which frames the samplers choose; the originals' own choices are compared in tests/parity_cases/*_processors.py."""

from __future__ import annotations

import random
from bisect import bisect_right

import pytest

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import (
    AccumulatedTime,
    FixedRate,
    Head,
    HeadTail,
    InnerRandom,
    Middle,
    RandomInInterval,
    Sampler,
    Segments,
    Uniform,
    frame_range,
)
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
        (FixedRate(1.0, max_frames=4, beyond="first"), [0, 10, 20, 30]),
        (FixedRate(1.0, place="middle"), [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]),
        (FixedRate(0.5, times="average_rate", place="middle"), [10, 30, 50, 70, 90]),
        (AccumulatedTime(1.0), [0, 11, 20, 30, 40, 51, 61, 71, 81, 91]),
        (AccumulatedTime(fps=None, max_frames=4), [0, 25, 51, 76]),
        (Segments(4), [12, 37, 62, 86]),
        (Segments(4, last="count"), [12, 37, 62, 87]),
    ],
)
def test_whole_video(sampler: Sampler, expected: list[int]) -> None:
    assert sampler.indices(VIDEO) == expected


@pytest.mark.parametrize("name", ["head", "uniform", "middle", "random", "inner_random"])
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


@pytest.mark.parametrize("sampler", [RandomInInterval(4), HeadTail(4), InnerRandom(4)])
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
            (entry() if name in ("fps", "accumulated") else entry(4)).indices(VIDEO, clip, random.Random(0))


def test_what_the_ends_of_a_clip_are() -> None:
    """0.96 s, 12.4 frames: the end is the 134th frame by its own number, the 133rd by the length of the clip."""
    info = VideoInfo.regular(301, 10.0)
    clip = Moment(0.96, 13.41)
    assert frame_range(info, clip) == frame_range(info, clip, "ends") == (9, 134)
    assert frame_range(info, clip, "length") == (9, 133)
    assert frame_range(info, clip, "shares") == (10, 134)
    assert frame_range(info, Moment(-3, 400), "shares") == frame_range(info, Moment(-3, 400), "length") == (0, 301)
    assert frame_range(info, Moment(5.01, 5.02), "shares") == (50, 50)
    assert Middle(4).edges == InnerRandom(4).edges == "ends"
    assert Middle(4, edges="shares").indices(info, clip) != Middle(4).indices(info, clip)


def test_what_short_videos_and_clips_give() -> None:
    short = VideoInfo.regular(2, 10.0)
    assert Middle(4).short == "fewer"
    assert Middle(4).indices(short) == [0, 1]
    assert Middle(4, short="repeat_last").indices(short) == [0, 1, 1, 1]
    clip = Moment(5.0, 5.2)
    assert Middle(4).empty == "edge"
    assert Middle(4).indices(VIDEO, clip) == [50, 50, 51, 51]
    assert Middle(4, empty="before").indices(VIDEO, clip) == [49, 50, 50, 51]
    assert Middle(4, empty="before").indices(VIDEO, Moment(0.0, 0.2)) == [0, 0, 0, 1]
    assert Segments(4).last == "frame"
    assert Segments(4).indices(VIDEO, Moment(9.8, 30.0)) == [98, 98, 98, 99]
    assert Segments(2).indices(VIDEO, Moment(9.97, 9.99)) == [99, 99]
    assert Segments(4, last="count").indices(VIDEO, Moment(9.9, 30.0)) == [99, 99, 99, 99]


def test_the_last_frame_of_an_interval_is_never_drawn() -> None:
    drawn = {frame for seed in range(60) for frame in InnerRandom(10).indices(VIDEO, None, random.Random(seed))}
    assert drawn == {frame for frame in range(100) if frame % 10 != 9}


def test_narrow_intervals_give_their_frame_or_the_whole_video() -> None:
    assert InnerRandom(4).narrow == "interval"
    clip = Moment(5.0, 5.4)
    assert InnerRandom(4).indices(VIDEO, clip, random.Random(0)) == [50, 51, 52, 53]
    strewn = InnerRandom(4, narrow="whole_video").indices(VIDEO, clip, random.Random(0))
    assert len(set(strewn)) == 4
    assert strewn == sorted(strewn)
    assert any(not 50 <= frame < 54 for frame in strewn)


def test_a_clock_whose_error_grows() -> None:
    assert AccumulatedTime().fps == 2.0
    assert AccumulatedTime().indices(VIDEO)[:5] == [0, 5, 11, 15, 20]
    assert FixedRate(2.0).indices(VIDEO)[:5] == [0, 5, 10, 15, 20]
    whole = AccumulatedTime().indices(VIDEO)
    assert AccumulatedTime().indices(VIDEO, Moment(2.0, 4.0)) == whole[4:8]
    assert AccumulatedTime(max_frames=3).indices(VIDEO) == whole[:3]
    odd = VideoInfo.regular(103, 10.0)
    assert len(AccumulatedTime(1.0).indices(odd)) == 10
    assert len(AccumulatedTime(1.0, count="ceil").indices(odd)) == 11
    assert AccumulatedTime(50.0).indices(VIDEO) == list(range(100))
    assert AccumulatedTime(0.01).indices(VIDEO) == [0]


def test_middles_of_periods() -> None:
    assert FixedRate(1.0, place="middle").indices(VIDEO, Moment(3, 5)) == [35, 45]
    assert FixedRate(0.05, place="middle").indices(VIDEO) == [50]  # too short for an instant
    assert FixedRate(0.01, times="average_rate", place="middle").indices(VIDEO) == [49]
    defaults = FixedRate()
    assert (defaults.times, defaults.place, defaults.beyond) == ("presentation", "start", "spread")


def test_videos_that_are_too_short() -> None:
    assert FixedRate(min_seconds=10.0).indices(VIDEO)
    with pytest.raises(ValueError, match=r"lasts 10 s, less than sampler.min_seconds = 10.5"):
        FixedRate(min_seconds=10.5).indices(VIDEO)


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
        lambda: FixedRate(1, place="end"),
        lambda: FixedRate(1, beyond="last"),
        lambda: FixedRate(1, min_seconds=-1.0),
        lambda: AccumulatedTime(None),
        lambda: AccumulatedTime(0),
        lambda: AccumulatedTime(max_frames=0),
        lambda: AccumulatedTime(count="round"),
        lambda: Middle(4, edges="middle"),
        lambda: Middle(4, short="none"),
        lambda: Middle(4, empty="skip"),
        lambda: InnerRandom(4, narrow="wide"),
        lambda: Segments(0),
        lambda: Segments(4, last="first"),
    ],
)
def test_refused_settings(build: object) -> None:
    with pytest.raises(ValueError, match="sampler"):
        build()

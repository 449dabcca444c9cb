"""What holds for every sampler, video and clip."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.common.registry import registry
from lavis.processors.readers.base import VideoInfo
from lavis.processors.samplers import FixedRate, Sampler
from lavis.structures import Moment

gaps = st.lists(st.floats(0.005, 0.9), min_size=0, max_size=60)


@st.composite
def videos(draw: st.DrawFn) -> VideoInfo:
    """Videos of constant and of varying rate."""
    times = [0.0]
    for gap in draw(gaps):
        times.append(times[-1] + gap)
    duration = times[-1] + draw(st.floats(0.005, 0.9))
    return VideoInfo(len(times), len(times) / duration, duration, 64, 48, times)


@st.composite
def clips(draw: st.DrawFn, info: VideoInfo) -> Moment | None:
    """Clips that begin inside the video."""
    if draw(st.booleans()):
        return None
    start = draw(st.floats(-2, info.duration_s * 0.99))
    return Moment(start, max(start, 0) + draw(st.floats(0.001, 20)))


RATES = {"fps", "accumulated"}
"""Samplers that are told frames a second, not frames."""


def built(name: str, count: int) -> Sampler:
    entry = registry.samplers.get(name)
    return entry(fps=1 / count, max_frames=None) if name in RATES else entry(count)


@pytest.mark.parametrize("name", sorted(registry.samplers))
@given(data=st.data(), info=videos(), count=st.integers(1, 80), seed=st.integers(0, 9))
def test_frames_exist_and_never_fall(name: str, data: st.DataObject, info: VideoInfo, count: int, seed: int) -> None:
    clip = data.draw(clips(info))
    if clip is not None and int(clip.start * info.fps) >= info.num_frames:
        return
    frames = built(name, count).indices(info, clip, random.Random(seed))
    assert frames
    assert frames == sorted(frames)
    assert 0 <= frames[0] <= frames[-1] < info.num_frames
    assert all(type(frame) is int for frame in frames)
    assert frames == built(name, count).indices(info, clip, random.Random(seed))


@pytest.mark.parametrize("name", sorted(set(registry.samplers) - RATES))
@given(num_frames=st.integers(1, 200), count=st.integers(1, 80))
def test_counts(name: str, num_frames: int, count: int) -> None:
    frames = built(name, count).indices(VideoInfo.regular(num_frames, 25.0), generator=random.Random(0))
    if name == "segments":  # which repeats frames where there are too few
        assert len(frames) == count
        return
    assert len(frames) == min(count, num_frames)
    if name != "headtail":
        assert len(set(frames)) == len(frames)


@given(info=videos(), fps=st.floats(0.2, 5), most=st.integers(1, 20))
def test_fixed_rate_shows_each_instant(info: VideoInfo, fps: float, most: int) -> None:
    frames = FixedRate(fps).indices(info)
    for i, frame in enumerate(frames):
        assert info.times[frame] <= i / fps + 1e-6
        assert frame + 1 == info.num_frames or info.times[frame + 1] > i / fps
    capped = FixedRate(fps, max_frames=most).indices(info)
    assert len(capped) == min(most, len(frames))
    assert set(capped) <= set(frames)

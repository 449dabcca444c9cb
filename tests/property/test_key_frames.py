"""Laws of the choice of frames, whatever the video."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.common.random import SampleDraws
from lavis.models.keyframes import KeyframeSettings, choose_frames, dilate, fit_budget
from lavis.structures import Moment, VideoSample
from tests.frame_by_frame import choose_in_loops

MARKS = st.lists(st.sampled_from("ko-"), min_size=1, max_size=40)


@given(marks=MARKS, budget=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_budget_is_met_by_dropping_frames_only(marks: list[str], budget: int) -> None:
    key, other = (torch.tensor([m == kind for m in marks]) for kind in "ko")
    new_key, new_other = fit_budget(key, other, budget, SampleDraws("s"))
    assert int(new_key.sum() + new_other.sum()) <= budget
    assert (new_key | new_other).any() or not (key | other).any()
    assert not (new_key & ~key).any()
    assert not (new_other & ~other).any()
    if int(key.sum() + other.sum()) <= budget:
        assert torch.equal(new_key, key)
        assert torch.equal(new_other, other)


@given(marks=MARKS, frames=st.integers(0, 6))
@settings(max_examples=60, deadline=None)
def test_dilation_reaches_exactly_so_far(marks: list[str], frames: int) -> None:
    mask = torch.tensor([m == "k" for m in marks])
    expected = [any(mask[max(i - frames, 0) : i + frames + 1]) for i in range(len(marks))]
    assert dilate(mask, frames).tolist() == expected


@given(
    length=st.integers(1, 30),
    prior=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=4),
    clusters=st.integers(1, 12),
    budget=st.sampled_from([None, 0.3, 0.5, 1.0]),
    dilation=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_some_frames_remain_and_kinds_are_disjoint(
    length: int, prior: list[tuple[int, int]], clusters: int, budget: float | None, dilation: int
) -> None:
    sample = VideoSample("s", "v", "q", 30, prior=[Moment(start, start + more) for start, more in prior])
    chosen = KeyframeSettings(num_clusters=clusters, dilation=dilation, prior_clusters=8, budget=budget)
    features = torch.randn(length, 4, generator=torch.Generator().manual_seed(length))
    times = [[30 * i / length for i in range(length)]]
    (choice,) = choose_frames(chosen, [features], [sample], times, [SampleDraws("s")])
    assert not (choice.key & choice.other).any()
    assert choice.kept.any()
    if budget is not None:
        assert int(choice.kept.sum()) <= max(int(length * budget), 1)


WINDOWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=4)


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=3),
    windows=WINDOWS,
    speech=WINDOWS,
    mode=st.sampled_from(["cluster", "information", "interval", "none"]),
    query=st.sampled_from(["a man talks", "a dog runs"]),
    clusters=st.sampled_from([1, 4, 12, 0.5]),
    prior_clusters=st.sampled_from([0, 2, 8]),
    budget=st.sampled_from([None, 0.1, 0.5, 1.0]),
    dilation=st.integers(0, 3),
)
@settings(max_examples=80, deadline=None)
def test_arrays_choose_what_loops_choose(
    lengths: list[int],
    windows: list[tuple[int, int]],
    speech: list[tuple[int, int]],
    mode: Any,
    query: str,
    clusters: float,
    prior_clusters: int,
    budget: float | None,
    dilation: int,
) -> None:
    chosen = KeyframeSettings(
        mode=mode, num_clusters=clusters, dilation=dilation, prior_clusters=prior_clusters, budget=budget,
        prior_without_frames="none",
    )  # fmt: skip
    prior, spans = ([Moment(start, start + more) for start, more in pairs] for pairs in (windows, speech))
    samples = [VideoSample(str(i), "v", query, 30, prior=prior, speech=spans) for i in range(len(lengths))]
    draw = torch.Generator().manual_seed(sum(lengths))
    features = [torch.randn(length, 4, generator=draw) for length in lengths]
    times = [[30 * i / length for i in range(length)] for length in lengths]
    ours, plain = (
        choose(chosen, features, samples, times, [SampleDraws(s.id) for s in samples])
        for choose in (choose_frames, choose_in_loops)
    )
    assert [c.key.tolist() for c in ours] == [c.key.tolist() for c in plain]
    assert [c.other.tolist() for c in ours] == [c.other.tolist() for c in plain]

"""Windows around segments, key frames and times of frames; HawkEye's own draws are compared in
tests/parity_cases/hawkeye_processors.py.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from lavis.processors.samplers import WindowChoice, coarse_option, frame_number, key_frames, to_frame_time
from lavis.processors.samplers.windows import possible_options
from lavis.structures import Moment

ALLOWED = Moment(0, 60)


@pytest.mark.parametrize(
    ("segment", "option"),
    [
        (Moment(0, 29.9), "beginning"),
        (Moment(30.1, 60), "end"),
        (Moment(20, 40), "middle"),
        (Moment(0, 30), "throughout"),
        (Moment(3, 57), "throughout"),
        (Moment(29, 30), "middle"),
    ],
)
def test_where_a_segment_lies(segment: Moment, option: str) -> None:
    assert coarse_option(segment, ALLOWED) == option
    assert WindowChoice(crop="none").with_option(segment, ALLOWED) == (ALLOWED, option)
    assert WindowChoice(crop="none").for_times(segment, ALLOWED) == ALLOWED


@pytest.mark.parametrize("segment", [Moment(10, 14), Moment(0, 5), Moment(50, 60), Moment(20, 40), Moment(3, 57)])
@pytest.mark.parametrize("seed", range(20))
def test_drawn_windows_hold_the_segment_and_the_option_fits(segment: Moment, seed: int) -> None:
    window, option = WindowChoice().with_option(segment, ALLOWED, random.Random(seed))
    again, _ = WindowChoice().with_option(segment, ALLOWED, random.Random(seed))
    assert window == again
    assert ALLOWED.start <= window.start <= segment.start < segment.end <= window.end <= ALLOWED.end
    assert option in possible_options(segment, ALLOWED)
    assert coarse_option(segment, window) == option


@pytest.mark.parametrize("seed", range(20))
def test_windows_for_times_fit_the_number_of_frames(seed: int) -> None:
    segment = Moment(10, 12)
    window = WindowChoice(12).for_times(segment, ALLOWED, random.Random(seed))
    assert ALLOWED.start <= window.start <= segment.start < segment.end <= window.end <= ALLOWED.end
    assert 1 - 1e-9 <= segment.length / (window.length / 12) <= 6 + 1e-9
    narrow = WindowChoice(12, min_gold_frames=4, max_gold_frames=4).for_times(segment, ALLOWED, random.Random(seed))
    assert narrow.length == pytest.approx(6)


def test_how_often_options_are_drawn() -> None:
    assert WindowChoice().throughout_weight == 0.3
    counts = Counter(
        WindowChoice(throughout_weight=2.0).with_option(Moment(20, 30), ALLOWED, random.Random(seed))[1]
        for seed in range(800)
    )
    assert set(counts) == {"beginning", "end", "middle", "throughout"}
    assert min(counts.values()) > 140


def test_numbers_of_frames() -> None:
    window = Moment(10, 22)
    assert [frame_number(t, window, 12) for t in (10, 10.99, 11, 21.5, 22)] == [0, 0, 1, 11, 11]
    assert key_frames(96, 12)[:3] == [4, 12, 20]
    assert key_frames(5, 5) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="take 1 to 4"):
        key_frames(4, 5)


def test_times_of_frames() -> None:
    assert to_frame_time(1.2, 2, "ceil", 0, 10) == 1.5
    assert to_frame_time(1.2, 2, "floor", 0, 10) == 1.0
    assert to_frame_time(1.25, 2, "round", 0, 10) == 1.0
    assert to_frame_time(99, 2, "round", 0, 10) == 10
    with pytest.raises(ValueError, match="rounding must be"):
        to_frame_time(1, 2, "down", 0, 10)
    with pytest.raises(ValueError, match="fps"):
        to_frame_time(1, 0, "ceil", 0, 10)


@pytest.mark.parametrize(
    ("segment", "problem"),
    [(Moment(5, 5), "needs a length"), (Moment(50, 61), "does not lie in"), (Moment(-1, 4), "does not lie in")],
)
def test_segments_that_cannot_be_shown(segment: Moment, problem: str) -> None:
    for ask in (WindowChoice().with_option, WindowChoice().for_times):
        with pytest.raises(ValueError, match=problem):
            ask(segment, ALLOWED, random.Random(0))


def test_chance_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="generator"):
        WindowChoice().with_option(Moment(1, 2), ALLOWED)


@pytest.mark.parametrize(
    "fields",
    [
        {"num_frames": 0},
        {"crop": "all"},
        {"min_gold_frames": 0},
        {"min_gold_frames": 9},
        {"max_gold_frames": 0.5},
        {"throughout_weight": 0},
    ],
)
def test_refused_settings(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        WindowChoice(**fields)

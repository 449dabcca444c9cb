"""Whatever an annotation file holds as windows, reading gives moments inside the video or an error that says where."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st

from lavis.datasets.formats._record import AnnotationError, Record
from lavis.datasets.formats.base import BeyondEnd, OnBadWindow, read_windows

numbers = st.one_of(st.integers(-50, 400), st.floats(-50, 400), st.floats(allow_nan=True, allow_infinity=True))
bounds = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=2))
pairs = st.one_of(st.lists(numbers, min_size=2, max_size=2), st.lists(bounds, max_size=3), bounds)


@given(
    value=st.one_of(st.lists(pairs, max_size=4), bounds),
    duration=st.one_of(st.integers(1, 300), st.floats(0.1, 300)),
    on_bad_window=st.sampled_from(get_args(OnBadWindow)),
    beyond_end=st.sampled_from(get_args(BeyondEnd)),
)
def test_windows_lie_in_the_video(
    value: Any, duration: float, on_bad_window: OnBadWindow, beyond_end: BeyondEnd
) -> None:
    counts: Counter[str] = Counter()
    record = Record({}, Path("val.json"), "row 1", "Q_1")
    moments, problem = [], ""
    try:
        moments = read_windows(record, "relevant_windows", value, duration, on_bad_window, beyond_end, counts)
    except AnnotationError as error:
        problem = str(error)
    if problem:
        assert "val.json, row 1 (id Q_1), field 'relevant_windows'" in problem
        assert on_bad_window != "skip" or not isinstance(value, list) or not value
        return
    assert len(moments) + counts["skipped_windows"] == len(value)
    for moment in moments:
        assert 0 <= moment.start <= moment.end
        assert moment.start <= duration
        assert beyond_end == "keep" or moment.end <= duration

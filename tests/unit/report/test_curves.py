"""Charts: round ticks, thinned lines, and values that survive the way into the page."""

from __future__ import annotations

import html
import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lavis.report.curves import MAX_POINTS, Curve, Series, chart, label, smooth, thinned, ticks


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 11
    assert all(low - 1e-6 * width <= value <= low + width * (1 + 1e-6) for value in found)


def test_ticks_are_round() -> None:
    assert ticks(0, 100) == [0, 20, 40, 60, 80, 100]
    assert ticks(3.0, 3.0) == [3.0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (2000, "2,000"), (0.05, "0.05"), (3e-4, "3e-4"), (2.5e-5, "2.5e-5"), (59.1234, "59.12")],
)
def test_labels_are_short(value: float, shown: str) -> None:
    assert label(value) == shown


def test_smoothing_starts_at_the_first_value() -> None:
    points = smooth([(0, 4.0), (1, 4.0), (2, 0.0)], weight=0.5)
    assert points[0] == (0, 4.0)
    assert points[1] == (1, 4.0)
    assert 0 < points[2][1] < 4
    with pytest.raises(ValueError, match="weight"):
        smooth([], weight=1.0)


def test_long_lines_are_thinned_but_end_where_they_end() -> None:
    points = [(float(x), 1.0) for x in range(10_001)]
    kept = thinned(points)
    assert len(kept) <= MAX_POINTS + 1
    assert (kept[0], kept[-1]) == (points[0], points[-1])


def test_the_page_gets_the_values() -> None:
    lines = [Series("Stage 1", [(0, 1.0), (10, math.nan), (20, 0.5)]), Series("raw", [(0, 2.0)], faint=True)]
    shown = chart(Curve("Loss", "iteration", lines))
    data = json.loads(html.unescape(re.search(r'data-chart="([^"]*)"', shown)[1]))
    assert data["series"] == [{"name": "Stage 1", "colour": "stage-1", "points": [[0.0, 1.0], [20.0, 0.5]]}]
    assert "Stage 1: from 1 to 0.5" in shown
    assert "nan" not in shown.lower()


def test_nothing_logged_is_said() -> None:
    assert "Nothing was logged" in chart(Curve("Loss", "iteration", [Series("Stage 1", [])]))
    with pytest.raises(ValueError, match="no series"):
        chart(Curve("Loss", "iteration", []))

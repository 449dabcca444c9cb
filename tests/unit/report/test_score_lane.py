"""Curves of similarity below an answer: which there are, and where their highest point stands."""

from __future__ import annotations

import re

import pytest

from lavis.report.score_lane import ScoreCurve, curves_of, score_lane
from lavis.structures import Prediction


def prediction(**details: object) -> Prediction:
    return Prediction("q", [], details=details)


def test_rows_are_told_apart_in_the_order_written() -> None:
    found = curves_of(prediction(ent_inds=[7], tst_inds=[0, 9], vl_sims=[[0.1, 0.2], [0.9, 0.3], [0.0, 0.5]]))
    assert [(curve.event, list(curve.values)) for curve in found] == [
        (False, [0.1, 0.2]),
        (True, [0.9, 0.3]),
        (False, [0.0, 0.5]),
    ]


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"ent_inds": [], "tst_inds": [], "vl_sims": []},
        {"ent_inds": [1], "tst_inds": [], "vl_sims": [[0.1, 0.2], [0.3, 0.4]]},
        {"ent_inds": [1], "tst_inds": [], "vl_sims": [[0.1]]},
        {"ent_inds": [1], "tst_inds": [], "vl_sims": [[0.1, float("nan")]]},
    ],
    ids=["none", "no token", "rows of another answer", "one frame", "no number"],
)
def test_what_cannot_be_drawn_is_left_out(details: dict[str, object]) -> None:
    assert curves_of(prediction(**details)) == []
    assert score_lane("Similarity", [], "ink") == ""


def test_the_highest_second_is_at_the_top_and_the_event_over_the_rest() -> None:
    drawn = score_lane(
        "Similarity", [ScoreCurve([0.0, 1.0, 0.0, 0.0]), ScoreCurve([2.0, 2.0], event=False)], "ink-a", [(0.25, 0.5)]
    )
    lines = re.findall(r'points="([^"]+)" class="([^"]+)"', drawn)
    assert [name for _, name in lines] == ["between", "ink-a"]
    corners = [tuple(map(float, point.split(","))) for point in lines[1][0].split()]
    assert [x for x, y in corners if y == min(y for _, y in corners)] == [250.0, 500.0]
    assert "left:25%;width:25%" in drawn
    assert "1 of what was asked for, 1 of what lies between" in drawn

"""Laws of overlap and of the figures built on it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lavis.metrics._matching import THRESHOLDS, average_precisions, hull_overlap, overlap, top1_overlap
from lavis.metrics.qvhighlights import highlights, report
from lavis.metrics.temporal import score
from lavis.structures import Moment

BOUND = st.integers(0, 150) | st.floats(0, 150)
WINDOW = st.tuples(BOUND, BOUND).map(lambda pair: [min(pair), max(pair)])
TRUTH = st.tuples(BOUND, st.floats(0.5, 60)).map(lambda pair: [pair[0], pair[0] + pair[1]])
WINDOWS = st.lists(WINDOW, min_size=1, max_size=12)
TRUTHS = st.lists(TRUTH, min_size=1, max_size=6)
QUERIES = st.lists(st.tuples(WINDOWS, TRUTHS), min_size=1, max_size=8)


def iou(a: list[float], b: list[float]) -> float:
    return float(overlap(np.array(a, dtype=float), np.array(b, dtype=float)))


@given(a=WINDOW, b=WINDOW)
def test_overlap(a: list[float], b: list[float]) -> None:
    assert 0 <= iou(a, b) <= 1 + 1e-12
    assert iou(a, b) == iou(b, a)
    assert iou(a, b) == pytest.approx(Moment(*a).iou(Moment(*b)))
    assert iou(a, a) == pytest.approx(float(a[1] > a[0]), abs=1e-9)
    if min(a[1], b[1]) <= max(a[0], b[0]):
        assert iou(a, b) == 0
    shifted = [[x + 64 for x in w] for w in (a, b)]
    assert iou(*shifted) == pytest.approx(iou(a, b), abs=1e-6) or min(a[1] - a[0], b[1] - b[0]) < 1e-6


@given(a=WINDOW, b=WINDOW)
def test_the_hull_is_no_smaller_than_the_union(a: list[float], b: list[float]) -> None:
    hull = float(hull_overlap(np.array([a], dtype=float), np.array([b], dtype=float))[0])
    assert hull <= iou(a, b) + 1e-9
    if min(a[1], b[1]) > max(a[0], b[0]):
        assert hull == pytest.approx(iou(a, b))


@given(queries=QUERIES)
@settings(deadline=None)
def test_average_precision(queries: list[tuple[list[list[float]], list[list[float]]]]) -> None:
    predictions, truths = [p for p, _ in queries], [t for _, t in queries]
    precisions = average_precisions(predictions, truths)
    assert precisions.shape == (len(queries), len(THRESHOLDS))
    assert ((precisions >= 0) & (precisions <= 1 + 1e-12)).all()
    # A higher threshold finds no more: with one prediction the figures fall.
    firsts = average_precisions([p[:1] for p in predictions], truths)
    assert (np.diff(firsts, axis=1) <= 1e-12).all()
    # Nothing is left to find behind the truth itself.
    assert average_precisions([t + p for p, t in queries], truths) == pytest.approx(1.0)
    # Queries do not see each other, and their order does not matter.
    assert np.array_equal(average_precisions(predictions[::-1], truths[::-1]), precisions[::-1])
    assert np.array_equal(average_precisions(predictions[:1], truths[:1]), precisions[:1])


@given(queries=QUERIES, more=WINDOWS)
@settings(deadline=None)
def test_windows_at_the_end_never_hurt(
    queries: list[tuple[list[list[float]], list[list[float]]]], more: list[list[float]]
) -> None:
    predictions, truths = [p for p, _ in queries], [t for _, t in queries]
    before = average_precisions(predictions, truths)
    assert (average_precisions([p + more for p in predictions], truths) >= before - 1e-12).all()


@given(queries=QUERIES)
@settings(deadline=None)
def test_recall_takes_the_best_truth_of_the_first_window(
    queries: list[tuple[list[list[float]], list[list[float]]]],
) -> None:
    ious = top1_overlap([p for p, _ in queries], [t for _, t in queries])
    for value, (predicted, truths) in zip(ious, queries, strict=True):
        assert value == pytest.approx(max(iou(predicted[0], t) for t in truths), abs=1e-9)


@given(queries=QUERIES)
@settings(deadline=None)
def test_project_and_official_figures_agree_where_they_mean_the_same(
    queries: list[tuple[list[list[float]], list[list[float]]]],
) -> None:
    """With equal scores, at most ten windows and all lengths, only the names differ."""
    rows = [
        {"qid": i, "pred_relevant_windows": p[:10], "relevant_windows": t} for i, (p, t) in enumerate(queries)
    ]
    scored = [{**r, "pred_relevant_windows": [[*w, 1.0] for w in r["pred_relevant_windows"]]} for r in rows]
    official, project = report(scored, rows)["full"], score(rows)
    assert official["MR-mAP"] == project["mAP"]
    assert official["MR-R1"] == project["R1"]


@given(
    scores=st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20),
    data=st.data(),
)
@settings(deadline=None)
def test_highlights(scores: list[float], data: st.DataObject) -> None:
    row = st.lists(st.integers(0, 4), min_size=3, max_size=3)
    ratings = np.array(data.draw(st.lists(row, min_size=len(scores), max_size=len(scores))), dtype=float)
    figures = highlights([scores], [ratings])
    for name, least in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        values = figures[f"HL-min-{name}"]
        assert 0 <= values["HL-mAP"] <= 100
        assert values["HL-Hit1"] == 100 * float((ratings[int(np.argmax(scores))] >= least).any())
    # The ratings of one annotator rank themselves perfectly.
    own = highlights([ratings[:, 0].tolist()], [np.repeat(ratings[:, :1], 3, axis=1)])
    assert all(v["HL-mAP"] in (0, 100) for v in own.values())
    # Raising all scores alike changes nothing.
    assert highlights([[s + 7 for s in scores]], [ratings]) == figures

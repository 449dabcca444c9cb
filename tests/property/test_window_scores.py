"""Laws of overlap and of the protocols built on it."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lavis.scoring.base import Estimate
from lavis.scoring.scorer import score
from lavis.scoring.windows.highlights import highlights
from lavis.scoring.windows.overlap import THRESHOLDS, hull_overlap, overlap, top1_overlap, topk_overlap, union_overlap
from lavis.scoring.windows.precision import average_precisions
from lavis.structures import Moment

BOUND = st.integers(0, 150) | st.floats(0, 150)
WINDOW = st.tuples(BOUND, BOUND).map(lambda pair: [min(pair), max(pair)])
TRUTH = st.tuples(BOUND, st.floats(0.5, 60)).map(lambda pair: [pair[0], pair[0] + pair[1]])
WINDOWS = st.lists(WINDOW, min_size=1, max_size=12)
TRUTHS = st.lists(TRUTH, min_size=1, max_size=6)
QUERIES = st.lists(st.tuples(WINDOWS, TRUTHS), min_size=1, max_size=8)
_RANGED = ("short-mAP", "middle-mAP", "long-mAP")
PROTOCOLS = ("qvhighlights", "calce", "moment_retrieval")

Queries = list[tuple[list[list[float]], list[list[float]]]]


def iou(a: list[float], b: list[float]) -> float:
    return float(overlap(np.array(a, dtype=float), np.array(b, dtype=float)))


def rows_of(queries: Queries, limit: int = 12) -> list[dict[str, Any]]:
    return [
        {"qid": i, "vid": f"v{i // 2}", "pred_relevant_windows": p[:limit], "relevant_windows": t}
        for i, (p, t) in enumerate(queries)
    ]


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
def test_joined_windows(queries: Queries) -> None:
    predictions, truths = [p for p, _ in queries], [t for _, t in queries]
    values = union_overlap(predictions, truths)
    assert ((values >= 0) & (values <= 1 + 1e-9)).all()
    assert union_overlap(truths, predictions) == pytest.approx(values)
    assert union_overlap(truths, truths) == pytest.approx(1)
    assert union_overlap([p + p[:1] for p in predictions], truths) == pytest.approx(values)
    singles = union_overlap([p[:1] for p in predictions], [t[:1] for t in truths])
    assert singles == pytest.approx([iou(p[0], t[0]) for p, t in queries], abs=1e-9)


@given(queries=QUERIES)
@settings(deadline=None)
def test_more_windows_never_lower_the_best(queries: Queries) -> None:
    predictions, truths = [p for p, _ in queries], [t for _, t in queries]
    best = [topk_overlap(predictions, truths, limit) for limit in (1, 2, 5, None)]
    assert all((after >= before).all() for before, after in pairwise(best))
    assert best[0] == pytest.approx(top1_overlap(predictions, truths), abs=1e-9)
    assert best[-1] == pytest.approx([max(iou(a, b) for a in p for b in t) for p, t in queries], abs=1e-9)


@given(queries=QUERIES)
@settings(deadline=None)
def test_average_precision(queries: Queries) -> None:
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
def test_windows_at_the_end_never_hurt(queries: Queries, more: list[list[float]]) -> None:
    predictions, truths = [p for p, _ in queries], [t for _, t in queries]
    before = average_precisions(predictions, truths)
    assert (average_precisions([p + more for p in predictions], truths) >= before - 1e-12).all()


@given(queries=QUERIES)
@settings(deadline=None)
def test_recall_takes_the_best_truth_of_the_first_window(queries: Queries) -> None:
    ious = top1_overlap([p for p, _ in queries], [t for _, t in queries])
    for value, (predicted, truths) in zip(ious, queries, strict=True):
        assert value == pytest.approx(max(iou(predicted[0], t) for t in truths), abs=1e-9)


# Over the protocols

# The mean precision is half a hundredth, which float sums in other orders put on either side.
ON_THE_EDGE: Queries = [
    *[([[0, 0]], [[0, 1.0]])] * 4,
    ([[0, 0], [16, 17]], [[16, 17.0]]),
    ([[0, 0]], [[0, 1.0]]),
    ([[0, 0], [0, 1]], [[0, 1.0]] * 6),
    ([[0, 1], [0, 0], [0, 0], [0, 1], [0, 1]], [[0, 1.0]] * 6),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(queries=QUERIES, seed=st.integers(0, 99))
@example(queries=ON_THE_EDGE, seed=0)
@settings(deadline=None, max_examples=30)
def test_order_of_queries_and_equal_predictions(protocol: str, queries: Queries, seed: int) -> None:
    rows = rows_of(queries)
    found = score(protocol, rows, rows)
    answers, truths = list(rows), list(rows)
    random.Random(seed).shuffle(answers)
    random.Random(seed + 1).shuffle(truths)
    assert score(protocol, answers, truths).headline == found.headline
    again = score(protocol, [{**row, "qid": f"QVHighlight_{row['qid']}"} for row in rows], rows)
    assert again.figures == found.figures  # equal predictions under another spelling of the ids
    for name, estimate in found.scored.estimates.items():
        assert isinstance(estimate, Estimate)
        assert found.headline[name] == pytest.approx(estimate.scale * np.nanmean(estimate.values), abs=0.0051)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(queries=QUERIES)
@settings(deadline=None, max_examples=30)
def test_recall_falls_with_the_threshold(protocol: str, queries: Queries) -> None:
    figures = score(protocol, rows_of(queries)).figures
    nested = {
        "qvhighlights": lambda: figures["full"]["MR-R1"],
        "calce": lambda: figures["mr"]["full"]["R1"],
        "moment_retrieval": lambda: figures["R1"],
    }[protocol]()
    values = [value for _, value in sorted(nested.items(), key=lambda item: float(item[0]))]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 100 for value in values)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@given(queries=QUERIES)
@settings(deadline=None, max_examples=20)
def test_the_truth_itself_scores_100(protocol: str, queries: Queries) -> None:
    rows = rows_of([(t, t) for _, t in queries])
    headline = score(protocol, rows).headline
    # Ranges of lengths see the windows of other lengths as false.
    expected = {name: 100.0 for name in headline if name != "invalid" and not name.endswith(_RANGED)}
    if protocol == "calce":
        expected["mIoU"] = 1.0
    assert {name: headline[name] for name in expected} == pytest.approx(expected)


@given(queries=QUERIES)
@settings(deadline=None)
def test_project_and_official_figures_agree_where_they_mean_the_same(queries: Queries) -> None:
    """With equal scores, at most ten windows and all lengths, only the names differ."""
    rows = rows_of(queries, limit=10)
    scored = [{**r, "pred_relevant_windows": [[*w, 1.0] for w in r["pred_relevant_windows"]]} for r in rows]
    official = score("qvhighlights", scored, rows).figures["full"]
    project = score("calce", rows).figures["mr"]["full"]
    assert official["MR-mAP"] == project["mAP"]
    assert official["MR-R1"] == project["R1"]
    retrieval = score("moment_retrieval", rows).figures
    assert retrieval["R1"]["0.5"] == project["R1"]["0.5"]
    assert retrieval["mIoU"] == pytest.approx(100 * project["mIoU"], abs=0.0051)


@given(scores=st.lists(st.integers(0, 5).map(float), min_size=1, max_size=20), data=st.data())
@settings(deadline=None)
def test_highlights(scores: list[float], data: st.DataObject) -> None:
    row = st.lists(st.integers(0, 4), min_size=3, max_size=3)
    ratings = np.array(data.draw(st.lists(row, min_size=len(scores), max_size=len(scores))), dtype=float)
    found = highlights([scores], [ratings])
    for name, least in (("Fair", 2), ("Good", 3), ("VeryGood", 4)):
        assert ((found[name].precision >= 0) & (found[name].precision <= 1)).all()
        assert found[name].hit[0] == float((ratings[int(np.argmax(scores))] >= least).any())
    # The ratings of one annotator rank themselves perfectly.
    own = highlights([ratings[:, 0].tolist()], [np.repeat(ratings[:, :1], 3, axis=1)])
    assert all(np.isin(values.precision, (0, 1)).all() for values in own.values())
    # Raising all scores alike changes nothing.
    raised = highlights([[s + 7 for s in scores]], [ratings])
    assert all(np.array_equal(raised[name].precision, found[name].precision) for name in found)

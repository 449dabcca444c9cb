from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lavis.scoring.captions.matching import caption_pairs, detected, event_iou
from lavis.scoring.captions.soda import assignment, soda_c, soda_pairs, text_sorted

SCORES = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1, width=16))
)


def exhaustive(scores: np.ndarray) -> float:
    """The best sum over all order-preserving matchings."""
    rows, columns = scores.shape
    best = 0.0
    for size in range(1, min(rows, columns) + 1):
        for chosen in itertools.combinations(range(rows), size):
            for met in itertools.combinations(range(columns), size):
                best = max(best, sum(scores[r, c] for r, c in zip(chosen, met, strict=True)))
    return best


@given(SCORES)
@settings(deadline=None, max_examples=60)
def test_the_sum_is_the_best_there_is(scores: np.ndarray) -> None:
    assert assignment(scores)[0] == pytest.approx(exhaustive(scores))


@given(SCORES)
@settings(deadline=None, max_examples=60)
def test_matches_keep_the_order(scores: np.ndarray) -> None:
    pairs = assignment(scores)[1]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(pairs))


def test_of_equal_ways_the_later_event_is_skipped_first() -> None:
    assert assignment(np.array([[0.5], [0.5]]))[1] == [(0, 0)]
    assert assignment(np.array([[0.5, 0.5]]))[1] == [(0, 0)]


def test_recorded_walk_may_add_up_to_less_than_the_sum() -> None:
    matrix = np.array([[0.4, 0.7], [0.7, 0.0], [0.4, 0.6], [0.0, 0.0], [0.0, 0.5]])
    best, pairs = assignment(matrix)
    assert best >= sum(matrix[pair] for pair in pairs)


def test_soda_is_the_harmonic_mean_of_both_shares() -> None:
    assert soda_c(np.array([[1.0, 0.0]]), np.array([[0.5, 0.9]])) == pytest.approx(2 * 0.25 * 0.5 / 0.75)
    assert soda_c(np.zeros((2, 0)), np.zeros((2, 0))) == 0.0
    assert soda_c(np.zeros((2, 3)), np.ones((2, 3))) == 0.0


def test_long_stories_do_not_recurse() -> None:
    diagonal = np.eye(1500)
    assert soda_c(diagonal, diagonal) == 1.0


def test_columns_in_the_order_of_text() -> None:
    assert text_sorted(np.arange(12.0)[None])[0].tolist() == [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert text_sorted(np.arange(10.0)[None])[0].tolist() == list(range(10))


def test_meteor_is_asked_the_wrong_way_round_on_purpose() -> None:
    assert soda_pairs(["p"], ["g"]) == [("g", ("p",))]
    assert soda_pairs(["p"], ["g"], swapped=False) == [("p", ("g",))]


def test_overlap_has_a_hair_of_epsilon_and_reversed_windows_can_be_put_right() -> None:
    ten, two = np.array([[10.0, 0.0]]), np.array([[2.0, 3.0]])
    assert event_iou(ten, two, ordered=True)[0, 0] == pytest.approx(0.0999999999, abs=1e-15)
    assert event_iou(ten, two)[0, 0] == 0.0
    assert event_iou(np.zeros((1, 2)), np.zeros((1, 2)))[0, 0] == 0.0
    same = np.array([[0.0, 10.0]])
    assert 1 - 1e-8 < event_iou(same, same)[0, 0] < 1


def test_captions_match_at_the_threshold_and_detection_above_it() -> None:
    iou = np.array([[0.5, 0.9], [0.2, 0.1]])
    assert caption_pairs(iou, 0.5) == [(0, 0), (0, 1), (1, None)]
    predictions, events = detected(iou, 0.5)
    assert predictions.tolist() == [True, False]
    assert events.tolist() == [False, True]
    assert detected(np.zeros((0, 2)), 0.5)[1].tolist() == [False, False]

"""Boundaries from similarities of structural tokens: each rule by hand, what looks like a fault, and broken records."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lavis.scoring.base import Row, RowError
from lavis.scoring.meco.structural_tokens import (
    Boundaries,
    boundaries,
    event_captions,
    read_structural_tokens,
    suppress,
)


def tokens(events: list[list[float]], transitions: list[list[float]] | None = None, **fields: Any) -> Any:
    rows = [*events, *(transitions or [])]
    record = {
        "ent_inds": list(range(len(events))),
        "tst_inds": list(range(len(events), len(rows))),
        "vl_sims": rows,
        "scale": 10.0,
        **fields,
    }
    return read_structural_tokens(Row(record, 0, "here"))


def found(events: list[list[float]], transitions: list[list[float]] | None = None, **options: Any) -> Boundaries:
    return boundaries(tokens(events, transitions), **options)


def test_frames_above_the_share_of_the_range_make_a_window_grown_by_one() -> None:
    row = [0, 0, 0, 0.8, 1.0, 0.75, 0.7, 0, 0, 0]
    assert found([row]).boxes.tolist() == [[2, 6]]
    assert found([row], dilate=False).boxes.tolist() == [[3, 5]]
    assert found([row], threshold=0.75, dilate=False).boxes.tolist() == [[3, 4]]


def test_a_single_frame_lasts_a_second() -> None:
    assert found([[0, 0, 1, 0]], dilate=False).boxes.tolist() == [[2, 3]]
    assert found([[0, 0, 0, 1]], dilate=False).boxes.tolist() == [[3, 4]]
    assert found([[0.0, 0.0, 0.0, 1.0]]).boxes.tolist() == [[2, 3]]


def test_growing_stops_at_the_ends_and_joins_runs() -> None:
    assert found([[1, 0, 1, 0, 0, 0, 1]]).boxes.tolist() == [[0, 3], [5, 6]]


def test_a_frame_must_lead_among_all_tokens() -> None:
    event, transition = [0, 0.9, 1, 0, 0], [0, 0, 5, 0, 0]
    assert found([event], [transition]).boxes.tolist() == [[0, 2]]
    assert found([event], [transition], compare=False).boxes.tolist() == [[0, 3]]


def test_equal_tokens_both_lead() -> None:
    row = [0, 0.9, 1, 0, 0, 0]
    result = found([row], [row])
    assert result.boxes.tolist() == [[0, 3]]


def test_events_compare_with_events() -> None:
    first, second = [0, 1, 1, 1, 0, 0], [0, 0, 0, 2, 2, 0]
    result = found([first, second], dilate=False)
    assert result.boxes[result.events == 0].tolist() == [[1, 2]]
    assert result.boxes[result.events == 1].tolist() == [[3, 4]]


def test_rows_belong_to_tokens_in_the_order_of_generation() -> None:
    record = tokens([[0, 1, 0, 0]], [[0, 0, 0, 1]], ent_inds=[9], tst_inds=[4])
    assert record.events.tolist() == [1]
    assert boundaries(record, dilate=False).boxes.tolist() == [[3, 4]]


def test_an_event_of_equal_similarities_has_no_window() -> None:
    assert not len(found([[0.3, 0.3, 0.3]]).boxes)
    assert not len(found([[0.3]]).boxes)


def test_no_rows_and_no_events() -> None:
    for record in (tokens([]), tokens([], [[0, 1, 0]])):
        result = boundaries(record)
        assert result.boxes.shape == (0, 2)
        assert not result.confidences
        assert not len(result.events)


def test_confidence_is_the_cosine_or_the_probability() -> None:
    row = [0, 0, 1, 0]
    cosine = found([row], dilate=False)
    assert cosine.scores.tolist() == [1]
    chances = np.exp(np.array(row) * 10.0) / np.exp(np.array(row) * 10.0).sum()
    assert found([row], dilate=False, confidence="probability").scores == pytest.approx(chances[2], abs=1e-6)


def test_confidences_stay_in_the_order_found_while_boxes_are_sorted() -> None:
    row = [0, 0.8, 0, 0, 0, 1.0, 0]
    faithful = found([row], dilate=False)
    assert faithful.boxes.tolist() == [[5, 6], [1, 2]]
    assert [c.tolist() for c in faithful.confidences] == [[pytest.approx(0.8)], [1]]
    repaired = found([row], dilate=False, confidence_order="sorted")
    assert [c.tolist() for c in repaired.confidences] == [[1], [pytest.approx(0.8)]]


def test_suppressed_boxes_are_kept_with_score_zero() -> None:
    first, second = [0, 0.9, 1.0, 0.9, 0], [0, 0.9, 0.95, 0.9, 0]
    faithful = found([first, second], compare=False)
    assert faithful.boxes.tolist() == [[0, 4], [0, 4]]
    assert faithful.scores.tolist() == [1, 0]
    assert faithful.events.tolist() == [0, 1]
    repaired = found([first, second], compare=False, suppressed="drop")
    assert repaired.boxes.tolist() == [[0, 4]]


def test_zero_outranks_negative_scores() -> None:
    boxes = np.array([[0, 10], [0, 10], [20, 30]], dtype=float)
    order, scores = suppress(boxes, np.array([-0.1, -0.3, -0.2]), 0.7)
    assert order.tolist() == [1, 0, 2]  # the one suppressed comes first
    assert scores.tolist() == [0, -0.1, -0.2]
    order, scores = suppress(boxes, np.array([-0.1, -0.3, -0.2]), 0.7, "drop")
    assert order.tolist() == [0, 2]
    assert scores.tolist() == [-0.1, -0.2]


def test_suppression_begins_at_the_overlap_itself() -> None:
    boxes = np.array([[0, 10], [0, 7]], dtype=float)
    assert suppress(boxes, np.array([1.0, 0.5]), 0.7)[1].tolist() == [1, 0]
    assert suppress(boxes, np.array([1.0, 0.5]), 0.71)[1].tolist() == [1, 0.5]


def test_a_suppressed_box_suppresses_only_where_it_is_kept() -> None:
    boxes = np.array([[0, 10], [3, 13], [6, 16]], dtype=float)
    order, _ = suppress(boxes, np.array([0.9, 0.8, 0.7]), 0.5, "drop")
    assert order.tolist() == [0, 2]


def test_without_a_scale_only_cosines_can_be_ranked() -> None:
    record = tokens([[0, 1, 0]], scale=1.0)
    bare = type(record)(record.rows, record.events, None)
    assert boundaries(bare).boxes.tolist() == [[0, 2]]
    with pytest.raises(RowError, match="scale"):
        boundaries(bare, confidence="probability")
    pair = tokens([[0, 1, 0]], [[1, 0, 0]])
    with pytest.raises(RowError, match="scale"):
        boundaries(type(pair)(pair.rows, pair.events, None))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"vl_sims": [[0, 1], [1]]}, "equal length"),
        ({"vl_sims": [["a", "b"]]}, "numbers only"),
        ({"vl_sims": [[0, float("nan")]]}, "finite"),
        ({"vl_sims": [[0, 1], [1, 0]]}, "2 rows for 1"),
        ({"vl_sims": [[]]}, "without frames"),
        ({"vl_sims": [[0, 1e300]]}, "single precision"),
        ({"scale": 1e300}, "single precision"),
        ({"vl_sims": [[0, 1e300]], "scale": 1e300}, "single precision"),
        ({"scale": "big"}, "scale"),
        ({"ent_inds": [0.5]}, "whole numbers"),
        ({"ent_inds": "x"}, "ent_inds"),
        ({"tst_inds": [0], "vl_sims": [[0, 1], [1, 0]]}, "twice"),
    ],
)
def test_broken_records(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(RowError, match=told):
        tokens([[0.0, 1.0]], **fields)


def test_captions_lead_to_their_event() -> None:
    answer = "<tst>\na door moved<ent>\na man walked<ent>\n<tst>"
    assert event_captions(answer, np.array([1, 0, 1])) == ["a man walked", "\na door moved", "a man walked"]
    assert event_captions(answer, np.array([0]), strip="marker") == ["a door moved"]


def test_captions_without_tokens_are_sentences_or_parts() -> None:
    assert event_captions("one. two. ", np.array([0, 1])) == ["one", "wo"]
    assert event_captions("one, two, ", np.array([1]), strip="marker") == ["two"]


def test_stripping_eats_letters_unless_told_otherwise() -> None:
    answer = "then sits<ent><tst> a test<ent>"
    assert event_captions(answer, np.array([0, 1])) == ["hen si", " a te"]
    assert event_captions(answer, np.array([0, 1]), strip="marker") == ["then sits", "a test"]


def test_a_box_without_a_caption_is_an_error() -> None:
    with pytest.raises(RowError, match="1 captions, but event 2"):
        event_captions("one<ent>", np.array([1]))
    assert event_captions("", np.zeros(0, dtype=np.int64)) == []

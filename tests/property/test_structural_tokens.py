"""Laws of boundaries from structural tokens."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lavis.scoring.meco.structural_tokens import Boundaries, StructuralTokens, boundaries, suppress

# Multiples of 1/64 are exact in single precision, so that equal stays equal under the changes made below.
LEVELS = st.integers(-64, 64).map(lambda n: n / 64)
ROWS = st.tuples(st.integers(1, 4), st.integers(1, 25)).flatmap(
    lambda shape: arrays.arrays(np.float32, shape, elements=LEVELS)
)
SHARES = st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.9])


def found(rows: np.ndarray, events: int | None = None, **options: object) -> Boundaries:
    tokens = StructuralTokens(rows, np.arange(len(rows) if events is None else events), 8.0)
    return boundaries(tokens, **options)  # type: ignore[arg-type]


def covered(result: Boundaries, event: int, frames: int) -> set[int]:
    """Frames of an event's boxes."""
    boxes = result.boxes[result.events == event].astype(int)
    return {frame for first, last in boxes for frame in range(first, last + 1) if frame < frames}


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_boxes_lie_in_the_video_and_last_at_least_a_second(rows: np.ndarray) -> None:
    result = found(rows)
    assert (result.boxes[:, 0] >= 0).all()
    assert (result.boxes[:, 1] <= rows.shape[1]).all()
    assert (result.boxes[:, 1] - result.boxes[:, 0] >= 1).all()
    assert len(result.boxes) == len(result.scores) == len(result.confidences) == len(result.events)
    assert (np.diff(result.scores) <= 0).all()


@given(ROWS, SHARES, SHARES)
@settings(max_examples=60, deadline=None)
def test_a_higher_threshold_keeps_no_other_frames(rows: np.ndarray, one: float, other: float) -> None:
    low, high = sorted((one, other))
    for compare in (False, True):
        options = {"compare": compare, "dilate": False}
        few, many = found(rows, threshold=high, **options), found(rows, threshold=low, **options)
        for event in range(len(rows)):
            # A single frame is given as a second, so its end may be a frame more than was kept.
            kept = {int(first) for first, _ in few.boxes[few.events == event]}
            assert kept <= covered(many, event, rows.shape[1])


@given(ROWS, st.sampled_from([0.25, 0.5, 2.0, 4.0]), st.sampled_from([-1.0, 0.0, 0.5]))
@settings(max_examples=60, deadline=None)
def test_windows_of_one_event_do_not_depend_on_scale_and_offset_of_its_row(
    rows: np.ndarray, factor: float, offset: float
) -> None:
    plain = found(rows[:1], nms=2.0)
    changed = found((rows[:1] * np.float32(factor) + np.float32(offset)).astype(np.float32), nms=2.0)
    assert sorted(plain.boxes.tolist()) == sorted(changed.boxes.tolist())


@given(ROWS)
@settings(max_examples=60, deadline=None)
def test_a_video_played_backwards_has_its_frames_mirrored(rows: np.ndarray) -> None:
    frames = rows.shape[1]
    forward, backward = found(rows, nms=2.0), found(rows[:, ::-1].copy(), nms=2.0)
    for event in range(len(rows)):
        # Frames are mirrored; the second that a single frame lasts always lies behind it, so ends are left out.
        lengths = [len(c) for c in forward.confidences]
        assert sorted(lengths) == sorted(len(c) for c in backward.confidences)
        longer = {tuple(box) for box in forward.boxes[forward.events == event].tolist() if box[1] - box[0] > 1}
        mirrored = {(frames - 1 - last, frames - 1 - first) for first, last in longer}
        assert mirrored <= {tuple(box) for box in backward.boxes[backward.events == event].tolist()}


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_boxes_of_an_event_do_not_depend_on_the_order_of_tokens(rows: np.ndarray, random: object) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    plain, shuffled = found(rows, nms=2.0), found(rows[order], nms=2.0)
    for place, event in enumerate(order):
        mine = plain.boxes[plain.events == event].tolist()
        assert sorted(mine) == sorted(shuffled.boxes[shuffled.events == place].tolist())


@given(ROWS, st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_further_tokens_take_frames_and_give_none(rows: np.ndarray, others: int) -> None:
    alone = found(rows[:1], dilate=False)
    among = found(rows, events=1, dilate=False)
    kept = {int(first) for first, _ in among.boxes}
    assert kept <= covered(alone, 0, rows.shape[1])


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 10), LEVELS), min_size=1, max_size=12),
    st.sampled_from([0.3, 0.5, 0.7]),
)
@settings(max_examples=80, deadline=None)
def test_suppression_keeps_all_boxes_or_leaves_no_two_close_ones(
    given_boxes: list[tuple[int, int, float]], nms: float
) -> None:
    boxes = np.array([[start, start + length] for start, length, _ in given_boxes], dtype=float)
    scores = np.array([score for _, _, score in given_boxes])
    order, kept = suppress(boxes, scores, nms)
    assert sorted(order.tolist()) == list(range(len(boxes)))
    assert (np.diff(kept) <= 0).all()
    assert ((kept == scores[order]) | (kept == 0)).all()
    left, _ = suppress(boxes, scores, nms, "drop")
    for place, one in enumerate(left):
        for other in left[place + 1 :]:
            shared = min(boxes[one, 1], boxes[other, 1]) - max(boxes[one, 0], boxes[other, 0])
            lengths = np.diff(boxes[[one, other]], axis=1).sum()
            assert max(shared, 0) / (lengths - max(shared, 0)) < nms

"""The arithmetic of ``magqa``: which replies a judge must see, and the rating of those that came in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lavis.scoring.base import Array, ScoringError
from lavis.scoring.judges.base import Pair
from lavis.scoring.replies.rows import UNTIMED, TimedAnswers, TimedReplies

LEAST = 1.0
"""Rating of a reference answer that no reply meets, and of every pair that no judge saw."""


def pairs_to_judge(truth: TimedAnswers, answer: TimedReplies, concatenated: bool) -> list[Pair]:
    """Each reference answer beside each reply, equal texts once, where any of their turns meet in time.

    Args:
        truth: of a question.
        answer: replies to it.
        concatenated: take all replies of different text as one, said when the first was.
    """
    texts = [" ".join(_different(answer.texts))] if concatenated and answer.texts else list(answer.texts)
    met = meeting(truth.spans, answer.times[: len(texts)])
    found = []
    for gold, gold_ids in _grouped(truth.texts).items():
        for predicted, predicted_ids in _grouped(texts).items():
            if met[np.ix_(gold_ids, predicted_ids)].any():
                pair = (truth.id, truth.question, gold, predicted, tuple(gold_ids), tuple(predicted_ids))
                found.append(Pair(*pair))
    return found


def meeting(spans: Array, times: Array, untimed: bool = True) -> NDArray[np.bool_]:
    """``[G, P]``, which replies are said within which spans, both ends included.

    Args:
        spans: ``[G, 2]``.
        times: ``[P]``.
        untimed: whether a reply without a time is within all of them.
    """
    inside = (spans[:, :1] <= times) & (times <= spans[:, 1:])
    return np.asarray(inside | (times == UNTIMED) if untimed else inside)


def ratings_of(truth: TimedAnswers, rows: Sequence[Sequence[float]], columns: int) -> Array:
    """Recorded ratings as ``[G, columns]``, or ``[G, 1]`` of replies taken as one.

    Raises:
        ScoringError: if there is not a row for each reference answer and a column for each reply.
    """
    if len(rows) != len(truth.texts):
        raise ScoringError(
            f"question {truth.id!r}: ratings ('evaluator_output') of {len(rows)} reference answers, but the truth has "
            f"{len(truth.texts)}; were they made against other annotations?"
        )
    if not rows:
        return np.zeros((0, columns))
    if len(rows[0]) != columns and not (columns and len(rows[0]) == 1):
        raise ScoringError(
            f"question {truth.id!r}: ratings ('evaluator_output') of {len(rows[0])} replies, but there are {columns}"
        )
    return np.array(rows, dtype=np.float64)


def in_span_ratings(
    truths: Sequence[TimedAnswers], answers: Sequence[TimedReplies | None], ratings: Sequence[Array], untimed: bool
) -> Array:
    """Mean rating of the replies said in time, for each question the mean over its reference answers.

    Args:
        truths: Q questions.
        answers: their replies; ``None`` where there are none.
        ratings: ``[G, P]`` of each, or ``[G, 1]`` of replies taken as one, or ``[G, 0]`` of none; "not a number" is
            left out, and so is a reference answer that only such ratings meet.
        untimed: whether a reply without a time is in time for all.

    Returns:
        ``[Q]``, from 1 to 5; "not a number" for a question without reference answers that count.
    """
    references = np.array([len(truth.texts) for truth in truths], dtype=np.int64)
    columns = np.array([matrix.shape[1] for matrix in ratings], dtype=np.int64)
    spans = np.concatenate([truth.spans for truth in truths])
    times = [
        np.zeros(0) if answer is None else answer.times[:count]
        for answer, count in zip(answers, columns.tolist(), strict=True)
    ]
    # Every cell of every question: the reference answer it belongs to, its time and its rating.
    reference = np.repeat(np.arange(len(spans)), np.repeat(columns, references))
    time = np.concatenate([np.tile(row, count) for row, count in zip(times, references.tolist(), strict=True)])
    rating = np.concatenate([matrix.ravel() for matrix in ratings])
    met = (spans[reference, 0] <= time) & (time <= spans[reference, 1])
    if untimed:
        met |= time == UNTIMED
    rated = met & ~np.isnan(rating)
    mean = _means(reference[rated], rating[rated], len(spans))
    mean[np.bincount(reference[met], minlength=len(spans)) == 0] = LEAST
    counts = ~np.isnan(mean)
    question = np.repeat(np.arange(len(truths)), references)
    return _means(question[counts], mean[counts], len(truths))


def _means(group: NDArray[np.int64], values: Array, groups: int) -> Array:
    """``[groups]``, the mean of the values of each group; "not a number" without any."""
    counts = np.bincount(group, minlength=groups)
    sums = np.bincount(group, weights=values, minlength=groups).astype(np.float64)
    means: Array = np.divide(sums, counts, out=np.full(groups, np.nan), where=counts > 0)
    return means


def _different(texts: Sequence[str]) -> list[str]:
    """The first of those that differ in more than case and outer blanks."""
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(text.lower().strip(), text)
    return list(first.values())


def _grouped(texts: Sequence[str]) -> dict[str, list[int]]:
    """Texts to their places."""
    places: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        places.setdefault(text, []).append(place)
    return places

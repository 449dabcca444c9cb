"""Overlaps, packed windows, average precision."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.scoring.windows import precision, ragged
from lavis.scoring.windows.overlap import (
    hull_overlap,
    overlap,
    seconds_overlap,
    top1_overlap,
    topk_overlap,
    union_overlap,
)
from lavis.scoring.windows.precision import average_precisions, interpolated_precision
from lavis.scoring.windows.ragged import Ragged

EMPTY = np.zeros((0, 2))


def test_packed_windows() -> None:
    packed = Ragged.of([[[0, 1, 0.2], [2, 3, 0.9], [4, 5, 0.9]], [], np.array([[6, 7, 1.0]])], columns=3)
    assert packed.counts.tolist() == [3, 0, 1]
    assert packed.owners.tolist() == [0, 0, 0, 2]
    assert packed.ranked().values[:, 0].tolist() == [2, 4, 0, 6]  # equal scores in their order
    assert packed.head(1).values[:, 0].tolist() == [0, 6]
    assert packed.select(np.array([2, 0])).values[:, 0].tolist() == [6, 0, 2, 4]
    assert packed.where(packed.values[:, 0] > 3).counts.tolist() == [1, 0, 1]
    padded, real = packed.padded()
    assert padded.shape == (3, 3, 3) and real.sum(axis=1).tolist() == [3, 0, 1]
    assert Ragged.of(packed).values.shape == (4, 2)
    assert len(Ragged.of([])) == 0


def test_chunks_hold_every_query_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ragged, "_MAX_CELLS", 20)
    sizes = np.array([1, 9, 100, 0, 3, 3, 3, 7])
    found = list(ragged.chunks(sizes, cells=2))
    assert sorted(np.concatenate(found).tolist()) == list(range(8))
    assert all(len(part) == 1 or 2 * len(part) * sizes[part].max() <= 20 for part in found)


def test_windows_without_length_or_reversed_overlap_nothing() -> None:
    odd = np.array([[7.0, 7.0], [9.0, 3.0], [-1.0, -1.0]])
    for other in (odd, np.array([[0.0, 20.0]])):
        assert not overlap(odd, other).any() and not hull_overlap(odd, other).any()
    assert union_overlap([[[9, 3]], [[7, 7]]], [[[0, 20]], [[7, 7]]]).tolist() == [0, 0]


def test_first_best_and_joined_windows() -> None:
    predicted = [[[0, 4], [10, 20]], EMPTY, [[0, 10], [5, 12]]]
    truths = [[[10, 20], [30, 40]], [[0, 5]], [[0, 12]]]
    assert top1_overlap(predicted, truths).tolist() == [0, 0, pytest.approx(10 / 12)]
    assert topk_overlap(predicted, truths).tolist() == [1, 0, pytest.approx(10 / 12)]
    assert topk_overlap(predicted, truths, 1, measure=hull_overlap).tolist() == top1_overlap(predicted, truths).tolist()
    assert union_overlap(predicted, truths).tolist() == [pytest.approx(10 / 24), 0, 1]
    with pytest.raises(ValueError, match="no true window"):
        top1_overlap([EMPTY], [EMPTY])
    assert top1_overlap([], []).tolist() == []


def test_seconds_overlap() -> None:
    assert seconds_overlap([[0, 10]], [[5, 12]], 30) == pytest.approx(5 / 12)
    assert seconds_overlap([[-1, -1]], [[-1, -1]], 30) == 0


def test_precision_in_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    predicted = [np.sort(draw.uniform(0, 60, (n, 2))) for n in draw.integers(0, 12, 60)]
    truths = [np.sort(draw.uniform(0, 60, (n, 2))) for n in draw.integers(1, 12, 60)]
    whole = average_precisions(predicted, truths, [0.1, 0.3])
    monkeypatch.setattr(ragged, "_MAX_CELLS", 30)
    assert np.array_equal(average_precisions(predicted, truths, [0.1, 0.3]), whole)


def test_long_sums_are_added_as_numpy_adds_them() -> None:
    draw = np.random.default_rng(1)
    hits = draw.random((40, 30, 3)) < 0.5
    hits[:5] = True
    ranked, truths = np.full(40, 30), np.maximum(hits.sum(axis=1).max(axis=1), draw.integers(1, 40, 40))
    truths[:5] = 30
    found = interpolated_precision(hits, ranked, truths)
    for query in range(40):
        for level in range(3):
            marks = hits[query, :, level]
            steps = np.cumsum(marks) / np.arange(1, 31)
            heights = np.maximum.accumulate(np.append(steps, 0)[::-1])[::-1]
            recall = np.concatenate([[0.0], np.cumsum(marks) / truths[query], [1.0]])
            rises = np.nonzero(recall[1:] != recall[:-1])[0]
            assert found[query, level] == np.sum((recall[rises + 1] - recall[rises]) * heights[rises])
    assert precision.average_precisions([EMPTY], [[[0, 1]]]).tolist() == [[0.0] * 10]

"""DiDeMo's and Ego4D's figures against their definitions written as loops."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lavis.scoring.windows.figures import didemo, ego4d_hits, listed_recall

SEGMENTS = [[a, b] for a in range(6) for b in range(a, 6)]


def test_didemo_against_loops() -> None:
    draw = random.Random(0)
    truths = [[draw.choice(SEGMENTS) for _ in range(4)] for _ in range(60)]
    answers = [draw.sample(SEGMENTS, 21) for _ in truths]
    found = didemo(answers, truths)
    for query, (listed, times) in enumerate(zip(answers, truths, strict=True)):
        ranks = sorted(listed.index(time) + 1 for time in times)[:3]
        (start, end), overlaps = listed[0], []
        for a, b in times:
            shared = max(0, min(b, end) + 1 - max(a, start))
            overlaps.append(shared / (max(b, end) + 1 - min(a, start)))
        assert found.rank[query] == pytest.approx(sum(ranks) / 3)
        assert found.iou[query] == pytest.approx(sum(sorted(overlaps)[-3:]) / 3)


def test_didemo_without_an_answer_or_a_place() -> None:
    found = didemo([[], [[0, 0]]], [[[1, 1]] * 4, [[1, 1], [0, 0]]])
    assert found.rank.tolist() == [np.inf, np.inf]
    assert found.iou.tolist() == [0, 0.5]


def test_ego4d_asks_for_more_than_the_threshold() -> None:
    hits = ego4d_hits([[[0, 5], [0, 10]]], [[[0, 10]]], [0.5], [1, 5])
    assert hits.tolist() == [[[0.0], [1.0]]]


def test_listed_recall() -> None:
    figures = listed_recall(
        [[[0, 10]], [[-1, -1]], []], [[[0, 10], [20, 30]], [[0, 10]], [[0, 10]]], [True, False, True]
    )
    assert figures["r1"] == {"0.3": pytest.approx(1 / 6), "0.5": pytest.approx(1 / 6), "0.7": pytest.approx(1 / 6)}
    assert figures["mIoU"] == pytest.approx(1 / 3)
    assert figures["invalid"] == 1

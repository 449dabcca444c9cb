"""Highlight detection from clip scores."""

from __future__ import annotations

import numpy as np
import pytest

from lavis.scoring.rounding import two_decimals
from lavis.scoring.windows import highlights as module


def highlights(scores: list[list[float]], ratings: list[np.ndarray]) -> dict[str, dict[str, float]]:
    return {
        f"HL-min-{name}": {
            "HL-mAP": two_decimals(100 * values.precision.mean()),
            "HL-Hit1": two_decimals(100 * values.hit.mean()),
        }
        for name, values in module.highlights(scores, ratings).items()
    }


def test_clip_ratings() -> None:
    rated = module.clip_ratings(3, np.array([1]), np.array([[4.0, 3, 0]]))
    assert rated.tolist() == [[0, 0, 0], [4, 3, 0], [0, 0, 0]]
    assert module.clip_ratings(2, np.zeros(0, dtype=int), np.zeros((0, 3))).tolist() == [[0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="outside the 3 clips"):
        module.clip_ratings(3, np.array([3]), np.array([[4.0, 3, 0]]))
    with pytest.raises(ValueError, match="2 rated clips but 1"):
        module.clip_ratings(3, np.array([1, 2]), np.array([[4.0, 3, 0]]))


def test_highlights() -> None:
    ratings = np.array([[0, 0, 0], [4, 3, 0], [2, 2, 0]], dtype=float)
    perfect = highlights([[0.0, 0.9, 0.5]], [ratings])
    # Two of three annotators rate clip 1 as very good or good; the third rates nothing, which counts as 0.
    assert perfect["HL-min-VeryGood"] == {"HL-mAP": 33.33, "HL-Hit1": 100}
    assert perfect["HL-min-Fair"] == {"HL-mAP": 66.67, "HL-Hit1": 100}
    assert highlights([[0.9, 0.5, 0.1]], [ratings])["HL-min-Good"] == {"HL-mAP": 33.33, "HL-Hit1": 0}
    equal = highlights([[0.5, 0.5, 0.5]], [ratings])
    assert equal["HL-min-Good"]["HL-mAP"] == 22.22  # equal scores enter together
    assert highlights([[0.5]], [ratings])["HL-min-Fair"]["HL-Hit1"] == 0  # filled up with zeros
    assert highlights([[0.0, 0.1, 0.2, 9.0]], [ratings])["HL-min-Fair"]["HL-Hit1"] == 0  # best clip past the end


def test_videos_of_different_lengths() -> None:
    short, long = np.full((2, 3), 4.0), np.zeros((4, 3))
    figures = highlights([[0.1, 0.2], [0.1, 0.2, 0.3, 0.4]], [short, long])
    assert figures["HL-min-Good"] == {"HL-mAP": 50, "HL-Hit1": 50}


def test_many_queries_are_ranked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    ratings = [draw.integers(0, 5, (length, 3)).astype(float) for length in draw.integers(1, 9, 40)]
    scores = [draw.integers(0, 4, 6).tolist() for _ in ratings]
    whole = highlights(scores, ratings)
    monkeypatch.setattr(module, "_TOGETHER", 3)
    assert highlights(scores, ratings) == whole

"""Detection of named actions, against the definition written as loops."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lavis.metrics.action_detection import ActionDetection
from lavis.structures import Moment, Prediction, VideoSample

LEVELS = np.linspace(0.5, 0.95, 10)
Actions = list[tuple[str, list[float], str]]


def video(identity: str, truth: list[tuple[float, float, str]]) -> VideoSample:
    return VideoSample(
        identity, "a.mp4", "", 100, [Moment(a, b) for a, b, _ in truth], extra={"labels": [c for _, _, c in truth]}
    )


def compute(samples: list[VideoSample], texts: list[str], **settings: Any) -> dict[str, float]:
    metric = ActionDetection(**settings)
    metric.update(samples, [Prediction(s.id, [], text) for s, text in zip(samples, texts, strict=True)])
    return metric.compute()


def test_perfect_missed_and_unreadable() -> None:
    samples = [video("a", [(0, 10, "Long jump")]), video("b", [(0, 10, "Surfing"), (20, 30, "Surfing")])]
    perfect = compute(samples, ["[[0, 10, 'Long jump']]", "[[0, 10, 'Surfing'], [20, 30, 'Surfing']]"])
    assert perfect["agg_metrics"] == perfect["mAP@0.95"] == perfect["r1@0.5"] == 1
    half = compute(samples, ["[[0, 10, 'Long jump']]", "none"])
    assert half["agg_metrics"] == half["r1@0.95"] == 0.5
    assert half["invalid_predictions"] == 0.5
    assert list(half)[:2] == ["agg_metrics", "mAP@0.5"]


def test_labels_outside_the_classes_are_counted_and_find_nothing(tmp_path: Path) -> None:
    samples = [video("a", [(0, 10, "Long jump")])]
    text = ["[[0, 10, 'Long  jumps']]"]
    names = tmp_path / "classes.txt"
    names.write_text("Long jump\nSurfing\n")
    figures = compute(samples, text, class_file=str(names))
    assert figures["class_label_mismatch"] == 1
    assert figures["agg_metrics"] == 0
    with pytest.raises(ValueError, match="not both"):
        ActionDetection(classes=["a"], class_file=str(names))


def test_labels_must_fit_the_moments() -> None:
    with pytest.raises(ValueError, match="sample a: 1 moments but 0 labels"):
        compute([VideoSample("a", "a.mp4", "", 9, [Moment(0, 1)])], [""])


def test_against_loops() -> None:
    draw = random.Random(0)
    samples, texts, truths, guesses = [], [], [], []
    for i in range(40):
        truth = [_action(draw) for _ in range(draw.randint(1, 4))]
        guess = [draw.choice(truth) if draw.random() < 0.6 else _action(draw) for _ in range(draw.randint(1, 5))]
        samples.append(video(str(i), truth))
        texts.append(str([list(action) for action in guess]))
        truths += [(str(i), [float(a), float(b)], c) for a, b, c in truth]
        guesses += [(str(i), [float(a), float(b)], c) for a, b, c in guess]
    figures = compute(samples, texts)
    for level in LEVELS:
        precision, recall = by_loops(guesses, truths, level)
        assert figures[f"mAP@{round(level, 2)}"] == pytest.approx(precision, abs=1e-12)
        assert figures[f"r1@{round(level, 2)}"] == pytest.approx(recall, abs=1e-12)


def _action(draw: random.Random) -> tuple[int, int, str]:
    start = 5 * draw.randint(0, 10)
    return start, start + 5 * draw.randint(1, 5), draw.choice("abc")


def by_loops(guesses: Actions, truths: Actions, level: float) -> tuple[float, float]:
    precisions, recalls = [], []
    for label in sorted({c for _, _, c in truths}):
        real = [(v, w) for v, w, c in truths if c == label]
        ranked = [(v, w) for v, w, c in guesses if c == label][::-1]
        taken: set[int] = set()
        curve = []
        for rank, (name, window) in enumerate(ranked, start=1):
            free = [i for i, (v, w) in enumerate(real) if v == name and i not in taken and iou(window, w) >= level]
            if free:
                taken.add(max(free, key=lambda i: (iou(window, real[i][1]), i)))
                curve.append((len(taken) / len(real), len(taken) / rank))
        best = [max(p for _, p in curve[i:]) for i in range(len(curve))]
        precisions.append(sum(p / len(real) for p in best))
        found = 0
        for name in {v for v, _ in real}:
            here = [w for v, w in real if v == name]
            first = [w for v, w in ranked if v == name][: len(here)]
            found += sum(any(iou(f, w) >= level for f in first) for w in here)
        recalls.append(found / len(real))
    return float(np.mean(precisions)), float(np.mean(recalls))


def iou(a: list[float], b: list[float]) -> float:
    shared = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return shared / ((a[1] - a[0]) + (b[1] - b[0]) - shared)

"""Arithmetic of the tasks with windows and moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lavis.scoring.etbench import grounding
from lavis.scoring.etbench.grounding import Sample, numpy_rounded
from lavis.scoring.etbench.records import NO_WINDOWS, Answer, Question
from lavis.scoring.etbench.windows_text import windows as window_of

Windows = list[list[float]]


def sample(true: Windows, found: Windows | None, point: float | None = None) -> Sample:
    question = Question("t/s/0", "tvg", "s", "0", "v", 100, np.array(true, float), [], -1, [])
    if found is None and point is None:
        return question, Answer("t/s/0", "tvg", "")
    return question, Answer("t/s/0", "tvg", "", np.array(found or [], float).reshape(-1, 2), point=point)


def test_single_window() -> None:
    result = grounding.single_window([sample([[0, 10]], [[0, 5], [0, 10]]), sample([[0, 10]], None)])
    shares = {"F1@0.1": 0.5, "F1@0.3": 0.5, "F1@0.5": 0.5, "F1@0.7": 0.0, "F1": 0.375}
    assert result.figures == {"Total": 2, "Failed": 1, "mIoU": 0.25, **shares}
    assert result.parts["F1"].tolist() == [0.75, 0.0]


def test_thresholds_meet_single_precision() -> None:
    """0.7 in single precision is below 0.7, but not below 0.7 in single precision."""
    just = [sample([[0, 10]], [[0, 7]])]
    assert grounding.single_window(just).figures["F1@0.7"] == 0.0
    assert grounding.all_windows(just).figures["F1@0.7"] == 1.0
    assert grounding.single_window([sample([[0, 10]], [[0, 3]])]).figures["F1@0.3"] == 1.0


def test_two_windows_without_length() -> None:
    result = grounding.single_window([sample([[5, 5]], [[5, 5]]), sample([[0, 1]], [[0, 1]])])
    assert math.isnan(result.figures["mIoU"])
    assert result.figures["F1"] == 0.5
    assert grounding.all_windows([sample([[5, 5]], [[5, 5]])]).figures["F1"] == 0.0


def test_any_window_takes_the_best_truth() -> None:
    figures = grounding.any_window([sample([[50, 60], [0, 10]], [[0, 10]])]).figures
    assert figures["mRec"] == figures["mIoU"] == 1.0


def test_answered_window_counts_right_options_only() -> None:
    samples = [sample([[0, 10]], [[0, 10]]), sample([[0, 10]], [[0, 10]]), sample([[0, 10]], None)]
    figures = grounding.answered_window(samples, [True, False, True], failed=1).figures
    assert figures["Acc"] == round(2 / 3, 5)
    assert figures["mRec"] == round(1 / 3, 5)
    assert figures["Failed"] == 2


def test_all_windows() -> None:
    figures = grounding.all_windows([sample([[0, 10], [20, 30]], [[0, 10], [50, 60], [70, 80]])]).figures
    assert figures["F1"] == round(2 * 0.5 * (1 / 3) / (0.5 + 1 / 3), 5)


def test_summary_excludes_failures() -> None:
    samples = [sample([[0, 10]], [[0, 10]]), sample([[0, 10]], None)]
    assert grounding.summary(samples, "excluded").figures == {"Total": 2, "Failed": 1, "F1": 1.0}
    assert grounding.summary(samples, "zero").figures["F1"] == 0.5
    assert grounding.summary(samples[1:], "excluded").figures["F1"] == 0
    assert np.isnan(grounding.summary(samples, "excluded").parts["F1"]).tolist() == [False, True]


def test_summary_rounds_halves_to_even() -> None:
    assert grounding.summary([sample([[0, 2]], [[0.5, 2.5]])], "excluded").figures["F1"] == 1.0
    assert grounding.summary([sample([[0, 2]], [[0, math.inf]])], "excluded").figures["F1"] == round(4 / 1002, 5)


def test_moments_include_both_ends() -> None:
    hits = [sample([[5, 7], [9, 9.5]], None, point) for point in (5.0, 7.0, 8.0, 9.5)]
    result = grounding.moments([*hits, sample([[5, 7]], None)])
    assert result.figures == {"Total": 5, "Failed": 1, "F1": 0.6}


def test_option_of_window() -> None:
    question = Question("eca/s/0", "eca", "s", "0", "v", 100, NO_WINDOWS, ["0 - 5", "10 - 15"], 1, [])
    answer = Answer("eca/s/0", "eca", "", np.array([[9.0, 16.0], [0.0, 5.0]]), from_tokens=True)
    assert grounding.option_of_window(question, answer, window_of) == 1
    assert grounding.option_of_window(question, Answer("eca/s/0", "eca", ""), window_of) is None


def test_rounding_of_numpy() -> None:
    assert numpy_rounded(0.211205, 5) == 0.2112
    assert round(0.211205, 5) == 0.21121


@pytest.mark.filterwarnings("error")
def test_times_beyond_single_precision_overlap_nothing() -> None:
    """An answer may hold any number of digits."""
    samples = [sample([[0, 10]], [[0, 1e40]]), sample([[0, 10]], [[1e40, 1e41]])]
    assert grounding.single_window(samples).figures["F1"] == 0.0
    assert grounding.all_windows(samples).figures["F1"] == 0.0

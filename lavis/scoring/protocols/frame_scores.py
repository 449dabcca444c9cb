"""Temporal grounding and highlight detection from one score for each frame: smooth, set a threshold, compare.

Source: MMDuet (Wang et al., 2024, arXiv 2411.17991; yellow-binary-tree/MMDuet, ``test/evaluate.py``, functions
``grounding`` and ``qvh_highlight``). For grounding, scores are smoothed, stretched to 0..1 in each video, and the set
of frames at or above a threshold is compared with the set of frames inside true spans (no segment is formed). For
highlights, smoothed scores are summed over 2-second clips and go to the evaluator of QVHighlights. A text with exactly
two numbers (a model without frame scores) is scored as a window.

Differs: the original tries 15 windows and 21 thresholds on the split it reports; here the figures are those of one
setting, fitted on validation or fixed, and that sweep stands beside them under its own name (``sweep_on_test``,
``best_on_test``, ``oracle_threshold``). Answers to unknown questions are counted, where the original stops in
grounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Estimate, ExtraPolicy, Form, Pairs, Policy, Protocol, Scored, ScoringError, Tally
from lavis.scoring.frames import grounding, highlights
from lavis.scoring.frames.rows import FrameAnswer, FrameTruth, QvhSpans, answer_forms, truth_forms
from lavis.scoring.frames.sweep import THRESHOLDS, WINDOWS
from lavis.scoring.pairing import paired

Task = Literal["grounding", "highlights"]

_WINDOW: dict[Task, int] = {"grounding": 6, "highlights": 2}
_FITTED_FIGURE: dict[Task, str] = {"grounding": "mIoU", "highlights": "HL-min-VeryGood-mAP"}
_KNOWN = {"grounding": grounding.FIGURES, "highlights": highlights.FIGURES}
_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Setting:
    """Smoothing window (frames to either side) and threshold that figures are made with, and where they come from."""

    window: int
    threshold: float
    how: str


@registry.protocols.register("frame_scores")
class FrameScores(Protocol[FrameAnswer, FrameTruth]):
    """Grounding: ``mIoU``, ``R1@0.3``, ``R1@0.5``, ``R1@0.7``; highlights: ``HL-min-{Fair,Good,VeryGood}-{mAP,Hit1}``.

    Args:
        task: ``auto`` takes highlights where the truth rates 2-second clips and knows durations, else grounding.
        score_name: which of a frame's two scores.
        smooth: frames to either side of which the mean is taken; by default fitted, or else 6 for grounding and 2 for
            highlights, as the paper has it.
        threshold: on scores stretched to 0..1, for grounding; by default fitted, or else 0.5 (the paper names none).
        validation_predictions: file on which what is not given of ``smooth`` and ``threshold`` is fitted.
        validation_annotations: its truth.
        fitted_figure: figure that the fit makes largest; by default ``mIoU`` and ``HL-min-VeryGood-mAP``.
        seconds_per_score: how far apart the scores of our own prediction lines are, where these hold no times.
        qvh_spans: how clips rated in QVHighlights become spans, for grounding; see ``spans_of_clips``.
        constant_scores: a video whose scores are all equal; see ``Grounding``.
        unreadable_text: a text without exactly two numbers is left out (``skip``, as the original does) or counts as
            missed (``zero``).
    """

    source = "MMDuet (arXiv 2411.17991), yellow-binary-tree/MMDuet test/evaluate.py: grounding, qvh_highlight"
    keys = (*grounding.FIGURES, "best_on_test_mIoU", *highlights.FIGURES, "best_on_test_HL-min-VeryGood-mAP")
    missing: Policy = "drop"
    extra: ExtraPolicy = "drop"
    repeated_truth = "last"

    def __init__(
        self,
        task: Literal["auto", "grounding", "highlights"] = "auto",
        score_name: Literal["relevance_score", "informative_score"] = "relevance_score",
        smooth: int | None = None,
        threshold: float | None = None,
        validation_predictions: str | None = None,
        validation_annotations: str | None = None,
        fitted_figure: str | None = None,
        seconds_per_score: float = 2.0,
        qvh_spans: QvhSpans = "original",
        constant_scores: grounding.Constant = "original",
        unreadable_text: Literal["skip", "zero"] = "skip",
    ) -> None:
        if smooth is not None and smooth < 0:
            raise ValueError(f"smooth must be 0 or more frames, got {smooth}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold must lie in 0..1, got {threshold}")
        if not seconds_per_score > 0:
            raise ValueError(f"seconds_per_score must be above 0, got {seconds_per_score}")
        if (validation_predictions is None) != (validation_annotations is None):
            raise ValueError("validation_predictions and validation_annotations must be given together")
        if fitted_figure is not None and fitted_figure not in (*grounding.FIGURES, *highlights.FIGURES):
            names = ", ".join((*grounding.FIGURES, *highlights.FIGURES))
            raise ValueError(f"fitted_figure must be one of {names}, got {fitted_figure!r}")
        self.task = task
        self.score_name = score_name
        self.smooth = smooth
        self.threshold = threshold
        self.validation_predictions = validation_predictions
        self.validation_annotations = validation_annotations
        self.fitted_figure = fitted_figure
        self.seconds_per_score = seconds_per_score
        self.qvh_spans: QvhSpans = qvh_spans
        self.constant_scores: grounding.Constant = constant_scores
        self.unreadable_text = unreadable_text

    @property
    def answer_forms(self) -> Sequence[Form[FrameAnswer]]:
        return answer_forms(self.score_name, self.seconds_per_score)

    @property
    def truth_forms(self) -> Sequence[Form[FrameTruth]]:
        return truth_forms(self.qvh_spans)

    def checked(self, answer: FrameAnswer, truth: FrameTruth, tally: Tally, place: str) -> None:
        if answer.is_text and answer.window is None:
            tally.add("unparseable", f"{place}: {answer.id!r} is answered by a text without exactly two numbers")
        if answer.window is not None:
            start, end = answer.window
            if end < start or (answer.duration is not None and end > answer.duration):
                tally.add("out_of_range", f"{place}: the text names {start:g} to {end:g} s")
        if len(answer.times) and answer.times.min() < 0:
            tally.add("out_of_range", f"{place}: a frame lies at {answer.times.min():g} s")

    def score(self, pairs: Pairs[FrameAnswer, FrameTruth]) -> Scored:
        task = self._task_of(pairs)
        kinds = {answer.is_text for answer in pairs.answers if answer is not None}
        if len(kinds) > 1:
            raise ScoringError("some answers are texts and some scores of frames; score them apart")
        if True in kinds:
            return self._texts(pairs, task)
        figure = self.fitted_figure or _FITTED_FIGURE[task]
        if figure not in _KNOWN[task]:
            raise ScoringError(f"fitted_figure {figure} is no figure of {task}: {', '.join(_KNOWN[task])}")
        setting = self._setting(task, figure)
        scored = self._grounding(pairs, setting, figure) if task == "grounding" else self._highlights(pairs, setting)
        scored.notes.insert(0, f"{task}: {setting.how}")
        return scored

    def _task_of(self, pairs: Pairs[FrameAnswer, FrameTruth]) -> Task:
        rated = all(truth.ratings is not None for truth in pairs.truths)
        if self.task == "highlights" and not rated:
            raise ScoringError(
                "highlights need rated clips and durations, which this truth lacks; take the rows of the QVHighlights "
                "release, or task: grounding"
            )
        if self.task == "auto":
            return "highlights" if rated else "grounding"
        return self.task

    def _setting(self, task: Task, figure: str) -> Setting:
        """The setting as given, fitted, or by default."""
        predictions, annotations = self.validation_predictions, self.validation_annotations
        window, threshold = self.smooth, self.threshold
        open_ones = [name for name, value in (("smooth", window), ("threshold", threshold)) if value is None]
        if task == "highlights":
            open_ones = [name for name in open_ones if name != "threshold"]
        if predictions is not None and open_ones:
            pairs, _ = paired(self, predictions, annotations, "drop")
            window, threshold = self._fitted(pairs, task, figure)
            source = f"{' and '.join(open_ones)} fitted on {predictions} ({len(pairs.truths)} questions, best {figure})"
        else:
            source = " and ".join(f"{name} by default" for name in open_ones) or "as given"
            if "threshold" in open_ones:
                source += "; no threshold is published: fit it (validation_predictions, validation_annotations)"
        window = _WINDOW[task] if window is None else window
        threshold = _THRESHOLD if threshold is None else threshold
        told = f"window {window}" + (f", threshold {threshold:g}" if task == "grounding" else "")
        return Setting(window, threshold, f"{told}; {source}")

    def _fitted(self, pairs: Pairs[FrameAnswer, FrameTruth], task: Task, figure: str) -> tuple[int, float | None]:
        """The best window and threshold among those that the original tries, or the one given; of equals the first."""
        windows = list(WINDOWS) if self.smooth is None else [self.smooth]
        if task == "highlights":
            rows = highlights.swept(highlights.Highlights(pairs), windows)
            return int(highlights.best_of(rows, figure)["smooth_window_size"]), self.threshold
        thresholds = THRESHOLDS if self.threshold is None else np.array([self.threshold])
        found, _ = grounding.swept(grounding.Grounding(pairs, self.constant_scores), windows, thresholds)
        best = grounding.best_of(found, figure)
        return int(best["smooth_window_size"]), float(best["threshold"])

    def _grounding(self, pairs: Pairs[FrameAnswer, FrameTruth], setting: Setting, figure: str) -> Scored:
        ground = grounding.Grounding(pairs, self.constant_scores)
        ious = ground.overlaps(setting.window, np.array([setting.threshold]))[:, 0]
        rows, oracle = grounding.swept(ground)
        best = grounding.best_of(rows, figure)
        best_ious = ground.overlaps(best["smooth_window_size"], np.array([best["threshold"]]))[:, 0]
        headline = dict(zip(grounding.FIGURES, grounding.figures_of(ious), strict=True))
        estimates = {**grounding.estimates_of(ious), "best_on_test_mIoU": Estimate(best_ious)}
        figures = {
            "result": {
                "setting": setting.how,
                "smooth_window_size": setting.window,
                "threshold": setting.threshold,
                **headline,
            },
            "best_on_test": best,
            "oracle_threshold": oracle,
            "sweep_on_test": rows,
        }
        headline["best_on_test_mIoU"] = best["scores"][0]
        notes = [_warning("best_on_test_mIoU")]
        if pairs.tally.extra:
            notes.append("the original stops at an answer to an unknown question; here it is left out (extra: drop)")
        return Scored(figures, headline, dict(estimates), notes=notes)

    def _highlights(self, pairs: Pairs[FrameAnswer, FrameTruth], setting: Setting) -> Scored:
        clips = highlights.Highlights(pairs)
        found = clips.results(setting.window)
        rows = highlights.swept(clips, WINDOWS)
        figure = _FITTED_FIGURE["highlights"]
        best = highlights.best_of(rows, figure)
        figures = {
            "result": {"setting": setting.how, "smooth_window_size": setting.window, **found.figures},
            "best_on_test": best,
            "sweep_on_test": rows,
        }
        name = f"best_on_test_{figure}"
        headline = {**found.figures["brief"], name: best["results"]["brief"][figure]}
        chosen = clips.results(best["smooth_window_size"]).estimates[figure]
        return Scored(figures, headline, {**found.estimates, name: chosen}, notes=[_warning(name)])

    def _texts(self, pairs: Pairs[FrameAnswer, FrameTruth], task: Task) -> Scored:
        note = f"{task} from texts with two numbers: nothing to smooth, no threshold"
        if task == "highlights":
            found = highlights.results_of_texts(pairs, skip=self.unreadable_text == "skip")
            headline = dict(found.figures["brief"])
            return Scored({"result": found.figures}, headline, dict(found.estimates), notes=[note])
        ious = grounding.text_overlaps(pairs, np.nan if self.unreadable_text == "skip" else 0.0)
        if np.isnan(ious).all():
            raise ScoringError("no text names exactly two numbers, so nothing is left to score (unreadable_text: zero)")
        headline = dict(zip(grounding.FIGURES, grounding.figures_of(ious), strict=True))
        return Scored({"result": dict(headline)}, headline, dict(grounding.estimates_of(ious)), notes=[note])


def _warning(name: str) -> str:
    return f"{name} has its setting chosen on the very questions that it scores, as the original reports it"

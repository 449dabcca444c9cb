"""NExT-GQA: are answers right, and is what they were seen in the right part of the video?

Source: Xiao et al., "Can I Trust Your Answer? Visually Grounded Video Question Answering" (CVPR 2024),
doc-doc/NExT-GQA, ``eval_ground.py`` and ``eval_next.py``. Questions without a predicted span are skipped, as there.

Differs: an answer without a span, or a span without an answer, is counted; there the one is never looked at and the
other raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Estimate, Form, Pairs, Policy, Protocol, Scored, ScoringError, Tally
from lavis.scoring.pairing import read
from lavis.scoring.questions.grounded import GROUNDED, best_overlaps, grounding_marks
from lavis.scoring.questions.grounded_rows import GroundedAnswer, GroundedQuestion, answer_forms, truth_forms
from lavis.scoring.questions.rows import Choice, Question, question_id
from lavis.scoring.questions.rows import truth_forms as question_forms
from lavis.scoring.questions.text import option_index
from lavis.scoring.reading import chosen_form, open_rows

_PRINTED = {
    "Acc@GQA": "Acc&GQA",
    "mIoP": "mIoP",
    "IoP@0.3": "TIoP@0.3",
    "IoP@0.5": "TIoP@0.5",
    "mIoU": "mIoU",
    "IoU@0.3": "TIoU@0.3",
    "IoU@0.5": "TIoU@0.5",
}
"""Our names, and those of the official evaluator in the order of its line."""

_SLACK = 1.0
"""The annotations give durations in whole seconds."""


@registry.protocols.register("nextgqa")
class NextGQA(Protocol[GroundedAnswer, GroundedQuestion]):
    """Figures in percent: ``Acc@QA``, ``Acc@GQA`` (right, and IoP of 0.5 or more), ``mIoP``, ``IoP@0.3``, ``IoP@0.5``,
    ``mIoU``, ``IoU@0.3``, ``IoU@0.5``. Without answers the two accuracies are left out, where the original prints 0.

    Args:
        answers: official file of answers (``test-res.json``: ``{video_qid: {prediction, answer}}``), for predictions
            that hold spans only.
        questions: the benchmark's table (``test.csv``) or any other file of questions with options, for answers that
            are letters or texts while the annotations hold spans only.
        relative: spans are shares of the duration, rounded to a tenth of a second, as the original takes the spans of
            its Gaussian masks.
    """

    source = "doc-doc/NExT-GQA, eval_ground.py (Xiao et al., CVPR 2024)"
    keys = ("Acc@QA", *_PRINTED)
    missing: Policy = "drop"
    extra = "drop"

    def __init__(self, answers: str | None = None, questions: str | None = None, relative: bool = False) -> None:
        self.answers = answers
        self.questions = questions
        self.relative = relative

    @property
    def answer_forms(self) -> Sequence[Form[GroundedAnswer]]:
        return answer_forms()

    @property
    def truth_forms(self) -> Sequence[Form[GroundedQuestion]]:
        return truth_forms()

    def joined(self, truths: dict[str, GroundedQuestion]) -> dict[str, GroundedQuestion]:
        """The truth with options and right answers of the file of questions."""
        if self.questions is None:
            return truths
        found = _questions(self.questions)
        lacking = [identity for identity in truths if identity not in found]
        if lacking:
            raise ScoringError(
                f"{self.questions} lacks {len(lacking)} questions of the annotations, such as {lacking[0]!r}; is it "
                "the table of the same split?"
            )
        return {identity: replace(truth, question=found[identity]) for identity, truth in truths.items()}

    def checked(self, answer: GroundedAnswer, truth: GroundedQuestion, tally: Tally, place: str) -> None:
        question = truth.question
        if answer.span is None:
            tally.add("unparseable", f"{place}: {answer.id!r} has no span")
        elif answer.choice is not None and question is not None and chosen_index(answer.choice, question) is None:
            tally.add("unparseable", f"{place}: the answer to {answer.id!r} names no option")
        if answer.span is not None:
            start, end = self._seconds(answer.span, truth)
            if start < 0 or end < start or end > truth.duration + _SLACK:
                tally.add("out_of_range", f"{place}: the span of {answer.id!r} lies outside the video or is reversed")

    def score(self, pairs: Pairs[GroundedAnswer, GroundedQuestion]) -> Scored:
        spans = np.full((len(pairs.truths), 2), np.nan)
        for row, (answer, truth) in enumerate(zip(pairs.answers, pairs.truths, strict=True)):
            if answer is not None and answer.span is not None:
                spans[row] = self._seconds(answer.span, truth)
        overlaps, shares = best_overlaps(spans, [truth.spans for truth in pairs.truths])
        marks = grounding_marks(overlaps, shares)
        notes: list[str] = []
        right = self._right(pairs, notes)
        if right is not None:
            marks["Acc@QA"] = right
            marks["Acc@GQA"] = right * (shares >= GROUNDED)
        estimates = {name: Estimate(marks[name]) for name in self.keys if name in marks}
        headline = {name: float(f"{100 * float(np.mean(marks[name])):.1f}") for name in estimates}
        figures: dict[str, Any] = {printed: headline[name] for name, printed in _PRINTED.items() if name in headline}
        if "Acc@QA" in headline:
            figures["Acc@QA"] = headline["Acc@QA"]
        return Scored(figures, headline, dict(estimates), notes=notes)

    def _seconds(self, span: Array, truth: GroundedQuestion) -> Array:
        if not self.relative:
            return span
        if np.isnan(truth.duration):
            raise ScoringError(f"relative spans need durations, and the truth of {truth.id!r} has none")
        seconds: Array = np.round(span * truth.duration, 1)
        return seconds

    def _right(self, pairs: Pairs[GroundedAnswer, GroundedQuestion], notes: list[str]) -> Array | None:
        """``[Q]``, 1 where the answer is right; ``None`` if there are no answers, or no truth for them."""
        if self.answers is not None:
            marks = _marks(self.answers)
            lacking = sum(identity not in marks for identity in pairs.ids)
            if lacking:
                notes.append(f"{lacking} questions have no answer in {self.answers}; they count as wrong")
            return np.array([float(marks.get(identity, False)) for identity in pairs.ids])
        if not any(answer is not None and answer.choice is not None for answer in pairs.answers):
            notes.append("Acc@QA and Acc@GQA are left out: the predictions hold no answers (give answers=FILE)")
            return None
        if any(truth.question is None for truth in pairs.truths):
            notes.append("Acc@QA and Acc@GQA are left out: the truth holds no right answers (give questions=FILE)")
            return None
        return np.array([_is_right(a, t.question) for a, t in zip(pairs.answers, pairs.truths, strict=True)])


def chosen_index(choice: Choice, question: Question) -> int | None:
    """Index of the option an answer names, by index, letter or words."""
    if choice.index is not None:
        return choice.index if not question.options or choice.index < len(question.options) else None
    return None if choice.text is None else option_index(choice.text, question.options)


def _is_right(answer: GroundedAnswer | None, question: Question | None) -> float:
    if answer is None or answer.choice is None or question is None or question.right is None:
        return 0.0
    return float(chosen_index(answer.choice, question) == question.right)


@dataclass(frozen=True, slots=True)
class _Mark:
    """Whether an answer is right."""

    id: str
    right: bool


def _questions(path: str) -> dict[str, Question]:
    source = open_rows(path, "questions")
    found = read(source, chosen_form(source, question_forms(), "questions"))
    if found.broken:
        raise ScoringError("the questions cannot be read: " + "; ".join(problem for _, problem in found.broken[:5]))
    return {question.id: question for question in found.records}


def _marks(path: str) -> dict[str, bool]:
    """Which answers of an official result file are right; rows that cannot be read stop the scoring."""
    form = Form(
        "NExT-QA results",
        ("prediction", "answer"),
        lambda row: _Mark(question_id(row), row.get("prediction") == row.get("answer")),
        question_id,
    )
    source = open_rows(path, "answers")
    found = read(source, chosen_form(source, [form], "answers"))
    if found.broken:
        raise ScoringError("the answers cannot be read: " + "; ".join(problem for _, problem in found.broken[:5]))
    return {mark.id: mark.right for mark in found.records}

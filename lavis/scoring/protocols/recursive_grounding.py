"""HawkEye's recursive grounding: mean IoU and recall after each round of halving the window.

Source: HawkEye (yellow-binary-tree/HawkEye, arXiv 2403.10228), the notebook that reads the rows of
``test_recursive_grounding.py``. Recall counts IoUs strictly above its threshold; rows without a duration (the evaluator
failed) are left out; queries that ended early are padded with ``throughout``.

Differs: the notebook pairs rows and annotations by position and stops at the shorter of the two. Here ids pair them,
or else video and question, or else the position, and then both sides must be equally long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Broken, Estimate, Form, Pairs, Policy, Protocol, Scored, ScoringError, outside
from lavis.scoring.by_position import ids_by_position, renamed
from lavis.scoring.recursive.replay import best_overlap, replay
from lavis.scoring.recursive.rows import Rounds, Spans, answer_forms, truth_forms
from lavis.scoring.windows.ragged import Array

LEVELS = {"r03": 0.3, "r05": 0.5, "r07": 0.7}


@registry.protocols.register("recursive_grounding")
class RecursiveGrounding(Protocol[Rounds, Spans]):
    """``mean_iou``, ``r03``, ``r05`` and ``r07`` of each round, as fractions.

    Args:
        max_turns: rounds to report, at least 1; the published evaluations ask 4.

    Raises:
        ValueError: if it is below 1.
    """

    source = "yellow-binary-tree/HawkEye, notebook for the rows of test_recursive_grounding.py"
    keys = ("turn1/mean_iou", "turn1/r03", "turn1/r05", "turn1/r07", "and so on for each turn")
    missing: Policy = "drop"

    def __init__(self, max_turns: int = 4) -> None:
        if max_turns < 1:
            raise ValueError(f"recursive_grounding: max_turns must be at least 1, got {max_turns}")
        self.max_turns = max_turns
        self.paired_by = "id"

    @property
    def answer_forms(self) -> Sequence[Form[Rounds]]:
        return answer_forms()

    @property
    def truth_forms(self) -> Sequence[Form[Spans]]:
        return truth_forms()

    def aligned(
        self, answers: list[Rounds], truths: Sequence[Spans], broken: list[Broken]
    ) -> tuple[list[Rounds], list[Broken]]:
        """Under the ids of the truth: by id, by video and question, or by position."""
        known = {truth.id for truth in truths}
        if answers and all(answer.named for answer in answers) and any(answer.id in known for answer in answers):
            self.paired_by = "id"
            return answers, broken
        by_question = {truth.asked: truth.id for truth in truths if truth.asked is not None}
        found = [by_question.get(answer.asked) if answer.asked is not None else None for answer in answers]
        if len(by_question) == len(truths) and all(identity is not None for identity in found):
            self.paired_by = "video and question"
            # Rows that cannot be read do not tell what they answer; their numbers must not pass for ids.
            unnamed: list[Broken] = [(None, problem) for _, problem in broken]
            return [replace(a, id=identity) for a, identity in zip(answers, found, strict=True) if identity], unnamed
        if answers and all(answer.named for answer in answers) and all(truth.named for truth in truths):
            return answers, broken  # both sides have ids and none fits: that is another split, and pairing says so
        self.paired_by = "position"
        ids = ids_by_position([truth.id for truth in truths], len(answers) + len(broken))
        for answer in answers:
            _same_question(answer, truths[answer.number])
        return [replace(answer, id=ids[str(answer.number)]) for answer in answers], renamed(broken, ids)

    def score(self, pairs: Pairs[Rounds, Spans]) -> Scored:
        overlaps = self.overlaps(pairs)
        notes = [f"answers and truth were paired by {self.paired_by}"]
        if any(np.isnan(_seconds(a, t)) for a, t in zip(pairs.answers, pairs.truths, strict=True) if a is not None):
            raise ScoringError("the duration of a video is known neither from the answers nor from the truth")
        beyond = sum(outside(t.spans, _seconds(a, t)) for a, t in zip(pairs.answers, pairs.truths, strict=True))
        if beyond:
            notes.append(f"the truth of {beyond} queries lies outside the video or is reversed")
        figures: dict[str, dict[str, float]] = {}
        headline: dict[str, float] = {}
        estimates: dict[str, Estimate] = {}
        for turn, values in enumerate(overlaps, start=1):
            marks = {
                "mean_iou": values,
                **{name: (values > level).astype(np.float64) for name, level in LEVELS.items()},
            }
            figures[f"turn{turn}"] = {name: float(np.mean(mark)) for name, mark in marks.items()}
            headline |= {f"turn{turn}/{name}": value for name, value in figures[f"turn{turn}"].items()}
            estimates |= {f"turn{turn}/{name}": Estimate(mark, scale=1.0) for name, mark in marks.items()}
        return Scored(dict(figures), headline, dict(estimates), notes=notes)

    def overlaps(self, pairs: Pairs[Rounds, Spans]) -> Array:
        """IoU with the best true span after each round, ``[max_turns, Q]``; 0 for a query that was missed."""
        answered = np.array([answer is not None for answer in pairs.answers])
        durations = np.array([_seconds(a, t) for a, t in zip(pairs.answers, pairs.truths, strict=True)])
        words = [() if answer is None else answer.answers for answer in pairs.answers]
        spans = [truth.spans for truth in pairs.truths]
        windows = replay(np.nan_to_num(durations), words, self.max_turns)
        return np.stack([best_overlap(window, spans) * answered for window in windows])


def printed(figures: dict[str, dict[str, float]]) -> list[str]:
    """The lines that the notebook prints."""
    lines = []
    for turn, values in figures.items():
        recalls = "/".join(f"{values[name]:.4f}" for name in LEVELS)
        lines += [
            f"turns: {turn.removeprefix('turn')}",
            f"mean iou: {values['mean_iou']:.4f}",
            f"iou@0.3/0.5/0.7: {recalls}",
        ]
    return lines


def _seconds(answer: Rounds | None, truth: Spans) -> float:
    """The duration the answers are about: what the reader of the video found, or else the annotated one."""
    return truth.duration if answer is None or np.isnan(answer.duration) else answer.duration


def _same_question(answer: Rounds, truth: Spans) -> None:
    """Rows paired by position must ask the same, as far as both tell.

    Raises:
        ScoringError: if they do not.
    """
    if answer.asked is None or truth.asked is None:
        return
    if answer.asked[0] != truth.asked[0] or truth.asked[1] not in answer.asked[1]:
        raise ScoringError(
            f"rows are paired by position, but row {answer.number + 1} of the answers asks {answer.asked[1]!r:.80} of "
            f"{answer.asked[0]} and the truth there {truth.asked[1]!r:.80} of {truth.asked[0]}; are they of one split "
            "and in one order?"
        )

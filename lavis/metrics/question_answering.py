"""Multiple-choice questions about videos, and whether the answer was found in the right place.

Source: the ``videoqa`` and ``videogqa`` tasks of MR.BLIP (sudo-Boris/mr-Blip), whose grounded figures are those of
NExT-GQA (Xiao et al., 2024). Differs: answers are read from text and not only from the letter, and a text that names no
option is counted. How answers are read, and the arithmetic of spans, are those of ``lavis.scoring``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lavis.common.registry import registry
from lavis.metrics.base import Metric
from lavis.scoring.questions.grounded import GROUNDED, best_overlaps, grounding_marks
from lavis.scoring.questions.text import option_index
from lavis.scoring.rounding import shortened
from lavis.structures import Prediction, VideoSample

_NAMES = {f"Io{kind}@{level}": f"TIo{kind}@{level}" for kind in "UP" for level in (0.3, 0.5)}
"""Figures that MR.BLIP calls otherwise."""


@registry.metrics.register("question_answering")
class QuestionAnswering(Metric):
    """Accuracy: ``agg_metrics`` (fraction), one figure for each type of question (percent), and
    ``unanswered`` (fraction of texts that name no option).

    The type is ``sample.kind``, or else what stands before the first ``_`` of the id (``TN_4010069381_6``).

    Args:
        grounded: adds, from the first predicted moment, ``mIoP``, ``TIoP@0.3``, ``TIoP@0.5``, ``mIoU``, ``TIoU@0.3``,
            ``TIoU@0.5`` and ``Acc@GQA`` (right and with an intersection over prediction of 0.5), in percent.
    """

    predictable = True

    def __init__(self, grounded: bool = False) -> None:
        super().__init__()
        self.grounded = grounded

    def compute(self) -> dict[str, float]:
        if not self.pairs:
            return {"total": 0}
        chosen = [chosen_option(s, p) for s, p in self.pairs]
        right = [c is not None and c == true_option(s) for c, (s, _) in zip(chosen, self.pairs, strict=True)]
        by_type: dict[str, list[bool]] = {}
        for correct, (sample, _) in zip(right, self.pairs, strict=True):
            by_type.setdefault(sample.kind or sample.id.split("_")[0], []).append(correct)
        figures = {name: sum(marks) / len(marks) * 100 for name, marks in by_type.items()}
        if self.grounded:
            figures |= grounding(self.pairs, right)
        return figures | {
            "agg_metrics": sum(right) / len(right),
            "unanswered": sum(c is None for c in chosen) / len(chosen),
            "total": len(right),
        }


def chosen_option(sample: VideoSample, prediction: Prediction) -> int | None:
    """Index of the option a prediction chose: what its codec read (``scores["option"]``), else what its text names."""
    if "option" in prediction.scores:
        return int(prediction.scores["option"])
    return option_index(prediction.text, sample.options)


def true_option(sample: VideoSample) -> int:
    """Index of the right option: ``sample.extra["answer_index"]``, else what ``sample.answer`` names or is.

    Raises:
        ValueError: if it is none of the options; names the sample.
    """
    answer = (sample.answer or "").strip()
    index = sample.extra.get("answer_index", option_index(answer, sample.options))
    if index is None and answer.isdecimal() and len(answer) < 4:
        index = int(answer)
    if not isinstance(index, int) or not 0 <= index < len(sample.options):
        raise ValueError(
            f"sample {sample.id}: the answer {sample.answer!r} is none of the {len(sample.options)} options "
            f"({shortened(sample.options)}), nor the index of one"
        )
    return index


def grounding(pairs: Sequence[tuple[VideoSample, Prediction]], right: Sequence[bool]) -> dict[str, float]:
    """NExT-GQA's figures in percent; each is taken at the truth that suits the prediction best."""
    for sample, _ in pairs:
        if not sample.moments:
            raise ValueError(f"sample {sample.id} has no true moment, so its grounding cannot be scored")
    spans = [p.moments[0].to_list() if p.moments else (np.nan, np.nan) for _, p in pairs]
    truths = [[moment.to_list() for moment in sample.moments or ()] for sample, _ in pairs]
    overlaps, shares = best_overlaps(np.array(spans, dtype=np.float64), truths)
    marks = grounding_marks(overlaps, shares)
    grounded = np.asarray(right, dtype=np.float64) * (shares >= GROUNDED)
    figures = {"Acc@GQA": float(grounded.mean() * 100)}
    return figures | {_NAMES.get(name, name): float(values.mean() * 100) for name, values in marks.items()}

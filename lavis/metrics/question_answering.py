"""Multiple-choice questions about videos, and whether the answer was found in the right place.

Source: the ``videoqa`` and ``videogqa`` tasks of MR.BLIP (sudo-Boris/mr-Blip), whose grounded figures are those of
NExT-GQA (Xiao et al., 2024). Differs: answers are read from text and not only from the letter, and a text that names no
option is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lavis.common.registry import registry
from lavis.metrics.base import Metric, shortened
from lavis.structures import Moment, Prediction, VideoSample

_LETTER = re.compile(
    r"\s*(?:option\s+|answer:?\s+)?(?:\(([A-Za-z])\).*|([A-Za-z])\s*(?:[.:)].*)?)", re.DOTALL | re.IGNORECASE
)


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


def option_index(text: str, options: Sequence[str]) -> int | None:
    """Index of the option a text names: by its words, or by its letter (``B``, ``(B)``, ``Option B``, ``B. a dog``).

    Returns:
        ``None`` where it names none.
    """
    words = [_plain(option) for option in options]
    if _plain(text) in words:
        return words.index(_plain(text))
    found = _LETTER.fullmatch(text[:1000])
    if not found:
        return None
    index = ord((found[1] or found[2]).upper()) - ord("A")
    return index if not options or index < len(options) else None


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
    best_iou, best_iop = [], []
    for sample, prediction in pairs:
        if not sample.moments:
            raise ValueError(f"sample {sample.id} has no true moment, so its grounding cannot be scored")
        parts = [_parts(truth, prediction.moments[0]) for truth in sample.moments] if prediction.moments else []
        best_iou.append(max([0.0, *(iou for iou, _ in parts)]))
        best_iop.append(max([0.0, *(iop for _, iop in parts)]))
    count = len(right)
    figures = {
        "Acc@GQA": sum(r and iop >= 0.5 for r, iop in zip(right, best_iop, strict=True)) / count * 100,
        "mIoP": sum(best_iop) / count * 100,
        "mIoU": sum(best_iou) / count * 100,
    }
    for level in (0.3, 0.5):
        figures[f"TIoP@{level}"] = sum(iop >= level for iop in best_iop) / count * 100
        figures[f"TIoU@{level}"] = sum(iou >= level for iou in best_iou) / count * 100
    return figures


def _parts(truth: Moment, predicted: Moment) -> tuple[float, float]:
    """IoU (by the hull of both) and intersection over prediction; below 0 where they are apart.

    A prediction without length has IoU 0, and lies wholly inside the truth or not at all.
    """
    if predicted.length == 0:
        return 0.0, float(truth.start <= predicted.start <= truth.end)
    shared = min(truth.end, predicted.end) - max(truth.start, predicted.start)
    hull = max(truth.end, predicted.end) - min(truth.start, predicted.start)
    return shared / hull, shared / predicted.length


def _plain(text: str) -> str:
    return text.strip().rstrip(".").casefold()

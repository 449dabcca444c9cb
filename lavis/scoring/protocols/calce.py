"""Moment retrieval as CALCE and MR.BLIP report it: recall of the first window, average precision, mean IoU.

Source: the evaluator of MR.BLIP (sudo-Boris/mr-Blip) and CALCE (tjhd1475/CALCE), ``lavis/tasks/mr_eval.py``, a variant
of Moment-DETR's without scores and ranges, for QVHighlights and Charades-STA. The first window counts for recall;
average precision takes all windows in the order given; the IoU behind recall and mIoU divides by the hull of both.

Differs: computed once, where the original computes the same figures four times under the names short, middle, long and
full; a query without predicted windows is a miss, where it raises; recall also at 0.3, as papers report it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Derived, Estimate, Form, Pairs, Protocol, Scored, Tally
from lavis.scoring.rounding import id_order, mean_by_threshold, two_decimals
from lavis.scoring.windows.forms import WindowAnswer, WindowTruth, answer_forms, count_problems, joined, truth_forms
from lavis.scoring.windows.overlap import THRESHOLDS, top1_overlap
from lavis.scoring.windows.precision import average_precisions

RANGES = ("short", "middle", "long", "full")
_NO_WINDOWS = np.zeros((0, 2))


@registry.protocols.register("calce")
class Calce(Protocol[WindowAnswer, WindowTruth]):
    """CALCE's figures: ``brief`` and ``mr`` by range. All ranges hold the same, for the original kept only their names.

    ``R1-avg`` is the mean of recall at 0.5 ... 0.95, ``mIoU`` a fraction, ``invalid`` the number of queries whose first
    window could not be read, or that have none.

    Args:
        recall_at: IoUs of the ``R1@`` figures of the headline, above 0.

    Raises:
        ValueError: if one is no IoU.
    """

    source = "tjhd1475/CALCE and sudo-Boris/mr-Blip, lavis/tasks/mr_eval.py"
    keys = ("R1@0.3", "R1@0.5", "R1@0.7", "R1-avg", "mIoU", "mAP", "mAP@0.5", "mAP@0.75", "invalid")

    def __init__(self, recall_at: Sequence[float] = (0.3, 0.5, 0.7)) -> None:
        if not all(0 < level <= 1 for level in recall_at):
            raise ValueError(f"protocol calce: recall_at must be IoUs in (0, 1], got {list(recall_at)}")
        self.recall_at = list(recall_at)

    @property
    def answer_forms(self) -> Sequence[Form[WindowAnswer]]:
        return answer_forms(columns=2)

    @property
    def truth_forms(self) -> Sequence[Form[WindowTruth]]:
        return truth_forms()

    def merged(self, answers: Sequence[WindowAnswer]) -> WindowAnswer:
        """Recall sees the last row, precision the windows (and as often the truths) of all, as in the original."""
        return joined(answers)

    def checked(self, answer: WindowAnswer, truth: WindowTruth, tally: Tally, place: str) -> None:
        count_problems(answer, truth, tally, place)

    def score(self, pairs: Pairs[WindowAnswer, WindowTruth]) -> Scored:
        firsts = [_NO_WINDOWS if answer is None else answer.top() for answer in pairs.answers]
        ious = top1_overlap(firsts, [truth.windows for truth in pairs.truths])
        rows = [1 if answer is None else answer.rows for answer in pairs.answers]
        precisions = average_precisions(
            [_NO_WINDOWS if answer is None else answer.windows for answer in pairs.answers],
            [t.windows if n == 1 else np.tile(t.windows, (n, 1)) for t, n in zip(pairs.truths, rows, strict=True)],
        )
        order = id_order(pairs.ids)
        levels = {level: two_decimals(np.mean(ious >= level) * 100) for level in {*THRESHOLDS, *self.recall_at}}
        recall = {str(level): levels[level] for level in THRESHOLDS}
        everything: dict[str, Any] = {
            "mAP": mean_by_threshold(precisions[order]),
            "R1": recall,
            "R1-avg": float(np.mean(list(recall.values()))),
            "mIoU": float(np.mean(ious[order])),
            "invalid_pred_num": sum(not len(first) or bool((first[0] == -1).any()) for first in firsts),
        }
        headline = {
            **{f"R1@{level:g}": levels[level] for level in self.recall_at},
            "R1-avg": everything["R1-avg"],
            "mIoU": everything["mIoU"],
            "mAP": everything["mAP"]["average"],
            "mAP@0.5": everything["mAP"]["0.5"],
            "mAP@0.75": everything["mAP"]["0.75"],
            "invalid": float(everything["invalid_pred_num"]),
        }
        figures = {"brief": _brief(everything), "mr": {name: dict(everything) for name in RANGES}}
        return Scored(figures, headline, self._estimates(ious, precisions))

    def _estimates(self, ious: np.ndarray[Any, Any], precisions: np.ndarray[Any, Any]) -> dict[str, Estimate | Derived]:
        hits = (ious[:, None] >= THRESHOLDS).astype(np.float64)
        return {
            **{f"R1@{level:g}": Estimate((ious >= level).astype(np.float64)) for level in self.recall_at},
            "R1-avg": Estimate(hits.mean(axis=1)),
            "mIoU": Estimate(ious, scale=1.0),
            "mAP": Estimate(precisions.mean(axis=1)),
            "mAP@0.5": Estimate(precisions[:, 0]),
            "mAP@0.75": Estimate(precisions[:, 5]),
        }


def _brief(figures: dict[str, Any]) -> dict[str, float]:
    brief = {
        "MR-full-mAP": figures["mAP"]["average"],
        "MR-full-mAP@0.5": figures["mAP"]["0.5"],
        "MR-full-mAP@0.75": figures["mAP"]["0.75"],
        **{f"MR-{name}-mAP": figures["mAP"]["average"] for name in RANGES},
        "MR-full-R1@0.5": figures["R1"]["0.5"],
        "MR-full-R1@0.7": figures["R1"]["0.7"],
        "MR-full-R1-avg": figures["R1-avg"],
        "MR-full-mIoU": figures["mIoU"],
        "MR-full-invalid_pred_num": figures["invalid_pred_num"],
    }
    return dict(sorted(brief.items()))

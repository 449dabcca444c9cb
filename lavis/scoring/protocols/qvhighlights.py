"""QVHighlights' official figures: moments by length of the truth, and highlights.

Source: Lei et al., 2021, QVHighlights; jayleicn/moment_detr, ``standalone_eval/eval.py``, to the last digit. Windows
carry scores and are ranked by them; at most ten count; recall takes the first window as listed. Clip scores are
compared with three annotators' ratings of 2-second clips.

Differs: a query without windows is a miss and not an error; a range that no truth falls into has no figures, where the
original raises; windows without a score count as scored 1; where only some answers have clip scores, the others count
as missed, where the original raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lavis.common.registry import registry
from lavis.scoring.base import Array, Estimate, Form, Pairs, Protocol, Scored, Tally
from lavis.scoring.rounding import id_order, mean_by_threshold, recall_by_threshold
from lavis.scoring.windows.clip_figures import clip_figures, rounded_clips, spread
from lavis.scoring.windows.forms import WindowAnswer, WindowTruth, answer_forms, count_problems, joined, truth_forms
from lavis.scoring.windows.overlap import top1_overlap
from lavis.scoring.windows.precision import average_precisions
from lavis.scoring.windows.ragged import Ragged

RANGES: dict[str, tuple[float, float] | None] = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": None}
"""Seconds of a true window, above the first and up to the second; ``None`` takes all."""

MAX_WINDOWS = 10
_NO_WINDOWS = np.zeros((0, 3))

Range = dict[str, dict[str, float]]


@registry.protocols.register("qvhighlights")
class QVHighlights(Protocol[WindowAnswer, WindowTruth]):
    """Moment retrieval and, where the truth has ratings and answers have clip scores, highlight detection.

    Any split is scored whose truth file is given, the test split, too.
    """

    source = "Lei et al., 2021 (QVHighlights); jayleicn/moment_detr, standalone_eval/eval.py"
    keys = (
        *("MR-full-R1@0.5", "MR-full-R1@0.7", "MR-full-mAP", "MR-full-mAP@0.5", "MR-full-mAP@0.75"),
        *("MR-short-mAP", "MR-middle-mAP", "MR-long-mAP"),
        *(f"HL-min-{name}-{key}" for name in ("Fair", "Good", "VeryGood") for key in ("mAP", "Hit1")),
    )

    @property
    def answer_forms(self) -> Sequence[Form[WindowAnswer]]:
        return answer_forms(columns=3)

    @property
    def truth_forms(self) -> Sequence[Form[WindowTruth]]:
        return truth_forms(ratings=True)

    def merged(self, answers: Sequence[WindowAnswer]) -> WindowAnswer:
        """Recall and highlights see the last row, precision ten windows of each, as in the original."""
        for answer in answers:
            answer.windows = answer.windows[:MAX_WINDOWS]
        return joined(answers)

    def checked(self, answer: WindowAnswer, truth: WindowTruth, tally: Tally, place: str) -> None:
        count_problems(answer, truth, tally, place)

    def score(self, pairs: Pairs[WindowAnswer, WindowTruth]) -> Scored:
        ranges, estimates = _retrieval(pairs)
        brief: dict[str, float] = {}
        for name, figures in ranges.items():
            if figures["MR-mAP"]:
                brief[f"MR-{name}-mAP"] = figures["MR-mAP"]["average"]
        brief |= {f"MR-full-mAP@{level}": ranges["full"]["MR-mAP"][level] for level in ("0.5", "0.75")}
        brief |= {f"MR-full-R1@{level}": ranges["full"]["MR-R1"][level] for level in ("0.5", "0.7")}
        brief = dict(sorted(brief.items()))
        clips, notes = clip_figures(pairs)
        order = id_order(pairs.ids)
        rounded = {name: rounded_clips(found, order) for name, found in clips.items()}
        for name, found in clips.items():
            brief |= {f"{name}-{key.removeprefix('HL-')}": value for key, value in rounded[name].items()}
            estimates[f"{name}-mAP"] = Estimate(found.precision.mean(axis=1))
            estimates[f"{name}-Hit1"] = Estimate(found.hit)
        nested: Mapping[str, Any] = {**ranges, **rounded}
        return Scored({"brief": brief, **dict(sorted(nested.items()))}, dict(brief), estimates, notes=notes)


def _retrieval(pairs: Pairs[WindowAnswer, WindowTruth]) -> tuple[dict[str, Range], dict[str, Any]]:
    """Figures of each range (``MR-mAP`` by threshold, ``MR-R1``; empty for an empty one), and what they are of."""
    given = Ragged.of([_NO_WINDOWS if a is None else _ranked_rows(a) for a in pairs.answers], columns=3).ranked()
    first = Ragged.of([_NO_WINDOWS if a is None else a.top() for a in pairs.answers])
    truth = Ragged.of([t.windows for t in pairs.truths])
    lengths = truth.values[:, 1] - truth.values[:, 0]
    order = id_order(pairs.ids)
    figures: dict[str, Range] = {}
    estimates: dict[str, Any] = {}
    for name, limits in RANGES.items():
        kept = truth if limits is None else truth.where((limits[0] < lengths) & (lengths <= limits[1]))
        asked = order[kept.counts[order] > 0]
        if not len(asked):
            figures[name] = {"MR-mAP": {}, "MR-R1": {}}
            continue
        real = kept.select(asked)
        ious = top1_overlap(first.select(asked), real)
        precisions = average_precisions(given.select(asked), real)
        figures[name] = {"MR-mAP": mean_by_threshold(precisions), "MR-R1": recall_by_threshold(ious)}
        estimates[f"MR-{name}-mAP"] = Estimate(spread(precisions.mean(axis=1), asked, len(truth)))
        if name == "full":
            parts = {f"mAP@{at}": precisions[:, i] for at, i in (("0.5", 0), ("0.75", 5))}
            parts |= {f"R1@{at}": (ious >= at).astype(np.float64) for at in (0.5, 0.7)}
            estimates |= {f"MR-full-{key}": Estimate(spread(v, asked, len(truth))) for key, v in parts.items()}
    return figures, estimates


def _ranked_rows(answer: WindowAnswer) -> Array:
    """Windows that count; rows that were joined are cut already."""
    return answer.windows if answer.rows > 1 else answer.windows[:MAX_WINDOWS]

"""What ``meco_qvhighlights`` and ``meco_charades`` share: rows with similarities, and the figures of UniVTG.

Source: MeCo (arXiv 2503.09027), its metric script for grounding; the figures are those of UniVTG, which extends the
evaluation of Moment-DETR (jayleicn/moment_detr, ``standalone_eval``) by recall of five windows, a mean overlap and
lower thresholds.

Differs: a query without windows is a miss and not an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lavis.scoring.base import Array, Estimate, Form, Pairs, Protocol, Row, RowError, Scored, Tally
from lavis.scoring.meco.structural_tokens import Singles, boundaries, read_structural_tokens
from lavis.scoring.rounding import id_order, mean_by_threshold, recall_by_threshold, two_decimals
from lavis.scoring.windows.clip_figures import clip_figures, rounded_clips, spread
from lavis.scoring.windows.forms import WindowAnswer, WindowTruth, answer_forms, count_problems, query_id, truth_forms
from lavis.scoring.windows.highlights import CLIP_SECONDS
from lavis.scoring.windows.overlap import THRESHOLDS, hull_overlap, top1_overlap, topk_overlap
from lavis.scoring.windows.precision import average_precisions
from lavis.scoring.windows.ragged import Ragged

RECALL_THRESHOLDS = [float(f"{t:.2f}") for t in np.linspace(0.3, 0.95, 14)]
RANGES: dict[str, tuple[float, float]] = {
    "full": (-np.inf, np.inf),
    "long": (30, np.inf),
    "middle": (10, 30),
    "short": (0, 10),
}
"""Seconds of a true window, above the first and up to the second."""

MAX_WINDOWS = 10
_NO_WINDOWS = np.zeros((0, 3))
_FULL_KEYS = (
    *(f"MR-full-R{k}@{at}" for k in (1, 5) for at in (0.3, 0.5, 0.7)),
    *("MR-full-mAP", "MR-full-mAP@0.5", "MR-full-mAP@0.75", "MR-full-mIoU"),
)

MOMENT_KEYS = (*_FULL_KEYS, *(f"MR-{name}-{key}" for name in ("long", "middle", "short") for key in ("mAP", "mIoU")))
"""The figures papers report, in the order of the original."""


@dataclass(eq=False)
class MecoGrounding(Protocol[WindowAnswer, WindowTruth]):
    """Windows from similarities of structural tokens, or from rows that hold them decoded, against true ones.

    Args:
        compare_tokens: whether a frame of an event also needs a probability not below that of any other token, and runs
            of frames grow by one on each side. The original does both if the path of the predictions contains
            ``charades``, whatever they hold, and else neither.
        threshold: share of an event's range of similarities that a frame needs more than; the original has such an
            option, too, but always takes 0.7.
        nms: boxes that overlap a better one by this IoU or more get the score 0.
        scale: stands in for the scale of cosines that records of the published script lack; without it, such records
            are unparseable, where the original raises.
    """

    source: ClassVar[str] = (
        "MeCo (arXiv 2503.09027), metric script for Charades-STA and QVHighlights; figures of UniVTG"
    )
    keys: ClassVar[tuple[str, ...]] = MOMENT_KEYS

    compare_tokens: bool
    threshold: float = 0.7
    nms: float = 0.7
    scale: float | None = None

    @property
    def answer_forms(self) -> Sequence[Form[WindowAnswer]]:
        similarities = Form(
            "MeCo similarities",
            ("ent_inds", "tst_inds", "vl_sims"),
            self._decoded,
            lambda row: query_id(row, "qid", "id"),
            "qid, duration, ent_inds, tst_inds, vl_sims, scale",
        )
        return [similarities, *answer_forms(columns=3)]

    @property
    def truth_forms(self) -> Sequence[Form[WindowTruth]]:
        return truth_forms(ratings=True)

    def checked(self, answer: WindowAnswer, truth: WindowTruth, tally: Tally, place: str) -> None:
        count_problems(answer, truth, tally, place)

    def _decoded(self, row: Row) -> WindowAnswer:
        """Windows with scores, and scores of 2-second clips; the whole video where no event has a window."""
        duration = row.number_of("duration")
        tokens = read_structural_tokens(row, self.scale)
        if tokens.scale is None:
            raise RowError("field 'scale' is missing, and similarities cannot be compared without it: set option scale")
        weights = tokens.probabilities()
        found = boundaries(
            tokens,
            self.threshold,
            self.nms,
            compare=self.compare_tokens,
            dilate=self.compare_tokens,
            confidence="probability",
        )
        identity = query_id(row, "qid", "id")
        if not len(found.boxes):
            clips = np.ones(int(duration) // CLIP_SECONDS)
            return WindowAnswer(identity, np.array([[0.0, duration, 1.0]]), readable=False, clips=_some(clips))
        windows = np.concatenate([found.boxes, found.scores[:, None]], axis=1)
        return WindowAnswer(identity, windows, clips=_some(clip_scores(weights[tokens.events])))

    def score(self, pairs: Pairs[WindowAnswer, WindowTruth]) -> Scored:
        ranges, estimates, notes = _moment_figures(pairs)
        brief = _brief(ranges)
        nested: dict[str, Any] = {name: found.figures() for name, found in ranges.items()}
        if any(truth.ratings is not None for truth in pairs.truths):
            clips, clip_notes = clip_figures(pairs)
            notes += clip_notes
            order = id_order(pairs.ids)
            for name, values in clips.items():
                nested[name] = rounded_clips(values, order)
                brief |= {f"{name}-{key.removeprefix('HL-')}": value for key, value in nested[name].items()}
                estimates[f"{name}-mAP"] = Estimate(values.precision.mean(axis=1))
                estimates[f"{name}-Hit1"] = Estimate(values.hit)
        return Scored({"brief": brief, **dict(sorted(nested.items()))}, dict(brief), estimates, notes=notes)


def clip_scores(weights: Singles) -> Array:
    """Mean of the events' probabilities ``[E, T]`` over each pair of frames; an odd last frame is left out."""
    frames = weights.mean(axis=0)
    whole = len(frames) // CLIP_SECONDS * CLIP_SECONDS
    clips: Array = frames[:whole].reshape(-1, CLIP_SECONDS).mean(axis=1).astype(np.float64)
    return clips


def _some(clips: Array) -> Array | None:
    return clips if clips.size else None


@dataclass(frozen=True, slots=True, eq=False)
class _Range:
    """Values in [0, 1] of the queries of one range: overlaps ``[Q]`` and average precisions ``[Q, T]``."""

    top1: Array
    top5: Array
    precisions: Array

    def figures(self) -> dict[str, Any]:
        return {
            "MR-mIoU": two_decimals(np.mean(self.top1) * 100),
            "MR-mAP": mean_by_threshold(self.precisions),
            "MR-R1": recall_by_threshold(self.top1, RECALL_THRESHOLDS),
            "MR-R5": recall_by_threshold(self.top5, RECALL_THRESHOLDS),
        }


def _moment_figures(
    pairs: Pairs[WindowAnswer, WindowTruth],
) -> tuple[dict[str, _Range], dict[str, Any], list[str]]:
    """Values of each range, what the brief figures are means of, and which ranges are empty.

    A range that no true window falls into takes all of them, as in the original.
    """
    given = Ragged.of([_NO_WINDOWS if a is None else a.windows[:MAX_WINDOWS] for a in pairs.answers], columns=3)
    truth = Ragged.of([t.windows for t in pairs.truths])
    lengths = truth.values[:, 1] - truth.values[:, 0]
    order = id_order(pairs.ids)
    ranges: dict[str, _Range] = {}
    estimates: dict[str, Any] = {}
    notes = []
    for name, (above, up_to) in RANGES.items():
        kept = truth if name == "full" else truth.where((above < lengths) & (lengths <= up_to))
        if not len(kept.values):
            notes.append(f"no true window is {name}: its figures are those of all windows")
            kept = truth
        asked = order[kept.counts[order] > 0]
        real, mine = kept.select(asked), given.select(asked)
        ranges[name] = found = _Range(
            top1_overlap(mine, real),
            topk_overlap(mine, real, 5, measure=hull_overlap),
            average_precisions(mine.ranked(), real),
        )
        parts = {"mAP": found.precisions.mean(axis=1), "mIoU": found.top1}
        if name == "full":
            parts |= {f"mAP@{at}": found.precisions[:, THRESHOLDS.index(at)] for at in (0.5, 0.75)}
            parts |= {f"R1@{at}": (found.top1 >= at).astype(np.float64) for at in (0.3, 0.5, 0.7)}
            parts |= {f"R5@{at}": (found.top5 >= at).astype(np.float64) for at in (0.3, 0.5, 0.7)}
        estimates |= {f"MR-{name}-{key}": Estimate(spread(v, asked, len(truth))) for key, v in parts.items()}
    return ranges, estimates, notes


def _brief(ranges: dict[str, _Range]) -> dict[str, float]:
    figures = {name: found.figures() for name, found in ranges.items()}
    brief: dict[str, float] = {}
    for key in MOMENT_KEYS:
        _, name, figure = key.split("-")
        kind, _, level = figure.partition("@")
        value = figures[name][f"MR-{kind}"]
        brief[key] = value[level or "average"] if isinstance(value, dict) else value
    return brief

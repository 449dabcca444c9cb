"""QVHighlights' official figures: moments by length of the truth, and highlights; and the file its server takes.

Source: the evaluation of Moment-DETR (Lei et al., 2021; jayleicn/moment_detr, ``standalone_eval``), to the last digit.
Windows carry scores and are ranked by them; at most ten count; recall takes the first window as listed. Clip scores are
compared with three annotators' ratings of 2-second clips.

Differs: a query without windows is a miss and not an error; a range that no truth falls into has no figures, where the
original raises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.common.registry import registry
from lavis.metrics._matching import THRESHOLDS, Windows, average_precisions, top1_overlap
from lavis.metrics.base import Metric, shortened, two_decimals
from lavis.metrics.temporal import mean_by_threshold
from lavis.structures import Moment, Prediction, VideoSample

RANGES: dict[str, tuple[float, float] | None] = {"short": (0, 10), "middle": (10, 30), "long": (30, 150), "full": None}
"""Seconds of a true window, above the first and up to the second; ``None`` takes all."""

RATINGS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Least rating of a clip that counts as a highlight."""

MAX_WINDOWS = 10
CLIP_SECONDS = 2

Rows = Sequence[Mapping[str, Any]]


@registry.metrics.register("qvhighlights")
class QVHighlights(Metric):
    """The official figures, flat: ``MR-{range}-mAP``, ``MR-{range}-mAP@0.5`` ..., ``MR-{range}-R1@0.5`` ... and, where
    samples have ratings and predictions clip scores, ``HL-min-{rating}-mAP`` and ``-Hit1``; all in percent.

    A moment without a score counts as one of score 1.
    """

    def compute(self) -> dict[str, float]:
        pairs = self.known()
        if not pairs:
            return {"total": len(self.pairs)}
        moments = retrieval([prediction_row(s, p) for s, p in pairs], [_truth_row(s) for s, _ in pairs])
        figures: dict[str, float] = {}
        for name, result in moments.items():
            precision, recall = result["MR-mAP"], result["MR-R1"]
            if precision:
                figures[f"MR-{name}-mAP"] = precision["average"]
                figures |= {f"MR-{name}-mAP@{level}": precision[str(level)] for level in THRESHOLDS}
                figures |= {f"MR-{name}-R1@{level}": recall[str(level)] for level in THRESHOLDS}
        if all(s.saliency is not None and p.frame_scores for s, p in pairs):
            ratings = [np.asarray(s.saliency, dtype=np.float64) for s, _ in pairs]
            figures |= _brief_highlights(highlights([p.frame_scores for _, p in pairs], ratings))
        return figures | {"total": len(pairs)}


def report(predictions: Rows, truths: Rows) -> dict[str, Any]:
    """The figures in the shape of the original's ``eval_submission``: ``brief``, each range, each rating.

    Args:
        predictions: ``qid``, ``pred_relevant_windows`` (``[start, end, score]``) and perhaps ``pred_saliency_scores``.
        truths: rows of the released annotations: ``qid``, ``relevant_windows``, and for highlights ``duration``,
            ``relevant_clip_ids`` and ``saliency_scores``.

    Raises:
        ValueError: if the two are not about the same queries; names the qids.
    """
    by_id = {row["qid"]: row for row in truths}
    asked = [row["qid"] for row in predictions]
    if not asked:
        raise ValueError("there are no predictions to score")
    if lonely := set(asked) ^ set(by_id):
        raise ValueError(
            "predictions and truths must be about the same queries; only in one of them: "
            f"{shortened(sorted(lonely, key=str))}"
        )
    if len(set(asked)) < len(asked):
        twice = sorted({qid for qid in asked if asked.count(qid) > 1}, key=str)
        raise ValueError(f"several predictions for the same query: {shortened(twice)}; keep one of each")
    ranges = retrieval(predictions, truths)
    brief: dict[str, float] = {}
    for name, result in ranges.items():
        if result["MR-mAP"]:
            brief[f"MR-{name}-mAP"] = result["MR-mAP"]["average"]
    brief |= {f"MR-full-mAP@{level}": ranges["full"]["MR-mAP"][str(level)] for level in (0.5, 0.75)}
    brief |= {f"MR-full-R1@{level}": ranges["full"]["MR-R1"][str(level)] for level in (0.5, 0.7)}
    brief = dict(sorted(brief.items()))
    clips: dict[str, dict[str, float]] = {}
    if "pred_saliency_scores" in predictions[0]:
        ratings = [clip_ratings(by_id[qid]) for qid in asked]
        clips = highlights([row["pred_saliency_scores"] for row in predictions], ratings)
        brief |= _brief_highlights(clips)
    return {"brief": brief, **dict(sorted({**ranges, **clips}.items()))}


def _brief_highlights(clips: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{name}-{key.split('-')[1]}": value for name, values in clips.items() for key, value in values.items()}


def retrieval(predictions: Rows, truths: Rows) -> dict[str, dict[str, dict[str, float]]]:
    """Figures of each range: ``MR-mAP`` by threshold with ``average``, and ``MR-R1``; both empty for an empty range."""
    windows = {row["qid"]: row["pred_relevant_windows"] for row in predictions}
    figures = {}
    for name, limits in RANGES.items():
        real: dict[Any, Windows] = {}
        for row in truths:
            kept = [w for w in row["relevant_windows"] if limits is None or limits[0] < w[1] - w[0] <= limits[1]]
            if kept:
                real[row["qid"]] = kept
        asked = [qid for qid in windows if qid in real]
        figures[name] = _range([windows[qid] for qid in asked], [real[qid] for qid in asked])
    return figures


def _range(windows: Sequence[Windows], truths: Sequence[Windows]) -> dict[str, dict[str, float]]:
    if not windows:
        return {"MR-mAP": {}, "MR-R1": {}}
    ranked = [sorted(row[:MAX_WINDOWS], key=lambda window: -window[2]) for row in windows]
    ious = top1_overlap(windows, truths)
    return {
        "MR-mAP": mean_by_threshold(average_precisions(ranked, truths)),
        "MR-R1": {str(level): two_decimals(np.mean(ious >= level) * 100) for level in THRESHOLDS},
    }


def highlights(
    scores: Sequence[Sequence[float]], ratings: Sequence[NDArray[np.float64]]
) -> dict[str, dict[str, float]]:
    """``HL-mAP`` and ``HL-Hit1`` for each least rating, in percent.

    Args:
        scores: predicted score of each clip of each query; cut, or filled up with zeros, to the clips of the video.
        ratings: ``[num_clips, 3]`` for each query, 0 to 4.
    """
    best = [int(np.argmax(row)) for row in scores]
    fitted = [
        np.append(row, np.zeros(max(len(r) - len(row), 0)))[: len(r)] for row, r in zip(scores, ratings, strict=True)
    ]
    orders = [np.argsort(row, kind="stable")[::-1] for row in fitted]
    figures = {}
    for name, least in RATINGS.items():
        real = [r >= least for r in ratings]
        hits = [bool(r[i].any()) if i < len(r) else False for i, r in zip(best, real, strict=True)]
        precision = np.array(
            [
                [_ranking_precision(row[order], r[order, k]) for k in range(r.shape[1])]
                for row, order, r in zip(fitted, orders, real, strict=True)
            ]
        )
        figures[f"HL-min-{name}"] = {
            "HL-mAP": two_decimals(100 * np.mean(precision)),
            "HL-Hit1": two_decimals(100 * np.mean(hits)),
        }
    return figures


def _ranking_precision(scores: NDArray[np.float64], real: NDArray[np.bool_]) -> float:
    """Mean interpolated precision at each score where recall rises; 0 or 1 where no or every clip is a highlight.

    Args:
        scores: falling.
        real: which of them are highlights.
    """
    found = np.cumsum(real)
    if found[-1] in (0, len(real)):
        return float(found[-1] > 0)
    # Equal scores enter together: only the last of them is a point of the curve.
    points = np.append(np.nonzero(np.diff(scores))[0], len(scores) - 1)
    precision = np.maximum.accumulate((found[points] / (points + 1))[::-1])
    rises = np.diff(found[points], prepend=0) > 0
    return float(np.mean(precision[rises[::-1]]))


def prediction_row(sample: VideoSample, prediction: Prediction) -> dict[str, Any]:
    """A prediction in the official form, without clip scores; ``qid`` is the sample's id."""
    return {
        "qid": sample.id,
        "pred_relevant_windows": [[float(m.start), float(m.end), _score(m)] for m in prediction.moments],
    }


def _truth_row(sample: VideoSample) -> dict[str, Any]:
    return {"qid": sample.id, "relevant_windows": [m.to_list() for m in sample.moments or []]}


def _score(moment: Moment) -> float:
    return 1.0 if moment.score is None else float(moment.score)


def clip_ratings(row: Mapping[str, Any]) -> NDArray[np.float64]:
    """Ratings of all clips of a released annotation, ``[num_clips, 3]``; clips outside the moments have 0.

    Raises:
        ValueError: if a rated clip lies outside the video; names the qid.
    """
    num_clips = int(row["duration"] / CLIP_SECONDS)
    rated = np.asarray(row["relevant_clip_ids"], dtype=np.int64)
    if rated.size and not 0 <= rated.min() <= rated.max() < num_clips:
        raise ValueError(f"query {row['qid']}: a rated clip lies outside the {num_clips} clips of the video")
    ratings = np.zeros((num_clips, 3))
    ratings[rated] = row["saliency_scores"]
    return ratings

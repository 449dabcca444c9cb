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

    predictable = True

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
    precision = np.stack([_ranking_precisions(scores, [r >= least for r in ratings]) for least in RATINGS.values()])
    figures = {}
    for (name, least), values in zip(RATINGS.items(), precision, strict=True):
        hits = [clip < len(r) and bool((r[clip] >= least).any()) for clip, r in zip(best, ratings, strict=True)]
        figures[f"HL-min-{name}"] = {
            "HL-mAP": two_decimals(100 * np.mean(values)),
            "HL-Hit1": two_decimals(100 * np.mean(hits)),
        }
    return figures


def _ranking_precisions(scores: Sequence[Sequence[float]], real: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
    """Average precision of each query's clips, ranked by score, for each of the annotators: ``[Q, K]``.

    Videos of equal length are ranked together.
    """
    precisions = np.zeros((len(real), real[0].shape[1]))
    lengths = np.array([len(r) for r in real])
    for length in np.unique(lengths):
        chosen = np.nonzero(lengths == length)[0].tolist()
        fitted = np.zeros((len(chosen), length))
        for row, query in zip(fitted, chosen, strict=True):
            given = scores[query][:length]
            row[: len(given)] = given
        precisions[chosen] = _equal_length(fitted, np.stack([real[query] for query in chosen]).transpose(0, 2, 1))
    return precisions


def _equal_length(scores: NDArray[np.float64], real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean interpolated precision at each score where recall rises; 0 or 1 where no or every clip is a highlight.

    Args:
        scores: ``[Q, C]``.
        real: ``[Q, K, C]``, which clips are highlights.

    Returns:
        ``[Q, K]``.
    """
    order = np.argsort(scores, axis=1, kind="stable")[:, ::-1]
    ranked = np.take_along_axis(scores, order, axis=1)
    found = np.cumsum(np.take_along_axis(real, order[:, None], axis=2), axis=2)
    # Equal scores enter together: only the last of them is a point of the curve.
    point = np.append(np.diff(ranked, axis=1) != 0, np.ones((len(ranked), 1), dtype=bool), axis=1)[:, None]
    precision = np.where(point, found / np.arange(1, scores.shape[1] + 1), 0.0)
    # From here on from the lowest score to the highest, the order in which the original averages.
    precision = np.maximum.accumulate(precision[..., ::-1], axis=2)
    before = np.maximum.accumulate(np.where(point, found, 0), axis=2)[..., :-1]
    rises = (point & (found > np.pad(before, ((0, 0), (0, 0), (1, 0)))))[..., ::-1]
    means = _means(precision[rises], rises.sum(axis=2).ravel()).reshape(found.shape[:2])
    return np.where(found[..., -1] == scores.shape[1], 1.0, means)


def _means(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Means of consecutive runs of ``values``, each summed as NumPy sums it alone; 0 for an empty run."""
    starts = np.cumsum(counts) - counts
    means = np.zeros(len(counts))
    for count in np.unique(counts[counts > 0]):
        rows = np.nonzero(counts == count)[0]
        means[rows] = np.mean(values[starts[rows][:, None] + np.arange(count)], axis=1)
    return means


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

"""The figures of a report, computed from predictions: table rows, learning curves and recall by overlap.

One metric scores baselines, stages, comparisons and each kind of query, so all rows of the table are over the same
samples.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from lavis.common.registry import registry
from lavis.metrics.base import grouped
from lavis.report.baselines import mean_training_window, random_window, whole_video
from lavis.report.curves import Curve, Series, smooth
from lavis.report.results_table import ALL_QUERIES, COLUMNS, Role, TableRow
from lavis.report.run_folder import StageRun, logged, records_of, validation_split
from lavis.report.timelines import best_iou
from lavis.structures import Prediction, VideoSample

RANDOM_DRAWS = 20
KINDS = {"seen": "Seen: shown in the picture", "said": "Said: only in the captions"}


def baseline_answers(
    samples: Sequence[VideoSample], train_samples: Sequence[VideoSample]
) -> dict[str, list[list[Prediction]]]:
    """Name of a baseline to its answers; the random one comes several times, to be averaged."""
    answers = {"Whole video": [whole_video(samples)]}
    if train_samples:
        answers["Mean training window"] = [mean_training_window(train_samples, samples)]
    answers["Random window"] = [random_window(samples, seed) for seed in range(RANDOM_DRAWS)]
    return answers


def table_rows(
    samples: Sequence[VideoSample],
    baselines: Mapping[str, Sequence[Sequence[Prediction]]],
    stages: Sequence[StageRun],
    answers: Mapping[str, Sequence[Sequence[Prediction]]],
) -> list[TableRow]:
    """Rows for all queries, then for each kind of query, if there are several kinds."""
    entries: list[tuple[str, Role, str, Sequence[Sequence[Prediction]]]] = [
        *((name, "baseline", "", runs) for name, runs in baselines.items()),
        *((stage.name, stage.role, stage.note, answers[stage.name]) for stage in stages),
    ]
    kinds = sorted({sample.kind for sample in samples if sample.kind}, key=lambda kind: [*KINDS, kind].index(kind))
    groups = [ALL_QUERIES, *kinds] if len(kinds) > 1 else [ALL_QUERIES]
    figures = {name: [_figures(samples, run) for run in runs] for name, _, _, runs in entries}
    rows = []
    for group in groups:
        size = len(samples) if group == ALL_QUERIES else sum(sample.kind == group for sample in samples)
        for name, role, note, runs in entries:
            values = [run[group] for run in figures[name]]
            spread = _over(values, statistics.stdev) if role != "baseline" and len(runs) > 1 else {}
            rows.append(
                TableRow(name, _over(values, statistics.fmean), KINDS.get(group, group), role, spread, size, note)
            )
    return rows


def _figures(samples: Sequence[VideoSample], predictions: Sequence[Prediction]) -> dict[str, dict[str, float]]:
    """Group to percentages: all queries, and each kind of them."""
    metric = registry.metrics.get("temporal")()
    groups = grouped(metric, samples, predictions)
    return {
        name: {column: (100.0 if column == "mIoU" else 1.0) * values[column] for column in COLUMNS}
        for name, values in {**groups, **grouped(metric, samples, predictions, lambda _: ALL_QUERIES)}.items()
    }


def _over(values: Sequence[Mapping[str, float]], function: Any) -> dict[str, float]:
    return {column: function([value[column] for value in values]) for column in COLUMNS}


def learning_curves(stages: Sequence[StageRun]) -> list[Curve]:
    """Loss, learning rate and validation recall of the first seed of each stage."""
    loss: list[Series] = []
    rate: list[Series] = []
    recall: list[Series] = []
    for number, stage in enumerate(stages, 1):
        colour, records = f"stage-{min(number, 4)}", records_of(stage.folders[0])
        split = validation_split(records)
        points = logged(records, "step", "loss")
        if points:
            loss += [Series("each", points, colour, faint=True), Series(stage.name, smooth(points), colour)]
        rate.append(Series(stage.name, logged(records, "step", "lr"), colour))
        for key, dashed in (("R1@0.5", False), ("R1@0.7", True)):
            values = logged(records, "epoch", key, split) if split else []
            recall.append(Series(f"{stage.name}, {key}", values, colour, dashed=dashed, dots=True))
    curves = [
        Curve("Training loss", "iteration", loss, note="Each logged iteration, and their moving average."),
        Curve("Learning rate", "iteration", rate),
        Curve("Validation recall, %", "epoch", recall, y_range=(0.0, 100.0)),
    ]
    return [curve for curve in curves if any(series.points for series in curve.series)]


def recall_curve(
    samples: Sequence[VideoSample],
    baselines: Mapping[str, Sequence[Sequence[Prediction]]],
    stages: Mapping[str, Sequence[Prediction]],
) -> Curve:
    """Recall of the first answer as a function of the IoU asked for: how exact the answers are."""
    levels = [n / 50 for n in range(51)]

    def recall(predictions: Sequence[Prediction]) -> list[tuple[float, float]]:
        ious = [best_iou(p.moments, s.moments) or 0.0 for s, p in zip(samples, predictions, strict=True)]
        return [(level, 100 * sum(iou >= level and iou > 0 for iou in ious) / len(ious)) for level in levels]

    name = "Mean training window" if "Mean training window" in baselines else "Whole video"
    lines = [Series(name, recall(baselines[name][0]), "baseline")]
    lines += [
        Series(stage, recall(answers), f"stage-{min(number, 4)}")
        for number, (stage, answers) in enumerate(stages.items(), 1)
    ]
    return Curve("Recall by the overlap asked for, %", "IoU", lines, y_range=(0.0, 100.0))

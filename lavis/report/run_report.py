"""The report of a coarse-to-fine run: collects table, curves and timelines from run folders and writes the page.

``write_report`` needs only the folders; ``write_run_report`` takes stages and samples, for runs that lie elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lavis.common.io import PathLike, read_json, write_text
from lavis.common.logging import get_logger
from lavis.datasets.build import splits_of
from lavis.processors.readers.base import VideoDecodeError
from lavis.report.figures import baseline_answers, learning_curves, recall_curve, table_rows
from lavis.report.film_strip import FilmStrip, film_strip
from lavis.report.finished_runs import FinishedRun, evaluated_split, samples_of, stages_of
from lavis.report.page import write_report as write_page
from lavis.report.pipeline_graph import graph_section
from lavis.report.results_table import results_text
from lavis.report.run_folder import StageRun, json_of, logged, predictions_of, records_of, text_of
from lavis.report.score_lane import curves_of
from lavis.report.timelines import CaseTimeline, Track, best_iou
from lavis.structures import Prediction, VideoSample

logger = get_logger(__name__)


def write_report(
    runs: Sequence[PathLike] | Mapping[str, PathLike],
    out: PathLike,
    comparisons: Mapping[str, PathLike] | None = None,
    title: str | None = None,
    facts: Mapping[str, Any] | None = None,
    pipeline: PathLike | None = None,
) -> Path:
    """Write the report of run folders, coarse to fine; several seeds of one stage are averaged.

    Args:
        runs: folders like ``results/calce/qvh_stage1``, perhaps by what to call them.
        out: file of the page (``.html``), or a folder for ``index.html``. The table is also written as text, beside it.
        comparisons: further runs that get a row in the table and nothing else, by what to call them.
        title: of the page; by default made of the names of the stages.
        facts: more conditions for the page.
        pipeline: record of the pipeline that made the runs (``<output_dir>/pipelines/<name>.json``), to be drawn.

    Returns:
        the page.

    Raises:
        ValueError: if a folder is no run, or the runs have no evaluated split in common.
    """
    titles = {Path(folder): name for name, folder in runs.items()} if isinstance(runs, Mapping) else {}
    finished = [FinishedRun.read(folder) for folder in titles or runs]
    name, split = evaluated_split(finished)
    last = finished[-1]
    node = last.config["datasets"][name]
    predictions = f"{name}_{split}"
    stages = stages_of(finished, predictions, titles)
    default = " to ".join(stage.name for stage in stages) if len(stages) < 3 else last.config.name
    stages += [
        StageRun(label, [Path(folder)], predictions, "comparison") for label, folder in (comparisons or {}).items()
    ]
    known = {"Split": f"{name}, {split}", "Seeds": sorted({run.run.get("seed", 0) for run in finished})}
    page = Path(out) if Path(out).suffix == ".html" else Path(out, "index.html")
    samples = samples_of(name, node, split)
    train = _training_samples(name, node, last.run.get("train_splits") or ["train"])
    return write_run_report(
        page,
        title or default,
        stages,
        samples,
        train_samples=train,
        facts={**known, **(facts or {})},
        pipeline=pipeline,
    )


def _training_samples(name: str, node: Mapping[str, Any], splits: Sequence[str]) -> list[VideoSample]:
    """Samples of the training splits; none, and so no mean window, where their files are not at hand.

    Of a data set that was not learned from they are those of its split ``train``.
    """
    own = [split for split in splits if split in splits_of(node)] or [s for s in splits_of(node) if s == "train"]
    try:
        return [sample for split in own for sample in samples_of(name, node, split)]
    except (ValueError, FileNotFoundError) as error:
        logger.warning("the report has no baseline from the training split: %s", error)
        return []


def write_run_report(
    path: PathLike,
    title: str,
    stages: Sequence[StageRun],
    samples: Sequence[VideoSample],
    *,
    train_samples: Sequence[VideoSample] = (),
    facts: Mapping[str, Any] | None = None,
    max_cases: int = 120,
    with_frames: bool = True,
    headline: str = "",
    pipeline: PathLike | None = None,
) -> Path:
    """Write the report of finished stages.

    Args:
        path: HTML file.
        title: of the page.
        stages: coarse to fine, and comparisons.
        samples: evaluated samples with their truth, in the order of the annotation.
        train_samples: whose mean window is a baseline; without them, that row is left out.
        facts: more conditions for the page, such as the seconds of each stage.
        max_cases: how many queries get a timeline; the worst, best and most changed are taken.
        with_frames: whether to decode frames of the videos.
        headline: sentence under the title; made from the figures if empty.
        pipeline: record of the pipeline to draw.

    Returns:
        The file written.

    Raises:
        ValueError: if there is no stage, no sample with truth, or a stage has no predictions.
    """
    shown = [stage for stage in stages if stage.role == "stage"]
    if not shown:
        raise ValueError("a run report needs at least one stage")
    known = [sample for sample in samples if sample.moments]
    if not known:
        raise ValueError("a run report needs samples with true moments")
    answers = {
        stage.name: [predictions_of(folder, stage.predictions, known) for folder in stage.folders] for stage in stages
    }
    first = {stage.name: answers[stage.name][0] for stage in shown}
    baselines = baseline_answers(known, train_samples)
    chosen = chosen_cases(known, list(first.values()), max_cases)
    note = (
        f"All {len(known):,} queries."
        if len(chosen) == len(known)
        else (f"{len(chosen):,} of {len(known):,} queries: the worst, the best and the most changed.")
    )
    if any(len(stage.folders) > 1 for stage in shown):
        note += " Answers are those of the first seed."
    config = {f"{stage.name}: config.yaml": text_of(stage.folders[0], "config.yaml") for stage in shown}
    rows = table_rows(known, baselines, stages, answers)
    write_text(Path(path).with_suffix(".txt"), results_text(rows))
    return write_page(
        path,
        title,
        rows,
        [*learning_curves(shown), recall_curve(known, baselines, first)],
        timelines(known, chosen, first, with_frames),
        {**conditions(shown, known), **(facts or {})},
        headline=headline,
        cases_note=note,
        config={name: content for name, content in config.items() if content},
        more=[] if pipeline is None else [("pipeline", "Pipeline", graph_section(read_json(pipeline), Path(pipeline)))],
    )


def chosen_cases(samples: Sequence[VideoSample], stages: Sequence[Sequence[Prediction]], limit: int) -> list[int]:
    """Which samples get a timeline, in their order: all, or in equal parts the worst, the best and the most changed."""
    if len(samples) <= limit:
        return list(range(len(samples)))
    last = [best_iou(p.moments, s.moments) or 0.0 for s, p in zip(samples, stages[-1], strict=True)]
    first = [best_iou(p.moments, s.moments) or 0.0 for s, p in zip(samples, stages[0], strict=True)]
    change = [abs(a - b) for a, b in zip(last, first, strict=True)]
    indices = range(len(samples))
    rankings = [
        iter(sorted(indices, key=lambda i: last[i])),
        iter(sorted(indices, key=lambda i: -last[i])),
        iter(sorted(indices, key=lambda i: -change[i])),
    ]
    chosen: set[int] = set()
    while len(chosen) < limit:
        for ranking in rankings:
            chosen.add(next(i for i in ranking if i not in chosen))
            if len(chosen) == limit:
                break
    return sorted(chosen)


def timelines(
    samples: Sequence[VideoSample],
    chosen: Sequence[int],
    stages: Mapping[str, Sequence[Prediction]],
    with_frames: bool,
) -> list[CaseTimeline]:
    """One timeline for each chosen sample; a video that cannot be read says so in its place."""
    strips: dict[str, FilmStrip | str] = {}
    cases = []
    for index in chosen:
        sample = samples[index]
        if with_frames and sample.video not in strips:
            strips[sample.video] = _strip(sample.video)
        strip = strips.get(sample.video, "")
        tracks = []
        for name, answers in stages.items():
            answer = answers[index]
            iou = best_iou(answer.moments, sample.moments)
            tracks.append(Track(name, answer.moments, iou, answer.text, answer.malformed, curves_of(answer)))
        cases.append(
            CaseTimeline(
                id=sample.id,
                query=sample.query,
                video=Path(sample.video).stem,
                duration=sample.duration,
                truth=sample.moments or [],
                tracks=tracks,
                captions=sample.subtitles,
                kind=sample.kind,
                strip=strip if isinstance(strip, FilmStrip) else None,
                strip_problem=strip if isinstance(strip, str) else "",
            )
        )
    return cases


def _strip(path: str) -> FilmStrip | str:
    try:
        return film_strip(path)
    except VideoDecodeError as error:
        logger.warning("the report shows no frames of %s: %s", path, error)
        return f"{Path(path).name} cannot be read: {error}"


def conditions(stages: Sequence[StageRun], samples: Sequence[VideoSample]) -> dict[str, Any]:
    """What the run folders say about device, software, times and skipped samples."""
    videos = len({sample.video for sample in samples})
    facts: dict[str, Any] = {"Data": f"{len(samples):,} queries on {videos:,} videos"}
    for name, value in json_of(stages[0].folders[0], "environment.json").items():
        if value not in (None, "", [], {}):
            facts[name.replace("_", " ").capitalize()] = value
    skipped, seconds = {}, {}
    for stage in stages:
        folder = stage.folders[0]
        metrics = json_of(folder, "metrics.json").get(stage.predictions, {})
        if metrics.get("skipped"):
            skipped[stage.name] = metrics["skipped"]
        spent = training_seconds(folder)
        if spent:
            seconds[stage.name] = spent
    if seconds:
        facts["Training, in seconds"] = seconds
    if skipped:
        facts["Skipped queries"] = skipped
    return facts


def training_seconds(folder: Path) -> float:
    """Seconds of all iterations, evaluation left out, from the logged seconds of an iteration; 0 if there are none."""
    steps, total = 0.0, 0.0
    for step, each in logged(records_of(folder), "step", "seconds"):
        total += each * (step - steps)
        steps = step
    return total

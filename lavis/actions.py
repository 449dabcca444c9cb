"""Actions of a pipeline besides train, evaluate and infer: make a corpus, merge annotations, write a report.

Their ``settings`` are those of the functions behind them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.yaml_tree import ConfigError

if TYPE_CHECKING:
    from lavis.runners.pipeline_stages import Action, Stage


def more_actions() -> Mapping[str, Action]:
    """Actions by name, for ``lavis.runners.pipeline.run_pipeline``."""
    from lavis.runners.pipeline_stages import ReadingAction

    return {
        "generate": generate_stage,
        "merge": ReadingAction(merge_stage, merged_files),
        "report": ReadingAction(report_stage, reported_files),
    }


def draw_graph(record: Path) -> Path:
    """Writes the page with the graph of a pipeline beside its record."""
    from lavis.report.pipeline_graph import write_page

    return write_page(record)


def generate_stage(stage: Stage) -> list[Path]:
    """Makes a corpus of videos: ``generator`` (its name and settings), ``out``, ``counts`` by split, ``workers``."""
    from tqdm import tqdm

    from lavis.common.construct import build_part
    from lavis.common.registry import registry

    settings = dict(stage.settings)
    generator: Any = build_part(registry.generators, settings.pop("generator", "synthetic_moments"), _where(stage))
    settings = _checked(stage, settings, {"out", "counts", "workers"}, {"out", "counts"})
    out = Path(settings.pop("out"))
    # Without a terminal there is no bar.
    with tqdm(total=sum(settings["counts"].values()), desc=stage.name, unit="video", disable=None) as bar:
        generator.generate(out, **settings, progress=lambda done, _: bar.update(done - bar.n))
    return sorted(path for name in ("annotations", "pictures", "srts", "videos") for path in (out / name).glob("*.*"))


def merge_stage(stage: Stage) -> list[Path]:
    """Writes stage-1 predictions into annotations; settings are those of ``lavis.preparation.merge.jobs``."""
    from lavis.preparation.merge import jobs, merge

    settings = _checked(stage, dict(stage.settings), _arguments(jobs))
    return [merge(job).job.out for job in list(jobs(**settings))]


def merged_files(stage: Stage) -> list[Path]:
    """Annotations and predictions that ``merge_stage`` reads; none as long as they are not there."""
    from lavis.preparation.merge import jobs

    settings = _checked(stage, dict(stage.settings), _arguments(jobs))
    try:
        return [path for job in jobs(**settings) for path in (job.annotations, job.predictions)]
    except ValueError:
        return []  # the action itself says what is missing, and where it looked


def report_stage(stage: Stage) -> list[Path]:
    """Writes a page about runs, and its table as text; settings are those of ``run_report.write_report``."""
    from lavis.report.run_report import write_report

    settings = _checked(stage, dict(stage.settings), _arguments(write_report), {"runs", "out"})
    took = {"Seconds of each stage": ", ".join(f"{name} {seconds:.0f}" for name, seconds in stage.seconds.items())}
    own = {"facts": {**took, **settings.get("facts", {})}, "pipeline": settings.get("pipeline", stage.record)}
    page = write_report(**{**settings, **own})
    return [page, page.with_suffix(".txt")]


def reported_files(stage: Stage) -> list[Path]:
    """Predictions and figures of the runs that ``report_stage`` shows."""
    from lavis.report.run_report import write_report

    settings = _checked(stage, dict(stage.settings), _arguments(write_report), {"runs", "out"})
    folders = [Path(each) for key in ("runs", "comparisons") for each in _folders(settings.get(key) or [])]
    files = [[*sorted((each / "predictions").glob("*.jsonl")), each / "metrics.json"] for each in folders]
    return [path for each in files for path in each if path.is_file()]


def _checked(
    stage: Stage, settings: dict[str, Any], known: Collection[str], needed: Collection[str] = ()
) -> dict[str, Any]:
    unknown, missing = sorted(set(settings) - set(known)), sorted(set(needed) - set(settings))
    if unknown or missing:
        fault = f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"
        raise ConfigError(f"{_where(stage)}: {fault}; the action {stage.action!r} takes {', '.join(sorted(known))}")
    return settings


def _folders(runs: Any) -> list[Any]:
    return list(runs.values()) if isinstance(runs, Mapping) else list(runs)


def _arguments(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)


def _where(stage: Stage) -> str:
    return f"settings of stage {stage.name!r}"

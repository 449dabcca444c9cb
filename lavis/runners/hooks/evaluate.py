"""Validation: which weights are best, and what is kept of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common import distributed
from lavis.common.logging import get_logger
from lavis.common.registry import registry
from lavis.runners.evaluation import write_metrics
from lavis.runners.hooks.base import Hook

if TYPE_CHECKING:
    from lavis.runners.runner import Runner

logger = get_logger(__name__)


@registry.hooks.register("evaluate")
class Evaluate(Hook):
    """Validates, and keeps the weights, predictions and figures of the best validation.

    The predictions of a validation under way lie in ``predictions/validation``; those of the best one are moved up.
    """

    def check(self, runner: Runner) -> None:
        require_monitor(runner)

    def validate(self, runner: Runner) -> None:
        folder = runner.folder / "predictions" / "validation"
        results = runner.evaluate(runner.run.valid_splits, folder, weights=f"epoch {runner.progress.epoch}")
        progress = runner.progress
        progress.validated = progress.global_step
        if results:
            value = monitored(results, runner)
            if self._better(value, progress.best, runner.run.monitor.mode):
                progress.best, progress.best_epoch, progress.best_step = value, progress.epoch, progress.global_step
                runner.save_best()
                write_metrics(runner.folder / "metrics.json", results)
                self._keep(folder, results)
        runner.ask_save(renew=True)

    @staticmethod
    def _better(value: float, best: float | None, mode: str) -> bool:
        if value != value:
            logger.warning("the monitored metric is no number; these weights are not kept as the best")
            return False
        return best is None or (value > best if mode == "max" else value < best)

    @staticmethod
    def _keep(folder: Path, results: Mapping[str, Any]) -> None:
        if not distributed.is_main():
            return
        for name in results:
            for file in (folder / f"{name}.jsonl", folder / f"{name}.json", folder / f".{name}.fingerprint.json"):
                shutil.copyfile(file, folder.parent / file.name)


def require_monitor(runner: Runner) -> None:
    """Sees to it that the validation will give the figure that ``run.monitor`` wants.

    Nothing can be said where a metric does not know its names beforehand (``Metric.names``): then a wrong name ends the
    run at its first validation, of which the state is saved before and the answers are kept.

    Raises:
        ValueError: if it will not; lists the figures there will be.
    """
    monitor = runner.run.monitor
    data: Mapping[str, Any] = runner.eval_data.get(monitor.split, {})
    found = {f"{name}_{monitor.split}": runner.task.names(split.samples) for name, split in data.items()}
    known = {name: sorted({*names, "skipped"}) for name, names in found.items() if names is not None}
    if data and len(known) == len(data) and not any(monitor.metric in names for names in known.values()):
        raise _no_such_figure(runner, "will give", known)


def monitored(results: Mapping[str, Mapping[str, float]], runner: Runner) -> float:
    """The figure that decides which weights are best, averaged over the data sets of the monitored split.

    Raises:
        ValueError: if no data set of that split has it; lists those there are.
    """
    monitor = runner.run.monitor
    names = [f"{dataset}_{monitor.split}" for dataset in runner.eval_data.get(monitor.split, {})]
    values = [results[name][monitor.metric] for name in names if monitor.metric in results.get(name, {})]
    if not values:
        raise _no_such_figure(runner, "gave", results)
    return sum(values) / len(values)


def _no_such_figure(runner: Runner, verb: str, known: Mapping[str, Iterable[str]]) -> ValueError:
    monitor, shown = runner.run.monitor, {name: ", ".join(figures) for name, figures in known.items()}
    return ValueError(
        f"run.monitor wants {monitor.metric!r} of the split {monitor.split!r}, but the validation {verb} {shown}; "
        "set run.monitor.metric and run.monitor.split to one of these"
    )

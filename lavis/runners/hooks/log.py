"""Log lines, and the curves of a training in ``metrics.jsonl``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lavis.common import distributed
from lavis.common.io import append_jsonl, read_jsonl, write_jsonl
from lavis.common.logging import get_logger
from lavis.common.registry import registry
from lavis.runners.hooks.base import Hook, StepRecord

if TYPE_CHECKING:
    from lavis.runners.runner import Runner

logger = get_logger(__name__)


@registry.hooks.register("log")
class Log(Hook):
    """Writes ``metrics.jsonl`` and the figures beside the progress bar.

    Args:
        every: iterations between lines; ``None`` takes ``run.log_every``.
        bar_seconds: seconds between progress lines where standard error is no terminal.
    """

    def __init__(self, every: int | None = None, bar_seconds: float = 30.0) -> None:
        self.every = every
        self.bar_seconds = bar_seconds
        self._sums: dict[str, torch.Tensor] = {}
        self._facts: dict[str, list[float]] = {}
        self._count = 0
        self._began = 0.0
        self._unwritten: list[dict[str, Any]] = []

    def state_dict(self) -> dict[str, Any]:
        facts = {name: list(values) for name, values in self._facts.items()}
        return {"sums": dict(self._sums), "facts": facts, "count": self._count} if self._count else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sums = dict(state["sums"])
        self._facts = {name: list(values) for name, values in state["facts"].items()}
        self._count = int(state["count"])

    def start(self, runner: Runner) -> None:
        runner.bar_seconds = self.bar_seconds
        self._began = time.monotonic()
        path = _curves(runner)
        if distributed.is_main() and path.is_file():
            # Lines after the checkpoint belong to iterations and evaluations that are now done again.
            rows = [row for row in read_jsonl(path, drop_torn=True) if _stays(row, runner)]
            write_jsonl(path, rows if runner.progress.global_step else [])

    def step(self, runner: Runner, record: StepRecord) -> None:
        for name, value in record.losses.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.float()
        for name, fact in record.facts.items():
            self._facts.setdefault(name, []).append(fact)
        self._count += bool(record.losses)
        if (record.global_step + 1) % (self.every or runner.run.log_every) == 0:
            self._write(runner, record.rate)

    def trained(self, runner: Runner) -> None:
        progress = runner.progress
        minutes = (time.monotonic() - self._began) / 60
        what = f"within epoch {progress.epoch + 1}" if progress.step else f"epoch {progress.epoch} done"
        logger.info("%s: iteration %d, %.1f minutes", what, progress.global_step, minutes)
        unreadable = _unreadable(runner)
        if unreadable:
            logger.warning(
                "so far %(unreadable_videos)d videos cannot be read, and %(unreadable_samples)d samples of "
                "the training are left out for it",
                unreadable,
            )
        _report_cache(runner)
        sources = _sources(runner)
        for name, figures in sources.items():
            logger.info("%s: %s", name, figures)
        if sources and distributed.is_main():
            rows = {name: asdict(figures) for name, figures in sources.items()}
            self._append(runner, {"step": progress.global_step, "epoch": progress.epoch, "sources": rows})

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        shown = ", ".join(f"{key} {value:.4g}" for key, value in list(metrics.items())[:7])
        logger.info("%s: %s", name, shown)
        _report_cache(runner)
        if distributed.is_main():
            # Only a training run knows how far it is; a later evaluation is no point of its curve.
            at = {"step": runner.progress.global_step, "epoch": runner.progress.epoch} if runner.learning else {}
            self._append(runner, {**at, "split": name, **metrics})

    def _write(self, runner: Runner, rate: float) -> None:
        own = {name: float(value) / max(1, self._count) for name, value in self._sums.items()}
        own |= {name: sum(values) / len(values) for name, values in self._facts.items()}
        own |= getattr(runner.engine.model, "cache_facts", dict)()
        figures = distributed.mean_over_ranks(own)
        losses = [figures[name] for name in self._sums]
        self._sums, self._facts, self._count = {}, {}, 0
        progress = runner.progress
        figures |= _unreadable(runner)
        row = {"step": progress.global_step, "epoch": progress.epoch, "loss": sum(losses), "lr": rate, **figures}
        runner.figures = row
        if distributed.is_main():
            self._append(runner, row)
        if runner.bar is not None:
            runner.bar.facts(**{key: row[key] for key in ("loss", "lr", "seconds", "peak_gib") if key in row})

    def _append(self, runner: Runner, row: dict[str, Any]) -> None:
        """Adds a line; those that a full disk does not take wait for the next."""
        self._unwritten.append(row)
        try:
            append_jsonl(_curves(runner), self._unwritten)
        except OSError as error:
            logger.error("%s; %d lines are kept for the next attempt", error, len(self._unwritten))
        else:
            self._unwritten = []


def _unreadable(runner: Runner) -> dict[str, float]:
    """How much of the training data cannot be read; empty if nothing is known to be."""
    found = [getattr(data, "quarantined", None) for data in runner.loader.dataset.datasets]  # type: ignore[attr-defined]
    known = [row for row in found if row is not None and row.samples]
    if not known:
        return {}
    return {
        "unreadable_videos": float(sum(row.videos for row in known)),
        "unreadable_samples": float(sum(row.samples for row in known)),
    }


def _sources(runner: Runner) -> dict[str, Any]:
    """Figures of the parts of mixtures in the training data, as ``<mixture>.<part>``."""
    found: dict[str, Any] = {}
    for data in runner.loader.dataset.datasets:  # type: ignore[attr-defined]
        for name, figures in getattr(data, "sources", {}).items():
            found[f"{data.dataset_name}.{name}"] = figures
    return found


def _report_cache(runner: Runner) -> None:
    """One line about the frozen parts' output that was found and made since the last one."""
    line = getattr(runner.engine.model, "cache_report", str)()
    if line:
        logger.info("%s", line)


def _stays(row: Mapping[str, Any], runner: Runner) -> bool:
    """Whether a line of ``metrics.jsonl`` is of what the resumed training does not do again."""
    progress, step = runner.progress, row.get("step", 0)
    if "split" not in row or step != progress.global_step:
        return bool(step <= progress.global_step)
    names = {f"{dataset}_{split}" for split in runner.run.valid_splits for dataset in runner.eval_data.get(split, {})}
    return row["split"] in names and progress.validated == step


def _curves(runner: Runner) -> Path:
    return runner.folder / "metrics.jsonl"

"""What happens around the loop: log lines, curves, checkpoints, validation, timing.

A hook is called at fixed events with the runner. ``timer``, ``log``, ``checkpoint`` and ``evaluate`` are always there;
``run.hooks`` adds others, or one of these with other settings.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lavis.common import distributed
from lavis.common.construct import build_part
from lavis.common.io import append_jsonl, read_jsonl, write_jsonl
from lavis.common.logging import get_logger
from lavis.common.registry import registry
from lavis.runners.evaluation import write_metrics
from lavis.runners.profiler import Recorder

if TYPE_CHECKING:
    from lavis.runners.runner import Runner, StepRecord

STANDARD = ("timer", "log", "checkpoint", "evaluate")
logger = get_logger(__name__)


class Hook:
    """Does nothing at any event; a hook overrides those it cares for.

    Every process calls its hooks, so that they may talk to each other; only the main one should write files. What a
    hook counts over iterations belongs into its ``state_dict``, so that a resumed training goes on counting.
    """

    def state_dict(self) -> dict[str, Any]:
        """What ``load_state_dict`` needs to go on: tensors and plain values; saved with every checkpoint."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a saved state; comes before ``start``."""

    def start(self, runner: Runner) -> None:
        """Before the first iteration, after resuming."""

    def step(self, runner: Runner, record: StepRecord) -> None:
        """After an iteration; ``record.facts`` may be added to."""

    def trained(self, runner: Runner) -> None:
        """After the iterations of an epoch."""

    def validate(self, runner: Runner) -> None:
        """Where a validation is due."""

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        """After the evaluation of ``<dataset>_<split>``."""

    def end(self, runner: Runner) -> None:
        """After training and testing."""


def build_hooks(nodes: Sequence[str | Mapping[str, Any]]) -> list[Hook]:
    """The standard hooks, then those of ``run.hooks``; one that names a standard hook takes its place."""
    own = {node if isinstance(node, str) else str(node.get("name")): node for node in nodes}
    order = [*STANDARD, *(name for name in own if name not in STANDARD)]
    return [build_part(registry.hooks, own.get(name, name), "run.hooks") for name in order]


@registry.hooks.register("timer")
class Timer(Hook):
    """Adds ``seconds`` an iteration, the part of it that waits for data, and the peak of GPU memory in GiB."""

    def __init__(self) -> None:
        self._last: float | None = None

    def start(self, runner: Runner) -> None:
        self._last = None
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def step(self, runner: Runner, record: StepRecord) -> None:
        now = time.perf_counter()
        if self._last is not None and record.step > 0:
            record.facts["seconds"] = now - self._last
        if runner.engine.device.type == "cuda":
            record.facts["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._last = now


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
        _report_cache(runner)

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


def _report_cache(runner: Runner) -> None:
    """One line about the frozen parts' output that was found and made since the last one."""
    line = getattr(runner.engine.model, "cache_report", str)()
    if line:
        logger.info("%s", line)


@registry.hooks.register("checkpoint")
class CheckpointHook(Hook):
    """Asks for a checkpoint every ``run.save_every`` epochs, every ``run.save_steps`` iterations, and at the end.

    It is written when all hooks have had their turn, so that what they count belongs to it.
    """

    def step(self, runner: Runner, record: StepRecord) -> None:
        every = runner.run.save_steps
        if every is not None and (record.global_step + 1) % every == 0:
            runner.ask_save()

    def trained(self, runner: Runner) -> None:
        if runner.finished or runner.progress.epoch % runner.run.save_every == 0:
            runner.ask_save(required=runner.finished)


@registry.hooks.register("evaluate")
class Evaluate(Hook):
    """Validates, and keeps the weights, predictions and figures of the best validation.

    The predictions of a validation under way lie in ``predictions/validation``; those of the best one are moved up.
    """

    def validate(self, runner: Runner) -> None:
        folder = runner.folder / "predictions" / "validation"
        results = runner.evaluate(runner.run.valid_splits, folder, weights=f"epoch {runner.progress.epoch}")
        progress = runner.progress
        progress.validated = progress.global_step
        if results:
            value = monitored(results, runner)
            if self._better(value, progress.best, runner.run.monitor.mode):
                progress.best, progress.best_epoch = value, progress.epoch
                runner.save_best(f"{runner.run.monitor.metric} {value:g} on {runner.run.monitor.split}")
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


@registry.hooks.register("tensorboard")
class TensorBoard(Hook):
    """Curves for TensorBoard in ``<run>/tensorboard``; needs the package ``tensorboard``."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._written = 0

    def start(self, runner: Runner) -> None:
        if not distributed.is_main():
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("run.hooks: tensorboard needs its package; pip install tensorboard") from error
        folder = runner.folder / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=runner.progress.global_step or None)

    def step(self, runner: Runner, record: StepRecord) -> None:
        row = runner.figures
        if self._writer is not None and row and row["step"] != self._written:
            self._written = int(row["step"])
            for name, value in row.items():
                self._writer.add_scalar(f"train/{name}", value, row["step"])

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        if self._writer is not None:
            for key, value in metrics.items():
                self._writer.add_scalar(f"{name}/{key}", value, runner.progress.global_step)

    def end(self, runner: Runner) -> None:
        if self._writer is not None:
            self._writer.close()


@registry.hooks.register("wandb")
class WandB(Hook):
    """Curves for Weights & Biases; needs the package ``wandb``.

    Args:
        project: project to log to.
        mode: ``online``, or ``offline`` to keep the curves in ``<run>/wandb``.
    """

    def __init__(self, project: str = "lavis", mode: str = "offline") -> None:
        self.project = project
        self.mode = mode
        self._session: Any = None
        self._written = 0

    def start(self, runner: Runner) -> None:
        if not distributed.is_main():
            return
        try:
            import wandb
        except ImportError as error:
            raise ValueError("run.hooks: wandb needs its package; pip install 'lavis[track]'") from error
        name = str(runner.config.get("name", runner.folder.name))
        self._session = wandb.init(
            project=self.project,
            name=name,
            dir=str(runner.folder),
            mode=self.mode,
            config=runner.config,
            resume="allow",
        )

    def step(self, runner: Runner, record: StepRecord) -> None:
        row = runner.figures
        if self._session is not None and row and row["step"] != self._written:
            self._written = int(row["step"])
            self._session.log({f"train/{name}": value for name, value in row.items()}, step=self._written)

    def evaluated(self, runner: Runner, name: str, metrics: Mapping[str, float]) -> None:
        if self._session is not None:
            figures = {f"{name}/{key}": value for key, value in metrics.items()}
            self._session.log(figures, step=runner.progress.global_step)

    def end(self, runner: Runner) -> None:
        if self._session is not None:
            self._session.finish()


@registry.hooks.register("profiler")
class Profiler(Hook):
    """Records a few iterations: ``profile/operators.txt`` with the most expensive operators, and a trace beside it.

    Args:
        first: iterations of this start to pass over, while caches and the like settle, at least 1.
        steps: iterations to record, at least 1.
    """

    def __init__(self, first: int = 3, steps: int = 5) -> None:
        if first < 1 or steps < 1:
            raise ValueError(f"first and steps must be at least 1, got {first} and {steps}")
        self.first = first
        self.steps = steps
        self._seen = 0
        self._recorder: Recorder | None = None

    def start(self, runner: Runner) -> None:
        self._seen = 0
        self._recorder = Recorder(runner.folder / "profile") if distributed.is_main() else None

    def step(self, runner: Runner, record: StepRecord) -> None:
        self._seen += 1
        if self._recorder is None:
            return
        if self._seen == self.first:
            self._recorder.start()
        elif self._seen == self.first + self.steps:
            self._finish()

    def trained(self, runner: Runner) -> None:
        if self._recorder is not None and self._recorder.running:
            self._finish()  # an evaluation must not be part of it

    def end(self, runner: Runner) -> None:
        if self._recorder is not None and self._seen < self.first:
            logger.warning("the profiler recorded nothing: %d iterations, its first is %d", self._seen, self.first)

    def _finish(self) -> None:
        assert self._recorder is not None
        logger.info("the most expensive operators are in %s", self._recorder.finish())


def monitored(results: Mapping[str, Mapping[str, float]], runner: Runner) -> float:
    """The figure that decides which weights are best, averaged over the data sets of the monitored split.

    Raises:
        ValueError: if no data set of that split has it; lists those there are.
    """
    monitor = runner.run.monitor
    names = [f"{dataset}_{monitor.split}" for dataset in runner.eval_data.get(monitor.split, {})]
    values = [results[name][monitor.metric] for name in names if monitor.metric in results.get(name, {})]
    if not values:
        known = {name: ", ".join(metrics) for name, metrics in results.items()}
        raise ValueError(
            f"run.monitor wants {monitor.metric!r} of the split {monitor.split!r}, but the validation gave {known}; "
            "set run.monitor.metric and run.monitor.split to one of these"
        )
    return sum(values) / len(values)


def _stays(row: Mapping[str, Any], runner: Runner) -> bool:
    """Whether a line of ``metrics.jsonl`` is of what the resumed training does not do again."""
    progress, step = runner.progress, row.get("step", 0)
    if "split" not in row or step != progress.global_step:
        return bool(step <= progress.global_step)
    names = {f"{dataset}_{split}" for split in runner.run.valid_splits for dataset in runner.eval_data.get(split, {})}
    return row["split"] in names and progress.validated == step


def _curves(runner: Runner) -> Path:
    return runner.folder / "metrics.jsonl"

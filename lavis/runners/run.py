"""From a configuration to a run folder: ``train`` and ``evaluate`` hold it, have the parts built and start the runner.

The folder ``<output_dir>/<name>`` gets the resolved configuration, the environment, logs, figures, checkpoints and
predictions. Starting again continues there: an interrupted training resumes, answered queries are not asked again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from lavis.common import distributed
from lavis.common.binding import bind_dataclass
from lavis.common.check import require_valid
from lavis.common.checkpoint import CheckpointError
from lavis.common.config import Config, load_config
from lavis.common.io import write_json
from lavis.common.locking import sole_writer
from lavis.common.logging import close_logging, get_logger, setup_logging
from lavis.common.schema import RunConfig
from lavis.runners.batching import accumulation_for
from lavis.runners.checkpoints import checkpoints, read_manifest
from lavis.runners.environment import environment
from lavis.runners.saver import on_main
from lavis.runners.watchdog import Watchdog
from lavis.runners.wiring import build_engine, evaluator, trainer

ESSENTIAL = (
    "model.", "datasets.", "run.seed", "run.batch_size", "run.batch_tokens", "run.remainder", "run.accumulat",
    "run.leftover", "run.learning_rate", "run.min_learning_rate", "run.warmup", "run.schedule", "run.weight_decay",
    "run.no_decay", "run.decay_vectors", "run.global_batch_size", "run.group_by_modality", "run.betas", "run.eps:",
    "run.clip_grad_norm", "run.ema", "run.lr_groups", "run.train_splits",
)  # fmt: skip
"""Beginnings of the settings that make a training what it is; others may change when it is resumed."""

INCIDENTAL = frozenset({
    "activation_checkpointing", "async_save", "cpu_offload", "decode", "device", "eval_batch_size",
    "eval_batch_tokens", "find_unused_parameters", "hang_timeout", "hooks", "keep_checkpoints", "keep_every",
    "log_every", "num_workers", "output_dir", "persistent_workers", "pin_memory", "prefetch_factor", "resume",
    "save_every", "save_steps", "sharded_checkpoints", "strategy", "threads", "worker_start", "zero_stage",
})  # fmt: skip
"""Settings of ``run`` that change how it runs, and not what comes of it."""

logger = get_logger(__name__)


def train(config: Config | Mapping[str, Any]) -> Path:
    """Trains, validates and tests; with ``run.evaluate_only`` it is ``evaluate``.

    Args:
        config: composed configuration with ``model``, ``datasets``, ``task`` and ``run``.

    Returns:
        folder of the run.

    Raises:
        ConfigError: with all problems of the configuration, before anything is built.
        RunError, CheckpointError: if the run cannot go on; see there.
    """
    config, run = _checked(config)
    if run.evaluate_only:
        return evaluate(config)
    with _Session(config, run, training=True) as session:
        trainer(config, session.run, session.engine, session.folder).train()
    return session.folder


def evaluate(config: Config | Mapping[str, Any], splits: Sequence[str] | None = None) -> Path:
    """Predicts and scores splits.

    The weights are ``checkpoints/best.safetensors`` of the run if it was trained; else, or with ``run.resume: never``,
    those of ``model.weights``. ``run.resume`` may also name a file of weights.

    Args:
        config: as for ``train``.
        splits: names of splits; ``None`` takes ``run.test_splits``.

    Returns:
        folder of the run, with ``predictions/<dataset>_<split>.jsonl`` and ``metrics.json``.
    """
    from lavis.runners.evaluation import write_metrics

    config, run = _checked(config)
    wanted = list(run.test_splits if splits is None else splits)
    if not wanted:
        raise ValueError("there is nothing to evaluate: run.test_splits is empty; name splits, such as [val]")
    with _Session(config, run) as session:
        runner, weights = evaluator(config, run, session.engine, session.folder, wanted)
        with runner.stop:
            results = runner.evaluate(wanted, weights=weights)
        write_metrics(session.folder / "metrics.json", results)
    return session.folder


def run_folder(config: Config, run: RunConfig | None = None) -> Path:
    """Folder of a configuration's run."""
    run = bind_dataclass(RunConfig, config.get("run"), "run") if run is None else run
    return Path(run.output_dir) / config.name


class _Session:
    """What one call builds and has to let go of."""

    def __init__(self, config: Config, run: RunConfig, training: bool = False) -> None:
        self.training = training
        self.config = config
        self.run = run
        self.folder = run_folder(config, run)
        self.engine = build_engine(run)
        if training:
            self.run = self._accumulating(run)
        self.watchdog = Watchdog(self.folder, run.hang_timeout)
        self._lock = ExitStack()

    def _accumulating(self, run: RunConfig) -> RunConfig:
        """The settings with the iterations of a step that ``run.global_batch_size`` asks of so many processes."""
        if run.global_batch_size is None:
            return run
        try:
            count = accumulation_for(run.global_batch_size, run.batch_size, distributed.world_size())
        except ValueError:
            self.engine.close()
            raise
        return replace(run, global_batch_size=None, accumulate=count)

    def __enter__(self) -> _Session:
        try:
            self._lock.enter_context(sole_writer(self.folder, f"this {'training' if self.training else 'evaluation'}"))
        except BaseException:
            self.engine.close()
            raise
        setup_logging(self.folder)
        try:
            self.watchdog.__enter__()
            on_main(self._begin)
            logger.info("%s on %s", self.folder, self.engine)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception):
            logger.error("%s", error)
        self.watchdog.__exit__(kind, error, trace)
        self.engine.close()
        close_logging()
        self._lock.close()

    def _begin(self) -> None:
        """Leaves configuration and environment in the folder, rid of what a killed run was writing there."""
        self._note_changes()
        for place in ("", "checkpoints", "predictions", "predictions/validation"):
            rest = [*(self.folder / place).glob(".*.part"), *(self.folder / place).glob(".*.tmp")]
            for path in filter(Path.is_file, rest):
                path.unlink()
        self.config.save(self.folder / "config.yaml")
        write_json(self.folder / "environment.json", environment(self.engine.device))

    def _note_changes(self) -> None:
        """Says which settings differ from those this folder was begun with.

        Raises:
            ValueError: if an interrupted training would go on with settings it was not begun with.
        """
        path = self.folder / "config.yaml"
        if not path.is_file() or not (self.folder / "checkpoints").is_dir() or self.run.resume == "never":
            return
        changed = differences(load_config(path.resolve()).tree, self.config.tree)
        changed = [row for row in changed if not row.startswith("model.cache")]  # which changes no result
        saved = checkpoints(self.folder / "checkpoints")
        essential = [row for row in changed if row.startswith(ESSENTIAL) and not self._same_batch(row, saved)]
        if essential and self.training and self.run.resume == "auto" and saved:
            raise ValueError(
                f"{self.folder} holds a training with other settings: {_shown(essential)}. Give this one another name, "
                f"begin anew with run.resume=never, or go on regardless with run.resume={saved[-1]}"
            )
        if changed:
            logger.warning("settings changed since this run was begun: %s", _shown(changed))

    def _same_batch(self, row: str, saved: Sequence[Path]) -> bool:
        """Whether a change of ``run.batch_size`` makes up for another number of processes."""
        if not row.startswith("run.batch_size:") or not saved:
            return False
        try:
            before = read_manifest(saved[-1])["global_batch"]
        except CheckpointError:
            return False
        return bool(before == self.run.batch_size * distributed.world_size())


def _shown(rows: Sequence[str], limit: int = 10) -> str:
    return "; ".join(rows[:limit]) + (f" and {len(rows) - limit} more" if len(rows) > limit else "")


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Leaves that differ between two trees, as ``run.epochs: 50 -> 15``."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = dict.fromkeys([*old, *new])
        return [row for key in keys for row in differences(old.get(key), new.get(key), f"{at}.{key}".lstrip("."))]
    return [] if old == new else [f"{at}: {old!r} -> {new!r}"]


def _checked(config: Config | Mapping[str, Any]) -> tuple[Config, RunConfig]:
    whole = config if isinstance(config, Config) else Config.from_mapping(config)
    require_valid(whole)
    return whole, bind_dataclass(RunConfig, whole.get("run"), "run")

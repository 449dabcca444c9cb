"""From a configuration to a run folder: ``train`` and ``evaluate`` build the parts, wire them and start the runner.

The folder ``<output_dir>/<name>`` gets the resolved configuration, the environment, logs, figures, checkpoints and
predictions. Starting again continues there: an interrupted training resumes, answered queries are not asked again.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common import distributed
from lavis.common.binding import bind_dataclass
from lavis.common.check import require_valid
from lavis.common.checkpoint import CheckpointError, load_weights
from lavis.common.config import Config, load_config
from lavis.common.io import write_json
from lavis.common.logging import close_logging, get_logger, setup_logging
from lavis.common.schema import RunConfig
from lavis.runners.environment import environment

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM
    from lavis.runners.engine import Engine
    from lavis.runners.runner import EvalData, Runner

ESSENTIAL = (
    "model.", "datasets.", "run.seed", "run.batch_size", "run.accumulat", "run.leftover", "run.learning_rate",
    "run.min_learning_rate", "run.warmup", "run.schedule", "run.weight_decay", "run.no_decay", "run.betas", "run.eps:",
    "run.clip_grad_norm", "run.lr_groups", "run.train_splits",
)  # fmt: skip
"""Beginnings of the settings that make a training what it is; others may change when it is resumed."""

INCIDENTAL = frozenset({
    "activation_checkpointing", "cpu_offload", "device", "eval_batch_size", "find_unused_parameters", "hooks",
    "log_every", "num_workers", "output_dir", "resume", "save_every", "save_steps", "strategy", "threads",
    "worker_start", "zero_stage",
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
        session.runner().train()
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
        runner = session.runner(wanted)
        with runner.stop:
            results = runner.evaluate(wanted, weights=session.weights)
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
        self.weights = "given"
        self.engine: Engine = _engine(run)

    def __enter__(self) -> _Session:
        setup_logging(self.folder)
        try:
            if distributed.is_main():
                self._note_changes()
                self.config.save(self.folder / "config.yaml")
                write_json(self.folder / "environment.json", environment(self.engine.device))
            logger.info("%s on %s", self.folder, self.engine)
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception):
            logger.error("%s", error)
        self.engine.close()
        close_logging()

    def runner(self, splits: Sequence[str] = ()) -> Runner:
        """The runner, with model and data built."""
        from lavis.models.build import build_model
        from lavis.runners.activations import checkpoint_activations
        from lavis.runners.hooks import build_hooks
        from lavis.runners.optim import build_optimizer, describe_groups
        from lavis.runners.runner import Runner
        from lavis.tasks.base import build_task

        run, engine, training = self.run, self.engine, self.training
        model = build_model(self.config["model"])
        if not training:
            self._load_trained(model)
        if training and run.activation_checkpointing:
            logger.info("activations are recomputed in %d layers", len(checkpoint_activations(model)))
        train_data = self._data(model, run.train_splits, train=True) if training else {}
        eval_data = self._data(model, [*run.valid_splits, *run.test_splits] if training else splits, train=False)
        if training:
            engine.prepare(
                model,
                lambda named: build_optimizer(
                    named,
                    learning_rate=run.learning_rate,
                    weight_decay=run.weight_decay,
                    betas=run.betas,
                    eps=run.eps,
                    lr_groups=run.lr_groups,
                    no_decay=run.no_decay,
                ),
            )
            logger.info("learning: %s", describe_groups(engine.optimizer))
        else:
            engine.prepare(model)
        return Runner(
            engine=engine,
            task=build_task(self.config["task"]),
            run=run,
            folder=self.folder,
            config=self.config.tree,
            train_data=[data for by_name in train_data.values() for data in by_name.values()],
            eval_data=eval_data,
            hooks=build_hooks(run.hooks),
        )

    def _data(self, model: VideoLLM, splits: Sequence[str], train: bool) -> EvalData:
        """Split to data set name to data set.

        Raises:
            ValueError: if no data set has a split.
        """
        from lavis.datasets.build import build_dataset, splits_of

        if model.processor is None:
            raise ValueError(
                "model.processor is missing: it says how videos become frames; add it to the model section"
            )
        found: dict[str, dict[str, Any]] = {}
        nodes: Mapping[str, Any] = self.config["datasets"]
        for split in dict.fromkeys(splits):
            having = {name: node for name, node in nodes.items() if split in splits_of(node)}
            if not having:
                known = {name: splits_of(node) for name, node in nodes.items()}
                raise ValueError(f"no data set has the split {split!r}; there are {known}")
            found[split] = {
                name: build_dataset(name, node, split, model.processor, train=train) for name, node in having.items()
            }
            for name, data in found[split].items():
                logger.info("%s %s: %s", name, split, getattr(data, "counts", len(data)))
        return found

    def _load_trained(self, model: VideoLLM) -> None:
        best = self.folder / "checkpoints" / "best.safetensors"
        wanted = self.run.resume
        if wanted not in ("auto", "never"):
            best = Path(wanted)
            if not best.is_file():
                raise CheckpointError(
                    f"run.resume={wanted}: for an evaluation it names a file of weights; there is none"
                )
        if wanted == "never" or not best.is_file():
            logger.warning("%s was not trained here: evaluating the weights of model.weights", self.folder)
            return
        self.weights = str(best)
        report = load_weights(model, best, require="trainable" if self.config["model"].get("trainable") else "none")
        logger.info("weights: %d tensors from %s", len(report.loaded), best)

    def _note_changes(self) -> None:
        """Says which settings differ from those this folder was begun with.

        Raises:
            ValueError: if an interrupted training would go on with settings it was not begun with.
        """
        path = self.folder / "config.yaml"
        if not path.is_file() or not (self.folder / "checkpoints").is_dir() or self.run.resume == "never":
            return
        changed = differences(load_config(path.resolve()).tree, self.config.tree)
        essential = [row for row in changed if row.startswith(ESSENTIAL)]
        latest = self.folder / "checkpoints" / "latest"
        if essential and self.training and self.run.resume == "auto" and latest.is_dir():
            raise ValueError(
                f"{self.folder} holds a training with other settings: {_shown(essential)}. Give this one another name, "
                f"begin anew with run.resume=never, or go on regardless with run.resume={latest}"
            )
        if changed:
            logger.warning("settings changed since this run was begun: %s", _shown(changed))


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


def _engine(run: RunConfig) -> Engine:
    from lavis.runners.engine import Engine

    return Engine(
        device=run.device,
        precision=run.precision,
        eval_precision=run.eval_precision,
        strategy=run.strategy,
        seed=run.seed,
        threads=run.threads,
        deterministic=run.deterministic,
        find_unused_parameters=run.find_unused_parameters,
        cpu_offload=run.cpu_offload,
        zero_stage=run.zero_stage,
        clip_grad_norm=run.clip_grad_norm,
        batch_size=run.batch_size,
    )

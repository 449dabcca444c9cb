"""From a configuration's sections to the parts of a run: engine, model, data sets and runner."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lavis.common.checkpoint import CheckpointError, load_weights
from lavis.common.config import Config
from lavis.common.logging import get_logger
from lavis.common.schema import RunConfig
from lavis.runners.checkpoints import checkpoints

if TYPE_CHECKING:
    from lavis.models.video_llm import VideoLLM
    from lavis.runners.engine import Engine
    from lavis.runners.runner import EvalData, Runner

QUARANTINE = "quarantine.jsonl"
"""Name of the list of videos that cannot be read, in the run folder."""

logger = get_logger(__name__)


def build_engine(run: RunConfig) -> Engine:
    """The engine that the settings of a run ask for."""
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
        ema=run.ema,
        sharded_checkpoints=run.sharded_checkpoints,
        watched=run.hang_timeout is not None,
    )


def trainer(config: Config, run: RunConfig, engine: Engine, folder: Path) -> Runner:
    """A runner that trains, with model, data and optimizer built."""
    from lavis.models.build import build_model
    from lavis.runners.activations import checkpoint_activations, compile_learning
    from lavis.runners.optim import build_optimizer, describe_groups

    model = build_model(config["model"])
    recomputed = checkpoint_activations(model, run.activation_checkpointing)
    compiled = compile_learning(model, run.compile, engine.device)
    if recomputed:
        logger.info("activations are recomputed in %d layers", len(recomputed))
    if compiled:
        logger.info("%d layers that learn are compiled at their first call", len(compiled))
    train_data = build_data(config, model, run.train_splits, train=True)
    eval_data = build_data(config, model, [*run.valid_splits, *run.test_splits], train=False)
    limit_decoding(model, run, folder, [train_data, eval_data])
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
            decay_vectors=run.decay_vectors,
        ),
    )
    logger.info("learning: %s", describe_groups(engine.optimizer))
    return _runner(config, run, engine, folder, train_data, eval_data)


def evaluator(
    config: Config, run: RunConfig, engine: Engine, folder: Path, splits: Sequence[str]
) -> tuple[Runner, str]:
    """A runner that evaluates splits, and where its weights are from."""
    from lavis.models.build import build_model

    model = build_model(config["model"])
    weights = load_trained(model, config, run, folder)
    eval_data = build_data(config, model, splits, train=False)
    limit_decoding(model, run, folder, [eval_data])
    engine.prepare(model)
    return _runner(config, run, engine, folder, {}, eval_data), weights


def _runner(
    config: Config, run: RunConfig, engine: Engine, folder: Path, train_data: EvalData, eval_data: EvalData
) -> Runner:
    from lavis.runners.hooks.base import build_hooks
    from lavis.runners.runner import Runner
    from lavis.tasks.base import build_task

    return Runner(
        engine=engine,
        task=build_task(config["task"]),
        run=run,
        folder=folder,
        config=config.tree,
        train_data=[data for by_name in train_data.values() for data in by_name.values()],
        eval_data=eval_data,
        hooks=build_hooks(run.hooks),
    )


def build_data(config: Config, model: VideoLLM, splits: Sequence[str], train: bool) -> EvalData:
    """Split to data set name to data set.

    Raises:
        ValueError: if no data set has a split.
    """
    from lavis.datasets.build import build_dataset, splits_of

    if model.processor is None:
        raise ValueError("model.processor is missing: it says how videos become frames; add it to the model section")
    found: dict[str, dict[str, Any]] = {}
    nodes: Mapping[str, Any] = config["datasets"]
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


def limit_decoding(model: VideoLLM, run: RunConfig, folder: Path, data: Sequence[EvalData]) -> None:
    """Has data sets read videos within the limits of ``run.decode``, and list what cannot be read in the run folder."""
    from lavis.common.quarantine import Quarantine
    from lavis.processors.readers.guarded import GuardedReader

    limits, views = run.decode, getattr(model.processor, "views", {})
    wanted = run.num_workers > 0 and os.name == "posix" if limits.isolate == "auto" else limits.isolate
    for view in views.values():
        if wanted and not isinstance(view.reader, GuardedReader):
            view.reader = GuardedReader(view.reader, limits.seconds, limits.memory_mb)
    readers = "; ".join(f"{name}: {view.reader}" for name, view in views.items())
    quarantine = Quarantine(folder / QUARANTINE, limits.max_errors, readers)
    for splits in data:
        for by_name in splits.values():
            for dataset in by_name.values():
                if hasattr(dataset, "use_quarantine"):
                    dataset.use_quarantine(quarantine)


def load_trained(model: VideoLLM, config: Config, run: RunConfig, folder: Path) -> str:
    """Loads what an evaluation is of: the best weights of the run, or the file that ``run.resume`` names.

    Returns:
        the file, or ``given`` where those of ``model.weights`` stay: nothing was trained, or ``run.resume: never``.

    Raises:
        CheckpointError: if the file named is not there, or a training of this folder has no best weights.
    """
    best, wanted = folder / "checkpoints" / "best.safetensors", run.resume
    if wanted not in ("auto", "never"):
        best = Path(wanted)
        if not best.is_file():
            raise CheckpointError(f"run.resume={wanted}: for an evaluation it names a file of weights; there is none")
    if wanted == "never" or not best.is_file():
        _require_untrained(folder, best, wanted)
        logger.warning("%s was not trained here: evaluating the weights of model.weights", folder)
        if getattr(model, "fresh_head", False):
            logger.warning("none of them are of model.head, which finds times: they may be of an earlier stage")
        return "given"
    report = load_weights(model, best, require="trainable" if config["model"].get("trainable") else "none")
    logger.info("weights: %d tensors from %s", len(report.loaded), best)
    return str(best)


def _require_untrained(folder: Path, best: Path, wanted: str) -> None:
    """Sees to it that the weights a training began with are not taken for those it ended with."""
    saved = checkpoints(folder / "checkpoints")
    if saved and wanted == "auto":
        raise CheckpointError(
            f"{best} is not there, but {saved[-1]} is: this training has no best weights yet, or they are gone. Start "
            "it again to complete it; to evaluate what it has now, set "
            f"run.resume={saved[-1] / 'weights.safetensors'}, and for the weights it began with, run.resume=never"
        )

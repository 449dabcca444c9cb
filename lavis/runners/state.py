"""The state of a training: all that one which was interrupted needs to go on as if nothing had happened.

Ours. LAVIS keeps weights and optimizer at the ends of epochs; here a checkpoint also holds the loss scaler, the
schedule, the moving average, what hooks count, and for each process its random states and the gradients that no
optimizer step has used yet. A ``Snapshot`` is a copy of it in host memory, so that it can be written while the training
goes on. Loader processes have no state: a sample draws its numbers from run, epoch and index (``data.py``). Where a
checkpoint lies, and how a whole one is told from a torn one, is said in ``checkpoints.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError, load_archive, read_checkpoint, save_archive, save_checkpoint
from lavis.common.io import WriteError, explained
from lavis.common.logging import get_logger
from lavis.runners import shards
from lavis.runners.randomness import random_state, set_random_state

if TYPE_CHECKING:
    from lavis.runners.engine import Engine
    from lavis.runners.hooks.base import Hook
    from lavis.runners.schedules import Schedule

WEIGHTS = "weights.safetensors"
STATE = "state.pt"
logger = get_logger(__name__)


@dataclass(slots=True)
class Progress:
    """How far a training is.

    Args:
        epoch: epoch that is under way, from 0; the number of epochs once all are done.
        step: iterations of it that are done.
        global_step: iterations done in all.
        validated: iterations that were done at the last validation.
        best: monitored value of the best checkpoint, ``None`` before the first.
        best_epoch: epoch of it, from 1.
        best_step: iterations that were done then.
        skipped: optimizer steps that were dropped since a loss was no finite number.
        skipped_in_a_row: the last of them, without a good one in between.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    validated: int = 0
    best: float | None = None
    best_epoch: int | None = None
    best_step: int | None = None
    skipped: int = 0
    skipped_in_a_row: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a training at one moment, as this process writes it.

    Args:
        facts: of the manifest: progress, number of processes, samples of all of them in one iteration.
        own: of this process alone: random states, gradients not yet used, what hooks count.
        weights: what learns; the main process has it, the others ``None``, and so has it where shards are saved.
        shared: scaler and schedule, and without shards optimizer and moving average; only the main process has it.
    """

    facts: dict[str, Any]
    own: dict[str, Any]
    weights: dict[str, Tensor] | None
    shared: dict[str, Any] | None

    def write(self, folder: Path) -> list[Path]:
        """Writes the files of this process; talks to no other one, so a thread may do it.

        Returns:
            the files.
        """
        files = [folder / process_file()]
        save_archive(files[0], self.own)
        if self.weights is not None:
            files.append(save_checkpoint(folder / WEIGHTS, self.weights))
        if self.shared is not None:
            files.append(folder / STATE)
            save_archive(folder / STATE, self.shared)
        return files


def capture(
    engine: Engine,
    schedule: Schedule,
    progress: Progress,
    *,
    global_batch: int,
    pending: bool,
    hooks: Sequence[Hook] = (),
    copied: bool = False,
) -> Snapshot:
    """The state as it is now, without what ``save_parts`` writes; every process must call.

    Args:
        engine: holds model, optimizer, scaler and moving average.
        schedule: holds the state of the learning rate.
        progress: how far the training is.
        global_batch: samples of all processes in one iteration.
        pending: whether there are gradients that no optimizer step has used.
        hooks: asked for what they count.
        copied: share no memory with the training, which may then go on before the snapshot is written.
    """
    own = {
        "random": random_state(), "gradients": _gradients(engine) if pending else {}, "hooks": hook_states(hooks),
    }  # fmt: skip
    shared: dict[str, Any] = {
        "scaler": engine.scaler.state_dict() if engine.scaler is not None else None,
        "schedule": schedule.state_dict(),
    }
    weights = None
    if not engine.sharded_checkpoints:
        weights = engine.weights(everywhere=False)
        shared |= {"optimizer": engine.optimizer_state(), "average": engine.average_state()}
    live = _live_memory(engine) if copied else frozenset()
    main = distributed.is_main()
    return Snapshot(
        facts={"progress": asdict(progress), "processes": distributed.world_size(), "global_batch": global_batch},
        own=_detached(own, live),
        weights=_detached(weights, live) if main and weights is not None else None,
        shared=_detached(shared, live) if main else None,
    )


def save_parts(engine: Engine, folder: Path) -> None:
    """Writes what every process holds in parts of its own, at once; every process must call.

    Raises:
        WriteError: if one of them cannot.
    """
    from torch.distributed.checkpoint.api import CheckpointException

    try:
        if engine.sharded_checkpoints:
            engine.save_sharded(folder)
        with explained(folder):
            engine.save_own(folder)
    except CheckpointException as error:  # which is no Exception, and names every process that failed
        raise WriteError(f"cannot write {folder}: {str(error).strip().splitlines()[-1]}") from error


def restore(
    folder: Path,
    manifest: Mapping[str, Any],
    engine: Engine,
    schedule: Schedule,
    *,
    global_batch: int,
    hooks: Sequence[Hook] = (),
) -> Progress:
    """Puts the state in a checkpoint folder back; every process must call.

    Args:
        folder: of a whole checkpoint.
        manifest: its manifest.
        engine, schedule, global_batch, hooks: as for ``capture``, but of this run.

    Raises:
        CheckpointError: if weights, optimizer, or the number of processes do not fit.
    """
    progress = Progress(**manifest["progress"])
    if progress.step and global_batch != manifest["global_batch"]:
        raise CheckpointError(
            f"{folder} was saved within an epoch by {manifest['processes']} processes with {manifest['global_batch']} "
            f"samples an iteration in all; now it is {distributed.world_size()} with {global_batch}. Start as many "
            "processes, or set run.batch_size so that the product is the same"
        )
    shared = load_archive(folder / STATE)
    if shards.is_sharded(folder):
        engine.load_sharded(folder)
    else:
        _restore_whole(folder, engine, shared)
    engine.load_own(folder)
    if engine.scaler is not None and shared["scaler"]:
        engine.scaler.load_state_dict(shared["scaler"])
    schedule.load_state_dict(shared["schedule"])
    _restore_process(folder, engine, int(manifest["processes"]), hooks)
    return progress


def hook_states(hooks: Sequence[Hook]) -> dict[str, Any]:
    """What hooks count, by their class and position among those of that class."""
    states = {name: hook.state_dict() for name, hook in _named(hooks)}
    return {name: state for name, state in states.items() if state}


def process_file(rank: int | None = None) -> str:
    """Name of the file of one process; by default of this one."""
    return f"process{distributed.rank() if rank is None else rank}.pt"


def _restore_whole(folder: Path, engine: Engine, shared: Mapping[str, Any]) -> None:
    engine.load_weights(read_checkpoint(folder / WEIGHTS).state)
    engine.load_average_state(shared["average"])
    try:
        engine.load_optimizer_state(shared["optimizer"])
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: the optimizer state does not fit ({error}); was run.weight_decay or run.lr_groups changed? "
            "Choose another name for the run, or run.resume=never"
        ) from error


def _restore_process(folder: Path, engine: Engine, processes: int, hooks: Sequence[Hook]) -> None:
    world = distributed.world_size()
    own = load_archive(folder / process_file(distributed.rank() % processes))
    for name, hook in _named(hooks):
        if name in own["hooks"]:
            hook.load_state_dict(own["hooks"][name])
    if processes == world:
        set_random_state(own["random"])
        _set_gradients(engine, own["gradients"])
        return
    logger.warning("resuming with %d processes what %d began: random states start anew", world, processes)
    if own["gradients"]:
        _set_gradients(engine, _mean_gradients(folder, engine, processes))


def _mean_gradients(folder: Path, engine: Engine, processes: int) -> dict[str, Tensor]:
    """Gradients not yet used, averaged over the processes that had them, as the optimizer step would have done."""
    rows = [load_archive(folder / process_file(rank))["gradients"] for rank in range(processes)]
    assert engine.model is not None
    shapes = {name: parameter.shape for name, parameter in engine.model.named_parameters()}
    sharded = any(hasattr(parameter, "device_mesh") for parameter in engine.model.parameters())
    if sharded or any(row[name].shape != shapes[name] for row in rows for name in row):
        raise CheckpointError(
            f"{folder} holds parts of gradients of {processes} processes, from between two optimizer steps; start as "
            "many, or resume from a checkpoint at the end of a step (run.save_steps a multiple of run.accumulate)"
        )
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: torch.stack([row[name] for row in rows if name in row]).sum(0) / processes for name in names}


def _named(hooks: Sequence[Hook]) -> list[tuple[str, Hook]]:
    kinds = [type(hook).__name__ for hook in hooks]
    return [(f"{kind}{kinds[:index].count(kind) or ''}", hooks[index]) for index, kind in enumerate(kinds)]


def _live_memory(engine: Engine) -> frozenset[int]:
    """Addresses of what the training changes in place."""
    assert engine.model is not None
    held = [*engine.model.parameters(), *engine.model.buffers()]
    held += [p.grad for p in engine.model.parameters() if p.grad is not None]
    held += [] if engine.ema is None else engine.ema.average.values()
    held += [v for row in engine.optimizer.state.values() for v in row.values() if isinstance(v, Tensor)]
    return frozenset(distributed.local_part(tensor).untyped_storage().data_ptr() for tensor in held)


def _detached(content: Any, live: frozenset[int]) -> Any:
    """The same with tensors on the CPU that hold their own numbers only, and none of the ``live`` memory."""
    if isinstance(content, Tensor):
        tensor = content.detach().cpu()
        storage = tensor.untyped_storage()
        return tensor.clone() if storage.data_ptr() in live or storage.nbytes() != tensor.nbytes else tensor
    if isinstance(content, Mapping):
        return {key: _detached(value, live) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(_detached(value, live) for value in content)
    return content


def _gradients(engine: Engine) -> dict[str, Tensor]:
    assert engine.model is not None
    named = engine.model.named_parameters()
    return {name: distributed.local_part(p.grad) for name, p in named if p.grad is not None}


def _set_gradients(engine: Engine, gradients: Mapping[str, Tensor]) -> None:
    assert engine.model is not None
    for name, parameter in engine.model.named_parameters():
        parameter.grad = distributed.local_like(gradients[name], parameter) if name in gradients else None

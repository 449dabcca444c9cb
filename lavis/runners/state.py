"""The ``latest`` checkpoint: all that an interrupted training needs to go on as if nothing had happened.

A folder, on a disk that all processes share, with the trained weights, optimizer, scaler and schedule, and for each
process its random states and gradients not yet used. It is written beside the old one and moved into place; a manifest
with the size and digest of every file tells a whole one from a torn one.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lavis.common import distributed
from lavis.common.checkpoint import (
    CheckpointError,
    file_digest,
    load_archive,
    read_checkpoint,
    save_checkpoint,
    write_atomically,
)
from lavis.common.io import read_json, write_json
from lavis.common.logging import get_logger
from lavis.runners.engine import Engine
from lavis.runners.randomness import random_state, set_random_state
from lavis.runners.schedules import Schedule

MANIFEST = "manifest.json"
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
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    validated: int = 0
    best: float | None = None
    best_epoch: int | None = None


def save_latest(folder: Path, engine: Engine, schedule: Schedule, progress: Progress, pending: bool) -> Path:
    """Writes the checkpoint; every process must call.

    Args:
        folder: where it will lie, such as ``checkpoints/latest``.
        engine: holds model, optimizer and scaler.
        schedule: holds the state of the learning rate.
        progress: how far the training is.
        pending: whether there are gradients that no optimizer step has used.
    """
    part = folder.with_name(f".{folder.name}.part")
    if distributed.is_main():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
    distributed.barrier()
    own = {"random": random_state(), "gradients": _gradients(engine) if pending else {}}
    _save(part / _rank_file(), own)
    engine.save_own(part)
    weights, optimizer = engine.weights(), engine.optimizer_state()
    if distributed.is_main():
        save_checkpoint(part / "weights.safetensors", weights)
        scaler = engine.scaler.state_dict() if engine.scaler is not None else None
        _save(part / "state.pt", {"optimizer": optimizer, "scaler": scaler, "schedule": schedule.state_dict()})
    distributed.barrier()
    if distributed.is_main():
        paths = sorted(p for p in part.rglob("*") if p.is_file())
        files = {p.relative_to(part).as_posix(): {"bytes": p.stat().st_size, "sha256": file_digest(p)} for p in paths}
        manifest = {"progress": asdict(progress), "processes": distributed.world_size(), "files": files}
        write_json(part / MANIFEST, manifest)
        _swap(part, folder)
    distributed.barrier()
    return folder


def save_progress(folder: Path, progress: Progress) -> None:
    """Renews only the progress of an existing checkpoint, such as after a validation."""
    if distributed.is_main() and (folder / MANIFEST).is_file():
        write_json(folder / MANIFEST, {**read_json(folder / MANIFEST), "progress": asdict(progress)})


def find_latest(folder: Path) -> Path | None:
    """The checkpoint at ``folder``, or the one before it if writing stopped between the two; ``None`` without any."""
    for candidate in (folder, folder.with_name(f".{folder.name}.old")):
        if (candidate / MANIFEST).is_file():
            return candidate
    if folder.is_dir():
        raise CheckpointError(f"{folder} has no {MANIFEST}: it is torn; remove it, or set run.resume=never")
    return None


def remove_latest(folder: Path) -> None:
    """Removes the checkpoint, so that a training begun anew is not continued with it after an interruption."""
    if distributed.is_main():
        for old in (folder, folder.with_name(f".{folder.name}.old")):
            shutil.rmtree(old, ignore_errors=True)
    distributed.barrier()


def load_latest(folder: Path, engine: Engine, schedule: Schedule) -> Progress:
    """Puts a checkpoint back; every process must call.

    Raises:
        CheckpointError: if a file is torn or changed, or the weights, optimizer or number of processes do not fit.
    """
    manifest = _verified(folder)
    progress = Progress(**manifest["progress"])
    engine.load_weights(read_checkpoint(folder / "weights.safetensors").state)
    state = load_archive(folder / "state.pt")
    try:
        engine.load_optimizer_state(state["optimizer"])
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{folder}: the optimizer state does not fit ({error}); was run.weight_decay or run.lr_groups changed? "
            "Choose another name for the run, or run.resume=never"
        ) from error
    engine.load_own(folder)
    if engine.scaler is not None and state["scaler"]:
        engine.scaler.load_state_dict(state["scaler"])
    schedule.load_state_dict(state["schedule"])
    _restore_process(folder, engine, progress, int(manifest["processes"]))
    return progress


def _restore_process(folder: Path, engine: Engine, progress: Progress, processes: int) -> None:
    if processes == distributed.world_size():
        own = load_archive(folder / _rank_file())
        set_random_state(own["random"])
        _set_gradients(engine, own["gradients"])
        return
    if progress.step:
        raise CheckpointError(
            f"{folder} was saved within an epoch by {processes} processes, now there are {distributed.world_size()}; "
            "start as many, since the share of each would differ"
        )
    logger.warning(
        "resuming with %d processes what %d began: random states start anew", distributed.world_size(), processes
    )


def _verified(folder: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST)
        files = dict(manifest["files"])
        Progress(**manifest["progress"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{folder / MANIFEST} cannot be read ({error}); {_cure(folder)}") from error
    for name, facts in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != facts["bytes"] or file_digest(path) != facts["sha256"]:
            size = path.stat().st_size if path.is_file() else 0
            raise CheckpointError(
                f"{path} is torn or was changed: {size} bytes, {facts['bytes']} were written; {_cure(folder)}"
            )
    return manifest


def _cure(folder: Path) -> str:
    return f"remove {folder} to start this training anew, or set run.resume to another checkpoint folder"


def _swap(part: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.replace(old)
    part.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def _rank_file() -> str:
    return f"process{distributed.rank()}.pt"


def _save(path: Path, content: Any) -> None:
    write_atomically(path, lambda temporary: torch.save(content, temporary))


def _gradients(engine: Engine) -> dict[str, Tensor]:
    assert engine.model is not None
    named = engine.model.named_parameters()
    return {name: distributed.local_part(p.grad).cpu() for name, p in named if p.grad is not None}


def _set_gradients(engine: Engine, gradients: dict[str, Tensor]) -> None:
    assert engine.model is not None
    for name, parameter in engine.model.named_parameters():
        parameter.grad = distributed.local_like(gradients[name], parameter) if name in gradients else None

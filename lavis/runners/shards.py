"""Sharded checkpoints: every process writes the parts it holds, and they load at any number of processes.

Over ``torch.distributed.checkpoint``. No process ever holds more than its own part.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError

FOLDER = "shards"
_OPTIMIZER = "optimizer."


def is_sharded(folder: Path) -> bool:
    """Whether a checkpoint folder holds shards."""
    return (folder / FOLDER / ".metadata").is_file()


def save(folder: Path, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Writes ``folder/shards``; every process must call.

    Args:
        folder: of the checkpoint, on a disk that all processes share.
        tensors: by name, whole or sharded.
        optimizer: with groups that have ``names``.
    """
    dcp = _library()
    content = {**tensors, **_optimizer_tensors(optimizer)}
    with _quiet():
        dcp.save(dict(content), storage_writer=dcp.FileSystemWriter(str(folder / FOLDER)), no_dist=_alone())


def load(folder: Path, tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, optional: str) -> bool:
    """Fills ``tensors`` and the state of ``optimizer`` from ``folder/shards``; every process must call.

    Args:
        folder: of the checkpoint.
        tensors: by name; those whose name begins with ``optional`` may be missing here or there.
        optimizer: with groups that have ``names``.
        optional: beginning of names.

    Returns:
        whether what is optional was there.

    Raises:
        CheckpointError: if it holds other names or shapes.
    """
    dcp = _library()
    reader = dcp.FileSystemReader(str(folder / FOLDER))
    saved = reader.read_metadata().state_dict_metadata
    held = {name for name in saved if not name.startswith(_OPTIMIZER)}
    there = any(name.startswith(optional) for name in held)
    if not there:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(optional)}
    odd = sorted(name for name in held ^ tensors.keys() if not name.startswith(optional))
    if odd:
        raise CheckpointError(
            f"{folder}: the saved weights are not those that learn now; {len(odd)} names differ, such as "
            f"{', '.join(odd[:5])}. Was model.trainable changed? Choose another name of the run, or resume=never"
        )
    _make_room(optimizer, saved)
    content = {**tensors, **_optimizer_tensors(optimizer)}
    with torch.no_grad(), _quiet():
        try:
            dcp.load(dict(content), storage_reader=reader, no_dist=_alone())
        except (dcp.CheckpointException, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{folder / FOLDER} does not fit this model: {error}") from error
    return there


def _library() -> Any:
    # Its names are not exported in a way that type checkers see; importing it takes a moment, which few runs need.
    return importlib.import_module("torch.distributed.checkpoint")


@contextmanager
def _quiet() -> Iterator[None]:
    """That one process works alone is no news."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def _alone() -> bool:
    return distributed.world_size() == 1


def _named(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{_OPTIMIZER}{key}.{name}": value
        for name, parameter in _named(optimizer).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def _make_room(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Gives the optimizer the tensors its saved state has, laid out as its parameters are."""
    named = _named(optimizer)
    optimizer.state.clear()
    for full in saved:
        if not full.startswith(_OPTIMIZER):
            continue
        key, _, name = full.removeprefix(_OPTIMIZER).partition(".")
        if name not in named:
            raise CheckpointError(f"the saved optimizer has a state for {name}, which does not learn now")
        parameter, size = named[name], saved[full].size
        like = size == parameter.shape
        room = torch.zeros_like(parameter) if like else torch.zeros(size)
        optimizer.state[parameter][key] = room.detach()

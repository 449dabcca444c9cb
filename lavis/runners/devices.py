"""The device of a process, and how several processes are started and share the work: what the launcher says counts."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any, Literal

import torch

from lavis.common import distributed
from lavis.common.logging import get_logger

logger = get_logger(__name__)

Strategy = Literal["auto", "ddp", "fsdp2", "deepspeed"]


def choose_device(device: str, setting: str = "run.device") -> tuple[str, int | None]:
    """Kind and index of ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Args:
        device: as the user writes it.
        setting: where, for messages.

    Raises:
        ValueError: for a device that is not there.
    """
    kind, _, index = device.partition(":")
    if kind == "auto":
        return ("cuda" if torch.cuda.is_available() else "cpu"), None
    if kind not in ("cpu", "cuda", "mps") or (index and not index.isdigit()):
        raise ValueError(f"{setting} must be auto, cpu, cuda, cuda:N or mps, got {device!r}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"{setting}={device} but torch {torch.__version__} sees no GPU; use {setting}=cpu or auto")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        raise ValueError(f"{setting}={device} but there are {torch.cuda.device_count()} GPUs, counted from 0")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"{setting}=mps but this machine has none; use {setting}=cpu or auto")
    return kind, int(index) if index else None


def pinned(wanted: Literal["auto"] | bool, device: torch.device) -> bool:
    """Whether loaders put pixels into page-locked memory, from where they are copied beside the work of a GPU.

    Raises:
        ValueError: if that is wanted for a device that does not copy from it.
    """
    if wanted is True and device.type != "cuda":
        raise ValueError(f"run.pin_memory=true is for GPUs, and this run is on {device}; auto pins where it helps")
    return device.type == "cuda" if wanted == "auto" else wanted


def choose_strategy(strategy: Strategy) -> Literal["ddp", "fsdp2", "deepspeed"]:
    """The strategy wanted, or what ``accelerate launch`` was told.

    Raises:
        ValueError: for an unknown one.
    """
    if strategy not in ("auto", "ddp", "fsdp2", "deepspeed"):
        raise ValueError(f"run.strategy must be auto, ddp, fsdp2 or deepspeed, got {strategy!r}")
    # What `accelerate launch` was told arrives in the environment; sharding is done here, so accelerate must not see
    # it.
    asked_fsdp = os.environ.pop("ACCELERATE_USE_FSDP", "false").lower() == "true"
    asked_deepspeed = os.environ.pop("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"
    if strategy != "auto":
        return strategy
    return "deepspeed" if asked_deepspeed else "fsdp2" if asked_fsdp else "ddp"


def accelerator(
    kind: str, index: int | None, precision: str, find_unused_parameters: bool, message_hours: float | None
) -> Any:
    """accelerate's ``Accelerator``, which joins the processes.

    Args:
        kind: of device.
        index: of the GPU of a single process.
        precision: of autocast, ``no`` for none; fp16 brings a loss scaler.
        find_unused_parameters: of DDP.
        message_hours: how long a message between processes may take; ``None`` is torch's own limit.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs

    if kind == "cuda" and index is not None and not distributed.launched():
        torch.cuda.set_device(index)
    handlers: list[Any] = [DistributedDataParallelKwargs(find_unused_parameters=find_unused_parameters)]
    if message_hours is not None:
        handlers.append(InitProcessGroupKwargs(timeout=timedelta(hours=message_hours)))
    joined = Accelerator(mixed_precision=precision, cpu=kind == "cpu", kwargs_handlers=handlers)
    if _launched_alone() and distributed.world_size() == 1:
        logger.warning(
            "accelerate launch starts one process on a CPU whatever --num_processes says, so that this one runs alone; "
            "torchrun --nproc-per-node N starts N, see docs/multi_gpu.md"
        )
    return joined


def _launched_alone() -> bool:
    """Whether ``accelerate launch`` was told of several processes and of a CPU: it leaves these to MPI."""
    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true"
    return on_cpu and "MASTER_ADDR" in os.environ and "WORLD_SIZE" not in os.environ

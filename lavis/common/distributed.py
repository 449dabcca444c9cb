"""Ranks, messages between them, and sharded parameters: the only place that calls ``torch.distributed``.

Everything here also works without a launcher, where there is one rank and a message reaches its sender. Sharding is
torch's own ``fully_shard`` (FSDP2) and not accelerate's wrapper of it, which accepts no CPU and needs the optimizer at
the same time; gathering for evaluation is ours because ranks answer different numbers of queries, so that layer by
layer gathering would wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lavis.common import liveness

_SHARDED_MARK = "_is_fsdp_managed_module"


def initialized() -> bool:
    """Whether a process group exists."""
    return dist.is_available() and dist.is_initialized()


def launched() -> bool:
    """Whether a launcher (torchrun, accelerate) asks for more than one process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """Index of this process, 0 without a launcher; known from the launcher before a process group exists."""
    return dist.get_rank() if initialized() else int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes, 1 without a launcher."""
    return dist.get_world_size() if initialized() else 1


def is_main() -> bool:
    """Whether this process writes files and shows progress."""
    return rank() == 0


def barrier() -> None:
    """Waits for all ranks."""
    if world_size() > 1:
        with liveness.waiting():
            dist.barrier()


def gather_objects(item: Any) -> list[Any]:
    """``item`` of every rank, in rank order, on every rank; items must be picklable."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    with liveness.waiting():
        dist.all_gather_object(items, item)
    return items


def broadcast_object(item: Any) -> Any:
    """The main rank's ``item`` on every rank."""
    if world_size() == 1:
        return item
    box = [item]
    with liveness.waiting():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def any_rank(flag: bool) -> bool:
    """Whether ``flag`` is set on any rank."""
    if world_size() == 1:
        return flag
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    count = torch.tensor(int(flag), device=device)
    with liveness.waiting():
        dist.all_reduce(count)
        return bool(count.item())


def mean_over_ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Average of each named number over the ranks that have it."""
    rows = gather_objects(dict(values))
    names = {name: None for row in rows for name in row}
    return {name: _mean([row[name] for row in rows if name in row]) for name in names}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def shutdown() -> None:
    """Leaves the process group; later calls work as without a launcher."""
    if initialized():
        dist.destroy_process_group()


def shard(model: nn.Module, blocks: Sequence[nn.Module], *, cpu_offload: bool) -> None:
    """Shards parameters over all ranks, in place. They keep their type: autocast, not sharding, decides the precision.

    Args:
        model: on the rank's device, the same on every rank.
        blocks: modules gathered one at a time in the forward pass, such as transformer layers.
        cpu_offload: whether shards wait in host memory.

    Raises:
        ValueError: if this torch has no FSDP2 (2.6 or newer has).
    """
    try:
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
    except ImportError as error:
        raise ValueError(
            f"run.strategy=fsdp2 needs torch 2.6 or newer, this is {torch.__version__}; update torch or use ddp"
        ) from error
    offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
    for block in blocks:
        fully_shard(block, offload_policy=offload)
    fully_shard(model, offload_policy=offload)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within the block all parameters of a sharded model are whole on every rank, so ranks may run freely."""
    try:
        from torch.distributed.fsdp import FSDPModule
    except ImportError:
        yield
        return
    shards = [module for module in model.modules() if isinstance(module, FSDPModule)]
    # By this mark, generation in transformers recognises a sharded model, and waits for all ranks at every token.
    marked = [module for module in model.modules() if getattr(module, _SHARDED_MARK, False)]
    for whole_module in marked:
        setattr(whole_module, _SHARDED_MARK, False)
    for module in shards:
        module.set_reshard_after_forward(False, recurse=False)
        module.unshard()
    try:
        yield
    finally:
        for module in shards:
            module.reshard()
            module.set_reshard_after_forward(module is not model, recurse=False)
        for whole_module in marked:
            setattr(whole_module, _SHARDED_MARK, True)


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of a sharded one (all ranks must call), and any other tensor unchanged."""
    full = getattr(tensor, "full_tensor", None)
    return full() if full is not None else tensor


def local_part(tensor: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, and any other tensor unchanged."""
    local = getattr(tensor, "to_local", None)
    return local() if local is not None else tensor


def shard_like(value: Tensor, target: Tensor) -> Tensor:
    """``value``, which every rank holds whole, laid out as ``target`` is."""
    if getattr(target, "device_mesh", None) is None:
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(target.device), target.device_mesh, target.placements)  # type: ignore[attr-defined]


def local_like(part: Tensor, target: Tensor) -> Tensor:
    """Inverts ``local_part``: this rank's ``part`` as a tensor laid out as ``target`` is."""
    mesh = getattr(target, "device_mesh", None)
    if mesh is None:
        return part.to(target.device)
    from torch.distributed.tensor import DTensor

    placements = target.placements  # type: ignore[attr-defined]
    return DTensor.from_local(part.to(target.device), mesh, placements, shape=target.shape, stride=target.stride())

"""Ranks, messages between them, and sharded parameters: the only place that calls ``torch.distributed``.

Everything here also works without a launcher, where there is one rank and a message reaches its sender. Sharding is
torch's own ``fully_shard`` (FSDP2) and not accelerate's wrapper of it, which accepts no CPU and needs the optimizer at
the same time; gathering for evaluation is ours because ranks answer different numbers of queries, so that layer by
layer gathering would wait for ever.
"""

from __future__ import annotations

import inspect
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lavis.common import liveness

RELAY_SECONDS = 0.1
"""Between two looks for a message that no process group brings."""
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


class Relay:
    """Messages of the main rank to all others, also where there is no process group: through the launcher's store.

    For decisions taken before the first training and between two, each of which may join the processes anew. All ranks
    make it, and it is a context: the main rank leaves it when all others have, since the store may be its own. A rank
    that ends otherwise is noticed by the launcher. Without a launcher there is nobody to tell.

    Args:
        name: of what is decided; all ranks make relays of a name equally often.
    """

    _made: ClassVar[Counter[str]] = Counter()

    def __init__(self, name: str) -> None:
        self._store: Any = None
        self._sent = 0
        if launched():
            from torch.distributed.distributed_c10d import PrefixStore
            from torch.distributed.rendezvous import rendezvous

            store, _, _ = next(rendezvous("env://"))
            self._store = PrefixStore(f"lavis/{name}/{self._made[name]}", store)
        self._made[name] += 1

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._store is None or error is not None:
            return
        left = self._store.add("left", 0 if is_main() else 1)
        while is_main() and left < int(os.environ["WORLD_SIZE"]) - 1:
            time.sleep(RELAY_SECONDS)
            left = self._store.add("left", 0)

    def send(self, message: Mapping[str, Any]) -> None:
        """Tells all others a message made of what JSON knows; the main rank calls."""
        if self._store is not None:
            self._store.set(str(self._sent), json.dumps(message))
            self._sent += 1

    def receive(self) -> dict[str, Any]:
        """The next message, however long it takes; every other rank calls."""
        while not self._store.check([str(self._sent)]):
            time.sleep(RELAY_SECONDS)
        message: dict[str, Any] = json.loads(self._store.get(str(self._sent)))
        self._sent += 1
        return message


def shutdown() -> None:
    """Leaves the process group; later calls work as without a launcher."""
    if initialized():
        dist.destroy_process_group()


def shard(model: nn.Module, blocks: Sequence[nn.Module], device: torch.device, *, cpu_offload: bool) -> None:
    """Shards parameters over all ranks, in place. They keep their type: autocast, not sharding, decides the precision.

    What learns outside ``blocks`` is gathered once, where the model's forward begins. What is frozen there stays whole
    on every rank, so that ranks may run it a different number of times (videos differ in length, and what is kept need
    not be encoded), and its content can be told by one rank alone.

    Args:
        model: the same on every rank; on ``device``, unless shards wait in host memory.
        blocks: modules gathered one at a time, in the order in which they run; every rank has to run them equally
            often.
        device: that computes.
        cpu_offload: whether shards wait in host memory.

    Raises:
        ValueError: if this torch has no FSDP2 that leaves parameters alone (2.7 or newer has).
    """
    try:
        from torch.distributed.fsdp import CPUOffloadPolicy, OffloadPolicy, fully_shard
    except ImportError as error:
        raise _no_fsdp2() from error
    if "ignored_params" not in inspect.signature(fully_shard).parameters:
        raise _no_fsdp2()
    offload = CPUOffloadPolicy() if cpu_offload else OffloadPolicy()
    in_blocks = {p for block in blocks for p in block.parameters()}
    alone = {p for p in model.parameters() if not p.requires_grad and p not in in_blocks}
    for parameter in alone:
        parameter.data = parameter.data.to(device)  # which FSDP2 leaves to us
    for block in blocks:
        fully_shard(block, offload_policy=offload)
    fully_shard(model, offload_policy=offload, ignored_params=alone)
    # By itself FSDP2 fetches ahead of the backward pass in the order it last saw modules run. That may have been in an
    # evaluation, which differs between ranks, that would then wait for each other for ever.
    for block, before in zip([*blocks, model], [model, *blocks], strict=True):
        block.set_modules_to_backward_prefetch([before])  # type: ignore[operator]


def _no_fsdp2() -> ValueError:
    return ValueError(
        f"run.strategy=fsdp2 needs torch 2.7 or newer, this is {torch.__version__}; update torch or use ddp"
    )


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

"""The same on the machines of a Ray cluster, for collections that outgrow one (extra ``ray``).

Each actor of the cluster holds one worker of ``pool.py``, so an item that kills its process or hangs fails alone here,
too. Folders of videos and of the output must be on a disk that all machines see under the same path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lavis.preparation.collection.items import Item
from lavis.preparation.collection.outcome import Outcome, Work
from lavis.preparation.collection.pool import StartError, Worker


class _Host:
    """What runs on the cluster."""

    def __init__(self, work: Work, scratch: Path, time_limit_s: float | None) -> None:
        self.made = work, scratch, time_limit_s
        self.worker: Worker | None = None

    def call(self, item: Item) -> Outcome:
        if self.worker is None:
            self.worker = Worker(*self.made)
        return self.worker.call(item)


def run_ray(
    items: Sequence[Item], work: Work, scratch: Path, workers: int | None, time_limit_s: float | None
) -> Iterator[Outcome]:
    """Does all items on the cluster that ``RAY_ADDRESS`` names, or on this machine.

    Args:
        items, work, scratch, time_limit_s: as for the pool.
        workers: items at a time; by default the processors of the cluster, or its GPUs for work that wants some.

    Raises:
        ImportError: if Ray is not installed; names the extra.
    """
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
    try:
        gpus = getattr(work, "gpus", 0)
        kind, each = ("GPU", gpus) if gpus else ("CPU", 1)
        count = workers or max(1, int(ray.cluster_resources().get(kind, 1) / each))
        yield from _through(ray, items, (work, scratch, time_limit_s), count)
    finally:
        if ours:
            ray.shutdown()


def _through(ray: Any, items: Sequence[Item], made: tuple[Work, Path, float | None], count: int) -> Iterator[Outcome]:
    host: Any = ray.remote(num_cpus=1, num_gpus=getattr(made[0], "gpus", 0), max_restarts=0)(_Host)
    left = iter(items)
    under_way: dict[Any, tuple[Any, Item]] = {}
    for _ in range(count):
        item = next(left, None)
        if item is not None:
            actor = host.remote(*made)
            under_way[actor.call.remote(item)] = actor, item
    while under_way:
        (ready, *_), _ = ray.wait(list(under_way), num_returns=1)
        actor, item = under_way.pop(ready)
        try:
            outcome: Outcome = ray.get(ready)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, StartError):  # its words, without the traceback of another machine around them
                raise error.cause from None
            raise
        except ray.exceptions.RayActorError as error:
            reason = str(error).strip().split("\n")[0]
            outcome = Outcome(item.name, None, "died", f"the machine that worked on it was lost ({reason})")
            actor = host.remote(*made)
        following = next(left, None)
        if following is not None:
            under_way[actor.call.remote(following)] = actor, following
        yield outcome


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError(
            "--executor ray needs Ray: pip install 'lavis[ray]', or use --executor pool on this machine"
        ) from error
    return ray

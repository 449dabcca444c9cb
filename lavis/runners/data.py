"""Loaders of training: which sample comes when, and on which process (evaluation: ``eval_data.py``).

Training takes a permutation per epoch, seeded, and can start in its middle, so that a resumed run sees what the
interrupted one would have seen. Before a sample is read, the random generators are seeded from run, epoch and index:
crops and other augmentations depend neither on the number of loader processes nor on an interruption.
"""

from __future__ import annotations

import math
import pickle
import random
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler, get_worker_info

from lavis.common import distributed
from lavis.runners.failures import RunError
from lavis.runners.randomness import random_state, seed_host, set_random_state
from lavis.structures import Batch

Key = tuple[int, int]


class EpochSampler(Sampler[list[Key]]):
    """Batches of ``(epoch, index)`` for this process.

    Args:
        length: samples of the data set, at least 1.
        batch_size: samples of one process in one batch.
        seed: of the permutations.

    Every process gets equally many samples; the first ones of the permutation are repeated where the count does not
    divide. The last batch is dropped if it is not full, unless it is the only one.
    """

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        if length < 1:
            raise ValueError("the training data has no samples; look at datasets and run.train_splits")
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0
        self.start = 0

    def set_position(self, epoch: int, start: int = 0) -> None:
        """Chooses the epoch, and the batch to start with."""
        self.epoch, self.start = epoch, start

    @property
    def batches(self) -> int:
        """Batches of one epoch."""
        return max(1, math.ceil(self.length / distributed.world_size()) // self.batch_size)

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        order = torch.randperm(self.length, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        world = distributed.world_size()
        total = math.ceil(self.length / world) * world
        order = (order * math.ceil(total / self.length))[:total]
        own = order[distributed.rank() :: world]
        for batch in range(self.start, self.batches):
            chosen = own[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, index) for index in chosen]


class SeededDataset(Dataset[Any]):
    """Data sets end to end, asked with ``(epoch, index)``, whose randomness follows from run, epoch and index alone.

    The epoch comes with the index since loader processes hold copies that nothing else tells of it.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]], seed: int) -> None:
        self.datasets = list(datasets)
        self.dataset: ConcatDataset[Any] = ConcatDataset(self.datasets)
        self.seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> Any:
        epoch, index = key
        if epoch != self._epoch:
            self._epoch = epoch
            for dataset in self.datasets:
                if hasattr(dataset, "set_epoch"):
                    dataset.set_epoch(epoch)
        before = random_state(devices=False)
        seed_host(random.Random(f"{self.seed}:{epoch}:{index}").getrandbits(32))
        try:
            return self.dataset[index]
        except (ValueError, OSError, ImportError) as error:
            if get_worker_info() is None or not _survives_pickling(error):
                raise
            return Failure(error, traceback.format_exc())
        finally:
            set_random_state(before)


class Loader(DataLoader[Any]):
    """Batches; an error that a user can mend comes out of a loader process as it was raised there.

    torch would make a message of it that begins with the traceback, and a message is what the user is shown.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # nobody needs torch's own iterator
        for batch in super().__iter__():
            if isinstance(batch, Failure):
                raise batch.error from _InWorker(f"\n{batch.trace}")
            yield batch


@dataclass(frozen=True, slots=True)
class Failure:
    """An error on its way out of a loader process, with its traceback, which errors lose there."""

    error: Exception
    trace: str


class _InWorker(Exception):
    """Shows the traceback of another process above that of this one."""


def _survives_pickling(error: Exception) -> bool:
    try:
        return str(pickle.loads(pickle.dumps(error))) == str(error)
    except Exception:  # whatever a foreign error does when it is rebuilt
        return False


def train_loader(
    datasets: Sequence[Dataset[Any]], *, batch_size: int, num_workers: int, seed: int, start_method: str | None = None
) -> tuple[Loader, EpochSampler]:
    """Loader over all training data, and its sampler, which decides the epoch."""
    dataset = SeededDataset(datasets, seed)
    sampler = EpochSampler(len(dataset), batch_size, seed)
    settings = loader_settings(num_workers, seed, start_method, persistent=True)
    return Loader(dataset, batch_sampler=sampler, **settings), sampler


def any_batch(loader: Loader) -> Batch:
    """A batch of the first sample that can be read.

    Raises:
        RunError: if there is none.
    """
    dataset: Any = loader.dataset
    items = (dataset[0, index] for index in range(len(dataset)))
    batch = _collate([next((item for item in items if item is not None), None)])
    if not isinstance(batch, Batch):
        raise RunError(f"not one of {len(dataset)} training samples can be read; look at the warnings above")
    return batch


def loader_settings(num_workers: int, seed: int, start_method: str | None, persistent: bool) -> dict[str, Any]:
    """Arguments that all loaders share."""
    return {
        "num_workers": num_workers,
        "collate_fn": _collate,
        "worker_init_fn": _start_worker,
        "persistent_workers": persistent and num_workers > 0,
        "multiprocessing_context": start_method if num_workers else None,
        # A generator of its own: drawing worker seeds from the global one would change what training draws.
        "generator": torch.Generator().manual_seed(seed),
    }


def _collate(items: Sequence[Any]) -> Batch | Failure | None:
    """A batch of what could be read, ``None`` if nothing could, the failure if there was one."""
    from lavis.datasets.build import collate

    failure = next((item for item in items if isinstance(item, Failure)), None)
    if failure is not None:
        return failure
    return collate(items) if any(item is not None for item in items) else None


def _start_worker(worker: int) -> None:
    # The main process decides what an interruption means; it asks the workers to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)

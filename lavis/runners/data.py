"""Loaders of training: samples read beside it, and batches of them (evaluation: ``eval_data.py``).

Which sample comes when, and on which process, is said in ``epochs.py``. Before a sample is read, the random generators
are seeded from run, epoch and index: crops and other augmentations depend neither on the number of loader processes nor
on an interruption.
"""

from __future__ import annotations

import pickle
import random
import signal
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, get_worker_info

from lavis.common import distributed
from lavis.common.logging import get_logger
from lavis.runners.batching import Remainder, padding_share
from lavis.runners.costs import Costs, Counter
from lavis.runners.epochs import EpochSampler, Key, epoch_order
from lavis.runners.failures import RunError
from lavis.runners.modalities import Lengths
from lavis.runners.randomness import random_state, seed_host, set_random_state
from lavis.structures import Batch

logger = get_logger(__name__)


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

    def enter(self, epoch: int) -> None:
        """Tells the data sets that have to know which epoch it is."""
        if epoch != self._epoch:
            self._epoch = epoch
            for dataset in self.datasets:
                if hasattr(dataset, "set_epoch"):
                    dataset.set_epoch(epoch)

    def __getitem__(self, key: Key) -> Any:
        epoch, index = key
        self.enter(epoch)
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


@dataclass(frozen=True, slots=True)
class Feeding:
    """How loader processes keep what trains fed.

    Args:
        num_workers: loader processes; with 0 what trains reads by itself, between two iterations: nothing is read
            ahead, and ``prefetch`` and ``persistent`` mean nothing.
        seed: of their random generators.
        start_method: of the processes; ``None`` is Python's default.
        prefetch: batches each of them keeps ready, at least 1.
        persistent: whether they stay from one epoch to the next.
        pin: put pixels into page-locked memory, from where a GPU copies them beside its work.
    """

    num_workers: int = 0
    seed: int = 42
    start_method: str | None = None
    prefetch: int = 2
    persistent: bool = True
    pin: bool = False

    def arguments(self) -> dict[str, Any]:
        """Those of torch's ``DataLoader``."""
        return {
            "num_workers": self.num_workers,
            "collate_fn": _collate,
            "worker_init_fn": _start_worker,
            "prefetch_factor": self.prefetch if self.num_workers else None,
            "persistent_workers": self.persistent and self.num_workers > 0,
            "multiprocessing_context": self.start_method if self.num_workers else None,
            "pin_memory": self.pin,
            # A generator of its own: drawing worker seeds from the global one would change what training draws.
            "generator": torch.Generator().manual_seed(self.seed),
        }


def train_loader(
    datasets: Sequence[Dataset[Any]],
    *,
    batch_size: int,
    remainder: Remainder = "spread",
    tokens: int | None = None,
    count: Counter | None = None,
    group_by_modality: bool = False,
    **reading: Any,
) -> tuple[Loader, EpochSampler]:
    """Loader over all training data, and its sampler, which decides the epoch.

    Args:
        datasets: one after the other.
        batch_size: samples of a batch, unless ``tokens`` is given.
        remainder: see ``batching.dealt``.
        tokens: fill batches up to so many padded tokens instead.
        count: tokens of a sample; needed with ``tokens``.
        group_by_modality: whether a batch is of text alone, or all of it shows something.
        reading: arguments of ``Feeding``; its seed is also that of the order.

    Raises:
        ValueError: if there are no samples, or nobody counts their tokens.
    """
    feeding = Feeding(**reading)
    seed = feeding.seed
    dataset = SeededDataset(datasets, seed)
    costs = None
    if tokens is not None:
        if count is None:
            raise ValueError("run.batch_tokens needs a model that counts tokens (count_tokens); set run.batch_size")
        costs = Costs(dataset.datasets, count, dataset.enter)
    order = partial(epoch_order, dataset.datasets, seed)
    lengths = Lengths(dataset.datasets, dataset.enter) if group_by_modality else None
    sampler = EpochSampler(len(dataset), batch_size, seed, remainder, order, tokens, costs, lengths)
    _tell(sampler, costs)
    return Loader(dataset, batch_sampler=sampler, **feeding.arguments()), sampler


def _tell(sampler: EpochSampler, costs: Costs | None) -> None:
    """Says once what is unusual about the batches."""
    world = distributed.world_size()
    idle = max(0, sampler.batches * world - sampler.length)
    if sampler.grouped:
        idle = sum(not batch for iteration in sampler.plan() for batch in iteration)
    if costs is not None:
        batches = [batch for iteration in sampler.plan() for batch in iteration]
        idle = sum(not batch for batch in batches)
        logger.info(
            "%d samples in %d iterations of up to %d padded tokens on each of %d processes; padding is %.1f%% of them",
            sampler.length, sampler.batches, sampler.tokens, world, 100 * padding_share(batches, costs(sampler.epoch)),
        )  # fmt: skip
    if idle and (costs is not None or sampler.grouped or sampler.remainder == "spread"):
        logger.info(
            "%d samples do not fill %d iterations on %d processes: %d times an epoch a process has none and adds "
            "nothing; no sample is lost or comes twice", sampler.length, sampler.batches, world, idle,
        )  # fmt: skip


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


def _collate(items: Sequence[Any]) -> Batch | Failure | None:
    """A batch of what could be read, ``None`` if nothing could, the failure if there was one."""
    from lavis.datasets.build import collate

    failure = next((item for item in items if isinstance(item, Failure)), None)
    if failure is not None:
        return failure
    return collate(items) if any(item is not None for item in items) else None


def _start_worker(worker: int) -> None:
    # The main process decides what an interruption means; it asks the workers to end. SIGTERM stays with torch, whose
    # workers end in peace when their parent sends it; otherwise a run that is over ends with a traceback of theirs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)

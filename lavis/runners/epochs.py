"""Which sample comes when in training, and on which process.

Every epoch has a permutation of its own, seeded, and can be entered in its middle, so that a resumed run sees what the
interrupted one would have seen. ``batching.py`` makes iterations of a permutation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from lavis.common import distributed
from lavis.common.checkpoint import CheckpointError
from lavis.common.orders import chosen_order, interleaved, permutation
from lavis.runners.batching import Iteration, Remainder, by_tokens, dealt, iterations
from lavis.runners.modalities import by_modality

Key = tuple[int, int]


class EpochSampler(Sampler[list[Key]]):
    """Batches of ``(epoch, index)`` for this process; every process gets equally many in an epoch.

    All of it follows from seed, epoch and batch number, so that an epoch can be entered anywhere.

    Args:
        length: samples of the data set, at least 1.
        batch_size: samples of one process in one batch; without meaning where ``tokens`` is given.
        seed: of the permutations.
        remainder: what becomes of samples that do not fill a last iteration, see ``batching.dealt``.
        order: epoch to all indices, in the order to take them; ``None``: a permutation.
        tokens: most that a batch may cost with padding; ``None`` counts samples.
        costs: epoch to the cost of each index; needed with ``tokens``.
        lengths: epoch to the signed length of each index, if batches are to hold one modality, see
            ``modalities.by_modality``; these have an order of their own.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        seed: int,
        remainder: Remainder = "spread",
        order: Callable[[int], Sequence[int]] | None = None,
        tokens: int | None = None,
        costs: Callable[[int], Sequence[int]] | None = None,
        lengths: Callable[[int], Sequence[int]] | None = None,
    ) -> None:
        if length < 1:
            raise ValueError("the training data has no samples; look at datasets and run.train_splits")
        if (tokens is None) != (costs is None):
            raise ValueError("batches by tokens need the cost of each sample")
        self.length = length
        self.batch_size = batch_size
        self.seed = seed
        self.remainder: Remainder = remainder
        self.tokens = tokens
        self.epoch = 0
        self.start = 0
        self._order = order or (lambda epoch: permutation(length, seed + epoch))
        self._costs = costs
        self._lengths = lengths
        self._plan: tuple[tuple[int, int], list[Iteration]] | None = None

    def set_position(self, epoch: int, start: int = 0) -> None:
        """Chooses the epoch, and the batch to start with."""
        self.epoch, self.start = epoch, start

    @property
    def batches(self) -> int:
        """Batches of the epoch; the same in every one, unless they are filled by tokens and a mixture changes."""
        if self.tokens is None and self._lengths is None:
            return iterations(self.length, self.batch_size, distributed.world_size(), self.remainder)
        return len(self.plan())

    @property
    def grouped(self) -> bool:
        """Whether batches are of one modality."""
        return self._lengths is not None

    @property
    def mean_size(self) -> float | None:
        """Samples of a batch of the epoch, on average over all processes.

        ``None`` where batches are taken to be equally large: then each weighs the same, whatever it holds.
        """
        if self.tokens is None and self.remainder != "spread":
            return None
        return self.length / (self.batches * distributed.world_size())

    def check_position(self, start: int, processes: int) -> None:
        """Whether a batch number of an epoch that ``processes`` began means the same here.

        Raises:
            CheckpointError: if it does not: batches filled by tokens depend on the number of processes.
        """
        if self.tokens is not None and start and processes != distributed.world_size():
            raise CheckpointError(
                f"with run.batch_tokens an epoch that {processes} processes began cannot be gone on with by "
                f"{distributed.world_size()}: they would have other batches. Start as many, or resume from the end of "
                "an epoch"
            )

    def plan(self) -> list[Iteration]:
        """The iterations of the epoch: batches of indices for each process."""
        world = distributed.world_size()
        if self._plan is None or self._plan[0] != (self.epoch, world):
            order = self._order(self.epoch)
            if self._lengths is not None:
                lengths, draws = self._lengths(self.epoch), torch.Generator().manual_seed(self.seed + self.epoch)
                found = by_modality(lengths, self.batch_size, world, self.remainder, draws)
            elif self.tokens is None or self._costs is None:
                found = dealt(order, self.batch_size, world, self.remainder)
            else:
                found = by_tokens(order, self._costs(self.epoch), self.tokens, world, f"{self.seed} {self.epoch}")
            self._plan = (self.epoch, world), found
        return self._plan[1]

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[Key]]:
        epoch, rank = self.epoch, distributed.rank()
        for iteration in self.plan()[self.start :]:
            yield [(epoch, index) for index in iteration[rank]]


def epoch_order(datasets: Sequence[Dataset[Any]], seed: int, epoch: int) -> list[int]:
    """The order in which an epoch takes the samples of data sets that lie end to end.

    A data set may choose its own: a method ``epoch_order(seed, epoch)`` returns all of its indices, or ``None`` for a
    permutation. It keeps that order among other data sets, whose samples come in between by chance.

    Raises:
        ValueError: if a data set leaves out an index, or names one twice.
    """
    sizes = [len(dataset) for dataset in datasets]  # type: ignore[arg-type]  # all of ours know their length
    chosen = [chosen_order(dataset, size, seed, epoch) for dataset, size in zip(datasets, sizes, strict=True)]
    return interleaved(sizes, chosen, seed + epoch)

"""In which order an epoch takes the samples of data sets, of which some choose an order themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate

import torch


def permutation(length: int, seed: int) -> list[int]:
    """All indices below ``length``, shuffled."""
    order: list[int] = torch.randperm(length, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def chosen_order(dataset: object, size: int, seed: int, epoch: int) -> list[int] | None:
    """The order that a data set chooses by a method ``epoch_order``; ``None`` if it leaves that to others.

    Raises:
        ValueError: if it does not name each sample once.
    """
    choose = getattr(dataset, "epoch_order", None)
    own: Iterable[int] | None = None if choose is None else choose(seed, epoch)
    if own is None:
        return None
    order = list(own)
    if sorted(order) != list(range(size)):
        raise ValueError(f"{type(dataset).__name__}.epoch_order must name each of {size} samples once")
    return order


def interleaved(sizes: Sequence[int], chosen: Sequence[Sequence[int] | None], seed: int) -> list[int]:
    """Indices of data sets end to end, mixed with each other; where one chose an order, its samples come in that.

    Args:
        sizes: samples of each.
        chosen: order of each, of the indices below its size; ``None``: any.
        seed: decides which data set is when, and the orders that nobody chose.
    """
    whole = permutation(sum(sizes), seed)
    if all(own is None for own in chosen):
        return whole
    firsts = [0, *accumulate(sizes)]
    queues = [
        iter([first + index for index in (permutation(size, seed) if own is None else own)])
        for first, size, own in zip(firsts, sizes, chosen, strict=False)  # firsts has the end, too
    ]
    owner = [number for number, size in enumerate(sizes) for _ in range(size)]
    return [next(queues[owner[index]]) for index in whole]

"""Which samples of an epoch share a batch, in which iteration and on which process; pure arithmetic on indices.

An *iteration* is one batch for every process. ``dealt`` deals out an epoch by number of samples, ``by_tokens`` by what
samples cost once they are padded to the longest of their batch; ``padding_share`` says what padding is left.

Source of ``drop``: ``DistributedSampler`` and ``DataLoader(drop_last=True)`` of torch, as LAVIS (Li et al., 2022;
salesforce/LAVIS) uses them. Unlike it, the default neither loses nor doubles a sample, on any number of processes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

Remainder = Literal["spread", "drop", "repeat"]
Iteration = list[list[int]]
"""A batch of indices for each process; an empty one is a process that has nothing to add in this iteration."""

BUCKETS = 16
"""Buckets of cost from a power of two to the next: the longest sample of one is at most a 16th above the shortest."""


def iterations(length: int, size: int, world: int, remainder: Remainder) -> int:
    """Iterations of an epoch: ``length`` samples for ``world`` processes of ``size`` a batch."""
    if remainder == "drop":
        return max(1, math.ceil(length / world) // size)
    return math.ceil(length / (size * world))


def dealt(order: Sequence[int], size: int, world: int, remainder: Remainder) -> list[Iteration]:
    """The iterations of an epoch.

    Args:
        order: indices of all samples, at least one.
        size: samples of a batch, at least 1.
        world: processes.
        remainder: what becomes of samples that do not fill a last iteration. ``spread``: all batches of the epoch are
            made a little smaller, so that every sample comes exactly once and sizes differ by at most one; where
            there are fewer samples than batches (``size`` 1), a batch of the last iterations is empty. ``drop``: as
            LAVIS does it: shares are made equal by repeating the first samples, and the last iteration is left out if
            it is not full, unless it is the only one. ``repeat``: the first samples come again until it is full.
    """
    count = iterations(len(order), size, world, remainder)
    if remainder == "spread":
        bounds = [step * len(order) // count for step in range(count + 1)]
        return [_turns(order[start:end], start, world) for start, end in pairwise(bounds)]
    if remainder == "repeat":
        filled = _repeated(order, count * size * world)
    else:
        filled = _repeated(order, math.ceil(len(order) / world) * world)
    shares = [filled[rank::world] for rank in range(world)]
    return [[share[step * size : (step + 1) * size] for share in shares] for step in range(count)]


def accumulation_for(wanted: int, size: int, world: int) -> int:
    """Iterations of an optimizer step of ``wanted`` samples, of which ``world`` processes take ``size`` in each.

    Raises:
        ValueError: if the step is no whole number of iterations; says what would be.
    """
    each = size * world
    if wanted % each:
        fits = [n for n in range(1, wanted // world + 1) if wanted % (n * world) == 0]
        cure = f"set run.batch_size to {', '.join(map(str, fits[-6:]))}" if fits else "start a number that divides it"
        raise ValueError(
            f"run.global_batch_size {wanted} is no multiple of run.batch_size {size} times {world} processes; {cure}"
        )
    return wanted // each


def by_tokens(order: Sequence[int], costs: Sequence[int], tokens: int, world: int, seed: str) -> list[Iteration]:
    """Iterations whose batches cost at most ``tokens`` with padding; a sample that alone costs more comes alone.

    Every sample comes exactly once. Batches of one iteration cost about the same, so that no process waits long for
    another, and the same costs make as many iterations in every ``order``.

    Args:
        order: indices of all samples, at least one; samples of similar cost come together in this order.
        costs: of each index, at least 1.
        tokens: most that the samples of a batch times the cost of the longest may be, at least 1.
        world: processes; with fewer samples in the last iteration than processes, batches of it are empty.
        seed: of the order in which the iterations come.
    """
    batches: Iteration = []
    longest = 0
    for index in sorted(order, key=lambda index: -bucket(costs[index])):  # stable: within a bucket it is the order
        if batches and (len(batches[-1]) + 1) * longest <= tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = bucket(costs[index])
    steps = [batches[start : start + world] for start in range(0, len(batches), world)]
    steps[-1] = _widened(steps[-1], world)
    random.Random(seed).shuffle(steps)
    return steps


def bucket(cost: int) -> int:
    """The cost that stands for all of a bucket, its longest: at least ``cost``, and at most a 16th above it."""
    width = 1 << max(0, (cost - 1).bit_length() - BUCKETS.bit_length())
    return -(-cost // width) * width


def padding_share(batches: Sequence[Sequence[int]], costs: Sequence[int]) -> float:
    """The part of what batches cost that is padding, in [0, 1)."""
    padded = sum(len(batch) * max(costs[index] for index in batch) for batch in batches if batch)
    real = sum(costs[index] for batch in batches for index in batch)
    return 1 - real / padded if padded else 0.0


def _turns(items: Sequence[int], start: int, world: int) -> Iteration:
    """Items from number ``start`` of an epoch on, in turn to each process: what one has less, it has more of later."""
    return [list(items[(rank - start) % world :: world]) for rank in range(world)]


def _repeated(order: Sequence[int], length: int) -> list[int]:
    return (list(order) * math.ceil(length / len(order)))[:length]


def _widened(batches: Iteration, world: int) -> Iteration:
    """As many batches as processes: the largest are halved as long as they can be, then empty ones fill up."""
    batches = [list(batch) for batch in batches]
    while len(batches) < world:
        largest = max(batches, key=len)
        if len(largest) < 2:
            return batches + [[] for _ in range(world - len(batches))]
        batches.remove(largest)
        batches += [largest[::2], largest[1::2]]
    return batches

"""Batches of one modality: samples of text alone by themselves, and samples that show something by themselves.

Source: the sampler of LLaVA's trainer (haotian-liu/LLaVA), which E.T. Chat (PolyU-ChenLab/ETBench) and MeCo
(pangzss/MeCo) use in their second stage (``group_by_modality``). Text costs a fraction of what frames cost, so that a
process with text alone would wait for the others; within a modality samples of like length come together for the same
reason. Unlike theirs, one modality alone is no fault, and unless ``remainder`` is ``drop`` no sample is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch.utils.data import Dataset

from lavis.runners.batching import Iteration, Remainder
from lavis.structures import VideoSample

_FULL = float("inf")


class Lengths:
    """Signed length of every sample of an epoch, in the order of the data: its words, negative for text alone.

    Args:
        datasets: end to end; each has ``samples``.
        enter: makes the samples of an epoch those of the data sets.

    Raises:
        ValueError: if a data set chooses the order of its samples itself.
    """

    def __init__(self, datasets: Sequence[Dataset[Any]], enter: Callable[[int], None]) -> None:
        self.datasets: list[Any] = list(datasets)
        self.enter = enter
        for dataset in self.datasets:
            own = getattr(dataset, "epoch_order", None)
            if own is not None and own(0, 0) is not None:
                raise ValueError(
                    f"run.group_by_modality orders samples, and so does {type(dataset).__name__}; turn one of them off"
                )

    def __call__(self, epoch: int) -> list[int]:
        self.enter(epoch)
        return [signed_length(sample) for dataset in self.datasets for sample in dataset.samples]


def signed_length(sample: VideoSample) -> int:
    """Words of a sample's texts, at least 1, as the originals count them: blanks, and one more for each text."""
    texts = [turn.text for turn in sample.turns] or [sample.query, sample.answer or ""]
    words = sum(text.count(" ") + 1 for text in texts)
    return words if sample.video else -words


def by_modality(
    lengths: Sequence[int], size: int, world: int, remainder: Remainder, draws: torch.Generator
) -> list[Iteration]:
    """The iterations of an epoch, each of one modality.

    Args:
        lengths: signed length of each index; negative ones are of text alone, none is 0.
        size: samples of a batch, at least 1.
        world: processes.
        remainder: what becomes of samples of a modality that do not fill its last iteration. ``spread``: its
            iterations are a little smaller; ``drop``: left out, as the originals do; ``repeat``: its first samples come
            again.
        draws: where the orders of samples and iterations come from.

    Raises:
        ValueError: if ``drop`` leaves nothing.
    """
    shown = [index for index, length in enumerate(lengths) if length > 0]
    text = [index for index, length in enumerate(lengths) if length <= 0]
    steps: list[Iteration] = []
    for modality in filter(None, (shown, text)):
        order = [modality[place] for place in torch.randperm(len(modality), generator=draws).tolist()]
        for members in _pieces(order, size * world, remainder):
            longest_first = sorted(members, key=lambda index: abs(lengths[index]), reverse=True)
            steps.append(_shares(longest_first, lengths, world))
    if not steps:
        raise ValueError(
            f"{len(shown)} samples with a picture or video and {len(text)} of text do not fill an iteration of "
            f"{size * world}; set run.remainder=spread, or a smaller run.batch_size"
        )
    return [steps[place] for place in torch.randperm(len(steps), generator=draws).tolist()]


def _pieces(order: list[int], each: int, remainder: Remainder) -> list[list[int]]:
    """Members of each iteration."""
    if remainder == "drop":
        count = len(order) // each
        return [order[step * each : (step + 1) * each] for step in range(count)]
    count = -(-len(order) // each)
    if remainder == "repeat":
        filled = (order * -(-count * each // len(order)))[: count * each]
        return [filled[step * each : (step + 1) * each] for step in range(count)]
    bounds = [step * len(order) // count for step in range(count + 1)]
    return [order[start:end] for start, end in pairwise(bounds)]


def _shares(members: list[int], lengths: Sequence[int], world: int) -> Iteration:
    """Members, longest first, dealt out so that processes have equally many and about the same length in all."""
    if len(members) % world:
        return [members[rank::world] for rank in range(world)]
    most = len(members) // world
    shares: Iteration = [[] for _ in range(world)]
    totals = [0.0] * world
    for index in members:
        rank = totals.index(min(totals))
        shares[rank].append(index)
        totals[rank] = _FULL if len(shares[rank]) == most else totals[rank] + abs(lengths[index])
    return shares

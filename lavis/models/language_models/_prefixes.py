"""Prompts of a batch that begin alike: which, and how far, so that a decoder reads their beginning once.

Questions about one video have the same system text and the same frames before them, which is nearly all of a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lavis.structures import Packed

WORTH = 0.8
"""Reading beginnings apart is done where no more than this share of the positions remains."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A batch as ``G`` beginnings and ``B`` remainders, each padded at its start.

    Together they have ``K = P + S`` columns: ``P`` of the longest beginning, ``S`` of the longest remainder.

    Args:
        leaders: ``[G]``, a row of each group.
        group: ``[B]``, the group of each row.
        begin: ``[G, P]`` columns of the leaders' beginnings in the packed batch.
        begin_mask: ``[G, P]``, 1 where a beginning has a position.
        rest_mask: ``[B, S]``, 1 where the last ``S`` columns of the packed batch belong to a remainder.
        source: ``[B, L]``, the column among ``K`` of every column of the packed batch; 0 for padding.
    """

    leaders: Tensor
    group: Tensor
    begin: Tensor
    begin_mask: Tensor
    rest_mask: Tensor
    source: Tensor

    @property
    def columns(self) -> int:
        """K."""
        return self.begin.shape[1] + self.rest_mask.shape[1]


def find_shared(packed: Packed, whole_spans: bool) -> Shared | None:
    """How to read a batch whose prompts begin alike; ``None`` if that is not worthwhile.

    Args:
        packed: prompts, padded at their start.
        whole_spans: whether frames side by side must not be torn apart, because they see each other.
    """
    rows, length = packed.mask.shape
    if rows < 2 or bool((packed.mask.diff(dim=1) < 0).any()):
        return None
    sizes = packed.mask.sum(dim=1)
    own = sizes.tolist()
    spans: list[list[tuple[int, int]]] = [[] for _ in own]
    if whole_spans:
        spans = [[(a - length + n, b - length + n) for a, b in s] for s, n in zip(packed.spans(), own, strict=True)]
    groups = _groups(_fingerprints(packed), own, spans)
    longest = max((common for members, common in groups if len(members) > 1), default=0)
    if not longest:
        return None
    # A row by itself is cut in two as well, so that all beginnings are read in one go.
    cuts = [
        common if len(members) > 1 else _whole([spans[members[0]]], min(longest, own[members[0]] - 1))
        for members, common in groups
    ]
    longest = max(cuts)
    rest = max(own[i] - cut for (members, _), cut in zip(groups, cuts, strict=True) for i in members)
    if min(cuts) < 1 or len(groups) * longest + rows * rest > WORTH * rows * length:
        return None
    group = [0] * rows
    for number, (members, _) in enumerate(groups):
        for i in members:
            group[i] = number
    return _laid_out(sizes, length, torch.tensor(group), torch.tensor(cuts), [m[0] for m, _ in groups], rest)


def _laid_out(sizes: Tensor, length: int, group: Tensor, cuts: Tensor, leaders: list[int], rest: int) -> Shared:
    group, cuts, lead = (own.to(sizes.device) for own in (group, cuts, torch.tensor(leaders)))
    longest = int(cuts.max())
    real = torch.arange(length, device=sizes.device) - (length - sizes)[:, None]  # place in the prompt, below 0: none
    cut = cuts[group][:, None]
    whole = longest + rest
    source = torch.where(real < cut, longest - cut + real, whole - length + torch.arange(length, device=sizes.device))
    place = torch.arange(longest, device=sizes.device) - (longest - cuts)[:, None]
    return Shared(
        leaders=lead,
        group=group,
        begin=(place + (length - sizes[lead])[:, None]).clamp(min=0),
        begin_mask=(place >= 0).long(),
        rest_mask=(real >= cut)[:, -rest:].long(),
        source=torch.where(real < 0, 0, source),
    )


def _fingerprints(packed: Packed) -> NDArray[np.int64]:
    """``[B, L]``: numbers that are equal where embeddings are, to the bit, from each prompt's first position on."""
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[packed.embeds.element_size()]
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(-(2**62), 2**62, (packed.embeds.shape[-1],), generator=generator).to(packed.embeds.device)
    # Row by row, since whole numbers of this size take more memory than the embeddings.
    rows = [(row.contiguous().view(bits).long() * weights).sum(dim=-1) for row in packed.embeds]
    starts = (packed.mask.shape[1] - packed.mask.sum(dim=1)).tolist()
    return torch.stack([row.roll(-start) for row, start in zip(rows, starts, strict=True)]).cpu().numpy()


def _groups(
    prints: NDArray[np.int64], sizes: list[int], spans: list[list[tuple[int, int]]]
) -> list[tuple[list[int], int]]:
    """Rows that begin alike, and how far; a row keeps its last position for itself.

    In the order of their fingerprints, rows that begin alike are neighbours. Neighbours are put together where that
    saves positions, those that share most first.
    """
    order = sorted(range(len(sizes)), key=lambda i: prints[i, : sizes[i]].tobytes())
    common = []
    for a, b in pairwise(order):
        limit = max(min(sizes[a], sizes[b]) - 1, 0)
        differs = np.flatnonzero(prints[a, :limit] != prints[b, :limit])
        common.append(_whole([spans[a], spans[b]], int(differs[0]) if len(differs) else limit))
    groups: list[tuple[list[int], int]] = [([i], 0) for i in order]
    at = list(range(len(order)))  # which group holds the row at this place of the order
    for edge in sorted(range(len(common)), key=lambda edge: -common[edge]):
        left, right = groups[at[edge]], groups[at[edge + 1]]
        saved = (len(left[0]) - 1) * left[1] + (len(right[0]) - 1) * right[1]
        if (len(left[0]) + len(right[0]) - 1) * common[edge] > saved:
            gone = at[edge + 1]
            groups[at[edge]] = ([*left[0], *right[0]], common[edge])
            at = [at[edge] if number == gone else number for number in at]
    return [groups[number] for number in dict.fromkeys(at)]


def _whole(spans: list[list[tuple[int, int]]], cut: int) -> int:
    """The cut, moved forward to where no run of frames of any row is torn apart; 0 if the rows' runs differ."""
    cut = min([cut, *(start for own in spans for start, end in own if start < cut < end)])
    inside = [[span for span in own if span[1] <= cut] for own in spans]
    return cut if all(own == inside[0] for own in inside) else 0

"""The loop that writes answers token by token; rows that are done leave the batch.

The loop is ours because heads look into it: scores over frames, structural tokens and streaming need the state of every
step and a cache they may keep.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from lavis.models.language_models._sampling import Chooser
from lavis.models.language_models.base import Watcher
from lavis.structures import Packed


@dataclass(slots=True)
class DecodeState:
    """Where a decode loop stands: ``cache``, attention ``mask [B, L]`` so far and next ``positions [B, 1]``.

    ``states`` are those that were asked for, of the positions fed last.
    """

    cache: Any
    mask: Tensor
    positions: Tensor
    taps: tuple[str, ...] = ()
    states: dict[str, Tensor] = field(default_factory=dict)

    def keep(self, rows: Tensor) -> None:
        """Goes on with these rows alone, or with some of them more than once."""
        self.cache.batch_select_indices(rows)
        self.mask, self.positions = self.mask[rows], self.positions[rows]


class Decoder(Protocol):
    """What the loop needs of a language model; see ``Causal``."""

    def embed(self, ids: Tensor) -> Tensor:
        """Embeddings of ids."""

    def prefill(self, packed: Packed, taps: Sequence[str] = (), more: int = 0) -> tuple[DecodeState, Tensor]:
        """Reads the prompts, to be followed by ``more`` positions at most."""

    def step(self, state: DecodeState, embeds: Tensor) -> Tensor:
        """Feeds one more position, or several."""


@dataclass(frozen=True, slots=True)
class Ends:
    """What ends an answer.

    Args:
        eos: the tokenizer's end token.
        stops: further ends, each the ids of its tokens.
    """

    eos: int
    stops: tuple[tuple[int, ...], ...] = ()

    @property
    def single(self) -> list[int]:
        """Ids that end an answer by themselves."""
        return [self.eos, *(stop[0] for stop in self.stops if len(stop) == 1)]

    @property
    def longest(self) -> int:
        """Tokens of the longest end."""
        return max(1, *map(len, self.stops)) if self.stops else 1

    def closing(self, ids: Tensor) -> Tensor:
        """``[B]``: how many of the last of ``ids [B, n]`` end an answer, 0 where it goes on."""
        found = (ids[:, -1] == self.eos).long()
        for stop in self.stops:
            if len(stop) <= ids.shape[1]:
                ended = torch.ones_like(found, dtype=torch.bool)
                for back, token in enumerate(reversed(stop), start=1):
                    ended &= ids[:, -back] == token
                found = torch.where(ended, len(stop), found)
        return found


def write(
    decoder: Decoder,
    packed: Packed,
    chooser: Chooser,
    ends: Ends,
    rooms: Sequence[int],
    watcher: Watcher | None = None,
) -> tuple[list[list[int]], list[float]]:
    """Writes an answer to every prompt of a batch.

    Args:
        decoder: reads and goes on.
        packed: prompts, padded at the start.
        chooser: of the tokens.
        ends: what ends an answer.
        rooms: tokens that each answer may have, at least 1.
        watcher: looks at every step.

    Returns:
        ids of each answer without what ends it, and the sums of the log probabilities of its tokens and its end.
    """
    device = packed.embeds.device
    state, logits = decoder.prefill(packed, watcher.taps if watcher is not None else (), max(rooms))
    if watcher is not None:
        watcher.begin(packed, state.states)
    room = torch.tensor(list(rooms), device=device)
    alive = torch.arange(len(rooms), device=device)
    ids = torch.full((len(rooms), max(rooms)), ends.eos, device=device)
    lengths, total = torch.zeros_like(room), torch.zeros(len(rooms), device=device)
    for count in range(1, max(rooms) + 1):
        token, score = chooser(logits)
        ids[alive, count - 1] = token
        total[alive] += score
        closing = ends.closing(ids[alive, max(count - ends.longest, 0) : count])
        lengths[alive] = count - closing
        rows = ((closing == 0) & (room[alive] > count)).nonzero()[:, 0]
        if not len(rows):
            break
        if len(rows) < len(alive):
            alive, token = alive[rows], token[rows]
            for part in (state, chooser, watcher):
                if part is not None:
                    part.keep(rows)
        embeds = decoder.embed(token.unsqueeze(1))
        logits = decoder.step(state, embeds if watcher is None else watcher.fed(token, embeds))
        if watcher is not None:
            watcher.step(state.states)
    written = [own[:length] for own, length in zip(ids.tolist(), lengths.tolist(), strict=True)]
    return written, total.tolist()

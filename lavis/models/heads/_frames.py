"""What heads that compare words with frames share: states at their places, and the watcher of a decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.models.heads.base import Head
from lavis.structures import FrameRef, Packed

Prefill = Literal["last", "first"]


def mlp(width: int) -> nn.Sequential:
    """A norm and two layers with half of the width between them."""
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width // 2), nn.GELU(), nn.Linear(width // 2, width))


class FrameHead(Head, ABC):
    """A head with a network for words, ``text_head``, and one for frames, ``frame_head``.

    Words are read one layer below frames: ``below_last`` at the position that predicts a token, ``last`` at the frames.
    Where frames are shown several times, those shown last count.
    """

    taps = ("last", "below_last")

    def __init__(self, language_width: int) -> None:
        super().__init__()
        self.language_width = language_width
        self.text_head = mlp(language_width)
        self.frame_head: nn.Module = mlp(language_width)

    @abstractmethod
    def compare(self, words: Tensor, frames: Tensor, missing: Tensor) -> Tensor:
        """What is kept of a comparison while decoding.

        Args:
            words: ``[B, n, D]`` of ``text_head``.
            frames: ``[B, T, D]`` of ``frame_head``.
            missing: ``[B, 1, T]``, true where a video has no such frame.

        Returns:
            ``[B, n, T]``; any number where ``missing``.
        """

    def frames_of(self, states: Mapping[str, Tensor], packed: Packed) -> list[Tensor]:
        """``[T, D]`` of each sample; T is 0 without frames."""
        spans = [own[-1] if own else (0, 0) for own in packed.spans()]
        return [self.frame_head(last[a:b]) for last, (a, b) in zip(states["last"], spans, strict=True)]

    def words_of(self, states: Mapping[str, Tensor], packed: Packed) -> tuple[list[list[FrameRef]], list[Tensor]]:
        """Tokens to be learned that have a target, and ``[n, D]`` of the positions that predict them."""
        refs = [[(p, ref) for p, ref in own if ref.learned and ref.target is not None] for own in packed.refs]
        rows = [row for row, own in enumerate(refs) for _ in own]
        positions = [p - 1 for own in refs for p, _ in own]
        device = states["below_last"].device
        places = torch.tensor(rows, device=device).long(), torch.tensor(positions, device=device).long()
        words: Tensor = self.text_head(states["below_last"][places])
        return [[ref for _, ref in own] for own in refs], list(torch.split(words, [len(own) for own in refs]))

    def nothing(self, states: Mapping[str, Tensor], packed: Packed) -> Tensor:
        """Zero, with all weights of the head in its graph."""
        row = states["last"][:1, :1]
        zero: Tensor = 0 * (self.frame_head(row[0]).mean() + self.text_head(states["below_last"][:1, :1]).mean())
        return zero


class FrameWatcher:
    """Compares the state behind every token of an answer with the frames, and feeds frames back to match tokens.

    Args:
        head: whose networks compare.
        match: id of the token to whose embedding the frame it was matched with is added; ``None``: there is none.
        prefill: the position of the prompt that stands for the first token of the answer: the ``last``, which predicts
            it, or the ``first`` of the prompt, as MeCo has it.
    """

    def __init__(self, head: FrameHead, match: int | None, prefill: Prefill = "last") -> None:
        self.taps = head.taps
        self.head = head
        self.match = match
        self.prefill = prefill
        self.seen: list[Tensor] = []

    def begin(self, packed: Packed, states: Mapping[str, Tensor]) -> None:
        frames = self.head.frames_of(states, packed)
        self.rows = torch.arange(len(frames), device=packed.embeds.device)  # that are still written
        self.counts = [len(own) for own in frames]
        self.frames = nn.utils.rnn.pad_sequence(frames, batch_first=True)
        spans = [own[-1] if own else (0, 0) for own in packed.spans()]
        shown = [embeds[a:b] for embeds, (a, b) in zip(packed.embeds, spans, strict=True)]
        self.shown = nn.utils.rnn.pad_sequence(shown, batch_first=True)
        counts = torch.tensor(self.counts, device=self.frames.device)
        self.missing = torch.arange(self.frames.shape[1], device=self.frames.device) >= counts[:, None]
        below = states["below_last"]
        if self.prefill == "last":
            self._look(below[:, -1])
        else:
            first = packed.mask.argmax(dim=1)
            self._look(below[torch.arange(len(below), device=below.device), first])

    def fed(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        if self.match is None or not self.shown.shape[1]:
            return embeds
        nearest = self.seen[-1][self.rows].masked_fill(self.missing, -torch.inf).argmax(dim=1)
        matched = self.shown[torch.arange(len(tokens), device=tokens.device), nearest][:, None]
        added = embeds + matched.to(embeds.dtype)
        return torch.where((tokens == self.match)[:, None, None], added, embeds)

    def step(self, states: Mapping[str, Tensor]) -> None:
        self._look(states["below_last"][:, -1])

    def keep(self, rows: Tensor) -> None:
        """Goes on with these of the rows; see ``Watcher``."""
        self.rows, self.frames, self.shown, self.missing = (
            own[rows] for own in (self.rows, self.frames, self.shown, self.missing)
        )

    def results(self, lengths: Sequence[int]) -> list[dict[str, Tensor]]:
        """``similarities`` ``[n, T]`` of every token of an answer, and ``frames`` ``[n]``, the nearest of each."""
        seen = torch.stack(self.seen, dim=1)
        rows = [own[: length + 1, :count] for own, length, count in zip(seen, lengths, self.counts, strict=True)]
        return [{"similarities": row, "frames": _nearest(row)} for row in rows]

    def _look(self, state: Tensor) -> None:
        words = self.head.text_head(state)[:, None]
        found = self.head.compare(words, self.frames, self.missing[:, None])[:, 0]
        seen = found.new_zeros(len(self.counts), found.shape[1])  # a row for each sample, also of those that are done
        self.seen.append(seen.index_copy(0, self.rows, found))


def _nearest(row: Tensor) -> Tensor:
    return row.argmax(dim=1) if row.shape[1] else row.new_zeros(len(row), dtype=torch.long)


def softmax_loss(scores: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of the cross entropy of ``scores`` ``[n, T]`` with weights ``target`` ``[n, T]``."""
    return -(target * F.log_softmax(scores, dim=-1)).sum(dim=-1).mean()

"""A token for a point in time, matched with the frame it stands for.

Source: E.T. Chat (PolyU-ChenLab/ETBench): ``<vid>`` is written in place of a number of seconds; the frame whose state
is nearest to the state that predicts it is the answer, and is added to what is fed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lavis.common.registry import registry
from lavis.models.heads._frames import FrameHead, FrameWatcher, softmax_loss
from lavis.models.language_models.base import LanguageOutput
from lavis.structures import FrameRef, Packed


@registry.heads.register("frame_match")
class FrameMatch(FrameHead):
    """Dot products of match tokens with frames.

    Args:
        language_width: D (from the builder).
        alpha: how fast the target falls off around the right frame: ``alpha ** -distance``, above 1; it does not add up
            to 1.
        weight: of the loss, at least 0.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(self, language_width: int, alpha: float = 2.0, weight: float = 1.0) -> None:
        super().__init__(language_width)
        if not alpha > 1 or not weight >= 0:
            raise ValueError(f"head.alpha must be above 1 and weight at least 0, got {alpha} and {weight}")
        self.alpha = alpha
        self.weight = weight

    def losses(self, output: LanguageOutput, packed: Packed) -> dict[str, Tensor]:
        """``match``: mean over samples with a match token to be learned of the mean over these tokens."""
        frames = self.frames_of(output.states, packed)
        refs, words = self.words_of(output.states, packed)
        own = [self._loss(*row) for row in zip(refs, words, frames, strict=True) if row[0]]
        loss = torch.stack(own).mean() if own else self.nothing(output.states, packed)
        return {"match": self.weight * loss}

    def _loss(self, refs: list[FrameRef], words: Tensor, frames: Tensor) -> Tensor:
        scores = words @ frames.transpose(0, 1) / math.sqrt(self.language_width)
        at = torch.tensor([ref.target[0] for ref in refs if ref.target is not None], device=scores.device)
        distance = torch.arange(len(frames), device=scores.device) - at.clamp(0, len(frames) - 1)[:, None]
        return softmax_loss(scores, self.alpha ** -distance.abs())

    def compare(self, words: Tensor, frames: Tensor, missing: Tensor) -> Tensor:
        """Shares of the frames, adding up to 1; see ``FrameHead``. Here, unlike in training, without a scale."""
        return (words @ frames.transpose(-1, -2)).masked_fill(missing, -torch.inf).softmax(dim=-1)

    def watch(self, tokens: Mapping[str, int]) -> FrameWatcher:
        return FrameWatcher(self, tokens.get("<vid>"))

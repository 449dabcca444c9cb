"""Every frame through the Q-Former, all of its tokens to the language model.

Source: MR.BLIP (sudo-Boris/mr-Blip, "Chrono").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from lavis.common.random import DrawSource
from lavis.common.registry import registry
from lavis.models.compressors.base import QFormerCompressor, QFormerSettings
from lavis.structures import FrameFeatures, TimedTokens, VideoSample


@registry.compressors.register("qformer_frames")
class QFormerFrames(QFormerCompressor):
    """The Q-Former's tokens of each frame, projected, or their mean.

    Args:
        encoder_width: width of the encoder's tokens (from the builder).
        language_width: width of the language model (from the builder).
        num_queries: tokens of a frame.
        qformer: sizes of the Q-Former.
        aggregate: ``mean`` makes one token of each frame, after the projection; ``None`` keeps all.
        text: whether to build the text half of the Q-Former, which frames do not need.
        frozen_dropout: keep the dropout of a frozen Q-Former active in training, as the original does.
    """

    def __init__(
        self,
        encoder_width: int,
        language_width: int,
        num_queries: int = 32,
        qformer: QFormerSettings | None = None,
        aggregate: Literal["mean"] | None = None,
        text: bool = False,
        frozen_dropout: bool = False,
    ) -> None:
        super().__init__(encoder_width, language_width, num_queries, qformer, text, frozen_dropout)
        if aggregate not in (None, "mean"):
            raise ValueError(f"compressor.aggregate must be mean or null, got {aggregate!r}")
        self.aggregate = aggregate

    def tokens_of_frame(self, patches: int) -> int:
        return self.num_queries if self.aggregate is None else 1

    def forward(
        self,
        features: list[FrameFeatures],
        samples: list[VideoSample],
        draws: Sequence[DrawSource] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        questions: Sequence[Sequence[str]] | None = None,
    ) -> list[TimedTokens]:
        projected = self.t5_proj(torch.cat([reading.hidden for reading in self.read_frames(features)]))
        if self.aggregate == "mean":
            projected = projected.mean(dim=1, keepdim=True)
        per_frame = projected.shape[1]
        lengths = [len(f.times) for f in features]
        return [
            TimedTokens(
                tokens=tokens.flatten(0, 1),
                counts=[per_frame] * len(f.times),
                times=list(zip(f.times, f.times, strict=True)),
                frames=list(range(len(f.times))),
            )
            for tokens, f in zip(projected.split(lengths), features, strict=True)
        ]

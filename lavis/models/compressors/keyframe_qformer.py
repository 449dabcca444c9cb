"""Every frame through the Q-Former; key frames keep all tokens, others a quarter, and some frames vanish.

Source: CALCE (tjhd1475/CALCE), both stages; which of them is a matter of ``keyframes``. Unlike there, tokens are put
in order by one look-up for the whole batch, and samples of a batch may differ in their number of frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.common.random import DrawSource, SampleDraws
from lavis.common.registry import registry
from lavis.models.compressors.base import FrameReading, QFormerCompressor, QFormerSettings
from lavis.models.keyframes import KeyframeSettings, choose_frames
from lavis.structures import FrameFeatures, TimedTokens, VideoSample


@registry.compressors.register("keyframe_qformer")
class KeyframeQFormer(QFormerCompressor):
    """The Q-Former's tokens, ``num_queries`` for key frames and ``num_queries // reduction`` for the others.

    Args:
        encoder_width: width of the encoder's tokens (from the builder).
        language_width: width of the language model (from the builder).
        num_queries: tokens of a key frame.
        reduction: a frame that is no key frame has so many times fewer tokens, mixed from all by a linear layer.
        qformer: sizes of the Q-Former.
        keyframes: how frames are chosen; ``None`` for CALCE's first stage.
        text: whether to build the text half of the Q-Former; the choice of subtitles needs it.
        frozen_dropout: keep the dropout of a frozen Q-Former active in training, as the original does.
    """

    every_frame = False

    def __init__(
        self,
        encoder_width: int,
        language_width: int,
        num_queries: int = 32,
        reduction: int = 4,
        qformer: QFormerSettings | None = None,
        keyframes: KeyframeSettings | None = None,
        text: bool = True,
        frozen_dropout: bool = False,
    ) -> None:
        super().__init__(encoder_width, language_width, num_queries, qformer, text, frozen_dropout)
        if not 1 < reduction <= num_queries:
            raise ValueError(f"compressor.reduction must be in 2 to num_queries ({num_queries}), got {reduction}")
        self.query_proj = nn.Linear(num_queries, num_queries // reduction)
        self.keyframes = keyframes or KeyframeSettings()

    def forward(
        self,
        features: list[FrameFeatures],
        samples: list[VideoSample],
        draws: Sequence[DrawSource] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        questions: Sequence[Sequence[str]] | None = None,
    ) -> list[TimedTokens]:
        readings = self.read_frames(features)
        hidden = torch.cat([reading.hidden for reading in readings])
        choices = choose_frames(
            self.keyframes,
            self._frame_features(readings, hidden),
            samples,
            [f.times for f in features] if times is None else times,
            [SampleDraws(sample.id) for sample in samples] if draws is None else draws,
        )
        key = torch.cat([choice.key for choice in choices])
        other = torch.cat([choice.other for choice in choices])
        counts = key * self.num_queries + other * self.query_proj.out_features
        return _timed(self._project(hidden, key, other, counts), counts, features)

    def _frame_features(self, readings: list[FrameReading], hidden: Tensor) -> list[Tensor]:
        """``[T, C]`` of each sample: what frames are compared by."""
        if self.keyframes.features == "patch_mean":
            return [reading.patch_mean() for reading in readings]
        normed = F.normalize(hidden.detach(), dim=-1).flatten(1)
        return list(torch.split(normed, [len(reading.hidden) for reading in readings]))

    def _project(self, hidden: Tensor, key: Tensor, other: Tensor, counts: Tensor) -> Tensor:
        """Tokens of all frames of the batch in time order.

        Args:
            hidden: ``[F, Q, width]``, Q-Former output of all frames.
            key: ``[F]`` boolean, on the CPU like the next two.
            other: ``[F]`` boolean.
            counts: ``[F]`` tokens of each frame.

        Returns:
            ``[sum(counts), D]``.
        """
        keys, others = key.nonzero()[:, 0], other.nonzero()[:, 0]
        reduced = self.query_proj(hidden[others.to(hidden.device)].transpose(1, 2)).transpose(1, 2)
        rows = torch.cat([hidden[keys.to(hidden.device)].flatten(0, 1), reduced.flatten(0, 1)])
        starts = torch.zeros_like(counts)
        starts[keys] = torch.arange(len(keys)) * self.num_queries
        starts[others] = len(keys) * self.num_queries + torch.arange(len(others)) * self.query_proj.out_features
        written = counts.cumsum(0) - counts
        order = torch.repeat_interleave(starts - written, counts) + torch.arange(int(counts.sum()))
        projected: Tensor = self.t5_proj(rows)[order.to(hidden.device)]
        return projected


def _timed(projected: Tensor, counts: Tensor, features: list[FrameFeatures]) -> list[TimedTokens]:
    per_sample = torch.split(counts, [len(f.times) for f in features])
    tokens = torch.split(projected, [int(c.sum()) for c in per_sample])
    result = []
    for own, count, f in zip(tokens, per_sample, features, strict=True):
        kept = count.nonzero()[:, 0]
        at = torch.tensor(f.times, dtype=torch.float64)[kept].tolist()
        result.append(TimedTokens(own, count[kept].tolist(), list(zip(at, at, strict=True)), kept.tolist()))
    return result

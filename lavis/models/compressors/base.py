"""Compressors: features of frames to visual tokens in the width of the language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lavis.common.random import DrawSource
from lavis.common.tensor_cache import TensorCache, weights_state
from lavis.layers.qformer import QFormer
from lavis.structures import FrameFeatures, TimedTokens, VideoSample


class Compressor(nn.Module, ABC):
    """Decides how many tokens each frame is worth, and makes them.

    ``wiring`` names constructor arguments that the builder passes and a configuration must not set.
    ``frozen_dropout`` tells whether a frozen Q-Former keeps its dropout in training.
    """

    wiring: tuple[str, ...] = ("encoder_width", "language_width")
    frozen_dropout: bool = False

    @property
    def text_vocabulary(self) -> int | None:
        """Word pieces that ``encode_text`` knows; ``None`` if it reads no text."""
        return None

    @abstractmethod
    def forward(
        self,
        features: list[FrameFeatures],
        samples: list[VideoSample],
        draws: Sequence[DrawSource] | None = None,
        times: Sequence[Sequence[float]] | None = None,
    ) -> list[TimedTokens]:
        """Visual tokens of each sample.

        Args:
            features: encoder output, ``[T, N, encoder_width]`` each.
            samples: what the tokens are for.
            draws: random numbers of each sample; by default from its id.
            times: T frame times of each sample in the unit in which ``samples`` give prior and duration, where that
                is not seconds. The times of the result are in seconds in any case.
        """

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Sentence embeddings ``[n, hidden]`` of word pieces ``[n, L]``, for compressors that read text.

        Raises:
            ValueError: if this one does not.
        """
        raise ValueError(f"{type(self).__name__} reads no text; choose another compressor or no subtitle_choice")


@dataclass(frozen=True, slots=True)
class QFormerSettings:
    """Sizes of a Q-Former; the defaults are BLIP-2's."""

    vocab_size: int = 30522  # rows of the word embedding
    width: int = 768  # of a query
    layers: int = 12
    heads: int = 12  # width is a multiple of it
    hidden: int = 3072  # inner width of the feed-forward layers
    max_positions: int = 512  # longest text in tokens
    cross_attention_every: int = 2  # layers 0, n, 2n ... look at the frame
    dropout: float = 0.1  # in training, in [0, 1)

    def build(self, encoder_width: int, text: bool) -> QFormer:
        """The network, for frames of ``encoder_width``, with its text half if ``text``."""
        return QFormer(
            encoder_width,
            vocab_size=self.vocab_size,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            hidden=self.hidden,
            max_positions=self.max_positions,
            cross_attention_every=self.cross_attention_every,
            dropout=self.dropout,
            text=text,
        )


class QFormerCompressor(Compressor):
    """What the compressors of MR.BLIP and CALCE share: learned queries, their Q-Former, and the projection after it.

    Children have the published names ``Qformer``, ``query_tokens`` and ``t5_proj``.

    Args:
        encoder_width: width of the encoder's tokens.
        language_width: width of the language model.
        num_queries: Q, tokens the Q-Former makes of a frame.
        qformer: its sizes; ``None`` for BLIP-2's.
        text: whether it has a text half (``encode_text``).
        frozen_dropout: keep its dropout active in training even if none of its weights learns.
        cache_mb: memory for output of a frozen Q-Former behind a frozen encoder, on the host, in MiB.
    """

    def __init__(
        self,
        encoder_width: int,
        language_width: int,
        num_queries: int,
        qformer: QFormerSettings | None,
        text: bool,
        frozen_dropout: bool,
        cache_mb: int = 0,
    ) -> None:
        super().__init__()
        if cache_mb < 0:
            raise ValueError(f"compressor.cache_mb must be at least 0, got {cache_mb}")
        self._cache = TensorCache(cache_mb * 2**20)
        if num_queries < 1:
            raise ValueError(f"compressor.num_queries must be at least 1, got {num_queries}")
        self.frozen_dropout = frozen_dropout
        self.Qformer = (qformer or QFormerSettings()).build(encoder_width, text)
        self.query_tokens = nn.Parameter(torch.zeros(1, num_queries, self.Qformer.width))
        nn.init.normal_(self.query_tokens, std=0.02)
        self.t5_proj = nn.Linear(self.Qformer.width, language_width)

    @property
    def num_queries(self) -> int:
        """Q, tokens of a frame before anything is dropped."""
        return self.query_tokens.shape[1]

    @property
    def text_vocabulary(self) -> int | None:
        words = self.Qformer.bert.embeddings.word_embeddings
        return None if words is None else words.num_embeddings

    def train(self, mode: bool = True) -> QFormerCompressor:
        """Training mode, except for a frozen Q-Former without ``frozen_dropout``."""
        super().train(mode)
        if mode and not self.frozen_dropout and not any(p.requires_grad for p in self.Qformer.parameters()):
            self.Qformer.eval()
        return self

    def read_frames(self, features: list[FrameFeatures]) -> Tensor:
        """``[sum(T), Q, width]``: the Q-Former's output for all frames of a batch.

        Frames of a frozen encoder go through a frozen Q-Former once; then its output is kept by their key.
        """
        if self.Qformer.training or any(p.requires_grad for p in (*self.Qformer.parameters(), self.query_tokens)):
            return self._read(torch.cat([f.tokens for f in features]))
        weights = weights_state(self.Qformer)
        known = [None if f.key is None else self._cache.get(f.key, weights) for f in features]
        missing = [f for f, hidden in zip(features, known, strict=True) if hidden is None]
        if missing:
            lengths = [len(f.times) for f in missing]
            fresh = iter(torch.split(self._read(torch.cat([f.tokens for f in missing])), lengths))
            known = [next(fresh) if hidden is None else hidden for hidden in known]
            for f, hidden in zip(features, known, strict=True):
                if f.key is not None and hidden is not None:
                    self._cache.put(f.key, hidden, weights)
        device = self.query_tokens.device
        return torch.cat([hidden.to(device) for hidden in known if hidden is not None])

    def _read(self, visual: Tensor) -> Tensor:
        hidden: Tensor = self.Qformer(self.query_tokens.expand(visual.shape[0], -1, -1), visual=visual)
        return hidden

    def encode_text(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Last state ``[n, width]`` of the first token, of word pieces ``[n, L]`` with mask ``[n, L]``.

        Raises:
            ValueError: if the text half was left out, or the text is too long.
        """
        states: Tensor = self.Qformer(input_ids=input_ids, attention_mask=attention_mask)
        return states[:, 0]

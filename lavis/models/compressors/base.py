"""Compressors: features of frames to visual tokens in the width of the language model."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lavis.common.provenance import chance_in, code_version, modules_of_class
from lavis.common.random import DrawSource
from lavis.layers.qformer import QFormer
from lavis.models.encoders.base import FeatureSource
from lavis.models.feature_cache import FeatureCache, sharded
from lavis.structures import FrameFeatures, TimedTokens, VideoSample


class Compressor(nn.Module, ABC):
    """Decides how many tokens each frame is worth, and makes them.

    ``wiring`` names constructor arguments that the builder passes and a configuration must not set.
    ``frozen_dropout`` tells whether a frozen Q-Former keeps its dropout in training.
    """

    wiring: tuple[str, ...] = ("encoder_width", "language_width")
    frozen_dropout: bool = False
    reads_questions: bool = False
    """Whether frames are read with the questions in mind; then the tokens of all questions follow one another."""
    every_frame: bool = True
    """Whether each frame keeps the tokens that ``tokens_of_frame`` tells; otherwise these are the most it may have."""
    cache: FeatureCache
    """Where features may be kept; set by the model."""

    def __init__(self) -> None:
        super().__init__()
        self.cache = FeatureCache()

    def announce(self, source: FeatureSource | None) -> None:
        """Tells processors which features are looked for before the encoder's, if this compressor keeps any.

        Args:
            source: what the encoder's tokens are made with; ``None`` if they cannot be relied on.
        """

    def tokens_of_frame(self, patches: int) -> int:
        """Visual tokens that are made of a frame with ``patches`` tokens of the encoder, for one question."""
        return patches

    @property
    def text_vocabulary(self) -> int | None:
        """Word pieces that ``encode_text`` knows; ``None`` if it reads no text."""
        return None

    @property
    def text_positions(self) -> int | None:
        """Word pieces that ``encode_text`` reads of one text at most; ``None`` if it reads none, or any number."""
        return None

    @abstractmethod
    def forward(
        self,
        features: list[FrameFeatures],
        samples: list[VideoSample],
        draws: Sequence[DrawSource] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        questions: Sequence[Sequence[str]] | None = None,
    ) -> list[TimedTokens]:
        """Visual tokens of each sample.

        Args:
            features: encoder output, ``[T, N, encoder_width]`` each.
            samples: what the tokens are for.
            draws: random numbers of each sample; by default from its id.
            times: T frame times of each sample in the unit in which ``samples`` give prior and duration, where that
                is not seconds. The times of the result are in seconds in any case.
            questions: of each sample, at least one; for compressors with ``reads_questions``.
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

    def build(self, encoder_width: int, text: bool, token_head: bool = True) -> QFormer:
        """The network, for frames of ``encoder_width``, with its text half if ``text``, and the head of that."""
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
            token_head=token_head,
        )


@dataclass(frozen=True, slots=True)
class FrameReading:
    """What a Q-Former made of one sample's frames: ``hidden`` ``[T, Q, width]``."""

    hidden: Tensor
    features: FrameFeatures
    kept_mean: Tensor | None = None

    def patch_mean(self) -> Tensor:
        """``[T, C]``: mean of each frame's tokens, without gradient."""
        return self.features.tokens.detach().mean(dim=1) if self.kept_mean is None else self.kept_mean


_TEXT_HALF = re.compile(r"cls\.|bert\.embeddings\.(word|position)_|bert\.encoder\.layer\.\d+\.(intermediate|output)\.")


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
    """

    def __init__(
        self,
        encoder_width: int,
        language_width: int,
        num_queries: int,
        qformer: QFormerSettings | None,
        text: bool,
        frozen_dropout: bool,
    ) -> None:
        super().__init__()
        self._encoder_width = encoder_width
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

    def tokens_of_frame(self, patches: int) -> int:
        return self.num_queries

    @property
    def text_vocabulary(self) -> int | None:
        words = self.Qformer.bert.embeddings.word_embeddings
        return None if words is None else words.num_embeddings

    @property
    def text_positions(self) -> int | None:
        positions = self.Qformer.bert.embeddings.position_embeddings
        return None if positions is None else positions.num_embeddings

    def train(self, mode: bool = True) -> QFormerCompressor:
        """Training mode, except for a frozen Q-Former without ``frozen_dropout``."""
        super().train(mode)
        if mode and not self.frozen_dropout and not any(p.requires_grad for p in self.Qformer.parameters()):
            self.Qformer.eval()
        return self

    def read_frames(self, features: list[FrameFeatures]) -> list[FrameReading]:
        """What the Q-Former makes of the frames of each sample.

        Sample by sample, so that no number depends on the batch, and once for samples that share their features. Where
        nothing before it learns or is drawn by chance, its output is kept, and the encoder is not asked again.
        """
        shared = self._random() is None and not sharded(self.Qformer)
        made: dict[int, FrameReading] = {}
        sources: dict[str, FeatureSource | None] = {}
        result = []
        for own in features:
            reading = made.get(id(own)) if shared else None
            if reading is None:
                if own.key is not None and own.state not in sources:
                    sources[own.state] = self._source(FeatureSource(own.state, own.lasting))
                reading = made[id(own)] = self._reading(own, sources.get(own.state))
            result.append(reading)
        return result

    def announce(self, source: FeatureSource | None) -> None:
        known = None if source is None else self._source(source)
        self.cache.publish(0, "" if known is None else known.state)

    def _reading(self, features: FrameFeatures, known: FeatureSource | None) -> FrameReading:
        self.cache.publish(0, "" if known is None else known.state)
        if features.key is None or known is None:
            return FrameReading(self._read(features.tokens), features)
        shapes = {
            "hidden": (len(features.times), self.num_queries, self.Qformer.width),
            "patch_mean": (len(features.times), self._encoder_width),
        }
        kept = self.cache.get(features.key, known.state, shapes, self.query_tokens.device)
        if kept is None:
            # Tokens that will not be needed again are not worth their size, unless weights behind them still learn.
            tokens = features.compute(keep=not known.lasting)
            kept = {"hidden": self._read(tokens), "patch_mean": tokens.mean(dim=1)}
            self.cache.put(features.key, known.state, kept, features.times, known.lasting)
        return FrameReading(kept["hidden"], features, kept["patch_mean"])

    def _source(self, encoder: FeatureSource) -> FeatureSource | None:
        """What the Q-Former's output is made with; ``None`` if it learns now, or draws by chance."""
        tensors = self._visual_tensors()
        learns = any(tensor.requires_grad for _, tensor in tensors)
        if (learns and torch.is_grad_enabled()) or self._random() is not None or not self.cache.usable(self.Qformer):
            return None
        device, code = self.query_tokens.device, code_version(modules_of_class(type(self)))
        state = self.cache.state("compressor", tensors, self.Qformer, device, encoder.state, code, without=_TEXT_HALF)
        return FeatureSource(state, encoder.lasting and not learns)

    def _visual_tensors(self) -> list[tuple[str, Tensor]]:
        """Weights that frames go through; those of the text half change nothing for them."""
        own = [(name, p) for name, p in self.Qformer.named_parameters() if not _TEXT_HALF.match(name)]
        return [*own, ("query_tokens", self.query_tokens)]

    def _random(self) -> str | None:
        random = chance_in(self.Qformer)
        if random is not None and self.frozen_dropout:
            self.cache.refuse("the Q-Former's dropout is active; set model.compressor.frozen_dropout to false")
        return random

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

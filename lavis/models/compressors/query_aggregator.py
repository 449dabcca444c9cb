"""One token a frame, made with the question in mind.

A Q-Former reads each frame together with the words of the question; what its queries found asks the frame's patches
once more, and the mean of that, projected, is the frame's token. Where a frame is asked about several times, it has a
token for each question.

Source: E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo), after LLaMA-VID. Unlike there, keys of the patches
are computed once for all questions on a video, frames go through in chunks, and questions on one video that stand in
one batch are read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lavis.common.assets import resolve_asset
from lavis.common.random import DrawSource
from lavis.common.registry import registry
from lavis.models.compressors.base import Compressor, QFormerSettings
from lavis.structures import FrameFeatures, TimedTokens, VideoSample

_NORM = 0
"""Place of the norm in ``q_proj``, ``k_proj`` and ``v_proj``; the linear layer is the next."""


@registry.compressors.register("query_aggregator")
class QueryAggregator(Compressor):
    """A question-conditioned Q-Former, attention from its queries over the patches, and a projection.

    Args:
        encoder_width: C, width of the encoder's tokens (from the builder).
        language_width: width of the language model (from the builder).
        tokenizer: folder or hub name of the Q-Former's BERT tokenizer.
        num_queries: Q, learned queries of the Q-Former, at least 1.
        qformer: its sizes; ``None`` for BLIP-2's with the row that InstructBLIP adds to the word embedding.
        max_tokens: word pieces of a question that are read, marks around it included; the last ones where it is longer.
        class_token: whether the encoder's first token is the image's, which is left out.
        time_tag: whether each frame's time is told to the Q-Former ("Current time: 3.0s. ..."); one question only.
        chunk_size: frames that go through at once, counted once for each question, at least 1.
        frozen_dropout: keep the dropout of a frozen Q-Former active in training, as the original does.

    Raises:
        ValueError: for a setting out of range, or a tokenizer that cannot be read or has more pieces than embeddings.
    """

    reads_questions = True

    def tokens_of_frame(self, patches: int) -> int:
        return 1

    def __init__(
        self,
        encoder_width: int,
        language_width: int,
        tokenizer: str = "bert-base-uncased",
        num_queries: int = 32,
        qformer: QFormerSettings | None = None,
        max_tokens: int = 256,
        class_token: bool = True,
        time_tag: bool = False,
        chunk_size: int = 64,
        frozen_dropout: bool = False,
    ) -> None:
        super().__init__()
        limits = ("num_queries", num_queries, 1), ("max_tokens", max_tokens, 3), ("chunk_size", chunk_size, 1)
        for name, value, least in limits:
            if value < least:
                raise ValueError(f"compressor.{name} must be at least {least}, got {value}")
        sizes = qformer or QFormerSettings(vocab_size=30523)
        if max_tokens > sizes.max_positions:
            raise ValueError(
                f"compressor.max_tokens is {max_tokens} but the Q-Former has {sizes.max_positions} positions; lower "
                "the first, or raise compressor.qformer.max_positions"
            )
        self.tokenizer = _tokenizer(tokenizer)
        if len(self.tokenizer) > sizes.vocab_size:
            raise ValueError(
                f"compressor.tokenizer has {len(self.tokenizer)} pieces but the Q-Former {sizes.vocab_size} "
                "embeddings; choose the tokenizer that belongs to it, or set compressor.qformer.vocab_size"
            )
        self.max_tokens, self.class_token, self.time_tag = max_tokens, class_token, time_tag
        self.chunk_size, self.frozen_dropout, self.language_width = chunk_size, frozen_dropout, language_width
        self.Qformer = sizes.build(encoder_width, text=True, token_head=False)
        self.query_tokens = nn.Parameter(torch.zeros(1, num_queries, self.Qformer.width))
        nn.init.normal_(self.query_tokens, std=0.02)
        self.ln = nn.LayerNorm(encoder_width)
        self.query_proj = nn.Linear(self.Qformer.width, encoder_width)
        self.q_proj, self.k_proj = (
            nn.Sequential(nn.LayerNorm(encoder_width), nn.Linear(encoder_width, encoder_width)) for _ in range(2)
        )
        self.v_proj = nn.Sequential(nn.LayerNorm(encoder_width), nn.Linear(encoder_width, language_width))

    @property
    def text_vocabulary(self) -> int:
        words = self.Qformer.bert.embeddings.word_embeddings
        assert words is not None
        return words.num_embeddings

    def train(self, mode: bool = True) -> QueryAggregator:
        """Training mode, except for a frozen Q-Former without ``frozen_dropout``."""
        super().train(mode)
        if mode and not self.frozen_dropout and not any(p.requires_grad for p in self.Qformer.parameters()):
            self.Qformer.eval()
        return self

    def forward(
        self,
        features: list[FrameFeatures],
        samples: list[VideoSample],
        draws: Sequence[DrawSource] | None = None,
        times: Sequence[Sequence[float]] | None = None,
        questions: Sequence[Sequence[str]] | None = None,
    ) -> list[TimedTokens]:
        asked = [[sample.query] for sample in samples] if questions is None else [list(own) for own in questions]
        empty = [sample.id for sample, own in zip(samples, asked, strict=True) if not own]
        if empty:
            raise ValueError(f"sample {empty[0]} asks nothing about its frames; a conversation needs a user's turn")
        result: list[TimedTokens | None] = [None] * len(features)
        for members in _same_video(features):
            together = [question for i in members for question in asked[i]]
            tokens = self.read(features[members[0]].tokens, together, features[members[0]].times)
            own = torch.split(tokens, [len(asked[i]) for i in members])
            for i, part in zip(members, own, strict=True):
                result[i] = _timed(part, features[i].times)
        return [timed for timed in result if timed is not None]

    def read(self, tokens: Tensor, questions: Sequence[str], times: Sequence[float]) -> Tensor:
        """Tokens of a video's frames.

        Args:
            tokens: ``[T, N, C]`` of the encoder.
            questions: q texts; an empty one is allowed.
            times: of the frames, in seconds; told with ``time_tag`` only.

        Returns:
            ``[q, T, D]``.

        Raises:
            ValueError: if frames tell their times and there are several questions.
        """
        patches = tokens[:, 1:] if self.class_token else tokens
        ids, mask = self._words(questions, times)
        parts = []
        step = max(1, self.chunk_size // len(questions))
        for start in range(0, len(patches), step):
            chunk = patches[start : start + step]
            count = len(chunk)
            if self.time_tag:
                own = slice(start, start + count)
                parts.append(self._aggregate(chunk, ids[own, None], mask[own, None]))
            else:
                wide = (count, *ids.shape)
                parts.append(self._aggregate(chunk, ids.expand(wide), mask.expand(wide)))
        if not parts and not (self.training and torch.is_grad_enabled()):
            return tokens.new_zeros((len(questions), 0, self.language_width))
        if not parts:
            # Text alone: none of a blank frame's tokens is taken, but weights have gradients, of zero, as processes
            # that wait for each other's expect.
            blank = patches.new_zeros(1, *patches.shape[1:])
            parts = [self._aggregate(blank, ids[:1, None], mask[:1, None])[:0].expand(0, len(questions), -1)]
        return torch.cat(parts).transpose(0, 1)

    def _aggregate(self, patches: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        """``[t, q, D]`` of t frames ``[t, P, C]``, each asked with its word pieces ``[t, q, L]``."""
        count, questions = ids.shape[:2]
        repeated = self.ln(patches)[:, None].expand(-1, questions, -1, -1).flatten(0, 1)
        queries = self.query_tokens.expand(count * questions, -1, -1)
        hidden = self.Qformer(queries, ids.flatten(0, 1), mask.flatten(0, 1), repeated)
        found: Tensor = self.query_proj(hidden[:, : queries.shape[1]]).view(count, questions, -1, patches.shape[-1])
        # Every question's queries look at one frame's patches: rows of one product.
        asking = self.q_proj(found).flatten(1, 2)
        seen = F.scaled_dot_product_attention(asking, self.k_proj(patches), patches)
        frame = (seen.view(found.shape) + found).mean(dim=2)
        token: Tensor = self.v_proj(frame)
        return token

    def _words(self, questions: Sequence[str], times: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Word pieces ``[q, L]`` and their mask; with ``time_tag`` a row for each frame."""
        texts = list(questions)
        if self.time_tag:
            if len(texts) != 1:
                raise ValueError(f"compressor.time_tag needs one question a video, got {len(texts)}; turn it off")
            texts = [f"Current time: {round(float(time), 1)}s. {texts[0]}" for time in times] or texts
        words = self.tokenizer(
            texts, padding="longest", truncation=True, max_length=self.max_tokens, return_tensors="pt"
        ).to(self.query_tokens.device)
        return words["input_ids"], words["attention_mask"]


def _same_video(features: Sequence[FrameFeatures]) -> list[list[int]]:
    """Numbers of the samples that share their features, in order of the first."""
    groups: dict[int, list[int]] = {}
    for i, own in enumerate(features):
        groups.setdefault(id(own), []).append(i)
    return list(groups.values())


def _timed(tokens: Tensor, times: Sequence[float]) -> TimedTokens:
    questions, frames = tokens.shape[:2]
    return TimedTokens(
        tokens=tokens.flatten(0, 1),
        counts=[1] * (questions * frames),
        times=list(zip(times, times, strict=True)) * questions,
        frames=list(range(frames)) * questions,
    )


def _tokenizer(source: str) -> Any:
    from transformers import BertTokenizer

    from lavis.models.language_models.base import with_words

    try:
        tokenizer = with_words(BertTokenizer.from_pretrained(resolve_asset(source), truncation_side="left"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"compressor.tokenizer {source!r} cannot be read ({error}); give a folder with vocab.txt, or a hub name "
            "that is cached or reachable"
        ) from error
    tokenizer.add_special_tokens({"bos_token": "[DEC]"})  # the row that InstructBLIP's word embedding has for it
    return tokenizer

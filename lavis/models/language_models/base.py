"""The adapter contract of language models, and ``pack``: prompts of a batch as one tensor of embeddings.

A batch is laid out by ``layout`` with one tokenizer call, then filled by one look-up.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from collections.abc import Sequence as Sequence_
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lavis.common.random import DrawSource
from lavis.common.schema import GenerationConfig
from lavis.layers.placement import place
from lavis.models.language_models._layout import GAP, Layout, lay_out, unpadded_length
from lavis.models.language_models._words import WORD_BOUNDARY, TextTable
from lavis.structures import Block, ModelOutput, Packed, Sequence, TimedTokens

IGNORE = -100
_log = logging.getLogger(__name__)

Autocast = Literal["bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def checked_autocast(value: Autocast | None) -> Autocast | None:
    """The value itself.

    Raises:
        ValueError: if it is no known precision.
    """
    if value is not None and value not in _DTYPES:
        raise ValueError(f"language_model.autocast must be one of {', '.join(_DTYPES)}, or null; got {value!r}")
    return value


@dataclass  # without slots, since DeepSpeed looks for tensors in the __dict__ of what a module returns
class LanguageOutput:
    """Forward pass: scalar ``loss`` (``None`` without labels), ``logits [B, S, V]`` and the states asked for."""

    loss: Tensor | None
    logits: Tensor
    states: dict[str, Tensor] = field(default_factory=dict)


class Watcher(Protocol):
    """Looks into decoding, position by position, and may change what is fed; made by a head for one batch.

    ``taps`` names the states it wants: ``last`` is the output of the last layer before the final norm, ``below_last``
    what that layer was given. Both are ``[B, n, D]``.
    """

    @property
    def taps(self) -> tuple[str, ...]:
        """Names of states."""

    def begin(self, packed: Packed, states: Mapping[str, Tensor]) -> None:
        """The prompts were read: states of all their positions."""

    def fed(self, tokens: Tensor, embeds: Tensor) -> Tensor:
        """What to feed for the tokens ``[B]`` just written, given their embeddings ``[B, 1, D]``."""

    def step(self, states: Mapping[str, Tensor]) -> None:
        """These were fed: states of one position a row."""

    def keep(self, rows: Tensor) -> None:
        """Decoding goes on with these of the present rows; the answers of the others are complete."""

    def results(self, lengths: Sequence_[int]) -> list[dict[str, Tensor]]:
        """What was seen, for each row of the batch, whose answer has so many tokens; becomes ``ModelOutput.hidden``."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of decoding is each row's own.

    Args:
        names: of the samples, for messages.
        draws: random numbers, to draw answers with.
        penalties: repetition penalty.
    """

    names: Sequence_[str]
    draws: Sequence_[DrawSource]
    penalties: Sequence_[float]


class LanguageModel(nn.Module, ABC):
    """A stock language model behind one contract.

    Subclasses hold ``model`` and ``tokenizer`` and say where embeddings come from, how a packed batch is run, and how
    text is generated. ``encoder_decoder`` decides where answers go: a target of their own, or the end of the sequence.
    """

    encoder_decoder: bool
    autocast: Autocast | None = None
    model: Any  # a transformers model, which carries no types
    tokenizer: Any

    @property
    def context(self) -> int | None:
        """Positions that the model can read and write together; ``None`` if there is no such limit."""
        return None

    @property
    @abstractmethod
    def width(self) -> int:
        """Width of the token embeddings."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings ``[..., D]`` of token ids."""

    @abstractmethod
    def forward(self, packed: Packed, taps: Sequence_[str] = ()) -> LanguageOutput:
        """Teacher-forced pass over a packed batch.

        Args:
            packed: the batch.
            taps: states to return (see ``Watcher``).

        Raises:
            ValueError: if this model has no such states.
        """

    @abstractmethod
    def generate(
        self,
        packed: Packed,
        generation: GenerationConfig,
        watcher: Watcher | None = None,
        asked: Asked | None = None,
    ) -> list[ModelOutput]:
        """Text for every row of a batch packed without answers.

        Args:
            packed: the batch.
            generation: how to decode.
            watcher: looks at every step.
            asked: what is each row's own.

        Raises:
            ValueError: if this model cannot be watched or does not have a setting, if a prompt is longer than its
                context, or if what it says is no number.
        """

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        # Not by ``parameters()``, which walks through modules; this is asked many times a batch.
        device: torch.device = self.model.get_input_embeddings().weight.device
        return device

    def precision(self) -> torch.autocast:
        """The context to run the model in: ``autocast`` on CUDA, exact elsewhere."""
        enabled = self.device.type == "cuda" and self.autocast is not None
        return torch.autocast(self.device.type, dtype=_DTYPES[self.autocast or "bf16"], enabled=enabled)

    def pack(self, sequences: list[Sequence], visuals: list[TimedTokens], answer: bool = False) -> Packed:
        """Lays out a batch.

        Args:
            sequences: prompt of each sample, all with the same number of blocks; decoders find the answer inside the
                blocks, encoder-decoders beside them.
            visuals: visual tokens of each sample, ``[n_i, D]``.
            answer: whether to add the answers as training targets.

        Returns:
            the packed batch; ``L`` is the sum of the longest rows of each block.
        """
        if len({len(s.blocks) for s in sequences}) != 1 or len(sequences) != len(visuals):
            raise ValueError(
                f"a batch needs one prompt a sample and equally many blocks in each, got {len(sequences)} prompts with "
                f"{[len(s.blocks) for s in sequences]} blocks for {len(visuals)} samples"
            )
        # An encoder-decoder's answers are laid out as one more block, and taken off again.
        apart = answer and self.encoder_decoder
        prompts = [[*s.blocks, Block(s.answer)] if apart else s.blocks for s in sequences]
        layout = lay_out(prompts, [len(v.tokens) for v in visuals], self._texts)
        lengths = layout.block_lengths[:-1] if apart else layout.block_lengths
        length = sum(lengths)
        ids = self._tensor(layout.ids[:, :length])
        labels, label_mask = None, None
        if apart:
            labels, label_mask = self._targets(layout, length)
        elif answer:
            labels = torch.where(self._tensor(layout.learned), ids, IGNORE)
            _tell_of_silence(layout, sequences)
        return Packed(
            embeds=self._with_refs(self._embeds(layout, length, visuals), layout, visuals),
            mask=self._tensor(layout.mask[:, :length]),
            ids=ids,
            labels=labels,
            label_mask=label_mask,
            block_lengths=lengths,
            frame_positions=[torch.from_numpy(frames) for frames in layout.frames],
            refs=layout.refs,
        )

    def length(self, sequence: Sequence) -> int:
        """Positions a prompt takes by itself, its visual tokens included, which need not exist yet."""
        return unpadded_length(sequence.blocks, self._texts)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)

    def _embeds(self, layout: Layout, length: int, visuals: list[TimedTokens]) -> Tensor:
        """``[B, L, D]`` for the first ``length`` positions: visual tokens and embedded texts at their places."""
        shown, ids = (array[:, :length].ravel() for array in (layout.visuals, layout.ids))
        visual, text = np.flatnonzero(shown != GAP), np.flatnonzero(ids != GAP)
        words = self.embed(self._tensor(ids[text]))
        parts = [v.tokens.to(words.dtype) for v in visuals]
        order = shown[visual]
        if not np.array_equal(order, np.arange(sum(map(len, parts)))):
            parts = [torch.cat(parts)[self._tensor(order)]]
        places = torch.split(self._tensor(visual), [len(part) for part in parts])
        embeds = place([words, *parts], [self._tensor(text), *places], len(shown))
        return embeds.view(len(layout.ids), length, self.width)

    def _with_refs(self, embeds: Tensor, layout: Layout, visuals: list[TimedTokens]) -> Tensor:
        """The embeddings with the token of a visual unit added wherever a ``FrameRef`` names one."""
        placed = [
            (row, position, visuals[row].tokens[visuals[row].offsets()[ref.frame]])
            for row, refs in enumerate(layout.refs)
            for position, ref in refs
            if ref.frame is not None
        ]
        if not placed:
            return embeds
        rows, positions, tokens = zip(*placed, strict=True)
        places = torch.tensor(rows, device=embeds.device), torch.tensor(positions, device=embeds.device)
        return embeds.index_put(places, torch.stack(tokens).to(embeds.dtype), accumulate=True)

    def _targets(self, layout: Layout, start: int) -> tuple[Tensor, Tensor]:
        """Answers as decoder labels ``[B, S]`` (-100 at padding) and their mask; they are laid out behind ``start``."""
        filled = layout.filled[:, start:]
        if not filled.any(axis=1).all():
            raise ValueError("a training sample has an empty answer: its moments are unknown, or there are none")
        labels = np.where(filled, layout.ids[:, start:], IGNORE)
        return self._tensor(labels), self._tensor(filled.astype(np.int64))

    def token_ids(self, tokens: Sequence_[str]) -> dict[str, int]:
        """Ids of single tokens.

        Raises:
            ValueError: if the tokenizer lacks one.
        """
        known = self.tokenizer.get_vocab()
        missing = [token for token in tokens if token not in known]
        if missing:
            raise ValueError(
                f"the tokenizer lacks {', '.join(missing)}; list them in language_model.added_tokens, in this order"
            )
        return {token: int(known[token]) for token in tokens}

    @property
    def pad_id(self) -> int:
        """Token id of padding; the end token where the tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    @cached_property
    def _texts(self) -> TextTable:
        return TextTable(self.tokenizer, self.pad_id)


def check_context(name: str, length: int, limit: int) -> None:
    """That a prompt fits into a model's context.

    Raises:
        ValueError: if it does not; names the sample, both lengths and what to do.
    """
    if length > limit:
        raise ValueError(
            f"sample {name:.200}: its prompt has {length} positions, {length - limit} more than the {limit} that the "
            "language model can read (max_position_embeddings). Show it fewer frames: a lower fps or max_frames in "
            "model.processor.views.frames.sampler, or a shorter part of the video; or shorten the text"
        )


def _tell_of_silence(layout: Layout, sequences: list[Sequence]) -> None:
    """Warns of conversations that were cut before the first word to be learned."""
    silent = [sequence for sequence, own in zip(sequences, layout.learned, strict=True) if not own.any()]
    if silent:
        _log.warning(
            "%d of %d conversations of a batch teach nothing: prompt.max_tokens cuts them off before the answer, the "
            "first begins %.200r; shorten them, or raise it", len(silent), len(sequences), silent[0].text(),
        )  # fmt: skip


def with_words(tokenizer: Any) -> Any:
    """The tokenizer, if its files were found: transformers 5 makes one of special tokens alone where they were not.

    Raises:
        ValueError: if it knows no words.
    """
    if len(set(tokenizer.get_vocab()) - {*tokenizer.all_special_tokens, WORD_BOUNDARY}) == 0:
        raise ValueError("its vocabulary is not there, or is empty")
    return tokenizer


def check_vocabulary(tokenizer: Any, model: Any, setting: str) -> None:
    """That every token has an embedding: without it, the first text with such a token would stop a run midway.

    Args:
        tokenizer: of transformers.
        model: of transformers.
        setting: dotted key that sets the number of embeddings, for the message.

    Raises:
        ValueError: if there are more tokens than embeddings.
    """
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ValueError(
            f"language_model.tokenizer has {len(tokenizer)} tokens but the language model only {rows} embeddings; "
            f"choose the tokenizer that belongs to it, or set {setting} to at least {len(tokenizer)}"
        )

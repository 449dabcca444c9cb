"""The adapter contract of language models, and ``pack``: prompts of a batch as one tensor of embeddings.

A batch is laid out with one tokenizer call, one embedding look-up and one scatter of visual tokens. Where the originals
concatenate token by token, the ids here equal theirs because every maximal run of text is tokenised whole, and numbers
between frames alone (``Text(isolated=True)``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lavis.common.schema import GenerationConfig
from lavis.structures import Block, FrameRef, ModelOutput, Packed, Sequence, Text, TimedTokens, Visual

IGNORE = -100
WORD_BOUNDARY = "▁"
_GAP = -1
_MAX_CACHED_TEXTS = 65_536

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


@dataclass(slots=True)
class LanguageOutput:
    """Forward pass: scalar ``loss`` (``None`` without labels) and ``logits [B, S, V]``."""

    loss: Tensor | None
    logits: Tensor


@dataclass(slots=True)
class _Row:
    """One block of one sample: token ids (``_GAP`` where a visual token sits), its source and whether it is learned."""

    ids: list[int]
    source: list[int]
    learned: list[bool]
    frames: list[tuple[int, int]]


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
    @abstractmethod
    def width(self) -> int:
        """Width of the token embeddings."""

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings ``[..., D]`` of token ids."""

    @abstractmethod
    def forward(self, packed: Packed) -> LanguageOutput:
        """Teacher-forced pass over a packed batch."""

    @abstractmethod
    def generate(self, packed: Packed, generation: GenerationConfig) -> list[ModelOutput]:
        """Text for every row of a batch packed without answers."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = next(self.model.parameters()).device
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
        blocks = [s.blocks for s in sequences]
        self._tokenize_all([block for row in blocks for block in row])
        firsts = np.cumsum([0, *(v.tokens.shape[0] for v in visuals[:-1])])
        parts = [self._lay_out(column, firsts) for column in zip(*blocks, strict=True)]
        lengths = [part[0].shape[1] for part in parts]
        ids, source, mask, learned = (np.concatenate([p[i] for p in parts], axis=1) for i in range(4))
        starts = np.cumsum([0, *lengths[:-1]])
        positions = [
            torch.tensor(
                [
                    (a + first, b + first)
                    for (_, _, _, _, frames), first in zip(parts, starts, strict=True)
                    for a, b in frames[i]
                ],
                dtype=torch.long,
            ).reshape(-1, 2)
            for i in range(len(sequences))
        ]
        ids_tensor = torch.from_numpy(ids).to(self.device)
        labels, label_mask = None, None
        if answer and self.encoder_decoder:
            labels, label_mask = self._targets(sequences)
        elif answer:
            labels = torch.where(torch.from_numpy(learned).to(self.device), ids_tensor, IGNORE)
        return Packed(
            embeds=self._embeds(ids_tensor, torch.from_numpy(source).to(self.device), visuals),
            mask=torch.from_numpy(mask).to(self.device),
            ids=ids_tensor,
            labels=labels,
            label_mask=label_mask,
            block_lengths=lengths,
            frame_positions=positions,
        )

    def _embeds(self, ids: Tensor, source: Tensor, visuals: list[TimedTokens]) -> Tensor:
        embeds = self.embed(ids.clamp(min=0)) * (ids != _GAP).unsqueeze(-1)
        rows, columns = torch.nonzero(source != _GAP, as_tuple=True)
        if not len(rows):
            return embeds
        tokens = torch.cat([v.tokens for v in visuals]).to(embeds.dtype)
        return embeds.index_put((rows, columns), tokens[source[rows, columns]])

    def _lay_out(self, blocks: tuple[Block, ...], firsts: NDArray[Any]) -> tuple[Any, ...]:
        """One block of every sample, padded: ids, sources, mask, learned ``[B, L]`` and frame positions."""
        rows = [self._row(block, int(first)) for block, first in zip(blocks, firsts, strict=True)]
        shape = (len(rows), max(len(row.ids) for row in rows))
        # Left padding is the zero vector and right padding the pad token's embedding, as in the originals.
        fill = _GAP if blocks[0].pad == "left" else self.pad_id
        ids = np.full(shape, fill, dtype=np.int64)
        source = np.full(shape, _GAP, dtype=np.int64)
        mask = np.full(shape, int(blocks[0].attend_padding), dtype=np.int64)
        learned = np.zeros(shape, dtype=bool)
        frames = []
        for i, row in enumerate(rows):
            start = shape[1] - len(row.ids) if blocks[0].pad == "left" else 0
            span = slice(start, start + len(row.ids))
            ids[i, span], source[i, span], learned[i, span], mask[i, span] = row.ids, row.source, row.learned, 1
            frames.append([(a + start, b + start) for a, b in row.frames])
        return ids, source, mask, learned, frames

    def _row(self, block: Block, first: int) -> _Row:
        row = _Row([], [], [], [])
        for segment in _runs(block):
            if isinstance(segment, Visual):
                count = segment.stop - segment.start
                row.frames.append((len(row.ids), len(row.ids) + count))
                row.ids += [_GAP] * count
                row.source += range(first + segment.start, first + segment.stop)
                row.learned += [False] * count
                continue
            if isinstance(segment, FrameRef):
                ids, learned = [self.tokenizer.convert_tokens_to_ids(segment.token)], segment.learned
            else:
                ids, learned = self._ids(segment), segment.learned
            row.ids += ids
            row.source += [_GAP] * len(ids)
            row.learned += [learned] * len(ids)
        return row

    def _targets(self, sequences: list[Sequence]) -> tuple[Tensor, Tensor]:
        """Answers as decoder labels ``[B, S]`` (-100 at padding) and their mask."""
        self._tokenize_all([Block(s.answer) for s in sequences])
        rows = [self._row(Block(s.answer), 0).ids for s in sequences]
        if not all(rows):
            raise ValueError("a training sample has an empty answer: its moments are unknown, or there are none")
        shape = (len(rows), max(map(len, rows)))
        labels, mask = np.full(shape, IGNORE, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        for i, row in enumerate(rows):
            labels[i, : len(row)], mask[i, : len(row)] = row, 1
        return torch.from_numpy(labels).to(self.device), torch.from_numpy(mask).to(self.device)

    @property
    def pad_id(self) -> int:
        """Token id of padding; the end token where the tokenizer has none."""
        pad = self.tokenizer.pad_token_id
        return int(pad if pad is not None else self.tokenizer.eos_token_id)

    # Tokenisation: every distinct text once, all texts of a batch in one call.

    _texts: dict[tuple[str, bool], list[int]]

    def _tokenize_all(self, blocks: list[Block]) -> None:
        if "_texts" not in self.__dict__:
            self.__dict__["_texts"] = {}
        if len(self._texts) > _MAX_CACHED_TEXTS:
            self._texts.clear()
        texts = {(s.text, s.isolated) for block in blocks for s in _runs(block) if isinstance(s, Text)}
        missing = sorted(texts - self._texts.keys())
        if not missing:
            return
        encoded = self.tokenizer([text for text, _ in missing], add_special_tokens=False)["input_ids"]
        boundary = self.tokenizer.get_vocab().get(WORD_BOUNDARY)
        for (text, isolated), ids in zip(missing, encoded, strict=True):
            self._texts[text, isolated] = [i for i in ids if not (isolated and i == boundary)]

    def _ids(self, text: Text) -> list[int]:
        if (text.text, text.isolated) not in self._texts:
            self._tokenize_all([Block([text])])
        ids = self._texts[text.text, text.isolated]
        if text.max_tokens is not None:
            ids = ids[: text.max_tokens - int(text.eos)]
        return [*ids, int(self.tokenizer.eos_token_id)] if text.eos else list(ids)


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


def _runs(block: Block) -> list[Any]:
    """Segments with neighbouring plain texts of the same kind joined: a tokenizer sees maximal runs."""
    runs: list[Any] = []
    for segment in block.segments:
        last = runs[-1] if runs else None
        if (
            isinstance(segment, Text)
            and isinstance(last, Text)
            and not (segment.isolated or last.isolated or last.eos)
            and segment.learned == last.learned
        ):
            limit = segment.max_tokens if segment.max_tokens is not None else last.max_tokens
            runs[-1] = Text(last.text + segment.text, segment.learned, False, segment.eos, limit)
        else:
            runs.append(segment)
    return runs

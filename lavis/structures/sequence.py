"""A prompt is blocks of segments; what is learned, and where frames lie, is marked where the text is made.

``Block`` exists because CALCE and MR.BLIP pad *inside* the prompt: the video part and the subtitle part are padded on
their own before they are joined, and T5's relative positions see the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Text:
    """Text to tokenise.

    Args:
        text: the string; neighbouring plain texts of a block are tokenised as one.
        learned: whether the language model is trained to write it.
        isolated: tokenised alone, without special tokens, and stripped of pieces that are only a word boundary: numbers
            and separators between frames.
        eos: append the tokenizer's end token.
        max_tokens: cut so that no more than this many tokens remain, end token included.
    """

    text: str
    learned: bool = False
    isolated: bool = False
    eos: bool = False
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Visual:
    """Tokens ``start`` to ``stop`` (exclusive) of the sample's ``TimedTokens``."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A single learned or given position that stands for frame ``frame`` (structural and match tokens)."""

    token: str
    frame: int
    learned: bool = False


Segment = Text | Visual | FrameRef


@dataclass(frozen=True, slots=True)
class Block:
    """Segments padded together across a batch.

    Args:
        segments: in order.
        pad: side of the padding.
        attend_padding: whether attention sees the padding (a fault of MR.BLIP, see docs/quirks.md).
    """

    segments: list[Segment]
    pad: Literal["left", "right"] = "right"
    attend_padding: bool = False


@dataclass(frozen=True, slots=True)
class Sequence:
    """The prompt of one sample: ``blocks`` in order, and the ``answer`` (learned text), empty at inference."""

    blocks: list[Block]
    answer: list[Segment] = field(default_factory=list)

    def text(self) -> str:
        """The prompt in words, a visual as ``<v:n>``: for logs, reports and tests."""
        parts = []
        for segment in (s for block in self.blocks for s in block.segments):
            if isinstance(segment, Text):
                parts.append(segment.text)
            elif isinstance(segment, Visual):
                parts.append(f"<v:{segment.stop - segment.start}>")
            else:
                parts.append(segment.token)
        return "".join(parts)


@dataclass(slots=True)
class Packed:
    """A batch of sequences as tensors.

    Args:
        embeds: ``[B, L, D]``, zero at padding.
        mask: ``[B, L]``, 1 where attention may look.
        ids: ``[B, L]`` token ids, -1 at visual tokens and padding.
        labels: causal models ``[B, L]``, encoder-decoders ``[B, S]``; -100 where nothing is learned, or ``None``.
        label_mask: ``[B, S]`` for encoder-decoders, 1 on real target tokens.
        block_lengths: padded length of each block.
        frame_positions: per sample, ``[num_units, 2]`` first and last-plus-one position of each visual unit in ``L``.
    """

    embeds: Tensor
    mask: Tensor
    ids: Tensor
    labels: Tensor | None
    label_mask: Tensor | None
    block_lengths: list[int]
    frame_positions: list[Tensor]

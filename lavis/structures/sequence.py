"""A prompt is blocks of segments; what is learned, and where frames lie, is marked where the text is made.

``Block`` exists because CALCE and MR.BLIP pad *inside* the prompt: the video part and the subtitle part are padded on
their own before they are joined, and T5's relative positions see the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field, replace
from itertools import pairwise
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
    """A single learned or given position that stands for something in the video (structural and match tokens).

    Args:
        token: of the vocabulary, one id.
        frame: the visual unit whose first token is added to what is fed at this position; ``None`` adds nothing.
        learned: whether the language model is trained to write it.
        target: what it stands for, for a head to learn, counted in visual units: first and last (a segment, whose ends
            are cut to whole units) or twice the same (an instant, which may lie between two). ``None``: nothing.
    """

    token: str
    frame: int | None = None
    learned: bool = False
    target: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """Given and learned text and single tokens between them, tokenised as one string.

    Where a conversation passes from the user to the assistant, a tokenizer must not see two texts. Each token belongs
    to the part in which it begins.

    Args:
        parts: in order; of a ``Text``, ``text`` and ``learned`` count alone.
        skip: tokens left out at the start (a fault of some originals, see docs/quirks.md).
        keep: tokens that stay at most; the end is left out.

    Raises:
        ValueError: if a text is isolated, or ends with the end token.
    """

    parts: tuple[Text | FrameRef, ...]
    skip: int = 0
    keep: int | None = None

    def __post_init__(self) -> None:
        if any(isinstance(part, Text) and (part.isolated or part.eos or part.max_tokens) for part in self.parts):
            raise ValueError("a text of a passage is neither isolated nor closed nor cut: it is read with others")

    def text(self) -> str:
        """The string a tokenizer sees."""
        return "".join(part.text if isinstance(part, Text) else part.token for part in self.parts)


@dataclass(frozen=True, slots=True)
class Visuals:
    """A column of ``Series``: visual units of a sample, given by first token and number of tokens."""

    starts: Seq[int]
    counts: Seq[int]

    def __post_init__(self) -> None:
        if len(self.starts) != len(self.counts):
            raise ValueError(f"every visual unit needs a start and a count, got {len(self.starts)} and {len(self)}")

    def __len__(self) -> int:
        return len(self.counts)

    def __iter__(self) -> Iterator[Visual]:
        return (Visual(start, start + count) for start, count in zip(self.starts, self.counts, strict=True))


@dataclass(frozen=True, slots=True)
class Texts:
    """A column of ``Series``: one given text a row, ``isolated`` and ``max_tokens`` as for ``Text``."""

    texts: Seq[str]
    isolated: bool = True
    max_tokens: int | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def __iter__(self) -> Iterator[Text]:
        return (Text(text, isolated=self.isolated, max_tokens=self.max_tokens) for text in self.texts)


@dataclass(frozen=True, slots=True)
class Series:
    """The same few segments over and over: frames each followed by its time, lines of subtitles.

    Means what ``segments`` lists, row by row, but is laid out in one go however long it is.

    Args:
        columns: of equal length; row ``i`` is made of item ``i`` of each. A text that is not isolated would be one with
            plain text beside it, so such a column stands between others.

    Raises:
        ValueError: if lengths differ, or plain text would meet plain text.
    """

    columns: tuple[Visuals | Texts, ...]

    def __post_init__(self) -> None:
        if len({len(column) for column in self.columns}) != 1:
            raise ValueError(f"a series needs columns of one length, got {[len(column) for column in self.columns]}")
        plain = [isinstance(column, Texts) and not column.isolated for column in self.columns]
        if plain[0] or plain[-1] or any(a and b for a, b in pairwise(plain)):
            raise ValueError("plain text of a series must stand between visual units or isolated texts")

    def __len__(self) -> int:
        return len(self.columns[0])

    def segments(self) -> list[Text | Visual]:
        """Every segment by itself, in order."""
        return [segment for row in zip(*self.columns, strict=True) for segment in row]


Segment = Text | Visual | FrameRef | Series | Passage


@dataclass(frozen=True, slots=True)
class Block:
    """Segments padded together across a batch.

    Args:
        segments: in order.
        pad: side of the padding; ``end`` joins a block to a neighbour that has ``end`` too, so that nothing stands
            between them, and pads behind the last.
        attend_padding: whether attention sees the padding (a fault of MR.BLIP, see docs/quirks.md).
    """

    segments: list[Segment]
    pad: Literal["left", "right", "end"] = "right"
    attend_padding: bool = False

    def one_by_one(self) -> list[Text | Visual | FrameRef]:
        """The segments with every series and passage written out: to read, print or compare a prompt."""
        return [single for segment in self.segments for single in _singles(segment)]


def _singles(segment: Segment) -> Seq[Text | Visual | FrameRef]:
    if isinstance(segment, Series):
        return segment.segments()
    return segment.parts if isinstance(segment, Passage) else (segment,)


@dataclass(frozen=True, slots=True)
class Round:
    """Question and answer of a conversation, as some originals count them to find what is learned.

    Args:
        given: texts between the pictures, up to the answer.
        whole: the same with the answer.
        given_more: tokens that ``given`` is held to have beyond its own and the begin token.
        whole_more: the same of ``whole``.
    """

    given: tuple[str, ...]
    whole: tuple[str, ...]
    given_more: int = 0
    whole_more: int = 0


@dataclass(frozen=True, slots=True)
class Sequence:
    """The prompt of one sample.

    Args:
        blocks: in order.
        answer: learned text, empty at inference.
        max_tokens: positions of a decoder's sequence that stay in training, those of frames side by side as one; the
            end is left out.
        rounds: of a conversation, if what a decoder learns is found by counting their tokens one by one, as the
            originals do, and not where the texts say it.
    """

    blocks: list[Block]
    answer: list[Segment] = field(default_factory=list)
    max_tokens: int | None = None
    rounds: tuple[Round, ...] = ()

    def padded_behind(self) -> Sequence:
        """The same prompt without padding between its blocks: as it would be alone, whatever it is asked with.

        CALCE and MR.BLIP pad the parts of a prompt each on its own: T5 counts the padding between them as distance, and
        MR.BLIP even looks at it. Here a row is padded once, at the end, where nothing looks.
        """
        return replace(self, blocks=[replace(block, pad="end", attend_padding=False) for block in self.blocks])

    def text(self) -> str:
        """The prompt in words, a visual as ``<v:n>``: for logs, reports and tests."""
        parts = []
        for segment in (s for block in self.blocks for s in block.one_by_one()):
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
        ids: ``[B, L]`` token ids, -1 at visual tokens and left padding, the pad token at right padding.
        labels: causal models ``[B, L]``, encoder-decoders ``[B, S]``; -100 where nothing is learned, or ``None``.
        label_mask: ``[B, S]`` for encoder-decoders, 1 on real target tokens.
        block_lengths: padded length of each block.
        frame_positions: per sample, ``[num_units, 2]`` first and last-plus-one position of each visual unit in ``L``.
        refs: per sample, position in ``L`` of every ``FrameRef``, in order.
    """

    embeds: Tensor
    mask: Tensor
    ids: Tensor
    labels: Tensor | None
    label_mask: Tensor | None
    block_lengths: list[int]
    frame_positions: list[Tensor]
    refs: list[list[tuple[int, FrameRef]]] = field(default_factory=list)

    def spans(self) -> list[list[tuple[int, int]]]:
        """Per sample, first and last-plus-one position of every run of neighbouring visual units."""
        return [_runs(positions.tolist()) for positions in self.frame_positions]


def _runs(units: list[list[int]]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for start, end in units:
        if runs and runs[-1][1] == start:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs

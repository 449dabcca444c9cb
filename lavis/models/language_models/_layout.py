"""Where every token of a batch stands, without a Python loop over tokens or frames.

Whatever a position can show is a row of one table: nothing (row 0), the visual tokens of the batch, then the token
ids of its texts, each distinct text once (``Words``). A prompt is a list of *pieces*, runs of neighbouring rows; frames
with their times become pieces by slices of arrays, and pieces become positions by ``repeat`` and ``cumsum``.

Where the originals concatenate token by token, the ids here equal theirs because every maximal run of plain text is
tokenised whole, and numbers between frames alone (``Text(isolated=True)``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.structures import Block, FrameRef, Segment, Series, Text, Texts, Visual, Visuals

GAP = -1
"""The id of a position at which no token of the vocabulary stands."""
WORD_BOUNDARY = "▁"

_MAX_CACHED_TEXTS = 65_536

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Layout:
    """A batch laid out; L is the sum of the longest rows of each block.

    Args:
        ids: ``[B, L]`` token ids, ``GAP`` at visual tokens and left padding.
        visuals: ``[B, L]`` visual tokens, numbered over the batch, ``GAP`` elsewhere.
        filled: ``[B, L]`` false at padding.
        mask: ``[B, L]`` 1 where attention may look.
        learned: ``[B, L]`` what the language model is trained to write.
        block_lengths: padded length of each block; one for blocks that are joined.
        frames: per sample ``[n, 2]``, first and last-plus-one position of each visual unit.
    """

    ids: Ints
    visuals: Ints
    filled: Bools
    mask: Ints
    learned: Bools
    block_lengths: list[int]
    frames: list[Ints]


def lay_out(prompts: Sequence[Sequence[Block]], num_visuals: Sequence[int], texts: TextTable) -> Layout:
    """Lays out a batch.

    Args:
        prompts: blocks of each sample, equally many; how blocks are padded is told by those of the first sample.
        num_visuals: visual tokens of each sample; those of the batch are numbered sample by sample.
        texts: tokenises.

    Raises:
        ValueError: if a prompt shows visual tokens that its sample does not have.
    """
    batch, columns = len(prompts), len(prompts[0])
    segments = [joined(block.segments) for blocks in prompts for block in blocks]  # sample by sample
    ends = np.cumsum(num_visuals, dtype=np.int64)
    words = texts.words(chain.from_iterable(segments), first_row=1 + int(ends[-1]))
    first_visual = np.repeat(1 + ends - num_visuals, columns)
    pieces = _pieces(segments, words, first_visual)
    _check_visuals(pieces, first_visual, np.repeat(1 + ends, columns), columns)

    pieces, blocks = _padded_together(pieces, prompts[0], batch)
    columns = len(blocks)

    edges = np.concatenate([[0], np.cumsum(pieces.length)])
    row_edges = edges[pieces.row_edges]
    sizes = np.diff(row_edges).reshape(batch, columns)
    lengths = sizes.max(axis=0)
    left = np.array([block.pad == "left" for block in blocks])
    begins = (np.cumsum(lengths) - lengths + np.where(left, lengths - sizes, 0)).ravel()

    # Left padding is the zero vector and right padding the pad token's embedding, as in the originals.
    rows = _each_row(np.where(left, 0, words.first_row), lengths, batch)
    mask = _each_row(np.array([int(block.attend_padding) for block in blocks]), lengths, batch)
    filled, learned = np.zeros(rows.shape, dtype=bool), np.zeros(rows.shape, dtype=bool)
    shown = np.repeat(pieces.start - edges[:-1], pieces.length) + np.arange(edges[-1])
    learns = np.repeat(pieces.learned, pieces.length) if pieces.learned.any() else None
    for row, begin in enumerate(begins):
        own = slice(row_edges[row], row_edges[row + 1])
        place = (row // columns, slice(begin, begin + own.stop - own.start))
        rows[place], filled[place], mask[place] = shown[own], True, 1
        if learns is not None:
            learned[place] = learns[own]
    ids = np.concatenate([np.full(words.first_row, GAP), words.ids])[rows]
    visuals = np.where((rows > 0) & (rows < words.first_row), rows - 1, GAP)
    frames = _frame_positions(pieces, edges, begins - row_edges[:-1], columns)
    return Layout(ids, visuals, filled, mask, learned, lengths.tolist(), frames)


def unpadded_length(blocks: Sequence[Block], texts: TextTable) -> int:
    """Positions the blocks of one sample take; ``texts`` tokenises."""
    segments = [joined(block.segments) for block in blocks]
    words = texts.words(chain.from_iterable(segments), first_row=1)
    return int(_pieces(segments, words, np.zeros(len(segments), dtype=np.int64)).length.sum())


def joined(segments: Iterable[Segment]) -> list[Segment]:
    """Segments with neighbouring plain texts of the same kind joined: a tokenizer sees maximal runs."""
    runs: list[Segment] = []
    for segment in segments:
        last = runs[-1] if runs else None
        if (
            isinstance(segment, Text)
            and isinstance(last, Text)
            and not (segment.isolated or last.isolated or last.eos)
            and segment.learned == last.learned
        ):
            limit = segment.max_tokens if segment.max_tokens is not None else last.max_tokens
            runs[-1] = Text(last.text + segment.text, segment.learned, False, segment.eos, limit)
        elif not isinstance(segment, Series) or len(segment):  # an empty one must not part the texts around it
            runs.append(segment)
    return runs


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Runs of neighbouring table rows, in the order in which they are shown.

    The first four have one entry a piece; ``row_edges`` tells where the pieces of each block of each sample begin, and
    where the last ones end.
    """

    start: Ints
    length: Ints
    visual: Bools
    learned: Bools
    row_edges: Ints


def _pieces(rows: list[list[Segment]], words: Words, first_visual: Ints) -> _Pieces:
    row_edges = np.concatenate([[0], np.cumsum([sum(map(_num_pieces, row)) for row in rows], dtype=np.int64)])
    start, length = np.zeros(row_edges[-1], dtype=np.int64), np.zeros(row_edges[-1], dtype=np.int64)
    visual, learned = np.zeros(row_edges[-1], dtype=bool), np.zeros(row_edges[-1], dtype=bool)
    at = 0
    for row, first in zip(rows, first_visual, strict=True):
        for segment in row:
            stop = at + _num_pieces(segment)
            if isinstance(segment, Series):
                for i, column in enumerate(segment.columns):
                    place = slice(at + i, stop, len(segment.columns))
                    if isinstance(column, Visuals):
                        start[place] = column.starts
                        start[place] += first
                        length[place], visual[place] = column.counts, True
                    else:
                        start[place], length[place] = words.column(column)
            elif isinstance(segment, Visual):
                start[at], length[at], visual[at] = first + segment.start, segment.stop - segment.start, True
            else:
                (start[at], length[at]), learned[at:stop] = words.single(segment), segment.learned
                if stop == at + 2:
                    start[at + 1], length[at + 1] = words.end
            at = stop
    return _Pieces(start, length, visual, learned, row_edges)


def _check_visuals(pieces: _Pieces, first: Ints, end: Ints, columns: int) -> None:
    row = _row_of(pieces)
    beyond = pieces.visual & ((pieces.start < first[row]) | (pieces.start + pieces.length > end[row]))
    if beyond.any():
        sample = int(row[beyond][0]) // columns
        held = int((end - first)[sample * columns])
        raise ValueError(f"sample {sample} of the batch has {held} visual tokens, but its prompt shows others as well")


def _padded_together(pieces: _Pieces, blocks: Sequence[Block], batch: int) -> tuple[_Pieces, list[Block]]:
    """Pieces with the rows of joined blocks as one, and the first block of each row."""
    apart = [i for i, own in enumerate(blocks) if i == 0 or not own.pad == blocks[i - 1].pad == "end"]
    begins = pieces.row_edges[:-1].reshape(batch, len(blocks))[:, apart]
    return replace(pieces, row_edges=np.append(begins, pieces.row_edges[-1])), [blocks[i] for i in apart]


def _row_of(pieces: _Pieces) -> Ints:
    """For each piece, its block, counted sample by sample."""
    return np.repeat(np.arange(len(pieces.row_edges) - 1), np.diff(pieces.row_edges))


def _num_pieces(segment: Segment) -> int:
    if isinstance(segment, Series):
        return len(segment) * len(segment.columns)
    return 2 if isinstance(segment, Text) and segment.eos else 1


def _each_row(values: Ints, lengths: Ints, batch: int) -> Ints:
    """``[B, L]``: one value for all positions of a block."""
    return np.tile(np.repeat(values, lengths), (batch, 1))


def _frame_positions(pieces: _Pieces, edges: Ints, shifts: Ints, columns: int) -> list[Ints]:
    """``[n, 2]`` of each sample; ``shifts`` leads from a piece's place among all tokens to its position in L."""
    row = _row_of(pieces)[pieces.visual]
    bounds = np.stack([edges[:-1][pieces.visual], edges[1:][pieces.visual]], axis=1) + shifts[row, None]
    samples = len(shifts) // columns
    counts = np.bincount(row // columns, minlength=samples)
    return np.split(bounds, np.cumsum(counts)[:-1])


@dataclass(frozen=True, slots=True)
class Words:
    """Token ids of the distinct texts of a batch, one behind the other: row ``first_row + i`` shows ``ids[i]``.

    ``places`` finds a text by kind and by itself; ``starts`` and ``lengths`` say which rows are its.
    """

    ids: Ints
    starts: Ints
    lengths: Ints
    places: dict[str, dict[str, int]]
    first_row: int
    end: tuple[int, int]

    def column(self, column: Texts) -> tuple[Ints, Ints]:
        """First row and number of rows of each text."""
        known = self.places[_kind(column)]
        found = np.fromiter(map(known.__getitem__, column.texts), np.int64, len(column))
        lengths = self.lengths[found]
        return self.starts[found], lengths if column.max_tokens is None else np.minimum(lengths, column.max_tokens)

    def single(self, segment: Text | FrameRef) -> tuple[int, int]:
        """First row and number of rows, without an end token but leaving room for one."""
        if isinstance(segment, FrameRef):
            place = self.places["token"][segment.token]
            return int(self.starts[place]), int(self.lengths[place])
        place = self.places[_kind(segment)][segment.text]
        length = int(self.lengths[place])
        if segment.max_tokens is not None:
            length = min(length, max(segment.max_tokens - int(segment.eos), 0))
        return int(self.starts[place]), length


class TextTable:
    """Tokenises: every distinct text once, all that are new of a batch in one call, and remembers them.

    Args:
        tokenizer: of transformers; ``Any`` because that carries no types.
        pad_id: token id of padding.
    """

    def __init__(self, tokenizer: Any, pad_id: int) -> None:
        self._tokenizer = tokenizer
        self._pad_id = pad_id
        self._boundary: int | None = None
        self._known: dict[str, dict[str, list[int]]] = {"plain": {}, "isolated": {}, "token": {}}

    def words(self, segments: Iterable[Segment], first_row: int) -> Words:
        """The texts of ``segments``, from row ``first_row`` on, which is the pad token's.

        Raises:
            ValueError: if a text wants an end token and the tokenizer has none.
        """
        wanted: dict[str, dict[str, None]] = {kind: {} for kind in self._known}
        ends = False
        for segment in segments:
            if isinstance(segment, Text):
                wanted[_kind(segment)][segment.text] = None
                ends = ends or segment.eos
            elif isinstance(segment, FrameRef):
                wanted["token"][segment.token] = None
            elif isinstance(segment, Series):
                for column in segment.columns:
                    if isinstance(column, Texts):
                        wanted[_kind(column)].update(dict.fromkeys(column.texts))
        if ends and self._tokenizer.eos_token_id is None:
            raise ValueError("a prompt ends with the tokenizer's end token, but the tokenizer has none (eos_token)")
        self._tokenize(wanted)
        ids = [[self._pad_id], [int(self._tokenizer.eos_token_id)] if ends else []]
        places: dict[str, dict[str, int]] = {}
        for kind, texts in wanted.items():
            places[kind] = dict(zip(texts, range(len(ids), len(ids) + len(texts)), strict=True))
            ids += map(self._known[kind].__getitem__, texts)
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        starts = first_row + np.cumsum(lengths) - lengths
        flat = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        return Words(flat, starts, lengths, places, first_row, (int(starts[1]), 1))

    def _tokenize(self, wanted: dict[str, dict[str, None]]) -> None:
        if sum(map(len, self._known.values())) > _MAX_CACHED_TEXTS:
            self._known = {kind: {} for kind in self._known}
        known = self._known
        for token in wanted["token"].keys() - known["token"].keys():
            known["token"][token] = [int(self._tokenizer.convert_tokens_to_ids(token))]
        plain = [text for text in wanted["plain"] if text not in known["plain"]]
        isolated = [text for text in wanted["isolated"] if text not in known["isolated"]]
        if not plain and not isolated:
            return
        encoded = self._tokenizer([*plain, *isolated], add_special_tokens=False)["input_ids"]
        if self._boundary is None:
            self._boundary = self._tokenizer.get_vocab().get(WORD_BOUNDARY, GAP)
        known["plain"].update(zip(plain, encoded[: len(plain)], strict=True))
        for text, ids in zip(isolated, encoded[len(plain) :], strict=True):
            known["isolated"][text] = [i for i in ids if i != self._boundary]


def _kind(text: Text | Texts) -> str:
    return "isolated" if text.isolated else "plain"

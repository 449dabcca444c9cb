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

import numpy as np

from lavis.models.language_models._words import Bools, Ints, TextTable, Words
from lavis.structures import Block, FrameRef, Passage, Segment, Series, Text, Visual, Visuals

GAP = -1
"""The id of a position at which no token of the vocabulary stands."""


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
        refs: per sample, position of every ``FrameRef``, in order.
    """

    ids: Ints
    visuals: Ints
    filled: Bools
    mask: Ints
    learned: Bools
    block_lengths: list[int]
    frames: list[Ints]
    refs: list[list[tuple[int, FrameRef]]]


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
    shifts = begins - row_edges[:-1]
    bounds, sample_edges = _positions(pieces.visual, pieces, edges, shifts, columns)
    frames = np.split(bounds, sample_edges)
    return Layout(ids, visuals, filled, mask, learned, lengths.tolist(), frames, _refs(pieces, edges, shifts, columns))


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
    where the last ones end. ``refs`` are the pieces that stand for something in the video, by their number.
    """

    start: Ints
    length: Ints
    visual: Bools
    learned: Bools
    row_edges: Ints
    refs: dict[int, FrameRef]


def _pieces(rows: list[list[Segment]], words: Words, first_visual: Ints) -> _Pieces:
    counts = [sum(_num_pieces(segment, words) for segment in row) for row in rows]
    row_edges = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    start, length = np.zeros(row_edges[-1], dtype=np.int64), np.zeros(row_edges[-1], dtype=np.int64)
    visual, learned = np.zeros(row_edges[-1], dtype=bool), np.zeros(row_edges[-1], dtype=bool)
    refs: dict[int, FrameRef] = {}
    at = 0
    for row, first in zip(rows, first_visual, strict=True):
        for segment in row:
            stop = at + _num_pieces(segment, words)
            if isinstance(segment, Passage):
                first_row, cut = words.passage(segment)
                start[at:stop] = first_row + cut.starts
                length[at:stop], learned[at:stop] = cut.lengths, cut.learned
                refs.update((at + piece, ref) for piece, ref in zip(cut.ref_pieces, cut.refs, strict=True))
            elif isinstance(segment, Series):
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
                if isinstance(segment, FrameRef):
                    refs[at] = segment
                if stop == at + 2:
                    start[at + 1], length[at + 1] = words.end
            at = stop
    return _Pieces(start, length, visual, learned, row_edges, refs)


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


def _num_pieces(segment: Segment, words: Words) -> int:
    if isinstance(segment, Passage):
        return len(words.passage(segment)[1].lengths)
    if isinstance(segment, Series):
        return len(segment) * len(segment.columns)
    return 2 if isinstance(segment, Text) and segment.eos else 1


def _each_row(values: Ints, lengths: Ints, batch: int) -> Ints:
    """``[B, L]``: one value for all positions of a block."""
    return np.tile(np.repeat(values, lengths), (batch, 1))


def _positions(chosen: Bools, pieces: _Pieces, edges: Ints, shifts: Ints, columns: int) -> tuple[Ints, Ints]:
    """``[n, 2]`` bounds in L of the chosen pieces, and the numbers at which those of the next sample begin.

    ``shifts`` leads from a piece's place among all tokens to its position in L.
    """
    row = _row_of(pieces)[chosen]
    bounds = np.stack([edges[:-1][chosen], edges[1:][chosen]], axis=1) + shifts[row, None]
    counts = np.bincount(row // columns, minlength=len(shifts) // columns)
    return bounds, np.cumsum(counts)[:-1]


def _refs(pieces: _Pieces, edges: Ints, shifts: Ints, columns: int) -> list[list[tuple[int, FrameRef]]]:
    chosen = np.zeros(len(pieces.length), dtype=bool)
    chosen[list(pieces.refs)] = True
    bounds, sample_edges = _positions(chosen, pieces, edges, shifts, columns)
    placed = list(zip(bounds[:, 0].tolist(), pieces.refs.values(), strict=True))
    return [placed[a:b] for a, b in zip([0, *sample_edges], [*sample_edges, len(placed)], strict=True)]

"""Token ids of the texts of a batch, each distinct text once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lavis.structures import FrameRef, Passage, Segment, Series, Text, Texts

WORD_BOUNDARY = "▁"

_MAX_CACHED_TEXTS = 65_536

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cut:
    """A passage as runs of its tokens.

    Args:
        starts: first token of each run, counted in the passage.
        lengths: tokens of each run.
        learned: whether the language model is trained to write it.
        ref_pieces: runs that are one token which stands for something in the video.
        refs: what each of these is.
    """

    starts: Ints
    lengths: Ints
    learned: Bools
    ref_pieces: list[int]
    refs: list[FrameRef]


@dataclass(frozen=True, slots=True)
class Words:
    """Token ids of the distinct texts of a batch, one behind the other: row ``first_row + i`` shows ``ids[i]``.

    ``places`` finds a text by kind and by itself; ``starts`` and ``lengths`` say which rows are its. ``cuts`` tells how
    the rows of a passage fall into pieces.
    """

    ids: Ints
    starts: Ints
    lengths: Ints
    places: dict[str, dict[str, int]]
    first_row: int
    end: tuple[int, int]
    cuts: Mapping[Passage, Cut]

    def passage(self, passage: Passage) -> tuple[int, Cut]:
        """First row of a passage, and its pieces, which count from there."""
        return int(self.starts[self.places["passage"][passage.text()]]), self.cuts[passage]

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
        self._known: dict[str, dict[str, list[int]]] = {"plain": {}, "isolated": {}, "token": {}, "passage": {}}
        self._offsets: dict[str, Ints] = {}

    def words(self, segments: Iterable[Segment], first_row: int) -> Words:
        """The texts of ``segments``, from row ``first_row`` on, which is the pad token's.

        Raises:
            ValueError: if a text wants an end token and the tokenizer has none.
        """
        wanted: dict[str, dict[str, None]] = {kind: {} for kind in self._known}
        passages: dict[Passage, None] = {}
        ends = False
        for segment in segments:
            if isinstance(segment, Text):
                wanted[_kind(segment)][segment.text] = None
                ends = ends or segment.eos
            elif isinstance(segment, FrameRef):
                wanted["token"][segment.token] = None
            elif isinstance(segment, Passage):
                wanted["passage"][segment.text()] = passages[segment] = None
                wanted["token"].update((part.token, None) for part in segment.parts if isinstance(part, FrameRef))
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
        cuts = {passage: self._cut(passage) for passage in passages}
        return Words(flat, starts, lengths, places, first_row, (int(starts[1]), 1), cuts)

    def _tokenize(self, wanted: dict[str, dict[str, None]]) -> None:
        if sum(map(len, self._known.values())) > _MAX_CACHED_TEXTS:
            self._known = {kind: {} for kind in self._known}
            self._offsets = {}
        known = self._known
        for token in wanted["token"].keys() - known["token"].keys():
            known["token"][token] = [int(self._tokenizer.convert_tokens_to_ids(token))]
        self._tokenize_passages([text for text in wanted["passage"] if text not in known["passage"]])
        plain = [text for text in wanted["plain"] if text not in known["plain"]]
        isolated = [text for text in wanted["isolated"] if text not in known["isolated"]]
        if not plain and not isolated:
            return
        encoded = self._tokenizer([*plain, *isolated], add_special_tokens=False)["input_ids"]
        if self._boundary is None:
            self._boundary = self._tokenizer.get_vocab().get(WORD_BOUNDARY, -1)
        known["plain"].update(zip(plain, encoded[: len(plain)], strict=True))
        for text, ids in zip(isolated, encoded[len(plain) :], strict=True):
            known["isolated"][text] = [i for i in ids if i != self._boundary]

    def _tokenize_passages(self, texts: list[str]) -> None:
        if not texts:
            return
        if not self._tokenizer.is_fast:
            raise ValueError(
                f"{type(self._tokenizer).__name__} does not tell where its tokens begin, which conversations need; use "
                "the fast tokenizer of the model (tokenizer.json)"
            )
        encoded = self._tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True)
        for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            self._known["passage"][text] = ids
            self._offsets[text] = np.array(offsets, dtype=np.int64).reshape(-1, 2)[:, 0]

    def _cut(self, passage: Passage) -> Cut:
        """Runs of tokens that are learned or not; a token that stands for something is one of its own."""
        text = passage.text()
        sizes = [len(part.text if isinstance(part, Text) else part.token) for part in passage.parts]
        ends = np.cumsum(sizes, dtype=np.int64)
        part = np.searchsorted(ends, self._offsets[text], side="right")  # the part in which each token begins
        part = np.minimum(part, len(ends) - 1)  # of a token without characters behind the last one, too
        marks = np.array([isinstance(own, FrameRef) for own in passage.parts], dtype=bool)
        learned = np.array([own.learned for own in passage.parts], dtype=bool)
        group = np.where(marks, np.arange(len(marks)), -1 - learned.astype(np.int64))[part]
        starts = np.flatnonzero(np.diff(group, prepend=np.iinfo(np.int64).min))
        lengths = np.diff(starts, append=len(part))
        pieces = np.flatnonzero(marks[part[starts]])
        refs = [own for own in passage.parts if isinstance(own, FrameRef)]
        ids = self._known["passage"][text]
        found = [ids[starts[piece]] if lengths[piece] == 1 else None for piece in pieces]
        if found != [self._known["token"][ref.token][0] for ref in refs]:
            raise ValueError(
                f"the tokenizer does not read {sorted({ref.token for ref in refs})} as one token each: list them in "
                "language_model.added_tokens"
            )
        cut = Cut(starts, lengths, learned[part[starts]], pieces.tolist(), refs)
        return cut if passage.skip == 0 and passage.keep is None else _without_ends(cut, passage, len(part))


def _without_ends(cut: Cut, passage: Passage, size: int) -> Cut:
    """The runs of a passage of ``size`` tokens without what it skips at its start and leaves out at its end."""
    last = size if passage.keep is None else min(size, passage.skip + passage.keep)
    starts = np.maximum(cut.starts, passage.skip)
    lengths = np.maximum(np.minimum(cut.starts + cut.lengths, last) - starts, 0)
    stays = lengths > 0
    places = np.cumsum(stays) - 1
    refs = [(int(places[piece]), ref) for piece, ref in zip(cut.ref_pieces, cut.refs, strict=True) if stays[piece]]
    kept = [piece for piece, _ in refs], [ref for _, ref in refs]
    return Cut(starts[stays], lengths[stays], cut.learned[stays], *kept)


def _kind(text: Text | Texts) -> str:
    return "isolated" if text.isolated else "plain"

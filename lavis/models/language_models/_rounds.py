"""Long conversations cut at their end, and what is learned found by counting the tokens of each round.

Source: LLaVA's way of preparing conversations, as E.T. Chat (PolyU-ChenLab/ETBench) and MeCo (pangzss/MeCo) have it.
There, a conversation is tokenised whole, then each round once more by itself, and labels follow from the lengths of
these. Where a tokenizer reads a round by itself differently, as Phi-3's does with the line break between rounds, the
labels of all later rounds stand beside their words. That is kept for comparison; labels follow the texts otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lavis.models.language_models._words import TextTable
from lavis.structures import Packed, Passage, Round, Segment, Series, Text, Visual

IGNORE = -100


def shortened(segments: Sequence_[Segment], limit: int, texts: TextTable) -> list[Segment]:
    """What of a prompt has no more than ``limit`` positions, if frames side by side count as one.

    Args:
        segments: passages, texts and frames.
        limit: positions, above 0.
        texts: tokenises.
    """
    words = texts.words(segments, first_row=1)
    kept: list[Segment] = []
    left = limit
    for segment in segments:
        shows = isinstance(segment, Visual | Series)
        if left <= 0 and not (shows and kept and isinstance(kept[-1], Visual | Series)):
            break
        if isinstance(segment, Passage):
            length = int(words.passage(segment)[1].lengths.sum())
            if length > left:
                segment = replace(segment, keep=left)
        elif isinstance(segment, Text):
            length = words.single(segment)[1] + int(segment.eos)
            if length > left:
                segment = replace(segment, max_tokens=left)
        else:
            length = 0 if shows and kept and isinstance(kept[-1], Visual | Series) else 1
        left -= length
        kept.append(segment)
    return kept


def recounted(packed: Packed, rounds: Sequence_[tuple[Round, ...]], tokenizer: Any, begins: bool) -> Tensor:
    """Labels ``[B, L]`` by the lengths of rounds.

    Args:
        packed: the batch, with answers and labels.
        rounds: of each sample; where there are none, labels stay as they are.
        tokenizer: of transformers.
        begins: whether sequences begin with the tokenizer's first token.
    """
    assert packed.labels is not None
    labels = packed.labels.clone()
    for row, own in enumerate(rounds):
        if not own:
            continue
        shown = packed.mask[row].bool()
        for start, end in packed.spans()[row]:
            shown[start + 1 : end] = False
        places = shown.nonzero()[:, 0]  # frames side by side stand in one place
        learned = torch.zeros(len(places), dtype=torch.bool, device=labels.device)
        at = 0
        for part in own:
            given = _count(part.given, tokenizer, begins) + part.given_more
            whole = _count(part.whole, tokenizer, begins) + part.whole_more
            learned[at + given : at + whole] = True
            at += whole
        ids = packed.ids[row, places]
        labels[row] = IGNORE
        labels[row, places] = torch.where(learned & (ids >= 0), ids, IGNORE)
    return labels


def _count(texts: tuple[str, ...], tokenizer: Any, begins: bool) -> int:
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return int(begins) + sum(map(len, ids)) + len(texts) - 1

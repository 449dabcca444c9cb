"""Prompts made and packed one segment, frame and token at a time: what the layout in one go must equal, and what
``benchmarks/prompt.py`` measures it against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.models.codecs.base import TimeCodec
from lavis.models.language_models.base import IGNORE, LanguageModel
from lavis.models.prompts.interleaved import Interleaved
from lavis.structures import (
    Block,
    FrameRef,
    Packed,
    Segment,
    Sequence,
    Subtitle,
    Text,
    TimedTokens,
    VideoSample,
    Visual,
)

GAP = -1


class PlainInterleaved(Interleaved):
    """The interleaved prompt with a visual and a text for every frame, and five texts for every line."""

    def _video(self, sample: VideoSample, tokens: TimedTokens, codec: TimeCodec) -> list[Block]:
        visuals, first = [], 0
        for count in tokens.counts:
            visuals.append(Visual(first, first + count))
            first += count
        end = self._end_mark(sample)
        if not self.interleave:
            listing = codec.format_times([t for t, _ in tokens.times], sample) if self.show_times else "<vid>"
            return [Block([Text(listing, max_tokens=self.max_tokens)]), Block(list(visuals)), Block([Text(end)])]
        segments: list[Segment] = []
        for visual, (start, _) in zip(visuals, tokens.times, strict=True):
            segments += (visual, Text(codec.format_time(start, sample), isolated=True))
        segments += (Text(">", isolated=True), Text(codec.format_duration(sample), isolated=True))
        if self.end_mark_in_video:
            segments.append(Text(end, isolated=True))
        video = Block(segments, pad="left", attend_padding=self.attend_padding)
        return [video] if self.end_mark_in_video else [video, Block([Text(end)])]

    def _subtitles(self, sample: VideoSample, subtitles: list[Subtitle], codec: TimeCodec) -> list[Segment]:
        segments: list[Segment] = []
        for line in subtitles:
            segments += (
                Text("[", isolated=True),
                Text(codec.format_subtitle_time(line.start, sample), isolated=True),
                Text(line.text, max_tokens=self.max_tokens),
                Text(codec.format_subtitle_time(line.end, sample), isolated=True),
                Text("]", isolated=True),
            )
        return [*segments, Text("<extra_id_1>", isolated=True)]


@dataclass
class Row:
    """One block of one sample, token by token: ids, visual tokens, what is learned, and places of visual units."""

    ids: list[int] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    learned: list[bool] = field(default_factory=list)
    frames: list[tuple[int, int]] = field(default_factory=list)


class SegmentBySegment:
    """Packs for ``model`` as ``LanguageModel.pack`` does; every text is tokenised once, a batch in one call."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.tokenizer: Any = model.tokenizer
        self.boundary = self.tokenizer.get_vocab().get("▁")
        self.texts: dict[tuple[str, bool], list[int]] = {}

    def pack(self, sequences: list[Sequence], visuals: list[TimedTokens], answer: bool = False) -> Packed:
        """The batch; the arguments are those of ``LanguageModel.pack``."""
        self.tokenize([block for sequence in sequences for block in sequence.blocks])
        firsts = np.cumsum([0, *(v.tokens.shape[0] for v in visuals[:-1])])
        groups: list[list[int]] = []
        for i, block in enumerate(sequences[0].blocks):
            if groups and block.pad == sequences[0].blocks[i - 1].pad == "end":
                groups[-1].append(i)
            else:
                groups.append([i])
        parts = [self.block([[s.blocks[i] for i in group] for s in sequences], firsts) for group in groups]
        lengths = [part[0].shape[1] for part in parts]
        ids, source, mask, learned = (torch.from_numpy(np.concatenate([p[i] for p in parts], axis=1)) for i in range(4))
        positions = []
        for i in range(len(sequences)):
            own, start = [], 0
            for part, length in zip(parts, lengths, strict=True):
                own += [(a + start, b + start) for a, b in part[4][i]]
                start += length
            positions.append(torch.tensor(own, dtype=torch.long).reshape(-1, 2))
        labels, label_mask = None, None
        if answer and self.model.encoder_decoder:
            labels, label_mask = self.targets(sequences)
        elif answer:
            labels = torch.where(learned, ids, IGNORE)
        return Packed(self.embeds(ids, source, visuals), mask, ids, labels, label_mask, lengths, positions)

    def embeds(self, ids: Tensor, source: Tensor, visuals: list[TimedTokens]) -> Tensor:
        embeds = self.model.embed(ids.clamp(min=0)) * (ids != GAP).unsqueeze(-1)
        rows, columns = torch.nonzero(source != GAP, as_tuple=True)
        if not len(rows):
            return embeds
        tokens = torch.cat([v.tokens for v in visuals]).to(embeds.dtype)
        return embeds.index_put((rows, columns), tokens[source[rows, columns]])

    def block(self, columns: list[list[Block]], firsts: Any) -> tuple[Any, ...]:
        rows = [self.row(blocks, int(first)) for blocks, first in zip(columns, firsts, strict=True)]
        pattern = columns[0][0]
        shape = (len(rows), max(len(row.ids) for row in rows))
        ids = np.full(shape, GAP if pattern.pad == "left" else self.model.pad_id)
        source, learned = np.full(shape, GAP), np.zeros(shape, dtype=bool)
        mask = np.full(shape, int(pattern.attend_padding))
        frames = []
        for i, row in enumerate(rows):
            start = shape[1] - len(row.ids) if pattern.pad == "left" else 0
            span = slice(start, start + len(row.ids))
            ids[i, span], source[i, span], learned[i, span], mask[i, span] = row.ids, row.source, row.learned, 1
            frames.append([(a + start, b + start) for a, b in row.frames])
        return ids, source, mask, learned, frames

    def row(self, blocks: list[Block], first: int) -> Row:
        row = Row()
        for segment in (segment for block in blocks for segment in runs(block)):
            if isinstance(segment, Visual):
                count = segment.stop - segment.start
                row.frames.append((len(row.ids), len(row.ids) + count))
                row.ids += [GAP] * count
                row.source += range(first + segment.start, first + segment.stop)
                row.learned += [False] * count
                continue
            ids = self.ids(segment)
            row.ids += ids
            row.source += [GAP] * len(ids)
            row.learned += [segment.learned] * len(ids)
        return row

    def targets(self, sequences: list[Sequence]) -> tuple[Tensor, Tensor]:
        self.tokenize([Block(s.answer) for s in sequences])
        rows = [self.row([Block(s.answer)], 0).ids for s in sequences]
        shape = (len(rows), max(map(len, rows)))
        labels, mask = np.full(shape, IGNORE), np.zeros(shape, dtype=np.int64)
        for i, row in enumerate(rows):
            labels[i, : len(row)], mask[i, : len(row)] = row, 1
        return torch.from_numpy(labels), torch.from_numpy(mask)

    def tokenize(self, blocks: list[Block]) -> None:
        texts = {(s.text, s.isolated) for block in blocks for s in runs(block) if isinstance(s, Text)}
        missing = sorted(texts - self.texts.keys())
        if missing:
            encoded = self.tokenizer([text for text, _ in missing], add_special_tokens=False)["input_ids"]
            for (text, isolated), ids in zip(missing, encoded, strict=True):
                self.texts[text, isolated] = [i for i in ids if not (isolated and i == self.boundary)]

    def ids(self, segment: Text | FrameRef) -> list[int]:
        if isinstance(segment, FrameRef):
            return [self.tokenizer.convert_tokens_to_ids(segment.token)]
        ids = self.texts[segment.text, segment.isolated]
        if segment.max_tokens is not None:
            ids = ids[: segment.max_tokens - int(segment.eos)]
        return [*ids, int(self.tokenizer.eos_token_id)] if segment.eos else list(ids)


def runs(block: Block) -> list[Text | Visual | FrameRef]:
    """Single segments, neighbouring plain texts of the same kind joined."""
    found: list[Text | Visual | FrameRef] = []
    for segment in block.one_by_one():
        last = found[-1] if found else None
        if (
            isinstance(segment, Text)
            and isinstance(last, Text)
            and not (segment.isolated or last.isolated or last.eos)
            and segment.learned == last.learned
        ):
            limit = segment.max_tokens if segment.max_tokens is not None else last.max_tokens
            found[-1] = Text(last.text + segment.text, segment.learned, False, segment.eos, limit)
        else:
            found.append(segment)
    return found

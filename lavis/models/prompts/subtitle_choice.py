"""Which subtitle lines a query sees: CALCE's retrieval by the text half of the Q-Former.

Query and lines are embedded (first token of the last layer); the ``max_lines`` nearest by cosine similarity are taken,
and of these the ones above ``threshold``, nearest first. Source: CALCE (tjhd1475/CALCE).

Differs from the original: texts are encoded unpadded in one batch and each text once, not per query, epoch and stage,
and the caller's list is left as it was. The embeddings are equal up to rounding, since padding was masked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lavis.common.assets import resolve_asset
from lavis.models.language_models.base import with_words
from lavis.structures import Subtitle, VideoSample

_MAX_CACHED = 20_000

TextEncoder = Callable[[Tensor, Tensor], Tensor]
"""``(ids [n, L], mask [n, L]) -> [n, hidden]``."""


class SubtitleChoice:
    """Nearest subtitle lines of a query.

    Args:
        tokenizer: folder or hub name of the Q-Former's BERT tokenizer.
        max_lines: how many of the nearest lines to consider.
        threshold: cosine similarity a line must exceed, in [-1, 1].
        max_tokens: tokens of a text that are read, at least 3; a Q-Former has a limit of its own (``max_positions``).
    """

    def __init__(
        self,
        tokenizer: str = "bert-base-uncased",
        max_lines: int = 5,
        threshold: float = 0.9,
        max_tokens: int = 200,
    ) -> None:
        if max_lines < 1:
            raise ValueError(f"subtitle_choice.max_lines must be at least 1, got {max_lines}")
        if max_tokens < 3:  # two are marks around the text
            raise ValueError(f"subtitle_choice.max_tokens must be at least 3, got {max_tokens}")
        self.max_lines = max_lines
        self.threshold = threshold
        self.max_tokens = max_tokens
        self.tokenizer = _load(tokenizer)
        self._cache: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(
        self, samples: list[VideoSample], encode: TextEncoder, device: torch.device, repeatable: bool = True
    ) -> list[list[Subtitle]]:
        """The chosen lines of each sample, nearest first; an empty list where none fits.

        Args:
            samples: whose ``query`` and ``subtitles`` are read.
            encode: text half of the Q-Former.
            device: where it runs.
            repeatable: whether ``encode`` gives the same answer each time (no dropout), so that it may be cached.
        """
        asking = [s for s in samples if s.subtitles]
        texts = list(dict.fromkeys(t for s in asking for t in (s.query, *(line.text for line in s.subtitles))))
        embeds = dict(zip(texts, self._embed(texts, encode, device, repeatable), strict=True)) if texts else {}
        return [self._choose(sample, embeds) if sample.subtitles else [] for sample in samples]

    def _choose(self, sample: VideoSample, embeds: dict[str, Tensor]) -> list[Subtitle]:
        lines = torch.stack([embeds[line.text] for line in sample.subtitles])
        similarity = torch.nn.functional.cosine_similarity(embeds[sample.query].unsqueeze(0), lines, dim=-1)
        order = torch.argsort(similarity, descending=True, stable=True)[: self.max_lines]
        kept = order[similarity[order] > self.threshold]
        return [sample.subtitles[i] for i in kept.tolist()]

    def _embed(self, texts: list[str], encode: TextEncoder, device: torch.device, repeatable: bool) -> list[Tensor]:
        known = self._cache if repeatable else OrderedDict[str, Tensor]()
        missing = [text for text in texts if text not in known]
        # Sorted by length, so that a batch holds little padding.
        missing.sort(key=len)
        fresh: dict[str, Tensor] = {}
        with torch.no_grad():
            for start in range(0, len(missing), 64):
                chunk = missing[start : start + 64]
                tokens = self.tokenizer(
                    chunk, padding=True, truncation=True, max_length=self.max_tokens, return_tensors="pt"
                ).to(device)
                fresh.update(zip(chunk, encode(tokens["input_ids"], tokens["attention_mask"]), strict=True))
        result = [fresh[text] if text in fresh else known[text].to(device) for text in texts]
        if repeatable:
            self._cache.update((text, embed.detach()) for text, embed in fresh.items())
            while len(self._cache) > _MAX_CACHED:
                self._cache.popitem(last=False)
        return result

    def longest(self, lines: list[Subtitle], tokenizer: Any) -> list[Subtitle]:
        """As many lines as may be chosen, those with most tokens: what a choice among ``lines`` cannot exceed."""
        if len(lines) <= self.max_lines:
            return lines
        ids = tokenizer([line.text for line in lines], add_special_tokens=False)["input_ids"]
        return [lines[i] for i in sorted(range(len(lines)), key=lambda i: -len(ids[i]))[: self.max_lines]]

    def reset(self) -> None:
        """Forgets all embeddings: call when the encoder's weights change."""
        self._cache.clear()


def _load(source: str) -> Any:
    from transformers import BertTokenizer

    place = resolve_asset(source)
    try:
        # The original adds BLIP-2's [DEC], which has no embedding: only a text that contains it would notice.
        return with_words(BertTokenizer.from_pretrained(place))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"subtitle_choice.tokenizer {source!r} cannot be read ({error}); give a folder with vocab.txt, or a hub "
            "name that is cached or reachable"
        ) from error

"""From ids to answers: where they end, which special tokens stay in their text, and prompts that leave no room."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lavis.models.language_models._decoding import Ends
from lavis.models.language_models.base import check_context
from lavis.structures import ModelOutput

_BYTE = re.compile("<0x[0-9A-F]{2}>")


class Answers:
    """Reads what a decoder wrote.

    Args:
        tokenizer: of transformers.
        added: ids of special tokens that are part of what is said.
    """

    def __init__(self, tokenizer: Any, added: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.added = list(added)
        # Some tokenizers declare their bytes special, which spell what no other token does, such as a line break.
        declared = {
            number
            for number, token in tokenizer.added_tokens_decoder.items()
            if token.special and not _BYTE.fullmatch(token.content)
        }
        self._left_out = frozenset(declared.union(tokenizer.all_special_ids).difference(self.added))

    def ends(self, stops: Iterable[str]) -> Ends:
        """The tokenizer's end token, and stops as they are read by themselves and behind a word."""
        found: dict[tuple[int, ...], None] = {}
        for stop in stops:
            alone, word, behind = (
                tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (stop, "a", f"a{stop}")
            )
            found[alone] = None
            if behind[: len(word)] == word:
                found[behind[len(word) :]] = None
        eos = int(self.tokenizer.eos_token_id)
        return Ends(eos, tuple(stop for stop in found if stop and stop != (eos,)))

    def texts(self, ids: Sequence[Sequence[int]], special_tokens: str = "added") -> list[str]:
        """Texts of answers.

        Args:
            ids: of each.
            special_tokens: that are in the text: ``added`` are those that a system added, ``all`` the tokenizer's too.
        """
        left_out = self._left_out if special_tokens == "added" else frozenset()
        rows = [[token for token in row if token not in left_out] for row in ids]
        texts: list[str] = self.tokenizer.batch_decode(rows, skip_special_tokens=False)
        return texts

    def outputs(
        self,
        ids: Sequence[list[int]],
        scores: Sequence[float],
        names: Sequence[str],
        stops: Iterable[str] = (),
        special_tokens: str = "added",
    ) -> list[ModelOutput]:
        """Answers of a batch.

        Args:
            ids: of each, without its end.
            scores: of each.
            names: of the samples, for messages.
            stops: texts that no answer ends with.
            special_tokens: see ``texts``.

        Raises:
            ValueError: if a score is no number.
        """
        broken = [name for name, score in zip(names, scores, strict=True) if math.isnan(score)]
        if broken:
            raise ValueError(
                f"sample {broken[0]}: the language model's scores are no numbers ({len(broken)} of {len(scores)} "
                "samples of the batch). Its weights are torn, or were trained until they diverged: check the "
                "checkpoint; or half precision is too coarse for it: try language_model.autocast: bf16 or null"
            )
        return [
            ModelOutput(text=_without(text, stops), token_ids=row, sequence_score=float(score))
            for text, row, score in zip(self.texts(ids, special_tokens), ids, scores, strict=True)
        ]


def until(row: list[int], ends: Ends) -> list[int]:
    """The ids before the first end."""
    stops = ((ends.eos,), *ends.stops)
    places = (i for i in range(len(row)) for stop in stops if tuple(row[i : i + len(stop)]) == stop)
    return row[: next(places, len(row))]


def rooms(names: Sequence[str], sizes: Sequence[int], wanted: int, limit: int | None) -> list[int]:
    """Tokens that each answer may have: as wanted, or fewer where a prompt comes near the end of the context.

    Args:
        names: of the samples, for messages.
        sizes: positions of their prompts.
        wanted: tokens.
        limit: positions of prompt and answer together, of which the last token of an answer takes none.

    Raises:
        ValueError: if a prompt is longer than the context; names the sample, both lengths and what to do.
    """
    if limit is None:
        return [wanted] * len(sizes)
    for name, size in zip(names, sizes, strict=True):
        check_context(name, size, limit)
    return [min(wanted, limit - size + 1) for size in sizes]


def _without(text: str, stops: Iterable[str]) -> str:
    """The text without a stop that it ends with, however that was written."""
    for stop in stops:
        text = text.removesuffix(stop)
    return text

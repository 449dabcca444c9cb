"""The next token of every row: the likeliest, or one that is drawn with numbers that belong to the sample.

Source: the rules of transformers' generation (temperature, then the ``top_k`` likeliest, then those that make up
``top_p``; a repetition penalty divides positive scores and multiplies others). E.T. Chat's penalty sees the prompt too
and leaves its match token alone. Both originals draw without a seed; here an answer depends neither on the batch nor
on the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lavis.common.random import DrawSource
from lavis.common.schema import GenerationConfig


def penalised(scores: Tensor, seen: Tensor, penalty: Tensor | float) -> Tensor:
    """Scores of tokens that were seen before, made less likely by ``penalty`` above 1.

    Args:
        scores: ``[B, V]``.
        seen: ``[B, V]``, true for tokens to change.
        penalty: of all rows, or ``[B, 1]``; 1 changes nothing.
    """
    return torch.where(seen, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def seen_tokens(ids: Tensor, vocabulary: int, ignored: Sequence[int] = ()) -> Tensor:
    """``[B, vocabulary]``, true for every id of ``ids`` ``[B, L]``; negative ids stand for no token.

    Args:
        ids: token ids.
        vocabulary: number of tokens.
        ignored: ids that never count as seen.
    """
    seen = torch.zeros(len(ids), vocabulary + 1, dtype=torch.bool, device=ids.device)
    seen.scatter_(1, torch.where(ids < 0, vocabulary, ids), True)
    seen = seen[:, :-1]
    seen[:, list(ignored)] = False
    return seen


def narrowed(scores: Tensor, top_k: int | None, top_p: float) -> Tensor:
    """Scores ``[B, V]``, minus infinity for all but the likeliest tokens; at least one stays.

    Args:
        scores: to narrow.
        top_k: how many stay; ``None`` is all. Those as likely as the last of them stay, too.
        top_p: the fewest stay that have this share of the probability.
    """
    if top_k is not None and top_k < scores.shape[1]:
        least = scores.topk(top_k, dim=1).values[:, -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if top_p < 1:
        ordered, order = scores.sort(dim=1, descending=True, stable=True)
        before = ordered.softmax(dim=1).cumsum(dim=1).roll(1, dims=1)
        before[:, 0] = 0
        dropped = torch.zeros_like(scores, dtype=torch.bool).scatter(1, order, before >= top_p)
        scores = scores.masked_fill(dropped, -torch.inf)
    return scores


class Chooser:
    """Chooses the tokens of a batch, step by step.

    Args:
        ids: ``[B, L]`` of the prompts, negative where there is no token; a repetition penalty counts them as seen.
        settings: temperature and such.
        penalties: repetition penalty of each row.
        draws: random numbers of each row; not needed without a temperature.
        ignored: ids that a repetition penalty leaves alone.
        ends: ids that end an answer, which are not chosen before it has ``min_length`` tokens, counting a start token
            as encoder-decoders have it.

    Raises:
        ValueError: if there is a temperature, but nothing to draw with.
    """

    def __init__(
        self,
        ids: Tensor,
        settings: GenerationConfig,
        penalties: Sequence[float],
        draws: Sequence[DrawSource] | None = None,
        ignored: Sequence[int] = (),
        ends: Sequence[int] = (),
    ) -> None:
        self._ends = list(ends)
        self._settings = settings
        self._ids = ids
        self._ignored = ignored
        self._penalties: Tensor | None = None
        if any(penalty != 1 for penalty in penalties):
            self._penalties = torch.tensor(list(penalties), device=ids.device)[:, None]
        self._seen: Tensor | None = None
        self._numbers: Tensor | None = None
        if settings.temperature is not None:
            if draws is None:
                raise ValueError("answers drawn at a temperature need the random numbers of each sample (asked.draws)")
            self._numbers = torch.stack([own.rand(settings.max_new_tokens) for own in draws]).to(ids.device)
        self._step = 0

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[B]`` and their log probabilities ``[B]``, given ``logits [B, V]``."""
        scores = self._penalised(logits.float())
        if self._step + 1 < self._settings.min_length:
            scores = scores.clone()
            scores[:, self._ends] = -torch.inf
        tokens = scores.argmax(dim=1) if self._numbers is None else self._drawn(scores)
        self._step += 1
        if self._seen is not None:
            self._note(tokens)
        return tokens, scores.log_softmax(dim=1).gather(1, tokens[:, None])[:, 0]

    def keep(self, rows: Tensor) -> None:
        """The batch goes on with these of its rows."""
        self._penalties, self._seen, self._numbers = (
            None if own is None else own[rows] for own in (self._penalties, self._seen, self._numbers)
        )

    def _penalised(self, scores: Tensor) -> Tensor:
        if self._penalties is None:
            return scores
        if self._seen is None:
            self._seen = seen_tokens(self._ids, scores.shape[1], self._ignored)
        return penalised(scores, self._seen, self._penalties)

    def _note(self, tokens: Tensor) -> None:
        assert self._seen is not None
        self._seen.scatter_(1, tokens[:, None], True)
        self._seen[:, list(self._ignored)] = False

    def _drawn(self, scores: Tensor) -> Tensor:
        """By the inverse of the distribution in the order of ids, which rounding moves least."""
        assert self._numbers is not None and self._settings.temperature is not None
        own = narrowed(scores / self._settings.temperature, self._settings.top_k, self._settings.top_p)
        share = own.double().softmax(dim=1).cumsum(dim=1)
        number = self._numbers[:, self._step, None].double() * share[:, -1:]
        # The first token whose share ends above the number: one of probability 0 never is.
        return torch.searchsorted(share, number, right=True)[:, 0].clamp(max=scores.shape[1] - 1)

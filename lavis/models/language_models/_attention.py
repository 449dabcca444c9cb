"""Attention of a stock language model: the back-end, chosen by name, and masks in which frames see each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MASKED = ("eager", "sdpa")
"""Back-ends that take a mask for every pair of positions."""


def set_attention(model: Any, attention: str | None) -> None:
    """Has ``model`` compute its attention by another back-end.

    Args:
        model: of transformers.
        attention: ``eager`` (plain matrix products), ``sdpa`` (torch's fused ones), ``flash_attention_2`` (needs a
            package and a GPU; not T5), ``flex_attention``; ``None`` leaves the choice to transformers, which takes
            ``sdpa`` where the model has it.

    Raises:
        ValueError: if this model or machine does not have it, with what transformers says about it.
    """
    if attention is None:
        return
    try:
        model.set_attn_implementation(attention)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(
            f"language_model.attention={attention} is not possible for {type(model).__name__}: {error}. Use sdpa, "
            "eager, or null for what transformers chooses"
        ) from error
    chosen = model.config._attn_implementation
    if chosen != attention:
        raise ValueError(
            f"language_model.attention={attention}: {type(model).__name__} keeps {chosen}; use that, or null"
        )


def positions_of(mask: Tensor) -> Tensor:
    """Position of every token of ``mask [B, L]`` counted over real tokens only, 0 on left padding."""
    return (mask.cumsum(dim=-1) - 1).clamp(min=0)


def two_way_mask(
    keys: Tensor, spans: Sequence[Sequence[tuple[int, int]]], dtype: torch.dtype, queries: int | None = None
) -> Tensor:
    """What is added to the scores so that a position sees those before it, and runs of frames see each other.

    Args:
        keys: ``[B, K]``, 1 where there is something to see.
        spans: runs of frames of each row, first and last-plus-one column; none may lie across the first query.
        dtype: of the scores.
        queries: the last so many positions ask; all of them by default.

    Returns:
        ``[B, 1, Q, K]``, 0 or the least number there is.
    """
    length = keys.shape[1]
    first = length - (length if queries is None else queries)
    places = torch.arange(length, device=keys.device)
    allowed = (places <= places[first:, None]) & keys[:, None].bool()
    for row, own in enumerate(spans):
        for start, end in own:
            if start >= first:
                allowed[row, start - first : end - first, start:end] = True
    # Padding sees itself, since a row that sees nothing would be no number.
    allowed |= (places == places[first:, None]) & ~keys[:, None].bool()
    return torch.zeros(allowed.shape, dtype=dtype, device=keys.device).masked_fill(~allowed, torch.finfo(dtype).min)[
        :, None
    ]

"""Generation with T5 in which a sample's cross-attention is computed and kept once, however many beams it has.

transformers repeats the encoder's output for every beam, projects keys and values from each copy, and copies them all
once more after every token, when beams change places. Here they are projected once a sample and stay where they are:
the beams of a sample are queries of one attention, which has no position bias in T5. What is generated is the same; the
search itself is transformers'.

This one attention is torch's fused one whatever ``language_model.attention`` says. Imported where text is generated,
since it needs transformers.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.t5.modeling_t5 import T5Attention


class SampleCache(EncoderDecoderCache):  # type: ignore[misc]  # transformers carries no types
    """Self-attention of every beam, cross-attention of every sample.

    Args:
        states: encoder output ``[B, L, D]``.
        mask: ``[B, L]``, 1 where attention may look.
    """

    def __init__(self, states: Tensor, mask: Tensor) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.states = states
        self.mask = None if bool(mask.all()) else mask[:, None, None].bool()
        self.projected: dict[int, tuple[Tensor, Tensor]] = {}

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Beams change places within their sample, so only their own past moves."""
        self.self_attention_cache.reorder_cache(beam_idx)


class SampleCrossAttention(T5Attention):  # type: ignore[misc]
    """T5's cross-attention, which also reads a ``SampleCache``."""

    def forward(self, hidden_states: Tensor, *args: Any, past_key_values: Any = None, **kwargs: Any) -> Any:
        if not isinstance(past_key_values, SampleCache):
            return super().forward(hidden_states, *args, past_key_values=past_key_values, **kwargs)
        keys, values = self._projected(past_key_values)
        rows, count = hidden_states.shape[:2]
        queries = self._heads(self.q(hidden_states).view(len(keys), rows // len(keys) * count, -1))
        attended = F.scaled_dot_product_attention(queries, keys, values, past_key_values.mask, scale=self.scaling)
        return self.o(attended.transpose(1, 2).reshape(rows, count, -1)), None, None

    def _projected(self, cache: SampleCache) -> tuple[Tensor, Tensor]:
        """Keys and values ``[B, heads, L, d_kv]``."""
        # Projected here and not beforehand: sharded weights are whole only while their layer runs.
        if self.layer_idx not in cache.projected:
            cache.projected[self.layer_idx] = (
                self._heads(self.k(cache.states)).contiguous(),
                self._heads(self.v(cache.states)).contiguous(),
            )
        return cache.projected[self.layer_idx]

    def _heads(self, rows: Tensor) -> Tensor:
        return rows.view(*rows.shape[:2], self.n_heads, -1).transpose(1, 2)


def share_cross_attention(model: Any) -> None:
    """Lets the decoder of a ``T5ForConditionalGeneration`` read a ``SampleCache``; names and weights stay."""
    for block in model.decoder.block:
        block.layer[1].EncDecAttention.__class__ = SampleCrossAttention


def generate(model: Any, embeds: Tensor, mask: Tensor, **settings: Any) -> Any:
    """``model.generate`` for prompts ``embeds [B, L, D]`` with ``mask [B, L]``, through a ``SampleCache``.

    Args:
        model: that ``share_cross_attention`` prepared.
        embeds: prompts.
        mask: 1 where attention may look.
        settings: of ``model.generate``.
    """
    states = model.encoder(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
    # The search repeats what it is given for every beam; a stub of one position is enough to count samples by.
    stub = BaseModelOutput(last_hidden_state=states.new_empty(len(states), 1, 0))
    return model.generate(
        encoder_outputs=stub,
        attention_mask=mask.new_ones(len(mask), 1),
        past_key_values=SampleCache(states, mask),
        **settings,
    )

"""Beam search of a causal decoder: transformers', from a cache for which each prompt was read once."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lavis.common.schema import GenerationConfig
from lavis.models.language_models._answers import until
from lavis.models.language_models._attention import positions_of
from lavis.models.language_models._decoding import Ends
from lavis.structures import Packed


def search(
    model: Any, packed: Packed, mask: Tensor, generation: GenerationConfig, room: int, ends: Ends, pad_id: int
) -> tuple[list[list[int]], list[float]]:
    """Ids of the best answers without what ends them, and their scores.

    Args:
        model: of transformers.
        packed: prompts, padded at their start.
        mask: for reading them, ``[B, L]`` or ``[B, 1, L, L]``.
        generation: beams and penalties.
        room: tokens that an answer may have, at least 1.
        ends: what ends an answer.
        pad_id: token id of padding.
    """
    output = model.generate(
        inputs_embeds=packed.embeds,
        attention_mask=packed.mask,
        past_key_values=_read_once(model, packed, mask, generation.num_beams),
        num_beams=generation.num_beams,
        max_new_tokens=room,
        repetition_penalty=generation.repetition_penalty,
        length_penalty=generation.length_penalty,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
        pad_token_id=pad_id,
        eos_token_id=ends.single,
        **({"min_new_tokens": generation.min_length - 1} if generation.min_length > 1 else {}),
    )
    return [until(row, ends) for row in output.sequences.tolist()], output.sequences_scores.tolist()


def _read_once(model: Any, packed: Packed, mask: Tensor, beams: int) -> Any:
    """A cache of all but the last position of the prompts, a row a beam."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    if packed.embeds.shape[1] > 1:
        # The base model, since nobody asks what follows the positions of a prompt.
        model.base_model(
            inputs_embeds=packed.embeds[:, :-1],
            attention_mask=mask[..., :-1, :-1] if mask.ndim == 4 else mask[:, :-1],
            position_ids=positions_of(packed.mask)[:, :-1],
            past_key_values=cache,
            use_cache=True,
        )
        cache.batch_repeat_interleave(beams)
    return cache

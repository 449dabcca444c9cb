"""Beam search of a causal decoder: transformers', from a cache for which each prompt was read once.

What prompts of a batch have in common is read once for all of them, as with one beam (see ``_prefixes``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lavis.common.schema import GenerationConfig
from lavis.models.language_models._answers import until
from lavis.models.language_models._decoding import Decoder, Ends
from lavis.structures import Packed


def search(
    decoder: Decoder, model: Any, packed: Packed, generation: GenerationConfig, room: int, ends: Ends, pad_id: int
) -> tuple[list[list[int]], list[float]]:
    """Ids of the best answers without what ends them, and their scores.

    Args:
        decoder: reads the prompts.
        model: of transformers, which the decoder is made of.
        packed: prompts, padded at their start.
        generation: beams and penalties.
        room: tokens that an answer may have, at least 1.
        ends: what ends an answer.
        pad_id: token id of padding.
    """
    cache, embeds, mask = _read_once(decoder, model, packed, generation.num_beams, room)
    output = model.generate(
        inputs_embeds=embeds,
        attention_mask=mask,
        past_key_values=cache,
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


def _read_once(decoder: Decoder, model: Any, packed: Packed, beams: int, room: int) -> tuple[Any, Tensor, Tensor]:
    """A cache of all but the last position of the prompts, a row a beam, and prompts as they lie in it with their mask.

    Of the prompts only the last position is looked at, since the others are in the cache; they are zero.
    """
    from transformers import DynamicCache

    last = packed.embeds.shape[1] - 1
    if not last:
        return DynamicCache(config=model.config), packed.embeds, packed.mask
    before = replace(
        packed,
        embeds=packed.embeds[:, :last],
        mask=packed.mask[:, :last],
        ids=packed.ids[:, :last],
        frame_positions=[units[units[:, 0] < last].clamp(max=last) for units in packed.frame_positions],
    )
    state, _ = decoder.prefill(before, more=room + 1)
    state.cache.batch_repeat_interleave(beams)
    mask = torch.cat([state.mask, packed.mask[:, last:]], dim=1)
    read = packed.embeds.new_zeros(*state.mask.shape, packed.embeds.shape[-1])
    return state.cache, torch.cat([read, packed.embeds[:, last:]], dim=1), mask

"""Beams share what their sample is read once for, and find what transformers' plain search finds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.models.language_models._t5_decoding import SampleCache, generate
from lavis.models.language_models.causal import Causal
from lavis.models.language_models.t5 import T5
from lavis.structures import Packed
from tests.toy_models import t5_tokenizer, vocabulary_size

FAMILIES = {
    "opt": {"ffn_dim": 32, "word_embed_proj_dim": 24, "max_position_embeddings": 64},
    "llama": {"intermediate_size": 32, "num_key_value_heads": 1},
}


def t5() -> T5:
    sizes = {"vocab_size": vocabulary_size(), "d_model": 24, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 3}
    model = T5(tokenizer=t5_tokenizer(), overrides=sizes, lora=LoraConfig(rank=2, alpha=2)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        # The end token likely enough that beams end at different lengths.
        model.model.lm_head.weight[1] *= 3
    return model


def causal(family: str) -> Causal:
    config = {
        "model_type": family, "vocab_size": vocabulary_size(), "hidden_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, **FAMILIES[family],
    }  # fmt: skip
    model = Causal(tokenizer=t5_tokenizer(), config=config, prepend_bos=False).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def packed(rows: int = 3, length: int = 9, left: bool = False) -> Packed:
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[0, slice(None, 4) if left else slice(5, None)] = 0
    ids = torch.full((rows, length), -1)
    return Packed(torch.randn(rows, length, 24), mask, ids, None, None, [length], [])


@pytest.mark.parametrize("beams", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(
    "more",
    [{}, {"length_penalty": 0.0}, {"length_penalty": 2.0, "repetition_penalty": 1.5}, {"min_length": 6}],
    ids=["plain", "any_length", "penalties", "min_length"],
)
def test_t5_finds_what_the_plain_search_finds(beams: int, more: dict[str, Any]) -> None:
    model, prompts = t5(), packed()
    settings = GenerationConfig(num_beams=beams, max_new_tokens=10, **more)
    ours = model.generate(prompts, settings)
    with torch.no_grad():
        plain = model.model.generate(
            inputs_embeds=prompts.embeds,
            attention_mask=prompts.mask,
            num_beams=beams,
            max_new_tokens=10,
            min_length=settings.min_length,
            repetition_penalty=settings.repetition_penalty,
            length_penalty=settings.length_penalty,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
    theirs = [[token for token in row[1:] if token > 1] for row in plain.sequences.tolist()]
    assert [[token for token in output.token_ids if token > 1] for output in ours] == theirs
    if beams > 1:
        assert [o.sequence_score for o in ours] == pytest.approx(plain.sequences_scores.tolist(), abs=1e-4)


def test_t5_keeps_one_row_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[SampleCache] = []
    start = SampleCache.__init__

    def noted(self: SampleCache, *args: Any) -> None:
        start(self, *args)
        caches.append(self)

    monkeypatch.setattr(SampleCache, "__init__", noted)
    model, prompts = t5(), packed()
    encoded: list[int] = []
    model.model.encoder.register_forward_hook(lambda *call: encoded.append(len(call[2].last_hidden_state)))
    model.generate(prompts, GenerationConfig(num_beams=4, max_new_tokens=3))
    (cache,) = caches
    assert encoded == [3]
    assert {tuple(keys.shape) for keys, _ in cache.projected.values()} == {(3, 3, 9, 8)}
    assert cache.self_attention_cache.layers[0].keys.shape[0] == 12


def test_t5_without_padding_needs_no_mask() -> None:
    model, prompts = t5(), packed()
    mask = torch.ones_like(prompts.mask)
    with torch.no_grad():
        ours = generate(model.model, prompts.embeds, mask, max_new_tokens=4)
        plain = model.model.generate(inputs_embeds=prompts.embeds, attention_mask=mask, max_new_tokens=4)
    assert torch.equal(ours, plain)


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("length", [1, 9])
def test_a_decoder_reads_each_prompt_once(family: str, length: int) -> None:
    model, prompts = causal(family), packed(length=length, left=length > 1)
    settings = GenerationConfig(num_beams=3, max_new_tokens=6)
    rows: list[tuple[int, int]] = []
    handle = model.model.get_decoder().register_forward_hook(
        lambda *call: rows.append(tuple(call[2].last_hidden_state.shape[:2])) or None  # type: ignore[func-returns-value]
    )
    ours = model.generate(prompts, settings)
    handle.remove()
    assert all(rows_ * positions <= max(3 * (length - 1), 9) for rows_, positions in rows)
    with torch.no_grad():
        plain = model.model.generate(
            inputs_embeds=prompts.embeds,
            attention_mask=prompts.mask,
            num_beams=3,
            max_new_tokens=6,
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
            pad_token_id=model.pad_id,
        )
    eos = model.tokenizer.eos_token_id
    theirs = [row[: row.index(eos)] if eos in row else row for row in plain.sequences.tolist()]
    assert [o.token_ids for o in ours] == theirs
    assert [o.sequence_score for o in ours] == pytest.approx(plain.sequences_scores.tolist(), abs=1e-4)

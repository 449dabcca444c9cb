"""The attention back-end can be chosen, and gives the same numbers; what a model lacks is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lavis.models.language_models._attention import set_attention


def t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(vocab_size=50, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return T5ForConditionalGeneration(config).eval()


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    )
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("make", [t5, llama])
def test_eager_and_sdpa_agree(make: Any) -> None:
    ids = torch.arange(1, 13).reshape(2, 6)
    logits = []
    for attention in ("eager", "sdpa"):
        model = make()
        set_attention(model, attention)
        assert model.config._attn_implementation == attention
        with torch.no_grad():
            logits.append(model(input_ids=ids, labels=ids).logits)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)


@pytest.mark.parametrize("make", [t5, llama])
def test_without_a_wish_nothing_changes(make: Any) -> None:
    model = make()
    before = model.config._attn_implementation
    set_attention(model, None)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("attention", ["flash_attention_2", "nonsense"])
def test_what_there_is_not_is_said(attention: str) -> None:
    with pytest.raises(ValueError, match=rf"language_model\.attention={attention} is not possible for T5.*Use sdpa"):
        set_attention(t5(), attention)

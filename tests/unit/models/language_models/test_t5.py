"""T5: the output head is a tensor of its own, sizes are the published ones, and bad settings say what to do."""

from __future__ import annotations

import pytest
import torch

from lavis.common.schema import GenerationConfig, LoraConfig
from lavis.layers.lora import merge_lora, unmerge_lora
from lavis.models.language_models.t5 import T5
from lavis.structures import Block, Sequence, Text, TimedTokens
from tests.toy_models import t5_tokenizer, vocabulary_size

SIZES = {"d_model": 12, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}


def toy(**fields: object) -> T5:
    return T5(tokenizer=t5_tokenizer(), overrides={"vocab_size": vocabulary_size(), **SIZES}, **fields).eval()  # type: ignore[arg-type]


def test_loading_an_untied_checkpoint_keeps_both_tables() -> None:
    source, target = toy(), toy()
    with torch.no_grad():
        source.model.lm_head.weight.normal_()
        source.model.shared.weight.normal_()
    target.model.load_state_dict(source.model.state_dict())
    assert torch.equal(target.model.lm_head.weight, source.model.lm_head.weight)
    assert torch.equal(target.model.shared.weight, source.model.shared.weight)
    assert not torch.equal(target.model.lm_head.weight, target.model.shared.weight)


def test_activation_is_exact_gelu() -> None:
    gate = toy().model.encoder.block[0].layer[-1].DenseReluDense.act
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(gate(x), torch.nn.functional.gelu(x))


def test_merged_adapters_give_the_same_answer() -> None:
    model = toy(lora=LoraConfig(rank=2, alpha=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    row = [Sequence([Block([Text("man talks", eos=True)])], [Text("[[4, 12]]", learned=True, eos=True)])]
    packed = model.pack(row, [TimedTokens(torch.zeros(0, 12), [], [], [])], answer=True)
    before = model(packed).logits
    merge_lora(model)
    assert torch.allclose(model(packed).logits, before, atol=1e-4)
    unmerge_lora(model)
    assert torch.allclose(model(packed).logits, before, atol=1e-4)


def test_generation_gives_text_ids_and_score() -> None:
    model = toy()
    packed = model.pack([Sequence([Block([Text("man", eos=True)])])], [TimedTokens(torch.zeros(0, 12), [], [], [])])
    (output,) = model.generate(packed, GenerationConfig(num_beams=2, max_new_tokens=4))
    assert len(output.token_ids) <= 4
    assert output.sequence_score is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "flan_t5_huge"}, "flan_t5_xl"),
        ({"tokenizer": "no/such/folder"}, "tokenizer.json"),
        ({"tokenizer": None}, "tokenizer is not set"),
        ({"tokenizer": "asset:toy/nothing"}, "not shipped"),
        ({"autocast": "fp8"}, "autocast must be one of bf16, fp16"),
        ({"lora": LoraConfig(targets=["q_proj"])}, "q_proj.*match no linear layer"),
    ],
)
def test_bad_settings_say_what_to_do(fields: dict[str, object], message: str) -> None:
    values = {"tokenizer": t5_tokenizer(), "overrides": {"vocab_size": vocabulary_size(), **SIZES}, **fields}
    with pytest.raises(ValueError, match=message):
        T5(**values)  # type: ignore[arg-type]

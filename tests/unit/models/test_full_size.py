"""Published models at full size, on the meta device, where a model has shapes and no numbers."""

from __future__ import annotations

from typing import Any

import pytest

from lavis.models.language_models._architectures import ARCHITECTURES, configuration
from lavis.models.language_models.causal import Causal
from tests.parity_cases.meco_full_size import full_size, groups

ENCODER, QFORMER = 985_894_528, 185_660_160
# Without adapters, and what these add at rank 128. Those of the language models by themselves are what their authors
# give: 3,821,079,552 (Phi-3), 7,615,616,512 (Qwen2), 8,030,261,248 (LLaMA 3) and 9,241,705,984 (Gemma 2).
TOTALS = {
    "meco/phi3": (5_020_944_897, 75_497_472),
    "meco/qwen2": (8_820_169_729, 80_740_352),
    "etchat/phi3": (5_020_944_896, 75_497_472),
    "etchat/phi3_stage3": (5_020_944_896, 0),
    "etchat/qwen2": (8_823_022_592, 80_740_352),
    "etchat/llama": (9_246_256_640, 109_051_904),
    "etchat/gemma2": (10_449_112_064, 143_130_624),
}


@pytest.mark.parametrize("name", TOTALS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    counts = groups(full_size(name))
    without, adapters = TOTALS[name]
    assert (counts["vision_tower"], counts["qformer_bert"]) == (ENCODER, QFORMER)
    assert (counts.total() - counts["lora"], counts["lora"]) == (without, adapters)


def test_the_sum_that_the_authors_log() -> None:
    assert groups(full_size("meco/phi3")).total() == 5_096_442_369


def test_a_layer_as_the_frame_head_is_one_of_the_decoder() -> None:
    model = full_size("meco/phi3", lora=None)
    layer = sum(p.numel() for p in model.language_model.model.model.layers[-1].parameters())
    assert layer == 113_252_352


def test_phi3_sees_2048_positions_back() -> None:
    assert full_size("meco/phi3", lora=None).language_model.model.config.sliding_window == 2048
    assert (
        full_size("meco/phi3", lora=None, config={"sliding_window": 2047}).language_model.model.config.sliding_window
        == 2047
    )


def test_settings_override_an_architecture() -> None:
    assert configuration("phi3_mini_4k", {"sliding_window": 2047})["sliding_window"] == 2047
    assert configuration(None, {"model_type": "opt"}) == {"model_type": "opt"}
    assert configuration(None, None) == {}
    assert ARCHITECTURES["phi3_mini_4k"]["sliding_window"] == 2048
    with pytest.raises(ValueError, match=r"architecture 'phi4' is unknown; known: phi3_mini_4k"):
        configuration("phi4", None)


def test_an_architecture_stands_for_the_configuration_of_a_folder(tmp_path: Any) -> None:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "vocab_size": 1032}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 2, "pad_token_id": 0, "eos_token_id": 0}
    tokenizer = "asset:toy/chat_tokenizer"
    stock = Causal(tokenizer=tokenizer, config={"model_type": "phi3", "sliding_window": 2047, **sizes})
    stock.model.save_pretrained(tmp_path)
    read = Causal(pretrained=str(tmp_path), tokenizer=tokenizer, architecture="phi3_mini_4k", config=sizes)
    assert stock.model.config.sliding_window == 2047
    assert read.model.config.sliding_window == 2048
    assert all((a == b).all() for a, b in zip(read.parameters(), stock.parameters(), strict=True))
    assert Causal(pretrained=str(tmp_path), tokenizer=tokenizer).model.config.sliding_window == 2047
    for fields in ({"pretrained": str(tmp_path), "config": sizes}, {}, {"architecture": None}):
        with pytest.raises(ValueError, match=r"either language_model\.pretrained"):
            Causal(tokenizer=tokenizer, **fields)

"""Every table that renames published weights: it loads, it is found by the names in a file, and no other claims it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lavis.common.checkpoint import CheckpointError
from lavis.common.keymap import KeyMap, keymap_names, load_keymap, recognise
from lavis.common.yaml_tree import parse_yaml
from lavis.models.build import build_model
from tests.toy_models import model_node, t5_tokenizer, vocabulary_size

KEYMAPS = Path(__file__).resolve().parents[3] / "lavis" / "convert" / "keymaps"
LORA = "encoder.block.0.layer.0.SelfAttention.q.lora_A.default.weight"
# What files of a family hold, and what becomes of it.
ROWS: dict[str, dict[str, str | None]] = {
    "blip2_opt": {
        "ln_vision.weight": "encoder.ln_vision.weight",
        "Qformer.bert.encoder.layer.0.output_query.dense.bias":
            "compressor.Qformer.bert.encoder.layer.0.output_query.dense.bias",
        "Qformer.bert.embeddings.position_ids": None,
        "opt_proj.bias": "compressor.t5_proj.bias",
        "opt_model.model.decoder.layers.0.fc1.weight": "language_model.model.model.decoder.layers.0.fc1.weight",
        "opt_model.base_model.model.model.decoder.layers.0.fc1.lora_A.default.weight":
            "language_model.model.model.decoder.layers.0.fc1.lora_A.default.weight",
    },
    "blip2_t5": {
        "t5_proj.weight": "compressor.t5_proj.weight",
        "t5_model.shared.weight": "language_model.model.shared.weight",
        "t5_model.decoder.embed_tokens.weight": None,
    },
    "calce": {
        "query_proj.bias": "compressor.query_proj.bias",
        f"t5_model.base_model.model.{LORA}": f"language_model.model.{LORA}",
        "Qformer.cls.predictions.decoder.weight": None,
    },
    "bert_base": {
        "bert.encoder.layer.3.intermediate.dense.weight":
            "compressor.Qformer.bert.encoder.layer.3.intermediate.dense.weight",
        "bert.pooler.dense.weight": None,
        "cls.predictions.decoder.weight": None,
    },
    "eva_vit_g": {
        "blocks.38.mlp.fc1.bias": "encoder.visual_encoder.blocks.38.mlp.fc1.bias",
        "blocks.39.attn.q_bias": None,
    },
    "meco": {
        "model.vision_tower.vision_tower.blocks.38.attn.q_bias": "encoder.visual_encoder.blocks.38.attn.q_bias",
        "model.qformer_query": "compressor.query_tokens",
        "base_model.model.model.qformer_ln.bias": "compressor.ln.bias",
        "model.qformer_bert.bert.embeddings.position_ids": None,
        "model.layers.0.self_attn.rotary_emb.inv_freq": None,
        "model.layers.0.self_attn.qkv_proj.weight": "language_model.model.model.layers.0.self_attn.qkv_proj.weight",
        "base_model.model.model.layers.0.self_attn.o_proj.base_layer.weight":
            "language_model.model.model.layers.0.self_attn.o_proj.base_layer.weight",
        "base_model.model.model.layers.0.self_attn.o_proj.lora_A.default.weight":
            "language_model.model.model.layers.0.self_attn.o_proj.lora_A.default.weight",
        "base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight":
            "language_model.model.model.layers.0.self_attn.o_proj.lora_A.default.weight",
        "frm_head.self_attn.q_proj.weight": "head.frame_head.self_attn.q_proj.weight",
        "frm_head.self_attn.q_proj.lora_B.weight": "head.frame_head.self_attn.q_proj.lora_B.default.weight",
        "logit_scale": "head.logit_scale",
        "lm_head.weight": "language_model.model.lm_head.weight",
    },
    "meco_projector": {"qformer_k_proj.0.bias": "compressor.k_proj.0.bias"},
    "peft_causal": {
        "base_model.model.model.layers.0.self_attn.o_proj.lora_B.weight":
            "language_model.model.model.layers.0.self_attn.o_proj.lora_B.default.weight",
        "base_model.model.model.embed_tokens.weight": "language_model.model.model.embed_tokens.weight",
        "base_model.model.frm_head.self_attn.q_proj.lora_A.weight":
            "head.frame_head.self_attn.q_proj.lora_A.default.weight",
    },
    "instruct_blip": {
        "ln_vision.weight": "compressor.ln.weight",
        "Qformer.bert.encoder.layer.0.intermediate.dense.bias":
            "compressor.Qformer.bert.encoder.layer.0.intermediate.dense.bias",
        "Qformer.bert.embeddings.position_ids": None,
        "llm_proj.weight": None,
    },
    "causal_decoder": {
        "model.norm.weight": "language_model.model.model.norm.weight",
        "lm_head.weight": "language_model.model.lm_head.weight",
        "model.layers.0.self_attn.rotary_emb.inv_freq": None,
    },
    "minicpm_v": {
        "llm.lm_head.weight": "language_model.model.lm_head.weight",
        "vpm.encoder.layers.0.mlp.fc1.bias": None,
        "resampler.kv_proj.weight": None,
    },
    "blip2_frames": {
        "encoder.ln_vision.bias": "compressor.ln.bias",
        "compressor.Qformer.bert.embeddings.word_embeddings.weight":
            "compressor.Qformer.bert.embeddings.word_embeddings.weight",
        "compressor.Qformer.cls.predictions.bias": None,
        "compressor.query_proj.weight": None,
        "language_model.model.shared.weight": None,
    },
    "flan_t5": {"lm_head.weight": "language_model.model.lm_head.weight", "encoder.embed_tokens.weight": None},
}  # fmt: skip


QUESTIONS = ["compressor.q_proj.0.weight", "compressor.q_proj.1.weight"]
"""Weights that a model has whose compressor reads questions, and no other."""


def signature_of(name: str) -> list[str]:
    """The fewest names by which a file of a family can be told."""
    table = parse_yaml((KEYMAPS / f"{name}.yaml").read_text("utf-8"), name).value
    return [pattern.replace("{}", "encoder.block.0.layer.0.SelfAttention.q") for pattern in table["signature"]]


@pytest.mark.parametrize("name", keymap_names())
def test_is_recognised_by_its_signature_and_by_no_other(name: str) -> None:
    names = signature_of(name)
    assert names
    for file in (names, [*names, *ROWS.get(name, {})]):
        assert [other for other in keymap_names() if load_keymap(other).fits(file, QUESTIONS)] == [name]
        found = recognise(file, QUESTIONS)
        assert isinstance(found, KeyMap)
        assert found.name == name
    for missing in range(len(names)):
        other = recognise(names[:missing] + names[missing + 1 :], QUESTIONS)
        assert other is None or other.name != name


@pytest.mark.parametrize("name", keymap_names())
def test_has_a_summary_and_no_row_that_another_hides(name: str) -> None:
    keymap = load_keymap(name)
    assert keymap.summary
    for index, row in enumerate(keymap.patterns):
        example = row.replace("{}", "x")
        first = next(i for i, (pattern, _) in enumerate(keymap.rules) if pattern.fullmatch(example))
        assert first == index, f"the row {row!r} is hidden by {keymap.patterns[first]!r}"


def test_files_of_our_own_are_renamed_for_models_that_name_it_otherwise_alone() -> None:
    names = signature_of("blip2_frames")
    assert recognise(names) is None
    assert recognise(names, ["compressor.t5_proj.weight"]) is None
    assert recognise(names, QUESTIONS) is load_keymap("blip2_frames")


@pytest.mark.parametrize(("name", "old"), [(name, old) for name, rows in ROWS.items() for old in rows])
def test_renames(name: str, old: str) -> None:
    assert load_keymap(name).rename(old) == ROWS[name][old]


@pytest.mark.parametrize("name", [name for name in keymap_names() if "{}" not in load_keymap(name).patterns])
def test_names_without_a_row_are_refused(name: str) -> None:
    with pytest.raises(CheckpointError, match=r"1 names are unknown.*first opt_porj\.weight"):
        load_keymap(name).apply({"opt_porj.weight": torch.zeros(1)})


def test_an_opt_file_fills_the_vision_side(tmp_path: Path) -> None:
    """What LAVIS saves with OPT: the Q-Former without its text half, ln_vision and opt_proj."""
    sizes = {"hidden_size": 24, "word_embed_proj_dim": 24, "ffn_dim": 32, "num_hidden_layers": 1}
    sizes["num_attention_heads"] = 2
    toy = model_node()["compressor"]
    node = model_node(
        compressor={"name": "qformer_frames", "num_queries": toy["num_queries"], "qformer": toy["qformer"]},
        language_model={
            "name": "causal",
            "tokenizer": t5_tokenizer(),
            "config": {"model_type": "opt", "vocab_size": vocabulary_size(), **sizes},
        },
        subtitle_choice=None,
        trainable=["compressor.t5_proj.*", "encoder.ln_vision.*"],
    )
    source = build_model(node)
    places = {"compressor.t5_proj.": "opt_proj.", "compressor.": "", "encoder.ln_vision.": "ln_vision."}
    state = {}
    for name, tensor in source.state_dict().items():
        ours = next((prefix for prefix in places if name.startswith(prefix)), None)
        if ours is not None:
            state[places[ours] + name.removeprefix(ours)] = tensor
    torch.save({"model": state}, tmp_path / "blip2_pretrained_opt2.7b.pth")
    torch.manual_seed(7)
    target = build_model({**node, "weights": str(tmp_path / "blip2_pretrained_opt2.7b.pth")})
    for name in ("compressor.t5_proj.weight", "compressor.query_tokens", "encoder.ln_vision.weight"):
        assert torch.equal(target.state_dict()[name], source.state_dict()[name]), name

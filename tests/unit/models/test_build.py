"""Assembling models and filling them: published names, strict reports, published sizes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from lavis.common.checkpoint import CheckpointError, save_checkpoint, trainable_state
from lavis.common.keymap import load_keymap, recognise
from lavis.convert.convert import convert
from lavis.models.build import build_model
from tests.toy_models import model_node, t5_tokenizer, toy_model

PUBLISHED = {"encoder.": "", "compressor.": "", "language_model.model.": "t5_model.base_model.model."}


def published_name(name: str) -> str:
    for ours, theirs in PUBLISHED.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(name)


def published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {published_name(name): tensor for name, tensor in state.items()}


def full_size(**changes: Any) -> dict[str, Any]:
    node: dict[str, Any] = {
        "encoder": {"name": "eva_vit"},
        "compressor": {"name": "keyframe_qformer"},
        "prompt": {"name": "interleaved"},
        "codec": {"name": "seconds_text"},
        "language_model": {"name": "t5", "architecture": "flan_t5_xl", "tokenizer": t5_tokenizer(), "lora": {}},
        "trainable": [
            "language_model.*.lora_*", "compressor.t5_proj.*", "encoder.ln_vision.*", "compressor.query_proj.*"
        ],
    }  # fmt: skip
    return {**node, **changes}


def test_full_size_calce_has_the_published_counts() -> None:
    model = build_model(full_size(), device="meta")
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        kind = "lora" if "lora_" in name else name.split(".")[0] + "." + name.split(".")[1]
        counts[kind] = counts.get(kind, 0) + parameter.numel()
    assert counts["lora"] == 17_968_128
    assert counts["compressor.t5_proj"] == 1_574_912
    assert counts["compressor.query_proj"] == 264
    assert counts["encoder.ln_vision"] == 2_816
    assert counts["encoder.visual_encoder"] == 985_894_528
    assert sum("lora_A" in name for name, _ in model.named_parameters()) == 433
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 19_546_120


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [("flan_t5_small", 77.0), ("flan_t5_base", 247.6), ("flan_t5_xl", 2849.8), ("flan_t5_xxl", 11135.4)],
)
def test_flan_t5_sizes(architecture: str, millions: float) -> None:
    language_model = {"name": "t5", "architecture": architecture, "tokenizer": t5_tokenizer()}
    model = build_model(full_size(language_model=language_model, trainable=None), device="meta").language_model
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, rel=2e-3)


def test_a_published_file_loads_directly_and_leftovers_are_accounted_for(tmp_path: Path) -> None:
    source = toy_model()
    learned = published(trainable_state(source))
    leftovers = {
        "t5_model.base_model.model.encoder.embed_tokens.weight": torch.zeros(3, 3),
        "t5_model.base_model.model.decoder.embed_tokens.weight": torch.zeros(3, 3),
        "Qformer.bert.embeddings.position_ids": torch.zeros(1, 3),
        "Qformer.cls.predictions.decoder.weight": torch.zeros(3, 3),
        "Qformer.cls.predictions.decoder.bias": torch.zeros(3),
    }
    path = tmp_path / "checkpoint_best.pth"
    torch.save({"model": {**learned, **leftovers}, "epoch": 7, "config": {"run": {}}, "scaler": None}, path)
    torch.manual_seed(1)
    target = build_model({**model_node(), "weights": str(path)})
    for name, tensor in trainable_state(source).items():
        assert torch.equal(target.state_dict()[name], tensor), name
    report = convert(path, tmp_path / "out", model=model_node())
    assert report.family == "calce"
    assert len(report.dropped) == len(leftovers)
    assert not report.missing
    again = build_model({**model_node(), "weights": str(report.out)})
    assert torch.equal(again.compressor.t5_proj.weight, source.compressor.t5_proj.weight)


def test_every_leftover_the_original_saves_is_known(golden_dir: Path) -> None:
    for model in ("stage1", "stage2", "mr_blip"):
        keys = json.loads((golden_dir / "calce" / model / "model.json").read_text())["checkpoint_keys"]
        keymap = recognise(keys)
        assert keymap is not None
        assert keymap.name == "calce"
        renamed = [keymap.rename(key) for key in keys]
        assert sum(name is None for name in renamed) == len([k for k in keys if "embed_tokens" in k or "Qformer" in k])


def test_a_name_in_the_file_that_nobody_knows_stops_the_load(tmp_path: Path) -> None:
    state = published(trainable_state(toy_model()))
    state["t5_model.base_model.model.encoder.blokc.0.weight"] = torch.zeros(1)
    torch.save({"model": state}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="blokc"):
        build_model({**model_node(), "weights": str(tmp_path / "x.pth")})
    torch.save({"model": {**state, "extra_head.weight": torch.zeros(1)}}, tmp_path / "y.pth")
    with pytest.raises(CheckpointError, match=r"extra_head.*nearest"):
        build_model({**model_node(), "weights": str(tmp_path / "y.pth")})


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    state = trainable_state(toy_model())
    state["compressor.t5_proj.weight"] = torch.zeros(5, 5)
    save_checkpoint(tmp_path / "w.safetensors", state)
    with pytest.raises(CheckpointError, match="t5_proj.weight"):
        build_model({**model_node(), "weights": str(tmp_path / "w.safetensors")})


def test_plain_t5_weights_go_below_the_adapters(tmp_path: Path) -> None:
    plain = toy_model(language_model={"+": {"lora": None}}, trainable=["compressor.t5_proj.*"])
    state = {n.removeprefix("language_model.model."): t for n, t in plain.state_dict().items() if "language_model" in n}
    save_checkpoint(tmp_path / "flan.safetensors", state)
    model = build_model({**model_node(), "weights": [str(tmp_path / "flan.safetensors")]})
    name = "language_model.model.encoder.block.0.layer.0.SelfAttention.q"
    assert torch.equal(model.state_dict()[f"{name}.base_layer.weight"], plain.state_dict()[f"{name}.weight"])


def test_position_tables_are_resized(tmp_path: Path) -> None:
    state = {"blocks.0.attn.q_bias": torch.zeros(16), "patch_embed.proj.bias": torch.ones(16)}
    state |= {"patch_embed.proj.weight": torch.ones(16, 3, 14, 14), "pos_embed": torch.randn(1, 17, 16)}
    state |= {"blocks.39.attn.q_bias": torch.zeros(16), "head.weight": torch.zeros(2, 16)}
    torch.save(state, tmp_path / "eva_vit_g.pth")
    model = build_model({**model_node(), "weights": str(tmp_path / "eva_vit_g.pth")})
    assert model.encoder.visual_encoder.pos_embed.shape == (1, 5, 16)
    assert torch.equal(model.encoder.visual_encoder.patch_embed.proj.bias, torch.ones(16))


def test_bert_gives_the_text_half_only() -> None:
    keymap = load_keymap("bert_base")
    assert keymap.rename("bert.encoder.layer.3.attention.self.query.weight") is None
    assert keymap.rename("bert.embeddings.LayerNorm.gamma") is None
    kept = keymap.rename("bert.encoder.layer.3.output.LayerNorm.gamma")
    assert kept == "compressor.Qformer.bert.encoder.layer.3.output.LayerNorm.weight"


def test_converting_an_unknown_file_names_the_families(tmp_path: Path) -> None:
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="calce.*flan_t5"):
        convert(tmp_path / "a.pth", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": {"name": "eva_vitt"}}, "model.encoder.*Did you mean 'eva_vit'"),
        ({"encoder": {"name": "eva_vit", "widht": 3}}, "model.encoder.*widht"),
        ({"encoder": {"width": 3}}, "model.encoder needs a 'name'"),
        ({"codec": {"name": "seconds_text", "num_indices": 0}}, "model.codec"),
        ({"compressor": {"+": {"keyframes": {"mode": "clsuter"}}}}, "keyframes.*clsuter"),
    ],
)
def test_wrong_nodes_say_where(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(model_node(**change))

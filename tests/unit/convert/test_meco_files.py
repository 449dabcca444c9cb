"""Files as E.T. Chat, MeCo and their backbones are published, made at toy size: each fills a model, or says why not.

The models are those of ``configs/tiny``; a file is what such a model holds, under the published names.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lavis.common.assets import resolve_asset
from lavis.common.checkpoint import CheckpointError, read_checkpoint
from lavis.common.config import load_config
from lavis.common.keymap import load_keymap
from lavis.convert.convert import convert
from lavis.layers.lora import merge_lora
from lavis.models.build import build_model, load_model_weights
from lavis.models.language_models.t5 import load_tokenizer
from lavis.models.video_llm import VideoLLM

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
# Ours and theirs; the first that fits counts.
NAMES = {
    "encoder.visual_encoder.": "model.vision_tower.vision_tower.",
    "compressor.query_tokens": "model.qformer_query",
    "compressor.ln.": "model.qformer_ln.",
    "compressor.Qformer.": "model.qformer_bert.",
    "compressor.query_proj.": "model.qformer_proj.",
    "compressor.q_proj.": "model.qformer_q_proj.",
    "compressor.k_proj.": "model.qformer_k_proj.",
    "compressor.v_proj.": "model.qformer_v_proj.",
    "head.text_head.": "vid_head.",
    "head.frame_head.": "frm_head.",
    "head.logit_scale": "logit_scale",
    "language_model.model.lm_head.": "lm_head.",
    "language_model.model.model.": "model.",
}
State = dict[str, Tensor]


@cache
def node(name: str) -> dict[str, Any]:
    return dict(load_config(CONFIGS / "tiny" / f"{name}.yaml")["model"])


def model(name: str = "meco", seed: int = 0, lora: Any = "as it is", **parts: Any) -> VideoLLM:
    """A tiny model whose every weight is drawn, also those that start at zero."""
    torch.manual_seed(seed)
    own = {**node(name), "trainable": None, **parts}
    if lora != "as it is":
        own["language_model"] = {**own["language_model"], "lora": lora}
    built = build_model(own)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.normal_(std=0.1)
    return built


def published(state: Mapping[str, Tensor], *, heads: bool = True) -> State:
    """A state under the names of E.T. Chat and MeCo."""
    named = {}
    for name, tensor in state.items():
        ours = next(prefix for prefix in NAMES if name.startswith(prefix))
        if heads or not ours.startswith("head."):
            named[NAMES[ours] + name.removeprefix(ours)] = tensor.clone()
    return named


def equal(one: VideoLLM, other: VideoLLM, but: tuple[str, ...] = ()) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    different = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    assert different == {name for name in different if name.startswith(but)} and (different or not but)


# --- whole checkpoints


@pytest.mark.parametrize("name", ["meco", "meco_qwen2", "etchat"])
def test_a_merged_checkpoint_fills_everything(name: str, tmp_path: Path) -> None:
    source = model(name, lora=None)
    save_file(published(source.state_dict()), tmp_path / "model.safetensors")
    target = model(name, seed=1, lora=None)
    load_model_weights(target, [tmp_path / "model.safetensors"])
    equal(source, target)


def test_a_merged_checkpoint_goes_below_adapters(tmp_path: Path) -> None:
    source = model(lora=None)
    save_file(published(source.state_dict()), tmp_path / "model.safetensors")
    target = model(seed=1)
    load_model_weights(target, [tmp_path / "model.safetensors"])
    held = target.state_dict()
    below = "language_model.model.model.layers.0.self_attn.qkv_proj"
    assert torch.equal(held[f"{below}.base_layer.weight"], source.state_dict()[f"{below}.weight"])


def test_shards_are_read_as_one_by_folder_and_by_index(tmp_path: Path) -> None:
    source = model(lora=None)
    shards(published(source.state_dict()), tmp_path)
    for place in (tmp_path, tmp_path / "model.safetensors.index.json"):
        target = model(seed=1, lora=None)
        load_model_weights(target, [place])
        equal(source, target)
    report = convert(tmp_path, tmp_path / "out")
    assert report.family == "meco"
    assert read_checkpoint(tmp_path / "out" / "model.safetensors").state.keys() >= {"head.logit_scale"}


def test_half_precision_is_widened(tmp_path: Path) -> None:
    source = model(lora=None).half().float()
    state = {name: tensor for name, tensor in source.state_dict().items() if tensor.is_floating_point()}
    save_file({name: tensor.half() for name, tensor in published(state).items()}, tmp_path / "model.safetensors")
    target = model(seed=1, lora=None)
    load_model_weights(target, [tmp_path / "model.safetensors"])
    equal(source, target)


def test_a_folder_that_is_not_whole_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no weights at .*name one of its files"):
        read_checkpoint(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1-of-1.safetensors"}}))
    with pytest.raises(CheckpointError, match=r"names 1 files that are not beside it: model-1-of-1\.safetensors"):
        read_checkpoint(tmp_path)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(CheckpointError, match="not beside it"):
        read_checkpoint(tmp_path)
    index.write_text("[]")
    with pytest.raises(CheckpointError, match="no index of weights"):
        read_checkpoint(index)


# --- adapters, and what was trained beside them


@pytest.mark.parametrize("name", ["meco", "meco_qwen2"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_adapters_and_what_was_trained_beside_them_amount_to_the_merged_model(
    name: str, wrapped: bool, tmp_path: Path
) -> None:
    start, trained = model(name, lora=None), model(name, seed=1)
    save_file(published(start.state_dict()), tmp_path / "start.safetensors")
    adapted(trained, start)
    saved(trained, tmp_path / "trained", wrapped)
    target = model(name, seed=2)
    load_model_weights(target, [tmp_path / "start.safetensors", tmp_path / "trained"])
    equal(trained, target)

    merge_lora(trained)
    plain = {key: value for key, value in trained.state_dict().items() if "lora" not in key}
    plain = {key.replace(".base_layer.", "."): value for key, value in plain.items()}
    save_file(published(plain), tmp_path / "merged.safetensors")
    merged = model(name, seed=3, lora=None)
    load_model_weights(merged, [tmp_path / "merged.safetensors"])
    merge_lora(target)
    held = target.state_dict()
    for key, value in merged.state_dict().items():
        below = held.get(key, held.get(f"{key.rpartition('.')[0]}.base_layer.{key.rpartition('.')[2]}"))
        assert below is not None and torch.equal(below, value), key


def test_adapters_of_peft_give_the_same_outputs(tmp_path: Path) -> None:
    """Files written by peft and transformers themselves."""
    from peft import LoraConfig, get_peft_model

    stock = model(lora=None).language_model.model
    stock.save_pretrained(tmp_path / "stock")
    targets = ["qkv_proj", "o_proj"]
    wrapped = get_peft_model(stock, LoraConfig(r=4, lora_alpha=8, target_modules=targets, init_lora_weights=False))
    wrapped.save_pretrained(tmp_path / "adapter")
    target = model(seed=1)
    load_model_weights(target, [tmp_path / "stock", tmp_path / "adapter" / "adapter_model.safetensors"])
    ids = torch.arange(6)[None]
    with torch.no_grad():
        assert torch.equal(target.language_model.model.eval()(ids).logits, wrapped.eval()(ids).logits)


def test_adapters_of_another_scale_are_refused(tmp_path: Path) -> None:
    trained = model()
    saved(trained, tmp_path, wrapped=True, alpha=4)
    with pytest.raises(CheckpointError, match=r"rank 4 with alpha 4.*scaled by 2; set model\.language_model\.lora"):
        load_model_weights(model(seed=1), [tmp_path])
    with pytest.raises(CheckpointError, match=r"the model has no adapters there.*\n.*read as: E\.T\. Chat or MeCo"):
        load_model_weights(model(seed=1, lora=None), [tmp_path])
    convert(tmp_path, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="rank 4 with alpha 4"):
        load_model_weights(model(seed=1), [tmp_path / "ours"])
    assert not load_keymap("meco").fits(load_file(tmp_path / "adapter_model.safetensors"))


# --- backbones


def test_eva(tmp_path: Path) -> None:
    source = model(lora=None)
    state = below(source, "encoder.visual_encoder.")
    extra = {"norm.weight": torch.ones(2), "head.weight": torch.ones(2), "blocks.39.attn.q_bias": torch.ones(2)}
    torch.save({**state, **extra}, tmp_path / "eva_vit_g.pth")
    target = model(seed=1, lora=None)
    load_model_weights(target, [tmp_path / "eva_vit_g.pth"])
    assert all(torch.equal(value, state[key]) for key, value in below(target, "encoder.visual_encoder.").items())


def test_instruct_blip(tmp_path: Path) -> None:
    source = model(lora=None)
    state = {f"Qformer.{key}": value for key, value in below(source, "compressor.Qformer.").items()}
    state |= {f"ln_vision.{key}": value for key, value in below(source, "compressor.ln.").items()}
    state |= {"query_tokens": source.state_dict()["compressor.query_tokens"], "llm_proj.weight": torch.ones(3, 2)}
    torch.save({"model": state, "epoch": 3}, tmp_path / "instruct_blip_vicuna7b_trimmed.pth")
    target = model(seed=1, lora=None)
    load_model_weights(target, [tmp_path / "instruct_blip_vicuna7b_trimmed.pth"])
    others = ("encoder.", "language_model.", "head.", *(f"compressor.{x}_proj." for x in ("query", "q", "k", "v")))
    equal(source, target, but=others)


@pytest.mark.parametrize("form", ["groups", "names", "model names"])
def test_projector(form: str, tmp_path: Path) -> None:
    source = model(lora=None)
    parts = {f"qformer_{x}proj": below(source, f"compressor.{y}_proj.") for x, y in PROJECTIONS.items()}
    flat = {f"{part}.{key}": value for part, group in parts.items() for key, value in group.items()}
    if form == "groups":
        torch.save(parts, tmp_path / "projector.bin")
    elif form == "names":
        save_file(flat, tmp_path / "projector.safetensors")
    else:
        save_file({f"model.{key}": value for key, value in flat.items()}, tmp_path / "projector.safetensors")
    target = model(seed=1, lora=None)
    load_model_weights(target, list(tmp_path.iterdir()))
    others = ("encoder.", "language_model.", "head.", *(f"compressor.{x}" for x in ("query_tokens", "ln.", "Qformer.")))
    equal(source, target, but=others)


PROJECTIONS = {"": "query", "q_": "q", "k_": "k", "v_": "v"}


@pytest.mark.parametrize("whole", [True, False])
def test_language_model(whole: bool, tmp_path: Path) -> None:
    """A language model by itself, and as a part of MiniCPM-V."""
    source = model("meco_qwen2", lora=None)
    state = below(source, "language_model.model.")
    if whole:
        state = {f"llm.{key}": value for key, value in state.items()}
        state |= {"vpm.embeddings.position_embedding.weight": torch.ones(2), "resampler.query": torch.ones(2)}
    shards(state, tmp_path)
    target = model("meco_qwen2", seed=1, lora=None)
    load_model_weights(target, [tmp_path])
    equal(source, target, but=("encoder.", "compressor.", "head."))


def test_the_tokenizer_of_a_folder_with_code_is_read_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MiniCPM-V names classes of its own, which are not run and not asked about."""
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked at the terminal"))
    source = Path(resolve_asset("asset:toy/chat_tokenizer"))
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings |= {"auto_map": {"AutoTokenizer": ["own.Own", None]}, "tokenizer_class": "Own"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}))
    read, plain = load_tokenizer(str(tmp_path)), load_tokenizer(str(source))
    text = "<|im_start|>user\nwhere does it open?"
    assert read(text)["input_ids"] == plain(text)["input_ids"]


@pytest.mark.parametrize("rule", ["mean", "slices"])
def test_a_file_from_before_tokens_were_added_gets_rows_for_them(rule: str, tmp_path: Path) -> None:
    lm = {**node("meco_qwen2")["language_model"], "lora": None, "added_rows": rule}
    source, target = model("meco_qwen2", lora=None), model("meco_qwen2", seed=1, language_model=lm)
    state = published(source.state_dict())
    rows = len(state["model.embed_tokens.weight"])
    old = rows - 3
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = state[name][:old].clone()
    save_file(state, tmp_path / "model.safetensors")
    load_model_weights(target, [tmp_path / "model.safetensors"])
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        held = target.state_dict()[f"language_model.model.{name}"]
        assert torch.equal(held[:old], state[name])
        step = old // 3
        slices = [slice(None)] * 3 if rule == "mean" else [slice(i * step, (i + 1) * step) for i in (2, 1, 0)]
        torch.testing.assert_close(held[old:], torch.stack([state[name][own].mean(dim=0) for own in slices]))


def test_a_file_that_lacks_more_rows_is_refused(tmp_path: Path) -> None:
    state = published(model("meco_qwen2", lora=None).state_dict())
    state["lm_head.weight"] = state["lm_head.weight"][:-4].clone()
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"of another shape: language_model\.model\.lm_head\.weight"):
        load_model_weights(model("meco_qwen2", lora=None), [tmp_path / "model.safetensors"])


# --- files of other stages and systems


def test_the_second_stage_of_et_chat_begins_meco(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Heads and adapters are new there, and the log says so."""
    source = model(lora=None)
    save_file(published(source.state_dict(), heads=False), tmp_path / "stage2.safetensors")
    target = model(seed=1, trainable=node("meco")["trainable"])
    with caplog.at_level(logging.INFO):
        load_model_weights(target, [tmp_path / "stage2.safetensors"])
    assert "tensors start from their initial value: 8 of adapters" in caplog.text
    assert "6 of head.text_head, 6 of head.frame_head" in caplog.text
    assert "1 of head.logit_scale" in caplog.text


def test_the_third_stage_of_et_chat_begins_meco(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its heads have the same places; only the scale is new."""
    source = model(lora=None)
    state = published(source.state_dict())
    del state["logit_scale"]
    save_file(state, tmp_path / "stage3.safetensors")
    target = model(seed=1, lora=None)
    with caplog.at_level(logging.INFO):
        load_model_weights(target, [tmp_path / "stage3.safetensors"])
    equal(source, target, but=("head.logit_scale",))
    assert "initial value: 1 of head.logit_scale" in caplog.text


def test_a_model_without_the_parts_refuses_and_names_the_family(tmp_path: Path) -> None:
    save_file(published(model(lora=None).state_dict()), tmp_path / "meco.safetensors")
    first = {k: v for k, v in published(model(lora=None).state_dict()).items() if "qformer" in k and "proj" in k}
    save_file(first, tmp_path / "stage1.safetensors")
    family = r"The file was read as: E\.T\. Chat or MeCo"
    for file in ("meco.safetensors", "stage1.safetensors"):
        with pytest.raises(CheckpointError, match=rf"(?s)unknown to the model.*\n  {family}"):
            load_model_weights(build_model(node("calce_stage1")), [tmp_path / file])
    plain = {**node("meco"), "head": None, "codec": {"name": "seconds_text"}, "trainable": None}
    with pytest.raises(CheckpointError, match=rf"(?s)unknown to the model: head\..*{family}"):
        load_model_weights(build_model(plain), [tmp_path / "meco.safetensors"])
    with pytest.raises(CheckpointError, match=rf"(?s)of another shape.*{family}"):
        load_model_weights(model("etchat", lora=None), [tmp_path / "meco.safetensors"])


# --- helpers


def below(source: VideoLLM, prefix: str) -> State:
    return {k.removeprefix(prefix): v.clone() for k, v in source.state_dict().items() if k.startswith(prefix)}


def shards(state: State, folder: Path) -> None:
    names = sorted(state)
    places = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for place in set(places.values()):
        save_file({name: state[name] for name in names if places[name] == place}, folder / place)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def adapted(trained: VideoLLM, start: VideoLLM) -> None:
    """Gives a trained model the frozen weights that it started from."""
    frozen = {name: value for name, value in start.state_dict().items() if not beside(name)}
    held = trained.state_dict()
    for name, value in frozen.items():
        stem, _, leaf = name.rpartition(".")
        held[name if name in held else f"{stem}.base_layer.{leaf}"].copy_(value)


def beside(name: str) -> bool:
    """Whether a weight is trained in the third stage, beside the adapters."""
    qformer = name.startswith("compressor.") and (".Qformer." not in name or "attention" in name)
    return qformer or name.startswith("head.") or "embed_tokens" in name or "lm_head" in name


def saved(trained: VideoLLM, folder: Path, wrapped: bool, alpha: int = 8) -> None:
    """Writes adapters, and what was trained beside them, as the originals do."""
    folder.mkdir(exist_ok=True)
    state = trained.state_dict()
    lora = {f"base_model.model.{k.replace('.default.', '.')}": v for k, v in published(pick(state, ".lora_")).items()}
    save_file(lora, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps({"r": 4, "lora_alpha": alpha, "peft_type": "LORA"}))
    rest = published({name: value for name, value in state.items() if ".lora_" not in name and beside(name)})
    prefix = "base_model.model." if wrapped else ""
    save_file({prefix + name: value for name, value in rest.items()}, folder / "pytorch_model.safetensors")


def pick(state: Mapping[str, Tensor], part: str) -> State:
    return {name: value for name, value in state.items() if part in name}

"""The toy models of the recorded MeCo and E.T. Chat runs, as compositions of our parts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file
from torch import Tensor

from lavis.common.keymap import load_keymap
from lavis.models.compressors.base import QFormerSettings
from lavis.models.compressors.query_aggregator import QueryAggregator
from lavis.models.encoders.eva_vit import EvaVit


def gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of two arrays, 0 of empty ones.

    Raises:
        AssertionError: for another shape, or a difference that is no number, which ``max`` would pass over.
    """
    if ours.shape != theirs.shape:
        raise AssertionError(f"shape {tuple(ours.shape)} where {tuple(theirs.shape)} was recorded")
    largest = float((ours.double() - theirs.double()).abs().max()) if ours.numel() else 0.0
    assert math.isfinite(largest), f"the largest difference is {largest}"
    return largest


@cache
def weights(folder: Path) -> dict[str, Tensor]:
    """Weights of a recorded model under our names."""
    state, _ = load_keymap("meco").apply(load_file(folder / "state_dict.safetensors"), str(folder))
    return state


def qformer_tokenizer(golden: Path) -> str:
    """Folder of the recorded Q-Former's tokenizer."""
    return str(golden / "qformer_tokenizer")


def encoder_sizes(state: dict[str, Tensor]) -> dict[str, Any]:
    """Arguments of ``eva_vit`` for these weights; heads have 12 values each in the recorded toy."""
    width = state["encoder.visual_encoder.cls_token"].shape[-1]
    patch = state["encoder.visual_encoder.patch_embed.proj.weight"].shape[-1]
    side = int((state["encoder.visual_encoder.pos_embed"].shape[1] - 1) ** 0.5)
    depth = len({name.split(".")[3] for name in state if name.startswith("encoder.visual_encoder.blocks.")})
    inner = state["encoder.visual_encoder.blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "image_size": side * patch, "patch_size": patch, "width": width, "depth": depth, "heads": width // 12 or 1,
        "mlp_ratio": (inner + 0.5) / width, "norm": False,
    }  # fmt: skip


def qformer_sizes(golden: Path, state: dict[str, Tensor]) -> dict[str, Any]:
    """Sizes of the recorded Q-Former."""
    config = json.loads((golden / "qformer_tokenizer" / "config.json").read_text())
    return {
        "vocab_size": state["compressor.Qformer.bert.embeddings.word_embeddings.weight"].shape[0],
        "width": config["hidden_size"],
        "layers": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "hidden": config["intermediate_size"],
        "max_positions": config["max_position_embeddings"],
        "dropout": config["hidden_dropout_prob"],
    }


@cache
def load_parts(golden: Path, folder: Path) -> tuple[EvaVit, QueryAggregator]:
    """Encoder and compressor of a recorded model, in evaluation mode."""
    state = weights(folder)
    encoder = EvaVit(**encoder_sizes(state)).eval()
    compressor = QueryAggregator(
        encoder.width,
        state["compressor.v_proj.1.weight"].shape[0],
        tokenizer=qformer_tokenizer(golden),
        num_queries=state["compressor.query_tokens"].shape[1],
        qformer=QFormerSettings(**qformer_sizes(golden, state)),
    ).eval()
    for name, part in (("encoder.", encoder), ("compressor.", compressor)):
        own = {key.removeprefix(name): value for key, value in state.items() if key.startswith(name)}
        missing, unexpected = part.load_state_dict(own, strict=False)
        lost = [key for key in missing if not key.endswith("position_ids")]
        if lost or unexpected:
            raise AssertionError(f"{folder.name}: without weights {lost[:3]}, without a place {unexpected[:3]}")
    return encoder, compressor


@cache
def config_of(folder: Path) -> dict[str, Any]:
    """The recorded model's own configuration."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def tokenizer_of(golden: Path, folder: Path) -> str:
    """Folder of the language model's tokenizer, before tokens are added.

    A model has the tokenizer of its kind. One whose kind has none (Llama) has the tokenizer that fills its embeddings
    with the tokens it adds, since a vocabulary of another size is made to fit, and that begins as its answers say; a
    wrong one gives other ids.
    """
    kind = json.loads((folder / "meta.json").read_text())["kind"]
    if (golden / "tokenizers" / kind).is_dir():
        return str(golden / "tokenizers" / kind)
    config = config_of(folder)
    rows = weights(folder)["language_model.model.model.embed_tokens.weight"].shape[0]
    added = len(added_tokens(config))
    kinds = {path: _vocabulary(path) for path in sorted((golden / "tokenizers").iterdir()) if path.is_dir()}
    fitting = [path for path, (size, _) in kinds.items() if size + added == rows] or list(kinds)
    begun = [path for path in fitting if kinds[path][1] == config.get("bos_token_id")]
    return str((begun or fitting)[0])


@cache
def _vocabulary(folder: Path) -> tuple[int, int | None]:
    """Size of a tokenizer, and the token that its texts begin with."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return len(tokenizer), tokenizer.bos_token_id


def added_tokens(config: dict[str, Any]) -> list[str]:
    """Tokens that a model with this configuration adds to its tokenizer."""
    return ["<vid>", "<ent>", "<tst>"] if config.get("localization") else ["<vid>"]


FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "rms_norm_eps", "rope_theta", "max_position_embeddings", "original_max_position_embeddings", "sliding_window",
    "tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "attention_dropout", "hidden_act",
)  # fmt: skip


def model_node(golden: Path, folder: Path) -> dict[str, Any]:
    """The ``model`` section of a configuration for a recorded model."""
    config, state = config_of(folder), weights(folder)
    told = f"{config['language_model']} {config.get('model_type')}".lower()
    family = next(family for family in ("phi3", "qwen2", "llama") if family in told)
    stock = {name: config[name] for name in FIELDS if name in config}
    stock["vocab_size"] = state["language_model.model.model.embed_tokens.weight"].shape[0]
    localization = bool(config.get("localization"))
    head = {"name": "structure_contrast", "frame_head": "layer" if config.get("use_mha") else "mlp", "prefill": "first"}
    return {
        "encoder": {"name": "eva_vit", **encoder_sizes(state)},
        "compressor": {
            "name": "query_aggregator",
            "tokenizer": qformer_tokenizer(golden),
            "num_queries": state["compressor.query_tokens"].shape[1],
            "qformer": qformer_sizes(golden, state),
        },
        "language_model": {
            "name": "causal",
            "config": {"model_type": family, **stock},
            "tokenizer": tokenizer_of(golden, folder),
            "added_tokens": added_tokens(config),
            "two_way_frames": bool(config.get("bi_attention")),
            "attention": "eager",
        },
        "head": head if localization else {"name": "frame_match", "alpha": config["alpha"]},
    }


def recorded_answers(golden: Path) -> Iterator[tuple[Path, str]]:
    """Files of recorded answers, and the runs in each."""
    for recorded in sorted(golden.glob("models/*/generate.npz")):
        with np.load(recorded) as stored:
            runs = [name.removesuffix("_tokens") for name in stored.files if name.endswith("_tokens")]
        yield from ((recorded, run) for run in runs)

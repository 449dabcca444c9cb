"""Sizes of published causal decoders, so that they can be built without their files.

Source: the configurations published with the weights. Differs: ``sliding_window`` of Phi-3-mini is 2048, where its file
says 2047; E.T. Chat and MeCo correct it in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_QWEN2_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_theta": 1_000_000.0,
    "rms_norm_eps": 1e-6,
    "bos_token_id": 151643,
    "eos_token_id": 151645,
    "tie_word_embeddings": False,
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "phi3_mini_4k": {
        "model_type": "phi3",
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
        "original_max_position_embeddings": 4096,
        "rope_theta": 10_000.0,
        "rms_norm_eps": 1e-5,
        "sliding_window": 2048,
        "bos_token_id": 1,
        "eos_token_id": 32000,
        "pad_token_id": 32000,
        "tie_word_embeddings": False,
    },
    "qwen2_7b": {**_QWEN2_7B, "vocab_size": 152064},
    "minicpm_v_2_6_qwen2": {**_QWEN2_7B, "vocab_size": 151666},
    "llama3_8b": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 8192,
        "rope_theta": 500_000.0,
        "rms_norm_eps": 1e-5,
        "bos_token_id": 128000,
        "eos_token_id": 128009,
        "tie_word_embeddings": False,
    },
    "gemma2_9b": {
        "model_type": "gemma2",
        "vocab_size": 256000,
        "hidden_size": 3584,
        "intermediate_size": 14336,
        "num_hidden_layers": 42,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "max_position_embeddings": 8192,
        "sliding_window": 4096,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
    },
}


def configuration(architecture: str | None, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields of a transformers configuration: those of an architecture, and ``config`` where it differs.

    Raises:
        ValueError: for an unknown architecture.
    """
    if architecture is None:
        return dict(config or {})
    if architecture not in ARCHITECTURES:
        raise ValueError(f"language_model.architecture {architecture!r} is unknown; known: {', '.join(ARCHITECTURES)}")
    return {**ARCHITECTURES[architecture], **(config or {})}

"""The attention back-end of a stock language model: what transformers offers, chosen by name."""

from __future__ import annotations

from typing import Any


def set_attention(model: Any, attention: str | None) -> None:
    """Has ``model`` compute its attention by another back-end.

    Args:
        model: of transformers.
        attention: ``eager`` (plain matrix products), ``sdpa`` (torch's fused ones), ``flash_attention_2`` (needs a
            package and a GPU; not T5), ``flex_attention``; ``None`` leaves the choice to transformers, which takes
            ``sdpa`` where the model has it.

    Raises:
        ValueError: if this model or machine does not have it, with what transformers says about it.
    """
    if attention is None:
        return
    try:
        model.set_attn_implementation(attention)
    except (ValueError, ImportError, TypeError) as error:
        raise ValueError(
            f"language_model.attention={attention} is not possible for {type(model).__name__}: {error}. Use sdpa, "
            "eager, or null for what transformers chooses"
        ) from error
    chosen = model.config._attn_implementation
    if chosen != attention:
        raise ValueError(
            f"language_model.attention={attention}: {type(model).__name__} keeps {chosen}; use that, or null"
        )

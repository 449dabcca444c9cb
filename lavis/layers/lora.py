"""LoRA by peft, injected in place: module paths keep their names, so published adapters load by renaming a prefix.

Source: Hu et al., 2022; peft. The originals wrap the language model (``base_model.model.``); we do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def linear_names(model: nn.Module) -> list[str]:
    """Last name of every linear layer, sorted: what the originals adapt (``q``, ``wi_0``, ``lm_head``)."""
    return sorted({name.rsplit(".", 1)[-1] for name, module in model.named_modules() if isinstance(module, nn.Linear)})


def inject_lora(
    model: nn.Module, rank: int, alpha: float, dropout: float, targets: Sequence[str] | None = None
) -> nn.Module:
    """Puts adapters on linear layers of ``model`` in place and freezes all else in it.

    Args:
        model: module to adapt.
        rank: of the update, at least 1.
        alpha: the update is scaled by ``alpha / rank``.
        dropout: on the adapter's input, in [0, 1).
        targets: last names of the layers to adapt; ``None`` is every linear layer.

    Raises:
        ValueError: if a target names no linear layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    known = linear_names(model)
    chosen = list(targets) if targets is not None else known
    unknown = [t for t in chosen if t not in known]
    if unknown or not chosen:
        raise ValueError(f"lora.targets {unknown or chosen} match no linear layer; the model has {known}")
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=chosen)
    adapted = inject_adapter_in_model(config, model)
    assert isinstance(adapted, nn.Module)
    return adapted


def adapters(model: nn.Module) -> list[nn.Module]:
    """The adapted layers below ``model``."""
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def merge_lora(model: nn.Module) -> None:
    """Adds every update to its frozen weight, for inference without the extra products; ``unmerge_lora`` undoes it."""
    for layer in adapters(model):
        layer.merge()  # type: ignore[operator]


def unmerge_lora(model: nn.Module) -> None:
    """Takes every merged update out again (equal up to rounding)."""
    for layer in adapters(model):
        layer.unmerge()  # type: ignore[operator]


def fold_lora(model: nn.Module) -> int:
    """Adds every update to its weight for good, and begins the adapters anew, whose update is nothing then.

    The stages of a training whose original merges its adapters when one ends are made so.

    Returns:
        how many layers are adapted.
    """
    layers: list[Any] = adapters(model)
    with torch.no_grad():
        for layer in layers:
            for name in list(layer.lora_A):
                weight = layer.get_base_layer().weight
                weight += layer.get_delta_weight(name).to(weight.dtype)
                layer.reset_lora_parameters(name, init_lora_weights=True)
    return len(layers)


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """All weights as a model without adapters has them, their updates added; ``model`` stays as it is."""
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    prefixes: dict[int, str] = {id(module): name for name, module in model.named_modules(remove_duplicate=False)}
    layers: list[Any] = adapters(model)
    for layer in layers:
        weight = f"{prefixes[id(layer)]}.base_layer.weight"
        with torch.no_grad():
            for name in list(layer.lora_A):
                state[weight] = state[weight] + layer.get_delta_weight(name).to(state[weight].dtype)
    return {name.replace(".base_layer.", "."): tensor.detach() for name, tensor in state.items()}

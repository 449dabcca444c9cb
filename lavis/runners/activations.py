"""Memory for time: the layers of a model, and activations that are recomputed in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn


def transformer_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Layers of the stacks in a model: members of lists of two or more modules of one class, outermost only."""
    found: list[tuple[str, nn.Module]] = []
    for path, module in model.named_modules():
        if any(path.startswith(f"{name}.") for name, _ in found):
            continue
        children = list(module.named_children())
        if isinstance(module, nn.ModuleList) and len(children) > 1 and len({type(c) for _, c in children}) == 1:
            found += [(f"{path}.{name}" if path else name, child) for name, child in children]
    return found


def checkpoint_activations(model: nn.Module) -> list[str]:
    """Recomputes the activations of every stack of layers in the backward pass instead of keeping them.

    Models of transformers use their own switch, which knows their caches; other layers get a forward that checkpoints.
    No module is wrapped, so names stay.

    Returns:
        names of what is checkpointed.
    """
    named: list[str] = []
    for path, module in model.named_modules():
        if getattr(module, "supports_gradient_checkpointing", False) and not _inside(path, named):
            # The name changed within transformers 5; the old one warns.
            if hasattr(module, "activation_checkpointing_enable"):
                module.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
            else:
                module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            named.append(path)
    for path, block in transformer_blocks(model):
        if not _inside(path, named):
            block.forward = _checkpointed(block.forward)
            named.append(path)
    return named


def _inside(path: str, names: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") or not name for name in names)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run

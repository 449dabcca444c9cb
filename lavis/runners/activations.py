"""The layers of a model, and what may be done to each: recomputing its activations, and compiling it.

No module is wrapped, so the names of weights stay.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import nn

Way = Literal["none", "torch", "fairscale"]
_CACHES = ("past_key_values", "past_key_value", "layer_past")


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


def checkpoint_activations(model: nn.Module, way: Way | bool = "torch") -> list[str]:
    """Recomputes the activations of every stack of layers in the backward pass instead of keeping them.

    Args:
        model: changed in place.
        way: ``torch`` (or true): models of transformers use their own switch, which knows their caches; other layers
            get a forward that checkpoints. ``fairscale``: its ``checkpoint_wrapper``, as the originals do. ``none`` (or
            false): nothing.

    Returns:
        names of what is checkpointed.

    Raises:
        ValueError: if fairscale is missing.
    """
    if way in ("none", False):
        return []
    if way == "fairscale":
        return _with_fairscale(model)
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


def compile_learning(model: nn.Module, mode: bool | str, device: torch.device) -> list[str]:
    """Compiles, at their first call, the layers that learn; all else stays as it is. Dropout then draws otherwise.

    Args:
        model: changed in place, before it is sharded.
        mode: of ``torch.compile``; true is its default, false compiles nothing.
        device: that it runs on.

    Returns:
        names of what is compiled.

    Raises:
        ValueError: if there is no compiler, or no stack of layers that learns.
    """
    if mode is False:
        return []
    compilers = (
        [os.environ.get("CXX"), "g++", "clang++"] if device.type == "cpu" else [os.environ.get("CC"), "gcc", "clang"]
    )
    if not any(name and shutil.which(name) for name in compilers):
        raise ValueError(
            f"run.compile needs a C++ compiler ({', '.join(name for name in compilers if name)}), and this machine has "
            "none on its PATH; install one, or set run.compile=false"
        )
    learning = [(path, block) for path, block in transformer_blocks(model) if _learns(block)]
    if not learning:
        raise ValueError("run.compile: no stack of layers of this model learns, so there is nothing to compile")
    for _, block in learning:
        block.compile(mode=None if mode is True else mode)
    return [path for path, _ in learning]


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Within the block compiled layers run as they are written: generating would compile them for every length."""
    compiled = {m: m._compiled_call_impl for m in model.modules() if m._compiled_call_impl is not None}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


def _learns(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())


def _inside(path: str, names: Iterable[str]) -> bool:
    return any(path == name or path.startswith(f"{name}.") or not name for name in names)


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    from torch.utils.checkpoint import checkpoint

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run


def _with_fairscale(model: nn.Module) -> list[str]:
    try:
        from fairscale.nn.checkpoint import checkpoint_wrapper
    except ImportError as error:
        raise ValueError(
            "run.activation_checkpointing=fairscale needs its package: pip install 'lavis[fairscale]'; torch does the "
            "same without it (run.activation_checkpointing=torch)"
        ) from error
    blocks = transformer_blocks(model)
    for _, block in blocks:
        checkpoint_wrapper(block)
        block.forward = _without_cache(block.forward)
    return [path for path, _ in blocks]


def _without_cache(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps a layer from filling a cache of keys and values that recomputing it would fill twice."""

    def run(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled():
            kwargs = {**kwargs, **{name: None for name in _CACHES if name in kwargs}}
            kwargs = {**kwargs, **({"use_cache": False} if "use_cache" in kwargs else {})}
        return forward(*args, **kwargs)

    return run

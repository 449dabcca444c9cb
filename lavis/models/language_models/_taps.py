"""States of a stock decoder's last layers, noted while it runs: transformers hands out neither by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor


@contextmanager
def tapped(model: Any, taps: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Notes the states named, for one pass.

    Args:
        model: of transformers.
        taps: ``last`` is the output of the last layer before the final norm, ``below_last`` what that layer was given.

    Raises:
        ValueError: if this model has no such state.
    """
    decoder = model.base_model
    decoder = getattr(decoder, "decoder", decoder)  # OPT has one more level
    states: dict[str, Tensor] = {}
    hooks = []
    try:
        for tap in taps:
            module = {"last": getattr(decoder, "norm", None), "below_last": decoder.layers[-1]}.get(tap)
            if module is None:
                raise ValueError(f"{type(model).__name__} has no state {tap!r} to give")
            hooks.append(module.register_forward_pre_hook(_noting(states, tap), with_kwargs=True))
        yield states
    finally:
        for hook in hooks:
            hook.remove()


def _noting(states: dict[str, Tensor], name: str) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], None]:
    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states.setdefault(name, args[0] if args else kwargs["hidden_states"])

    return note

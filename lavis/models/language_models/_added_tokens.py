"""Special tokens that a system adds to its language model, and the embeddings they start with.

Source: E.T. Chat (mean of all rows) and MeCo (means of slices), which both leave rows alone that the model keeps in
store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

AddedRows = Literal["mean", "slices"]


def add_tokens(tokenizer: Any, model: Any, tokens: Sequence[str], rows: AddedRows) -> None:
    """Adds tokens to a tokenizer and, where there are no rows for them, embeddings to its model, input and output.

    Args:
        tokenizer: of transformers.
        model: of transformers.
        tokens: to add, in order; those that are known are left out.
        rows: what new embeddings start as.

    Raises:
        ValueError: for an unknown ``rows``, or a token that is empty or twice in the list.
    """
    if rows not in get_args(AddedRows):
        raise ValueError(f"language_model.added_rows must be one of {', '.join(get_args(AddedRows))}, got {rows!r}")
    if len(set(tokens)) != len(tokens) or not all(token.strip() for token in tokens):
        raise ValueError(f"language_model.added_tokens must be different tokens with characters, got {list(tokens)}")
    known = tokenizer.get_vocab()
    new = [token for token in tokens if token not in known]
    if not new:
        return
    tokenizer.add_special_tokens({"additional_special_tokens": new}, replace_extra_special_tokens=False)
    before = int(model.get_input_embeddings().num_embeddings)
    if len(tokenizer) <= before:
        return
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    for layer in {id(e): e for e in (model.get_input_embeddings(), model.get_output_embeddings())}.values():
        if layer is not None:
            _start(layer, before, rows)


@torch.no_grad()
def _start(layer: nn.Module, before: int, rows: AddedRows) -> None:
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if not weight.is_meta:
        weight[before:] = _new(weight[:before], len(weight) - before, rows)


def with_added_rows(weight: Tensor, rows: int, added: int, start: AddedRows) -> Tensor:
    """An embedding read from a file, with rows for the tokens added since that file was written.

    Args:
        weight: ``[V, D]``.
        rows: of the model.
        added: tokens that the model adds; a file that lacks more than these is not of this model.
        start: what new embeddings start as.

    Returns:
        ``[rows, D]``, or ``weight`` where it lacks nothing, or too much.
    """
    missing = rows - len(weight)
    if weight.dim() != 2 or not 0 < missing <= added:
        return weight
    return torch.cat([weight, _new(weight, missing, start)])


def _new(known: Tensor, count: int, rows: AddedRows) -> Tensor:
    """``[count, D]`` from ``[V, D]``; sums in fp32, since those over a vocabulary in half precision are far off."""
    if rows == "mean":
        new = known.float().mean(dim=0, keepdim=True).expand(count, -1)
    else:
        step = len(known) // count
        new = known[: count * step].float().view(count, step, -1).mean(dim=1).flip(0)
    return new.to(known.dtype)

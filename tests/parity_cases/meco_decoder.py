"""Decoder and heads of MeCo and E.T. Chat against recorded training steps, from the recorded embeddings on.

States of both depths, logits, losses and gradients; prompts and frames have cases of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lavis.common.construct import build_part
from lavis.common.registry import registry
from lavis.models.heads.base import Head
from lavis.models.language_models.causal import Causal
from lavis.structures import FrameRef, Packed
from tests.parity_cases._meco_models import config_of, gap, model_node, weights

SYSTEM = "meco"
TOLERANCE = 1e-4

Case = tuple[str, Callable[[], float]]


def cases(golden: Path) -> Iterator[Case]:
    """Comparisons for whatever ``golden`` holds; none of its files is required."""
    for recorded in sorted(golden.glob("models/*/train_forward.npz")):
        if (recorded.parent / "meta.json").is_file():
            yield f"models/{recorded.parent.name} decoder and head", _comparison(golden, recorded.parent)


def _comparison(golden: Path, folder: Path) -> Callable[[], float]:
    def compare() -> float:
        with np.load(folder / "train_forward.npz") as stored:
            arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        meta = json.loads((folder / "meta.json").read_text())
        decoder, head = parts(golden, folder)
        packed = recorded_batch(arrays, meta, config_of(folder))
        output = decoder(packed, head.taps)
        mask = packed.mask.bool()
        assert output.loss is not None
        worst = _worst(output.states["below_last"][mask], arrays["hidden_penultimate"][mask])
        worst = max(worst, _worst(output.states["last"][mask], arrays["final_prenorm"][mask]))
        worst = max(worst, _worst(output.logits[mask], arrays["logits"][mask]))
        losses = head.losses(output, packed)
        total = output.loss + sum(losses.values())
        (own,) = losses.values()
        other = next((arrays[name] for name in ("str_loss", "match_loss") if name in arrays), None)
        for ours, theirs in ((output.loss, arrays.get("ar_loss")), (own, other), (total, arrays["loss"])):
            if theirs is not None:
                worst = max(worst, gap(ours.detach(), theirs))
        total.backward()
        return max(worst, _gradients(decoder, head, arrays, meta["grad_norms"]))

    return compare


def parts(golden: Path, folder: Path) -> tuple[Causal, Head]:
    """Decoder and head with their recorded weights, in training mode."""
    node, state = model_node(golden, folder), weights(folder)
    decoder: Causal = build_part(registry.language_models, node["language_model"], "model.language_model")
    head: Head = build_part(registry.heads, node["head"], "model.head", language_width=decoder.width)
    head.bind(decoder.model, node["language_model"]["added_tokens"])
    for prefix, part in (("language_model.", decoder), ("head.", head)):
        own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        part.load_state_dict(own, strict=True)
    return decoder.train(), head.train()


def recorded_batch(arrays: dict[str, Tensor], meta: dict[str, Any], config: dict[str, Any]) -> Packed:
    """The recorded embeddings and labels, as if we had packed them."""
    labels, mask = arrays["new_labels"], arrays["new_attention_mask"].long()
    spans = [own[-1] for own in meta["img_token_pos"]]
    units = [torch.tensor([(p, p + 1) for p in range(start, end)]).reshape(-1, 2) for start, end in spans]
    refs = [_refs(labels[row], row, arrays, meta, config) for row in range(len(labels))]
    return Packed(arrays["inputs_embeds"], mask, labels, labels, None, [labels.shape[1]], units, refs)


def _refs(
    labels: Tensor, row: int, arrays: dict[str, Tensor], meta: dict[str, Any], config: dict[str, Any]
) -> list[tuple[int, FrameRef]]:
    if config.get("localization"):
        wanted = [("<ent>", config["ent_token_id"], arrays.get(f"windows_{row}"))]
        wanted.append(("<tst>", config["tst_token_id"], arrays.get(f"tst_windows_{row}")))
    else:
        times = torch.tensor(meta["tgt"][row] or [], dtype=torch.float32)
        wanted = [("<vid>", config["match_token_id"], torch.stack([times, times], dim=1) if len(times) else None)]
    refs = []
    for token, number, windows in wanted:
        places = (labels == number).nonzero()[:, 0].tolist()
        targets = [] if windows is None else [tuple(window) for window in windows.tolist()]
        assert len(targets) == len(places), f"{token}: {len(places)} tokens for {len(targets)} times"
        refs += [(p, FrameRef(token, learned=True, target=own)) for p, own in zip(places, targets, strict=True)]
    return sorted(refs, key=lambda placed: placed[0])


def _gradients(decoder: Causal, head: Head, arrays: dict[str, Tensor], norms: dict[str, float]) -> float:
    """Largest relative difference of recorded gradients and norms of what lies behind the embeddings."""
    from lavis.common.keymap import load_keymap

    own = {f"language_model.{n}": p.grad for n, p in decoder.named_parameters() if p.grad is not None}
    own |= {f"head.{n}": p.grad for n, p in head.named_parameters() if p.grad is not None}
    table = load_keymap("meco")
    worst = 0.0
    for name, norm in norms.items():
        grad = own.get(table.rename(name) or "")
        if grad is not None:
            worst = max(worst, abs(float(grad.norm()) - norm) / max(norm, 1e-3))
    for name, expected in arrays.items():
        ours = own.get(table.rename(name.removeprefix("grad::")) or "") if name.startswith("grad::") else None
        if ours is not None:
            worst = max(worst, gap(ours.reshape(expected.shape), expected) / float(expected.abs().max()))
    return worst


def _worst(ours: Tensor, theirs: Tensor) -> float:
    return gap(ours.detach(), theirs)
